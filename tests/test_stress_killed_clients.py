"""A short attack with `kill -9` finds nothing, and what a dead client must not leave behind is seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memsessions import SessionsClient
from memsessions.index import _bucket_of
from memsessions.tokens import hashed

from .stress import killed_clients
from .stress.cut_packets import SERVERS
from .stress.journal import SHARED_APP, Known
from .stress.killed_clients import attack, problems_after
from .support.attacks import attacked
from .support.memcached import Memcached

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover

NS = killed_clients._NS


def test_a_short_attack_finds_nothing_and_kills_in_the_middle_of_calls() -> None:
    enough = {"kills": 1, "calls that came to their end": 10, "calls in the middle of a kill": 0}
    attacked(attack, 5, 3, enough)


class Client:
    """Writes a journal as the clients of the attack do, and gets killed when a test says so."""

    def __init__(self, server: Memcached, file: Path) -> None:
        self.server = server
        self.rs = SessionsClient(server.address, ns=NS, wipe=0, timeout=30)
        self._file = file
        self._lines: list[Any] = []

    def call(self, name: str, *arguments: Any) -> Any:
        answer = getattr(self.rs, name)(*arguments)
        self._lines += [[name, *arguments], [answer]]
        return answer

    def create(self, ip: str, d: dict[str, Any]) -> str:
        return str(self.call("create", SHARED_APP, "user0", ip, 3600, d, False)["token"])

    def problems(self, *pending: Any) -> list[str]:
        """What is found when it is killed in the middle of this call."""
        lines = [*self._lines, list(pending)] if pending else self._lines
        self._file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return problems_after(self.server, [Known(self._file)]).problems

    def delete(self, kind: str, name: str) -> None:
        self.server.delete(f"{NS}:{SHARED_APP}:{kind}:{name}")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Memcached(*SERVERS["evicts"]) as server:
        made = Client(server, tmp_path / "journal")
        yield made
        made.rs.close()


@pytest.fixture
def token(client: Client) -> str:
    """Of a session that was written and moved; another one was ended."""
    client.call("kill", SHARED_APP, client.create("1", {"n": 1}))
    token = client.create("2", {"n": 1})
    client.call("set", SHARED_APP, token, {"n": 2, "x": "y"})
    return str(client.call("rotate", SHARED_APP, token)["token"])


def test_a_client_that_died_between_calls_leaves_no_problem(client: Client, token: str) -> None:
    assert client.rs.get(SHARED_APP, token)
    assert client.problems() == []


def test_a_call_that_was_pending_may_have_taken_effect_or_not(client: Client, token: str) -> None:
    pending = ["set", SHARED_APP, token, {"n": 3}]
    assert client.problems(*pending) == []
    token = client.create("3", {"n": 1})
    client.rs.set(SHARED_APP, token, {"n": 3})
    del client._lines[:-2]
    assert client.problems("set", SHARED_APP, token, {"n": 3}) == []


@pytest.mark.parametrize("name", ["kill", "rotate"])
def test_a_pending_end_or_move_may_have_taken_effect(client: Client, token: str, name: str) -> None:
    getattr(client.rs, name)(SHARED_APP, token)
    assert client.problems(name, SHARED_APP, token) == []


def test_a_pending_create_may_have_taken_effect(client: Client) -> None:
    client.create("0", {"n": 0})
    client.rs.create(SHARED_APP, "user0", "1", 3600, {"n": 1})
    assert client.problems("create", SHARED_APP, "user0", "1", 3600, {"n": 1}, False) == []


def test_a_session_that_is_lost_is_found(client: Client, token: str) -> None:
    client.delete("s", hashed(token).decode())
    assert "a session is gone" in client.problems()


def test_a_session_that_is_lost_in_a_move_is_found(client: Client, token: str) -> None:
    client.rs.kill(SHARED_APP, token)
    found = client.problems("rotate", SHARED_APP, token)
    assert "a session that was to be moved is neither here nor there" in found


def test_a_write_that_is_lost_is_found(client: Client, token: str) -> None:
    client._lines += [["set", SHARED_APP, token, {"n": 9}], [{"d": {"n": 9, "x": "y"}, "w": 3}]]
    assert "a session is not as it was written" in client.problems()


def test_an_answer_that_shows_too_little_is_found(client: Client, token: str) -> None:
    client._lines += [["get", SHARED_APP, token], [{"d": {"n": 2}, "w": 2}]]
    assert "get of a session that lives does not show it as it is" in client.problems()


def test_a_session_that_lives_again_is_found(client: Client, token: str) -> None:
    assert token
    client.rs.create(SHARED_APP, "user0", "1", 3600, {"n": 1})
    assert "a session is there that should not be" in client.problems()


def test_a_session_that_killsoid_cannot_reach_is_found(client: Client, token: str) -> None:
    assert token
    client.delete("i", str(_bucket_of(hashed("user0"))))
    found = client.problems()
    assert "1 sessions are not listed" in found
    assert "1 sessions live on after killsoid" in found


def test_a_broken_record_is_found(client: Client, token: str) -> None:
    key = f"{NS}:{SHARED_APP}:s:{hashed(token).decode()}"
    client.server.ask(b"append %b 0 0 1\r\n}\r\n" % key.encode(), b"STORED\r\n")
    found = client.problems()
    assert "a session is gone" in found
    assert "1 items are broken" in found or any("cannot be used" in problem for problem in found)
