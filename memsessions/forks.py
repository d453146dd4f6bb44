"""What has to be put right in a child process, without anybody having to call anything."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

_hooks: dict[int, tuple[weakref.ref[Any], Callable[[Any], None]]] = {}


def call_in_child(thing: Any, function: Callable[[Any], None]) -> None:
    """Have `function(thing)` called in every child that is made while `thing` is alive.

    It runs before anything else does there, and must not wait for a lock: whoever holds it may be gone.
    """
    number = id(thing)

    def forget(_: object, hooks: dict[int, Any] = _hooks) -> None:
        hooks.pop(number, None)  # at the interpreter's exit, the module's own name is gone

    _hooks[number] = weakref.ref(thing, forget), function


def _after_fork_in_child() -> None:
    for reference, function in list(_hooks.values()):
        if (thing := reference()) is not None:
            function(thing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
