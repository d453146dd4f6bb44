"""A visit: a read and a count as one, which answers what the two would have answered one after the other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memsessions.store.operations import (
    Add,
    Count,
    Delete,
    LeftMany,
    Outcome,
    Read,
    ReadMany,
    Store,
    Swap,
    Visit,
    Visited,
)
from memsessions.store.visits import decode_visit, encode_visit
from memsessions.store.wire import ProtocolError, Refused

from ..conftest import InMemory, OnMemcached
from ..support.memcached import Memcached
from .test_operations import DAY, cas_of, is_like, root, store, store_at
from .test_wire import INVALID, clock, no_clock

__all__ = ["root", "store"]

BOTH: Visit = b"k", 60, b"n", 70
KEPT: Visit = b"k", 60, b"n", None


def visited(store: Store, visit: Visit) -> tuple[Any, ...]:
    """What a visit answers, without the unique."""
    value, left, _cas, count, count_left = store.visit(visit, store.deadline())
    return value, left, count, count_left


# -------------------------------------------------------------------------------------- on a store


def test_it_reads_and_renews_one_item_and_counts_and_renews_another(store: Store, root: bytes) -> None:
    store.run((Add(root, b"v", 100), Add(root + b"n", b"1", 90)))
    assert is_like(visited(store, (root, 60, root + b"n", 70)), (b"v", 100, b"2", 70))
    (items,) = store.run((ReadMany(root, (b"", b"n")),))
    assert is_like([tuple(item[:2]) for item in items], [(b"v", 60), (b"2", 70)])


def test_it_can_leave_the_counter_its_life(store: Store, root: bytes) -> None:
    store.run((Add(root, b"v", 100), Add(root + b"n", b"1", 90)))
    assert is_like(visited(store, (root, 60, root + b"n", None)), (b"v", 100, b"2", 90))
    (lefts,) = store.run((LeftMany(root, (b"", b"n")),))
    assert is_like(lefts, [60, 90])


@pytest.mark.parametrize("touch_counter", [None, 70])
def test_either_can_be_missing(store: Store, root: bytes, touch_counter: int | None) -> None:
    store.run((Add(root, b"1", 100),))
    none = root + b"none"
    assert is_like(visited(store, (root, 100, none, touch_counter)), (b"1", 100, None, 0))
    assert is_like(visited(store, (none, 60, root, touch_counter)), (None, 0, b"2", touch_counter or 100))
    assert visited(store, (none, 60, none, touch_counter)) == (None, 0, None, 0)


def test_lives_can_be_longer_than_30_days(store: Store, root: bytes) -> None:
    store.run((Add(root, b"v", 100), Add(root + b"n", b"1", 100)))
    visited(store, (root, 31 * DAY, root + b"n", 3660 * DAY))
    (lefts,) = store.run((LeftMany(root, (b"", b"n")),))
    assert is_like(lefts, [31 * DAY, 3660 * DAY])


def test_what_it_read_can_be_swapped(store: Store, root: bytes) -> None:
    store.run((Add(root, b"v", 100),))
    value, _left, cas, _count, _count_left = store.visit((root, 60, root + b"n", 70), store.deadline())
    assert (value, int(cas)) == (b"v", cas_of(store, root))
    assert store.run((Swap(root, b"w", 60, int(cas)),)) == [Outcome.DONE]


KEYS = st.sampled_from([b"a", b"b"])
LIVES = st.sampled_from([1000, 30 * DAY, 400 * DAY])
STEPS = st.one_of(
    st.builds(lambda k, life: lambda p: Add(p + k, b"9", life), KEYS, LIVES),
    st.builds(lambda k: lambda p: Delete(p + k), KEYS),
    # Without a touch of the counter: where memcached cannot count in place, it forgets that.
    st.builds(lambda k, touch, n: lambda p: (p + k, touch, p + n, None), KEYS, LIVES, KEYS),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=12))
def test_in_any_sequence_it_answers_as_a_read_and_a_count(memcached: Memcached, steps: list[Any]) -> None:
    """On both stores, beside the two on the same store; lives to the seconds that the run may take."""
    seen = []
    for where in (InMemory(), OnMemcached(memcached)):
        store = store_at(where.address)
        for step in steps:
            root = where.ns.encode()
            asked, same = step(root + b":1"), step(root + b":2")
            if not isinstance(asked, (Add, Delete)):
                key, touch, counter, _ = same
                item, count = store.run((Read(key, touch), Count(counter)))
                apart = (*(item or (None, 0))[:2], *(count or (None, 0))[:2])
                seen.append((visited(store, asked), apart))
            else:
                assert store.run((asked,)) == store.run((same,))
        store.close()
    half = len(seen) // 2
    for (one, apart), (other, _) in zip(seen[:half], seen[half:], strict=True):
        for answer in (apart, other):
            assert [one[0], one[2]] == [answer[0], answer[2]]
            assert abs(one[1] - answer[1]) <= 3
            assert abs(one[3] - answer[3]) <= 3


# ----------------------------------------------------------------------------------- the protocol


@pytest.mark.parametrize(
    ("visit", "request_bytes"),
    [
        (BOTH, b"mg k v t c T60\r\nma n v T70\r\n"),
        (KEPT, b"mg k v t c T60\r\nma n v t\r\n"),
        ((b"k", 30 * DAY, b"n", 30 * DAY), b"mg k v t c T%d\r\nma n v T%d\r\n" % (30 * DAY, 30 * DAY)),
    ],
)
def test_its_request(visit: Visit, request_bytes: bytes) -> None:
    """What the counter has left is asked for only where nothing sets it."""
    assert encode_visit(visit, no_clock) == request_bytes


def test_a_life_of_more_than_30_days_is_sent_as_a_date() -> None:
    life = 30 * DAY + 1
    request = encode_visit((b"k", life, b"n", None), clock)
    assert request == b"mg k v t c T%d\r\nma n v t\r\n" % (clock() + life)


@pytest.mark.parametrize(
    ("visit", "reply", "answer"),
    [
        (BOTH, b"VA 2 t60 c7\r\nab\r\nVA 1\r\n7\r\n", (b"ab", 60, b"7", b"7", 70)),
        (KEPT, b"VA 2 t60 c7\r\nab\r\nVA 1 t5\r\n7\r\n", (b"ab", 60, b"7", b"7", 5)),
        (KEPT, b"VA 0 t-1 c7\r\n\r\nVA 1 t-1\r\n7\r\n", (b"", -1, b"7", b"7", -1)),
        (BOTH, b"EN\r\nVA 1\r\n7\r\n", (None, 0, b"0", b"7", 70)),
        (KEPT, b"EN\r\nVA 1 t5\r\n7\r\n", (None, 0, b"0", b"7", 5)),
        (BOTH, b"VA 2 t60 c7\r\nEN\r\nNF\r\n", (b"EN", 60, b"7", None, 0)),
        (BOTH, b"EN\r\nNF\r\n", (None, 0, b"0", None, 0)),
    ],
)
def test_its_replies_are_understood(visit: Visit, reply: bytes, answer: Visited) -> None:
    assert decode_visit(visit, reply) == answer


@pytest.mark.parametrize("visit", [BOTH, KEPT])
@pytest.mark.parametrize("reply", INVALID)
def test_a_reply_that_memcached_does_not_give_is_a_protocol_error(visit: Visit, reply: bytes) -> None:
    """As the answer to the read, and as that to the count."""
    wholes = [reply, reply + b"NF\r\n"]
    if reply != b"VA 2\r\nab\r\n":  # which is one to a count
        wholes += [b"EN\r\n" + reply, b"VA 2 t60 c7\r\nab\r\n" + reply]
    for whole in wholes:
        with pytest.raises(ProtocolError):
            decode_visit(visit, whole)


def test_a_unique_is_a_number_of_64_bits() -> None:
    """It stays text until somebody wants it, who must not be the first to find that it cannot be read."""
    reply = b"VA 2 t60 c%b\r\nab\r\nNF\r\n"
    assert decode_visit(BOTH, reply % b"18446744073709551615")[2] == b"18446744073709551615"
    for unique in (b"9" * 21, b"9" * 5000, b"-1", b"1_0", b""):
        with pytest.raises(ProtocolError):
            decode_visit(BOTH, reply % unique)


@pytest.mark.parametrize("extra", [b"\r\n", b"x", b"NF\r\n", b"EN\r\n", b"VA 1\r\n7\r\n", b"\x00"])
@pytest.mark.parametrize("valid", [b"EN\r\nNF\r\n", b"VA 2 t60 c7\r\nab\r\nVA 1\r\n7\r\n"])
def test_a_reply_with_more_than_was_asked_for_is_a_protocol_error(valid: bytes, extra: bytes) -> None:
    assert decode_visit(BOTH, valid)
    with pytest.raises(ProtocolError):
        decode_visit(BOTH, valid + extra)


@pytest.mark.parametrize("line", [b"HD secret", b"secret stuff", b"VA 6 t1 xsecret\r\nsecret"])
def test_no_error_shows_what_the_server_said(line: bytes) -> None:
    for reply in (line, b"EN\r\n" + line):
        with pytest.raises(ProtocolError) as caught:
            decode_visit(BOTH, reply + b"\r\n")
        assert "secret" not in repr(caught.value)


@pytest.mark.parametrize("read", [b"EN\r\n", b"VA 2 t60 c7\r\nab\r\n"])
def test_a_count_can_be_refused(read: bytes) -> None:
    """Where there is no memory for a longer number."""
    with pytest.raises(Refused) as caught:
        decode_visit(BOTH, read + b"SERVER_ERROR out of memory in incr\r\n")
    assert not caught.value.too_large


@given(st.binary(max_size=60), st.integers(0, 40), st.booleans())
def test_any_bytes_are_understood_or_refused(noise: bytes, at: int, keep: bool) -> None:
    """Nothing else is raised, and what is answered has the right types."""
    valid = b"VA 2 t60 c7\r\nab\r\nVA 1 t5\r\n7\r\n" if keep else b"VA 2 t60 c7\r\nab\r\nVA 1\r\n7\r\n"
    try:
        answer = decode_visit(KEPT if keep else BOTH, valid[:at] + noise + valid[at:])
    except (ProtocolError, Refused):
        return
    value, left, cas, count, count_left = answer
    assert value is None or isinstance(value, bytes)
    assert count is None or isinstance(count, bytes)
    assert isinstance(cas, bytes)
    assert isinstance(left, int)
    assert isinstance(count_left, int)


@pytest.mark.parametrize("size", [2_000, 2_048, 100_000])
@pytest.mark.parametrize("counted", [b"NF\r\n", b"VA 1\r\n7\r\n"])
def test_a_long_value_is_understood_as_a_short_one(size: int, counted: bytes) -> None:
    value = b"x" * size
    reply = b"VA %d t60 c7\r\n%b\r\n" % (size, value)
    answer = decode_visit(BOTH, reply + counted)
    assert answer == (value, 60, b"7", *((None, 0) if counted == b"NF\r\n" else (b"7", 70)))
    for wrong in (reply + counted + b"x\r\n", reply[:-3] + b"\r\n" + counted, reply + counted[:-2], reply):
        with pytest.raises(ProtocolError):
            decode_visit(BOTH, wrong)
