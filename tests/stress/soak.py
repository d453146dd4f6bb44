"""Everything at once for an hour: what a client and a server hold must not grow.

Threads come and go, as do clients, and one of two servers freezes now and then, so that calls time out.
Memory, objects, descriptors and threads of this process, and the servers' items, are looked at between two
periods of load; the first third of them is warm-up.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from memsessions import SessionsClient
from memsessions.cache import SessionCache
from memsessions.index import Index
from memsessions.side_by_side import SideBySide
from memsessions.store.connection import Connection
from memsessions.store.memcached import MemcachedStore
from memsessions.store.pool import Pool
from memsessions.wiping import WipeThread

from ..support.load import TTL_S, Worker
from ..support.memcached import Memcached
from .program import Plan, Report

DURATION_S = 3600
_NS = "soak"
_CLIENTS = 2
_WORKERS = 4
_PERIODS = 30
_LEAST_SAMPLES = 6
# Between two calls of a worker: this is about what stays, not about how much fits into a second.
_REST_S = 0.01
_TIMEOUT_S = 0.3
_FREEZE_EVERY_S = 10.0
# What may remain on the server when everything has ended: the list of apps, and the lease of the wipe.
_FOR_GOOD = {f"{_NS}:apps", f"{_NS}:wipe"}
# How much the median of the second half may be above that of the first half, as a part and as a number.
_ALLOWED: Mapping[str, tuple[float, float]] = {
    "rss_kb": (0.02, 1_500),
    "objects": (0.01, 300),
    "blocks": (0.01, 1_500),
    "descriptors": (0.0, 4),
    "items": (0.15, 100),
}


@dataclass
class _Sample:
    """What was there after a period of load."""

    rss_kb: int
    objects: int
    blocks: int
    descriptors: int
    threads: int
    items: int


def attack(plan: Plan) -> Report:
    dice = plan.dice
    violations: list[str] = []
    with Memcached("-m", "256", "-t", "1") as one, Memcached("-m", "256", "-t", "1") as other:
        servers = [one, other]
        addresses = [one.address, other.address]
        before = _Before()
        # The wipe has a thread, and whoever calls a client, that included, may need one more, for the other
        # server; and a connection to each.
        most_threads = before.threads + _CLIENTS * (1 + _WORKERS + 1)
        most_descriptors = before.descriptors + _CLIENTS * 2 * (_WORKERS + 1)
        clients = [
            SessionsClient(addresses, ns=_NS, wipe=10, timeout=_TIMEOUT_S),
            SessionsClient(addresses, ns=_NS, timeout=_TIMEOUT_S, cachetime=1, cachemax=64),
        ]
        workers = [
            Worker(n, clients[0], clients[1], dice.randrange(2**32), ghosts=True) for n in range(_WORKERS)
        ]
        for worker in workers:
            worker.open_clients_by(partial(_open_client, addresses, random.Random(dice.random())))
        samples: list[_Sample] = []
        freezes = 0
        freeze_every_s = min(_FREEZE_EVERY_S, plan.duration_s / 5)
        while not plan.is_over or len(samples) < _LEAST_SAMPLES:
            freezes += _load(servers, workers, dice, plan.duration_s / _PERIODS, freeze_every_s)
            # Each client has its wipe thread; those of clients that were closed have been told to end.
            _settle(most_threads)
            samples.append(_sample(servers))
            plan.progress(f"{sum(worker.calls.total() for worker in workers)} calls, {samples[-1]}")
        violations += [f"{s.threads} threads were there" for s in samples if s.threads > most_threads]
        violations += [f"{s.descriptors} were open" for s in samples if s.descriptors > most_descriptors]
        violations += _growth(samples)
        time.sleep(1)  # until then a client may leave alone the server that froze last
        remaining = _end(servers, clients[0], workers)
        violations += [f"{key.split(':', 3)[:3]} remained on the server" for key in remaining]
        for client in clients:
            client.quit()
        for worker in workers:
            violations += worker.violations
        calls = sum((worker.calls for worker in workers), Counter[str]())
        unavailable = sum(worker.unavailable for worker in workers)
        ghosts = sum(worker.ghosts for worker in workers)
        del client, clients, worker, workers
        violations += before.left_behind()
    figures = {"seconds": plan.duration_s, "calls": calls.total(), "unavailable": unavailable}
    figures |= {
        "ghosts seen": ghosts,
        "freezes": freezes,
        "clients opened": calls["client"],
        "items at the end": len(remaining),
    }
    return Report(figures | _summary(samples), violations)


def _open_client(addresses: list[str], dice: random.Random) -> SessionsClient:
    cachetime = dice.choice((0, 1))
    return SessionsClient(addresses, ns=_NS, wipe=10, timeout=_TIMEOUT_S, cachetime=cachetime)


def _load(
    servers: list[Memcached],
    workers: list[Worker],
    dice: random.Random,
    duration_s: float,
    freeze_every_s: float,
) -> int:
    """Let all work for a while, in threads of their own; say how often a server froze."""
    ends = time.monotonic() + duration_s

    def work(worker: Worker) -> None:
        while time.monotonic() < ends:
            worker.step()
            time.sleep(_REST_S)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    freezes = 0
    while time.monotonic() + (wait_s := dice.expovariate(1 / freeze_every_s)) < ends:
        time.sleep(wait_s)
        server = dice.choice(servers)
        server.freeze()
        time.sleep(dice.uniform(1.1, 4) * _TIMEOUT_S)
        server.thaw()
        freezes += 1
    for thread in threads:
        thread.join()
    return freezes


def _end(servers: list[Memcached], rs: SessionsClient, workers: list[Worker]) -> list[str]:
    """End some sessions, let the others expire, wipe; what remains on the server that should not."""
    for worker in workers[::2]:
        worker.leave()
    for server in servers:
        server.advance(_NS, 3 * TTL_S)
    rs.wipe()
    return [key for server in servers for key in server.keys(_NS) if key not in _FOR_GOOD]


# --------------------------------------------------------------------------------------- what is there


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  iterdir opens one of its own for longer


def _settle(threads: int) -> None:
    """Let threads that are about to end do so."""
    give_up = time.monotonic() + 1
    while threading.active_count() > threads and time.monotonic() < give_up:
        gc.collect()
        time.sleep(0.01)


def _sample(servers: list[Memcached]) -> _Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return _Sample(
        rss_kb=pages * os.sysconf("SC_PAGE_SIZE") // 1024,
        objects=len(gc.get_objects()),
        blocks=sys.getallocatedblocks(),
        descriptors=_descriptors(),
        threads=threading.active_count(),
        items=sum(int(server.stats()["curr_items"]) for server in servers),
    )


def _growth(samples: list[_Sample]) -> list[str]:
    grown = []
    for name, (part, number) in _ALLOWED.items():
        first, second = _medians(samples, name)
        if second > first * (1 + part) + number:
            grown.append(f"{name} grew from {first:.0f} to {second:.0f}")
    return grown


def _medians(samples: list[_Sample], name: str) -> tuple[float, float]:
    """Of the two halves of what follows the warm-up."""
    values = [asdict(sample)[name] for sample in samples[len(samples) // 3 :]]
    half = len(values) // 2
    return statistics.median(values[:half]), statistics.median(values[half:])


def _summary(samples: list[_Sample]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name in asdict(samples[0]):
        first, second = _medians(samples, name)
        figures |= {f"{name}, first half": first, f"{name}, second half": second}
    return figures


class _Before:
    """What was there before the first client was made, and has to be all there is after the last one."""

    def __init__(self) -> None:
        gc.collect()
        self.descriptors = _descriptors()
        self.threads = threading.active_count()
        self._clients = _parts_of_clients()

    def left_behind(self) -> list[str]:
        """What is more now."""
        _settle(self.threads)
        gc.collect()
        left = [f"{number} {name} remained" for name, number in (_parts_of_clients() - self._clients).items()]
        if (threads := threading.active_count()) > self.threads:
            left.append(f"{threads} threads remained, not {self.threads}")
        if (descriptors := _descriptors()) > self.descriptors:
            left.append(f"{descriptors} descriptors remained, not {self.descriptors}")
        return left


def _parts_of_clients() -> Counter[str]:
    """The objects that are, or belong to, a client."""
    kinds = (SessionsClient, SideBySide, MemcachedStore, Pool, Connection, SessionCache, Index, WipeThread)
    return Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing) in kinds)
