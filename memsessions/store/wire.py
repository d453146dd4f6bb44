"""memcached's text protocol: operations to request bytes, reply bytes to answers.

A reply is parsed only when the whole of it is there, by the lengths it declares, and must be used up
to its last byte; anything else is a `ProtocolError`, after which the connection cannot be trusted.

Writes that must not lose what is stored use the classic commands: the meta `ms` deletes the existing
item when the new one is refused. Reads and deletes use the meta commands, which report the time left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .operations import (
    Add,
    Append,
    Batch,
    Count,
    Delete,
    DeleteMany,
    Item,
    LeftMany,
    Outcome,
    Read,
    ReadMany,
    SizeMany,
    Swap,
)

# memcached reads a relative time beyond 30 days as a date in 1970, at which the item is long gone.
_LONGEST_RELATIVE_S = 30 * 24 * 3600


class ProtocolError(Exception):
    """The reply is not one that memcached gives to what was asked."""


class Refused(Exception):
    """memcached refused a write; the reply was read to its end, and the connection is sound."""

    def __init__(self, too_large: bool) -> None:
        super().__init__("object too large for cache" if too_large else "out of memory storing object")
        self.too_large = too_large
        self.answers: list[Any] = []


# ---------------------------------------------------------------------------------------- requests

#: Turns seconds to live into what is sent; the server's clock is needed only beyond 30 days.
Clock = Callable[[], int]


def _expiry(life: int, clock: Clock) -> int:
    return life if life <= _LONGEST_RELATIVE_S else clock() + life


def _encode_read(op: Read, clock: Clock) -> bytes:
    if op.touch is None:
        return b"mg %b v t c\r\n" % op.key
    return b"mg %b v t c T%d\r\n" % (op.key, _expiry(op.touch, clock))


def _encode_count(op: Count, clock: Clock) -> bytes:
    if op.touch is None:
        return b"ma %b v t\r\n" % op.key
    return b"ma %b v t T%d\r\n" % (op.key, _expiry(op.touch, clock))


def _encode_add(op: Add, clock: Clock) -> bytes:
    return b"add %b 0 %d %d\r\n%b\r\n" % (op.key, _expiry(op.life, clock), len(op.value), op.value)


def _encode_append(op: Append, _clock: Clock) -> bytes:
    return b"append %b 0 0 %d\r\n%b\r\n" % (op.key, len(op.value), op.value)


def _encode_swap(op: Swap, clock: Clock) -> bytes:
    expiry = _expiry(op.life, clock)
    return b"cas %b 0 %d %d %d\r\n%b\r\n" % (op.key, expiry, len(op.value), op.cas, op.value)


def _encode_delete(op: Delete, _clock: Clock) -> bytes:
    return b"md %b\r\n" % op.key if op.cas is None else b"md %b C%d\r\n" % (op.key, op.cas)


def _encode_many(head: bytes, tail: bytes) -> Callable[[Any, Clock], bytes]:
    def encode(op: Any, _clock: Clock) -> bytes:
        if not op.names:
            return b""
        start = head + op.prefix
        requests: bytes = start + (tail + start).join(op.names) + tail  # the whole batch in one call
        return requests

    return encode


_ENCODERS: dict[type, Callable[[Any, Clock], bytes]] = {
    Read: _encode_read,
    Count: _encode_count,
    Add: _encode_add,
    Append: _encode_append,
    Swap: _encode_swap,
    Delete: _encode_delete,
    ReadMany: _encode_many(b"mg ", b" v t c u\r\n"),
    LeftMany: _encode_many(b"mg ", b" t u\r\n"),
    SizeMany: _encode_many(b"mg ", b" s u\r\n"),
    DeleteMany: _encode_many(b"md ", b"\r\n"),
}


def encode(batch: Batch, clock: Clock) -> bytes:
    """The request for a batch."""
    return b"".join([_ENCODERS[type(op)](op, clock) for op in batch])


# ----------------------------------------------------------------------------------------- replies


class _Reader:
    """Goes through a whole reply, line by line and value by value."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def line(self) -> bytes:
        end = self.data.find(b"\r\n", self.at)
        if end < 0:
            raise ProtocolError("the reply ends within a line")
        line = self.data[self.at : end]
        self.at = end + 2
        return line

    def item(self) -> Item | None:
        line = self.line()
        if line[:3] == b"VA ":
            try:
                fields = line.split()
                size = int(fields[1])
                left = int(fields[2][1:])
                cas = int(fields[3][1:]) if len(fields) > 3 else 0
            except (ValueError, IndexError):
                raise ProtocolError("a value's head is malformed") from None
            end = self.at + size
            if size < 0 or self.data[end : end + 2] != b"\r\n" or fields[2][:1] != b"t":
                raise ProtocolError("a value is not as long as its head says")
            value = self.data[self.at : end]
            self.at = end + 2
            return Item(value, left, cas)
        if line in (b"EN", b"NF"):
            return None
        raise _unexpected(line)

    def word(self, answers: dict[bytes, Any]) -> Any:
        line = self.line()
        try:
            return answers[line]
        except KeyError:
            raise _unexpected(line) from None


