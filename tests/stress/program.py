"""What every attack is made of."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Plan:
    """How long to attack, and with which dice."""

    seed: int
    duration_s: float
    _began: float = field(default_factory=time.monotonic)

    @property
    def dice(self) -> random.Random:
        """New dice that fall as they did the last time with this seed."""
        return random.Random(self.seed)

    @property
    def is_over(self) -> bool:
        return time.monotonic() - self._began >= self.duration_s

    def progress(self, text: str) -> None:
        """Say what is going on, to somebody who watches."""
        if sys.stderr.isatty():
            elapsed = time.monotonic() - self._began
            print(f"\r\x1b[K{elapsed:.0f} of {self.duration_s:.0f} s: {text}", end="", file=sys.stderr)


@dataclass
class Report:
    """What an attack did, by name, and each thing that should not have happened, described."""

    figures: Mapping[str, float]
    violations: list[str]
