"""What tools for whoever runs a store ask of it, beyond a `SessionsClient`'s calls.

Nothing that looks counts as a use of a session, or renews one. What may take long says how far it has come,
and what changes things can be stopped: it ends in order then, with everything done that it has counted.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from . import validation as check
from .errors import InvalidFormat, StoreError, StoreUnavailable, UnsupportedServer
from .handles import handle_of, name_of
from .nodes import Node
from .scans import Counted, idle_time
from .tokens import TAG, hashed

if TYPE_CHECKING:
    from .client import SessionsClient
    from .types import Session

T = TypeVar("T")

# Where nobody asks who is active.
_ANY_DT = 600

#: Called now and then, from any thread, with how many records were dealt with, and how many there are.
Tell = Callable[[int, int], object]
#: Shown what was counted on a server, bit by bit.
See = Callable[[Node, Counted], object]
#: Asked now and then, from any thread, whether to end early.
Stop = Callable[[], bool]


class Census(NamedTuple):
    """The living sessions of an app, the distinct users they belong to, and how many of these are active."""

    sessions: int
    users: int
    active: int


class Living(NamedTuple):
    """How many sessions of an app live on the servers that answer, and the names of those that do not."""

    sessions: int
    away: list[str]


class Named(NamedTuple):
    """A session, with the server it is on, and its handle."""

    server: str
    handle: str
    session: Session


class Listing(NamedTuple):
    """Some sessions, the last used first, and how many there were to choose from."""

    sessions: list[Named]
    total: int


def on_each_server(client: SessionsClient, work: Callable[[Node], T]) -> list[tuple[str, T | StoreError]]:
    """What some work answers for each server, all at the same time, or the error that it raised there.

    Returns:
        `(server, answer or error)` for each, in the order in which they were given to the client.
    """
    client._start()  # noqa: SLF001  part of this package
    answers = client._fleet.outcome_on_each(work)  # noqa: SLF001
    return [(node.store.server, answer) for node, answer in zip(_nodes(client), answers, strict=True)]


def namespace(client: SessionsClient) -> str:
    """What the client's keys begin with."""
    return client._ns  # noqa: SLF001


def app_names(client: SessionsClient) -> list[str]:
    """The apps that ever had sessions on the client's servers, sorted. One round trip."""
    return sorted(set().union(*_on_each(client, lambda node: node.registry.names())))


# ------------------------------------------------------------------------------------------- looking


def census(
    client: SessionsClient, app: str, dt: int = 600, tell: Tell | None = None, see: See | None = None
) -> Census:
    """Count an app's sessions and users. Round trips grow with the sessions, the memory it takes does not.

    Parameters:
        dt: a user is active who used a session in the last `dt` seconds, at least 10.
        tell: see `Tell`. What it raises ends the count.
        see: see `See`; for who wants to know which sessions were counted.

    Raises:
        StoreUnavailable: as every call; of several servers, none may be missing.
    """
    check.check_app(app)
    check.check_seconds("dt", dt)
    course = _Course(client, app, tell)
    # A user's sessions are in the bucket of the same number on every server, and all buckets come in order.
    streams = [_shown(node, node.app(app).scans.counted(dt, course.go_on), see) for node in _nodes(client)]
    sessions = users = active = 0
    for _, parts in itertools.groupby(heapq.merge(*streams, key=_bucket), key=_bucket):
        of_bucket = list(parts)
        sessions += sum(part.sessions for part in of_bucket)
        users += len(set().union(*(part.users for part in of_bucket)))
        active += len(set().union(*(part.active for part in of_bucket)))
    return Census(sessions, users, active)


def living(client: SessionsClient, app: str, tell: Tell | None = None) -> Living:
    """Count an app's sessions alone, on those servers that answer. Round trips grow with the sessions.

    Raises:
        StoreUnavailable: no server answers.
    """
    check.check_app(app)
    course = _Course(client, app, tell)
    sessions = 0
    errors: list[StoreUnavailable | UnsupportedServer] = []
    nodes = _nodes(client)
    for node in nodes:  # one after the other, in this thread: Ctrl-C ends it at once
        try:
            sessions += sum(part.sessions for part in node.app(app).scans.counted(_ANY_DT, course.go_on))
        except (StoreUnavailable, UnsupportedServer) as error:
            errors.append(error)
    if len(errors) == len(nodes):
        raise errors[0]
    return Living(sessions, [error.server for error in errors])


def _shown(node: Node, parts: Iterator[Counted], see: See | None) -> Iterator[Counted]:
    for part in parts:
        if see is not None:
            see(node, part)
        yield part._replace(records=[])  # of an app with one user, a bucket is everything


_bucket = attrgetter("bucket")


