"""One connection to memcached: a request out, its whole reply in, by a deadline, or the end of it."""

from __future__ import annotations

import contextlib
import itertools
import operator
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

from .operations import Batch, Count, Read, Visit, Visited
from .sockets import Broken, DeadlinePassed, waits
from .visits import decode_visit, encode_visit
from .wire import Limit, ProtocolError, decode, encode, reply_limit

#: The first memcached whose meta commands do what the wire protocol here relies on.
OLDEST_VERSION = (1, 6, 18)

# The end of a request, and the reply to it. Numbers come again after so many requests on a connection.
_FENCES = [(b"md memsessions:fence O%d\r\n" % number, b"NF O%d\r\n" % number) for number in range(1, 513)]
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_REPLY_BYTES = 16 * 1024  # a short buffer costs less, and holds nearly every reply
_CHUNK_BYTES = 256 * 1024
_STATS_LIMIT = Limit(_CHUNK_BYTES, _CHUNK_BYTES, _CHUNK_BYTES)
_TLS_RECORD_BYTES = 16 * 1024
# A server that has answered a moment ago has not been restarted since.
_SURELY_OPEN_S = 0.001
_UNREAD_BYTES = 1 << 30  # a whole batch of the largest items, sent before another, stays below it
_VERSION = rb"VERSION (\d{1,9})\.(\d{1,9})\.(\d{1,9})(?!\d)[!-~]*\r\n"
UNAUTHENTICATED = b"CLIENT_ERROR unauthenticated"
_VISIT = (Read(b""), Count(b""))  # what a visit's reply can be as long as that of
_TIME = rb"STAT time (\d{1,15})\r\n"


class TooOld(Exception):
    """The server is a memcached from before `OLDEST_VERSION`."""


