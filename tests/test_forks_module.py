"""What is called in a child process, and for how long."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable

import pytest

from memsessions import forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


class Thing:
    def __init__(self) -> None:
        self.forks = 0

    def forked(self) -> None:
        self.forks += 1


def in_child(check: Callable[[], bool]) -> bool:
    """What the check finds in a child process."""
    child = os.fork()
    if child == 0:
        right = False
        try:
            right = check()
        finally:
            os._exit(0 if right else 1)
    return os.waitpid(child, 0)[1] == 0


def test_a_hook_is_called_in_the_child_and_not_in_the_parent() -> None:
    thing = Thing()
    forks.call_in_child(thing, Thing.forked)
    assert in_child(lambda: thing.forks == 1)
    assert thing.forks == 0


def test_a_hook_is_called_in_the_child_of_a_child_as_well() -> None:
    thing = Thing()
    forks.call_in_child(thing, Thing.forked)
    assert in_child(lambda: thing.forks == 1 and in_child(lambda: thing.forks == 2))


def test_every_thing_has_its_own_hook() -> None:
    """Also several of one kind, and what one of them does is no matter to the others."""
    things = [Thing() for _ in range(5)]
    for thing in things:
        forks.call_in_child(thing, Thing.forked)
    del things[2]
    gc.collect()
    assert in_child(lambda: [thing.forks for thing in things] == [1] * 4)


def test_a_thing_that_is_named_twice_is_called_once() -> None:
    thing = Thing()
    forks.call_in_child(thing, Thing.forked)
    forks.call_in_child(thing, Thing.forked)
    assert in_child(lambda: thing.forks == 1)


def test_a_hook_keeps_nothing_alive_and_is_forgotten_with_its_thing() -> None:
    thing = Thing()
    place, reference = id(thing), weakref.ref(thing)
    forks.call_in_child(thing, Thing.forked)
    assert place in forks._hooks
    # Nothing else may be made between these two: it could have the same place.
    del thing
    assert reference() is None
    assert place not in forks._hooks


def test_a_thing_that_is_gone_is_not_called() -> None:
    called: list[int] = []
    thing = Thing()
    forks.call_in_child(thing, lambda _: called.append(1))
    assert in_child(lambda: called == [1])
    del thing
    gc.collect()
    assert in_child(lambda: called == [])
