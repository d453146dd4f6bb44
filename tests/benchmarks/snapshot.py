"""What a server holds, asked for in large packets: bare keys, and a namespace to be put back as it was."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

from ..support.memcached import Memcached

_CHUNK = 2_000
_RECEIVE = 1 << 18
_END = b"MN\r\n"  # the answer to `mn`


def pipelined(sock: socket.socket, packets: list[bytes], lines_each: list[int]) -> bytes:
    """The replies to all packets, of so many lines each; the next packet is sent before a reply is read."""
    chunks = []
    received = wanted = 0
    sock.sendall(packets[0])
    for following, lines in zip([*packets[1:], b""], lines_each, strict=True):
        sock.sendall(following)
        wanted += lines
        while received < wanted:
            chunk = sock.recv(_RECEIVE)
            received += chunk.count(b"\n")
            chunks.append(chunk)
    return b"".join(chunks)


class Snapshot:
    """Everything that a namespace holds on a server, to be put back as it was.

    That is how 100,000 sessions are there again a second after they were killed.
    """

    def __init__(self, server: Memcached, ns: str) -> None:
        self.names = [key.encode() for key in server.keys(ns)]
        self._server = server
        self._passing: list[bytes] = []  # packets that store the items that expire
        self._lasting: list[bytes] = []  # and those that do not, which is what sessions leave behind
        for start in range(0, len(self.names), _CHUNK):
            names = self.names[start : start + _CHUNK]
            reply = server.ask(b"".join([b"mg %b v t\r\n" % name for name in names]) + b"mn\r\n", _END)
            passing, lasting = [], []
            for name, (left, value) in zip(names, _values(reply), strict=True):
                if left < 0:
                    lasting.append(b"ms %b %d q\r\n%b\r\n" % (name, len(value), value))
                else:
                    passing.append(b"ms %b %d T%d q\r\n%b\r\n" % (name, len(value), left, value))
            self._passing.append(b"".join([*passing, b"mn\r\n"]))
            self._lasting.append(b"".join([*lasting, b"mn\r\n"]))

    def restore(self, *, lasting_only: bool = False) -> None:
        """Put back everything, or only what is left of sessions once they have expired."""
        for packet in self._lasting if lasting_only else [*self._passing, *self._lasting]:
            # Quiet stores answer only when they fail.
            if self._server.ask(packet, _END) != _END:
                raise RuntimeError("the server refused a part of what was to be restored")


_VALUE = re.compile(rb"VA (\d+) t(-?\d+)\r\n")


def _values(reply: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while match := _VALUE.match(reply, at):
        at = match.end() + int(match[1]) + 2
        yield int(match[2]), reply[match.end() : at - 2]
