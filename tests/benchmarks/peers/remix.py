"""The scheme of remix's `session-storage-memcache`: a connection for each command, writes that never look.

It is a package for Node. This is what it exchanges with the server, from Python. A session is JSON (its
values, and those for the next request only) under the SHA-256 of its id. Reading it is one `get`, saving it
one `set` of everything, whatever was saved meanwhile.
"""

from __future__ import annotations

import hashlib
import re
import socket

import orjson

from memsessions import Data

READ = "remix's scheme, read"
SAVE = "remix's scheme, save"
#: Whose scheme it is, as of this version.
PACKAGE, VERSION = "session-storage-memcache", "0.1.0 (its scheme)"

_CHUNK = 1 << 16
_VALUE = re.compile(rb"VALUE (\S+) \d+ (\d+)\r\n")


class RemixStorage:
    """Sessions at one server."""

    def __init__(self, address: tuple[str, int], ttl_s: int) -> None:
        self._address = address
        self._ttl_s = ttl_s

    def read(self, token: str) -> Data | None:
        """A session's data."""
        key = _key(token)
        with self._connected() as sock:
            sock.sendall(b"get %b\r\n" % key)
            reply = sock.recv(_CHUNK)
            while not reply.endswith(b"END\r\n"):
                reply += _more(sock)
        found = _VALUE.match(reply)
        if found is None or found[1] != key:
            return None
        values: Data
        values, _flash = orjson.loads(reply[found.end() : found.end() + int(found[2])])
        return values

    def save(self, token: str, data: Data) -> None:
        """Store a session's data over what is there."""
        value = orjson.dumps([data, {}])
        with self._connected() as sock:
            sock.sendall(b"set %b 0 %d %d\r\n%b\r\n" % (_key(token), self._ttl_s, len(value), value))
            reply = sock.recv(_CHUNK)
            while not reply.endswith(b"\r\n"):
                reply += _more(sock)
        if reply != b"STORED\r\n":
            raise RuntimeError("the server did not store the session")

    def _connected(self) -> socket.socket:
        sock = socket.create_connection(self._address, timeout=5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


def _more(sock: socket.socket) -> bytes:
    chunk = sock.recv(_CHUNK)
    if not chunk:
        raise ConnectionError("memcached closed the connection")
    return chunk


def _key(token: str) -> bytes:
    return b"remix:session:%b" % hashlib.sha256(token.encode()).hexdigest().encode()
