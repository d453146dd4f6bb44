"""`export` and `import`: sessions on their way from one server to another, in files and pipes."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from memsessions import SessionsClient

from ..conftest import MakeClient, OnMemcached
from ..support.memcached import Memcached
from .support import PROGRAM, Terminal, ask, environment, run

APP = "forum"
IP = "192.0.2.1"


@pytest.fixture
def old(on_memcached: OnMemcached, make_client: MakeClient) -> SessionsClient:
    return make_client(on_memcached.address, ns=on_memcached.ns)


@pytest.fixture
def new(on_memcached: OnMemcached, make_client: MakeClient) -> SessionsClient:
    return make_client(on_memcached.address, ns=on_memcached.ns + "n")


@pytest.fixture
def where(on_memcached: OnMemcached) -> dict[str, str]:
    """The environment that says which store is meant."""
    return {"MEMSESSIONS_SERVERS": on_memcached.address, "MEMSESSIONS_NS": on_memcached.ns}


@pytest.fixture
def whither(where: dict[str, str]) -> dict[str, str]:
    return {**where, "MEMSESSIONS_NS": where["MEMSESSIONS_NS"] + "n"}


def test_sessions_move_through_a_pipe_between_two_servers(
    old: SessionsClient, new: SessionsClient, where: dict[str, str], whither: dict[str, str]
) -> None:
    tokens = [old.create(APP, f"user{n}", IP, d={"n": n, "text": "é\u2028\x1b"})["token"] for n in range(300)]
    export = subprocess.Popen([*PROGRAM, "export", APP], stdout=subprocess.PIPE, env=environment(where))
    done = subprocess.run(
        [*PROGRAM, "import", APP, "--json"],
        stdin=export.stdout,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=environment(whither),
    )
    assert export.stdout is not None
    export.stdout.close()
    assert export.wait() == 0
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"imported": 300, "there": 0, "ended": 0}
    for token in tokens:
        there, here = old.get(APP, token), new.get(APP, token)
        assert there is not None
        assert here is not None
        assert {**here, "idle": 0} == {**there, "idle": 0}  # it was some seconds on its way


def test_a_file_is_for_its_owner_only_and_shows_no_token(
    old: SessionsClient, where: dict[str, str], whither: dict[str, str], tmp_path: Path
) -> None:
    tokens = [old.create(APP, "user1234", IP)["token"] for _ in range(3)]
    file = tmp_path / "sessions.jsonl"
    done = ask("export", APP, "--output", str(file), env=where)
    assert (done.code, done.out, done.err) == (0, f"3 sessions were exported to {file}\n", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert len(text.splitlines()) == 3
    assert not any(token in text for token in tokens)
    assert ask("export", APP, "--json", "--output", str(file), env=where).document == {"exported": 3}

    done = ask("import", APP, str(file), env=whither)
    assert (done.code, done.err) == (0, "")
    assert done.out.split() == ["imported", "there", "already", "ended", "meanwhile", "3", "0", "0"]
    assert ask("import", APP, str(file), "--json", env=whither).document["there"] == 3


def test_with_json_it_is_one_array_which_can_be_imported_too(
    old: SessionsClient, where: dict[str, str], whither: dict[str, str]
) -> None:
    assert ask("export", APP, "--json", env=where).document == []
    assert run("import", APP, "--json", stdin="[]\n", env=whither).document["imported"] == 0
    for n in range(3):
        old.create(APP, f"user{n}", IP)
    done = run("export", APP, "--json", env=where)
    assert [line["id"] for line in sorted(done.document, key=lambda line: str(line["id"]))] == [
        "user0",
        "user1",
        "user2",
    ]
    assert run("import", APP, "--json", stdin=done.out, env=whither).document["imported"] == 3


@pytest.mark.parametrize("as_file", [True, False])
def test_nothing_is_imported_where_a_line_is_damaged(
    old: SessionsClient,
    new: SessionsClient,
    where: dict[str, str],
    whither: dict[str, str],
    tmp_path: Path,
    as_file: bool,
) -> None:
    for n in range(300):
        old.create(APP, f"user{n}", IP, d={"word": "secret"})
    text = run("export", APP, env=where).out
    cut = text[:-20]
    file = tmp_path / "cut.jsonl"
    file.write_text(cut)
    arguments = ["import", APP, str(file)] if as_file else ["import", APP]
    done = run(*arguments, stdin="" if as_file else cut, env=whither)
    assert (done.code, done.out) == (2, "")
    assert done.err == "memsessions: line 300 is not JSON: was the export interrupted?\n"
    assert new.soapp(APP) == []
    file.write_text(text.replace('"r": 1', '"r": -1', 1))
    done = run("import", APP, str(file), env=whither)
    assert (done.code, done.err) == (2, "memsessions: session 1: r is not what an export has there\n")
    assert new.soapp(APP) == []


def test_a_file_stays_as_it_was_when_an_export_fails(tmp_path: Path) -> None:
    file = tmp_path / "sessions.jsonl"
    file.write_text("what was there")
    done = ask("export", APP, "--output", str(file), "--server", "127.0.0.1:1")
    assert (done.code, done.out) == (3, "")
    assert file.read_text() == "what was there"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    missing = str(tmp_path / "nowhere" / "file")
    done = ask("export", APP, "--output", missing, "--server", "memory://")
    assert (done.code, done.err.endswith(f"No such file or directory: {missing!r}\n")) == (74, True)
    assert ask("import", APP, missing, "--server", "memory://").code == 2


def test_an_app_that_there_is_not_is_no_empty_export(
    old: SessionsClient, where: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "sessions.jsonl"
    file.write_text("what was there")
    for options in ([], ["--json"], ["--output", str(file)]):
        done = ask("export", "forumm", *options, env=where)
        assert (done.code, done.out) == (1, "[]\n" if options == ["--json"] else "")
        assert "there is no app forumm" in done.err
    assert file.read_text() == "what was there"
    old.create(APP, "user1234", IP)
    old.killall(APP)
    assert ask("export", APP, env=where) == (0, "", "")  # it has no session just now
    old.create(APP, "user1234", IP)
    done = ask("export", APP, "--output", str(file), env=where)
    assert done.out == f"1 session was exported to {file}\n"


def test_a_server_that_is_away_is_exit_code_3(old: SessionsClient, where: dict[str, str]) -> None:
    old.create(APP, "user1234", IP)
    text = ask("export", APP, env=where).out
    for arguments in (["export", APP], ["import", APP]):
        done = run(*arguments, "--server", "127.0.0.1:1", stdin=text)
        assert (done.code, done.out) == (3, "")
        assert "Connection refused" in done.err


def test_servers_are_told_by_name(old: SessionsClient, where: dict[str, str]) -> None:
    old.create(APP, "user1234", IP)
    text = ask("export", APP, env=where).out
    done = run("import", APP, "--server", "a=127.0.0.1:1", "--server", "b=127.0.0.1:2", stdin=text)
    assert done.code == 2
    assert "comes from the server" in done.err
    assert "here are a, b" in done.err


def test_a_full_server_is_exit_code_3(old: SessionsClient, where: dict[str, str]) -> None:
    for n in range(200):
        old.create(APP, f"user{n % 20}", IP, d={"large": "x" * 20_000})
    text = ask("export", APP, env=where).out
    with Memcached("-m", "2", "-M", "-t", "1") as full:
        done = run("import", APP, "--server", full.address, stdin=text)
    assert done.code == 3
    assert "no memory left" in done.err


# With bars from the first moment on, and each batch taking a while.
SLOW = """
import os, sys, time
from memsessions import transfer
from memsessions.cli import main, output
output._PATIENCE_S = 0.0
transfer._BATCH = 4
exported, imported = transfer._exported, transfer._import
def slowly_exported(*arguments):
    time.sleep(float(os.environ.get("PAUSE_S", "0.02")))
    return exported(*arguments)
