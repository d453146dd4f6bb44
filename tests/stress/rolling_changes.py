"""Adds, drains and removes servers under load, process by process: nobody may be logged out.

Each process is a client with a list of servers of its own. A change goes through the processes one after
the other, while all of them serve the same users: what one has placed, each of the others must find.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack

from memsessions import Server, SessionsClient
from memsessions.tokens import TAG

from ..support.memcached import Memcached
from .program import Plan, Report

DURATION_S = 60.0
PROCESSES = 4
APP = "forum"
# So many new sessions show how they are spread.
_LEAST_PLACED = 100

# What is listed, step by step: a server that is added drains until every process knows it.
_STEPS = ["a b", "a b c-", "a b c", "a- b c", "b c"]


class _Load:
    """Users who log in, come back and log out, each time served by another process."""

    def __init__(self, clients: list[SessionsClient], plan: Plan) -> None:
        self.clients = clients
        self.tokens: dict[str, str] = {}  # by user
        self.placed: Counter[str] = Counter()  # new sessions, by tag
        self.reads = 0
        self.violations: list[str] = []
        self._dice = plan.dice
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        number = 0
        while not self._over.is_set():
            rs = self._dice.choice(self.clients)
            user = f"user{number}"
            token = rs.create(APP, user, "192.0.2.1")["token"]
            self.tokens[user] = token
            self.placed[token[TAG]] += 1
            number += 1
            for user, token in self._dice.sample(list(self.tokens.items()), min(5, len(self.tokens))):
                session = self._dice.choice(self.clients).get(APP, token)
                self.reads += 1
                is_own = session is not None and session["id"] == user
                if not is_own and self.tokens.get(user) == token:
                    self.violations.append(f"{user} was logged out, or is somebody else")
            if len(self.tokens) > 500:
                user = self._dice.choice(list(self.tokens))
                gone = self.tokens.pop(user, None)
                if gone is not None and self._dice.choice(self.clients).kill(APP, gone) != {"kill": 1}:
                    self.violations.append(f"{user} could not log out")

    @property
    def goes_on(self) -> bool:
        return self._thread.is_alive()

    def __enter__(self) -> _Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def attack(plan: Plan) -> Report:
    """Go through the steps for as long as the plan says."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(Memcached("-m", "64", "-t", "1")) for name in "abc"}

        def client(step: str) -> SessionsClient:
            listed = {
                name[0]: Server(servers[name[0]].address, drain=name.endswith("-")) for name in step.split()
            }
            return stack.enter_context(SessionsClient(listed, wipe=0, timeout=30))

        clients = [client(_STEPS[0]) for _ in range(PROCESSES)]
        shares: list[float] = []
        pause_s = plan.duration_s / (len(_STEPS) * (PROCESSES + 1))
        with _Load(clients, plan) as load:
            tag = {node.name: node.tag for node in client(_STEPS[1])._nodes}
            for step in _STEPS:
                if step == _STEPS[-1]:
                    _log_out(load, tag["a"])
                for number in range(PROCESSES):
                    clients[number] = client(step)
                    threading.Event().wait(pause_s)
                    plan.progress(f"servers {step}, process {number + 1} of {PROCESSES}")
                before = load.placed.copy()
                threading.Event().wait(pause_s)
                while (placed := load.placed - before).total() < _LEAST_PLACED and load.goes_on:
                    threading.Event().wait(0.01)
                shares.append(placed[tag["c"]] / max(1, placed.total()))
    figures = {
        "changes of a process's list": (len(_STEPS) - 1) * PROCESSES,
        "sessions made": load.placed.total(),
        "reads": load.reads,
        **{f"share of c when there is {step}": share for step, share in zip(_STEPS, shares, strict=True)},
    }
    return Report(figures, load.violations)


def _log_out(load: _Load, tag: str) -> None:
    """End what is on a server that has drained: in the real world, the longest ttl passes."""
    rs = load.clients[0]
    for user, token in list(load.tokens.items()):
        if token[TAG] == tag and load.tokens.pop(user, None) is not None:
            rs.kill(APP, token)
