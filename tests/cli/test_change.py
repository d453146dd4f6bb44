"""The commands that change sessions, on each kind of store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest

from memsessions import Created, SessionsClient
from memsessions.cli import codes
from memsessions.handles import handle_of_token

from ..conftest import MakeClient, OnMemcached
from ..support.sessions import UNKNOWN
from .support import PROGRAM, At, ask, environment, run

# ---------------------------------------------------------------------------------------------- create


def test_create_answers_with_the_token_and_nothing_else(at: At, rs: SessionsClient) -> None:
    done = at.ask("create", "forum", "alice")
    assert len(done.out) == 65
    session = rs.get("forum", done.out.strip())
    assert session is not None
    assert (session["id"], session["ip"], session["ttl"], session["d"]) == ("alice", "unknown", 7200, None)
    token = at.ask("create", "forum", "alice", "--json").document["token"]
    assert rs.get("forum", token) is not None


def test_create_takes_everything_that_a_session_has(at: At, rs: SessionsClient) -> None:
    options = ["--ip", "203.0.113.7", "--ttl", "600", "--no-resave"]
    token = at.ask("create", "forum", "alice", *options, "theme=dark").out.strip()
    session = rs.get("forum", token)
    assert session is not None
    assert session["no_resave"]
    assert (session["ip"], session["d"]) == ("203.0.113.7", {"theme": "dark"})
    assert 590 < session["ttl"] <= 600


@pytest.mark.parametrize(
    ("arguments", "stdin", "data"),
    [
        (["a=b"], "", {"a": "b"}),
        (["a=1", "b:=1", "c:=1.5", "d:=true", 'e:="x=y"', "f="], "", None),
        (["a=b=c", "b=", "x y= z "], "", {"a": "b=c", "b": "", "x y": " z "}),
        (["--data", '{"a": 1, "b": "x"}'], "", {"a": 1, "b": "x"}),
        (["--data", "-"], '{"a": 1, "b": "x"}', {"a": 1, "b": "x"}),
        (["--data", '{"a": 1, "b": "x"}', "a=2", "c:=null"], "", {"a": "2", "b": "x"}),
        (["ä=ö"], "", {"ä": "ö"}),
        (["--", "-a=b"], "", {"-a": "b"}),
        (["--data", "{}"], "", None),
    ],
)
def test_data_is_pairs_of_text_or_json(
    at: At, rs: SessionsClient, arguments: list[str], stdin: str, data: dict[str, object] | None
) -> None:
    done = at.ask("create", "forum", "alice", *arguments, stdin=stdin)
    assert done.code == 0, done.err
    session = rs.get("forum", done.out.strip())
    assert session is not None
    if "b:=1" in arguments:
        data = {"a": "1", "b": 1, "c": 1.5, "d": True, "e": "x=y", "f": ""}
    assert session["d"] == data


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["secret"], "KEY=VALUE or KEY:=JSON is wanted, which number 1 of these is not"),
        (["a=b", "=secret"], "which number 2 of these is not"),
        ([":=1"], "which number 1 of these is not"),
        (["a:=secret"], "what stands after := in number 1 of these is not JSON: Expecting value"),
        (["a:=[1]"], "d.a has a forbidden type"),
        (["a:=NaN"], "not a number"),
        (["--data", "[secret"], "--data is not JSON: Expecting value"),
        (["--data", "[1]"], "--data must be a JSON object"),
        (["--data", "-"], "--data is not JSON"),
        (["--data", "[" * 100_000], "--data is not JSON: it is nested too deep"),
        ([f"a:={10**30}"], "more than 64 bits"),
        (["a:=" + "1" * 5000], "after := in number 1 of these has a whole number of more than 64 bits"),
        (["--data", '{"a": %s}' % ("1" * 5000)], "--data has a whole number of more than 64 bits"),
        (["a=" + "x" * 2_000_000], "d is too large"),
    ],
)
def test_data_that_cannot_be_is_refused_before_anything_is_asked_and_not_shown(
    arguments: list[str], message: str
) -> None:
    for command in (["create", "forum", "alice"], ["set", "forum"]):
        done = ask("--server", "127.0.0.1:1", *command, *arguments, stdin=UNKNOWN + "\n")
        assert done.code == codes.USAGE
        assert message in done.err
        assert "secret" not in done.err
        assert done.out == ""


def test_an_interrupt_leaves_no_session_whose_token_nobody_knows(
    at: At, rs: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = SessionsClient.create

    def interrupted(*arguments: Any) -> Created:
        os.kill(os.getpid(), signal.SIGINT)
        return create(*arguments)

    monkeypatch.setattr(SessionsClient, "create", interrupted)
    done = at.ask("create", "forum", "alice")
    assert (done.code, done.err) == (codes.INTERRUPTED, "memsessions: interrupted\n")
    assert rs.get("forum", done.out.strip()) is not None


@pytest.mark.parametrize(("full", "code"), [(True, codes.CANNOT_WRITE), (False, codes.NOT_READ)])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_token_that_cannot_be_written_leaves_no_session(
    there: At, make_client: MakeClient, full: bool, code: int, more: list[str]
) -> None:
    if full:
        side = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, side = os.pipe()
        os.close(reading)
    command = [*PROGRAM, *there.options, "create", "forum", "alice", *more]
    try:
        done = subprocess.run(command, stdout=side, stderr=subprocess.PIPE, env=environment(), check=False)
    finally:
        os.close(side)
    assert done.returncode == code, done.stderr
    rs = make_client(there.address, ns=there.ns)
    assert rs.soid("forum", "alice") == []


def test_a_second_interrupt_does_not_wait(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(*_arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError

    monkeypatch.setattr(SessionsClient, "killsoid", stuck)
    done = at.ask("kill-user", "forum", "alice")
    assert (done.code, done.out, done.err) == (codes.INTERRUPTED, "", "memsessions: interrupted\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ------------------------------------------------------------------------------------------------- set


def test_set_merges_and_removes_and_shows_the_session(at: At, rs: SessionsClient) -> None:
    token = rs.create("forum", "alice", "10.0.0.1", d={"theme": "dark", "a": 1})["token"]
    done = at.ask("set", "forum", "unread:=34", "theme:=null", "--json", stdin=token)
    assert done.document["d"] == {"a": 1, "unread": 34}
    assert (done.document["r"], done.document["w"]) == (1, 2)
    done = at.ask("set", "forum", "--data", "-", stdin=f"{token}\n" + json.dumps({"a": None, "b": "\n"}))
    assert done.code == 0
    session = rs.get("forum", token)
    assert session is not None
    assert session["d"] == {"unread": 34, "b": "\n"}


def test_set_without_data_is_bad_usage_and_without_a_session_not_found(at: At) -> None:
    done = at.ask("set", "forum", stdin=UNKNOWN)
    assert done.code == codes.USAGE
    assert "nothing is to be set" in done.err
    done = at.ask("set", "forum", "a=b", stdin=UNKNOWN)
    assert (done.code, done.out) == (codes.NOT_FOUND, "")
    assert done.err == "memsessions: forum has no such session: it never was, has expired or was ended\n"


# ------------------------------------------------------------------------------------------------ kill


def test_kill_ends_one_session(at: At, rs: SessionsClient) -> None:
    tokens = [rs.create("forum", "alice", "10.0.0.1")["token"] for _ in range(4)]
    done = at.ask("kill", "forum", stdin=tokens[0])
    assert (done.code, done.out) == (0, "1 session ended\n")
    assert at.ask("kill", "forum", "--json", stdin=tokens[1]).document == {"kill": 1}
    assert at.ask("kill", "forum", "--json", "--handle", handle_of_token(tokens[2])).document == {"kill": 1}
    assert [rs.get("forum", token) is not None for token in tokens] == [False, False, False, True]
    for options in ([], ["--handle", handle_of_token(tokens[2])]):
        done = at.ask("kill", "forum", "--json", *options, stdin=tokens[0])
        assert (done.code, done.document) == (codes.NOT_FOUND, {"kill": 0})


def test_kill_user_logs_a_user_out_everywhere(at: At, rs: SessionsClient) -> None:
    for user in ("alice", "alice", "bob"):
        rs.create("forum", user, "10.0.0.1")
    assert at.ask("kill-user", "forum", "alice").out == "2 sessions ended\n"
    assert at.ask("kill-user", "forum", "alice").code == codes.NOT_FOUND
    assert at.ask("kill-user", "forum", "bob", "--json").document == {"kill": 1}


def test_kill_user_says_what_it_did_where_a_server_is_away(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    make_client(on_memcached.address, ns=on_memcached.ns).create("forum", "alice", "10.0.0.1")
    servers = ["--server", on_memcached.address, "--server", "127.0.0.1:1", "--ns", on_memcached.ns]
    done = ask(*servers, "kill-user", "forum", "alice", "--json")
    assert (done.code, done.out) == (codes.UNAVAILABLE, "")
    assert "1 sessions were ended elsewhere or before, others may live" in done.err


def test_kill_app_and_kill_by_handle_end_what_they_can_where_a_server_is_away(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    token = rs.create("forum", "alice", "10.0.0.1")["token"]
    rs.create("forum", "bob", "10.0.0.1")
    servers = ["--server", on_memcached.address, "--server", "127.0.0.1:1", "--ns", on_memcached.ns]
    done = ask(*servers, "kill", "forum", "--handle", handle_of_token(token))
    assert (done.code, done.out) == (0, "1 session ended\n")
    done = ask(*servers, "kill-app", "forum", "--yes")
    assert (done.code, done.out) == (codes.UNAVAILABLE, "")
    assert "1 sessions were ended elsewhere or before, others may live" in done.err
    assert rs.activity("forum") == {"activity": 0}


def test_kill_app_does_not_ask_with_yes_and_refuses_without_where_nobody_can_be_asked(
    at: At, rs: SessionsClient
) -> None:
    rs.create("forum", "alice", "10.0.0.1")
    done = at.ask("kill-app", "forum", stdin="y\n")
    assert done.code == codes.USAGE
    assert "say --yes" in done.err
    assert rs.activity("forum") == {"activity": 1}
    done = at.ask("kill-app", "forum", "--yes")
    assert (done.code, done.out) == (0, "1 session ended\n")
    assert at.ask("kill-app", "forum", "--yes").code == codes.NOT_FOUND


def test_a_life_from_the_command_line_in_processes_of_their_own(on_memcached: OnMemcached) -> None:
    """Each command as a person runs it, one after the other."""
    env = {"MEMSESSIONS_SERVERS": on_memcached.address, "MEMSESSIONS_NS": on_memcached.ns}
    token = run("create", "forum", "alice", "theme=dark", env=env).out
    assert run("set", "forum", "unread:=34", "--json", stdin=token, env=env).document["w"] == 2
    assert run("show", "forum", "--json", stdin=token, env=env).document["d"] == {
        "theme": "dark",
        "unread": 34,
    }
    assert run("sessions", "forum", "--json", env=env).document["total"] == 1
    assert run("apps", "--json", env=env).document[0]["users"] == 1
    assert run("kill", "forum", stdin=token, env=env) == (0, "1 session ended\n", "")
    assert run("show", "forum", stdin=token, env=env).code == codes.NOT_FOUND
