"""The commands that look, on each kind of store."""

from __future__ import annotations

import json

import pytest

from memsessions import SessionsClient
from memsessions.cli import codes
from memsessions.handles import handle_of_token

from ..conftest import Where
from ..support.sessions import UNKNOWN, Ticks, since
from .support import At, ask

EVIL = "\x1b]0;evil\x07\x1b[2J\x9b31m\u202ebob"


# ------------------------------------------------------------------------------------------------ ping


def test_ping_says_how_fast_each_server_answers(at: At) -> None:
    (found,) = at.ask("ping", "--json").document
    assert (found["server"], found["answer"]) == (at.address, "PONG")
    assert 0 <= found["ms"] < 1000
    assert at.ask("ping").out.splitlines()[1].split()[:2] == [at.address, "PONG"]


def test_ping_asks_all_servers_also_where_one_does_not_answer(there: At) -> None:
    done = ask("--server", there.address, "--server", "127.0.0.1:1", "ping", "--json")
    assert done.code == codes.UNAVAILABLE
    good, bad = done.document
    assert good["answer"] == "PONG"
    assert bad == {"server": "127.0.0.1:1", "error": "Connection refused"}
    assert done.err == "memsessions: 127.0.0.1:1: Connection refused\n"


# ------------------------------------------------------------------------------------------------ apps


def test_apps_tell_sessions_users_and_who_was_active_in_the_last_ten_minutes(
    at: At, rs: SessionsClient, where: Where
) -> None:
    for user in ("alice", "alice", "bob"):
        rs.create("forum", user, "10.0.0.1")
    where.advance(700)
    rs.create("forum", "carol", "10.0.0.1")
    rs.create("shop", "alice", "10.0.0.1")
    assert at.ask("apps", "--json").document == [
        {"app": "forum", "sessions": 4, "users": 3, "active": 1},
        {"app": "shop", "sessions": 1, "users": 1, "active": 1},
    ]
    assert [line.split() for line in at.ask("apps").out.splitlines()] == [
        ["app", "sessions", "users", "active"],
        ["forum", "4", "3", "1"],
        ["shop", "1", "1", "1"],
    ]


# -------------------------------------------------------------------------------------------- sessions


def test_sessions_lists_them_the_last_used_first(at: At, rs: SessionsClient, where: Where) -> None:
    ticks = Ticks(where)
    token = rs.create("forum", "alice", "10.0.0.1", ttl=3600, d={"theme": "dark"})["token"]
    where.advance(100)
    rs.create("forum", "bob", "10.0.0.2", no_resave=True, ttl=600)
    where.advance(30)
    document = at.ask("sessions", "forum", "--json").document
    assert document["total"] == 2
    bob, alice = document["sessions"]
    assert bob["no_resave"] is True
    assert bob["ttl"] == bob["left"]
    assert 570 - bob["ttl"] in since(ticks, 0)
    assert alice.pop("idle") in since(ticks, 130)
    assert 3600 - alice.pop("left") in since(ticks, 130)
    assert alice == {
        "id": "alice",
        "r": 1,
        "w": 1,
        "ttl": 3600,
        "ip": "10.0.0.1",
        "d": {"theme": "dark"},
        "handle": handle_of_token(token),
        "server": at.address,
    }
    header, first, second = at.ask("sessions", "forum").out.splitlines()
    assert header.split() == ["user", "ip", "idle", "ends", "in", "r", "w", "data", "handle"]
    assert first.startswith("bob")
    assert '{"theme": "dark"}' in second
    assert handle_of_token(token) in second
    assert token not in second


def test_sessions_are_chosen_by_use_and_user_and_limited(at: At, rs: SessionsClient, where: Where) -> None:
    for n in range(5):
        rs.create("forum", f"user{n % 2}", f"10.0.0.{n}")
        where.advance(100)

    def ips(*options: str) -> list[str]:
        return [each["ip"] for each in at.ask("sessions", "forum", "--json", *options).document["sessions"]]

    assert ips("--active", "250") == ["10.0.0.4", "10.0.0.3"]
    assert ips("--user", "user0") == ["10.0.0.4", "10.0.0.2", "10.0.0.0"]
    assert ips("--user", "user0", "--active", "350", "--limit", "1") == ["10.0.0.4"]
    assert ips("--limit", "2") == ["10.0.0.4", "10.0.0.3"]
    assert len(ips("--limit", "0")) == 5
    assert at.ask("sessions", "forum", "--limit", "2", "--json").document["total"] == 5
    done = at.ask("sessions", "forum", "--limit", "2")
    assert done.err == "memsessions: 5 sessions; the last used 2 are shown (--limit)\n"
    assert len(done.out.splitlines()) == 3


