"""memcached's text protocol: operations to request bytes, reply bytes to answers.

A reply is parsed only when the whole of it is there, checked against the lengths it declares, and must
be used up to its last byte; anything else is a `ProtocolError`, after which the connection cannot be
trusted.

Writes that must not lose what is stored use the classic commands: the meta `ms` deletes the existing
item when the new one is refused. Reads and deletes use the meta commands, which report the time left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

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
    PeekMany,
    Read,
    ReadMany,
    SizeMany,
    Swap,
)

#: memcached reads a relative time beyond 30 days as a date in 1970, at which the item is long gone.
LONGEST_RELATIVE_S = 30 * 24 * 3600
# It keeps dates in 32 bits, which end in January 2038.
_LATEST = 2**31 - 1


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


def expiry(life: int, clock: Clock) -> int:
    """A life as it is sent."""
    return life if life <= LONGEST_RELATIVE_S else min(clock() + life, _LATEST)


def _encode_read(op: Read, clock: Clock) -> bytes:
    key, touch = op
    return b"mg %b v t c\r\n" % key if touch is None else b"mg %b v t c T%d\r\n" % (key, expiry(touch, clock))


def _encode_count(op: Count, clock: Clock) -> bytes:
    key, touch = op
    return b"ma %b v t\r\n" % key if touch is None else b"ma %b v t T%d\r\n" % (key, expiry(touch, clock))


def _encode_add(op: Add, clock: Clock) -> bytes:
    return b"add %b 0 %d %d\r\n%b\r\n" % (op.key, expiry(op.life, clock), len(op.value), op.value)


def _encode_append(op: Append, _clock: Clock) -> bytes:
    return b"append %b 0 0 %d\r\n%b\r\n" % (op.key, len(op.value), op.value)


def _encode_swap(op: Swap, clock: Clock) -> bytes:
    ends = expiry(op.life, clock)
    return b"cas %b 0 %d %d %d\r\n%b\r\n" % (op.key, ends, len(op.value), op.cas, op.value)


def _encode_delete(op: Delete, _clock: Clock) -> bytes:
    return b"md %b\r\n" % op.key if op.cas is None else b"md %b C%d\r\n" % (op.key, op.cas)


def _encode_many(head: bytes, tail: bytes, last: bytes = b"") -> Callable[[Any, Clock], bytes]:
    end = last or tail

    def encode(op: Any, _clock: Clock) -> bytes:
        if not op.names:
            return b""
        start = head + op.prefix
        requests: bytes = start + (tail + start).join(op.names) + end  # the whole batch in one call
        return requests

    return encode


_ENCODERS: dict[type, Callable[[Any, Clock], bytes]] = {
    Read: _encode_read,
    Count: _encode_count,
    Add: _encode_add,
    Append: _encode_append,
    Swap: _encode_swap,
    Delete: _encode_delete,
    ReadMany: _encode_many(b"mg ", b" v t c\r\n"),
    PeekMany: _encode_many(b"mg ", b" v t u\r\n"),
    LeftMany: _encode_many(b"mg ", b" t u\r\n"),
    SizeMany: _encode_many(b"mg ", b" s u\r\n"),
    # Only what is not there is answered, by its key, and the last by a number that no fence has. To end with
    # `mn` would have memcached send what it has at once, and the rest of the reply in another packet.
    DeleteMany: _encode_many(b"md ", b" q k\r\n", b" O0\r\n"),
}


def encode(batch: Batch, clock: Clock) -> bytes:
    """The request for a batch."""
    if len(batch) == 1:
        return _ENCODERS[type(batch[0])](batch[0], clock)
    return b"".join([_ENCODERS[type(op)](op, clock) for op in batch])


# ----------------------------------------------------------------------------------------- replies


# Nothing that is stored holds a line end: records are JSON, everything else is letters and digits. So a
# reply can be cut into lines at once, and a value that is not one line, of the length declared, is foreign.
_Lines = Iterator[bytes]


def _item(lines: _Lines, _op: Any = None) -> Item | None:
    head = next(lines)
    if head.startswith(b"VA "):
        _, size, left, *cas = head.split()
        value = next(lines)
        if len(value) != int(size):
            raise ProtocolError("a value is not as long as its head says")
        return Item(value, int(left[1:]), int(cas[0][1:]) if cas else 0)
    if head in (b"EN", b"NF"):
        return None
    raise unexpected(head)


def _word(answers: dict[bytes, Any]) -> Callable[[_Lines, Any], Any]:
    def parse(lines: _Lines, _op: Any) -> Any:
        line = next(lines)
        try:
            return answers[line]
        except KeyError:
            raise unexpected(line) from None

    return parse


def unexpected(line: bytes) -> Exception:
    """The error for a line that is none of the answers to what was asked."""
    if line[:26].lower() == b"server_error out of memory":
        return Refused(too_large=False)
    if line.startswith(b"SERVER_ERROR object too large"):
        return Refused(too_large=True)
    if line.startswith(b"CLIENT_ERROR unauthenticated"):
        return ProtocolError("the server wants a user name and a password")
    # The line itself may hold anything, a token or data included, and is not shown.
    kind = line.split(b" ", 1)[0]
    known = kind in (b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")
    return ProtocolError(f"the server answered {kind.decode()}" if known else "an unexpected reply")


def _numbers(mark: bytes) -> Callable[[_Lines, Any], list[int | None]]:
    def parse(lines: _Lines, op: Any) -> list[int | None]:
        some = [int(line[4:]) if line[:4] == mark else _miss(line) for line in islice(lines, len(op.names))]
        if len(some) < len(op.names):
            raise ProtocolError("there are fewer replies than requests")
        return some

    return parse


def _miss(line: bytes) -> Any:
    if line == b"EN":
        return None
    raise unexpected(line)


def _peeked(lines: _Lines, op: PeekMany) -> list[tuple[bytes, int] | None]:
    found: list[tuple[bytes, int] | None] = []
    said = _Heads()
    for _ in op.names:
        head = next(lines)
        if head[:3] != b"VA ":
            found.append(_miss(head))
            continue
        size, left = said[head]
        value = next(lines)
        if len(value) != size:
            raise ProtocolError("a value is not as long as its head says")
        found.append((value, left))
    return found


class _Heads(dict[bytes, tuple[int, int]]):
    """The size and the seconds left that the heads of values say; of many sessions many say the same."""

    def __missing__(self, head: bytes) -> tuple[int, int]:
        _, size, left = head.split()
        self[head] = said = int(size), int(left[1:])
        return said


_stored = _word({b"STORED": True, b"NOT_STORED": False})
_LAST_DELETED = {b"HD O0": True, b"NF O0": False}


def _deleted(lines: _Lines, op: DeleteMany) -> list[bool]:
    if not op.names:
        return []
    missing = []
    while (line := next(lines)) not in _LAST_DELETED:
        if line[:4] != b"NF k":
            raise unexpected(line)
        missing.append(line[4:])
    if not _LAST_DELETED[line]:
        missing.append(op.prefix + op.names[-1])
    if not missing:
        return [True] * len(op.names)
    # From the end, as of a name that is given twice the second is the one that is not there any more.
    answers = []
    for name in reversed(op.names):
        there = not missing or missing[-1] != op.prefix + name
        answers.append(there)
        if not there:
            missing.pop()
    if missing:
        raise ProtocolError("the server answers of another key than was asked for")
    answers.reverse()
    return answers


_PARSERS: dict[type, Callable[[_Lines, Any], Any]] = {
    Read: _item,
    Count: _item,
    Add: _stored,
    Append: _stored,
    Swap: _word({b"STORED": Outcome.DONE, b"NOT_FOUND": Outcome.MISSING, b"EXISTS": Outcome.CHANGED}),
    Delete: _word({b"HD": Outcome.DONE, b"NF": Outcome.MISSING, b"EX": Outcome.CHANGED}),
    ReadMany: lambda lines, op: [_item(lines) for _ in op.names],
    PeekMany: _peeked,
    LeftMany: _numbers(b"HD t"),
    SizeMany: _numbers(b"HD s"),
    DeleteMany: _deleted,
}


def decode(batch: Batch, data: bytes) -> list[Any]:
    """The answers in a whole reply. Raises the first refusal, after the rest was found to be in order."""
    pieces = data.split(b"\r\n")
    rest = pieces.pop()
    lines = iter(pieces)
    answers: list[Any] = []
    refused: Refused | None = None
    try:
        for op in batch:
            try:
                answers.append(_PARSERS[type(op)](lines, op))
            except Refused as refusal:
                answers.append(None)
                refused = refused or refusal
    except (StopIteration, ValueError):
        raise ProtocolError("a malformed reply") from None
    if rest or next(lines, None) is not None:
        raise ProtocolError("the reply is longer than what was asked for")
    if refused is not None:
        refused.answers = answers
        raise refused
    return answers


# A head, a value of the longest kind, and the line's end; heads are below 64 bytes.
_LINE_BYTES = 128
# A line that shows a key, which is 250 bytes at most.
_KEY_LINE_BYTES = 256


_ANSWERED_BY_A_WORD = frozenset((Add, Append, Swap, Delete))


class Limit(NamedTuple):
    """What a valid reply keeps to; a server that says more is not listened to, for the sake of memory."""

    total_bytes: int
    lines: int
    line_bytes: int


def reply_limit(batch: Batch, item_bytes: int) -> Limit:
    """The limit of every valid reply to this batch."""
    total_bytes = _LINE_BYTES
    lines = 1
    for op in batch:
        if type(op) in _ANSWERED_BY_A_WORD:  # most of what a long batch consists of
            total_bytes += _LINE_BYTES
            lines += 1
        elif isinstance(op, (Read, Count)):
            total_bytes += _LINE_BYTES + item_bytes
            lines += 2
        elif isinstance(op, (ReadMany, PeekMany)):
            total_bytes += len(op.names) * (_LINE_BYTES + item_bytes)
            lines += len(op.names) * 2
        elif isinstance(op, (LeftMany, SizeMany)):
            total_bytes += len(op.names) * _LINE_BYTES
            lines += len(op.names)
        elif isinstance(op, DeleteMany):
            total_bytes += len(op.names) * _KEY_LINE_BYTES
            lines += len(op.names)
    return Limit(total_bytes, lines, item_bytes + _KEY_LINE_BYTES)
