"""What SESSION_SERIALIZER makes of a session is stored by keys, whatever it is."""

from __future__ import annotations

import base64
import json
import math
import pickle
from collections.abc import Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.serializers import JSONSerializer
from django.core.serializers.json import DjangoJSONEncoder
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from memsessions.django import SessionStore, client
from memsessions.django.coding import Coding

from ..conftest import OnMemcached
from .django_project import sessions_on


class Pickles:
    """As Django's PickleSerializer was."""

    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)


class Dates:
    """JSON with dates, which it writes in another way than it was given them."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj, cls=DjangoJSONEncoder, indent=1).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data, object_hook=self._hook)

    def _hook(self, values: dict[str, Any]) -> dict[str, Any]:
        def parse(value: Any) -> Any:
            try:
                return datetime.fromisoformat(value)
            except (TypeError, ValueError):
                return value

        return {key: parse(value) for key, value in values.items()}


class Wrapped:
    """JSON objects with other keys than the session's."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps({"version": 1, "session": obj}).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)["session"]


class Base64:
    """No JSON, though it looks harmless."""

    def dumps(self, obj: Any) -> bytes:
        return base64.b64encode(json.dumps(obj).encode())

    def loads(self, data: bytes) -> Any:
        return json.loads(base64.b64decode(data))


class Person:
    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Person) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


SERIALIZERS: list[Any] = [JSONSerializer, Pickles, Dates, Wrapped, Base64]


@pytest.fixture(autouse=True)
def _sessions(on_memcached: OnMemcached) -> Iterator[None]:
    with sessions_on(on_memcached):
        yield


@pytest.fixture(params=SERIALIZERS, ids=lambda serializer: serializer.__name__)
def serializer(request: pytest.FixtureRequest) -> Iterator[Any]:
    with with_serializer(request.param):
        yield request.param


def with_serializer(serializer: Any) -> Any:
    return override_settings(SESSION_SERIALIZER=f"{serializer.__module__}.{serializer.__qualname__}")


def stored(values: dict[Any, Any]) -> SessionStore:
    session = SessionStore()
    session.update(values)
    session.save()
    return session


def data(session: SessionStore) -> dict[Any, Any]:
    return dict(SessionStore(session.session_key).items())


def raw(session: SessionStore) -> dict[str, Any]:
    """What is stored."""
    found = client().get("django", str(session.session_key))
    assert found is not None
    return dict(found["d"] or {})


# What JSON of any reader can hold, and what Python's can.
HARMLESS = {"text": "ä\u2028\u0000", "list": [1, 2.5, None, True, {"a": {}}], "1": -(2**63)}
AWKWARD = {
    "~": 1,
    "~json": "x",
    "~~": [],
    "~!": 0,
    "a": {"~json": "1"},
    "b": {"~bytes": ""},
    "large": 2**70,
    "small": -(2**63) - 1,
    "infinite": math.inf,
    "half": "\ud800",
    "\udc00~": {"\ud800": 1},
    "": "empty",
    "deep": json.loads("[" * 300 + "]" * 300),
}


def test_data_comes_back_as_it_was(serializer: Any) -> None:
    del serializer
    for values in (HARMLESS, AWKWARD):
        assert data(stored(dict(values))) == values


def test_not_a_number_comes_back(serializer: Any) -> None:
    del serializer
    assert math.isnan(data(stored({"nan": math.nan}))["nan"])


def test_keys_merge(serializer: Any) -> None:
    del serializer
    first = stored({"cart": ["apple"], "~": 1, "gone": 2**70})
    second = SessionStore(first.session_key)
    second["language"] = "de"
    del second["gone"]
    first["cart"].append("pear")
    first["~"] = 2
    second.save()
    first.save()
    assert data(first) == {"cart": ["apple", "pear"], "~": 2, "language": "de"}


def test_what_a_request_has_not_changed_it_does_not_overwrite(serializer: Any) -> None:
    """However differently a serializer writes again what it has read."""
    shared = ["".join(["sha", "red"])] * 2
    first = stored({"list": [shared, shared, "shared"], "when": "2026-11-21T10:00:00+00:00", "key": 1})
    with with_serializer(serializer):
        first, second = (SessionStore(first.session_key) for _ in range(2))
        assert first["list"] == second["list"]
        second["list"] = ["changed"]
        second["when"] = "never"
        second.save()
        first["key"] = 2
        first.save()
    assert data(first) == {"list": ["changed"], "when": "never", "key": 2}


def test_json_is_stored_as_json() -> None:
    for serializer in (JSONSerializer, Dates):
        with with_serializer(serializer):
            assert raw(stored({**HARMLESS, 1: "a"})) == {**HARMLESS, "1": "a"}


def test_a_serializer_of_other_types_gives_them_back() -> None:
    with with_serializer(Dates):
        moment = datetime(2026, 11, 21, 10, tzinfo=timezone.utc)
        assert data(stored({"when": moment, "price": Decimal("1.50")})) == {"when": moment, "price": "1.50"}
    with with_serializer(Pickles):
        values = {"who": Person("x"), 1: (2, {3}), (4, None): b"5", "day": date(2026, 11, 21), "~!": 1}
        session = stored(values)
        assert data(session) == values
        again: Any = SessionStore(session.session_key)
        del again[(4, None)]
        again[1] = "changed"
        again.save()
        assert data(session) == {key: again[key] for key in ("who", 1, "day", "~!")}


def test_what_a_serializer_cannot_write_is_an_error_and_changes_nothing() -> None:
    session = stored({"key": 1})
    session["who"] = Person("x")
    with pytest.raises(TypeError):
        session.save()
    assert data(session) == {"key": 1}


def test_sessions_of_json_survive_a_change_to_pickles_and_not_the_other_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As for Django's own engines, a session that cannot be read is empty."""
    session = stored({SESSION_KEY: "user1234", "key": 1})
    with with_serializer(Pickles):
        assert data(session)["key"] == 1
        session = SessionStore(session.session_key)
        session["who"] = Person("rosebud")
        session.save()
        assert data(session)["who"] == Person("rosebud")
    found = SessionStore(session.session_key)
    assert dict(found.items()) == {}
    assert "cannot be read by SESSION_SERIALIZER: ValueError" in caplog.text
    assert "rosebud" not in caplog.text
    found["new"] = 1
    found.save()
    assert data(found) == {"new": 1}
    assert client().soid("django", "user1234") == []


def test_where_a_serializer_fails_the_session_is_empty_and_is_written_anew() -> None:
    session = stored({"key": 1})
    with with_serializer(Fails):
        assert data(session) == {}
        session = SessionStore(session.session_key)
        session["new"] = 1
        session.save()
    assert data(session) == {"new": 1}


class Fails(Dates):
    def loads(self, data: bytes) -> Any:
        raise RuntimeError(data)


TEXT = st.text(st.sampled_from('ab~!"\\ä\u0000\u2028\ud800'), max_size=5) | st.sampled_from(
    ["~json", "~bytes"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=2),
    max_leaves=10,
)


@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_any_json_of_python_comes_back_by_any_serializer(values: dict[str, Any]) -> None:
    for serializer in (JSONSerializer, Pickles, Base64):
        coding = Coding(serializer)
        encoded = coding.encode(values)
        assert coding.decode(json.loads(json.dumps(encoded))) == values
        assert coding.changes(encoded, coding.encode(values)) == {}
