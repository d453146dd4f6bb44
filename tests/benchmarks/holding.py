"""What holds other things until it ends: servers, processes, files."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType


class Holding:
    """Leaves, at its end, every context that it has entered in its stack."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
