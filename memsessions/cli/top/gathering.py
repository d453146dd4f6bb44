"""What `top` asks the store, again and again: nothing of it counts as a use of a session."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple

from ... import operating
from ...client import SessionsClient
from ...errors import StoreError, StoreUnavailable
from ...index import session_of
from ...nodes import Node
from ...scans import Counted
from .readings import AppNow, Counting, Latency, Point, Reading, ServerNow, percentile, rate, total

ACTIVE_S = 600
#: Latencies are of the pings of so many seconds, plots of these.
MINUTE_S, PLOTTED_S = 60.0, 300.0
# So often each server is asked for a sign of life.
_PING_S = 0.1
# Of so many sessions in all it is remembered which there were: some 30 MB.
_REMEMBERED = 100_000
# Apps are counted for a fifth of the time at most.
_PAUSE = 5
_MOST_POINTS = 600

#: What memcached counts when somebody reads a session: its counter was counted up, or is not there.
_HITS, _MISSES = "incr_hits", "incr_misses"


class Stopped(Exception):
    """Nobody wants to know any more."""


class _Asked(NamedTuple):
    """What a server said, and when."""

    at: float
    stats: dict[str, str]

    def number(self, stat: str) -> int | None:
        value = self.stats.get(stat, "")
        return int(value) if value.isdecimal() else None

    def rate(self, stat: str, before: _Asked | None) -> float | None:
        if before is None or not self._same_process(before):
            return None
        return rate(self.number(stat), before.number(stat), self.at - before.at)

    def _same_process(self, before: _Asked) -> bool:
        """Whether it was not started anew in between, and all its counters with it."""
        uptime, its_uptime = self.number("uptime") or 0, before.number("uptime") or 0
        return self.stats.get("pid") == before.stats.get("pid") and uptime >= its_uptime


class _Roll:
    """Which sessions an app had when it was counted, and how often each had been read.

    A session that came and went between two counts is seen, too: its index entry stays until it is wiped.
    """

    def __init__(self, room: int) -> None:
        self.at = time.monotonic()
        self.sessions = 0
        self.room = room
        self.living: dict[bytes, int | None] = {}
        self.dead: set[bytes] = set()
        self.names: dict[Node, list[bytes]] = {}
        self.whole = True

    def see(self, node: Node, part: Counted) -> None:
        """Take in some records, as long as there is room."""
        if not self.whole:
            return
        if len(self.living) + len(self.dead) + len(part.records) > self.room:
            self.whole = False
            self.living, self.dead, self.names = {}, set(), {}
            return
        living = [session_of(record) for record, left in part.records if left is not None]
        self.living.update(dict.fromkeys(living))
        self.dead.update(session_of(record) for record, left in part.records if left is None)
        self.names.setdefault(node, []).extend(living)

    def since(self, before: _Roll) -> tuple[int, int, int]:
        """How many sessions were created and ended since then, and how often those of both were read."""
        passing = self.dead - before.dead - before.living.keys()
        created = len(self.living.keys() - before.living.keys()) + len(passing)
        ended = len(before.living.keys() - self.living.keys()) + len(passing)
        reads = 0
        for name, number in self.living.items():
            earlier = before.living.get(name)
            if number is not None and earlier is not None:
                reads += max(0, number - earlier)
        return created, ended, reads


class Gatherer:
    """Reads a store, and remembers what it needs to tell rates.

    Everything is done in one thread, pings in the middle of counting too, as another thread that is busy
    would add to the latencies.

    Parameters:
        client: of the servers.
        interval_s: how long it is from one reading to the next.
        only: these apps, if any is given.
    """

    def __init__(self, client: SessionsClient, interval_s: float, only: Collection[str] = ()) -> None:
        self._client = client
        self._interval_s = interval_s
        self._only = only
        self.latest = Reading(time.time(), interval_s, at=time.monotonic())
        #: Held while a server is pinged. Whoever keeps the interpreter busy takes it.
        self.quiet = threading.Lock()
        self.stop = threading.Event()
        self._asked: dict[str, _Asked] = {}
        self._pings: dict[str, deque[tuple[float, float]]] = {}
        self._servers: list[ServerNow] = []
        self._apps: list[AppNow] = []
        self._rolls: dict[str, _Roll] = {}
        self._counted_at: float | None = None
        self._took_s = 0.0
        self._counting_error: str | None = None
        self._counted_anew = False
        self._points: deque[Point] = deque(maxlen=_MOST_POINTS)
        self._next_ping = self._next_look = 0.0

    # -------------------------------------------------------------------------------------- turns

    def go_on(self) -> None:
        """Read again and again, until `stop` is set."""
        next_count = 0.0
        try:
            while True:
                self._turn()
                began = time.monotonic()
                if began >= next_count:
                    self._count(self._turn)
                    self._show()
                    took_s = time.monotonic() - began
                    next_count = began + max(self._interval_s, _PAUSE * took_s)
                self._sleep(min(self._next_ping, self._next_look, next_count))
        except Stopped:
            pass

    def once(self) -> Reading:
        """One reading, after an interval that makes it possible to tell rates."""
        self._look()
        self._count(self._ping_in_turn)
        until = time.monotonic() + self._interval_s
        while time.monotonic() < until:
            self._ping_in_turn()
            self._sleep(min(self._next_ping, until))
        self._look()
        self._count(self._ping_in_turn)
        self._show()
        return self.latest

    def _turn(self) -> None:
        """Do what is due. Called in between of what takes long."""
        if self.stop.is_set():
            raise Stopped
        self._ping_in_turn()
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + self._interval_s
            self._look()
            self._show()

    def _sleep(self, until: float) -> None:
        self.stop.wait(max(0.0, until - time.monotonic()))

    # ------------------------------------------------------------------------------------- servers

    def _ping_in_turn(self) -> None:
        now = time.monotonic()
        if now >= self._next_ping:
            self._next_ping = now + _PING_S
            with self.quiet:
                outcomes = operating.on_each_server(self._client, _ping_ms)
            for server, took_ms in outcomes:
                if isinstance(took_ms, float):
                    self._pings.setdefault(server, deque()).append((now, took_ms))

    def _look(self) -> None:
        """Ask each server how it is."""
        now = time.monotonic()
        asked: dict[str, _Asked] = {}
        self._servers = []
        for server, outcome in operating.on_each_server(self._client, lambda node: node.store.stats()):
            latency = self._latency(server, now)
            if isinstance(outcome, StoreError):
                self._servers.append(ServerNow(server, outcome.reason, latency=latency))
                continue
            said, before = _Asked(now, outcome), self._asked.get(server)
            asked[server] = said
            self._servers.append(
                ServerNow(
                    server,
                    None,
                    said.number("bytes"),
                    said.number("limit_maxbytes"),
                    said.number("curr_items"),
                    said.number("curr_connections"),
                    said.number("evictions"),
                    said.rate("evictions", before),
                    said.rate(_HITS, before),
                    said.rate(_MISSES, before),
                    latency,
                )
            )
        self._asked = asked

    def _latency(self, server: str, now: float) -> Latency:
        pings = self._pings.setdefault(server, deque())
        while pings and pings[0][0] < now - MINUTE_S:
            pings.popleft()
        ordered = sorted(took_ms for _, took_ms in pings)
        return Latency(len(ordered), *(percentile(ordered, part) for part in (0.50, 0.95, 0.99)))

    # ---------------------------------------------------------------------------------------- apps

    def _count(self, meanwhile: Callable[[], None]) -> None:
        """Count the sessions of all apps. Of an outage, what was counted before remains."""
        began = time.monotonic()
        apps: list[AppNow] = []
        rolls: dict[str, _Roll] = {}
        self._counting_error = None
        try:
            names = operating.app_names(self._client)
            for app in names if not self._only else [name for name in names if name in self._only]:
                try:
                    room = _REMEMBERED - sum(len(roll.living) + len(roll.dead) for roll in rolls.values())
                    now, rolls[app] = self._count_app(app, room, meanwhile)
                    apps.append(now)
                except StoreUnavailable:
                    raise
                except StoreError as error:  # somebody else's data under this app's keys
                    self._counting_error = f"{app}: {error.reason}"
        except StoreError as error:
            self._counting_error = str(error)
            self._rolls = {}  # what happens in an outage is nobody's rate
            return
        self._apps, self._rolls = apps, rolls
        self._counted_at = time.monotonic()
        self._took_s = self._counted_at - began
        self._counted_anew = True

    def _count_app(self, app: str, room: int, meanwhile: Callable[[], None]) -> tuple[AppNow, _Roll]:
        roll = _Roll(room)
        census = operating.census(self._client, app, ACTIVE_S, lambda *_: meanwhile(), roll.see)
        for node, names in roll.names.items():
            reads = node.app(app).scans.reads(names)
            at = 0
            for numbers in reads:
                roll.living.update(zip(names[at : at + len(numbers)], numbers, strict=True))
                at += len(numbers)
                meanwhile()
        roll.names = {}
        roll.sessions = census.sessions
        before = self._rolls.get(app)
        if before is None:
            return AppNow(app, *census), roll
        passed_s = roll.at - before.at
        net = (roll.sessions - before.sessions) / passed_s
        if not (roll.whole and before.whole):
            return AppNow(app, *census, net_per_s=net), roll
        created, ended, reads_done = roll.since(before)
        return AppNow(app, *census, created / passed_s, ended / passed_s, net, reads_done / passed_s), roll

    # ------------------------------------------------------------------------------------- showing

    def _show(self) -> None:
        """Make what is known the latest reading."""
        now = time.monotonic()
        while self._points and self._points[0].at < now - PLOTTED_S:
            self._points.popleft()
        since = self._points[-1].at if self._points else 0.0
        if now - since >= self._interval_s / 2:
            self._points.append(self._point(now, since))
            self._counted_anew = False
        age_s = None if self._counted_at is None else now - self._counted_at
        counting = Counting(
            age_s, self._took_s if self._counted_at is not None else None, self._counting_error
        )
        self.latest = Reading(
            time.time(),
            self._interval_s,
            tuple(self._apps),
            tuple(self._servers),
            counting,
            tuple(self._points),
            now,
        )

    def _point(self, now: float, since: float) -> Point:
        apps = self._apps if self._counted_anew else []
        pings = sorted(took for each in self._pings.values() for at, took in each if at >= since)
        return Point(
            now,
            {each.app: each.sessions for each in apps},
            total([each.hits_per_s for each in self._servers]),
            total([each.misses_per_s for each in self._servers]),
            total([each.created_per_s for each in apps]),
            total([each.ended_per_s for each in apps]),
            percentile(pings, 0.50),
            percentile(pings, 0.99),
        )


def _ping_ms(node: Node) -> float | None:
    """How long a server takes to answer on a connection that is open; None if it was not."""
    opened = node.store.connections().opened
    started = time.perf_counter()
    node.ping()
    took_s = time.perf_counter() - started
    return took_s * 1000 if node.store.connections().opened == opened else None
