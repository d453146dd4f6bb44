"""The shapes of what the client answers."""

from __future__ import annotations

from collections.abc import Mapping  # at run time, too: for who validates data by these types
from typing import TypeAlias, TypedDict

#: What one key of `d` can hold.
Scalar: TypeAlias = str | int | float | bool | None
#: A session's data: flat, JSON scalars only. What is stored holds no None.
Data: TypeAlias = dict[str, str | int | float | bool]


class _Always(TypedDict):
    id: str
    r: int
    w: int
    idle: int
    ttl: int
    ip: str
    d: Data | None


class Session(_Always, total=False):
    """A session as every call shows it; the keys stand in this order.

    `id`: the user. `r`, `w`: reads and writes so far, this call included. `idle`: whole seconds since
    the access before this call. `ttl`: seconds to live without an access; of a `no_resave` session,
    seconds left. `ip`: the address given to `create`. `d`: the data, or None. `no_resave` is there,
    and True, only for a session that was created so.
    """

    no_resave: bool


class _Given(TypedDict):
    id: str
    ip: str


class NewSession(_Given, total=False):
    """A session that `create_many` is to make: what `create` takes, `id` and `ip` at least."""

    ttl: int
    d: Mapping[str, Scalar] | None
    no_resave: bool


class Created(TypedDict):
    """The answer of `create` and `rotate`."""

    token: str


class Killed(TypedDict):
    """How many sessions a call ended."""

    kill: int


class Activity(TypedDict):
    """How many distinct users were active."""

    activity: int


class Repaired(TypedDict):
    """What a repair found in an app, and did.

    `listed`: living sessions that the index lists. `dead`: index entries of sessions that are gone, which
    the next wipe removes. `unlisted`: living sessions that the index had lost. `relisted`: how many of
    these it lists again; on a server that is full, fewer.
    """

    listed: int
    dead: int
    unlisted: int
    relisted: int


class Wiped(TypedDict):
    """How many dead index entries a call removed."""

    wiped: int
