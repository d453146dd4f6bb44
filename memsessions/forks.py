"""What has to be put right in a child process, without anybody having to call anything."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

_hooks: dict[int, weakref.WeakMethod[Callable[[], None]]] = {}


def call_in_child(method: Callable[[], None]) -> None:
    """Have a bound method called in every child that is made while the object it belongs to is alive.

    It runs before anything else does there, and must not wait for a lock: whoever holds it may be gone.
    """
    number = id(method.__self__)  # type: ignore[attr-defined]
    _hooks[number] = weakref.WeakMethod(method, lambda _: _hooks.pop(number, None))


def _after_fork_in_child() -> None:
    for reference in list(_hooks.values()):
        if (method := reference()) is not None:
            method()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
