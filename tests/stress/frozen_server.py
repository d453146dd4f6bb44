"""Freezes one of three servers under load, again and again: log-outs are done or raise, the others go on.

Each worker has users of its own, so it knows which sessions must live and which must not. What it may not
know while a server is frozen, such as whether a call that failed took effect, it finds out after the thaw.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from contextlib import ExitStack
from random import Random

from memsessions import LogoutIncomplete, SessionsClient, StoreUnavailable
from memsessions.tokens import TAG

from ..support.memcached import Memcached
from .program import Plan, Report

DURATION_S = 120.0
APP = "forum"
WORKERS = 6
READERS = 2
FROZEN_S = 2.5
THAWED_S = 2.5
_TIMEOUT_S = 1.0
# With fewer reads, or on a machine that is busy with other things, how long they take says nothing.
_READS_TO_COMPARE = 10_000
# A server that was frozen is used again after its last pause at the latest.
_RECOVERY_S = 1.0


class _Weather:
    """Which server is frozen now."""

    def __init__(self) -> None:
        self.calm = threading.Event()
        self.calm.set()
        self.changes = 0


class _Worker:
    """Logs its users in and out, and remembers what must be true."""

    def __init__(
        self, rs: SessionsClient, frozen_tag: str, weather: _Weather, name: str, dice: Random
    ) -> None:
        self.rs = rs
        self.frozen_tag = frozen_tag
        self.weather = weather
        self.name = name
        self.dice = dice
        self.violations: list[str] = []
        self.done = self.raised = self.outages = self.finished = 0
        self.times: dict[bool, list[float]] = {
            True: [],
            False: [],
        }  # of reads elsewhere, by whether it is calm

    def work(self, over: threading.Event) -> None:
        for turn in itertools.count():
            if over.is_set():
                return
            self.log_in_and_out(f"{self.name}-{turn}")

    def log_in_and_out(self, user: str) -> None:
        tokens = []
        for _ in range(self.dice.randint(1, 6)):
            try:
                tokens.append(self.rs.create(APP, user, "192.0.2.1")["token"])
            except StoreUnavailable:
                self.outages += 1
        for token in tokens * 3:
            self.read(user, token)
        log_out_must_be_finished = False
        try:
            self.rs.killsoid(APP, user)
            self.done += 1
        except LogoutIncomplete:
            self.raised += 1
            log_out_must_be_finished = True
        if log_out_must_be_finished:
            self.finish(user)
        for token in tokens:
            self.must_be_dead(user, token)

    def read(self, user: str, token: str) -> None:
        try:
            session = self.rs.get(APP, token)
        except StoreUnavailable as error:
            self.outages += 1
            if token[TAG] != self.frozen_tag:
                self.violations.append(f"a read on a server that was never frozen failed: {error}")
            return
        if session is None or session["id"] != user:
            self.violations.append(f"a session of {user} is gone, or somebody else's")

    def finish(self, user: str) -> None:
        """Call again, as the documentation says, until it is done."""
        give_up = time.monotonic() + 10 * FROZEN_S
        while time.monotonic() < give_up:
            try:
                self.rs.killsoid(APP, user)
            except LogoutIncomplete:
                time.sleep(0.05)
            else:
                self.finished += 1
                return
        self.violations.append(f"{user} could not be logged out any more")

    def must_be_dead(self, user: str, token: str) -> None:
        give_up = time.monotonic() + 10 * FROZEN_S
        while time.monotonic() < give_up:
            try:
                if self.rs.get(APP, token) is not None:
                    self.violations.append(f"a session of {user} lives after the log-out that was done")
                return
            except StoreUnavailable:
                self.weather.calm.wait(FROZEN_S)
                time.sleep(0.01)


class _Reader:
    """Reads sessions of the servers that are never frozen, and takes the time."""

    def __init__(self, rs: SessionsClient, frozen_tag: str, weather: _Weather) -> None:
        self.rs = rs
        self.weather = weather
        created = (rs.create(APP, "reader", "192.0.2.1")["token"] for _ in itertools.count())
        self.tokens = list(itertools.islice((token for token in created if token[TAG] != frozen_tag), 20))
        self.times: dict[bool, list[float]] = {True: [], False: []}  # by whether it is calm
        self.violations: list[str] = []

    def work(self, over: threading.Event) -> None:
        for token in itertools.cycle(self.tokens):
            if over.is_set():
                return
            calm, changes = self.weather.calm.is_set(), self.weather.changes
            began = time.monotonic()
            try:
                if self.rs.get(APP, token) is None:
                    self.violations.append("a session of the reader is gone")
            except StoreUnavailable as error:
                self.violations.append(f"a read on a server that was never frozen failed: {error}")
            if changes == self.weather.changes:
                self.times[calm].append(time.monotonic() - began)


def attack(plan: Plan) -> Report:
    """Freeze and thaw for as long as the plan says."""
    with ExitStack() as stack:
        servers = [stack.enter_context(Memcached("-m", "64", "-t", "1")) for _ in range(3)]
        addresses = [server.address for server in servers]
        rs = stack.enter_context(SessionsClient(addresses, wipe=0, timeout=_TIMEOUT_S))
        weather = _Weather()
        tag = rs._nodes[0].tag
        workers = [_Worker(rs, tag, weather, f"w{n}", Random(f"{plan.seed} {n}")) for n in range(WORKERS)]
        over = threading.Event()
        readers = [_Reader(rs, tag, weather) for _ in range(READERS)]
        works = [worker.work for worker in workers] + [reader.work for reader in readers]
        threads = [threading.Thread(target=work, args=(over,)) for work in works]
        for thread in threads:
            thread.start()
        freezes = 0
        while not plan.is_over:
            time.sleep(THAWED_S)
            weather.calm.clear()
            weather.changes += 1
            servers[0].freeze()
            freezes += 1
            plan.progress(f"{freezes} freezes")
            time.sleep(FROZEN_S)
            servers[0].thaw()
            weather.changes += 1
            weather.calm.set()
        time.sleep(_RECOVERY_S)
        over.set()
        for thread in threads:
            thread.join()
        rs.killsoid(APP, "reader")
        left = len(rs.soapp(APP, 24 * 3600))
    return _report(workers, readers, freezes, left)


def _report(workers: list[_Worker], readers: list[_Reader], freezes: int, left: int) -> Report:
    found = [worker.violations for worker in workers] + [reader.violations for reader in readers]
    violations = list(itertools.chain.from_iterable(found))
    calm = [seconds for reader in readers for seconds in reader.times[True]]
    frozen = [seconds for reader in readers for seconds in reader.times[False]]
    figures: dict[str, float] = {
        "freezes": freezes,
        "log-outs that were done": sum(worker.done for worker in workers),
        "log-outs that raised": sum(worker.raised for worker in workers),
        "of these, finished by calling again": sum(worker.finished for worker in workers),
        "other calls that raised": sum(worker.outages for worker in workers),
        "sessions that nobody has a token of": left,
        "reads elsewhere, calm": len(calm),
        "reads elsewhere, frozen": len(frozen),
    }
    if len(calm) > 100 and len(frozen) > 100:
        for name, times in (("calm", calm), ("frozen", frozen)):
            figures[f"ms of a read elsewhere, {name}, median"] = statistics.median(times) * 1e3
            figures[f"ms of a read elsewhere, {name}, p99"] = _p99(times) * 1e3
        # Fewer calls run while some wait, so reads elsewhere should be faster if anything.
        enough = min(len(calm), len(frozen)) >= _READS_TO_COMPARE
        if enough and _p99(frozen) > 2 * _p99(calm) + 0.005:
            violations.append("reads on the other servers were slowed")
    return Report(figures, violations)


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]
