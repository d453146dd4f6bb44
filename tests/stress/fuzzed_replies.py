"""Replies that are cut short, mixed up, made up or endless: typed errors, in time, in little memory.

One reply to each call is spoilt (see `mutations`). Where it is no reply to what was asked, the call answers
right, because it asked again, or raises an error of this library; where a server could have meant it, the
answer may be wrong, but is of the right form. No error shows a token or data, the connection is given up with
the error, and the next call works.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from memsessions import MemsessionsError, SessionsClient, SessionTooLarge, StoreUnavailable, index, scans
from memsessions.errors import ClientClosed, ConfigurationError, ValidationError
from memsessions.store.memcached import MemcachedStore

from ..support.memcached import Memcached
from ..support.relay import Exchange, Relay, untouched
from .answers import APP, CALLS, SECRET, make_sessions
from .mutations import MUTATIONS, Mutation
from .program import Plan, Report

DURATION_S = 600.0
TIMEOUT_S = 0.15
#: What each packet may take beyond that.
LATE_S = 0.1
#: A call that is late is made again as it was: what is the machine's fault is not so every time.
TRIES = 4
#: What a call may need on top of what the process has.
MEMORY_BYTES = 64 * 1024 * 1024
_THREADS = 4
_NEVER = 1 << 30
_AFTER_S = 30.0  # what comes before and after a spoilt call may take so long


class Turn(NamedTuple):
    """One call with one reply spoilt: the same number makes the same of it."""

    call: str
    mutation: str
    reply: int  # which reply of the call is spoilt; where a client connects anew, the greeting is the first
    cold: bool  # the client has no connection yet
    seed: int


class Outcome(NamedTuple):
    """What came of it."""

    spoilt: bool  # the call had so many replies
    replies: int  # that it got from the server
    error: str | None  # the type of what it raised
    late_s: float
    memory_bytes: int
    problems: list[str]


class _Spoiling:
    """Lets all replies but one through."""

    def __init__(self, mutation: Mutation, which: int, dice: random.Random) -> None:
        self.replies = 0
        self._mutation = mutation
        self._which = which
        self._dice = dice

    @property
    def happened(self) -> bool:
        return self.replies > self._which

    def __call__(self, exchange: Exchange) -> Iterator[bytes | None]:
        self.replies += 1
        if self.replies - 1 == self._which:
            yield from self._mutation.mutate(exchange, self._dice)
        else:
            yield exchange.reply


def take(server: Memcached, relay: Relay, ns: str, turn: Turn) -> Outcome:
    """Make one call in a namespace that nobody used, and look at its end and at the call after it."""
    call, mutation = CALLS[turn.call], MUTATIONS[turn.mutation]
    spoiling = _Spoiling(mutation, turn.reply, random.Random(turn.seed))
    with (
        SessionsClient(server.address, ns=ns, wipe=0, timeout=_AFTER_S) as direct,
        SessionsClient(relay.address, ns=ns, wipe=0) as rs,
    ):
        store = rs._nodes[0].store
        assert isinstance(store, MemcachedStore)
        store._timeout_s = _AFTER_S
        tokens = make_sessions(direct if turn.cold else rs)
        store._timeout_s = TIMEOUT_S
        relay.tamper = spoiling
        had_bytes = _forget_peak() if mutation.endless else 0
        answer: Any = None
        error: Exception | None = None
        started = time.monotonic()
        try:
            answer = call.make(rs, tokens)
        except Exception as raised:  # noqa: BLE001  of which type is the question
            error = raised
        took_s = time.monotonic() - started
        memory_bytes = _peak() - had_bytes if mutation.endless else 0
        relay.tamper = untouched
        store._timeout_s = _AFTER_S
        packets = 1 if call.one_deadline else spoiling.replies + 1
        late_s = took_s - packets * TIMEOUT_S - (spoiling.replies + 1) * LATE_S
        if isinstance(error, StoreUnavailable) and not spoiling.happened:
            late_s = math.inf  # nothing was done to its replies: the machine was busy
        lies = mutation.lies and spoiling.happened
        if error is None:
            good = call.well_formed(answer) if lies else call.right(answer)
            problems = [] if good else ["it answers what is not " + ("of the right form" if lies else "so")]
        else:
            problems = _wrong_error(error, lies, tokens)
            if isinstance(error, StoreUnavailable) and _open_connections(store) > call.cleans_up:
                problems.append("a connection is left open")
        untouched_by_it = not lies and turn.call != "killall"
        problems += _after(rs, tokens["other"], error is None, untouched_by_it)
    if memory_bytes > MEMORY_BYTES:
        problems.append(f"it needs {memory_bytes >> 20} MiB")
    name = None if error is None else type(error).__name__
    return Outcome(spoiling.happened, spoiling.replies, name, late_s, memory_bytes, problems)


def _wrong_error(error: Exception, lies: bool, tokens: dict[str, str]) -> list[str]:
    """What is wrong with an error that a call raised."""
    about_arguments = isinstance(error, (ValidationError, ClientClosed, ConfigurationError))
    typed = isinstance(error, MemsessionsError) and (
        not about_arguments or isinstance(error, SessionTooLarge)
    )
    problems = []
    if not typed or not (lies or isinstance(error, StoreUnavailable)):
        problems.append(f"it raises {type(error).__name__}")
    shown = ""
    link: BaseException | None = error
    while link is not None:
        shown += f"{link} {link!r} {link.args}"
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    if any(secret in shown for secret in (SECRET, *tokens.values())):
        problems.append("its error shows a secret")
    return problems


def _open_connections(store: MemcachedStore) -> int:
    return sum(connection.sock.fileno() >= 0 for connection in store._open.copy())


def _after(rs: SessionsClient, other: str, answered: bool, is_there: bool) -> list[str]:
    """What is wrong with the calls that follow, on whose replies nothing is done."""
    problems = []
    # What comes behind a whole reply, and later than it, is noticed by the next call.
    failures = 1 if answered else 0
    while True:
        try:
            rs.ping()
            shown = rs.get(APP, other)
        except Exception as error:  # noqa: BLE001  of which type is the question
            if failures and isinstance(error, StoreUnavailable):
                failures -= 1
                continue
            return [f"the next call raises {type(error).__name__}"]
        break
    if (shown is None and is_there) or (shown is not None and shown["ip"] != "other"):
        problems.append("the next call shows what is not so")
    return problems


# ------------------------------------------------------------------------------------------ memory


def _forget_peak() -> int:
    """Begin to measure anew the most memory that the process has had; how many bytes it has now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


