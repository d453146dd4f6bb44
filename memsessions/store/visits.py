"""A visit in memcached's protocol: the most frequent request there is, without what a batch costs."""

from __future__ import annotations

from .operations import Visit, Visited
from .wire import LONGEST_RELATIVE_S, Clock, ProtocolError, expiry, unexpected

_CAS_DIGITS = 20  # of 64 bits
# From here on, looking for line ends in a value takes longer than not to.
_LONG_BYTES = 2 * 1024


def encode_visit(visit: Visit, clock: Clock) -> bytes:
    """The request for a visit. What the counter has left is asked for only if it stays."""
    key, touch, counter, touch_counter = visit
    if touch > LONGEST_RELATIVE_S:
        touch = expiry(touch, clock)
    if touch_counter is None:
        return b"mg %b v t c T%d\r\nma %b v t\r\n" % (key, touch, counter)
    if touch_counter > LONGEST_RELATIVE_S:
        touch_counter = expiry(touch_counter, clock)
    return b"mg %b v t c T%d\r\nma %b v T%d\r\n" % (key, touch, counter, touch_counter)


def _few_lines(data: bytes) -> list[bytes]:
    """The lines of a reply to a visit that has a long value, which is not searched."""
    first, *others = data.rsplit(b"\r\n", 3)
    return [*first.split(b"\r\n", 1), *others]


def decode_visit(visit: Visit, data: bytes) -> Visited:
    """The answer in a whole reply to a visit. Raises as `decode` does, with no answers in a refusal."""
    value = count = None
    left, cas, count_left = 0, b"0", visit[3] or 0
    lines = data.split(b"\r\n") if len(data) < _LONG_BYTES else _few_lines(data)
    try:
        head = lines[0]
        if head == b"EN":
            at = 1
        else:
            mark, size, its_left, its_cas = head.split()
            value, at = lines[1], 2
            left, cas = int(its_left[1:]), its_cas[1:]
            if mark != b"VA" or len(value) != int(size) or not cas.isdigit() or len(cas) > _CAS_DIGITS:
                raise unexpected(head)
        head = lines[at]
        if head == b"NF":
            count_left = 0
            at += 1
        else:
            if visit[3] is None:
                mark, size, its_left = head.split()
                count_left = int(its_left[1:])
            else:
                mark, size = head.split()
            count = lines[at + 1]
            at += 2
            if mark != b"VA" or len(count) != int(size):
                raise unexpected(head)
    except (IndexError, ValueError):
        raise unexpected(head) from None
    if len(lines) != at + 1 or lines[at]:
        raise ProtocolError("the reply is longer than what was asked for")
    return value, left, cas, count, count_left
