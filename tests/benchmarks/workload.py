"""The sessions that everything is measured with, and how much of everything is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memsessions import Data, SessionsClient

from .timing import progress

APP = "forum"
TTL_S = 7200
#: Makes a record of about 80 bytes.
DATA: Data = {"theme": "dark", "lang": "en", "unread": 3}


@dataclass
class Plan:
    sessions: int = 100_000
    repetitions: int = 15  # of one call
    calls: int = 400  # in each of these
    requests: int = 100  # through a framework, in each of these
    scan_repetitions: int = 7  # of what goes through all sessions

    @property
    def few(self) -> int:
        """The small number of sessions that the large one is compared with."""
        return min(1_000, self.sessions // 10)


QUICK = Plan(sessions=2_000, repetitions=2, calls=40, requests=5, scan_repetitions=2)


def user(number: int) -> str:
    return f"user{number:06}"


def create(client: SessionsClient, name: str) -> str:
    """One session; its token."""
    return client.create(APP, name, "156.78.90.12", TTL_S, DATA)["token"]


def fill(client: SessionsClient, sessions: int) -> list[str]:
    """So many sessions of distinct users; their tokens."""
    tokens = []
    for number in range(sessions):
        if number % 1_000 == 0:
            progress(f"creating {sessions:,} sessions: {number:,}")
        tokens.append(create(client, user(number)))
    progress("")
    return tokens


def users() -> Iterator[str]:
    """Users that nobody had before, as long as `fill` made fewer than five million."""
    number = 5_000_000
    while True:
        yield user(number)
        number += 1
