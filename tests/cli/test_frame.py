"""What all commands share: where the store is, exit codes, one JSON document, and how they end."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import memsessions
from memsessions import cli
from memsessions.cli import codes
from memsessions.cli.frame import SECTIONS, group

from ..conftest import MakeClient, OnMemcached
from ..store.conftest import PASSWORD, certificate, encrypted, guarded
from ..support.memcached import Memcached
from ..support.sessions import UNKNOWN
from .support import PROGRAM, At, ask, environment, run

__all__ = ["certificate", "encrypted", "guarded"]  # fixtures

NAMES = [name for section in SECTIONS.values() for name in section]


# ----------------------------------------------------------------------------------- where the store is


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_the_shared_options_may_stand_before_the_command_and_after_it(there: At, before: int) -> None:
    options = [["--server", there.address], ["--ns", there.ns], ["--json"]]
    first = [word for option in options[:before] for word in option]
    last = [word for option in options[before:] for word in option]
    done = ask(*first, "create", *last, "forum", "alice")
    assert done.code == 0, done.err
    token = done.document["token"]
    assert there.ask("show", "forum", "--json", stdin=token).document["id"] == "alice"


def test_several_servers_are_asked_as_one(
    three_memcacheds: list[Memcached], on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    servers = {f"cache-{n}": server.address for n, server in enumerate(three_memcacheds)}
    rs = make_client(servers, ns=on_memcached.ns)
    tokens = [rs.create("forum", f"user{n}", "10.0.0.1")["token"] for n in range(20)]
    (first, *others) = [f"{name}={address}" for name, address in servers.items()]
    more = [word for other in others for word in ("--server", other)]
    options = ["sessions", "forum", "--ns", on_memcached.ns, "--json"]
    document = ask("--server", first, *more, *options).document
    assert ask(*options, "--server", first, *more).document == document
    done = ask("--server", first, *options, *more)
    assert (done.code, done.out) == (codes.USAGE, "")
    assert "say all in one place" in done.err
    assert document["total"] == 20
    assert {each["server"] for each in document["sessions"]} == set(servers)
    assert "server" in ask(*options[:-1], *more, "--limit", "20").out
    env = {"MEMSESSIONS_SERVERS": ",".join([first, *others]), "MEMSESSIONS_NS": on_memcached.ns}
    for token in tokens:
        assert ask("show", "forum", "--json", stdin=token, env=env).code == 0
    assert ask("kill-app", "forum", "--yes", "--json", env=env).document == {"kill": 20}


def test_the_environment_says_where_the_store_is(there: At) -> None:
    env = {"MEMSESSIONS_SERVERS": there.address, "MEMSESSIONS_NS": there.ns}
    assert run("create", "forum", "alice", env=env).code == 0
    assert ask("apps", "--json", env=env).document[0]["app"] == "forum"
    assert ask("apps", "--json", "--ns", "another", env=env).document == []


def test_the_environment_brings_tls(encrypted: Memcached, certificate: Path) -> None:
    env = {
        "MEMSESSIONS_SERVERS": f"localhost:{encrypted.port}",
        "MEMSESSIONS_TLS_CA": str(certificate / "cert.pem"),
    }
    assert ask("ping", "--json", env=env).document[0]["answer"] == "PONG"
    done = ask("ping", env={**env, "MEMSESSIONS_TLS_CA": "", "MEMSESSIONS_TLS": "1"})
    assert done.code == codes.UNAVAILABLE
    assert "certificate" in done.err


def test_the_environment_brings_a_user_name_and_a_password(guarded: Memcached) -> None:
    env = {
        "MEMSESSIONS_SERVERS": guarded.address,
        "MEMSESSIONS_USERNAME": "web",
        "MEMSESSIONS_PASSWORD": PASSWORD,
    }
    assert ask("ping", "--json", env=env).document[0]["answer"] == "PONG"
    done = ask("ping", env={**env, "MEMSESSIONS_PASSWORD": "Wrong-one-1"})
    assert done.code == codes.UNAVAILABLE
    assert "did not accept the user name and password" in done.err
    assert "Wrong-one-1" not in done.out + done.err
    done = ask("ping", env={**env, "MEMSESSIONS_PASSWORD": ""})
    assert done.code == codes.USAGE
    assert "MEMSESSIONS_USERNAME and MEMSESSIONS_PASSWORD" in done.err


def test_the_command_wipes_nothing_by_itself(there: At, on_memcached: OnMemcached) -> None:
    env = {"MEMSESSIONS_SERVERS": there.address, "MEMSESSIONS_NS": there.ns, "MEMSESSIONS_WIPE": "10"}
    assert ask("create", "forum", "alice", env=env).code == 0
    assert not [key for key in on_memcached.server.keys(there.ns) if key.endswith(":wipe")]


# ------------------------------------------------------------------------------------------ exit codes


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nonsense"], codes.USAGE, "No such command 'nonsense'"),
        (["apps", "--nonsense"], codes.USAGE, "No such option"),
        (["sessions"], codes.USAGE, "Missing argument 'APP'"),
        (["ping", "--server", "a:b:c"], codes.USAGE, "port must be from 1 to 65535"),
        (["ping", "--server", ""], codes.USAGE, "servers must be"),
        (["ping", "--ns", "a b"], codes.USAGE, "ns must be 1 to 50"),
        (["sessions", "a"], codes.USAGE, "Invalid app format"),
        (["sessions", "forum", "--active", "5"], codes.USAGE, "'--active': 5 is not in the range x>=10"),
        (["create", "forum", "alice", "--ttl", "1"], codes.USAGE, "ttl must be"),
        (["create", "forum", ""], codes.USAGE, "No id supplied"),
        (["kill-user", "forum", "a" * 200], codes.USAGE, "Invalid id format"),
        (["ping", "--server", "127.0.0.1:1"], codes.UNAVAILABLE, "127.0.0.1:1: Connection refused"),
        (["sessions", "forum", "--server", "127.0.0.1:1"], codes.UNAVAILABLE, "Connection refused"),
        (["kill-user", "forum", "alice"], codes.NOT_FOUND, "forum has no session of this user"),
    ],
)
def test_an_exit_code_says_what_is_wrong_and_stderr_explains_it(
    arguments: list[str], code: int, message: str
) -> None:
    for more in ([], ["--json"]):
        done = ask(*more, *arguments, env={"MEMSESSIONS_SERVERS": "memory://nothing"})
        assert done.code == code
        assert done.err.startswith("memsessions: ")
        assert message in done.err
        if code == codes.USAGE:
            assert done.out == ""


def test_no_arguments_at_all_show_the_help_on_stderr() -> None:
    done = ask()
    assert (done.code, done.out) == (codes.USAGE, "")
    assert "Usage: memsessions" in done.err


def test_a_variable_that_is_not_usable_is_named() -> None:
    done = ask("ping", env={"MEMSESSIONS_TIMEOUT": "soon"})
    assert done.code == codes.USAGE
    assert "MEMSESSIONS_TIMEOUT is not usable" in done.err


@pytest.mark.parametrize("name", ["", *NAMES])
def test_every_command_has_a_help_with_the_exit_codes_in_it(name: str) -> None:
    done = ask(*filter(None, [name]), "--help")
    assert done.code == 0
    assert done.err == ""
    text = " ".join(done.out.split())
    assert "0 done; 1 not found; 2 bad usage; 3 the store is unavailable or refuses" in text
    for option in ("--server ADDRESS", "--ns NAME", "--json"):
        assert option in text


def test_the_help_and_the_readme_list_all_exit_codes() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (listed,) = re.findall(r"^- \*\*Exit codes\*\*: (.*?)^- ", readme, re.MULTILINE | re.DOTALL)
    wanted = {str(code) for code in vars(codes).values() if isinstance(code, int)}
    assert set(re.findall(r"\d+", codes.HELP)) == set(re.findall(r"\d+", listed)) == wanted


def test_the_help_of_the_whole_shows_each_command_with_a_line_about_it() -> None:
    shown = ask("--help").out
    for name in NAMES:
        assert f"  {name} " in shown


def test_a_mistake_in_a_command_is_not_taken_for_anything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("memsessions.operating.app_names", lambda _client: 1 / 0)
    done = ask("apps", "--server", "memory://")
    assert done.code == codes.BUG
    assert "ZeroDivisionError" in done.err


def test_the_version_is_shown() -> None:
    assert ask("--version").out == f"memsessions {memsessions.__version__}\n"


def test_the_command_is_installed_under_its_name() -> None:
    script = Path(sys.executable).with_name("memsessions")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == run("--version").out


def test_without_the_extra_it_says_what_to_install() -> None:
    for missing in ("click", "rich"):
        program = (
            f"import sys; sys.modules[{missing!r}] = None; from memsessions.cli import main; sys.exit(main())"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == codes.USAGE
        assert done.stdout == ""
        assert done.stderr == (
            "memsessions: the command needs more packages: pip install 'memsessions[cli]'\n"
        )


def test_what_only_one_command_needs_is_not_imported_for_others() -> None:
    """Each command is there at once."""
    program = (
        "import sys; from memsessions.cli import main; main(['ping', '--server', 'memory://', '--json']);"
        "print([name for name in ('rich.progress', 'rich.live', 'plotext', 'pygal') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")


# ------------------------------------------------------------------------------------------------ JSON


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["apps"], []),
        (["sessions", "forum", "--user", "alice"], {"sessions": [], "total": 0}),
        (["sessions", "forum"], {"sessions": [], "total": 0}),
        (["activity", "forum"], {"activity": 0}),
        (["show", "forum"], None),
        (["kill", "forum"], {"kill": 0}),
        (["kill-user", "forum", "alice"], {"kill": 0}),
        (["kill-app", "forum", "--yes"], {"kill": 0}),
        (["set", "forum", "a=b"], None),
        (["wipe"], {"wiped": 0}),
        (["repair"], {}),
    ],
)
def test_json_is_one_document_also_where_there_is_nothing(
    at: At, arguments: list[str], expected: object
) -> None:
    done = at.ask(*arguments, "--json", stdin=UNKNOWN)
    assert done.out.endswith("\n")
    assert done.document == expected
    assert done.code == (0 if arguments[0] in ("apps", "wipe", "repair") or "--user" in arguments else 1)


def test_json_is_harmless_to_a_terminal_and_the_same_text_when_it_is_read(at: At) -> None:
    user = "\x1b]0;evil\x07\x9b31m\x7f\u202eab\u2028ä😀"
    at.ask("create", "forum", user)
    done = at.ask("sessions", "forum", "--json")
    assert done.out.removesuffix("\n").isprintable()
    assert done.out.isascii()
    assert done.document["sessions"][0]["id"] == user


# ------------------------------------------------------------------------------------- how it ends


@pytest.fixture
def many(there: At, make_client: MakeClient) -> Iterator[At]:
    """A store with an app whose list is longer than the buffer of a pipe."""
    rs = make_client(there.address, ns=there.ns)
    for n in range(1200):
        rs.create("forum", f"user{n}", "10.0.0.1", d={"text": "x" * 60})
    yield there
    rs.killall("forum")


@pytest.mark.parametrize("more", ["", "--json"])
def test_a_reader_that_does_not_read_to_the_end_is_no_error(many: At, more: str) -> None:
    command = shlex.join([*PROGRAM, *many.options, "sessions", "forum", "--limit", "0"])
    script = f"{command} {more} | head -c 10 >&2; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stdout == f"{codes.NOT_READ}\n"
    assert len(done.stderr) == 10


def test_an_answer_that_cannot_be_written_is_an_error_of_its_own(there: At) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *there.options, "apps"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == codes.CANNOT_WRITE
    assert done.stderr == "memsessions: [Errno 28] No space left on device\n"


@pytest.mark.parametrize(
    ("command", "closed", "code", "said"),
    [
        ("show forum", "<&-", codes.USAGE, "no token was given"),
        ("kill-app forum", "<&-", codes.USAGE, "say --yes"),
        ("ping", ">&-", codes.CANNOT_WRITE, "Bad file descriptor"),
        ("ping --json", ">&-", codes.CANNOT_WRITE, "Bad file descriptor"),
        ("--help", ">&-", codes.CANNOT_WRITE, "Bad file descriptor"),
        ("ping", "<&-", codes.DONE, ""),
        ("show forum", "<&- 2>&-", codes.USAGE, ""),
        ("ping", "<&- >&- 2>&-", codes.CANNOT_WRITE, ""),
    ],
)
def test_standard_streams_may_be_closed(there: At, command: str, closed: str, code: int, said: str) -> None:
    shown = shlex.join([*PROGRAM, *there.options])
    done = subprocess.run(
        ["bash", "-c", f"{shown} {command} {closed}"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert bool(done.stderr) == bool(said)
    assert "Traceback" not in done.stderr


def test_text_that_the_terminal_has_no_letters_for_is_escaped(there: At) -> None:
    there.ask("create", "forum", "zoë")
    env = {"PYTHONIOENCODING": "ascii", "MEMSESSIONS_SERVERS": there.address, "MEMSESSIONS_NS": there.ns}
    done = run("sessions", "forum", env=env)
    assert "zo\\xeb" in done.out
    assert done.code == 0


def test_main_can_be_called_from_any_thread(there: At) -> None:
    """Where signals cannot be handled."""
    import threading

    codes_seen: list[int] = []
    thread = threading.Thread(target=lambda: codes_seen.append(cli.main([*there.options, "wipe", "--json"])))
    thread.start()
    thread.join()
    assert codes_seen == [0]


def test_every_command_of_the_list_is_there() -> None:
    commands = group()
    with commands.make_context("memsessions", ["apps"]) as context:
        for name in NAMES:
            command = commands.get_command(context, name)
            assert command is not None
            assert command.name == name
