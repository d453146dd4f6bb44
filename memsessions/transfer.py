"""Taking an app's sessions from one server to another: out as plain dicts, and in again.

A token is not needed for that, and nobody has it: the server knows a session by a hash of its token, which
says the same on another one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

from . import record
from . import validation as check
from .errors import InvalidValue, ItemTooLarge, SessionTooLarge, ValidationError
from .index import Entry
from .listings import LONG_S
from .plain import plain
from .reading import FIRST
from .record import new_record
from .store.operations import Add, LeftMany
from .tokens import NAME_LENGTH, Life, hashed

if TYPE_CHECKING:
    from .client import SessionsClient
    from .nodes import Node
    from .scans import Peeked

# 16 bytes in base64: of the last character, only two bits are used.
_NAME = re.compile(rf"[A-Za-z0-9+/]{{{NAME_LENGTH - 1}}}[AQgw]")
# Clocks of two machines may differ by so much, and whole seconds by so many.
_SKEW_S = 24 * 3600
_ROUNDING_S = 2
# As many sessions are written at once: few, as they may be large.
_BATCH = 128
_MOST = 2**63 - 1  # of a number that the server can count up


class Exported(TypedDict):
    """A session as it leaves a store; all of it can be written as JSON.

    `session`: its name in the store, a hash of its token. `server`: the name of its server. `id`, `ip`, `r`,
    `w`, `d`: as the client shows them (of a web session, `d` may be of any depth, or encrypted). `ttl` and
    `no_resave`: as it was created. `used`: when it was last used. `ends`: when it ends if it is not used
    again. Both are whole seconds since 1970, by the clock of the machine that exported it.
    """

    session: str
    server: str
    id: str
    ip: str
    ttl: int
    no_resave: bool
    r: int
    w: int
    used: int
    ends: int
    d: dict[str, Any] | None


class Imported(TypedDict):
    """What became of the sessions that were to be imported.

    `imported`: they live here now. `there`: they were here already, and are as they were. `ended`: their time
    was over.
    """

    imported: int
    there: int
    ended: int


def export_sessions(client: SessionsClient, app: str) -> Iterator[Exported]:
    """Every living session of an app, in no order. Counts as no access, and holds one batch at a time.

    A session that is created, moved or ended meanwhile may be there or not.

    Parameters:
        client: whose servers are asked, one after the other.
        app: the app.

    Returns:
        An iterator of `Exported`. Nothing is asked before the first is taken.

    Raises:
        StoreUnavailable: as every call.
        StoreDamaged: something else wrote under the app's keys.
    """
    check.check_app(app)
    return (
        _exported(peeked, node.name, _now())
        for node in client._nodes_in_use()  # noqa: SLF001
        for peeked in node.app(app).scans.every()
    )


def import_sessions(
    client: SessionsClient,
    app: str,
    sessions: Iterable[Mapping[str, Any]],
    progress: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Imported:
    """Have sessions live on that were exported, under the same tokens, with all that was known of them.

    Each ends when it would have ended. One that is there already is left as it is, so that what was
    interrupted can be done once more. Three round trips for 128 sessions.

    A token tells the name of its server: of several, each session goes to the one that has the name of the
    server it came from. One server alone takes all.

    Parameters:
        client: whose servers take them.
        app: the app, which may have another name than it had.
        sessions: as `export_sessions` gives them.
        progress: called now and then with the number of sessions that were gone through.
        stop: asked now and then; if it says so, the rest is left.

    Returns:
        `{"imported": n, "there": n, "ended": n}`, see `Imported`.

    Raises:
        InvalidValue: one of them is not such a session, and which. Those before it may be imported.
        SessionTooLarge: one does not fit into an item of its server, and which; the same holds.
        StoreFull: the server has no memory left. What was imported stays.
        StoreUnavailable: as every call. What was imported stays.
    """
    check.check_app(app)
    nodes = client._nodes_in_use()  # noqa: SLF001
    total: Imported = {"imported": 0, "there": 0, "ended": 0}
    arrivals = _arrivals(client, sessions)
    while not (stop is not None and stop()) and (some := list(islice(arrivals, _BATCH))):
        for node in nodes:
            if here := [arrival for arrival in some if arrival.node is node]:
                done = _import(node, app, here)
                total["imported"] += done["imported"]
                total["there"] += done["there"]
                total["ended"] += done["ended"]
        if progress is not None:
            progress(total["imported"] + total["there"] + total["ended"])
    return total


def check_importable(client: SessionsClient, sessions: Iterable[Mapping[str, Any]]) -> int:
    """Go through sessions that are to be imported, asking no server; how many they are.

    Raises:
        InvalidValue: one of them is not what `export_sessions` gives, or its server is not the client's.
        SessionTooLarge: one does not fit into an item, as large as the client says that they may be.
    """
    return sum(1 for _ in _arrivals(client, sessions))


# ------------------------------------------------------------------------------------ going out


def _exported(peeked: Peeked, server: str, now: int) -> Exported:
    name, found, session = peeked
    ttl, no_resave = found[3], bool(found[4])
    return {
        "session": name.decode(),
        "server": server,
        "id": session["id"],
        "ip": session["ip"],
        "ttl": ttl,
        "no_resave": no_resave,
        "r": session["r"],
        "w": session["w"],
        "used": now - session["idle"],
        "ends": now + (session["ttl"] if no_resave else ttl - session["idle"]),
        "d": cast("dict[str, Any] | None", session["d"]),
    }


# ------------------------------------------------------------------------------------- coming in


class _Arrival(NamedTuple):
    """A session that is to be imported: into which server, and what is to stand there."""

    number: int
    node: Node
    entry: Entry
    value: bytes
    counter: bytes
    until: int  # when its item ends
    counter_until: int


def _arrivals(client: SessionsClient, sessions: Iterable[Mapping[str, Any]]) -> Iterator[_Arrival]:
    """Sessions as they can be imported, numbered from 1."""
    nodes = client._nodes_in_use()  # noqa: SLF001
    most = client._item_bytes - check.ITEM_OVERHEAD_BYTES  # noqa: SLF001
    for number, session in enumerate(sessions, 1):
        arrival = _arrival(session, number, nodes)
        if len(arrival.value) > most:
            raise _too_large(arrival)
        yield arrival


def _too_large(arrival: _Arrival) -> SessionTooLarge:
    server, size = arrival.node.store.server, len(arrival.value)
    return SessionTooLarge(f"session {arrival.number}: its {size} bytes do not fit into an item of {server}")


def _arrival(session: Mapping[str, Any], number: int, nodes: list[Node]) -> _Arrival:
    """A session as it can be imported. Raises `InvalidValue` if it is none."""
    if not isinstance(session, Mapping) or session.keys() != _FIELDS.keys():
        raise InvalidValue(f"session {number} must be an object of exactly {', '.join(_FIELDS)}")
    for key, fits in _FIELDS.items():
        if not fits(session[key]):
            raise InvalidValue(f"session {number}: {key} is not what an export has there")
    name, server, user, ip, ttl, no_resave, r, w, used, ends, d = (session[key] for key in _FIELDS)
    if used > _now() + _SKEW_S:
        raise InvalidValue(f"session {number}: used is in the future")
    if not used - _ROUNDING_S <= ends <= used + ttl + _ROUNDING_S:
        raise InvalidValue(f"session {number}: ends must be within its ttl after used")
    node = next((node for node in nodes if node.name == server or len(nodes) == 1), None)
    if node is None:
        names = ", ".join(node.name for node in nodes)
        raise InvalidValue(
            f"session {number} comes from the server {server!a}, and here are {names}: the one that takes its"
            " place has to have its name"
        )
    *made, _, _ = new_record(user, ip, ttl, no_resave, None)
    value = record.encode((*made, w, None if d is None else plain(d)))
    entry = Entry(hashed(user), name.encode(), Life(ttl, no_resave))
    until = used + ttl + 1
    counter_until = ends + 1 if no_resave else until + ttl + 1
    return _Arrival(number, node, entry, value, (b"%d" % r).ljust(len(FIRST)), until, counter_until)


def _import(node: Node, app: str, arrivals: list[_Arrival]) -> Imported:
    """Import some sessions into one server."""
    on_node, store, now = node.app(app), node.store, _now()
    names = [arrival.entry.session for arrival in arrivals]
    (lefts,) = store.run((LeftMany(on_node.keys.sessions, names),), repeatable=True)
    absent = [arrival for arrival, left in zip(arrivals, lefts, strict=True) if left is None]
    coming = [arrival for arrival in absent if min(arrival.until, arrival.counter_until) > now]
    entries = [arrival.entry for arrival in coming]
    # As when a session is made: the counter is there before the index entry, and that before the session.
    counters = [
        Add(on_node.keys.reads + arrival.entry.session, arrival.counter, arrival.counter_until - now)
        for arrival in coming
    ]
    sessions = [
        Add(on_node.keys.sessions + arrival.entry.session, arrival.value, arrival.until - now)
        for arrival in coming
    ]
    if not coming:
        return {"imported": 0, "there": len(arrivals) - len(absent), "ended": len(absent)}
    node.register(app)
    started = time.monotonic()
    store.run(counters)
    on_node.listings.surely(entries)
    try:
        stored = store.run(sessions)
    except ItemTooLarge as error:
        refused = error.answers.index(None)  # by a server with smaller items than the client was told of
        raise _too_large(coming[refused]) from error
    if time.monotonic() - started >= LONG_S:  # a wipe may have taken them for the rest of somebody's failure
        on_node.listings.surely(entries)
    imported = sum(stored)
    there = len(arrivals) - len(absent) + len(coming) - imported
    return {"imported": imported, "there": there, "ended": len(absent) - len(coming)}


def _now() -> int:
    """Whole seconds since 1970."""
    return round(time.time())


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _is_accepted(checking: Callable[[Any], None]) -> Callable[[Any], bool]:
    def accepted(value: object) -> bool:
        try:
            checking(value)
        except ValidationError:
            return False
        return True

    return accepted


# What can stand where.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "session": lambda value: type(value) is str and _NAME.fullmatch(value) is not None,
    "server": lambda value: type(value) is str,
    "id": _is_accepted(check.check_id),
    "ip": _is_accepted(check.check_ip),
    "ttl": _is_accepted(check.check_ttl),
    "no_resave": lambda value: type(value) is bool,
    "r": _is_count,
    "w": _is_count,
    "used": _is_count,
    "ends": _is_count,
    "d": lambda value: value is None or type(value) is dict,
}
