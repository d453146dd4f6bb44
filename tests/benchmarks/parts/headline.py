"""What redis-sessions says of its own speed: 1,000 sessions created, read and ended, as its own test does.

Its test makes 1,000 calls before it waits for an answer, on one connection, of sessions without data, and
ends them by one `killall`. `kill` of 1,000 at once is measured, too. What memsessions has for that are
`create_many`, `get_many` and `kill_many`; its single calls, one after the other, are for comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, NamedTuple

from memsessions import SessionsClient

from ..machine import Bench
from ..peers.redis_sessions import RedisSessions
from ..report import Row, Table
from ..timing import Batch, Case, Timing, interleaved
from ..versus import faster
from ..workload import IP, ours, user

SESSIONS = 1_000
#: At least so many times faster, where memsessions is told of all sessions at once, too.
TARGET = 3.0
#: Of each, in this order; before `killall`, 1,000 are created once more.
CALLS = ("create", "get", "kill", "killall")
IN_TURN = "memsessions, one at a time"
AT_ONCE = "memsessions, all at once"
ITS = "redis-sessions, all at once"


class Way(NamedTuple):
    """How it is done. Each function takes all names or all tokens; `kill` says how many ended."""

    name: str
    app: str
    create: Callable[[list[str]], list[str]]
    get: Callable[[list[str]], list[Any]]
    kill: Callable[[list[str]], int]


def measure(bench: Bench) -> list[Table]:
    """All times are of 1,000 sessions together."""
    peer, plan = bench.redis_sessions(), bench.plan
    with ours(bench.memcached.address, "headline") as client:
        in_turn = _cases(client, _in_turn(client))
        del in_turn["killall"]  # there is one way only to do that
        each: list[Mapping[str, Case | Batch]] = [in_turn, _cases(client, _at_once(client))]
        if peer is not None:
            each.append(_its_cases(peer))
        cases = [cases[call] for call in CALLS for cases in each if call in cases]
        timings = interleaved(cases, plan.scan_repetitions, "headline")
    title = (
        f"Headline of redis-sessions: {SESSIONS:,} sessions; "
        f"{plan.scan_repetitions} repetitions, times of all together in milliseconds"
    )
    return [Table(title, [_row(name, timings) for name in timings])]


def _row(name: str, timings: Mapping[str, Timing]) -> Row:
    call, _, way = name.partition(", ")
    its = timings.get(f"{call}, {ITS}")
    if its is None or way == ITS:
        return Row(name, timings[name].figures("ms"))
    return faster(name, timings[name], its, None if way == IN_TURN else TARGET, "ms")


# ---------------------------------------------------------------------------------------- memsessions


def _in_turn(client: SessionsClient) -> Way:
    app = "turn"
    return Way(
        IN_TURN,
        app,
        lambda names: [client.create(app, name, IP)["token"] for name in names],
        lambda tokens: [client.get(app, token) for token in tokens],
        lambda tokens: sum(client.kill(app, token)["kill"] for token in tokens),
    )


def _at_once(client: SessionsClient) -> Way:
    app = "once"
    return Way(
        AT_ONCE,
        app,
        lambda names: [
            created["token"]
            for created in client.create_many(app, [{"id": name, "ip": IP} for name in names])
        ],
        lambda tokens: client.get_many(app, tokens),
        lambda tokens: client.kill_many(app, tokens)["kill"],
    )


def _cases(client: SessionsClient, way: Way) -> dict[str, Case]:
    numbers = count()
    names: list[str] = []
    tokens: list[str] = []

    def others() -> list[list[str]]:
        client.wipe()  # what was killed before would soon outnumber what is there
        names[:] = [user(next(numbers)) for _ in range(SESSIONS)]
        return [names]

    def created(names: list[str]) -> bool:
        tokens[:] = way.create(names)
        return len(tokens) == SESSIONS

    def others_once_more() -> list[None]:
        way.create(*others())
        return [None]

    return {
        "create": Case(f"create, {way.name}", created, others, bool),
        "get": Case(
            f"get, {way.name}",
            way.get,
            lambda: [tokens],
            lambda sessions: [session and session["id"] for session in sessions] == names,
        ),
        "kill": Case(f"kill, {way.name}", way.kill, lambda: [tokens], SESSIONS.__eq__),
        "killall": Case(
            f"killall, {way.name}",
            lambda _: client.killall(way.app)["kill"],
            others_once_more,
            SESSIONS.__eq__,
        ),
    }


# -------------------------------------------------------------------------------------- redis-sessions


def _its_cases(peer: RedisSessions) -> dict[str, Batch]:
    app = "headline"
    numbers = count()
    names: list[str] = []
    tokens: list[str] = []

    def others() -> list[dict[str, object]]:
        names[:] = [user(next(numbers)) for _ in range(SESSIONS)]
        return [{"app": app, "id": name, "ip": IP} for name in names]

    def created(answers: list[Any]) -> bool:
        tokens[:] = [answer["token"] for answer in answers]
        return len(tokens) == SESSIONS

    def of_all() -> list[dict[str, object]]:
        return [{"app": app, "token": token} for token in tokens]

    def others_once_more() -> list[dict[str, object]]:
        peer.calls("create", others(), at_once=True)
        return [{"app": app}]

    return {
        "create": peer.batch(f"create, {ITS}", "create", others, created, at_once=True),
        "get": peer.batch(
            f"get, {ITS}",
            "get",
            of_all,
            lambda sessions: [session and session["id"] for session in sessions] == names,
            at_once=True,
        ),
        "kill": peer.batch(
            f"kill, {ITS}",
            "kill",
            of_all,
            lambda answers: answers == [{"kill": 1}] * SESSIONS,
            at_once=True,
        ),
        "killall": peer.batch(
            f"killall, {ITS}", "killall", others_once_more, lambda answers: answers == [{"kill": SESSIONS}]
        ),
    }
