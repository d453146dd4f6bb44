"""The forking process under attack works at all, within seconds, and what goes wrong in it is found."""

from __future__ import annotations

import os
import time

import pytest

from memsessions import Session, SessionsClient
from memsessions.sessions import AppSessions
from memsessions.store.memcached import MemcachedStore

from .stress import forked_children
from .support.attacks import assert_finds, attacked

pytestmark = [
    # From Python 3.12 on; that it is safe all the same is what is shown here.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning"),
    # Its tracer has a lock, which another thread of the parent may hold when a child is made.
    pytest.mark.no_cover,
]


def test_a_short_run_does_everything_and_finds_nothing() -> None:
    enough = {"forks": 10, "ended by a signal": 0, "calls of threads": 200, "calls of children": 200}
    attacked(forked_children.attack, 2, 3, enough)


def test_children_that_keep_the_sockets_of_their_parent_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemcachedStore, "_after_fork_in_child", lambda _: None)
    monkeypatch.setattr(forked_children, "_TIMEOUT_S", 1.0)
    assert_finds("failed", forked_children.attack, seed=2, duration_s=2)


def test_answers_of_other_sessions_are_found_in_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted in children alone: the parent's threads see none."""
    read, parent = AppSessions.read, os.getpid()
    before: list[str] = []

    def mixed_up(self: AppSessions, token: str) -> Session | None:
        before.append(token)
        return read(self, token if os.getpid() == parent else before[-2])

    monkeypatch.setattr(AppSessions, "read", mixed_up)
    assert_finds("get answered", forked_children.attack, seed=2, duration_s=2)


def test_a_child_that_hangs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SessionsClient, "_after_fork_in_child", lambda _: time.sleep(60))
    monkeypatch.setattr(forked_children, "_HANG_S", 0.3)
    assert_finds("a child hangs", forked_children.attack, seed=2, duration_s=1)
