"""A short attack with cut packets finds nothing, and each thing that a cut must not leave behind is seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from memsessions import SessionsClient, index, wiping
from memsessions.index import Entry, Index
from memsessions.keys import AppKeys
from memsessions.store.memcached import MemcachedStore
from memsessions.store.operations import Add, Operation, Store

from .stress.cut_packets import CASES, SERVERS, attack, cut, said
from .support.attacks import attacked
from .support.memcached import Memcached

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover

NS = "cut"


@pytest.fixture(scope="module", params=list(SERVERS.values()), ids=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Memcached]:
    with Memcached(*request.param) as server:
        yield server


@pytest.fixture(autouse=True)
def same_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call sends the same each time: the size of a bucket is not asked for now and then."""
    monkeypatch.setattr(index, "_ASK_AGAIN", 0.0)
    monkeypatch.setattr(index, "_ASK_AGAIN_SOON", 0.0)


def test_a_short_attack_finds_nothing() -> None:
    attacked(attack, 3, 3, {"cuts": 15})


SHORT = ["create", "create in a full bucket", "set", "rotate", "kill", "killsoid"]


def line_ends(server: Memcached, name: str) -> list[int]:
    """The places in what a call sends at which the server has something whole, and its beginning."""
    return [0, *(match.end() for match in re.finditer(rb"\r\n", said(server, NS, name)))]


@pytest.mark.parametrize("name", SHORT)
def test_a_call_that_is_cut_between_any_two_lines_leaves_no_problem(server: Memcached, name: str) -> None:
    where = line_ends(server, name)
    assert len(where) > 3
    for after_bytes in where[:-1]:
        assert cut(server, NS, CASES[name], after_bytes) == (None, [], 0)


def found_somewhere(server: Memcached, name: str, expected: str) -> None:
    """Some cut of a call finds this."""
    problems: set[str] = set()
    for after_bytes in line_ends(server, name):
        problems.update(cut(server, NS, CASES[name], after_bytes).problems)
        if any(expected in problem for problem in problems):
            return
    raise AssertionError(f"{expected} is not among {problems}")


def reorder(monkeypatch: pytest.MonkeyPatch, order: Callable[[list[Operation]], list[Operation]]) -> None:
    """Send the operations of a packet in another order than the library wants."""
    run = MemcachedStore.run

    def reordered(self: MemcachedStore, batch: Any, **options: Any) -> list[Any]:
        sent = order(list(batch))
        answers = run(self, sent, **options)
        by_id = {id(op): answer for op, answer in zip(sent, answers, strict=True)}
        return [by_id[id(op)] for op in batch]

    monkeypatch.setattr(MemcachedStore, "run", reordered)


def test_a_session_that_is_stored_before_it_is_listed_is_found(
    server: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_session(op: Operation) -> bool:
        return isinstance(op, Add) and b":s:" in op.key

    reorder(monkeypatch, lambda batch: sorted(batch, key=lambda op: not is_session(op)))
    found_somewhere(server, "create", "not listed")


def test_a_segment_that_no_flag_tells_of_is_found(server: Memcached, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = Index.listing

    def unflagged(self: Index, *arguments: Any) -> list[Operation]:
        operations = listing(self, *arguments)
        return operations if len(operations) < 5 else [operations[4], *operations[1:4], operations[4]]

    monkeypatch.setattr(Index, "listing", unflagged)
    found_somewhere(server, "create in a full bucket", "something is left")


def test_a_record_of_a_dead_session_that_outlives_a_wipe_is_found(
    server: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiping, "is_old", lambda *_: False)
    found_somewhere(server, "create", "the wipe left")


def test_a_wipe_that_takes_a_living_session_off_the_list_is_found(
    server: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = wiping.gone

    def gone_and_another(store: Store, keys: AppKeys, entries: list[Entry]) -> tuple[set[bytes], list[bytes]]:
        dead, orphans = gone(store, keys, entries)
        return dead | {item.session for item in entries[:1]}, orphans

    monkeypatch.setattr(wiping, "gone", gone_and_another)
    found_somewhere(server, "create", "not listed")


def test_a_killsoid_that_forgets_a_session_is_found(
    server: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_user = Index.of_user
    monkeypatch.setattr(Index, "of_user", lambda *given, **named: of_user(*given, **named)[1:])
    found_somewhere(server, "get", "live on after killsoid")


def test_a_session_that_a_cut_call_has_changed_unasked_is_found(
    server: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_ = SessionsClient.set

    def also_sets_another(self: SessionsClient, app: str, token: str, d: Any) -> Any:
        del app, token, d
        return set_(self, "forum", self.create("forum", "x", "new one")["token"], {"k": 5})

    monkeypatch.setattr(SessionsClient, "set", also_sets_another)
    found_somewhere(server, "set", "new one is there 1 times")
