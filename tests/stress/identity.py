"""Identity: no answer ever belongs to another session, however calls are interrupted.

Several processes use the same sessions, each of which stores its own number: one directly, one with the
connections of a pool that it shares, two through a proxy. In each of them signals raise in the middle of
calls of the main thread, other threads are killed, and children are forked between calls and in the middle
of them, and go on with the same client. The server freezes, and connections are cut, half open, late and
incomplete.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from contextlib import ExitStack
from typing import Any

from memsessions import SessionsClient

from ..support.forking import CHILD_S, Fork
from ..support.interrupting import INTERRUPTS, Stop, stop_thread, was_interrupted
from ..support.memcached import Memcached
from ..support.proxy import Proxy
from .calls import Caller, Known
from .faults import Faults
from .program import Plan, Report
from .workers import Workers, open_client, say

#: Long enough for 1,000,000 calls on two cores.
DURATION_S = 330

SESSIONS = 64
THREADS = 3
TIMEOUT_S = 0.1
#: The longest time after which a signal or a fork comes: about that of a slow call.
_LATEST_S = 0.0015
_CHILDREN = 2  # at the same time
_MOST_VIOLATIONS = 20  # that one process says


def attack(plan: Plan) -> Report:
    with ExitStack() as stack:
        server = stack.enter_context(Memcached("-t", "2", "-m", "1024"))
        proxy = stack.enter_context(Proxy(("127.0.0.1", server.port)))
        direct = {server.address: server.address}
        through_proxy = {server.address: proxy.address}
        with open_client(direct, timeout_s=10) as rs:
            tokens = Known.make(rs, SESSIONS).tokens
        ends = time.monotonic() + plan.duration_s
        common = {"seed": plan.seed, "tokens": tokens, "ends": ends}
        orders = [
            {**common, "process": process, "servers": servers, "shared": shared}
            for process, (servers, shared) in enumerate(
                [(direct, False), (direct, True), (through_proxy, False), (through_proxy, False)]
            )
        ]
        workers = stack.enter_context(Workers("identity", orders))
        faults = Faults(plan.dice, server, proxy, TIMEOUT_S)
        while not plan.is_over:
            faults.make()
            plan.progress(f"{faults.figures.total()} faults")
        violations = workers.failures(ends)
        figures: Counter[str] = Counter()
        for lines in workers.lines():
            for line in lines:
                figures.update(line["figures"])
                violations += line["violations"]
        figures["connections"] = int(server.stats()["total_connections"])
    return Report(figures | faults.figures, violations)


def work(orders: dict[str, Any]) -> None:
    """Call, be interrupted, and say what happened."""
    _Process(orders).run()


class _Process:
    """One process that is interrupted in every way that there is."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._ends: float = orders["ends"]
        self._rs: SessionsClient = open_client(orders["servers"], TIMEOUT_S, orders["shared"])
        self._known = Known(orders["tokens"])
        self._violations: list[str] = []
        self._name = f"{orders['seed']} {orders['process']}"
        self._dice = random.Random(self._name)
        self._caller = self._new_caller("main")
        self._others = [self._new_caller(f"thread {number}") for number in range(THREADS)]
        self._figures: Counter[str] = Counter()
        self._children: set[int] = set()

    def _new_caller(self, name: str) -> Caller:
        name = f"{self._name} {name}"
        return Caller(self._rs, self._known, random.Random(name), name, self._violations)

    def run(self) -> None:
        sys.unraisablehook = self._on_unraisable
        threading.excepthook = self._on_thread_error
        killer = threading.Thread(target=self._kill_threads)
        killer.start()
        while time.monotonic() < self._ends:
            choice = self._dice.random()
            if choice < 0.3:
                self._interrupt()
            elif choice < 0.32 and len(self._children) < _CHILDREN:
                self._fork_inside()
            elif choice < 0.33 and len(self._children) < _CHILDREN:
                self._fork_between()
            else:
                self._caller.call()
            self._reap(os.WNOHANG)
        killer.join()
        self._reap(0)
        for caller in self._others:
            self._figures.update(caller.figures)
        self._say()

    def _say(self, known: int = 0) -> None:
        figures = self._figures + self._caller.figures
        say({"figures": figures, "violations": self._violations[known : known + _MOST_VIOLATIONS]})

    # ---------------------------------------------------------------------------------------- signals

    def _interrupt(self) -> None:
        """A call of the main thread, in which a signal handler raises."""
        kind = self._dice.choice(INTERRUPTS)

        def handler(_number: int, _frame: object) -> None:
            raise kind

        signal.signal(signal.SIGALRM, handler)
        if was_interrupted(self._caller.call, self._dice.uniform(1e-6, _LATEST_S)):
            self._figures["calls that a signal interrupted"] += 1

    def _on_unraisable(self, unraisable: Any) -> None:
        """What is raised while a finalizer runs cannot come out of it."""
        if not issubclass(unraisable.exc_type, INTERRUPTS):
            self._violations.append(f"a finalizer raised {unraisable.exc_type.__name__}")

    # ---------------------------------------------------------------------------------------- threads

    def _kill_threads(self) -> None:
        """Keep some threads at work, and end one after the other wherever it is."""
        dice = random.Random(f"{self._name} killer")
        threads = [self._new_thread(caller) for caller in self._others]
        while time.monotonic() < self._ends:
            time.sleep(dice.uniform(0, 0.02))
            number = dice.randrange(THREADS)
            if stop_thread(threads[number]):
                self._figures["threads that were killed"] += 1
            threads[number].join()
            threads[number] = self._new_thread(self._others[number])
        for thread in threads:
            thread.join()

    def _new_thread(self, caller: Caller) -> threading.Thread:
        def run() -> None:
            try:
                while time.monotonic() < self._ends:
                    caller.call()
            except Stop:
                pass

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _on_thread_error(self, error: threading.ExceptHookArgs) -> None:
        if not issubclass(error.exc_type, Stop):  # it can come when the thread has just ended by itself
            self._violations.append(f"a thread ended with {error.exc_type.__name__}: {error.exc_value}")

    # ------------------------------------------------------------------------------------------ forks

    def _fork_inside(self) -> None:
        """A call of the main thread in which a signal handler forks: both sides go on with it."""
        before = len(self._violations)
        fork = Fork()
        signal.signal(signal.SIGALRM, lambda *_: fork())
        signal.setitimer(signal.ITIMER_REAL, self._dice.uniform(1e-6, _LATEST_S))
        try:
            self._caller.call(own=False)  # which would be that of both sides
            signal.setitimer(signal.ITIMER_REAL, 0)
        except BaseException:
            if not fork.in_child:
                raise
            _fail()
        if fork.pid:
            self._children.add(fork.pid)
            self._figures["forks in the middle of a call"] += 1
        elif fork.in_child:
            self._live_as_child(before)

    def _fork_between(self) -> None:
        """A fork while only other threads are in the middle of calls."""
        pid = os.fork()
        if not pid:
            self._live_as_child(len(self._violations))
        self._children.add(pid)
        self._figures["forks between calls"] += 1

    def _live_as_child(self, known: int) -> None:
        """Some more calls, and the end. So many violations are those of the parent."""
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(CHILD_S)  # one that takes longer hangs
            self._figures.clear()
            self._caller.figures.clear()
            for _ in range(self._dice.randrange(1, 30)):
                self._caller.call()
            self._figures["calls of children"] = self._caller.figures["calls"]
            self._say(known)
        except BaseException:  # noqa: BLE001
            _fail()
        os._exit(0)

    def _reap(self, options: int) -> None:
        for pid in list(self._children):
            ended, status = os.waitpid(pid, options)
            if ended:
                self._children.remove(pid)
                if status:
                    self._violations.append(f"a child ended with status {status}")


def _fail() -> None:
    """The end of a child that could not do what it should."""
    traceback.print_exc()
    os._exit(1)
