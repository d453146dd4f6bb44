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
from memsessions.tokens import hashed

from ..support import inventory
from ..support.inventory import neighbours
from ..support.memcached import Memcached
from ..support.proxy import Proxy
from .aftermath import FIXED_TTL_S, Aftermath, aftermath
from .program import Plan, Report

DURATION_S = 1200.0
APP = "forum"
NEW_APP = "another"
# A small table of keys is looked through sooner.
_OPTIONS = ("-m", "64", "-t", "1", "-o", "hashpower=12")
SERVERS = {"evicts": _OPTIONS, "refuses when full": ("-M", *_OPTIONS)}

USER, NEIGHBOUR = neighbours(2)
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

    sent: bytes | None  # what the client said, if it came to the end of the call, uncut
    problems: list[str]
    left_to_their_end: int


def cut(server: Memcached, ns: str, case: Case, after_bytes: int) -> Cut:
    """Make a call, cut it, and look at what is left."""
    inventory.remove(server, ns)
    with Proxy(("127.0.0.1", server.port)) as proxy, _client(proxy.address, ns) as rs:
        with _client(server.address, ns) as other:
            maker = rs if case.warm else other
            tokens = {ip: _make(maker, ip) for ip in _MADE}
            for ip in ("dead", "dead too"):  # for a wipe
                other.kill(APP, other.create(APP, USER, ip)["token"])
        rs.ping()
        if case.spilled:
            rs._nodes[0].app(APP).listing.mark_full(hashed(USER))
        before = len(proxy.sent)
        proxy.cut_after = after_bytes
        try:
            case.call(rs, tokens)
        except StoreUnavailable:
            assert proxy.cut_after == 0
        if proxy.cut_after > 0:
            return Cut(bytes(proxy.sent[before:]), [], 0)
        proxy.await_cut()
    with _client(server.address, ns) as beside:
        try:
            found = _look(server, beside, ns, case, tokens)
        except MemsessionsError as error:
            found = Aftermath([f"what is left cannot be used: {error!r}"], 0)
    return Cut(None, *found)


def _client(address: str, ns: str) -> SessionsClient:
    return SessionsClient(address, ns=ns, wipe=0, timeout=30)


def _make(rs: SessionsClient, ip: str) -> str:
    user, no_resave = _MADE[ip]
    return rs.create(APP, user, ip, FIXED_TTL_S if no_resave else 3600, {"k": "v"}, no_resave)["token"]


def _look(server: Memcached, rs: SessionsClient, ns: str, case: Case, tokens: dict[str, str]) -> Aftermath:
    problems = _wrong_sessions(inventory.take(server, ns, case.app), case)
    stored = inventory.take(server, ns, APP).sessions
    for ip, token in tokens.items():
        shown = rs.get(APP, token)
        if (shown is not None) != (hashed(token) in stored) or not _is_whole(shown, ip):
            problems.append(f"get of {ip} shows what is not so")
    found = aftermath(server, rs, ns, {APP, case.app})
    return Aftermath(problems + found.problems, found.left_to_their_end)


def _wrong_sessions(found: inventory.Inventory, case: Case) -> list[str]:
    there = Counter(held[2] for held in found.sessions.values())
    expected = {**(dict.fromkeys(_MADE, _ONE) if case.app == APP else {}), **case.allowed}
    problems = [f"{ip} is there {there[ip]} times" for ip in there if ip not in expected]
    problems += [f"{ip} is there {there[ip]} times" for ip, may in expected.items() if there[ip] not in may]
    return problems + [f"{held[2]} is not whole" for held in found.sessions.values() if held[6] not in _DATA]


def _is_whole(shown: Session | None, ip: str) -> bool:
    return shown is None or (shown["id"] == _MADE[ip][0] and shown["ip"] == ip and shown["d"] in _DATA)


def said(server: Memcached, ns: str, name: str) -> bytes:
    """What a client sends in a call that is not cut."""
    sent = cut(server, ns, CASES[name], _ENDLESS).sent
    assert sent is not None
    return sent


def _places(server: Memcached, ns: str, name: str) -> list[int]:
    """After how many bytes a call is cut."""
    # A compare-and-swap unique may have some digits more the next time.
    most = len(said(server, ns, name)) + 8
    return [n for n in range(most) if n > most - _EVERY_BYTES or n % _STRIDE == 0]


def attack(plan: Plan, names: list[str] | None = None) -> Report:
    """Cut each call after each number of bytes, in an order that the dice give, until all was done."""
    ns = "cut"
    violations: list[str] = []
    done: Counter[str] = Counter()
    todo: list[tuple[str, str, int]] = []
    dice: random.Random = plan.dice
    servers = {kind: Memcached(*options) for kind, options in SERVERS.items()}
    try:
        for kind, server in servers.items():
            server.start()
            todo += [(kind, name, n) for name in names or CASES for n in _places(server, ns, name)]
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
