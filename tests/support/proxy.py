"""A TCP proxy in front of a server that counts, delays, splits, cuts and garbles what passes through."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

#: What to do with a chunk on its way: the bytes to pass on, or None to cut the connection.
Filter = Callable[[bytes], "bytes | None"]


class Proxy:
    """Listens on a free port of loopback and passes everything on to `target`.

    `to_server` and `to_client` may be set at any time. `split_s` passes every byte on its own, with this
    pause between two; `delay_s` waits before each chunk to the client. `round_trips` counts how often the
    client spoke after the server had: what it waited for. `hole` swallows what the client sends. With
    `cut_after`, so many bytes still pass to the server, and then the client is gone: see `await_cut`.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.to_server: Filter = lambda chunk: chunk
        self.to_client: Filter = lambda chunk: chunk
        self.delay_s = 0.0
        self.split_s: float | None = None
        self.hole = False
        self.cut_after: int | None = None
        self.round_trips = 0
        self.connections = 0
        self.sent = bytearray()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._closed = False
        self._cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, 5)
            except OSError:
                client.close()
                continue
            if self.cut_after == 0:
                client.close()
                server.close()
                continue
            for sock in (client, server):
                sock.settimeout(None)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._pairs.append((client, server))
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        """One connection, to its end."""
        spoke = [True]  # whether the server was the last to speak on it
        requests = threading.Thread(target=self._requests, args=(client, server, spoke), daemon=True)
        requests.start()
        self._replies(client, server, spoke)
        requests.join()
        # Only now: whoever still used the number of a closed socket would write into another connection.
        client.close()
        server.close()

    def _requests(self, client: socket.socket, server: socket.socket, spoke: list[bool]) -> None:
        with contextlib.suppress(OSError):
            while chunk := client.recv(1 << 20):
                if spoke[0]:
                    self.round_trips += 1
                    spoke[0] = False
                self.sent += chunk
                if self.hole:
                    continue
                passed = self.to_server(chunk)
                if passed is None:
                    break
                if self.cut_after is not None:
                    passed = passed[: self.cut_after]
                    self.cut_after -= len(passed)
                server.sendall(passed)
                if self.cut_after == 0:
                    server.shutdown(socket.SHUT_WR)  # it ends when it has done all that came before
                    client.shutdown(socket.SHUT_RDWR)
                    return
        _end(client, server)

    def _replies(self, client: socket.socket, server: socket.socket, spoke: list[bool]) -> None:
        with contextlib.suppress(OSError):
            while chunk := server.recv(1 << 20):
                spoke[0] = True
                passed = self.to_client(chunk)
                if passed is None:
                    break
                if self.delay_s:
                    time.sleep(self.delay_s)
                if self.split_s is None:
                    client.sendall(passed)
                else:
                    for at in range(len(passed)):
                        client.sendall(passed[at : at + 1])
                        time.sleep(self.split_s)
        if self.cut_after == 0:
            with contextlib.suppress(OSError):
                while server.recv(1 << 20):
                    pass
            self._cut.set()
        _end(client, server)

    def await_cut(self) -> None:
        """Wait until the server has done all that passed before the cut."""
        assert self._cut.wait(5), "the server does not end a connection that the client has ended"

    def cut(self) -> None:
        """End every connection that is open now."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _end(*pair)

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _end(*socks: socket.socket) -> None:
    for sock in socks:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
