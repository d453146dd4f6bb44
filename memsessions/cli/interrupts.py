"""Signals that end a command: in order, and not in the middle of what is short."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any


@contextlib.contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Let what is in here come to an end of its own when it is interrupted; gives what says whether it is.

    For a moment only, or for what asks. The interrupt follows at the end; a second one comes at once.
    """
    told: list[BaseException] = []

    def note(number: int, _frame: object) -> None:
        end = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        if told:
            raise end
        told.append(end)

    with _handling(note, signal.SIGINT, signal.SIGTERM):
        yield lambda: bool(told)
    if told:
        raise told[0]


def in_order() -> AbstractContextManager[None]:
    """Let SIGTERM end what is going on as an exception does, so that the terminal is left as it was found."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    return _handling(end, signal.SIGTERM)


@contextlib.contextmanager
def _handling(handler: Callable[[int, Any], None], *numbers: signal.Signals) -> Iterator[None]:
    """Signals are handled so; in another thread than the main one, nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)
