"""A short attack on identity interrupts enough calls, and its callers see an answer of another session."""

from __future__ import annotations

import random

import pytest

from .conftest import MakeClient, OnMemcached
from .stress import identity
from .stress.calls import Caller, Known
from .support.attacks import attacked

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover


def test_a_short_attack_finds_nothing_and_interrupts_many_calls() -> None:
    enough = {
        "calls": 2000,
        "calls that a signal interrupted": 50,
        "threads that were killed": 50,
        "forks in the middle of a call": 5,
        "forks between calls": 5,
        "calls of children": 50,
        "error: no answer in time": 5,
    }
    figures = attacked(identity.attack, 7, 4, enough)
    assert figures["answers"] > 0.5 * figures["calls"]


@pytest.fixture
def known(on_memcached: OnMemcached, make_client: MakeClient) -> tuple[Known, Caller, list[str]]:
    """Four sessions, somebody who calls them, and what they found."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    known = Known.make(rs, 4)
    found: list[str] = []
    return known, Caller(rs, known, random.Random(3), "me", found), found


def call_often(caller: Caller) -> None:
    for _ in range(300):
        caller.call()


def test_a_caller_finds_nothing_where_nothing_is_wrong(known: tuple[Known, Caller, list[str]]) -> None:
    _, caller, found = known
    call_often(caller)
    assert found == []
    assert caller.figures["answers"] == caller.figures["calls"] > 300


def test_an_answer_of_another_session_is_found(known: tuple[Known, Caller, list[str]]) -> None:
    """With two tokens exchanged, a call is answered with a session that was not asked for."""
    sessions, caller, found = known
    sessions.tokens = [sessions.tokens[1], sessions.tokens[0], *sessions.tokens[2:]]
    call_often(caller)
    assert "get: session was ('user1', '192.0.2.1', 1), not ('user0', '192.0.2.1', 0)" in found
    assert any(text.startswith("set: session was") for text in found)


def test_an_answer_from_before_is_found(known: tuple[Known, Caller, list[str]]) -> None:
    """An answer to an earlier call for the same session shows fewer reads than were seen since."""
    sessions, caller, found = known
    sessions.reads[2] = 10_000
    call_often(caller)
    assert any(text.startswith("get of session 2 was answered") for text in found)
    assert not any("session 1" in text for text in found)


def test_an_empty_answer_for_a_living_session_is_found(
    known: tuple[Known, Caller, list[str]], on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    sessions, caller, found = known
    make_client(on_memcached.address, ns=on_memcached.ns).kill("forum", sessions.tokens[3])
    call_often(caller)
    assert "get of session 3 was answered None" in found
    assert "soid: number of sessions was 0, not 1" in found
    assert "activity: answer was {'activity': 3}, not {'activity': 4}" in found
