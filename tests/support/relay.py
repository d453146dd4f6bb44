"""A relay in front of a memcached that knows where a reply ends, and can tamper with it."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .fakes import FakeServer
from .memcached import Memcached

# A request ends with a fence; the first one of a connection, the greeting, ends otherwise.
_END = re.compile(rb"md memsessions:fence (O\d+)\r\n|stats settings\r\n")


class Exchange(NamedTuple):
    """A request and the whole reply of the server to it."""

    request: bytes
    reply: bytes
    fence: bytes  # the last line of the reply; of a greeting, nothing
    earlier: list[bytes]  # what the server replied on this connection before
    held: list[bytes]  # what `tamper` puts here comes after the next reply


#: What the client gets for a reply, in pieces; None closes the connection.
Tamper = Callable[[Exchange], Iterator["bytes | None"]]


def untouched(exchange: Exchange) -> Iterator[bytes | None]:
    yield exchange.reply


class Relay(FakeServer):
    """Listens on a free port; every reply goes through `tamper`, which may be set at any time."""

    def __init__(self, server: Memcached) -> None:
        self.tamper: Tamper = untouched
        self._server = server
        super().__init__(self._relay)

    def __enter__(self) -> Relay:
        return self

    def _relay(self, sock: socket.socket) -> None:
        earlier: list[bytes] = []
        held: list[bytes] = []
        pending = b""
        with self._server.connect() as upstream:
            while True:
                while (end := _END.search(pending)) is None:
                    chunk = sock.recv(1 << 20)
                    if not chunk:
                        return
                    pending += chunk
                request, pending = pending[: end.end()], pending[end.end() :]
                fence = b"" if end[1] is None else b"NF %b\r\n" % end[1]
                upstream.sendall(request)
                reply = _whole_reply(upstream, fence)
                after, held = held, []
                for piece in self.tamper(Exchange(request, reply, fence, earlier, held)):
                    if piece is None:
                        return
                    sock.sendall(piece)
                sock.sendall(b"".join(after))
                earlier.append(reply)


def _whole_reply(upstream: socket.socket, fence: bytes) -> bytes:
    reply = b""
    while not (reply.endswith(fence) if fence else reply.count(b"\r\nEND\r\n") == 2):
        chunk = upstream.recv(1 << 20)
        if not chunk:
            raise OSError("the server closed the connection")
        reply += chunk
    return reply
