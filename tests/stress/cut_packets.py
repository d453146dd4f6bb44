"""Clients that end inside a packet: the server gets its first n bytes and no more, for every n.

Each call that changes something goes through a proxy that passes so many bytes of what the client says
after its connection was in order, and then ends for good, as a client does that is killed. What is left
is looked at from beside the proxy: every session that lives is whole, listed, and ended by `killsoid`; what
the call had nothing to do with is as it was; and one wipe leaves no record of a session that is not there,
but for those of a fixed life, which can wait for the end that it would have had.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from memsessions import MemsessionsError, Session, SessionsClient, StoreUnavailable
from memsessions.index import _bucket_of
from memsessions.tokens import hashed
from memsessions.wiping import BEING_MADE_S

from ..support import inventory
from ..support.memcached import Memcached
from ..support.proxy import Proxy
from .program import Plan, Report

DURATION_S = 600.0
APP = "forum"
NEW_APP = "another"
USER = "user1234"
FIXED_TTL_S = 60
# A small table of keys is looked through sooner.
_OPTIONS = ("-m", "64", "-t", "1", "-o", "hashpower=12")
_SERVERS = {"evicts": _OPTIONS, "refuses when full": ("-M", *_OPTIONS)}


def _neighbour(user: str) -> str:
    """A user whose sessions are listed in the same index item."""
    bucket = _bucket_of(hashed(user))
    return next(other for n in range(10**6) if _bucket_of(hashed(other := f"neighbour{n}")) == bucket)


NEIGHBOUR = _neighbour(USER)

#: How many sessions there may be afterwards that were made with an address.
_Allowed = dict[str, set[int]]
_MADE: dict[str, tuple[str, bool]] = {
    "plain": (USER, False),
    "fixed": (USER, True),
    "second": (USER, False),
    "next door": (NEIGHBOUR, False),
    "far": ("somebody else", False),
}
_ONE, _MAYBE = {1}, {0, 1}


class Case(NamedTuple):
    """A call, and what may have become of which session when it was cut."""

    call: Callable[[SessionsClient, dict[str, str]], object]
    allowed: _Allowed
    warm: bool = True  # the client knows the app and its index already
    spilled: bool = False
    app: str = APP


def _create(app: str, no_resave: bool) -> Callable[[SessionsClient, dict[str, str]], object]:
    ttl = FIXED_TTL_S if no_resave else 3600
    return lambda rs, _: rs.create(app, USER, "new", ttl, {"k": "v"}, no_resave)


CASES = {
    "create": Case(_create(APP, False), {"new": _MAYBE}),
    "create with a fixed end": Case(_create(APP, True), {"new": _MAYBE}),
    "create, the client's first": Case(_create(APP, False), {"new": _MAYBE}, warm=False),
    "create, the app's first": Case(_create(NEW_APP, False), {"new": _MAYBE}, app=NEW_APP),
    "create in a full bucket": Case(_create(APP, False), {"new": _MAYBE}, spilled=True),
    "set": Case(lambda rs, t: rs.set(APP, t["plain"], {"k": None, "more": "x" * 40}), {}),
    "set with a fixed end": Case(lambda rs, t: rs.set(APP, t["fixed"], {"more": "x" * 40}), {}),
    "rotate": Case(lambda rs, t: rs.rotate(APP, t["plain"]), {"plain": {1, 2}}),
    "rotate with a fixed end": Case(lambda rs, t: rs.rotate(APP, t["fixed"]), {"fixed": {1, 2}}),
    "rotate in a full bucket": Case(
        lambda rs, t: rs.rotate(APP, t["plain"]), {"plain": {1, 2}}, spilled=True
    ),
    "kill": Case(lambda rs, t: rs.kill(APP, t["plain"]), {"plain": _MAYBE}),
    "kill with a fixed end": Case(lambda rs, t: rs.kill(APP, t["fixed"]), {"fixed": _MAYBE}),
    "killsoid": Case(
        lambda rs, _: rs.killsoid(APP, USER), dict.fromkeys(("plain", "fixed", "second"), _MAYBE)
    ),
    "killall": Case(lambda rs, _: rs.killall(APP), dict.fromkeys(_MADE, _MAYBE)),
    "wipe": Case(lambda rs, _: rs.wipe(), {}),
    "get": Case(lambda rs, t: rs.get(APP, t["plain"]), {}),
}
# `killall` and `wipe` begin with a question for the size of every bucket, which changes nothing; of what is
# longer than this, only some places of the beginning are tried.
_EVERY_BYTES = 2_500
_STRIDE = 61
_ENDLESS = 1 << 30
# What a session can hold: as it was made, or as `set` leaves it.
_DATA = [{"k": "v"}, {"more": "x" * 40}, {"k": "v", "more": "x" * 40}]


class Cut(NamedTuple):
    """What came of a call whose client ended after so many bytes."""

    sent: int | None  # how many bytes the client said when it came to the end of the call, uncut
    problems: list[str]
    left_to_their_end: int  # records of a fixed life that the first wipe could not tell from one being made


def cut(server: Memcached, ns: str, case: Case, after_bytes: int) -> Cut:
    """Make a call, cut it, and look at what is left."""
    inventory.remove(server, ns)
    with Proxy(("127.0.0.1", server.port)) as proxy, SessionsClient(proxy.address, ns=ns, wipe=0) as rs:
        with SessionsClient(server.address, ns=ns, wipe=0) as other:
            maker = rs if case.warm else other
            tokens = {ip: _make(maker, ip) for ip in _MADE}
            for ip in ("dead", "dead too"):  # for a wipe
                other.kill(APP, other.create(APP, USER, ip)["token"])
        rs.ping()
        if case.spilled:
            rs._serving(APP).listing.mark_full(hashed(USER))
        before = len(proxy.sent)
        proxy.cut_after = after_bytes
        try:
            case.call(rs, tokens)
        except StoreUnavailable:
            assert proxy.cut_after == 0
        if proxy.cut_after > 0:
            return Cut(len(proxy.sent) - before, [], 0)
        proxy.await_cut()
    with SessionsClient(server.address, ns=ns, wipe=0) as beside:
        try:
            problems, left = _look(server, beside, ns, case, tokens)
        except MemsessionsError as error:
            problems, left = [f"what is left cannot be used: {error!r}"], 0
    return Cut(None, problems, left)


def _make(rs: SessionsClient, ip: str) -> str:
    user, no_resave = _MADE[ip]
    return rs.create(APP, user, ip, FIXED_TTL_S if no_resave else 3600, {"k": "v"}, no_resave)["token"]


def _look(
    server: Memcached, rs: SessionsClient, ns: str, case: Case, tokens: dict[str, str]
) -> tuple[list[str], int]:
    problems = []
    left = 0
    found = {app: inventory.take(server, ns, app) for app in {APP, case.app}}
    problems += _wrong_sessions(found[case.app], case)
    for ip, token in tokens.items():
        shown = rs.get(APP, token)
        if (shown is not None) != (hashed(token) in found[APP].sessions) or not _is_whole(shown, ip):
            problems.append(f"get of {ip} shows what is not so")
    for app, before in found.items():
        problems += _unreachable(rs, app, before)
    server.advance(ns, BEING_MADE_S)
    rs.wipe()
    for app, before in found.items():
        wiped = inventory.take(server, ns, app)
        if wiped.sessions.keys() != before.sessions.keys():
            problems.append("the wipe changed who lives")
        problems += _unreachable(rs, app, wiped)
        # The counter of a fixed life does not tell how old it is; its record goes when it has ended.
        waiting = {name for name in wiped.dead() & wiped.counters if wiped.listed[name]}
        left += len(waiting)
        if wiped.dead() - waiting:
            problems.append(f"the wipe left {len(wiped.dead() - waiting)} records of sessions that are gone")
        problems += _not_ended(server, rs, ns, app, wiped)
    server.advance(ns, FIXED_TTL_S + 1)
    rs.wipe()
    for app in found:
        rest = inventory.take(server, ns, app)
        if rest.sessions or rest.listed or rest.index_items or rest.spilled:
            problems.append("something is left after the end of all sessions and a wipe")
    return problems, left


def _wrong_sessions(found: inventory.Inventory, case: Case) -> list[str]:
    there = Counter(held[2] for held in found.sessions.values())
    expected = {**(dict.fromkeys(_MADE, _ONE) if case.app == APP else {}), **case.allowed}
    problems = [f"{ip} is there {there[ip]} times" for ip in there if ip not in expected]
    problems += [f"{ip} is there {there[ip]} times" for ip, may in expected.items() if there[ip] not in may]
    problems += [f"{key.partition(':s:')[0]} has a broken item" for key in found.broken]
    return problems + [f"{held[2]} is not whole" for held in found.sessions.values() if held[6] not in _DATA]


def _is_whole(shown: Session | None, ip: str) -> bool:
    return shown is None or (shown["id"] == _MADE[ip][0] and shown["ip"] == ip and shown["d"] in _DATA)


def _unreachable(rs: SessionsClient, app: str, found: inventory.Inventory) -> list[str]:
    """What lives and is not listed, by what is stored and by what is shown."""
    problems = [f"{len(found.unlisted())} sessions are not listed"] if found.unlisted() else []
    users = {held[1] for held in found.sessions.values()}
    wrong = [user for user in users if len(rs.soid(app, user)) != len(found.of_user(user))]
    return problems + [f"soid does not show the sessions of {user}" for user in wrong]


def _not_ended(
    server: Memcached, rs: SessionsClient, ns: str, app: str, before: inventory.Inventory
) -> list[str]:
    """End all sessions of the user, and then all of the app; what remains."""
    problems = []
    killed = rs.killsoid(app, USER)["kill"]
    after = inventory.take(server, ns, app)
    if after.of_user(USER):
        problems.append(f"{len(after.of_user(USER))} sessions live on after killsoid")
    if killed != len(before.of_user(USER)):
        problems.append(f"killsoid says {killed}, there were {len(before.of_user(USER))}")
    if len(after.sessions) != len(before.sessions) - len(before.of_user(USER)):
        problems.append("killsoid ended sessions of others")
    killed = rs.killall(app)["kill"]
    if killed != len(after.sessions):
        problems.append(f"killall says {killed}, there were {len(after.sessions)}")
    return problems


def places(server: Memcached, ns: str, name: str) -> list[int]:
    """After how many bytes a call is cut."""
    sent = cut(server, ns, CASES[name], _ENDLESS).sent
    assert sent is not None
    # A compare-and-swap unique may have some digits more the next time.
    return [n for n in range(sent + 8) if n > sent - _EVERY_BYTES or n % _STRIDE == 0]


def attack(plan: Plan, names: list[str] | None = None) -> Report:
    """Cut each call after each number of bytes, in an order that the dice give, until all was done."""
    ns = "cut"
    violations: list[str] = []
    done: Counter[str] = Counter()
    todo: list[tuple[str, str, int]] = []
    dice: random.Random = plan.dice
    servers = {kind: Memcached(*options) for kind, options in _SERVERS.items()}
    try:
        for kind, server in servers.items():
            server.start()
            todo += [(kind, name, n) for name in names or CASES for n in places(server, ns, name)]
        dice.shuffle(todo)
        left_to_their_end = 0
        while todo and not plan.is_over:
            kind, name, after_bytes = todo.pop()
            result = cut(servers[kind], ns, CASES[name], after_bytes)
            left_to_their_end += result.left_to_their_end
            done[name] += result.sent is None
            where = f"{name} cut after {after_bytes} bytes on a server that {kind}"
            violations += [f"{where}: {problem}" for problem in result.problems]
            plan.progress(f"{len(todo)} cuts to go")
    finally:
        for server in servers.values():
            server.kill()
    figures = {
        "cuts": sum(done.values()),
        "cuts left out for want of time": len(todo),
        "records of a fixed life left to its end": left_to_their_end,
        **{f"cuts of {name}": count for name, count in sorted(done.items())},
    }
    return Report(figures, violations)
