"""Where connections wait between two calls."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from .connection import Broken, Connection, open_socket

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

    def forget(self, connection: Connection) -> None:
        """The connection was closed."""

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

    def _borrow(self) -> Any:
        try:
            return self._lender.get()
        except RuntimeError:
            raise Broken(f"all {self._lender.max_size} connections of the shared pool are in use") from None

    def connect(self, template: Any, connect_timeout: float, deadline: float) -> Connection:
        client = self._borrow()
        try:
            client.close()
            client.sock = open_socket(template, connect_timeout, deadline)
            client._memsessions = Connection(client.sock, lender=client)  # noqa: SLF001
        except BaseException:
            self._lender.destroy(client)
            raise
        return client._memsessions  # type: ignore[no-any-return]  # noqa: SLF001

    def take(self) -> Connection | None:
        client = self._borrow()
        if client.sock is None:
            self._lender.release(client)
            return None
        connection: Connection | None = getattr(client, "_memsessions", None)
        if connection is None or connection.sock is not client.sock:
            connection = client._memsessions = Connection(client.sock, lender=client)  # noqa: SLF001
        connection.sock.setblocking(False)
        return connection

    def put(self, connection: Connection) -> None:
        client = connection.lender
        connection.sock.settimeout(client.timeout)  # as its other users expect it
        self._lender.release(client)

    def forget(self, connection: Connection) -> None:
        self._lender.destroy(connection.lender)

    def close(self) -> None:
        """Nothing is held: the connections are the lender's."""
