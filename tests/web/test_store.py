"""SessionStore: get, put and delete by an id, as plugs have it, and nothing that others wrote is undone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.fernet import Fernet

from memsessions import (
    ConfigurationError,
    InvalidFormat,
    InvalidValue,
    MissingParameter,
    SessionEnded,
    SessionsClient,
    SessionTooLarge,
    StoreUnavailable,
    ValidationError,
)
from memsessions.tokens import LENGTH
from memsessions.web import SessionStorage, SessionStore

from ..conftest import MakeClient, OnMemcached, Where
from ..support.proxy import Proxy
from ..support.sessions import UNKNOWN, contents

APP = "shop"
DATA: dict[str, Any] = {"cart": [{"apples": 1}], "é": None}


@pytest.fixture
def store(client: SessionsClient) -> SessionStore:
    return SessionStore(client, APP)


def data_of(store: SessionStore, sid: str) -> dict[str, Any] | None:
    found, data = store.get(sid)
    return None if found is None else dict(data)


def test_without_an_id_a_session_is_made_and_only_its_id_goes_out(store: SessionStore) -> None:
    sid = store.put(None, DATA)
    assert len(sid) == LENGTH
    assert store.get(sid) == (sid, DATA)
    assert store.put(None, DATA) != sid


@pytest.mark.parametrize("sid", [None, "", "made up", UNKNOWN, "é" * 64])
def test_what_is_not_there_is_no_session(store: SessionStore, sid: str | None) -> None:
    assert store.get(sid) == (None, {})
    assert store.delete(sid) is False


def test_what_was_got_can_be_changed_and_put(store: SessionStore) -> None:
    sid = store.put(None, DATA)
    _, data = store.get(sid)
    data["cart"][0]["apples"] = 2
    del data["é"]
    data["new"] = True
    assert store.put(sid, data) == sid
    assert data_of(store, sid) == {"cart": [{"apples": 2}], "new": True}


def test_requests_side_by_side_keep_each_others_keys(store: SessionStore) -> None:
    sid = store.put(None, {"gone": 1})
    _, one = store.get(sid)
    _, two = store.get(sid)
    del two["gone"]
    two["two"] = 2
    store.put(sid, two)
    one["one"] = 1
    store.put(sid, one)
    assert data_of(store, sid) == {"one": 1, "two": 2}


def test_a_second_put_of_the_same_dict_undoes_nothing_either(store: SessionStore) -> None:
    sid = store.put(None, {})
    _, one = store.get(sid)
    _, two = store.get(sid)
    store.put(sid, two | {})  # any other dict takes the place of all
    two["two"] = 2
    store.put(sid, two)
    for number in range(3):
        one[str(number)] = number
        store.put(sid, one)
    assert data_of(store, sid) == {"two": 2, "0": 0, "1": 1, "2": 2}
    one.clear()
    store.put(sid, one)
    assert data_of(store, sid) == {"two": 2}


def test_any_other_mapping_takes_the_place_of_all_that_is_stored(store: SessionStore) -> None:
    sid = store.put(None, {"a": 1, "b": 1})
    assert store.put(sid, {"b": 1, "c": 1}) == sid
    assert data_of(store, sid) == {"b": 1, "c": 1}
    other = store.put(None, {"x": 1})
    _, got = store.get(other)
    store.put(sid, got)  # that of another session
    assert data_of(store, sid) == {"x": 1}


def test_many_requests_at_once_lose_nothing(store: SessionStore) -> None:
    sid = store.put(None, {})

    def visit(number: int) -> str:
        _, data = store.get(sid)
        data[str(number)] = number
        return store.put(sid, data)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(visit, range(30))) == {sid}
    assert data_of(store, sid) == {str(number): number for number in range(30)}


def test_what_has_ended_is_not_brought_back(store: SessionStore) -> None:
    sid = store.put(None, DATA)
    _, data = store.get(sid)
    assert store.delete(sid) is True
    assert store.delete(sid) is False
    data["new"] = 1
    for lost in (data, data, {"new": 1}):
        with pytest.raises(SessionEnded, match="no session of this id"):
            store.put(sid, lost)
    with pytest.raises(SessionEnded):
        store.put(UNKNOWN, DATA)
    assert store.get(sid) == (None, {})


def test_an_access_renews_the_session(where: Where, client: SessionsClient) -> None:
    store = SessionStore(client, APP, ttl=600)
    sid = store.put(None, DATA)
    for _ in range(3):
        where.advance(590)
        assert store.get(sid)[0] == sid
    where.advance(602)
    assert store.get(sid) == (None, {})


@pytest.mark.parametrize(
    ("sid", "data", "error"),
    [
        (None, {"a": b"bytes"}, InvalidValue),
        (None, {"~": 1}, InvalidValue),
        (None, {"a": "x" * 2_000_000}, SessionTooLarge),
        ("made up", {}, InvalidFormat),
        ("", {}, MissingParameter),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_stored(
    where: Where, store: SessionStore, sid: str | None, data: dict[str, Any], error: type[ValidationError]
) -> None:
    with pytest.raises(error):
        store.put(sid, data)
    assert contents(where) == {}


def test_a_put_that_is_refused_changes_nothing_and_can_be_mended(store: SessionStore) -> None:
    sid = store.put(None, {"a": 1})
    _, data = store.get(sid)
    data["b"] = b"bytes"
    with pytest.raises(InvalidValue):
        store.put(sid, data)
    assert data_of(store, sid) == {"a": 1}
    data["b"] = 2
    store.put(sid, data)
    assert data_of(store, sid) == {"a": 1, "b": 2}


def test_an_outage_is_no_empty_session(make_client: MakeClient) -> None:
    store = SessionStore(make_client("127.0.0.1:1"), APP)
    for call in (
        lambda: store.get(UNKNOWN),
        lambda: store.put(None, DATA),
        lambda: store.put(UNKNOWN, DATA),
        lambda: store.delete(UNKNOWN),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    assert store.get("made up") == (None, {})


def test_it_is_listed_as_all_sessions_are(store: SessionStore, client: SessionsClient) -> None:
    sid = store.put(None, DATA)
    assert client.activity(APP) == {"activity": 1}
    assert [session["d"] for session in client.soapp(APP)] == [DATA]
    assert dict(SessionStorage(client, APP).read(sid)) == DATA
    client.killall(APP)
    assert store.get(sid) == (None, {})


def test_its_data_can_be_encrypted(where: Where, client: SessionsClient) -> None:
    store = SessionStore(client, APP, encryption_key=Fernet.generate_key())
    sid = store.put(None, {"rosebud": "sledge"})
    assert data_of(store, sid) == {"rosebud": "sledge"}
    assert not any(b"sledge" in value for value in contents(where).values())
    with pytest.raises(ConfigurationError):
        SessionStore(client, APP, encryption_key="rosebud")


def test_each_call_takes_as_many_round_trips_as_it_says(
    proxy: Proxy, on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    store = SessionStore(make_client(proxy.address, ns=on_memcached.ns, timeout=5), APP)
    store.put(None, {})  # connects, and makes the app known

    def trips(call: Any) -> tuple[int, Any]:
        before = proxy.round_trips
        answer = call()
        return proxy.round_trips - before, answer

    made, sid = trips(lambda: store.put(None, {"a": 1}))
    got, (_, data) = trips(lambda: store.get(sid))
    unchanged, _ = trips(lambda: store.put(sid, data))
    data["b"] = 2
    put, _ = trips(lambda: store.put(sid, data))
    other, _ = trips(lambda: store.put(sid, {"c": 3}))
    malformed, _ = trips(lambda: store.get("made up"))
    deleted, _ = trips(lambda: store.delete(sid))
    assert [made, got, unchanged, put, other, malformed, deleted] == [1, 1, 0, 1, 2, 0, 1]
