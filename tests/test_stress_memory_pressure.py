"""A short attack on servers with little memory finds nothing; what it looks for is found where it is so."""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from memsessions import SessionsClient, record
from memsessions.errors import StoreFull
from memsessions.index import Index
from memsessions.sessions import AppSessions, Making
from memsessions.store import wire
from memsessions.store.memcached import MemcachedStore
from memsessions.store.operations import Add, Delete

from .stress.memory_pressure import _NS, CASES, Case, attack, client, look, work
from .stress.program import Plan
from .support import inventory
from .support.memcached import Memcached

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover


def test_a_short_attack_finds_nothing() -> None:
    report = attack(Plan(seed=17, duration_s=3))
    assert report.violations == []
    assert report.figures["calls"] > 400


@pytest.mark.parametrize("name", CASES)
def test_a_round_finds_nothing_and_is_refused_or_loses_sessions(name: str) -> None:
    case = CASES[name]
    with Memcached("-t", "2", *case.options) as server, client(server, case) as rs:
        holders = work(server, rs, case, random.Random(1), 800)
        assert look(server, rs, holders, case.evicts) == []
    figures = sum((holder.figures for holder in holders), Counter[str]())
    happened = "evicted" if case.evicts else "StoreFull"
    assert sum(number for figure, number in figures.items() if happened in figure) > 3, figures
    assert figures["counters lost"] > 3


@pytest.fixture(scope="module")
def full() -> Iterator[Memcached]:
    with Memcached("-t", "2", *CASES["full"].options) as server:
        yield server


@pytest.fixture
def problems(full: Memcached) -> Iterator[Callable[[], set[str]]]:
    """What a round on a full server finds."""

    def play(case: Case = CASES["full"]) -> set[str]:
        with client(full, case) as rs:
            holders = work(full, rs, case, random.Random(1), 200)
            return set(look(full, rs, holders, case.evicts))

    yield play
    inventory.remove(full, _NS)


def test_a_session_that_evicts_another_in_silence_is_found() -> None:
    """As on a server that was started without `-M`, which is to be one that evicts nothing."""
    case = CASES["evicting"]._replace(evicts=False)
    with Memcached("-t", "2", *case.options) as server, client(server, case) as rs:
        found = look(server, rs, work(server, rs, case, random.Random(1), 300), evicts=False)
    assert "a session is gone after a while" in found


def test_a_refusal_that_is_taken_for_an_outage_is_found(
    problems: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "unexpected", lambda _: wire.ProtocolError("an unexpected reply"))
    assert {"create raises StoreUnavailable", "set raises StoreUnavailable"} & problems()


def test_a_refusal_that_is_not_noticed_is_found(
    problems: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = MemcachedStore.run

    def swallow(self: MemcachedStore, batch: Any, **options: Any) -> list[Any]:
        try:
            return run(self, batch, **options)
        except StoreFull as error:
            return [True if answer is None else answer for answer in error.answers]

    monkeypatch.setattr(MemcachedStore, "run", swallow)
    # Some calls try again for as long as they may.
    monkeypatch.setattr(MemcachedStore, "deadline", lambda _: time.monotonic() + 1)
    assert problems()


def test_a_session_that_was_refused_and_is_there_all_the_same_is_found(
    problems: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one whose index entry only was refused.

    Its record comes first, and often into the last place there was for one: then the rest of it is refused.
    """
    create = AppSessions.create

    def created(self: AppSessions, making: Making, *more: Any) -> str:
        key = self._keys.sessions + secrets.token_hex(11).encode()
        with contextlib.suppress(StoreFull):
            self._run((Add(key, record.encode(making.record), making.life.ttl),))
        token = create(self, making, *more)
        self._run((Delete(key),))
        return token

    monkeypatch.setattr(AppSessions, "create", created)
    found = problems()
    assert any("that nobody has" in problem for problem in found), found


def test_a_session_that_is_not_listed_is_found(
    problems: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Index, "listed", lambda *_: True)
    listing = Index.listing
    monkeypatch.setattr(Index, "listing", lambda *given, **named: listing(*given, **named)[:1])
    found = problems()
    assert any("not listed" in problem for problem in found), found


def test_a_set_that_takes_effect_though_it_was_refused_is_found(
    problems: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = AppSessions.write

    def written(self: AppSessions, *arguments: Any) -> Any:
        write(self, *arguments)
        raise StoreFull("server", "full")

    monkeypatch.setattr(AppSessions, "write", written)
    assert "a session is not as it was after a set that was refused" in problems()


def test_a_read_that_is_refused_is_found(
    problems: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> bytes:
        raise StoreFull("server", "full")

    monkeypatch.setattr(AppSessions, "_recount", refused)
    assert "lose_a_counter raises StoreFull" in problems()


def test_a_session_that_lives_after_its_end_is_found(
    problems: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SessionsClient, "kill", lambda *_: {"kill": 1})
    found = problems()
    assert "a session lives that had ended" in found
    assert any("that nobody has" in problem for problem in found)
