"""What the log records of this package have in common.

Each module logs under `memsessions`, which is silent unless the application has logging set up. A record has
fields beside its message, as attributes of the record: `server`, `app`, `operation`, `error` (a type),
`reason`, and numbers, where they apply. None ever has a token, a user, data or a password.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import StoreError

_SAY_AGAIN_S = 60.0


def about(error: StoreError, **more: object) -> dict[str, object]:
    """The fields of a record about an error of a server's."""
    return {"server": error.server, "error": type(error).__name__, "reason": error.reason, **more}


class Seldom:
    """Whether to say something that may happen all the time: once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = -float("inf")
        self._times = 0

    def due(self) -> int:
        """It happened: 0, or how often it did since it was said last, which it is to be now."""
        self._times += 1
        now = self._clock()
        if now < self._next:
            return 0
        times, self._times = self._times, 0
        self._next = now + _SAY_AGAIN_S
        return times
