"""TCP servers that are no memcached, or not one that behaves."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

#: What is done with a connection; it is closed afterwards.
Talk = Callable[[socket.socket], None]


class FakeServer:
    """Listens on a free port of loopback and has `talk` speak on each connection, in a thread."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.connections = 0
        self._socks: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._socks.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._talk(sock)
        sock.close()

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in [self._listener, *self._socks]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def hello(sock: socket.socket, version: bytes = b"1.6.18") -> None:
    """Answer the first packet of a client as a memcached of this version does."""
    answers = {b"version": b"VERSION %b\r\n" % version, b"stats": b"STAT time 1700000000\r\nEND\r\n"}
    request = sock.recv(4096)
    for line in request.split(b"\r\n")[:-1]:
        sock.sendall(answers.get(line, b"END\r\n"))


def reset(sock: socket.socket) -> None:
    """End a connection the hard way."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class FullBacklog:
    """A port of loopback where a connection is neither accepted nor refused."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._waiting = []
        for _ in range(4):  # what the system queues all the same
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", self.port))
            self._waiting.append(sock)

    def __enter__(self) -> FullBacklog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in [*self._waiting, self._listener]:
            sock.close()
