"""What a request has changed: all of it, and nothing that it has not."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import orjson
import pytest
from hypothesis import given

from memsessions.changes import KEEP, REMOVED, applied, differences

from .support.json_values import documents


@given(documents, documents)
def test_differences_turn_one_into_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    turned = applied(before, differences(before, after))
    assert orjson.dumps(turned, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        after, option=orjson.OPT_SORT_KEYS
    )


@given(documents)
def test_there_are_none_between_a_document_and_its_copy(data: dict[str, Any]) -> None:
    assert differences(data, orjson.loads(orjson.dumps(data))) == {}


@given(documents, documents, documents)
def test_changes_of_different_keys_are_merged_in_any_order(
    before: dict[str, Any], one: dict[str, Any], two: dict[str, Any]
) -> None:
    first, second = differences(before, one), differences(before, two)
    second = {key: value for key, value in second.items() if key not in first}
    assert applied(applied(before, first), second) == applied(applied(before, second), first)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (1, True),
        (0, False),
        (1, 1.0),
        (0.0, -0.0),
        (None, False),
        ([], {}),
        ("1", 1),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 1.0}),
        ({"a": [True]}, {"a": [1]}),
        ("é", "e\u0301"),
    ],
)
def test_what_json_tells_apart_is_a_difference(old: object, new: object) -> None:
    assert differences({"k": old}, {"k": new}) == {"k": new}
    assert type(differences({"k": old}, {"k": new})["k"]) is type(new)


class Text(str):
    """As templates mark what is safe, say."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("old", "new"),
    [([1, [2]], (1, (2,))), ({"a": 1}, OrderedDict(a=1)), ("text", Text("text")), ({"a": []}, {"a": ()})],
)
def test_what_is_stored_in_the_same_way_is_no_difference(old: object, new: object) -> None:
    """Or a value would be written again and again by who keeps it as it was put in."""
    assert differences({"k": old}, {"k": new}) == {}


def test_a_key_that_is_gone_is_removed_and_none_is_a_value() -> None:
    assert differences({"a": 1, "b": 2}, {"b": None}) == {"a": REMOVED, "b": None}
    assert applied({"a": 1, "b": 2}, {"a": REMOVED, "b": None, "c": REMOVED}) == {"b": None}


def test_nothing_that_was_given_is_changed() -> None:
    before = {"a": 1}
    assert applied(before, {"a": REMOVED}) == {}
    assert before == {"a": 1}


def test_the_markers_say_what_they_are() -> None:
    assert (repr(REMOVED), repr(KEEP)) == ("REMOVED", "KEEP")
