"""What a person at a terminal sees, and which keys do what."""

from __future__ import annotations

import sys

import pytest

from memsessions import SessionsClient
from memsessions.cli import codes
from memsessions.handles import handle_of_token

from ..conftest import MakeClient
from .support import At

# The command with bars from the first moment on, and each look at a group of records taking a while.
SLOW = """
import os, sys, time
from memsessions import index, operating, repairing
from memsessions.cli import main, output
output._PATIENCE_S = 0.0
index.GROUP_RECORDS = 1
def slowly(work):
    def worked(*arguments):
        time.sleep(float(os.environ.get("PAUSE_S", "0.02")))
        return work(*arguments)
    return worked
operating._Course.go_on = slowly(operating._Course.go_on)
index.Index._bucket = slowly(index.Index._bucket)
sys.exit(main())
"""
SLOWLY = (sys.executable, "-c", SLOW)
#: So slowly that it is still in the middle of it when a key is pressed, however late that comes.
SLOWER = {"PAUSE_S": "0.06"}


@pytest.fixture
def client(there: At, make_client: MakeClient) -> SessionsClient:
    return make_client(there.address, ns=there.ns)


# ------------------------------------------------------------------------------------------ tables


def test_a_table_is_drawn_with_lines_and_colours(there: At) -> None:
    with there.terminal("ping", columns=80) as terminal:
        assert terminal.wait() == 0
        assert "─────" in terminal.screen
        assert terminal.colours("PONG") == {"green"}


def test_a_server_that_does_not_answer_is_red() -> None:
    with At("127.0.0.1:1", "rs").terminal("ping") as terminal:
        assert terminal.wait() == codes.UNAVAILABLE
        assert terminal.colours("no answer") == {"red"}
        assert "memsessions: 127.0.0.1:1: Connection refused" in terminal.screen


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(there: At, env: dict[str, str]) -> None:
    with there.terminal("ping", env=env) as terminal:
        assert terminal.wait() == 0
        assert b"PONG" in terminal.raw
        assert terminal.colours("PONG") == {"default"}


def test_a_narrow_terminal_shows_everything(there: At, client: SessionsClient) -> None:
    token = client.create("forum", "alice", "203.0.113.7", d={"theme": "dark"})["token"]
    with there.terminal("sessions", "forum", columns=48) as terminal:
        assert terminal.wait() == 0
        assert "user     alice" in terminal.screen
        assert f"handle   {handle_of_token(token)}" in terminal.screen
        assert 'data     {"theme": "dark"}' in terminal.screen


def test_json_on_a_terminal_is_nothing_but_json(there: At, client: SessionsClient) -> None:
    client.create("forum", "alice", "10.0.0.1")
    with there.terminal("apps", "--json") as terminal:
        assert terminal.wait() == 0
        assert b"\x1b" not in terminal.raw
        assert terminal.screen.splitlines()[:3] == ["[", "  {", '    "app": "forum",']


def test_stored_escape_sequences_are_shown_and_not_obeyed(there: At, client: SessionsClient) -> None:
    """Neither the terminal's title nor its screen is somebody else's to change."""
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31mbob"
    token = client.create("forum", evil, "\x1b[31m10.0.0.1", d={"\x1b[8mkey": "\x1b[2Jvalue\n"})["token"]
    for arguments in (("sessions", "forum"), ("show", "forum", "--handle", handle_of_token(token))):
        with there.terminal(*arguments, columns=200) as terminal:
            assert terminal.wait() == 0
            assert r"\x1b]0;owned\x07\x1b[2J\x9b31mbob" in terminal.screen
            assert b"\x1b]" not in terminal.raw
            assert b"\x1b[2J" not in terminal.raw
            assert b"\x9b" not in terminal.raw.replace("─".encode(), b"")
            assert terminal._screen.title == ""


# ----------------------------------------------------------------------------------------- prompts


def test_the_token_is_asked_for_without_an_echo(there: At, client: SessionsClient) -> None:
    token = client.create("forum", "alice", "10.0.0.1", d={"theme": "dark"})["token"]
    with there.terminal("show", "forum") as terminal:
        terminal.wait_for("Token:")
        assert not terminal.echoes()
        terminal.type(f"{token}\n")
        assert terminal.wait() == 0
        assert "alice" in terminal.screen
        assert '"theme": "dark"' in terminal.screen
        assert token.encode() not in terminal.raw
        assert terminal.echoes()


def test_ctrl_c_at_the_prompt_leaves_the_terminal_as_it_was(there: At) -> None:
    with there.terminal("kill", "forum") as terminal:
        terminal.wait_for("Token:")
        terminal.press_ctrl_c()
        assert terminal.wait() == codes.INTERRUPTED
        assert terminal.echoes()
        assert "memsessions: interrupted" in terminal.screen
        assert "Traceback" not in terminal.screen


def test_kill_app_asks_and_says_what_it_is_about_to_do(there: At, client: SessionsClient) -> None:
    for n in range(3):
        client.create("forum", f"user{n}", "10.0.0.1")
    for keys in ("\n", "\x03"):
        with there.terminal("kill-app", "forum", columns=150) as terminal:
            shown = terminal.wait_for("[y/N]")
            assert f"End 3 sessions of forum (<SessionsClient {there.address} ns='{there.ns}'>)?" in shown
            terminal.press(keys)
            assert terminal.wait() == codes.INTERRUPTED
            assert ("nothing was done" if keys != "\x03" else "interrupted") in terminal.screen
    assert client.activity("forum") == {"activity": 3}
    with there.terminal("kill-app", "forum", columns=150) as terminal:
        terminal.wait_for("[y/N]")
        terminal.type("y\n")
        assert terminal.wait() == 0
        assert "3 sessions ended" in terminal.screen
    assert client.activity("forum") == {"activity": 0}