def _unexpected(line: bytes) -> Exception:
    """The error for a line that is none of the answers to what was asked."""
    if line.startswith(b"SERVER_ERROR out of memory"):
        return Refused(too_large=False)
    if line.startswith(b"SERVER_ERROR object too large"):
        return Refused(too_large=True)
    if line.startswith(b"CLIENT_ERROR unauthenticated"):
        return ProtocolError("the server wants a user name and a password")
    # The line itself may hold anything, a token or data included, and is not shown.
    kind = line.split(b" ", 1)[0]
    known = kind in (b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")
    return ProtocolError(f"the server answered {kind.decode()}" if known else "an unexpected reply")


_STORED = {b"STORED": True, b"NOT_STORED": False}
_SWAPPED = {b"STORED": Outcome.DONE, b"NOT_FOUND": Outcome.MISSING, b"EXISTS": Outcome.CHANGED}
_DELETED = {b"HD": Outcome.DONE, b"NF": Outcome.MISSING, b"EX": Outcome.CHANGED}
_GONE = {b"HD": True, b"NF": False}


def _parse_numbers(mark: bytes) -> Callable[[_Reader, Any], list[int | None]]:
    def parse(reader: _Reader, op: Any) -> list[int | None]:
        # Every reply is one line, so one split serves the batch.
        lines = reader.data[reader.at :].split(b"\r\n", len(op.names))
        if len(lines) != len(op.names) + 1:
            raise ProtocolError("there are fewer replies than requests")
        reader.at = len(reader.data) - len(lines.pop())
        try:
            numbers = [None if line == b"EN" else int(line[4:]) for line in lines]
        except ValueError:
            raise ProtocolError("a reply that should be a number is none") from None
        if any(line[:4] != mark and line != b"EN" for line in lines):
            raise ProtocolError("an unexpected reply")
        return numbers

    return parse


_PARSERS: dict[type, Callable[[_Reader, Any], Any]] = {
    Read: lambda reader, _op: reader.item(),
    Count: lambda reader, _op: reader.item(),
    Add: lambda reader, _op: reader.word(_STORED),
    Append: lambda reader, _op: reader.word(_STORED),
    Swap: lambda reader, _op: reader.word(_SWAPPED),
    Delete: lambda reader, _op: reader.word(_DELETED),
    ReadMany: lambda reader, op: [reader.item() for _ in op.names],
    LeftMany: _parse_numbers(b"HD t"),
    SizeMany: _parse_numbers(b"HD s"),
    DeleteMany: lambda reader, op: [reader.word(_GONE) for _ in op.names],
}


def decode(batch: Batch, data: bytes) -> list[Any]:
    """The answers in a whole reply. Raises the first refusal, after the rest was found to be in order."""
    reader = _Reader(data)
    answers: list[Any] = []
    refused: Refused | None = None
    for op in batch:
        try:
            answers.append(_PARSERS[type(op)](reader, op))
        except Refused as refusal:
            answers.append(None)
            refused = refused or refusal
    if reader.at != len(data):
        raise ProtocolError("the reply is longer than what was asked for")
    if refused is not None:
        refused.answers = answers
        raise refused
    return answers


# A head, a value of the longest kind, and the line's end; heads are below 64 bytes.
_LINE_BYTES = 128


def reply_limit(batch: Batch, item_bytes: int) -> int:
    """The most bytes that a valid reply to this batch can have; more is not read."""
    total = _LINE_BYTES
    for op in batch:
        if isinstance(op, (Read, Count)):
            total += _LINE_BYTES + item_bytes
        elif isinstance(op, ReadMany):
            total += len(op.names) * (_LINE_BYTES + item_bytes)
        elif isinstance(op, (LeftMany, SizeMany, DeleteMany)):
            total += len(op.names) * _LINE_BYTES
        else:
            total += _LINE_BYTES
    return total
