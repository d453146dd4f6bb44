"""A short attack with spoilt replies finds nothing, and what it looks for is found where it is so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from memsessions import record
from memsessions.store import connection, visits, wire
from memsessions.store.connection import Connection
from memsessions.store.memcached import MemcachedStore

from .stress import fuzzed_replies
from .stress.answers import CALLS, is_session
from .stress.fuzzed_replies import TRIES, Outcome, Turn, attack, take
from .stress.mutations import MUTATIONS
from .support.attacks import attacked
from .support.memcached import Memcached
from .support.relay import Relay

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover

TURNS = 300


def test_a_short_attack_finds_nothing_and_spoils_many_replies() -> None:
    enough = {"replies spoilt": 50, "error: StoreUnavailable": 20, "calls that answered all the same": 5}
    attacked(attack, 11, 3, enough)


@pytest.fixture(scope="module")
def relay(memcached: Memcached) -> Iterator[Relay]:
    with Relay(memcached) as relay:
        yield relay


@pytest.fixture
def spoil(memcached: Memcached, relay: Relay, request: pytest.FixtureRequest) -> Callable[..., Outcome]:
    """Make a call with a reply spoilt in this way, in a namespace that nobody used."""
    used = count()

    def turn(call: str, mutation: str, reply: int = 0, seed: int = 0, cold: bool = False) -> Outcome:
        for _ in range(TRIES):
            ns = f"f{abs(hash(request.node.name))}.{next(used)}"
            outcome = take(memcached, relay, ns, Turn(call, mutation, reply, cold, seed))
            if outcome.late_s <= 0:
                break
        return outcome

    return turn


@pytest.mark.parametrize("name", CALLS)
def test_a_call_whose_replies_are_left_alone_answers_right(spoil: Callable[..., Outcome], name: str) -> None:
    for cold in (False, True):
        outcome = spoil(name, "noise", 1000, cold=cold)
        assert (outcome.spoilt, outcome.error, outcome.problems) == (False, None, [])


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("name", ["get", "create", "killsoid"])
def test_a_reply_that_is_spoilt_is_an_error_or_what_it_could_be(
    spoil: Callable[..., Outcome], name: str, mutation: str
) -> None:
    for cold in (False, True):
        outcome = spoil(name, mutation, cold=cold, seed=5)
        assert outcome.spoilt
        assert outcome.problems == []


def found(spoil: Callable[..., Outcome], problem: str, name: str, mutation: str, reply: int = 0) -> None:
    """Some turn of this kind finds this."""
    problems: set[str] = set()
    for seed in range(TURNS):
        problems.update(spoil(name, mutation, reply, seed).problems)
        if problem in problems:
            return
    raise AssertionError(f"{problem} is not among {problems}")


def test_an_answer_to_another_request_is_found(
    spoil: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with fences that are all the same."""
    monkeypatch.setattr(connection, "_FENCES", connection._FENCES[:1])
    found(spoil, "it answers what is not so", "set", "an earlier one")


def test_an_answer_of_a_wrong_form_is_found(
    spoil: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_is_record", lambda parsed: type(parsed) is list and len(parsed) == 7)
    found(spoil, "it answers what is not of the right form", "get", "values changed")


@pytest.mark.parametrize(("name", "error"), [("set", "TypeError"), ("rotate", "AttributeError")])
def test_an_error_of_another_type_is_found(
    spoil: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, name: str, error: str
) -> None:
    monkeypatch.setattr(record, "_is_record", lambda parsed: type(parsed) is list and len(parsed) == 7)
    found(spoil, f"it raises {error}", name, "values changed")


def test_an_error_of_the_protocol_that_comes_out_is_found(
    spoil: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemcachedStore, "_raise_translated", lambda *_: None)
    found(spoil, "it raises ProtocolError", "kill", "after an earlier one")


def test_an_error_that_shows_a_secret_is_found(
    spoil: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (wire, visits):
        monkeypatch.setattr(
            module, "unexpected", lambda line: wire.ProtocolError(line.decode(errors="replace"))
        )
    found(spoil, "its error shows a secret", "get", "lines changed")


def test_a_connection_that_is_left_open_is_found(
    spoil: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    monkeypatch.setattr(MemcachedStore, "_discard", lambda _, lost: kept.append(lost))
    found(spoil, "a connection is left open", "get", "noise")
    for lost in kept:
        lost.close()


def test_a_connection_that_is_used_again_is_found(
    spoil: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemcachedStore, "_discard", lambda store, lost: store._pool.put(lost))
    found(spoil, "the next call raises StoreUnavailable", "create", "dripping")


def test_a_call_that_takes_too_long_is_found(
    spoil: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = Connection._chunk
    monkeypatch.setattr(Connection, "_chunk", lambda self, deadline, most: chunk(self, deadline + 0.5, most))
    assert spoil("get", "missing").late_s > 0


def test_too_much_memory_is_found(spoil: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    most = 1 << 30
    monkeypatch.setattr(connection, "reply_limit", lambda *_: wire.Limit(most, most, most))
    monkeypatch.setattr(fuzzed_replies, "TIMEOUT_S", 2.0)
    monkeypatch.setattr(fuzzed_replies, "MEMORY_BYTES", 16 << 20)
    outcome = spoil("get", "an endless line")
    assert any("MiB" in problem for problem in outcome.problems), outcome


SESSION: dict[str, Any] = {"id": "u", "r": 1, "w": 1, "idle": 0, "ttl": 10, "ip": "i", "d": None}


def test_only_a_map_of_the_right_keys_and_types_is_a_session() -> None:
    assert is_session(SESSION)
    assert is_session({**SESSION, "d": {"k": 1}, "no_resave": True})
    wrong: list[Any] = [
        None,
        [],
        {},
        dict(reversed(SESSION.items())),
        {**SESSION, "more": 1},
        {**SESSION, "no_resave": 1.5},
        {**SESSION, "idle": -1},
        *({**SESSION, key: True} for key in SESSION),
        *({**SESSION, key: 1.5} for key in SESSION),
    ]
    assert [shown for shown in wrong if is_session(shown)] == []
