"""What has to be put right in a child process, without anybody having to call anything."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that holds sockets, locks or threads, none of which a child may use."""

    def after_fork_in_child(self) -> None:
        """Begin anew. Called in the child before anything else runs there; must not wait for a lock."""


_alive: dict[int, weakref.ref[Forkable]] = {}


def register(thing: Forkable) -> None:
    """Have `after_fork_in_child` called in every child that is made while `thing` is alive."""
    number = id(thing)
    _alive[number] = weakref.ref(thing, lambda _: _alive.pop(number, None))


def _after_fork_in_child() -> None:
    for reference in list(_alive.values()):
        if (thing := reference()) is not None:
            thing.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
