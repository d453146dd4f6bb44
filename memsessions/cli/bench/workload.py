"""What is called: sessions of the benchmark's own, and a bare `get` of as many bytes on the same servers."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count, cycle, islice
from typing import Any, NamedTuple, NoReturn, TypeVar

from pymemcache import Client, MemcacheError, PooledClient

from ...client import SessionsClient
from ...errors import StoreError, StoreUnavailable
from ...index import RECORD_LENGTH
from ...nodes import Node
from ...operating import on_each_server
from ...store.connection import UNAUTHENTICATED
from ...store.operations import Add, DeleteMany, Read
from ...tokens import NAME_LENGTH, hashed
from ...types import Data
from ..output import Tell
from .measuring import Call, Caller, Case, in_threads

T = TypeVar("T")

#: A call may take so long: a slow one is measured, and not cut off.
TIMEOUT_S, CONNECT_TIMEOUT_S = 10.0, 5.0
#: So many sessions belong to one user.
EACH_USERS = 10
#: `create` makes so many at most before `kill` ends them.
MOST_MADE = 5_000
#: What is killed leaves index records; they are wiped when there are so many.
MOST_DEAD = 100_000
BARE = "bare get"

_LISTED, _MADE = "bench-listed", "bench-made"
_IP = "192.0.2.1"
# About what a session takes on a server besides its data: its item, its counter, and what memcached adds.
_ITEM_BYTES = 450
_PREPARING_THREADS = 8
# So many are removed at once.
_AT_ONCE = 2_000
# A line of a reply is no longer.
_REPLY_BYTES = 4096


class Load(NamedTuple):
    """How much there is of everything."""

    sessions: int  # that are read, written and listed
    data_bytes: int
    ttl_s: int

    @property
    def users(self) -> int:
        return self.sessions // EACH_USERS

    def memory_bytes(self, creates: int) -> int:
        """About what it takes on a server at most, where sessions are created in so many parts of the run."""
        records = self.sessions + min(creates * MOST_MADE, MOST_DEAD + MOST_MADE)
        return (self.sessions + MOST_MADE) * (self.data_bytes + _ITEM_BYTES) + records * RECORD_LENGTH


class Workload:
    """The sessions of a namespace that nobody else uses; `remove` them at the end, whatever happens."""

    def __init__(self, client: SessionsClient, load: Load, plain: Mapping[str, Any] | None) -> None:
        """`plain` are the options for the clients of the bare `get`; None where there is none."""
        self.item_bytes = 0  # of a session, once it is prepared
        self._client = client
        self._load = load
        self._data: Data = {"text": "x" * load.data_bytes}
        self._plain = plain
        self._bare: list[_Bare] = []
        self._tokens: list[str] = []
        self._made: deque[str] = deque()
        self._numbers = count()
        self._wiped_at = 0

    def cases(self) -> list[Case]:
        """What is to be timed. A listing shows what was made for it, and not what `create` makes."""
        client, load = self._client, self._load
        bare = [Case(BARE, self._bare_get)] if self._bare else []
        return [
            *bare,
            Case("get", self._on_sessions(lambda token: client.get(_LISTED, token) is not None)),
            Case("set", self._on_sessions(lambda token: client.set(_LISTED, token, self._data) is not None)),
            Case("soid", self._on_users(lambda user: len(client.soid(_LISTED, user)) == EACH_USERS)),
            Case(
                "soapp",
                self._on_users(lambda _user: len(client.soapp(_LISTED, load.ttl_s)) == load.sessions),
            ),
            Case(
                "activity",
                self._on_users(lambda _: client.activity(_LISTED, load.ttl_s)["activity"] == load.users),
            ),
            Case("create", self._create),
            Case("kill", self._kill, after=self._tidy),
        ]

    # --------------------------------------------------------------------------- before and after

    def prepare(self, tell: Tell, stop: Callable[[], bool]) -> None:
        """Make the sessions that are read, and what the bare `get` gets."""
        users = deque(_user(number // EACH_USERS) for number in range(self._load.sessions))

        def caller(_number: int, _threads: int) -> Call:
            def call() -> bool:
                try:
                    user = users.popleft()
                except IndexError:
                    return False
                self._tokens.append(self._new(_LISTED, user))
                return True

            return call

        def looked() -> bool:
            tell(len(self._tokens), self._load.sessions)
            return stop()

        in_threads(caller, _PREPARING_THREADS, looked)
        if looked():
            return
        (key, value), *_ = [found for found in self._on_each(self._item) if found is not None]
        self.item_bytes = len(value)
        if self._plain is not None:
            put = self._on_each(lambda node: self._put(node, len(key), value))
            self._bare = [bare for bare in put if bare is not None]

    def remove(self, tell: Tell) -> list[StoreError]:
        """Take away everything that this has made; answers where that did not succeed, and why."""
        for bare in self._bare:
            bare.client.close()
        removed: list[int] = []

        def tell_more(number: int) -> None:
            removed.append(number)
            tell(sum(removed), None)

        outcomes = on_each_server(self._client, lambda node: _remove_from(node, tell_more))
        return [outcome for _, outcome in outcomes if isinstance(outcome, StoreError)]

    def _new(self, app: str, user: str) -> str:
        return self._client.create(app, user, _IP, self._load.ttl_s, self._data)["token"]

    def _item(self, node: Node) -> tuple[bytes, bytes] | None:
        """What stands on a server for one of the sessions, if it is there."""
        key = node.app(_LISTED).keys.sessions + hashed(self._tokens[0])
        (item,) = node.store.run((Read(key),))
        return None if item is None else (key, item.value)

    def _put(self, node: Node, key_length: int, value: bytes) -> _Bare | None:
        """Put an item as large as a session where new sessions go."""
        if not node.weight:
            return None
        key = _bare_key(node).ljust(key_length, b"-")
        node.store.run((Add(key, value, self._load.ttl_s),))
        return _Bare(node.store.server, key, _Pooled(node.address, **(self._plain or {})))

    def _on_each(self, work: Callable[[Node], T]) -> list[T]:
        answers = []
        for _, answer in on_each_server(self._client, work):
            if isinstance(answer, StoreError):
                raise answer
            answers.append(answer)
        return answers

    # -------------------------------------------------------------------------------------- calls

    def _on_sessions(self, call: Callable[[str], bool]) -> Caller:
        """A call on one session after the other; no two threads have the same."""
        return self._each(call, lambda number, threads: self._tokens[number::threads])

    def _on_users(self, call: Callable[[str], bool]) -> Caller:
        users = [_user(number) for number in range(self._load.users)]
        return self._each(call, lambda number, _threads: users[number % len(users) :] + users)

    def _each(self, call: Callable[[str], bool], arguments: Callable[[int, int], list[str]]) -> Caller:
        def caller(number: int, threads: int) -> Call:
            turn = cycle(arguments(number, threads))
            return lambda: call(next(turn)) or self._gone()

        return caller

    def _create(self, _number: int, threads: int) -> Call:
        left = max(1, MOST_MADE // threads)

        def call() -> bool:
            nonlocal left
            if not left:
                return False
            left -= 1
            self._made.append(self._new(_MADE, _user(next(self._numbers))))
            return True

        return call

    def _kill(self, _number: int, _threads: int) -> Call:
        def call() -> bool:
            try:
                token = self._made.popleft()
            except IndexError:
                return False
            return self._client.kill(_MADE, token)["kill"] == 1 or self._gone()

        return call

    def _tidy(self) -> None:
        """End what there was no time to end, and wipe now and then."""
        in_threads(self._kill, _PREPARING_THREADS)
        made = next(self._numbers)
        if made - self._wiped_at > MOST_DEAD:
            self._client.wipe()
            self._wiped_at = made

    def _bare_get(self, number: int, _threads: int) -> Call:
        """From several servers, in turn."""
        first = number % len(self._bare)
        turn = cycle(self._bare[first:] + self._bare[:first])

        def call() -> bool:
            server, key, client = next(turn)
            try:
                return client.get(key) is not None or self._gone()
            except (MemcacheError, OSError) as error:
                raise StoreUnavailable(server, f"a bare get failed: {type(error).__name__}") from error

        return call

    def _gone(self) -> NoReturn:
        servers = ", ".join(self._on_each(lambda node: node.store.server))
        raise StoreError(
            servers,
            "what the benchmark stored is gone: was it restarted or flushed, or has it no memory left?",
        )


def _user(number: int) -> str:
    return f"user{number:06}"


def _bare_key(node: Node) -> bytes:
    return node.root + b":bare"


def _remove_from(node: Node, tell: Callable[[int], None]) -> None:
    """`tell` is called with how many index entries were followed since the last time."""
    for app in (_LISTED, _MADE):
        keys, index = node.app(app).keys, node.app(app).listing
        names = index.sessions()
        while some := list(islice(names, _AT_ONCE)):
            node.store.run((DeleteMany(keys.sessions, some), DeleteMany(keys.reads, some)))
            tell(len(some))
        node.store.run((DeleteMany(b"", index.keys()),))
    length = len(node.app(_LISTED).keys.sessions) + NAME_LENGTH
    node.store.run((DeleteMany(b"", (node.registry.key, _bare_key(node).ljust(length, b"-"))),))


# ----------------------------------------------------------------------------------------- bare get


class _Bare(NamedTuple):
    """An item on a server, and what gets it."""

    server: str
    key: bytes
    client: Any


class _Client(Client):  # type: ignore[misc]
    """pymemcache's own, which waits without a timeout of Python's, as it comes: that is its fastest.

    The system sees to it that it does not wait for ever.
    """

    credentials: str | None = None

    def _connect(self) -> None:
        super()._connect()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(TIMEOUT_S), 0))
        if self.credentials is not None and self._is_asked_for_credentials():
            self.set("credentials", self.credentials, noreply=False)  # memcached looks at the value only

    def _is_asked_for_credentials(self) -> bool:
        """Whether the server runs with `-Y`: any other would store them, for everybody to read."""
        self.sock.sendall(b"version\r\n")
        answer = b""
        while not answer.endswith(b"\n"):
            chunk = self.sock.recv(_REPLY_BYTES)
            if not chunk or len(answer) > _REPLY_BYTES:
                raise MemcacheError("the server does not answer as memcached does")
            answer += chunk
        return answer.startswith(UNAUTHENTICATED)


class _Pooled(PooledClient):  # type: ignore[misc]
    client_class = _Client

    def __init__(self, server: object, *, username: str | None, password: str | None, **options: Any) -> None:
        super().__init__(server, connect_timeout=CONNECT_TIMEOUT_S, **options)
        self._credentials = None if username is None else f"{username} {password}"

    def _create_client(self) -> Any:
        client = super()._create_client()
        client.credentials = self._credentials
        return client
