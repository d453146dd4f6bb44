"""What `top` knows at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from ... import percentiles


@dataclass(frozen=True)
class Latency:
    """Of the pings of the last minute: how many there were, and within how many milliseconds a part of them
    was answered."""

    pings: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True)
class AppNow:
    """An app. What is by second is None as long as there is nothing to compare with.

    Of an app with very many sessions only the difference of what was created and ended is known.
    """

    app: str
    sessions: int
    users: int
    active: int
    created_per_s: float | None = None
    ended_per_s: float | None = None
    net_per_s: float | None = None
    reads_per_s: float | None = None


@dataclass(frozen=True)
class ServerNow:
    """A server, as it says itself; of one that does not answer, why."""

    server: str
    error: str | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    items: int | None = None
    connections: int | None = None
    evictions: int | None = None
    evictions_per_s: float | None = None
    hits_per_s: float | None = None
    misses_per_s: float | None = None
    latency: Latency = Latency()


@dataclass(frozen=True)
class Counting:
    """When the apps were counted, how many seconds that took, and what kept it from being done since then."""

    age_s: float | None = None
    took_s: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Point:
    """What plots show of one moment; None where it was not known."""

    at: float  # on the clock of this process
    sessions: Mapping[str, int]
    hits_per_s: float | None
    misses_per_s: float | None
    created_per_s: float | None
    ended_per_s: float | None
    p50_ms: float | None  # of the pings since the point before
    p99_ms: float | None


@dataclass(frozen=True)
class Reading:
    """Everything."""

    time: float  # in seconds since 1970
    interval_s: float
    apps: Sequence[AppNow] = ()
    servers: Sequence[ServerNow] = ()
    counting: Counting = Counting()
    points: Sequence[Point] = ()
    at: float = 0.0  # on the clock of this process

    def document(self) -> dict[str, Any]:
        """As --json has it."""
        moment = datetime.fromtimestamp(self.time, timezone.utc).isoformat(timespec="seconds")
        return {
            "time": moment,
            "interval_s": self.interval_s,
            "apps": [_rounded(asdict(app)) for app in self.apps],
            "servers": [_rounded(asdict(server)) for server in self.servers],
            "counting": _rounded(asdict(self.counting)),
        }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _rounded(value)
        if isinstance(value, dict)
        else round(value, 3)
        if isinstance(value, float)
        else value
        for name, value in values.items()
    }


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """The same as that of `percentiles`; None if there are no numbers."""
    return percentiles.percentile(ordered, part) if ordered else None


def rate(now: float | None, before: float | None, passed_s: float) -> float | None:
    """By second; None if it is not known, or has begun anew in between."""
    if now is None or before is None or now < before or passed_s <= 0:
        return None
    return (now - before) / passed_s


def total(numbers: Sequence[float | None]) -> float | None:
    """Of those that are known; None if none is."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