def test_sessions_of_an_app_that_is_known_and_empty_is_done(at: At, rs: SessionsClient) -> None:
    rs.create("forum", "alice", "10.0.0.1")
    rs.killall("forum")
    done = at.ask("sessions", "forum", "--json")
    assert (done.code, done.document, done.err) == (0, {"sessions": [], "total": 0}, "")
    done = at.ask("sessions", "forun", "--json")
    assert (done.code, done.document) == (codes.NOT_FOUND, {"sessions": [], "total": 0})
    assert done.err == "memsessions: there is no app forun; `memsessions apps` lists those that there are\n"


# ------------------------------------------------------------------------------------------------ show


def test_show_takes_the_token_from_stdin_and_shows_the_session(at: At, rs: SessionsClient) -> None:
    token = rs.create("forum", "alice", "10.0.0.1", d={"theme": "dark"})["token"]
    for text in (token, f"{token}\n", f"  {token}\r\nmore\n"):
        done = at.ask("show", "forum", "--json", stdin=text)
        assert done.document["d"] == {"theme": "dark"}
        assert done.document["handle"] == handle_of_token(token)
        assert token not in done.out + done.err
    shown = dict(line.split(None, 1) for line in at.ask("show", "forum", stdin=token).out.splitlines()[1:])
    assert shown["user"] == "alice"
    assert json.loads(shown["data"]) == {"theme": "dark"}


def test_show_is_no_access_and_does_not_renew(at: At, rs: SessionsClient, where: Where) -> None:
    ticks = Ticks(where)
    token = rs.create("forum", "alice", "10.0.0.1", ttl=100)["token"]
    where.advance(60)
    for _ in range(3):
        document = at.ask("show", "forum", "--json", stdin=token).document
        assert (document["r"], document["w"]) == (1, 1)
        assert document["idle"] in since(ticks, 60)
    where.advance(45)
    assert at.ask("show", "forum", stdin=token).code == codes.NOT_FOUND
    assert rs.get("forum", token) is None


def test_show_by_its_handle(at: At, rs: SessionsClient) -> None:
    token = rs.create("forum", "alice", "10.0.0.1")["token"]
    assert at.ask("show", "forum", "--handle", handle_of_token(token), "--json").document["id"] == "alice"
    done = at.ask("show", "forum", "--handle", "a" * 32)
    assert (done.code, done.out) == (codes.NOT_FOUND, "")
    assert at.ask("show", "forum", "--handle", "a b").code == codes.USAGE


@pytest.mark.parametrize("command", ["show", "kill", "set"])
def test_a_token_among_the_arguments_is_refused_and_not_repeated(at: At, command: str) -> None:
    done = at.ask(command, "forum", UNKNOWN, stdin=UNKNOWN)
    assert done.code == codes.USAGE
    assert UNKNOWN not in done.out + done.err


def test_no_token_at_all_is_bad_usage(at: At) -> None:
    for text in ("", "\n", "  \n"):
        done = at.ask("show", "forum", stdin=text)
        assert done.code == codes.USAGE
        assert "no token was given" in done.err
    done = at.ask("show", "forum", stdin="not a token")
    assert (done.code, done.err) == (codes.USAGE, "memsessions: Invalid token format\n")


def test_data_that_is_encrypted_is_shown_as_such(at: At, rs: SessionsClient) -> None:
    rs.documents("forum", _Sealing()).create({"secret": 1}, id="alice", ttl=100)
    out = at.ask("sessions", "forum").out
    assert "(encrypted)" in out
    assert "sealed" not in out


class _Sealing:
    def seal(self, data: bytes) -> str:
        return f"sealed{len(data)}"

    def open(self, sealed: str) -> bytes | None:
        raise NotImplementedError(sealed)


# ------------------------------------------------------------------------------ what must not get through


def test_control_characters_in_what_is_stored_do_not_reach_a_pipe(at: At, rs: SessionsClient) -> None:
    token = rs.create("forum", EVIL, "\x1b[31m10.0.0.1", d={"\x1b[1mkey": "\x9bvalue\x7f\r\n"})["token"]
    for arguments in (["sessions", "forum"], ["show", "forum"], ["sessions", "forum", "--user", EVIL]):
        done = at.ask(*arguments, stdin=token)
        assert done.code == 0
        assert all(line.isprintable() for line in done.out.splitlines())
        assert "evil" in done.out
    done = at.ask("kill-app", "forum", "--yes", stdin=token)
    assert done.code == 0


def test_control_characters_in_an_argument_do_not_reach_stderr(at: At) -> None:
    for arguments in (["kill-user", "forum", EVIL, EVIL], ["sessions", EVIL], [EVIL], ["set", "forum", EVIL]):
        done = at.ask(*arguments, stdin=UNKNOWN)
        assert done.code == codes.USAGE
        assert all(line.isprintable() for line in done.err.splitlines())
