"""JSON of any depth: what is taken comes back as it was, and what is refused is named by its place."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import enum
import uuid
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given

from memsessions import InvalidValue
from memsessions.plain import plain

from .support.json_values import documents


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


@dataclasses.dataclass
class Point:
    x: int = 1


@given(documents)
def test_json_is_taken_as_it_is(data: dict[str, Any]) -> None:
    assert orjson.dumps(plain(data)) == orjson.dumps(data)


def test_it_is_a_copy_down_to_the_leaves() -> None:
    data = {"cart": [{"apples": 1}]}
    copy = plain(data)
    data["cart"][0]["apples"] = 2
    data["cart"].append({})
    assert copy == {"cart": [{"apples": 1}]}


def test_tuples_become_lists_and_texts_plain_ones() -> None:
    copy = plain({"a": (1, (2, 3)), "b": Text("x")})
    assert copy == {"a": [1, [2, 3]], "b": "x"}
    assert type(copy["b"]) is str


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "is infinite or not a number"),
        (float("inf"), "is infinite or not a number"),
        (2**64, "is an integer of more than 64 bits"),
        (-(2**63) - 1, "is an integer of more than 64 bits"),
        ("\ud800", "is not valid Unicode"),
        (b"bytes", "is of type bytes"),
        ({1, 2}, "is of type set"),
        (object(), "is of type object"),
        (datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), "is of type datetime"),
        (datetime.date(2026, 1, 1), "is of type date"),
        (datetime.time(1), "is of type time"),
        (uuid.UUID(int=1), "is of type UUID"),
        (decimal.Decimal(1), "is of type Decimal"),
        (Colour.RED, "is of type Colour"),
        (Point(), "is of type Point"),
        ({1: "a"}, "has a key of type int; JSON has strings only"),
        ({None: "a"}, "has a key of type NoneType"),
        ({uuid.UUID(int=1): "a"}, "has a key of type UUID"),
        ({"\udcff": 1}, "is not valid Unicode"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value: Any, reason: str) -> None:
    """Some of it orjson would turn into text, which would be something else when it is read."""
    for data, place in (
        ({"cart": value}, "data['cart']"),
        ({"cart": [0, value]}, "data['cart'][1]"),
        ({"cart": {"item": (value,)}}, "data['cart']['item'][0]"),
    ):
        with pytest.raises(InvalidValue) as caught:
            plain(data)
        assert str(caught.value).startswith(f"{place} {reason}") or "\\ud" in ascii(value)
        assert reason in str(caught.value)


def test_a_mapping_that_is_no_dict_is_taken_on_top_and_refused_inside() -> None:
    assert plain(MappingProxyType({"a": 1})) == {"a": 1}
    with pytest.raises(InvalidValue, match="cannot be written as JSON"):
        plain({"a": MappingProxyType({"b": 1})})


def nested(depth: int) -> Any:
    value: Any = 1
    for number in range(depth):
        value = [value] if number % 2 else {"k": value}
    return value


def test_what_is_nested_too_deep_is_refused_and_nothing_breaks() -> None:
    assert plain({"a": nested(190)}) == {"a": nested(190)}
    deepest = 0
    for depth in (*range(190, 260), 300, 900):
        with contextlib.suppress(InvalidValue):
            orjson.dumps([1, plain({"a": nested(depth)})])  # as it stands in a record
            deepest = depth
    assert 200 <= deepest < 300
    with pytest.raises(InvalidValue, match="nested more than 200 deep"):
        plain({"a": nested(deepest + 1)})


def test_data_that_holds_itself_is_refused() -> None:
    data: dict[str, Any] = {}
    data["self"] = data
    with pytest.raises(InvalidValue, match="nested more than 200 deep"):
        plain(data)


def test_a_refusal_shows_no_value_and_cuts_long_keys() -> None:
    with pytest.raises(InvalidValue) as caught:
        plain({"k" * 1000: {"password": b"rosebud"}})
    assert "rosebud" not in str(caught.value)
    assert len(str(caught.value)) < 300
