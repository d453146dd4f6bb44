"""The protocol: requests as memcached wants them, and no reply but a valid one is believed."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsessions.store.operations import (
    Add,
    Append,
    Batch,
    Count,
    Delete,
    DeleteMany,
    Item,
    LeftMany,
    Operation,
    Outcome,
    PeekMany,
    Read,
    ReadMany,
    SizeMany,
    Swap,
)
from memsessions.store.visits import encode_visit
from memsessions.store.wire import ProtocolError, Refused, decode, encode, reply_limit

from ..support.memcached import Memcached

NOW = 1_700_000_000
DAYS_30 = 30 * 24 * 3600
ITEM_BYTES = 1024 * 1024
#: What ends a request here, and its reply.
END, ENDED = b"md wire:nothing O7\r\n", b"NF O7\r\n"


def clock() -> int:
    return NOW


def no_clock() -> int:
    raise AssertionError("the server's clock is not needed here")


# ---------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("op", "request_bytes"),
    [
        (Read(b"k"), b"mg k v t c\r\n"),
        (Read(b"k", 60), b"mg k v t c T60\r\n"),
        (Read(b"k", 0), b"mg k v t c T0\r\n"),
        (Count(b"k"), b"ma k v t\r\n"),
        (Count(b"k", 60), b"ma k v t T60\r\n"),
        (Add(b"k", b"ab", 60), b"add k 0 60 2\r\nab\r\n"),
        (Add(b"k", b"", 0), b"add k 0 0 0\r\n\r\n"),
        (Append(b"k", b"abc"), b"append k 0 0 3\r\nabc\r\n"),
        (Swap(b"k", b"ab", 60, 17), b"cas k 0 60 2 17\r\nab\r\n"),
        (Delete(b"k"), b"md k\r\n"),
        (Delete(b"k", 17), b"md k C17\r\n"),
        (ReadMany(b"k:", (b"a", b"b")), b"mg k:a v t c\r\nmg k:b v t c\r\n"),
        (PeekMany(b"k:", (b"a", b"b")), b"mg k:a v t u\r\nmg k:b v t u\r\n"),
        (LeftMany(b"k:", (b"a", b"b")), b"mg k:a t u\r\nmg k:b t u\r\n"),
        (SizeMany(b"k:", (b"a", b"b")), b"mg k:a s u\r\nmg k:b s u\r\n"),
        (DeleteMany(b"k:", (b"a", b"b")), b"md k:a q k\r\nmd k:b O0\r\n"),
        (ReadMany(b"k:", ()), b""),
        (DeleteMany(b"k:", ()), b""),
    ],
    ids=repr,
)
def test_each_operation_has_its_request(op: Operation, request_bytes: bytes) -> None:
    assert encode((op,), no_clock) == request_bytes


def test_a_batch_is_its_requests_one_after_the_other() -> None:
    assert encode((Delete(b"a"), Read(b"b"), Delete(b"c")), no_clock) == b"md a\r\nmg b v t c\r\nmd c\r\n"


@pytest.mark.parametrize("life", [DAYS_30 + 1, 365 * 24 * 3600, 10 * 366 * 24 * 3600])
def test_a_life_of_more_than_30_days_is_sent_as_a_date(life: int) -> None:
    batch = (Read(b"k", life), Count(b"k", life), Add(b"k", b"v", life), Swap(b"k", b"v", life, 1))
    assert encode(batch, clock) == (
        b"mg k v t c T%d\r\nma k v t T%d\r\n"
        b"add k 0 %d 1\r\nv\r\ncas k 0 %d 1 1\r\nv\r\n" % ((NOW + life,) * 4)
    )
    assert encode_visit((b"k", life, b"n", life), clock) == b"mg k v t c T%d\r\nma n v T%d\r\n" % (
        (NOW + life,) * 2
    )


def test_a_life_of_30_days_is_sent_as_it_is() -> None:
    assert encode((Add(b"k", b"v", DAYS_30),), no_clock) == b"add k 0 %d 1\r\nv\r\n" % DAYS_30


# ----------------------------------------------------------------------------------------- replies


@pytest.mark.parametrize(
    ("op", "reply", "answer"),
    [
        (Read(b"k"), b"VA 2 t60 c7\r\nab\r\n", Item(b"ab", 60, 7)),
        (Read(b"k"), b"VA 2 t-1 c7\r\nab\r\n", Item(b"ab", -1, 7)),
        (Read(b"k"), b"VA 0 t60 c7\r\n\r\n", Item(b"", 60, 7)),
        (Read(b"k"), b"VA 2 t60 c7\r\nEN\r\n", Item(b"EN", 60, 7)),
        (Read(b"k"), b"EN\r\n", None),
        (Count(b"k"), b"VA 2 t60\r\n10\r\n", Item(b"10", 60, 0)),
        (Count(b"k"), b"NF\r\n", None),
        (Add(b"k", b"", 0), b"STORED\r\n", True),
        (Add(b"k", b"", 0), b"NOT_STORED\r\n", False),
        (Append(b"k", b""), b"STORED\r\n", True),
        (Append(b"k", b""), b"NOT_STORED\r\n", False),
        (Swap(b"k", b"", 0, 1), b"STORED\r\n", Outcome.DONE),
        (Swap(b"k", b"", 0, 1), b"NOT_FOUND\r\n", Outcome.MISSING),
        (Swap(b"k", b"", 0, 1), b"EXISTS\r\n", Outcome.CHANGED),
        (Delete(b"k"), b"HD\r\n", Outcome.DONE),
        (Delete(b"k"), b"NF\r\n", Outcome.MISSING),
        (Delete(b"k", 1), b"EX\r\n", Outcome.CHANGED),
        (ReadMany(b"", (b"a", b"b")), b"EN\r\nVA 1 t5 c9\r\nx\r\n", [None, Item(b"x", 5, 9)]),
        (PeekMany(b"", (b"a", b"b")), b"EN\r\nVA 1 t5\r\nx\r\n", [None, (b"x", 5)]),
        (LeftMany(b"", (b"a", b"b", b"c")), b"HD t60\r\nEN\r\nHD t-1\r\n", [60, None, -1]),
        (SizeMany(b"", (b"a", b"b", b"c")), b"HD s0\r\nEN\r\nHD s17\r\n", [0, None, 17]),
        (DeleteMany(b"k:", (b"a", b"b")), b"NF kk:a\r\nHD O0\r\n", [False, True]),
        (DeleteMany(b"k:", (b"a", b"b")), b"NF O0\r\n", [True, False]),
        (DeleteMany(b"k:", (b"a", b"b")), b"NF kk:a\r\nNF O0\r\n", [False, False]),
        (DeleteMany(b"k:", (b"a", b"b")), b"HD O0\r\n", [True, True]),
        (DeleteMany(b"k:", (b"a", b"a")), b"NF O0\r\n", [True, False]),
        (DeleteMany(b"k:", (b"a", b"b", b"a")), b"NF kk:b\r\nNF O0\r\n", [True, False, False]),
        (DeleteMany(b"k:", ()), b"", []),
        (ReadMany(b"", ()), b"", []),
        (LeftMany(b"", ()), b"", []),
    ],
    ids=repr,
)
def test_each_operation_understands_its_replies(op: Operation, reply: bytes, answer: object) -> None:
    assert decode((op,), reply) == [answer]


ALL: Batch = (
    Read(b"k"),
    Count(b"n"),
    Add(b"k", b"v", 0),
    Append(b"k", b"v"),
    Swap(b"k", b"v", 0, 1),
    Delete(b"k"),
    ReadMany(b"", (b"a", b"b")),
    PeekMany(b"", (b"a", b"b")),
    LeftMany(b"", (b"a", b"b")),
    SizeMany(b"", (b"a", b"b")),
    DeleteMany(b"", (b"a", b"b")),
)


INVALID = (
    b"",
    b"\r\n",
    b"ERROR\r\n",
    b"SERVER_ERROR busy\r\n",
    b"CLIENT_ERROR bad data chunk\r\n",
    b"VA\r\n",
    b"VA 2\r\nab\r\n",
    b"VA x t1 c1\r\nab\r\n",
    b"VA 3 t1 c1\r\nab\r\n",
    b"VA 1 t1 c1\r\nab\r\n",
    b"VA -2 t1 c1\r\nab\r\n",
    b"VA 2 tx c1\r\nab\r\n",
    b"VA 2 t1 cx\r\nab\r\n",
    b"VA 2 t1 c1\nab\n",
    b"VALUE k 0 2\r\nab\r\nEND\r\n",
    b"HD x\r\nHD x\r\n",
    b"HD t\r\nHD t\r\n",
    b"HD tx\r\nHD sx\r\n",
    b"hd\r\nhd\r\n",
    b"HD \r\nHD \r\n",
    b"stored\r\n",
    b"STORED",
    b"MN\r\nMN\r\n",
    b"HD O0\r\nHD O0\r\n",
    b"HD O1\r\n",
    b"\xff\xfe\r\n\x00\r\n",
    b"VA 2 t" + b"9" * 5000 + b" c1\r\nab\r\n",
)


@pytest.mark.parametrize("op", ALL, ids=repr)
@pytest.mark.parametrize("reply", INVALID)
def test_a_reply_that_memcached_does_not_give_is_a_protocol_error(op: Operation, reply: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode((op,), reply)


@pytest.mark.parametrize("extra", [b"\r\n", b"x", b"HD\r\n", b"EN\r\n", b"STORED\r\n", b"\x00"])
@pytest.mark.parametrize("op", [Delete(b"k"), LeftMany(b"", (b"a",)), Read(b"k")], ids=repr)
def test_a_reply_with_more_than_was_asked_for_is_a_protocol_error(op: Operation, extra: bytes) -> None:
    valid = {Delete: b"HD\r\n", LeftMany: b"HD t5\r\n", Read: b"VA 1 t5 c9\r\nx\r\n"}[type(op)]
    assert decode((op,), valid)
    with pytest.raises(ProtocolError):
        decode((op,), valid + extra)


@pytest.mark.parametrize(
    "line", [b"HD secret", b"secret stuff", b"SERVER_ERROR secret", b"VA 6 t1 xsecret\r\nsecret"]
)
def test_no_error_shows_what_the_server_said(line: bytes) -> None:
    for op in ALL:
        with pytest.raises(ProtocolError) as caught:
            decode((op,), line + b"\r\n")
        assert "secret" not in repr(caught.value)


def test_a_server_that_wants_credentials_is_understood() -> None:
    with pytest.raises(ProtocolError, match="wants a user name and a password"):
        decode((Read(b"k"),), b"CLIENT_ERROR unauthenticated\r\n")


# --------------------------------------------------------------------------------------- refusals


def test_a_refusal_comes_with_the_answers_to_everything_else() -> None:
    batch = (Delete(b"a"), Add(b"b", b"", 0), Read(b"c"), Append(b"d", b""), Delete(b"e"))
    reply = (
        b"HD\r\nSERVER_ERROR out of memory storing object\r\nVA 1 t5 c9\r\nx\r\n"
        b"SERVER_ERROR object too large for cache\r\nNF\r\n"
    )
    with pytest.raises(Refused) as caught:
        decode(batch, reply)
    assert caught.value.answers == [Outcome.DONE, None, Item(b"x", 5, 9), None, Outcome.MISSING]
    assert not caught.value.too_large, "the first refusal says why"


@pytest.mark.parametrize(
    ("line", "too_large"),
    [
        (b"SERVER_ERROR out of memory storing object", False),
        (b"SERVER_ERROR out of memory in incr", False),
        (b"SERVER_ERROR object too large for cache", True),
    ],
)
@pytest.mark.parametrize(
    "op", [Add(b"k", b"", 0), Append(b"k", b""), Swap(b"k", b"", 0, 1), Count(b"k")], ids=repr
)
def test_each_write_can_be_refused(op: Operation, line: bytes, too_large: bool) -> None:
    with pytest.raises(Refused) as caught:
        decode((op,), line + b"\r\n")
    assert caught.value.too_large is too_large


def test_a_refusal_in_a_malformed_reply_is_a_protocol_error() -> None:
    batch = (Add(b"b", b"", 0), Read(b"c"))
    with pytest.raises(ProtocolError):
        decode(batch, b"SERVER_ERROR out of memory storing object\r\nVA 1 t5 c9\r\nxy\r\n")


# --------------------------------------------------------------------------- replies of a real server


@pytest.fixture(scope="module")
def real_exchange(memcached: Memcached) -> tuple[Batch, bytes]:
    """A batch with every operation, and what a real memcached answers to it."""
    root = b"wire%b:" % secrets.token_hex(4).encode()
    batch: Batch = (
        Add(root + b"n", b"9", 100),
        Add(root + b"n", b"9", 100),
        Count(root + b"n"),
        Count(root + b"none"),
        Add(root + b"v", b'["a",{"k":"v"}]', 0),
        Append(root + b"v", b"more"),
        Append(root + b"none", b"more"),
        Read(root + b"v", 50),
        Read(root + b"none"),
        Swap(root + b"v", b"x", 60, 1),
        Swap(root + b"none", b"x", 60, 1),
        ReadMany(root, (b"v", b"none", b"n")),
        PeekMany(root, (b"v", b"none", b"n")),
        LeftMany(root, (b"v", b"none", b"n")),
        SizeMany(root, (b"v", b"none", b"n")),
        Delete(root + b"v", 1),
        DeleteMany(root, (b"none", b"v")),
        Delete(root + b"n"),
    )
    reply = memcached.ask(encode(batch, no_clock) + END, ENDED).removesuffix(ENDED)
    return batch, reply


def is_answer(op: Operation, answer: Any) -> bool:
    """Whether an answer is of the kind that the operation gives."""

    def is_item(item: Any) -> bool:
        if item is None:
            return True
        value, left, cas = item
        return isinstance(value, bytes) and isinstance(left, int) and isinstance(cas, int)

    if isinstance(op, (Read, Count)):
        return is_item(answer)
    if isinstance(op, (Add, Append)):
        return isinstance(answer, bool)
    if isinstance(op, (Swap, Delete)):
        return isinstance(answer, Outcome)
    if len(answer) != len(op.names):
        return False
    if isinstance(op, ReadMany):
        return all(map(is_item, answer))
    if isinstance(op, PeekMany):
        return all(one is None or is_item((*one, 0)) for one in answer)
    if isinstance(op, DeleteMany):
        return all(isinstance(one, bool) for one in answer)
    return all(one is None or isinstance(one, int) for one in answer)


def is_refused_properly(batch: Batch, reply: bytes) -> bool:
    """Whether a reply is either understood, with answers of the right kinds, or a `ProtocolError`."""
    try:
        answers = decode(batch, reply)
    except ProtocolError:
        return True
    except Refused as refusal:
        answers = refusal.answers
        return len(answers) == len(batch) and None in answers
    return len(answers) == len(batch) and all(map(is_answer, batch, answers))


def test_a_real_reply_is_understood(real_exchange: tuple[Batch, bytes]) -> None:
    batch, reply = real_exchange
    answers = decode(batch, reply)
    assert all(map(is_answer, batch, answers))
    counted, value = answers[2], answers[7]
    assert (counted.value, value.value, value.left) == (b"10", b'["a",{"k":"v"}]more', -1)
    assert answers[9] is Outcome.CHANGED
    peeked, lefts, sizes, *deletions = answers[12:]
    assert peeked == [(value.value, lefts[0]), None, (b"10", lefts[2])]
    assert sizes == [19, None, 2]
    assert deletions == [Outcome.CHANGED, [False, True], Outcome.DONE]


def test_what_many_deletes_answer_comes_with_the_rest_of_its_reply(memcached: Memcached) -> None:
    """In one packet: nothing in the request has memcached send what it has so far."""
    batch = (LeftMany(b"no:", (b"a", b"b")), DeleteMany(b"no:", (b"a", b"b")), DeleteMany(b"no:", (b"c",)))
    with memcached.connect() as sock:
        for _ in range(200):
            sock.sendall(encode(batch, no_clock) + END)
            reply = sock.recv(4096)
            assert reply.endswith(ENDED)
    assert decode(batch, reply.removesuffix(ENDED)) == [[None, None], [False, False], [False]]


def test_a_real_reply_cut_at_any_byte_is_a_protocol_error(real_exchange: tuple[Batch, bytes]) -> None:
    batch, reply = real_exchange
    for length in range(len(reply)):
        with pytest.raises(ProtocolError):
            decode(batch, reply[:length])


def test_a_real_reply_with_one_byte_changed_gives_no_other_error(real_exchange: tuple[Batch, bytes]) -> None:
    batch, reply = real_exchange
    for at in range(len(reply)):
        for byte in b"\x00\n\r 09-AENVtcs\xff":
            assert is_refused_properly(batch, reply[:at] + bytes([byte]) + reply[at + 1 :])


def test_a_real_reply_with_one_line_lost_or_doubled_is_a_protocol_error(
    real_exchange: tuple[Batch, bytes],
) -> None:
    """But for the one line by which a quiet request says what no line says otherwise."""
    batch, reply = real_exchange
    lines = reply.splitlines(keepends=True)
    quiet = [at for at, line in enumerate(lines) if line.startswith(b"NF k")]
    assert len(quiet) == 1
    for at in range(len(lines)):
        for wrong in (lines[:at] + lines[at + 1 :], [*lines[:at], lines[at], *lines[at:]]):
            if at in quiet and len(wrong) < len(lines):
                assert decode(batch, b"".join(wrong))[-2] == [True, True]
                continue
            with pytest.raises(ProtocolError):
                decode(batch, b"".join(wrong))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_mutilated_real_reply_gives_no_other_error(
    real_exchange: tuple[Batch, bytes], data: st.DataObject
) -> None:
    """Pieces of a real reply lost, doubled, moved and overwritten."""
    batch, reply = real_exchange
    wrong = bytearray(reply)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(wrong)))
        end = data.draw(st.integers(start, min(len(wrong), start + 20)))
        to = data.draw(st.integers(0, len(wrong)))
        put = data.draw(st.one_of(st.binary(max_size=8), st.just(bytes(wrong[to : to + 12]))))
        wrong[start:end] = put
    assert is_refused_properly(batch, bytes(wrong))


WORDS = st.sampled_from(
    b"VA HD EN NF EX STORED NOT_STORED EXISTS t-1 t5 c1 s2 2 ab - 1_0 ERROR CLIENT_ERROR".split()
    + [b"SERVER_ERROR out of memory"]
    + [b"\r\n", b" ", b"\x00"] * 4
)


@settings(max_examples=300, deadline=None)
@given(
    batch=st.lists(st.sampled_from(ALL), min_size=1, max_size=3),
    reply=st.one_of(st.binary(max_size=60), st.lists(WORDS, max_size=20).map(b"".join)),
)
def test_random_bytes_give_no_other_error(batch: list[Operation], reply: bytes) -> None:
    assert is_refused_properly(batch, reply)


# ------------------------------------------------------------------------------------------- limits


def test_no_valid_reply_is_longer_than_the_limit(
    memcached: Memcached, real_exchange: tuple[Batch, bytes]
) -> None:
    """Shown with the largest item that fits, and with every operation."""
    key = b"wire%b" % secrets.token_hex(4).encode()
    value = b"x" * (ITEM_BYTES - 200)
    memcached.ask(encode((Add(key, value, 60),), no_clock), b"STORED\r\n")
    many: Batch = (Read(key), ReadMany(b"", (key, key)))
    reply = memcached.ask(encode(many, no_clock) + END, ENDED).removesuffix(ENDED)
    for batch, whole in ((many, reply), real_exchange):
        decode(batch, whole)
        limit = reply_limit(batch, ITEM_BYTES)
        lines = whole.split(b"\r\n")
        assert len(whole) <= limit.total_bytes
        assert len(lines) <= limit.lines
        assert max(map(len, lines)) <= limit.line_bytes
    assert len(reply) > 3 * len(value)


@pytest.mark.parametrize("op", ALL, ids=repr)
def test_the_limit_grows_with_what_is_asked_for_only(op: Operation) -> None:
    """By an item for each that is read, and by little else."""
    item_bytes = 10_000_000
    names = len(op.names) if isinstance(op, (ReadMany, PeekMany, LeftMany, SizeMany, DeleteMany)) else 1
    items = names if isinstance(op, (Read, Count, ReadMany, PeekMany)) else 0
    one, two = reply_limit((op,), item_bytes), reply_limit((op, op), item_bytes)
    assert 0 < two.total_bytes - one.total_bytes - items * item_bytes <= 1000 * names
    assert 0 < two.lines - one.lines <= 4 * names
    assert two.line_bytes == one.line_bytes <= item_bytes + 1000
