"""Linearizability: create, get, set, soid and kill from several processes, with time-outs and lost replies.

Every half a second there are a few new sessions, which all threads of all processes use at once while the
server freezes and a proxy loses requests, replies and connections. Every call is written down with its
times. At the end each session is looked at once more, and its history is checked.
"""

from __future__ import annotations

import heapq
import math
import random
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Any

from memsessions import Session, SessionsClient, StoreUnavailable

from ..support.memcached import Memcached
from ..support.proxy import Proxy
from .faults import Faults
from .histories import Call, Cuts, Seen, violations
from .program import Plan, Report
from .workers import Workers, open_client, say

DURATION_S = 300

APP = "forum"
IP = "192.0.2.1"
PROCESSES, THREADS = 3, 3
#: So many sessions are used at once, for so long.
SESSIONS, EPOCH_S = 4, 0.5
TIMEOUT_S = 0.1
_BEGIN_S = 0.5  # until all processes are there
_LONG_S = 10  # no call takes longer
_PAUSE_S = 0.001


def attack(plan: Plan) -> Report:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(Memcached("-t", "4", "-m", "1024"))
        proxy = stack.enter_context(Proxy(("127.0.0.1", server.port)))
        began = time.monotonic() + _BEGIN_S
        ends = time.monotonic() + plan.duration_s
        common = {"seed": plan.seed, "folder": folder, "began": began, "ends": ends}
        orders = [
            {**common, "process": process, "servers": {server.address: address}}
            for process, address in enumerate([server.address, proxy.address, proxy.address])
        ]
        workers = stack.enter_context(Workers("linearizability", orders))
        faults = Faults(plan.dice, server, proxy, TIMEOUT_S)
        while not plan.is_over:
            faults.make()
            plan.progress(f"{faults.figures.total()} faults")
        found = workers.failures(ends)
        cuts = Cuts((start - began, end - began) for start, end in faults.cuts)
        figures: Counter[str] = Counter()
        with open_client({server.address: server.address}, timeout_s=10) as rs:
            for session, history in _histories(workers.lines(), began):
                history.append(_last(rs, Path(folder), session, began))
                found += [f"session {session}: {text}" for text in violations(history, cuts)]
                figures += _figures(history)
                plan.progress(f"{figures['sessions']} histories checked")
    return Report(figures | faults.figures, found)


