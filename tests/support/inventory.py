"""What a memcached really holds of some sessions, read without the library's own lists."""

from __future__ import annotations

from itertools import count, islice
from typing import NamedTuple

from memsessions import record
from memsessions.index import RECORD_LENGTH, _bucket_of, session_of
from memsessions.tokens import LIFE_LENGTH, hashed, parse_life

from .memcached import Memcached

# As many as can be asked for before their replies are read, some of them being large.
_KEYS_AT_ONCE = 100


class Inventory(NamedTuple):
    """The items of one app. Sessions go by their name on the server, the hash of their token."""

    sessions: dict[bytes, record.Record]
    broken: list[str]  # keys of sessions and of index items whose value is not what it should be
    counters: set[bytes]
    listed: dict[bytes, bool]  # whether the session is one of a fixed life
    index_items: int  # buckets and segments
    spilled: bool

    def of_user(self, id: str) -> list[record.Record]:
        return [found for found in self.sessions.values() if found[1] == id]

    def unlisted(self) -> set[bytes]:
        """Sessions that live, and that nobody can list or end."""
        return set(self.sessions) - set(self.listed)

    def dead(self) -> set[bytes]:
        """What is listed and is not there."""
        return set(self.listed) - set(self.sessions)


def values(server: Memcached, keys: list[str]) -> dict[str, bytes]:
    """The values that stand under some keys."""
    found: dict[str, bytes] = {}
    for first in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[first : first + _KEYS_AT_ONCE]
        request = b"".join(b"mg %b v u\r\n" % key.encode() for key in some)
        lines = iter(server.ask(request + b"mn\r\n", b"MN\r\n").split(b"\r\n"))
        for key in some:
            if next(lines).startswith(b"VA "):
                found[key] = next(lines)
    return found


def take(server: Memcached, ns: str, app: str) -> Inventory:
    """Look at every item of an app."""
    taken = Inventory({}, [], set(), {}, 0, False)._asdict()
    base = f"{ns}:{app}:"
    keys = [key for key in server.keys(ns) if key.startswith(base)]
    taken["spilled"] = f"{base}x" in keys
    for key, value in values(server, keys).items():
        kind, _, name = key.removeprefix(base).partition(":")
        if kind == "s":
            try:
                taken["sessions"][name.encode()] = record.decode(value)
            except ValueError:
                taken["broken"].append(key)
        elif kind == "r":
            taken["counters"].add(name.encode())
        elif name:
            taken["index_items"] += 1
            if not value or len(value) % RECORD_LENGTH:
                taken["broken"].append(key)
            for at in range(0, len(value), RECORD_LENGTH):
                listed = value[at : at + RECORD_LENGTH]
                taken["listed"][session_of(listed)] = parse_life(listed[-LIFE_LENGTH:]).no_resave
    return Inventory(**taken)


def remove(server: Memcached, ns: str) -> None:
    """Everything that stands under a namespace."""
    keys = server.keys(ns)
    for first in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[first : first + _KEYS_AT_ONCE]
        server.ask(b"".join(b"md %b q\r\n" % key.encode() for key in some) + b"mn\r\n", b"MN\r\n")


def neighbours(number: int) -> list[str]:
    """So many users whose sessions are listed in the same index item."""
    first = _bucket_of(hashed("user0"))
    users = (f"user{n}" for n in count())
    return list(islice((user for user in users if _bucket_of(hashed(user)) == first), number))
