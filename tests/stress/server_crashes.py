"""Crashes: `kill -9` of memcached at random moments under load costs the calls of that moment, and no more.

Threads of several processes work on sessions of their own and write down every call. The server is killed,
stays away for a while or not at all, and is started again with nothing in its memory. The next crash comes
when every thread has worked again. What each thread saw is then compared with when the server was there.
"""

from __future__ import annotations

import mmap
import random
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from memsessions import Session, SessionsClient, StoreUnavailable

from ..support.memcached import Memcached
from .lives import Account, Event, Life
from .program import Plan, Report
from .workers import Workers, open_client, say

#: Long enough for 200 crashes.
DURATION_S = 180

APP = "forum"
IP = "192.0.2.1"
THREADS = 4
#: For each process, the longest pause between two calls of a thread. One is so quiet that its connections
#: are idle during a crash, and are found dead after it.
PAUSES_S = (0.002, 0.002, 0.2)
SESSIONS = 5  # of each thread, at the most
TIMEOUT_S = 1.0
#: Every thread has to work again so soon after the server's return.
RECOVERY_S = 1.0
_SLOT_BYTES = 8


def attack(plan: Plan) -> Report:
    dice = plan.dice
    with ExitStack() as stack:
        shared = stack.enter_context(tempfile.NamedTemporaryFile())
        shared.truncate(len(PAUSES_S) * THREADS * _SLOT_BYTES)
        worked = stack.enter_context(mmap.mmap(shared.fileno(), 0))
        server = stack.enter_context(Memcached("-t", "2"))
        # The last crash has to be over when the workers end.
        ends = time.monotonic() + plan.duration_s + 2 * RECOVERY_S
        orders = [
            {
                "seed": plan.seed,
                "process": process,
                "pause_s": pause_s,
                "servers": {server.address: server.address},
                "worked": shared.name,
                "ends": ends,
            }
            for process, pause_s in enumerate(PAUSES_S)
        ]
        lives = [Life(time.monotonic(), time.monotonic())]
        workers = stack.enter_context(Workers("server_crashes", orders))
        violations: list[str] = []
        slowest_s = 0.0
        _wait_for_all(worked, time.monotonic(), 30)
        while not plan.is_over:
            time.sleep(dice.uniform(0, 0.4))
            away_s = dice.choice([0, dice.uniform(0, 0.3)])
            lives[-1].killing = time.monotonic()
            server.kill()
            lives[-1].killed = time.monotonic()
            time.sleep(away_s)
            lives.append(Life(time.monotonic()))
            server.start()
            lives[-1].back = time.monotonic()
            recovered_s = _wait_for_all(worked, lives[-1].back, RECOVERY_S)
            slowest_s = max(slowest_s, recovered_s)
            if recovered_s > RECOVERY_S:
                violations.append(
                    f"after crash {len(lives) - 1} a thread did not work within {RECOVERY_S:g} s"
                )
            plan.progress(f"{len(lives) - 1} crashes")
        violations += workers.failures(ends)
        figures: Counter[str] = Counter()
        for lines in workers.lines():
            accounts: dict[int, Account] = {}
            for thread, *event in lines:
                account = accounts.setdefault(thread, Account(lives))
                violations += [f"thread {thread}: {text}" for text in account.violations(Event(*event))]
            for account in accounts.values():
                figures += account.figures
    return Report({"crashes": len(lives) - 1, **figures, "slowest recovery, s": slowest_s}, violations)


def _moments(worked: mmap.mmap) -> memoryview[float]:
    """For each thread, when it made its last call that was answered."""
    with memoryview(worked) as raw:
        return raw.cast("d")


def _wait_for_all(worked: mmap.mmap, since: float, at_most_s: float) -> float:
    """How long it took until every thread had a call answered that it made since then."""
    with _moments(worked) as moments:
        while True:
            took_s = time.monotonic() - since
            if min(moments) >= since or took_s > at_most_s:
                return took_s
            time.sleep(0.002)


def work(orders: dict[str, Any]) -> None:
    """Work on sessions, and say every call."""
    rs = open_client(orders["servers"], TIMEOUT_S)
    threads = [_Thread(rs, orders, orders["process"] * THREADS + number) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if any(thread.failed for thread in threads):
        raise SystemExit("a thread failed")


class _Thread(threading.Thread):
    """Makes sessions of one user, each with a number, uses them and ends them."""

    def __init__(self, rs: SessionsClient, orders: dict[str, Any], number: int) -> None:
        super().__init__()
        self.failed = True
        self._rs = rs
        self._ends: float = orders["ends"]
        self._pause_s: float = orders["pause_s"]
        self._worked = Path(orders["worked"])
        self._number = number
        self._dice = random.Random(f"{orders['seed']} {number}")
        self._user = f"user{number}"
        self._tokens: dict[int, str] = {}
        self._made = 0

    def run(self) -> None:
        with ExitStack() as stack:
            file = stack.enter_context(self._worked.open("r+b"))
            worked = stack.enter_context(mmap.mmap(file.fileno(), 0))
            moments = stack.enter_context(_moments(worked))
            while (called := time.monotonic()) < self._ends:
                if self._call(called):
                    moments[self._number] = called
                time.sleep(self._dice.uniform(0, self._pause_s))
        self.failed = False

    def _call(self, called: float) -> bool:
        """One call; whether it was answered."""
        names, weights = ["create"], [20]
        if self._tokens:
            names += ["get", "set", "soid", "kill"]
            weights = [20 if len(self._tokens) < SESSIONS else 0, 40, 20, 10, 15]
        (name,) = self._dice.choices(names, weights)
        number = self._dice.choice(list(self._tokens)) if self._tokens else 0
        if name == "create":
            self._made += 1
            number = self._made
        answer: Any = None
        error = None
        try:
            answer = self._ask(name, number)
        except StoreUnavailable as unavailable:
            error = unavailable.reason
        if name == "kill" or (name in ("get", "set") and not error and answer is None):
            del self._tokens[number]
        say((self._number, name, number, called, time.monotonic(), answer, error))
        return error is None

    def _ask(self, name: str, number: int) -> Any:
        """What was answered: the numbers of sessions, or None, or how many were killed."""
        if name == "create":
            self._tokens[number] = self._rs.create(APP, self._user, IP, d={"n": number})["token"]
            return None
        if name == "soid":
            return sorted(self._shown(session) for session in self._rs.soid(APP, self._user))
        token = self._tokens[number]
        if name == "kill":
            return self._rs.kill(APP, token)["kill"]
        turn = self._dice.getrandbits(40)
        session = self._rs.get(APP, token) if name == "get" else self._rs.set(APP, token, {"turn": turn})
        return None if session is None else self._shown(session)

    def _shown(self, session: Session) -> int:
        """The number that a session stores, or -1 if it is not of this user."""
        own = (session["id"], session["ip"]) == (self._user, IP) and session["d"] is not None
        return int((session["d"] or {})["n"] or 0) if own else -1
