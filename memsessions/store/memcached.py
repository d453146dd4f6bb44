"""The store on a memcached server: a pool of connections, a deadline for every call, and forks."""

from __future__ import annotations

import codecs
import contextlib
import ssl
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

from .. import forks
from ..errors import (
    DumpForbidden,
    ItemTooLarge,
    NoConnectionFree,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UnsupportedServer,
)
from .connection import OLDEST_VERSION, Connection, TooOld
from .dump import Busy, Forbidden, dumped
from .operations import Batch, Connections, Keys, Protection, Visit, Visited
from .pool import Pool, SharedPool
from .sockets import Broken, DeadlinePassed, NoneFree, is_from_network
from .wire import ProtocolError, Refused

A = TypeVar("A")
R = TypeVar("R")


class MemcachedStore:
    """Runs batches on one memcached; safe to share between threads and greenlets, and across forks.

    A connection is taken out of the pool for one exchange and is put back only when its whole reply was
    read; whatever interrupts the exchange, a signal or a greenlet's end included, closes it instead.
    """

    def __init__(
        self,
        server: str,
        template: Any,
        *,
        timeout: float,
        connect_timeout: float,
        item_bytes: int,
        username: str | None = None,
        password: str | None = None,
        shared_pool: Any = None,
    ) -> None:
        self.server = server
        self.key_prefix: bytes = template.key_prefix
        self._template = template
        self._timeout_s = timeout
        self._connect_timeout_s = connect_timeout
        self._item_bytes = item_bytes
        self._username = username
        self._password = password
        self._pool: Pool = SharedPool(shared_pool) if shared_pool is not None else Pool()
        self.refuses_when_full = False  # as the last server that was greeted said
        self._clock_offset_s = 0.0
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._opened = self._lost = 0
        self._forks = 0
        # Names are looked up with this codec, which would be imported in the middle of the first call: an
        # interrupt there can leave the import's lock held, and every connection waiting for it.
        codecs.lookup("idna")
        forks.call_in_child(self, MemcachedStore._after_fork_in_child)

    # ------------------------------------------------------------------------------------- running

    def deadline(self) -> float:
        return time.monotonic() + self._timeout_s

    def time(self) -> float:
        return time.monotonic() + self._clock_offset_s

    def run(self, batch: Batch, *, repeatable: bool = False, deadline: float | None = None) -> list[Any]:
        if deadline is None:
            deadline = time.monotonic() + self._timeout_s
        return self._ask(Connection.exchange, batch, repeatable, deadline)

    def visit(self, visit: Visit, deadline: float) -> Visited:
        return self._ask(Connection.visit, visit, True, deadline)

    def _ask(
        self, exchange: Callable[[Connection, A, int, float], R], asked: A, repeatable: bool, deadline: float
    ) -> R:
        pool = self._pool  # a fork in the middle of this call gives the child another one
        # What may be repeated finds out by itself that a connection is gone.
        connection, reused = self._acquire(deadline, not repeatable)
        try:
            answer = exchange(connection, asked, self._item_bytes, deadline)
        except Refused as refusal:
            # Its reply was whole and verified: the connection is as good as before.
            pool.put(connection)
            raise self._refused(refusal) from None
        except BaseException as error:
            self._discard(connection)
            if not (repeatable and reused and _is_lost(error)):
                self._raise_translated(error)
                raise
        else:
            pool.put(connection)
            return answer
        # The connection was idle for a while, and the server or something on the way had forgotten it.
        connection = self._connect(deadline)
        try:
            answer = exchange(connection, asked, self._item_bytes, deadline)
        except BaseException as error:
            self._discard(connection)
            self._raise_translated(error)
            raise
        pool.put(connection)
        return answer

    def stream(
        self, batches: Iterable[Batch], deadline: float | None = None
    ) -> Generator[list[Any], None, None]:
        waiting: tuple[Batch, bytes] | None = None
        connection: Connection | None = None
        pool = self._pool
        try:
            for batch in batches:
                # Each batch has a deadline of its own: a scan may be long, a silence may not.
                until = deadline or self.deadline()
                if connection is None:
                    connection, _reused = self._acquire(until, check=True)
                fence = connection.send(batch, until)
                if waiting is not None:
                    yield connection.receive(*waiting, self._item_bytes, until)
                    deadline = None
                waiting = (batch, fence)
            if connection is None or waiting is None:
                return
            until = deadline or self.deadline()
            answers = connection.receive(*waiting, self._item_bytes, until)
            connection.check_end()
        except BaseException as error:
            # Also when the caller stops asking: the replies that are on their way go with the connection.
            if connection is not None:
                self._discard(connection)
            self._raise_translated(error)
            raise
        self._keep(pool, connection)
        yield answers

    def keys(self, prefix: bytes) -> Generator[Keys, None, None]:
        with self._lent(self.deadline()) as connection:
            yield from dumped(connection, prefix, self.deadline)

    @property
    def protection(self) -> Protection:
        context = self._template.tls_context
        verified = context is not None and context.verify_mode is ssl.CERT_REQUIRED
        return Protection(context is not None, verified, self._username is not None)

    def stats(self, of: str = "") -> dict[str, str]:
        deadline = self.deadline()
        with self._lent(deadline) as connection:
            return connection.stats(deadline, of)

    def connections(self) -> Connections:
        # Counted without a lock: one that opens or closes at this moment may be there or not.
        return Connections(len(self._open), self._pool.idle(), self._opened, self._lost)

    def ping(self) -> None:
        self.run((), repeatable=True)

    def close(self) -> None:
        self._pool.close()

    # --------------------------------------------------------------------------------- connections

    def _acquire(self, deadline: float, check: bool) -> tuple[Connection, bool]:
        """A connection, and whether it was used before; with a check, one that the server has not ended."""
        while True:
            try:
                connection = self._pool.take()
            except Broken as error:  # a shared pool has its limit
                self._raise_translated(error)
                raise
            if connection is None:
                return self._connect(deadline), False
            if not check and connection.greeted and connection.lender is None:
                return connection, True
            if connection.is_clean():
                if not connection.greeted:
                    self._greet(connection, deadline)
                return connection, True
            self._discard(connection)

    @contextlib.contextmanager
    def _lent(self, deadline: float) -> Iterator[Connection]:
        """A connection for what is neither a batch nor a stream of them, and reads all that it asks for."""
        pool = self._pool
        connection, _reused = self._acquire(deadline, check=True)
        try:
            yield connection
            connection.check_end()
        except BaseException as error:
            # Also when the caller stops asking, and the rest of a dump is on its way.
            self._discard(connection)
            self._raise_translated(error)
            raise
        self._keep(pool, connection)

    def _keep(self, pool: Pool, connection: Connection) -> None:
        """Put back a connection whose last reply may have waited long until it was read."""
        if connection.is_clean():
            pool.put(connection)
        else:
            self._discard(connection)

    def _connect(self, deadline: float) -> Connection:
        while True:
            generation = self._forks
            try:
                connection = self._pool.connect(self._template, self._connect_timeout_s, deadline)
            except Exception as error:
                self._raise_translated(error)
                raise
            self._open.add(connection)
            self._opened += 1
            if generation == self._forks:
                break
            connection.close()  # opened by the parent, in the middle of which a signal handler forked
        self._greet(connection, deadline)
        return connection

    def _greet(self, connection: Connection, deadline: float) -> None:
        self._open.add(connection)
        try:
            connection.hello(deadline, self._username, self._password)
            self.refuses_when_full = connection.refuses_when_full
            self._clock_offset_s = connection.clock_offset_s
        except BaseException as error:
            self._discard(connection)
            self._raise_translated(error)
            raise

    def _discard(self, connection: Connection) -> None:
        self._lost += 1
        self._open.discard(connection)
        connection.close()
        self._pool.forget(connection)

    def _after_fork_in_child(self) -> None:
        """Let go of the parent's sockets: closing them here does not end the parent's connections.

        A call that was in the middle of an exchange when its thread forked finds its socket closed.
        """
        self._forks += 1
        self._opened = self._lost = 0
        for connection in self._open.copy():
            connection.close()
        self._open = weakref.WeakSet()
        self._pool.abandon()
        self._pool = Pool()  # a shared pool and its locks stay the parent's

    # -------------------------------------------------------------------------------------- errors

    def _refused(self, refusal: Refused) -> StoreError:
        if refusal.too_large:
            return ItemTooLarge(self.server, "the item is larger than the server takes", refusal.answers)
        return StoreFull(self.server, "it has no memory left for this write", refusal.answers)

    def _raise_translated(self, error: BaseException) -> None:
        """Raise what the network or the server did as a `StoreError`; return where it was neither."""
        if isinstance(error, Refused):
            raise self._refused(error) from None
        if isinstance(error, TooOld):
            oldest = ".".join(map(str, OLDEST_VERSION))
            reason = f"it runs memcached {error}; memsessions needs {oldest} or later"
            raise UnsupportedServer(self.server, reason) from None
        if isinstance(error, Forbidden):
            reason = "it does not show its keys, as it was started with -X or without its crawler"
            raise DumpForbidden(self.server, f"{reason}; wipe() works without them") from None
        if isinstance(error, Busy):
            raise StoreUnavailable(self.server, "it is busy with another dump of its keys") from None
        if isinstance(error, DeadlinePassed):
            raise StoreUnavailable(self.server, "no answer in time") from error
        if isinstance(error, NoneFree):
            raise NoConnectionFree(self.server, str(error)) from error
        if isinstance(error, (Broken, ProtocolError)):
            raise StoreUnavailable(self.server, str(error)) from error
        if is_from_network(error):
            raise StoreUnavailable(self.server, error.strerror or type(error).__name__) from error


def _is_lost(error: BaseException) -> bool:
    """Whether the connection ended, rather than the time or the sense of the reply."""
    return isinstance(error, Broken) or is_from_network(error)
