"""Everything that the README shows works as it is pasted."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from pymemcache import PooledClient

from memsessions import SessionsClient, StoreUnavailable
from memsessions.web import SessionStorage

from .support.memcached import Memcached, free_port

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
INSTALL, TEST, COMMANDS, SERVE, SERVE_ENCRYPTED = (
    text.strip() for language, text in BLOCKS if language == "console"
)
ENCRYPTED = [text for language, text in BLOCKS if language == "python" and "tls_context=" in text]


def test_every_block_is_of_a_kind_that_is_executed_here() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "console"}


def test_the_python_blocks_run_one_after_the_other(
    three_memcacheds: list[Memcached], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one namespace, as a reader would paste them; only the ports of memcached are the tests' own."""
    for variable in ("MEMSESSIONS_SERVERS", "MEMSESSIONS_CACHETIME"):
        monkeypatch.setenv(variable, "")  # a block sets them; this is undone afterwards
    namespace: dict[str, object] = {}
    for language, text in BLOCKS:
        if language == "python" and text not in ENCRYPTED:
            for number, server in enumerate(three_memcacheds):
                text = text.replace(str(11211 + number), str(server.port))
            exec(compile(text, "README.md", "exec"), namespace)
    shown = capsys.readouterr().out
    for value in list(namespace.values()):
        if isinstance(value, (SessionsClient, PooledClient, SessionStorage)):
            value.close()
    expected = [line.removeprefix("# ") for line in README.splitlines() if line.startswith("# {'id'")]
    assert len(expected) == 1
    assert expected[0] in shown
    assert "missingParameter - No id supplied" in shown
    assert "127.0.0.1:1: Connection refused" in shown
    assert next(line for line in README.splitlines() if line.startswith("# {'forum'"))[2:] in shown


def test_the_first_program_stands_alone() -> None:
    """The first block needs nothing of this repository but the installed package."""
    text = next(text for language, text in BLOCKS if language == "python")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.startswith("{'id': 'user1234', 'r': 2, 'w': 1,")


def test_the_commands_do_what_they_are_shown_for(memcached: Memcached, tmp_path: Path) -> None:
    """One after the other in a shell, on a server that the environment names."""
    bin_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = COMMANDS.replace("127.0.0.1:11211", memcached.address)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": bin_path,
            "MEMSESSIONS_SERVERS": memcached.address,
            "MEMSESSIONS_NS": "readme",
        },
    )
    assert done.stderr == ""
    assert '{"theme": "dark", "unread": 34}' in done.stdout
    assert "1 session was exported to sessions.jsonl" in done.stdout
    assert done.stdout.endswith('{"kill": 1}\n')


def test_memcached_takes_the_options_that_are_recommended() -> None:
    """The command for memcached starts one that serves sessions, and that shows no keys."""
    port = free_port()
    command = shlex.split(SERVE.replace("11211", str(port)))
    assert command[0] == "memcached"
    with Memcached(port=port) as server:  # for its helpers; the process is replaced by the README's own
        server.kill()
        server.process = subprocess.Popen([*command, "-u", "root"])
        _wait_for(server)
        with SessionsClient(f"127.0.0.1:{port}", wipe=0) as rs:
            token = rs.create("forum", "user1234", "156.78.90.12")["token"]
            assert rs.get("forum", token) is not None
        assert server.ask(b"lru_crawler metadump all\r\n", b"\r\n").startswith(b"ERROR")
        assert b"OK" not in server.ask(b"flush_all\r\n", b"\r\n")


def test_memcached_encrypts_and_asks_for_a_password_as_it_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command and the program, with a certificate and an account of the test's own."""
    monkeypatch.chdir(tmp_path)
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", "req", *kind, *subject, *files], check=True, capture_output=True)
    shutil.copy("cert.pem", "ca.pem")
    Path("accounts").write_text("sessions:a-long-one\n")
    port = free_port()
    command = shlex.split(SERVE_ENCRYPTED.replace("11211", str(port)))
    (program,) = ENCRYPTED
    namespace: dict[str, object] = {"SessionsClient": SessionsClient}
    with Memcached(port=port) as server:  # for its helpers; the process is replaced by the README's own
        server.kill()
        server.process = subprocess.Popen([*command, "-u", "root"])
        _wait_for(server)
        exec(compile(program.replace("11211", str(port)), "README.md", "exec"), namespace)
        encrypted = namespace["encrypted"]
        assert isinstance(encrypted, SessionsClient)
        with encrypted as rs:
            token = rs.create("forum", "user1234", "156.78.90.12")["token"]
            assert rs.get("forum", token) is not None
        wrong = program.replace("11211", str(port)).replace("a-long-one", "another")
        with pytest.raises(StoreUnavailable, match="did not accept the user name and password"):
            exec(compile(wrong, "README.md", "exec"), namespace)


def _wait_for(server: Memcached) -> None:
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        try:
            server.connect().close()
            return
        except OSError:
            time.sleep(0.01)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clone of the repository holds, in a folder of its own."""
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).exists():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    return folder


def _run(block: str, folder: Path, **environment: str) -> str:
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    config = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PIP_", "SSL_", "HTTP", "NODE_"))
    }
    done = subprocess.run(
        ["bash", "-c", block],
        cwd=folder,
        env={**clean, **config, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _lend_packages(environment: Path) -> None:
    """Have a virtual environment, which may be there already, use the packages of this one, pip included."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))
    for tool in ("mypy", "ruff"):
        script = Path(sysconfig.get_path("scripts"), tool).read_bytes()
        here = environment / "bin" / tool
        here.write_bytes(
            script.replace(sys.executable.encode(), str(environment / "bin" / "python").encode())
        )
        here.chmod(0o755)


def test_the_first_command_installs_and_shows_the_demo(clone: Path) -> None:
    shown = _run(INSTALL, clone)
    assert "memory://" in shown
    assert "killsoid {'kill': 2}" in shown


def test_the_second_command_runs_the_tests(clone: Path) -> None:
    """The command as it stands, with pytest told to run one small file of this suite, in one process.

    It finds the packages that it needs. That it installs them where they are not is shown by the gate, which
    is this command on a machine that has nothing yet.
    """
    _lend_packages(clone / ".venv")
    if (ROOT / ".mypy_cache").exists():  # what mypy has found of these files it need not find again
        shutil.copytree(ROOT / ".mypy_cache", clone / ".mypy_cache")
    if (ROOT / ".benchmarks").exists():  # as is what npm brings
        shutil.copytree(ROOT / ".benchmarks", clone / ".benchmarks", symlinks=True)
    shown = _run(TEST, clone, PYTEST_ADDOPTS="tests/test_keys.py --maxprocesses=1")
    assert re.search(r"\d+ passed", shown)


def test_the_gate_calls_the_second_command_and_nothing_else() -> None:
    gate = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in gate if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == [f"exec {TEST}"]
