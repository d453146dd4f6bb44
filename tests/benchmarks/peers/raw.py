"""Talking to memcached without a client: the least that an exchange of the same bytes can cost."""

from __future__ import annotations

import socket
from collections.abc import Callable

from ...support.memcached import Memcached
from ...support.proxy import Proxy

_RECEIVE = 1 << 18


def recorded(server: Memcached, call: Callable[[str], object]) -> bytes:
    """The packet that a call sends; it gets the address to send it to, and must call twice.

    The first of the two opens the connection; of what the second sends, one packet is expected.
    """
    with Proxy(("127.0.0.1", server.port)) as proxy:
        packets: list[bytes] = []

        def note(chunk: bytes) -> bytes:
            packets.append(chunk)
            return chunk

        proxy.to_server = note
        call(proxy.address)
        return packets[-1]


class RawExchange:
    """Sends one packet over and over, on a blocking socket, and reads until its last line has come back."""

    def __init__(self, server: Memcached, packet: bytes) -> None:
        self._sock = server.connect()
        self._sock.settimeout(None)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._packet = packet
        self._sock.sendall(packet)
        self._end = self._sock.recv(_RECEIVE).splitlines(keepends=True)[-1]

    def __call__(self, _argument: object = None) -> bytes:
        self._sock.sendall(self._packet)
        reply = self._sock.recv(_RECEIVE)
        while not reply.endswith(self._end):
            reply += self._sock.recv(_RECEIVE)
        return reply

    def close(self) -> None:
        self._sock.close()
