"""The sessions that everything is measured with, and how much of everything is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

from memsessions import Data, NewSession, SessionsClient

from ..support.memcached import Memcached
from .timing import Case, progress

APP = "forum"
TTL_S = 7200
IP = "156.78.90.12"
#: Makes a record of about 80 bytes.
DATA: Data = {"theme": "dark", "lang": "en", "unread": 3}
_FILL_AT_ONCE = 1_000


@dataclass
class Plan:
    sessions: int = 100_000  # of the large app
    repetitions: int = 15  # of one call
    calls: int = 400  # in each of these
    requests: int = 100  # through a framework, in each of these
    scan_repetitions: int = 7  # of what goes through all sessions, or is slow

    @property
    def few(self) -> int:
        """The small number of sessions that the large one is compared with."""
        return min(1_000, self.sessions // 10)


QUICK = Plan(sessions=2_000, repetitions=2, calls=40, requests=5, scan_repetitions=2)


def user(number: int) -> str:
    return f"user{number:06}"


def ours(servers: str | list[str], ns: str) -> SessionsClient:
    """A client that leaves a slow call to be measured, and does not cut it off."""
    return SessionsClient(servers, ns=ns, wipe=0, timeout=10, connect_timeout=5)


def create(client: SessionsClient, name: str, data: Data = DATA) -> str:
    """One session; its token."""
    return client.create(APP, name, IP, TTL_S, data)["token"]


def fill(client: SessionsClient, sessions: int) -> list[str]:
    """So many sessions of distinct users; their tokens. What is stored is what as many `create`s store."""
    tokens: list[str] = []
    for first in range(0, sessions, _FILL_AT_ONCE):
        progress(f"creating {sessions:,} sessions: {first:,}")
        numbers = range(first, min(first + _FILL_AT_ONCE, sessions))
        some: list[NewSession] = [
            {"id": user(number), "ip": IP, "ttl": TTL_S, "d": DATA} for number in numbers
        ]
        tokens += [created["token"] for created in client.create_many(APP, some)]
    progress("")
    return tokens


def users(start: int = 5_000_000) -> Iterator[str]:
    """Users that nobody had before, as long as `fill` made fewer than five million."""
    number = start
    while True:
        yield user(number)
        number += 1


def session_cases(
    client: SessionsClient, calls: int, suffix: str = "", *, data: Data = DATA, first_user: int = 5_000_000
) -> list[Case]:
    """Each call of one session; what `create` makes is what `rotate` moves and `kill` ends."""
    names = users(first_user)
    made: list[str] = []
    kept = [create(client, name, data) for name in islice(names, 8)]

    def created(name: str) -> None:
        made.append(create(client, name, data))

    def rotated(token: str) -> None:
        answer = client.rotate(APP, token)
        made.append(answer["token"] if answer else "")

    def take_made() -> list[str]:
        taken = made.copy()
        made.clear()
        return taken

    def take_kept() -> Iterator[str]:
        return islice(cycle(kept), calls)

    def found(answer: object) -> bool:
        return answer is not None

    return [
        Case(f"get{suffix}", lambda token: client.get(APP, token), take_kept, found),
        Case(f"create{suffix}", created, lambda: islice(names, calls)),
        Case(f"set{suffix}", lambda token: client.set(APP, token, data), take_kept, found),
        Case(f"rotate{suffix}", rotated, take_made, lambda _answer: "" not in made),
        Case(
            f"kill{suffix}",
            lambda token: client.kill(APP, token),
            take_made,
            lambda answer: answer["kill"] == 1,
        ),
    ]


def largest_item(server: Memcached, ns: str) -> tuple[str, bytes]:
    """The key and the value of the session in a namespace that has only one."""
    items = [(key, server.value(key) or b"") for key in server.keys(ns)]
    return max(items, key=lambda item: len(item[1]))
