"""Doing something at a chosen line of the library, in the middle of a call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import memsessions

_PACKAGE = str(Path(memsessions.__file__).parent)


def at_line(number: int, act: Callable[[], None], call: Callable[[], Any]) -> tuple[Any, bool]:
    """Call, with `act` called before the `number`th line of the package that this thread executes.

    That is where a signal handler can run. Returns the answer, and whether that line was reached; what
    `act` raises comes out of the line. Lines in finalizers are not counted: Python swallows what is raised
    there, so a signal handler cannot interrupt anything by it.
    """
    left = number

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(_PACKAGE) or frame.f_code.co_name == "__del__":
            return None
        if event == "line" and left > 0:
            left -= 1
            if left == 0:
                sys.settrace(before)
                act()
        return trace

    def calling() -> Iterator[Any]:
        yield call()

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        # In a generator: what a trace function, unlike a signal handler, raises on the last line of `except`
        # leaves Python 3.11 believing that the exception is being handled for ever.
        answer = next(calling())
    finally:
        sys.settrace(before)
    return answer, left == 0
