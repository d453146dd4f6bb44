"""Fills servers to the brim: with `-M`, where writes are refused, and without, where items are thrown out.

Each worker knows what its sessions must hold. What a server refuses has to be said, and to change nothing;
what it throws out may be gone, but never a part of it, and never in a server that refuses instead.
"""

from __future__ import annotations

import threading
from collections import Counter
from random import Random

from memsessions import Data, SessionsClient, SessionTooLarge, StoreFull

from ..support.memcached import Memcached
from .program import Plan, Report

DURATION_S = 60.0
APP = "forum"
WORKERS = 6
_LARGEST = 1024 * 1024 - 512  # of what a server takes; the library keeps some of it for itself
_KEPT = 60  # sessions of a worker


class _Worker:
    """Makes, changes and ends sessions of users of its own, and checks each against what it must be."""

    def __init__(self, rs: SessionsClient, name: str, dice: Random, evicts: bool) -> None:
        self.rs = rs
        self.name = name
        self.dice = dice
        self.evicts = evicts
        self.known: dict[str, tuple[str, Data]] = {}  # by token: the user, and the data
        self.did: Counter[str] = Counter()
        self.violations: list[str] = []

    def work(self, over: threading.Event) -> None:
        acts = (
            [self.create] * 4 + [self.set] * 4 + [self.get] * 4 + [self.rotate] * 2 + [self.kill, self.list]
        )
        while not over.is_set():
            self.dice.choice(acts)()
            if len(self.known) > _KEPT and not self.evicts:
                self.kill()

    def data(self) -> Data:
        """From a few bytes to more than an item can hold; mostly a few kilobytes."""
        size = self.dice.choice([10, 500, 5_000, 50_000, 200_000])
        if self.dice.random() < 0.05:
            size = self.dice.randint(_LARGEST - 4_000, _LARGEST + 4_000)
        return {"filling": self.dice.choice("abc") * size, "n": self.dice.randrange(10**6)}

    def create(self) -> None:
        user, d = f"{self.name}-{self.dice.randrange(5)}", self.data()
        try:
            token = self.rs.create(APP, user, "192.0.2.1", d=d)["token"]
        except (StoreFull, SessionTooLarge) as error:
            self.did[f"create: {type(error).__name__}"] += 1
            if not self.evicts:
                self.listed_are_known(user, "after a create that was refused")
            return
        self.did["create"] += 1
        self.known[token] = user, d

    def set(self) -> None:
        if not self.known:
            return
        token = self.dice.choice(list(self.known))
        user, before = self.known[token]
        changes = self.data()
        try:
            session = self.rs.set(APP, token, changes)
        except (StoreFull, SessionTooLarge) as error:
            self.did[f"set: {type(error).__name__}"] += 1
            self.check(token)
            return
        self.did["set"] += 1
        if session is None:
            self.missing(token)
            return
        self.known[token] = user, {**before, **changes}
        self.check(token)

    def get(self) -> None:
        if self.known:
            self.did["get"] += 1
            self.check(self.dice.choice(list(self.known)))

    def rotate(self) -> None:
        if not self.known:
            return
        token = self.dice.choice(list(self.known))
        try:
            rotated = self.rs.rotate(APP, token)
        except StoreFull:
            self.did["rotate: StoreFull"] += 1
            self.check(token)
            return
        self.did["rotate"] += 1
        if rotated is None:
            self.missing(token)
            return
        self.known[rotated["token"]] = self.known.pop(token)
        self.check(rotated["token"])
        if self.rs.get(APP, token) is not None:
            self.violations.append("a token that was rotated works")

    def kill(self) -> None:
        if not self.known:
            return
        token = self.dice.choice(list(self.known))
        self.did["kill"] += 1
        ended = self.rs.kill(APP, token)["kill"]
        if not ended and not self.evicts:
            self.violations.append("a session that lived could not be ended")
        del self.known[token]
        if self.rs.get(APP, token) is not None:
            self.violations.append("a session that was ended lives")

    def list(self) -> None:
        self.did["soid"] += 1
        self.listed_are_known(f"{self.name}-{self.dice.randrange(5)}", "in a list")

    def check(self, token: str) -> None:
        user, d = self.known[token]
        session = self.rs.get(APP, token)
        if session is None:
            self.missing(token)
        elif session["id"] != user or session["d"] != d:
            self.violations.append(f"a session of {user} is not what it was made")

    def missing(self, token: str) -> None:
        self.did["sessions that were thrown out"] += 1
        user, _ = self.known.pop(token)
        if not self.evicts:
            self.violations.append(f"a session of {user} was lost in silence")

    def listed_are_known(self, user: str, when: str) -> None:
        listed = Counter(str(session["d"]) for session in self.rs.soid(APP, user))
        known = Counter(str(d) for of, d in self.known.values() if of == user)
        if listed - known or (known - listed and not self.evicts):
            self.violations.append(f"{user} has other sessions than were made, {when}")


def attack(plan: Plan) -> Report:
    """Half of the time on a server that refuses, half on one that throws out."""
    figures: dict[str, float] = {}
    violations: list[str] = []
    for number, (name, options) in enumerate({"refuses": ["-M"], "evicts": []}.items()):
        with Memcached("-m", "24", "-t", "2", *options) as server:
            plan.progress(f"a server that {name}")
            workers = _run(server, plan, number, evicts=name == "evicts")
            figures[f"{name}: items thrown out"] = float(server.stats()["evictions"])
        did = sum((worker.did for worker in workers), Counter[str]())
        figures |= {f"{name}: {what}": times for what, times in sorted(did.items())}
        violations += [f"{name}: {violation}" for worker in workers for violation in worker.violations]
    return Report(figures, violations)


def _run(server: Memcached, plan: Plan, number: int, evicts: bool) -> list[_Worker]:
    over = threading.Event()
    with SessionsClient(server.address, wipe=0, timeout=20) as rs:
        workers = [_Worker(rs, f"w{n}", Random(f"{plan.seed} {number} {n}"), evicts) for n in range(WORKERS)]
        threads = [threading.Thread(target=worker.work, args=(over,)) for worker in workers]
        for thread in threads:
            thread.start()
        over.wait(plan.duration_s / 2)
        over.set()
        for thread in threads:
            thread.join()
        for worker in workers:
            for token in list(worker.known):
                worker.check(token)
    return workers