def sessions(
    client: SessionsClient,
    app: str,
    *,
    id: str | None = None,
    dt: int | None = None,
    limit: int | None = None,
    tell: Tell | None = None,
) -> Listing:
    """List an app's sessions, those that were used last. At most `limit` of them are held in memory.

    Parameters:
        id: those of one user only, which takes two round trips for each server.
        dt: those that were used in the last `dt` seconds only, at least 10.
        limit: the most to list; None for all.
        tell: see `Tell`.
    """
    check.check_app(app)
    if id is not None:
        check.check_id(id)
    if dt is not None:
        check.check_seconds("dt", dt)
    total = 0

    def found() -> Iterator[Named]:
        nonlocal total
        course = None if id is not None else _Course(client, app, tell)
        for node in _nodes(client):
            scans, listing = node.app(app).scans, node.app(app).listing
            if course is None:
                named = iter(scans.named_of_user(id or ""))
            else:
                peeked = scans.peeked(course.counting(listing.sessions()), dt)
                named = ((name, session) for name, _, session in peeked)
            for name, session in named:
                if dt is None or session["idle"] <= dt:
                    total += 1
                    yield Named(node.store.server, handle_of(name), session)

    listed = sorted(found(), key=_idle) if limit is None else heapq.nsmallest(limit, found(), key=_idle)
    return Listing(listed, total)


def _idle(named: Named) -> int:
    return idle_time(named.session)


def peek(client: SessionsClient, app: str, token: str) -> Named | None:
    """A session, which is neither counted nor renewed; None if there is none. One round trip."""
    check.check_app(app)
    check.check_token(token)
    nodes = _nodes(client)
    if len(nodes) > 1:
        nodes = [node for node in nodes if node.tag == token[TAG]]
    return next((found for node in nodes if (found := _peek(node, app, hashed(token)))), None)


def peek_named(client: SessionsClient, app: str, handle: str) -> Named | None:
    """The same by its handle, for which every server is asked.

    Raises:
        StoreUnavailable: a server is away, and no other one has the session.
    """
    check.check_app(app)
    name = name_of(handle)
    if name is None:
        raise InvalidFormat("Invalid handle format: it is 32 hexadecimal digits, as lists show them")
    client._start()  # noqa: SLF001
    return client._fleet.find(lambda node: _peek(node, app, name))  # noqa: SLF001


def _peek(node: Node, app: str, name: bytes) -> Named | None:
    peeked = node.app(app).scans.peeked([name], deadline=node.store.deadline())
    return next((Named(node.store.server, handle_of(name), session) for _, _, session in peeked), None)


# ------------------------------------------------------------------------------------------ changing


def kill_all(client: SessionsClient, app: str, tell: Tell | None = None, stop: Stop | None = None) -> int:
    """As `SessionsClient.killall`, but it can be followed and stopped; how many sessions it ended.

    Raises:
        LogoutIncomplete: a server is away. What is on the others has ended.
    """
    client._serving(app)  # noqa: SLF001
    course = _Course(client, app, tell, stop)
    fleet = client._fleet  # noqa: SLF001
    try:
        return fleet.end(lambda node: node.app(app).scans.kill_all(course.go_on), "killall")
    finally:
        client._cache.drop_app(app)  # noqa: SLF001


def wipe(client: SessionsClient, tell: Tell | None = None, stop: Stop | None = None) -> int:
    """As `SessionsClient.wipe`, but it can be followed and stopped; how many entries it removed.

    Raises:
        StoreUnavailable: a server is away. The others were wiped.
    """
    course = _Course(client, None, tell, stop)
    return sum(_on_each(client, lambda node: node.wipe(course.go_on)))


class _Course:
    """How far something has come on all servers together, which may be asked in several threads."""

    def __init__(
        self, client: SessionsClient, app: str | None, tell: Tell | None, stop: Stop | None = None
    ) -> None:
        """Of one app, or of all."""
        self._tell = tell
        self._stop = stop
        self._done = self._total = 0
        self._telling = threading.Lock()
        if tell is not None:
            sizes = on_each_server(
                client,
                lambda node: sum(
                    node.app(name).listing.size()
                    for name in ([app] if app is not None else node.registry.names())
                ),
            )
            # A server that is away keeps the work off none of the others; the work itself says that it is.
            self._total = sum(size for _, size in sizes if not isinstance(size, StoreError))

    def go_on(self, records: int) -> bool:
        if self._tell is not None:
            with self._telling:
                self._done = min(self._done + records, self._total)
                self._tell(self._done, self._total)
        return self._stop is None or not self._stop()

    def counting(self, names: Iterator[bytes]) -> Iterator[bytes]:
        for number, name in enumerate(names, 1):
            yield name
            if not number % 1000:
                self.go_on(1000)


def _nodes(client: SessionsClient) -> list[Node]:
    return client._nodes  # noqa: SLF001


def _on_each(client: SessionsClient, work: Callable[[Node], T]) -> list[T]:
    return client._on_each_server(work)  # noqa: SLF001
