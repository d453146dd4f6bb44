"""`demo`, as who has just installed this runs it."""

from __future__ import annotations

import re

import pytest

from memsessions import SessionsClient, cli
from memsessions.cli import codes

from ..conftest import MakeClient
from ..support.memcached import Memcached
from .support import ask, run

STORY = (
    "get   {'id': 'alice', 'r': 2, 'w': 1, 'idle': 0, 'ttl': 3600,",
    "'w': 2, 'idle': 0, 'ttl': 3600, 'ip': '203.0.113.7', 'd': {'unread': 34}}",
    "get with the old token: None",
    "killsoid {'kill': 2}",
    "killall {'kill': 1}",
)


def test_the_demo_tells_its_story_without_a_server() -> None:
    done = run("demo")
    assert (done.code, done.err) == (0, "")
    for line in STORY:
        assert line in done.out
    assert "\n\n\n" not in done.out


def test_the_demo_asks_no_server_that_only_the_environment_names() -> None:
    done = ask("demo", env={"MEMSESSIONS_SERVERS": "127.0.0.1:1", "MEMSESSIONS_NS": "production"})
    assert done.code == 0
    assert "memory://" in done.out
    assert "production" not in done.out


def test_the_demo_leaves_nothing_on_a_real_server_and_touches_nothing_of_others(
    memcached: Memcached, make_client: MakeClient
) -> None:
    rs = make_client(memcached.address)  # with the namespace that is everybody's default
    token = rs.create("forum", "alice", "10.0.0.1")["token"]
    done = ask("--server", memcached.address, "demo")
    assert done.code == 0
    assert memcached.address in done.out
    assert memcached.keys("memsessions-demo") == []
    assert rs.get("forum", token) is not None
    rs.killall("forum")


def test_the_demo_leaves_nothing_where_it_is_interrupted(
    memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_client: SessionsClient, _app: str, _token: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SessionsClient, "rotate", interrupted)
    done = ask("demo", "--server", memcached.address)
    assert done.code == codes.INTERRUPTED
    assert done.err == "memsessions: interrupted\n"
    assert memcached.keys("memsessions-demo") == []


def test_the_demo_with_json_is_a_list_of_calls_without_a_token() -> None:
    document = ask("demo", "--json").document
    assert document[0]["call"] == "get"
    assert document[0]["answer"]["id"] == "alice"
    assert {"call": "killsoid", "answer": {"kill": 2}} in document
    assert not re.search(r"\w{64}", str(document))


def test_the_demo_refuses_a_namespace_that_may_be_somebodys() -> None:
    done = ask("demo", "--ns", "production")
    assert done.code == codes.USAGE
    assert "leave out --ns" in done.err


def test_the_help_says_which_of_the_shared_options_do_not_count() -> None:
    shown = " ".join(ask("demo", "--help").out.split())
    assert "$MEMSESSIONS_SERVERS and $MEMSESSIONS_NS do not count here" in shown
    assert "--ns is refused" in shown


def test_main_answers_with_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo"]) == 0
    assert "killsoid {'kill': 2}" in capsys.readouterr().out
