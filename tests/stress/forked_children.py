"""A process that forks children all the time while its threads are in the middle of calls.

By multiprocessing, as worker pools do. Parent and children go on with the clients of two servers that were
made and used before, one with a cache and both with a wipe thread, and each knows what its own sessions have
to be. Some children end by SIGKILL or SIGHUP in the middle of a call. Nothing hangs, no answer is another's,
and no call fails: there is no outage here.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from multiprocessing.connection import Connection

from memsessions import SessionsClient

from ..support.load import Worker
from ..support.memcached import Memcached
from .program import Plan, Report

DURATION_S = 120
_THREADS = 4
_CHILDREN_AT_ONCE = 3
#: What a child does; it takes well below a second, and one that takes this long hangs.
_STEPS = 40
_HANG_S = 30.0
# So much that no call runs out of it on a machine that all this keeps busy.
_TIMEOUT_S = 15.0


def attack(plan: Plan) -> Report:
    dice = plan.dice
    stop = threading.Event()
    children = _Children(dice)
    with Memcached("-t", "1") as one, Memcached("-t", "1") as other:
        addresses = [one.address, other.address]
        rs = SessionsClient(addresses, wipe=10, timeout=_TIMEOUT_S)
        cached = SessionsClient(addresses, wipe=10, timeout=_TIMEOUT_S, cachetime=1, cachemax=20)
        workers = [Worker(number, rs, cached, dice.randrange(2**32)) for number in range(_THREADS)]
        threads = [threading.Thread(target=_work, args=(worker, stop)) for worker in workers]
        for thread in threads:
            thread.start()
        while not plan.is_over:
            children.start_some(rs, cached)
            children.end_some()
            plan.progress(f"{children.forks} forks")
        stop.set()
        for thread in threads:
            thread.join()
        for client in (rs, cached):
            client.quit()
        connections = one.connections() + other.connections()
    violations = children.violations + [text for worker in workers for text in worker.violations]
    violations += [
        f"{worker.unavailable} calls of a thread failed" for worker in workers if worker.unavailable
    ]
    if connections > 0:
        violations.append(f"{connections} connections remained")
    calls = sum((worker.calls for worker in workers), Counter[str]()).total()
    figures = {"forks": children.forks, "ended by a signal": children.signalled}
    return Report(figures | {"calls of threads": calls, "calls of children": children.calls}, violations)


def _work(worker: Worker, stop: threading.Event) -> None:
    while not stop.is_set():
        worker.step()


class _Children:
    """Forks some children at a time, and waits for each."""

    def __init__(self, dice: random.Random) -> None:
        self.forks = self.signalled = self.calls = 0
        self.violations: list[str] = []
        self._dice = dice
        self._context = multiprocessing.get_context("fork")
        self._running: list[tuple[multiprocessing.context.ForkProcess, Connection, bool]] = []

    def start_some(self, rs: SessionsClient, cached: SessionsClient) -> None:
        for _ in range(_CHILDREN_AT_ONCE):
            self.forks += 1
            reading, writing = self._context.Pipe(duplex=False)
            worker = Worker(_THREADS + self.forks, rs, cached, self._dice.randrange(2**32))
            child = self._context.Process(target=_in_child, args=(worker, writing))
            time.sleep(self._dice.uniform(0, 0.01))
            child.start()
            writing.close()
            self._running.append((child, reading, self._dice.random() < 0.2))

    def end_some(self) -> None:
        """Wait for them all, and end some in the middle of what they do."""
        for child, reading, is_victim in self._running:
            if is_victim:
                time.sleep(self._dice.uniform(0, 0.02))
                self._kill(child)
            child.join(_HANG_S)
            if child.is_alive():
                self.violations.append("a child hangs")
                child.kill()
                child.join()
            elif is_victim and child.exitcode != 0:
                self.signalled += 1
            elif child.exitcode == 0:
                calls, violations = reading.recv()
                self.calls += calls
                self.violations += violations
            else:
                self.violations.append(f"a child ended with {child.exitcode}")
            reading.close()
        self._running.clear()

    def _kill(self, child: multiprocessing.context.ForkProcess) -> None:
        if child.is_alive():  # if it ends now, its number is kept until it is waited for
            assert child.pid is not None
            os.kill(child.pid, self._dice.choice((signal.SIGKILL, signal.SIGHUP)))


def _in_child(worker: Worker, writing: Connection) -> None:
    for _ in range(_STEPS):
        worker.step()
    worker.leave()
    failed = [f"{worker.unavailable} calls of a child failed"] if worker.unavailable else []
    writing.send((worker.calls.total(), worker.violations + failed))
