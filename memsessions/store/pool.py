"""Where connections wait between two calls."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from .connection import Connection
from .sockets import NoneFree, is_from_network, open_socket

# Connections that nobody needed for this long are closed, so that a burst of threads leaves none behind.
_IDLE_S = 60.0


class Pool:
    """Idle connections, last in first out.

    There is no lock, and nothing counts what is lent: the ends of a deque are atomic, and a connection
    that is lost to an interrupt is closed by its finalizer and leaves no gap.
    """

    def __init__(self) -> None:
        self._idle: deque[Connection] = deque()
        self._closed = False

    def connect(self, template: Any, connect_timeout: float, deadline: float) -> Connection:
        """A new connection, which has not said hello."""
        return Connection(open_socket(template, connect_timeout, deadline))

    def take(self) -> Connection | None:
        """The connection that was used last, or None."""
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def put(self, connection: Connection) -> None:
        """Keep a connection whose last reply was read to its end."""
        connection.last_used = now = time.monotonic()
        if self._closed:
            connection.close()
            return
        idle = self._idle
        idle.append(connection)
        try:
            if idle[0].last_used < now - _IDLE_S:
                idle.popleft().close()
        except IndexError:  # other threads took them meanwhile
            pass

    def idle(self) -> int:
        """How many connections wait here."""
        return len(self._idle)

    def forget(self, connection: Connection) -> None:
        """The connection was closed."""

    def abandon(self) -> None:
        """After a fork, in the child: whatever comes back to this pool of the parent's is closed."""
        self._closed = True

    def close(self) -> None:
        """Close what waits here, and what comes back later."""
        self._closed = True
        while (connection := self.take()) is not None:
            connection.close()


class SharedPool(Pool):
    """Borrows from the pool of a pymemcache `PooledClient`, within its limit and next to its other users.

    That pool lends `Client` objects; each remembers the connection that was made around its socket.
    """

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self._lender = pool
        # What was borrowed for a call that was interrupted. Its finalizer may run anywhere, also under the
        # lender's lock, so it is given back with the next loan.
        self._lost: deque[Any] = deque()

    def _borrow(self) -> Any:
        while self._lost:
            self._lender.destroy(self._lost.popleft())
        try:
            return self._lender.get()
        except RuntimeError:
            raise NoneFree(f"all {self._lender.max_size} connections of the shared pool are in use") from None

    def connect(self, template: Any, connect_timeout: float, deadline: float) -> Connection:
        client = None
        try:
            client = self._borrow()
            client.close()
            client.sock = open_socket(template, connect_timeout, deadline)
            return self._lent(client, None)
        except BaseException:
            self._destroy(client)
            raise

    def take(self) -> Connection | None:
        client = None
        try:
            client = self._borrow()
            kept = client.__dict__.pop("_memsessions", None)
            if client.sock is not None:
                return self._lent(client, kept)
            self._lender.release(client)
        except BaseException as error:
            self._destroy(client)
            if not is_from_network(error):
                raise
        return None

    def _lent(self, client: Any, kept: Connection | None) -> Connection:
        if kept is None or kept.sock is not client.sock:
            kept = Connection(client.sock, lender=client)
        kept.on_lost = self._lost.append
        kept.sock.setblocking(False)
        return kept

    def put(self, connection: Connection) -> None:
        if self._closed:
            connection.close()
            return
        client = connection.lender
        try:
            connection.sock.settimeout(client.timeout)  # as its other users expect it
            client._memsessions = connection  # noqa: SLF001
            connection.on_lost = None
            self._lender.release(client)
        except BaseException as error:
            self._destroy(client)
            if not is_from_network(error):  # a fork at this very moment has closed the socket in the child
                raise

    def idle(self) -> int:
        return len(self._lender.free)

    def forget(self, connection: Connection) -> None:
        self._destroy(connection.lender)

    def _destroy(self, client: Any) -> None:
        """Give up a client, if there is one; in a child of a fork it is the parent's, as is the lock."""
        if client is not None and not self._closed:
            self._lender.destroy(client)

    def close(self) -> None:
        """Nothing is held: the connections are the lender's."""