class Connection:
    """A socket that has said hello, with the rules for when it may be used again.

    Whoever calls `exchange`, `visit` or the `send`/`receive` pair must close the connection on any exception
    but `Refused`, whatever its kind: the rest of a reply may still be on its way.
    """

    __slots__ = (
        "__weakref__",
        "_fences",
        "_rest",
        "_tls",
        "_wait_either",
        "_wait_in",
        "clock_offset_s",
        "greeted",
        "last_used",
        "lender",
        "on_lost",
        "refuses_when_full",
        "sock",
    )

    def __init__(self, sock: socket.socket, lender: Any = None) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.lender = lender  # the pymemcache client that the socket was borrowed with
        self.on_lost: Callable[[Any], None] | None = None
        self.greeted = False
        self.refuses_when_full = False
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._wait_in, self._wait_either = waits(sock)
        self._fences = itertools.cycle(_FENCES)
        self._rest = b""  # what came after the reply that was asked for: the next one of a stream
        self.clock_offset_s = 0.0
        self.last_used = time.monotonic()

    def __del__(self) -> None:
        self.close()
        on_lost = getattr(self, "on_lost", None)  # there is none if its maker was interrupted
        if on_lost is not None:
            on_lost(self.lender)

    def close(self) -> None:
        # A TLS connection says no goodbye: after a fork that would end the other process's session.
        with contextlib.suppress(OSError, AttributeError):
            self.sock.close()

    def is_clean(self) -> bool:
        """Whether nothing has come in since the last reply: no end of the connection, no stray byte.

        One of this process's own that was put back a moment ago is taken to be so.
        """
        try:
            if self._rest or self.sock.fileno() < 0:  # closed after a fork; another file may have its number
                return False
            if self.lender is None and time.monotonic() - self.last_used < _SURELY_OPEN_S:
                return True
            if not self._wait_in(0):
                return True
            if self._tls:  # session tickets are readable, but no data
                self.sock.recv(1)
        except _WOULD_BLOCK:
            return True
        except (OSError, ValueError):
            return False
        return False

    def hello(self, deadline: float, username: str | None, password: str | None) -> None:
        """Authenticate if there are credentials, and learn the server's version and clock."""
        if username is not None and self._is_asked_for_credentials(deadline):
            # `-Y` takes the credentials as the value of a first `set`, whatever its key.
            secret = f"{username} {password}".encode()
            self._write(b"set auth 0 0 %d\r\n%b\r\n" % (len(secret), secret), deadline, _CHUNK_BYTES)
            if self._read_line(deadline) != b"STORED\r\n":
                raise ProtocolError("the server did not accept the user name and password")
        self._write(b"version\r\nstats\r\nstats settings\r\n", deadline, _CHUNK_BYTES)
        answer = self._read_line(deadline)
        version = re.fullmatch(_VERSION, answer)
        if version is None:
            raise ProtocolError(
                "the server wants a user name and a password"
                if answer.startswith(UNAUTHENTICATED)
                else "the server does not answer as memcached does"
            )
        if tuple(int(part) for part in version.groups()) < OLDEST_VERSION:
            raise TooOld(b".".join(version.groups()).decode())
        stats = self._read_until(b"END\r\n", self._rest, _STATS_LIMIT, deadline)
        settings = self._read_until(b"END\r\n", self._rest, _STATS_LIMIT, deadline)
        clock = re.search(_TIME, stats)
        if clock is None:
            raise ProtocolError("the server does not tell its time")
        self.clock_offset_s = int(clock[1]) - time.monotonic()
        self.refuses_when_full = b"STAT evictions off\r\n" in settings
        self.greeted = True

    def _is_asked_for_credentials(self, deadline: float) -> bool:
        """Whether the server runs with `-Y`: any other would store them, for everybody to read."""
        self._write(b"version\r\n", deadline, _CHUNK_BYTES)
        return self._read_line(deadline).startswith(UNAUTHENTICATED)

    def server_time(self) -> int:
        """The server's own clock, which is neither this machine's nor, after a suspend, the right one."""
        return int(time.monotonic() + self.clock_offset_s)

    def exchange(self, batch: Batch, item_bytes: int, deadline: float) -> list[Any]:
        """One packet out, its whole reply in, and nothing else."""
        fence = self.send(batch, deadline, item_bytes)
        answers = self.receive(batch, fence, item_bytes, deadline)
        self.check_end()
        return answers

    def visit(self, visit: Visit, item_bytes: int, deadline: float) -> Visited:
        """The same for the most frequent of all batches."""
        tail, fence = next(self._fences)
        self._post(encode_visit(visit, self.server_time) + tail, _VISIT, deadline, item_bytes)
        answer = decode_visit(visit, self._reply(_VISIT, fence, item_bytes, deadline))
        self.check_end()
        return answer

    def check_end(self) -> None:
        """That nothing came after the reply."""
        if self._rest:
            raise ProtocolError("the server says more than it was asked for")

    def send(self, batch: Batch, deadline: float, item_bytes: int | None = None) -> bytes:
        """Send a batch, closed by a fence, and return the reply line that will end its reply.

        With `item_bytes`, the reply to it is the only one that can come in meanwhile.

        Deleting a key that nobody sets answers with the number given, and with nothing else:
        proof that what came before it is the whole reply, and the reply to this request.
        """
        tail, fence = next(self._fences)
        request = encode(batch, self.server_time) + tail
        if self._tls and len(request) > _TLS_RECORD_BYTES:
            # memcached 1.6.18 waits for the socket when OpenSSL still holds commands that came in one record
            # with the end of a long value. Nothing shares a record with what comes before it, then.
            most = _most_unread(batch, item_bytes)
            for op in batch:
                self._write(encode((op,), self.server_time), deadline, most)
            self._write(tail, deadline, most)
            return fence
        self._post(request, batch, deadline, item_bytes)
        return fence

    def receive(self, batch: Batch, fence: bytes, item_bytes: int, deadline: float) -> list[Any]:
        """The answers of the batch whose fence this is; a batch that was sent after it stays pending."""
        return decode(batch, self._reply(batch, fence, item_bytes, deadline))

    def _post(self, request: bytes, batch: Batch, deadline: float, item_bytes: int | None) -> None:
        try:
            sent = self.sock.send(request)
        except _WOULD_BLOCK:
            sent = 0
        if sent < len(request):
            self._write(request[sent:], deadline, _most_unread(batch, item_bytes))

    def _reply(self, batch: Batch, fence: bytes, item_bytes: int, deadline: float) -> bytes:
        """What came before the fence."""
        data = self._rest or self._chunk(deadline, _REPLY_BYTES)
        if data.endswith(fence):
            self._rest = b""
        else:  # rarely: a reply in several pieces, or two replies in one
            data = self._read_until(fence, data, reply_limit(batch, item_bytes), deadline)
        return data[: -len(fence)]

    def stats(self, deadline: float, of: str = "") -> dict[str, str]:
        """What the server says of itself, or `of` a part of it."""
        request = b"stats %b\r\n" % of.encode() if of else b"stats\r\n"
        self._write(request, deadline, _CHUNK_BYTES)
        reply = self._read_until(b"END\r\n", self._rest, _STATS_LIMIT, deadline)
        said = [line.split(" ", 2) for line in reply.decode(errors="replace").split("\r\n")[:-2]]
        if any(len(words) < 2 or words[0] != "STAT" for words in said):
            raise ProtocolError("an unexpected reply")
        return {name: " ".join(value) for _, name, *value in said}

    def lines(self, request: bytes, deadline: Callable[[], float]) -> Iterator[bytes]:
        """Send a command that answers by lines up to `END`, and yield them in blocks, as they come.

        Each block is of whole lines and has a deadline of its own. Who gets another answer than these lines
        has to stop asking.
        """
        self._write(request, deadline(), _CHUNK_BYTES)
        ended = False
        while not ended:
            block = self._read_lines(deadline())
            ended = block[-6:] in (b"END\r\n", b"\nEND\r\n")
            yield block

    def _read_lines(self, deadline: float) -> bytes:
        data = self._rest
        while b"\n" not in data:
            if len(data) > _REPLY_BYTES:
                raise ProtocolError("the reply is longer than any valid one")
            data += self._chunk(deadline, _CHUNK_BYTES)
        lines, end, self._rest = data.rpartition(b"\n")
        return lines + end

    def _write(self, data: bytes, deadline: float, most_unread: int) -> None:
        # The other side may be waiting for us to read before it reads on: do both.
        sock = self.sock
        view = memoryview(data)
        received = bytearray(self._rest)
        while view:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not self._wait_either(left_s * 1000):
                raise DeadlinePassed
            with contextlib.suppress(*_WOULD_BLOCK):
                view = view[sock.send(view) :]
            try:
                chunk = sock.recv(_CHUNK_BYTES)
            except _WOULD_BLOCK:
                continue
            if not chunk:
                raise Broken("the server closed the connection")
            received += chunk
            if len(received) > most_unread:
                raise ProtocolError("the server says far more than it was asked for")
        self._rest = bytes(received)

    def _read_until(self, fence: bytes, data: bytes, limit: Limit, deadline: float) -> bytes:
        """The bytes up to the end of the fence, of which `data` came first; the rest is kept."""
        buffer = bytearray(data)
        at = buffer.find(fence)
        lines = line_start = looked_at = 0
        while at < 0:
            lines += buffer.count(b"\r\n", looked_at)
            line_start = max(line_start, buffer.rfind(b"\r\n", looked_at) + 2)
            said = Limit(len(buffer), lines, len(buffer) - line_start)
            if any(map(operator.gt, said, limit)):
                raise ProtocolError("the reply is longer than any valid one")
            if time.monotonic() >= deadline:
                raise DeadlinePassed
            looked_at = max(0, len(buffer) - 1)  # the next piece may begin in the middle of a line's end
            searched = max(0, len(buffer) - len(fence))
            buffer += self._chunk(deadline, _CHUNK_BYTES)
            at = buffer.find(fence, searched)
        end = at + len(fence)
        self._rest = bytes(buffer[end:])
        return bytes(buffer[:end])

    def _read_line(self, deadline: float) -> bytes:
        data = self._rest
        while b"\n" not in data:
            if len(data) > _REPLY_BYTES:
                raise ProtocolError("the reply is longer than any valid one")
            data += self._chunk(deadline, _REPLY_BYTES)
        line, end, self._rest = data.partition(b"\n")
        return line + end

    def _chunk(self, deadline: float, most: int) -> bytes:
        while True:
            # Ask first and wait after: a server nearby has often answered by now, TLS may hold bytes that the
            # socket does not show, and what is there is taken: it may be this process that was late to look.
            try:
                chunk = self.sock.recv(most)
            except _WOULD_BLOCK:
                if not self._wait_in(max(0.0, deadline - time.monotonic()) * 1000):
                    raise DeadlinePassed from None
                continue
            if not chunk:
                raise Broken("the server closed the connection")
            return chunk


def _most_unread(batch: Batch, item_bytes: int | None) -> int:
    """How much can come in while a batch is sent."""
    return _UNREAD_BYTES if item_bytes is None else reply_limit(batch, item_bytes).total_bytes
