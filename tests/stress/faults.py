"""What goes wrong between a client and its server, one thing after the other."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from ..support.memcached import Memcached
from ..support.proxy import Proxy


class Faults:
    """Freezes a server, and loses and cuts what passes through a proxy in front of it.

    `timeout_s` is that of the clients: most of what is late is too late for them. `figures` says how often
    each fault was made; `cuts` are the periods in which connections were cut.
    """

    def __init__(self, dice: random.Random, server: Memcached, proxy: Proxy, timeout_s: float) -> None:
        self.figures: Counter[str] = Counter()
        self.cuts: list[tuple[float, float]] = []
        self._dice = dice
        self._server = server
        self._proxy = proxy
        self._timeout_s = timeout_s
        self._kinds: list[tuple[str, Callable[[float], None]]] = [
            ("freezes of the server", self._freeze),
            ("times all connections were cut", self._cut),
            ("times replies were lost and cut", self._lose_replies),
            ("times replies ended in their middle", self._halve_replies),
            ("times connections were half open", self._swallow),
            ("times replies came late", self._delay),
        ]

    def make(self) -> None:
        """One fault, and a pause after it."""
        name, fault = self._dice.choice(self._kinds)
        fault(self._dice.uniform(0.5, 2.5) * self._timeout_s)
        self.figures[name] += 1
        self._proxy.sent.clear()  # nobody looks at it, and it would grow for as long as the attack lasts
        time.sleep(self._dice.uniform(0.02, 0.3))

    def _freeze(self, seconds: float) -> None:
        self._server.freeze()
        time.sleep(seconds)
        self._server.thaw()

    def _cut(self, _seconds: float = 0) -> None:
        started = time.monotonic()
        self._proxy.cut()
        self.cuts.append((started, time.monotonic()))

    def _lose_replies(self, seconds: float) -> None:
        def lose(_chunk: bytes) -> None:
            self.cuts.append((time.monotonic(), time.monotonic()))

        self._proxy.to_client = lose
        time.sleep(seconds / 10)
        self._proxy.to_client = _whole

    def _halve_replies(self, seconds: float) -> None:
        self._proxy.to_client = _half
        time.sleep(seconds)
        self._proxy.to_client = _whole
        self._cut()

    def _swallow(self, seconds: float) -> None:
        self._proxy.hole = True
        time.sleep(seconds)
        self._proxy.hole = False
        self._cut()

    def _delay(self, seconds: float) -> None:
        self._proxy.delay_s = seconds
        time.sleep(2 * seconds)
        self._proxy.delay_s = 0


def _whole(chunk: bytes) -> bytes:
    return chunk


def _half(chunk: bytes) -> bytes:
    return chunk[: len(chunk) // 2]