# ------------------------------------------------------------------------------------------ the attack


class _Thread:
    """Takes turns that its dice throw."""

    def __init__(self, server: Memcached, name: str, dice: random.Random) -> None:
        self.violations: list[str] = []
        self.errors: Counter[str] = Counter()
        self.turns = self.spoilt = self.answers = self.memory_bytes = 0
        self.latest_s = -math.inf
        self._server = server
        self._name = name
        self._dice = dice
        self._replies: dict[tuple[str, bool], int] = {}

    def work(self, plan: Plan) -> None:
        with Relay(self._server) as relay:
            for call in CALLS:
                for cold in (False, True):
                    untouched = Turn(call, "noise", _NEVER, cold, 0)
                    self._replies[call, cold] = self._take(relay, untouched).replies
            while not plan.is_over:
                outcome = self._take(relay, self._thrown())
                self.spoilt += outcome.spoilt
                self.answers += outcome.spoilt and outcome.error is None
                self.errors.update([outcome.error] if outcome.error else [])
                self.memory_bytes = max(self.memory_bytes, outcome.memory_bytes)
                plan.progress(f"{self.turns} calls by {self._name}")

    def _thrown(self) -> Turn:
        dice = self._dice
        call, cold = dice.choice(list(CALLS)), dice.random() < 0.3
        # There are more lies than ways of saying nothing, and they are found out sooner.
        mutation = dice.choice([name for name, how in MUTATIONS.items() for _ in range(3 if how.lies else 1)])
        return Turn(call, mutation, dice.randrange(self._replies[call, cold]), cold, dice.randrange(1 << 30))

    def _take(self, relay: Relay, turn: Turn) -> Outcome:
        least_s = math.inf
        for _ in range(TRIES):
            self.turns += 1
            outcome = take(self._server, relay, f"{self._name}.{self.turns}", turn)
            least_s = min(least_s, outcome.late_s)
            if least_s <= 0:
                break
        else:
            self.violations.append(f"{turn}: it takes {least_s:.2f} s more than it may, each time")
        self.latest_s = max(self.latest_s, least_s)
        self.violations += [f"{turn}: {problem}" for problem in outcome.problems]
        return outcome


def attack(plan: Plan) -> Report:
    """Take turns, some at a time, as most of them wait, until the time is over."""
    dice = plan.dice
    small_batches = patch.multiple(scans, BATCH_MIN=1, BATCH_MAX=2), patch.object(index, "GROUP_RECORDS", 1)
    files = _files()
    with Memcached("-m", "1024", "-t", "2") as server, small_batches[0], small_batches[1]:
        workers = [_Thread(server, f"t{n}", random.Random(dice.random())) for n in range(_THREADS)]
        with ThreadPoolExecutor(_THREADS) as pool:
            for done in [pool.submit(worker.work, plan) for worker in workers]:
                done.result()
    gc.collect()
    left_open = _files() - files
    violations = [violation for worker in workers for violation in worker.violations]
    if left_open > _THREADS:
        violations.append(f"{left_open} files are left open")
    errors = sum((worker.errors for worker in workers), Counter())
    figures = {
        "calls": sum(worker.turns for worker in workers),
        "replies spoilt": sum(worker.spoilt for worker in workers),
        "calls that answered all the same": sum(worker.answers for worker in workers),
        **{f"error: {name}": number for name, number in sorted(errors.items())},
        "most memory of a call, MiB": max(worker.memory_bytes for worker in workers) / 2**20,
        "latest end, s after what is allowed": max(worker.latest_s for worker in workers),
        "files left open": left_open,
    }
    return Report(figures, violations)


def _files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
