"""What is promised in time, on a machine that may be busy with something else.

What is late because of the machine is not so every time; what is late because of the code is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

from memsessions import SessionsClient, StoreUnavailable
from memsessions.breaker import GuardedStore
from memsessions.store.memcached import MemcachedStore

T = TypeVar("T")

_TRIES = 5


def least_s(call: Callable[[], object], below_s: float) -> float:
    """How long a call takes: the least of some tries, which end with the first that takes less than this."""
    least = math.inf
    for _try in range(_TRIES):
        began = time.monotonic()
        call()
        least = min(least, time.monotonic() - began)
        if least < below_s:
            break
    return least


def at_one_try(act: Callable[[], T]) -> T:
    """What `act` answers at the first of some tries at which it is in time; each has to begin anew."""
    for _try in range(_TRIES - 1):
        try:
            return act()
        except (AssertionError, StoreUnavailable):
            continue
    return act()


def waiting(rs: SessionsClient, timeout_s: float) -> None:
    """From now on it waits so long: what has to succeed may take longer than what has to fail."""
    for node in rs._nodes:
        store = node.store._store if isinstance(node.store, GuardedStore) else node.store
        assert isinstance(store, MemcachedStore)
        store._timeout_s = store._connect_timeout_s = timeout_s


def until(done: Callable[[], bool], patience_s: float = 20.0) -> None:
    """Wait for another thread or process."""
    give_up = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < give_up, "it does not come to pass"
        time.sleep(0.002)
