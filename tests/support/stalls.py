"""How long this process was kept from running: time that no deadline of its calls can be blamed for."""

from __future__ import annotations

import threading
import time
from types import TracebackType

_SLEEP_S = 0.005


class Stalls:
    """Sleeps shortly, again and again, in a thread, and adds up by how much it woke up late.

    On a machine that has nothing else to do that is next to nothing, however long a call takes.
    """

    def __init__(self) -> None:
        self.late_s = 0.0  # since it was started
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            time.sleep(_SLEEP_S)
            late_s = time.monotonic() - began - _SLEEP_S
            if late_s > _SLEEP_S:
                self.late_s += late_s

    def __enter__(self) -> Stalls:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
