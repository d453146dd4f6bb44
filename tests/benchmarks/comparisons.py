"""What of a run is shown where there is little room: a line for each promise, kept or not.

Figures come from the tables of the parts, as they are; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from .report import Row
from .results import Results

_REDIS_SESSIONS = "redis-sessions"


class Pick(NamedTuple):
    """Where a line comes from: a row of ours, and what it is beside."""

    label: str
    title: str  # how the table's title begins
    row: str  # ours
    beside: str | int  # the other's row in that table; or which of our row's figures is the other's
    peer: str  # what the other is called
    figure: int = 0  # which of its figures is shown
    unit: str = "us"
    #: Whether the last figure compares the two; where it does not, the figures that are shown do.
    compared: bool = True


class Line(NamedTuple):
    """A comparison, as it was measured."""

    label: str
    peer: str
    ours: float
    theirs: float
    unit: str
    times: float  # better than the other
    target: float | None  # of that
    met: bool | None


def _one_call(call: str, peer: str = "PooledClient.get", called: str = "") -> Pick:
    return Pick(f"`{call}`", "One call", call, peer, called or f"pymemcache's `{peer}`")


def _versus(title: str, call: str, unit: str = "us", way: str = "memsessions", other: str = "") -> Pick:
    peer = f"{call}, {other or _REDIS_SESSIONS}"
    return Pick(f"`{call}`", title, f"{call}, {way}", peer, _REDIS_SESSIONS, unit=unit)


def _request(framework: str, page: str, does: str, peer: str, called: str) -> Pick:
    return Pick(f"{framework}, {does}", framework, f"{page}, memsessions", f"{page}, {peer}", called)


_WARM = "Beside redis-sessions, one call at a time, in processes that are warm"
_HEADLINE = "Headline of redis-sessions"
_AT_ONCE = "redis-sessions, all at once"
_LISTS = "Lists of 100,000"
_DJANGO = ("cache, PyMemcacheCache", "its `cache` engine, PyMemcacheCache")
_FLASK = ("Flask-Session, writes acknowledged", "Flask-Session, writes acknowledged")
_STARLETTE = ("starsessions on Redis, load_session", "starsessions on Redis")

#: By group; the headings say what is compared.
PICKS: Mapping[str, Sequence[Pick]] = {
    "One call, beside a plain read of as many bytes": [
        _one_call("get"),
        _one_call("create"),
        _one_call("set"),
        _one_call("kill"),
        _one_call("get", "pylibmc get (C)", "pylibmc's `get`")._replace(
            label="`get`, beside a client in C", compared=False
        ),
    ],
    "One call, beside redis-sessions on Redis": [
        _versus(_WARM, call) for call in ("get", "create", "set", "kill")
    ],
    "1,000 sessions together, beside redis-sessions' 1,000 at once": [
        _versus(_HEADLINE, call, "ms", "memsessions, all at once", _AT_ONCE)
        for call in ("create", "get", "kill")
    ],
    "An app of 100,000 sessions, beside redis-sessions": [
        _versus(_LISTS, call, "ms") for call in ("soapp", "killall", "activity")
    ],
    "A request": [
        _request("Django", "read", "reads its session", *_DJANGO),
        _request("Django", "write", "writes it", *_DJANGO),
        _request("Flask", "write", "writes its session", *_FLASK),
        _request("Starlette", "read", "reads its session", *_STARLETTE),
        _request("Starlette", "write", "writes it", *_STARLETTE),
        _request("Starlette", "bare", "leaves it alone", *_STARLETTE),
    ],
}

#: Of these, "times" is no speed.
OTHER_PICKS: Mapping[str, Sequence[Pick]] = {
    "Among many sessions, beside few": [
        Pick(f"`{call}`", "Growth", call, 0, "among few", figure=1) for call in ("get", "create")
    ],
    "Memory of a session on the server, and the time to start": [
        Pick(
            "a session",
            "Memory of a session on a new server",
            "items, ",
            1,
            _REDIS_SESSIONS,
            unit="bytes",
        ),
        Pick(
            "`import memsessions`",
            "Imports",
            "memsessions",
            "pymemcache and orjson",
            "`import pymemcache, orjson`",
            figure=5,
            unit="ms",
        ),
    ],
}


def lines(results: Results, picks: Sequence[Pick]) -> Iterator[Line]:
    """Of those that were measured beside the other."""
    for pick in picks:
        row = results.row(pick.title, pick.row)
        beside = results.row(pick.title, pick.beside) if isinstance(pick.beside, str) else row
        if row is not None and beside is not None and len(row.figures) > 1:
            yield _line(pick, row, beside)


def _line(pick: Pick, row: Row, beside: Row) -> Line:
    ours = list(row.figures.values())[pick.figure]
    theirs = list(beside.figures.values())[pick.beside if isinstance(pick.beside, int) else pick.figure]
    if not pick.compared:
        return Line(pick.label, pick.peer, ours, theirs, pick.unit, theirs / ours, None, None)
    last = list(row.figures.values())[-1]
    times, target = (
        (last, row.target) if row.better == "higher" else (1 / last, row.target and 1 / row.target)
    )
    return Line(pick.label, pick.peer, ours, theirs, pick.unit, times, target, row.met)