def test_kill_app_says_that_a_server_is_away_before_it_asks(there: At, client: SessionsClient) -> None:
    client.create("forum", "alice", "10.0.0.1")
    with there.terminal("--server", "127.0.0.1:1", "kill-app", "forum", columns=200) as terminal:
        shown = terminal.wait_for("[y/N]")
        assert "127.0.0.1:1 cannot be reached. End at least 1 session of forum (" in shown
        terminal.type("y\n")
        assert terminal.wait() == codes.UNAVAILABLE
        assert "1 sessions were ended elsewhere or before, others may live" in terminal.screen
    assert client.activity("forum") == {"activity": 0}


# -------------------------------------------------------------------------------- what takes longer


@pytest.fixture
def some(client: SessionsClient) -> list[str]:
    """Sessions of so many users that a slow command can be watched."""
    return [client.create("forum", f"user{n}", "10.0.0.1")["token"] for n in range(40)]


@pytest.mark.parametrize(
    ("arguments", "bar"),
    [
        (["apps"], "counting apps"),
        (["sessions", "forum"], "looking at forum"),
        (["wipe"], "wiping"),
        (["repair"], "repairing"),
        (["kill-app", "forum", "--yes"], "ending forum"),
    ],
)
@pytest.mark.usefixtures("some")
def test_a_bar_is_shown_and_taken_away(there: At, arguments: list[str], bar: str) -> None:
    with there.terminal(*arguments, program=SLOWLY) as terminal:
        if arguments[0] != "sessions":  # which is not slow enough to be looked at
            terminal.wait_for(bar)
        assert terminal.wait() == 0
        assert bar not in terminal.screen
        assert not terminal.cursor_hidden


@pytest.mark.usefixtures("some")
def test_apps_has_one_bar_over_all_of_them(there: At, client: SessionsClient) -> None:
    for app in ("blog", "shop", "wiki"):
        client.create(app, "alice", "10.0.0.1")
    with there.terminal("apps", program=SLOWLY) as terminal:
        terminal.wait_for("counting apps", "1/4")  # of blog, forum, shop, wiki
        assert terminal.wait() == 0
    assert terminal.raw.count(b"\x1b[?25l") == 1  # the cursor is hidden once: there is one bar
    assert b"/40" not in terminal.raw


@pytest.mark.usefixtures("some")
def test_ctrl_c_stops_kill_app_in_order(there: At, client: SessionsClient) -> None:
    """What it says it has ended is ended, everybody else is logged in, and nothing is in between."""
    with there.terminal("kill-app", "forum", "--yes", program=SLOWLY, env=SLOWER) as terminal:
        terminal.wait_for_match(r"ending forum.* [1-9]\d*/40")
        terminal.press_ctrl_c()
        assert terminal.wait() == codes.INTERRUPTED
        (ended,) = [line for line in terminal.screen.splitlines() if "ended" in line]
        assert ended.endswith("ended, the others live")
        assert "memsessions: interrupted" in terminal.screen
        assert not terminal.cursor_hidden
    killed = int(ended.split()[0])
    assert 0 < killed < 40
    assert client.killall("forum") == {"kill": 40 - killed}


@pytest.mark.parametrize("arguments", [["apps"], ["repair"]])
@pytest.mark.usefixtures("some")
def test_ctrl_c_ends_everything_else_without_a_traceback(there: At, arguments: list[str]) -> None:
    with there.terminal(*arguments, program=SLOWLY, env=SLOWER) as terminal:
        terminal.wait_for("/")
        terminal.press_ctrl_c()
        assert terminal.wait() == codes.INTERRUPTED
        assert "memsessions: interrupted" in terminal.screen
        assert "Traceback" not in terminal.screen
        assert not terminal.cursor_hidden
        assert terminal.echoes()


@pytest.mark.usefixtures("some")
def test_a_signal_to_end_leaves_the_terminal_as_it_was(there: At) -> None:
    with there.terminal("apps", program=SLOWLY, env=SLOWER) as terminal:
        terminal.wait_for("counting apps")
        terminal.terminate()
        assert terminal.wait() == 128 + 15
        assert not terminal.cursor_hidden
        assert "Traceback" not in terminal.screen


def test_activity_is_watched_in_one_place(there: At, client: SessionsClient) -> None:
    client.create("forum", "alice", "10.0.0.1")
    with there.terminal("activity", "forum", "--watch", "0.2", columns=60) as terminal:
        terminal.wait_for("1 user of forum active in the last 600 s", "█", "Ctrl-C ends")
        client.create("forum", "bob", "10.0.0.1")
        terminal.wait_for("2 users of forum", "▄█")
        assert terminal.screen.count("forum") == 1
        terminal.resize(40, 20)
        client.create("forum", "carol", "10.0.0.1")
        terminal.wait_for("3 users of forum")
        terminal.press_ctrl_c()
        assert terminal.wait() == codes.INTERRUPTED
        assert "memsessions: interrupted" in terminal.screen
        assert not terminal.cursor_hidden