def _histories(lines: Sequence[Iterator[Sequence[Any]]], began: float) -> Iterator[tuple[int, list[Call]]]:
    """The history of each session, as soon as nobody can have more to say of it."""
    open_: dict[int, list[Call]] = defaultdict(list)
    for session, name, argument, called, ended, answer, error in heapq.merge(*lines, key=itemgetter(4)):
        call = Call(name, argument, called - began, ended - began, _seen(answer), error)
        open_[session].append(call)
        over = [known for known in open_ if (known // SESSIONS + 1) * EPOCH_S + _LONG_S < call.ended]
        yield from ((known, open_.pop(known)) for known in over)
    yield from open_.items()


def _last(rs: SessionsClient, folder: Path, session: int, began: float) -> Call:
    """Look at a session when all is over; one whose token nobody knows is looked for."""
    token = _token(folder, session)
    called = time.monotonic()
    if token is not None:
        name, answer = "get", _shown(session, rs.get(APP, token))
    else:
        name, answer = "soid", _listed(session, rs.soid(APP, _user(session)))
    return Call(name, None, called - began, time.monotonic() - began, _seen(answer))


def _figures(history: Sequence[Call]) -> Counter[str]:
    return Counter(
        {
            "sessions": 1,
            "sessions that were killed": any(call.name == "kill" and call.answer for call in history),
            "calls": len(history),
        }
    ) + Counter(f"unknown: {call.name}, {call.error}" for call in history if call.error)


# --------------------------------------------------------------------------------------------- workers


def work(orders: dict[str, Any]) -> None:
    """Use the sessions of the moment, and say every call."""
    rs = open_client(orders["servers"], TIMEOUT_S)
    threads = [_Thread(rs, orders, orders["process"] * THREADS + number) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if any(thread.failed for thread in threads):
        raise SystemExit("a thread failed")


class _Thread(threading.Thread):
    def __init__(self, rs: SessionsClient, orders: dict[str, Any], number: int) -> None:
        super().__init__()
        self.failed = True
        self._rs = rs
        self._orders = orders
        self._number = number
        self._dice = random.Random(f"{orders['seed']} {number}")
        self._folder = Path(orders["folder"])
        self._tokens: dict[int, str] = {}
        self._created: set[int] = set()

    def run(self) -> None:
        while (now := time.monotonic()) < self._orders["ends"]:
            share, epoch = math.modf(max(0, now - self._orders["began"]) / EPOCH_S)
            session = int(epoch) * SESSIONS + self._dice.randrange(SESSIONS)
            # Each is made once, by one of the threads: if nobody learns its token, it is only listed.
            if session % (PROCESSES * THREADS) == self._number and session not in self._created:
                self._created.add(session)
                self._create(session)
            else:
                self._use(session, may_end=share > _end(session))
            time.sleep(self._dice.uniform(0, _PAUSE_S))
        self.failed = False

    def _create(self, session: int) -> None:
        d = self._data()
        called = time.monotonic()
        try:
            token = self._rs.create(APP, _user(session), IP, d=d)["token"]
        except StoreUnavailable as error:
            say((session, "create", d, called, time.monotonic(), None, error.reason))
            return
        say((session, "create", d, called, time.monotonic(), None, None))
        file = self._folder / f"{session}.new"
        file.write_text(token)
        file.rename(self._folder / str(session))

    def _use(self, session: int, may_end: bool) -> None:
        """Any call; before the token is known, only a list."""
        token = self._tokens.get(session) or _token(self._folder, session)
        name = "soid"
        if token is not None:
            self._tokens[session] = token
            (name,) = self._dice.choices(["get", "set", "soid", "kill"], [50, 35, 15, 10 * may_end])
        d = self._data() if name == "set" else None
        answer: Any = None
        error = None
        called = time.monotonic()
        try:
            if name == "get":
                answer = _shown(session, self._rs.get(APP, token or ""))
            elif name == "set":
                answer = _shown(session, self._rs.set(APP, token or "", d or {}))
            elif name == "kill":
                answer = self._rs.kill(APP, token or "")["kill"]
            else:
                answer = _listed(session, self._rs.soid(APP, _user(session)))
        except StoreUnavailable as unavailable:
            error = unavailable.reason
        say((session, name, d, called, time.monotonic(), answer, error))

    def _data(self) -> dict[str, Any]:
        """Changes that nobody else makes; now and then a key is removed."""
        value = None if self._dice.random() < 0.2 else self._dice.getrandbits(40)
        return {"abc"[self._dice.randrange(3)]: value, "last": self._dice.getrandbits(40)}


def _end(session: int) -> float:
    """The share of its time after which a session is ended; of about half, it is more than all."""
    return 0.3 + 1.4 * (session * 0.618034 % 1)


def _user(session: int) -> str:
    return f"user{session}"


def _token(folder: Path, session: int) -> str | None:
    try:
        return (folder / str(session)).read_text()
    except FileNotFoundError:
        return None


def _shown(session: int, answer: Session | None) -> list[Any] | None:
    """What is written down of an answer."""
    if answer is None:
        return None
    assert (answer["id"], answer["ip"]) == (_user(session), IP)
    return [answer["w"], answer["d"] or {}, answer["r"]]


def _listed(session: int, answer: list[Session]) -> list[Any] | None:
    assert len(answer) <= 1
    return _shown(session, answer[0]) if answer else None


def _seen(answer: Any) -> Any:
    return Seen(*answer) if isinstance(answer, list) else answer
