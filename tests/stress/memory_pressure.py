"""Servers that are full, that throw out, and that take small items only: nothing is lost in silence.

Threads make, write, move and end sessions of all sizes on servers with little memory. Each knows what its
sessions hold. A refusal is `StoreFull` or `SessionTooLarge`, and leaves everything as it was; a session that
lives is whole; without evictions none is lost, and each is listed. On a server that evicts, a session can be
gone, and then stays gone. A counter that is lost by itself ends no session.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

from memsessions import SessionsClient

from ..support import inventory
from ..support.memcached import Memcached
from .held_sessions import APP, Holder
from .program import Plan, Report

DURATION_S = 600.0
_NS = "full"
_THREADS = 4
_CALLS_OF_A_ROUND = 400


class Case(NamedTuple):
    """A server, and what its clients store."""

    options: tuple[str, ...]
    sizes: tuple[int, ...]  # bytes of data
    item_bytes: int = 1024 * 1024  # as the client was told
    evicts: bool = False


def around(limit: int) -> tuple[int, ...]:
    """Sizes of data whose item is just below and just above a limit."""
    return tuple(limit - less for less in range(-32, 400, 16))


_MIXED = (1, 1, 1, 100, 1_000, 10_000, 50_000)
CASES = {
    "full": Case(("-M", "-m", "2"), _MIXED),
    "full of large sessions": Case(("-M", "-m", "8"), (*_MIXED, 300_000, 700_000, *around(1024 * 1024))),
    "full, with items of 2 MiB": Case(
        ("-M", "-m", "16", "-I", "2m"), (1, 500_000, 1_500_000, *around(2 * 1024 * 1024)), 2 * 1024 * 1024
    ),
    "full, with small items": Case(("-M", "-m", "4", "-I", "512k"), (1, 1_000, 200_000, *around(512 * 1024))),
    "evicting": Case(("-m", "2"), _MIXED, evicts=True),
    "evicting large sessions": Case(
        ("-m", "8"), (*_MIXED, 300_000, 700_000, *around(1024 * 1024)), evicts=True
    ),
    "evicting, with small items": Case(
        ("-m", "4", "-I", "512k"), (1, 1_000, 200_000, *around(512 * 1024)), evicts=True
    ),
}


def client(server: Memcached, case: Case) -> SessionsClient:
    """A client that knows what size of items it was told."""
    return SessionsClient(server.address, ns=_NS, wipe=0, timeout=30, max_item_bytes=case.item_bytes)


def work(server: Memcached, rs: SessionsClient, case: Case, dice: random.Random, calls: int) -> list[Holder]:
    """Have threads make so many calls each."""
    seeds = [dice.random() for _ in range(_THREADS)]
    holders = [
        Holder(server, rs, _NS, f"user{n}", case.sizes, case.evicts, random.Random(seed))
        for n, seed in enumerate(seeds)
    ]
    with ThreadPoolExecutor(_THREADS) as pool:
        for done in [pool.submit(holder.work, calls) for holder in holders]:
            done.result()
    return holders


def look(server: Memcached, rs: SessionsClient, holders: list[Holder], evicts: bool) -> list[str]:
    """What is not there as its holder left it, or is not ended by what should end it."""
    problems = [problem for holder in holders for problem in holder.problems]
    found = inventory.take(server, _NS, APP)
    held = {name for holder in holders for name in holder.names()}
    if found.broken:
        problems.append(f"{len(found.broken)} items are broken")
    if found.sessions.keys() - held:
        problems.append(f"{len(found.sessions.keys() - held)} sessions are there that nobody has")
    if not evicts:
        if held - found.sessions.keys():
            problems.append(f"{len(held - found.sessions.keys())} sessions are lost")
        if found.unlisted():
            problems.append(f"{len(found.unlisted())} sessions are not listed")
        if len(rs.soapp(APP)) != len(found.sessions):
            problems.append("soapp does not show all sessions")
    killed = sum(rs.killsoid(APP, holder.user)["kill"] for holder in holders)
    rest = inventory.take(server, _NS, APP)
    if not evicts and (killed != len(found.sessions) or rest.sessions):
        problems.append(f"killsoid ended {killed} of {len(found.sessions)}, and left {len(rest.sessions)}")
    return problems


def attack(plan: Plan) -> Report:
    """Rounds on each server in turn, until the time is over."""
    violations: list[str] = []
    figures: Counter[str] = Counter()
    dice = plan.dice
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(Memcached("-t", "2", *case.options)) for name, case in CASES.items()
        }
        for name in itertools.cycle(CASES):
            if plan.is_over:
                break
            server, case = servers[name], CASES[name]
            with client(server, case) as rs:
                holders = work(server, rs, case, dice, _CALLS_OF_A_ROUND)
                problems = look(server, rs, holders, case.evicts)
            inventory.remove(server, _NS)
            for holder in holders:
                figures.update(holder.figures)
            figures["rounds"] += 1
            violations += [f"a server that is {name}: {problem}" for problem in problems]
            plan.progress(f"{figures['rounds']} rounds")
    return Report(dict(sorted(figures.items())), violations)