def slowly_imported(*arguments):
    time.sleep(float(os.environ.get("PAUSE_S", "0.1")))
    return imported(*arguments)
transfer._exported, transfer._import = slowly_exported, slowly_imported
sys.exit(main())
"""
SLOWLY = (sys.executable, "-c", SLOW)


def test_bars_on_a_terminal_and_ctrl_c_in_the_middle(
    old: SessionsClient, new: SessionsClient, where: dict[str, str], whither: dict[str, str], tmp_path: Path
) -> None:
    """An export that is interrupted leaves no file, an import whole sessions, and is done by repeating it."""
    for n in range(60):
        old.create(APP, f"user{n}", IP, d={"n": n})
    file = tmp_path / "sessions.jsonl"
    slowly = {"PAUSE_S": "0.3"}  # so that it is in the middle of it when the key is pressed
    with Terminal("export", APP, "--output", str(file), env=where | slowly, program=SLOWLY) as terminal:
        terminal.wait_for(f"exporting {APP}")
        terminal.press_ctrl_c()
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.screen
    assert list(tmp_path.iterdir()) == []
    with Terminal("export", APP, "--output", str(file), env=where, program=SLOWLY, columns=150) as terminal:
        assert terminal.wait() == 0
        assert f"60 sessions were exported to {file}" in terminal.screen

    with Terminal("import", APP, str(file), env=whither | slowly, program=SLOWLY) as terminal:
        terminal.wait_for_match(rf"importing {APP}.* [1-9]\d*/60")
        terminal.press_ctrl_c()
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.screen
        assert not terminal.cursor_hidden
        shown = terminal.screen
    there = len(new.soapp(APP))
    assert re.search(rf"^ *{there} +0 +0$", shown, re.MULTILINE)
    assert 0 < there < 60
    with Terminal("import", APP, str(file), env=whither) as terminal:
        assert terminal.wait() == 0
        assert str(60 - there) in terminal.screen
    assert len(new.soapp(APP)) == 60


def test_whoever_reads_an_export_may_stop(old: SessionsClient, where: dict[str, str]) -> None:
    for n in range(2000):
        old.create(APP, f"user{n}", IP, d={"large": "x" * 200})
    command = f'"{sys.executable}" -m memsessions export {APP} | head -n 1'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=environment(where),
    )
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (141, "", 1)
