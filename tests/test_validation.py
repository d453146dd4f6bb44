"""Arguments: what is let through, what is refused, by which error and in which words."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsessions import (
    InvalidFormat,
    InvalidValue,
    MemsessionsError,
    MissingParameter,
    SessionsClient,
    SessionTooLarge,
    ValidationError,
    validation,
)
from memsessions.tokens import ALPHABET, TTL_MAX_S

from .support.naming import named

ITEM = 1024 * 1024


class Mode(enum.Enum):
    DARK = "dark"


class Color(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Number(int):
    __slots__ = ()

    def __int__(self) -> int:
        return -1


class Real(float):
    __slots__ = ()

    def __float__(self) -> float:
        return -1.0


def checked(d: object) -> dict[str, Any]:
    return validation.checked_data(d, ITEM)


# ------------------------------------------------------------------------------- names, ids, addresses


GOOD: list[tuple[Callable[[object], None], object]] = [
    *((validation.check_app, app) for app in ("abc", "A-z_9", "x" * 20, "---", "___", "123", Color.RED)),
    *((validation.check_token, token) for token in ("a" * 64, "0" * 64, (ALPHABET * 2)[:64])),
    *(
        (validation.check_id, user)
        for user in ("x", "x" * 128, "a@b.org", "사용자", "a:b c\nd\te\r\n", "\0", "🍓" * 128, " ", Text("x"))
    ),
    *((validation.check_ip, ip) for ip in ("1", "x" * 39, "2001:db8::1", "주" * 39, "\n")),
    *((validation.check_ttl, ttl) for ttl in (10, 11, 7200, TTL_MAX_S, Number(10))),
]


@pytest.mark.parametrize(
    ("check", "value"), GOOD, ids=lambda value: ascii(getattr(value, "__name__", value))[:40]
)
def test_what_is_right_is_let_through(check: Callable[[object], None], value: object) -> None:
    check(value)


MISSING: list[tuple[Callable[[object], Any], str]] = [
    (validation.check_app, "app"),
    (validation.check_token, "token"),
    (validation.check_id, "id"),
    (validation.check_ip, "ip"),
]


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize(("check", "name"), MISSING)
def test_what_is_needed_and_not_given_is_missing(
    check: Callable[[object], Any], name: str, value: object
) -> None:
    with pytest.raises(MissingParameter) as caught:
        check(value)
    assert str(caught.value) == f"No {name} supplied"
    assert caught.value.name == "missingParameter"


def test_data_that_is_not_given_is_missing() -> None:
    with pytest.raises(MissingParameter, match=r"^No d supplied$"):
        checked(None)


WRONG_FORMAT: list[tuple[Callable[[object], None], str, list[object]]] = [
    (
        validation.check_app,
        "app",
        [
            "ab",
            "x" * 21,
            "a b",
            "abc\n",
            "\nabc",
            "a:b",
            "app.",
            "äöü",
            "abc\0",
            123,
            b"abc",
            ["abc"],
            True,
            0,
        ],
    ),
    (
        validation.check_token,
        "token",
        [
            "a" * 63,
            "a" * 65,
            "a" * 64 + "\n",
            "-" * 64,
            "é" * 64,
            "a" * 63 + " ",
            b"a" * 64,
            1,
            {},
            "\uff11" * 64,
        ],
    ),
    (validation.check_id, "id", ["x" * 129, "\ud800", "ok\udfff", 1, b"x", [], 0, False, object()]),
    (validation.check_ip, "ip", ["x" * 40, "\ud800", 127, b"1", ("1",), False]),
]


@pytest.mark.parametrize(
    ("check", "name", "value"),
    [(check, name, value) for check, name, values in WRONG_FORMAT for value in values],
    ids=lambda value: named(value)[:30] if not callable(value) else "",
)
def test_what_has_another_form_is_an_invalid_format(
    check: Callable[[object], None], name: str, value: object
) -> None:
    with pytest.raises(InvalidFormat) as caught:
        check(value)
    assert str(caught.value) == f"Invalid {name} format"
    assert caught.value.name == "invalidFormat"


@pytest.mark.parametrize(
    "value", [9, 0, -10, True, False, 10.0, 60.5, "60", None, b"60", math.nan, [], Decimal(60)]
)
@pytest.mark.parametrize("name", ["ttl", "dt"])
def test_seconds_are_an_integer_of_10_at_least(name: str, value: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        validation.check_seconds(name, value)
    assert str(caught.value) == f"{name} must be a positive integer >= 10"
    assert caught.value.name == "invalidValue"


@pytest.mark.parametrize("ttl", [TTL_MAX_S + 1, 2**31, 2**64, 10**30])
def test_a_ttl_beyond_10_years_is_refused(ttl: int) -> None:
    assert TTL_MAX_S >= 10 * 365 * 24 * 3600
    with pytest.raises(InvalidValue, match=r"^ttl must be at most"):
        validation.check_ttl(ttl)


@pytest.mark.parametrize("dt", [TTL_MAX_S + 1, 10**30])
def test_a_dt_has_no_upper_limit(client: SessionsClient, dt: int) -> None:
    client.create("forum", "user", "192.0.2.1")
    assert len(client.soapp("forum", dt)) == 1
    assert client.activity("forum", dt) == {"activity": 1}


@pytest.mark.parametrize("value", [None, 0, 1, "yes", "true", []])
def test_a_flag_is_true_or_false_and_nothing_like_it(value: object) -> None:
    validation.check_flag("no_resave", True)
    validation.check_flag("no_resave", False)
    with pytest.raises(InvalidValue, match=r"^no_resave must be True or False$"):
        validation.check_flag("no_resave", value)


# ------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize(
    "d", [[], [("a", 1)], "abc", b"abc", 5, 0, True, {"a"}, object(), (), iter(()), ""], ids=named
)
def test_data_is_a_mapping(d: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        checked(d)
    assert str(caught.value) == "d must be an object"


@pytest.mark.parametrize("d", [{}, MappingProxyType({})])
def test_data_has_a_key(d: Mapping[str, object]) -> None:
    """In the very words of redis-sessions, misspelling and all."""
    with pytest.raises(InvalidValue) as caught:
        checked(d)
    assert str(caught.value) == "d must containt at least one key."


@pytest.mark.parametrize(
    "value",
    [[], [1], {}, {"a": 1}, (), set(), b"bytes", object(), 1j, Decimal(1), Mode.DARK, len, type],
    ids=named,
)
def test_a_value_of_another_type_is_forbidden(value: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        checked({"ok": 1, "arr": value})
    expected = "d.arr has a forbidden type. Only strings, numbers, boolean and null are allowed."
    assert str(caught.value) == expected
    assert caught.value.name == "invalidValue"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "infinite or not a number"),
        (math.inf, "infinite or not a number"),
        (-math.inf, "infinite or not a number"),
        (Real("nan"), "infinite or not a number"),
        (2**64, "more than 64 bits"),
        (-(2**63) - 1, "more than 64 bits"),
        (10**400, "more than 64 bits"),
        ("\ud800", "not valid Unicode"),
        ("ok\udfffok", "not valid Unicode"),
    ],
    ids=named,
)
def test_a_value_that_json_cannot_hold_is_refused_by_the_name_of_its_key(value: object, words: str) -> None:
    with pytest.raises(InvalidValue, match=rf"^d\.key .*{words}") as caught:
        checked({"ok": 1, "key": value})
    str(caught.value).encode()  # so that the message can be logged


@pytest.mark.parametrize("key", [1, None, True, b"a", 1.5, ("a",)], ids=named)
def test_a_key_is_a_string(key: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        checked({"ok": 1, key: 1})
    assert str(caught.value) == f"d has a key of type {type(key).__name__}. Only strings are allowed."


def test_a_key_is_valid_unicode() -> None:
    """And is named in a way that can be logged."""
    with pytest.raises(InvalidValue, match=r"'a\\ud800b'") as caught:
        checked({"ok": 1, "a\ud800b": 1})
    str(caught.value).encode()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "\0",
        "사",
        "🍓",
        "a\nb",
        0,
        -1,
        2**64 - 1,
        -(2**63),
        0.0,
        -0.0,
        1e308,
        5e-324,
        True,
        False,
        None,
    ],
    ids=named,
)
def test_every_scalar_is_let_through_as_it_is(value: object) -> None:
    data = checked({"key": value})
    assert repr(data) == repr({"key": value})
    if value is not None:
        assert orjson.loads(orjson.dumps(data)) == data


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (Text("text"), "text"),
        (Number(7), 7),
        (Real(1.5), 1.5),
    ],
    ids=named,
)
def test_subclasses_become_plain_values(value: object, plain: object) -> None:
    """By what they are, and not by what they would say: the store and the reader know plain types only."""
    data = checked({Text("key"): value})
    assert data == {"key": plain}
    assert type(data["key"]) is type(plain)
    assert type(next(iter(data))) is str


def test_enums_and_subclasses_come_back_from_a_store_as_plain_values(client: SessionsClient) -> None:
    d: dict[str, Any] = {"color": Color.RED, "level": Level.HIGH, Text("text"): Text("x"), "n": Number(7)}
    token = client.create("forum", Color.RED, Text("192.0.2.1"), ttl=Number(60), d=d)["token"]
    session = client.set("forum", token, {"again": Color.RED})
    assert session is not None
    assert session["d"] == {"color": "red", "level": 3, "text": "x", "n": 7, "again": "red"}
    assert {type(value) for value in session["d"].values()} == {str, int}
    listed = [*client.soid("forum", "red"), *client.soapp("forum")]
    assert [(one["id"], one["ip"], one["ttl"]) for one in listed] == [("red", "192.0.2.1", 60)] * 2


def test_what_is_checked_is_a_copy() -> None:
    """Whoever changes the mapping later changes nothing of what is stored."""
    d = {"a": 1}
    data = checked(d)
    d["a"] = 2
    assert data == {"a": 1}


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=5),
            st.binary(),
            st.lists(st.none()),
        ),
        max_size=4,
    )
)
def test_what_is_let_through_can_be_stored_and_everything_else_is_a_validation_error(
    d: dict[str, Any],
) -> None:
    """There is no third way, whatever the mapping holds."""
    try:
        data = checked(d)
    except ValidationError as error:
        str(error).encode()
        return
    assert orjson.loads(orjson.dumps(data)) == d


# -------------------------------------------------------------------------------------------- size


def test_data_that_is_too_large_is_refused_by_the_name_of_the_largest_key() -> None:
    """The message tells both sizes, and shows nothing of the data."""
    with pytest.raises(SessionTooLarge) as caught:
        validation.checked_data({"small": "y", "large": "x" * 5000, "other": "z" * 100}, 4096)
    assert str(caught.value) == (
        "d is too large: 5135 bytes of JSON, and at most 2248 fit; d.large alone takes 5007."
    )
    assert caught.value.name == "invalidValue"


def test_the_size_is_that_of_the_bytes_and_not_of_the_characters() -> None:
    text = "사" * 1000
    validation.checked_data({"k": "x" * 2000}, 4096)
    with pytest.raises(SessionTooLarge):
        validation.checked_data({"k": text}, 4096)


def test_a_key_of_any_length_is_named_shortly() -> None:
    with pytest.raises(SessionTooLarge) as caught:
        validation.checked_data({"k" * 5000: 1}, 4096)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("item_bytes", [4096, 16_384, ITEM])
def test_exactly_what_fits_is_let_through(item_bytes: int) -> None:
    limit = item_bytes - validation.ITEM_OVERHEAD_BYTES - 8 * (128 + 39)
    fits = {"k": "x" * (limit - len('{"k":""}'))}
    validation.check_size(fits, item_bytes)
    with pytest.raises(SessionTooLarge):
        validation.check_size({"k": fits["k"] + "x"}, item_bytes)


# ------------------------------------------------------------------------------------------ the family


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (MissingParameter, "missingParameter"),
        (InvalidFormat, "invalidFormat"),
        (InvalidValue, "invalidValue"),
        (SessionTooLarge, "invalidValue"),
        (ValidationError, "invalidValue"),
    ],
)
def test_every_refusal_is_of_one_family_and_a_value_error(kind: type[ValidationError], name: str) -> None:
    assert issubclass(kind, (ValidationError, MemsessionsError))
    assert issubclass(kind, ValueError)
    assert kind("words").name == name
