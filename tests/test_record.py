"""Records: what a session is stored as, and that nothing else is taken for one."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsessions import record

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
DATA = st.one_of(st.none(), st.dictionaries(TEXT, SCALARS, min_size=1))
RECORDS = st.builds(record.new_record, TEXT, TEXT, st.integers(10, 10**9), st.booleans(), DATA)


def same(one: object, other: object) -> bool:
    """Equal, and of the same types all through; -0.0 is not 0.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return type(one) is type(other) and one == other


@given(RECORDS)
def test_a_record_comes_back_as_it_was(stored: record.Record) -> None:
    read = record.decode(record.encode(stored))
    assert all(same(one, other) for one, other in zip(read, stored, strict=True))


@given(RECORDS)
def test_a_record_is_one_line_of_json(stored: record.Record) -> None:
    """Replies are cut at line ends, and anybody can read what is stored."""
    value = record.encode(stored)
    assert b"\n" not in value
    assert b"\r" not in value
    assert json.loads(value)[:3] == list(stored[:3])


def test_the_layout_is_the_documented_one() -> None:
    """Sessions that stand on a server have to be read by the next version."""
    stored = record.new_record("user1234", "192.0.2.1", 3600, True, {"a": 1, "b": "x"})
    assert record.encode(stored) == b'[1,"user1234","192.0.2.1",3600,1,1,{"a":1,"b":"x"}]'
    assert record.encode(record.new_record("u", "ip", 10, False, None)) == b'[1,"u","ip",10,0,1,null]'
    assert record.__doc__ is not None
    assert "[schema, id, ip, ttl, no_resave, w, d]" in record.__doc__


@given(st.lists(RECORDS, max_size=5))
def test_many_are_decoded_as_each_of_them_would_be(stored: list[record.Record]) -> None:
    values = [record.encode(one) for one in stored]
    assert record.decode_many(values) == [record.decode(value) for value in values]


GOOD = b'[1,"u","ip",10,0,1,null]'
BAD = [
    b"",
    b" ",
    b"hello",
    b"1",
    b"null",
    b"true",
    b'"1234567"',
    b"[]",
    b"{}",
    b'{"1":1}',
    b'{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7}',
    b'[2,"u","ip",10,0,1,null]',
    b'["1","u","ip",10,0,1,null]',
    b'[1,5,"ip",10,0,1,null]',
    b'[1,"u",null,10,0,1,null]',
    b'[1,"u","ip","10",0,1,null]',
    b'[1,"u","ip",10.5,0,1,null]',
    b'[1,"u","ip",true,0,1,null]',
    b'[1,"u","ip",10,false,1,null]',
    b'[1,"u","ip",10,0,[1],null]',
    b'[1,"u","ip",10,0,1e30,null]',
    b'[1,"u","ip",10,0,1,[]]',
    b'[1,"u","ip",10,0,1,"d"]',
    b'[1,"u","ip",10,0,1,false]',
    b'[1,"u","ip",10,0,1]',
    b'[1,"u","ip",10,0,1,null,null]',
    b'[1,"u","ip",10,0,1,null',
    b'[1,"u","ip",10,0,1,null]]',
    b'[1,"\xff","ip",10,0,1,null]',
    b'[1,"u","ip",10,0,1,NaN]',
    GOOD + b"," + GOOD,
    GOOD + GOOD,
    GOOD[:-1],
    b"[[1,2,3,4,5,6,7]]",
]


@pytest.mark.parametrize("value", BAD)
def test_what_is_no_record_is_refused(value: bytes) -> None:
    """Alone, and among others, by an error that shows nothing of it."""
    with pytest.raises(ValueError, match="is not a session") as caught:
        record.decode(value)
    assert caught.value.__cause__ is None
    for values in ([value], [GOOD, value], [value, GOOD], [GOOD, value, GOOD]):
        with pytest.raises(ValueError, match="is not a session"):
            record.decode_many(values)


def test_two_halves_of_a_record_are_not_one() -> None:
    """Values are put together to be parsed, and must not add up to something."""
    for values in ([b'[1,"u"', b'"ip",10,0,1,null]'], [GOOD[1:], b"[" + GOOD], [b"", GOOD], [GOOD, b""]):
        with pytest.raises(ValueError, match="is not a session"):
            record.decode_many(values)


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        (None, {"a": 1}, {"a": 1}),
        (None, {"a": None}, None),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": "x"}, {"a": "x"}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": 1}, {"a": None}, None),
        ({"a": 1}, {"b": None}, {"a": 1}),
        ({"a": 1}, {"a": None, "b": False}, {"b": False}),
    ],
)
def test_a_write_merges_and_none_removes(
    before: dict[str, Any] | None, changes: dict[str, Any], after: dict[str, Any] | None
) -> None:
    """The record that was there is not changed, as others may hold it."""
    old = record.new_record("u", "ip", 10, False, before)
    copy = None if before is None else dict(before)
    new = record.written(old, changes)
    assert new == (1, "u", "ip", 10, 0, 2, after)
    assert old[-1] == copy


@pytest.mark.parametrize("no_resave", [False, True])
def test_a_session_is_shown_with_its_keys_in_order(no_resave: bool) -> None:
    stored = record.new_record("u", "ip", 100, no_resave, {"a": 1})
    shown = record.shown(stored, b"5", 7, 42 if no_resave else None)
    expected: dict[str, Any] = {"id": "u", "r": 5, "w": 1, "idle": 7, "ttl": 100, "ip": "ip", "d": {"a": 1}}
    if no_resave:
        expected.update(ttl=42, no_resave=True)
    assert list(shown.items()) == list(expected.items())
