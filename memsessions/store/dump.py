"""All keys of a memcached, as its crawler goes through them.

The dump follows the hash table: one that follows the lists of recent use can miss an item that is moving
between two of them. The table's is refused while the crawler is at work, which it is for a moment now
and then. The server writes as fast as it is read; while it waits, so does whoever asks for another dump,
and with them all clients of the same thread.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from urllib.parse import unquote_to_bytes

from .connection import Connection
from .operations import Keys
from .wire import ProtocolError

# How long to try again where the crawler is at work, and how often.
_BUSY_S = 5.0
_AGAIN_S = 0.05

_REQUEST = b"lru_crawler metadump hash\r\n"  # a packet of its own: it cannot be pipelined
_KEY = rb"(?m)^key=(\S+) "
_ITEMS = rb"(?m)^STAT curr_items (\d+)\r\n"


class Forbidden(Exception):
    """The server shows no keys."""


class Busy(Exception):
    """The server's crawler was at work all the time."""


def dumped(connection: Connection, prefix: bytes, deadline: Callable[[], float]) -> Iterator[Keys]:
    """Every key that begins with the prefix; `deadline` says until when the next part may take.

    If this raises, or is not read to its end, the connection has to be closed.
    """
    held = re.search(_ITEMS, b"".join(connection.lines(b"stats\r\n", deadline)))
    if held is None:
        raise ProtocolError("the server does not tell how many items it holds")
    start = len(prefix)
    seen = 0
    for block in _blocks(connection, deadline):
        found = re.findall(_KEY, block)
        if len(found) + block.endswith(b"END\r\n") != block.count(b"\n"):
            raise ProtocolError("an unexpected reply")
        seen += len(found)
        keys = map(unquote_to_bytes, found)
        yield Keys([key[start:] for key in keys if key.startswith(prefix)], seen, int(held[1]))


def _blocks(connection: Connection, deadline: Callable[[], float]) -> Iterator[bytes]:
    give_up = time.monotonic() + _BUSY_S
    while True:
        blocks = connection.lines(_REQUEST, deadline)
        first = next(blocks)
        if first.startswith((b"ERROR", b"CLIENT_ERROR")):
            raise Forbidden
        if not first.startswith(b"BUSY"):
            break
        if time.monotonic() >= give_up:
            raise Busy
        time.sleep(_AGAIN_S)
    yield first
    yield from blocks
