"""Sessions as documents: JSON of any depth, merged by keys, and never brought back once they have ended."""

from __future__ import annotations

import functools
import logging
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from memsessions import (
    InvalidFormat,
    InvalidValue,
    MissingParameter,
    SessionsClient,
    SessionTooLarge,
    StoreUnavailable,
    ValidationError,
)
from memsessions.changes import REMOVED, applied
from memsessions.document import Document
from memsessions.documents import Documents
from memsessions.handles import handle_of_token
from memsessions.tokens import LENGTH, TAG, Life, new_token, server_tag
from memsessions.web.encryption import Encryption

from .conftest import InMemory, MakeClient, OnMemcached, Where
from .support import json_values
from .support.proxy import Proxy
from .support.sessions import UNKNOWN, Ticks, between_ticks, contents, since

APP = "shop"
USER = "user1234"
IP = "192.0.2.1"
NESTED: dict[str, Any] = {"cart": [{"apples": 1}, None, 2.5], "é": {"👩‍👩‍👧": "\u0000"}, "none": None}

MALFORMED = [None, "", "x", "a" * 63, "a" * 65, "a" * 63 + "-", "é" * 64, 5, b"a" * 64, ["a"] * 64]


@pytest.fixture
def documents(client: SessionsClient) -> Documents:
    return client.documents(APP)


def there(document: Document | None) -> Document:
    assert document is not None
    return document


def data_of(documents: Documents, token: str) -> dict[str, Any] | None:
    document = documents.read(token)
    return None if document is None else document.data


# -------------------------------------------------------------------------------------------- making


def test_a_document_tells_what_it_was_made_of(documents: Documents) -> None:
    made = documents.create(NESTED, id=USER, ip=IP, ttl=3600)
    assert len(made.token) == LENGTH
    assert (made.id, made.ip, made.ttl, made.left) == (USER, IP, 3600, 3600)
    assert (made.r, made.w, made.idle) == (1, 1, 0)
    assert made.data == NESTED


def test_it_is_a_session_like_all_others(documents: Documents, client: SessionsClient) -> None:
    made = documents.create(NESTED, id=USER, ip=IP, ttl=3600)
    [listed] = client.soid(APP, USER)
    assert (listed["id"], listed["ip"], listed["ttl"]) == (USER, IP, 3600)
    assert listed["d"] == NESTED
    assert client.get(APP, made.token) == {**listed, "r": 2, "idle": 0}
    assert client.activity(APP) == {"activity": 1}
    assert client.killsoid(APP, USER) == {"kill": 1}
    assert documents.read(made.token) is None


def test_visitors_who_are_nobody_count_as_one_each(documents: Documents, client: SessionsClient) -> None:
    for _ in range(3):
        made = documents.create({}, ttl=3600)
        assert (made.id, made.ip) == (None, "unknown")
    assert client.activity(APP) == {"activity": 3}
    assert len(client.soapp(APP)) == 3
    assert all(session["id"].startswith("~") for session in client.soapp(APP))


def test_an_address_that_is_too_long_is_cut_off(documents: Documents) -> None:
    assert documents.create({}, ip="i" * 100, ttl=60).ip == "i" * 39


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"id": ""}, MissingParameter),
        ({"id": "~somebody"}, InvalidFormat),
        ({"id": "u" * 129}, InvalidFormat),
        ({"id": 5}, InvalidFormat),
        ({"ttl": 9}, InvalidValue),
        ({"ttl": 10**10}, InvalidValue),
        ({"ttl": 60.0}, InvalidValue),
        ({"data": {"a": b"bytes"}}, InvalidValue),
        ({"data": {"~": 1}}, InvalidValue),
        ({"data": {"a": "x" * 2_000_000}}, SessionTooLarge),
        ({"no_resave": True, "ends_in": 0}, InvalidValue),
        ({"no_resave": True, "ends_in": 61}, InvalidValue),
        ({"no_resave": True, "ends_in": True}, InvalidValue),
        ({"no_resave": True, "ends_in": 5.0}, InvalidValue),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_stored(
    where: Where, documents: Documents, arguments: dict[str, Any], error: type[ValidationError]
) -> None:
    with pytest.raises(error):
        documents.create(**{"data": {}, "ttl": 60, **arguments})
    assert contents(where) == {}


# -------------------------------------------------------------------------------------------- reading


def test_reading_counts_and_renews(where: Where, documents: Documents) -> None:
    ticks = Ticks(where)
    token = documents.create({"a": 1}, ttl=600).token
    for reads in (2, 3, 4):
        where.advance(590)
        read = there(documents.read(token))
        assert (read.r, read.w, read.left, read.data) == (reads, 1, 600, {"a": 1})
        assert read.idle in since(ticks, 590)
    where.advance(602)
    assert documents.read(token) is None


def test_asking_whether_it_exists_neither_counts_nor_renews(where: Where, documents: Documents) -> None:
    token = documents.create({}, ttl=600).token
    where.advance(400)
    assert documents.exists(token)
    where.advance(202)
    assert not documents.exists(token)
    assert not documents.exists(UNKNOWN)


@pytest.mark.parametrize("token", MALFORMED)
def test_what_cannot_be_a_token_is_unknown_without_asking(make_client: MakeClient, token: object) -> None:
    documents = make_client("127.0.0.1:1").documents(APP)
    assert documents.read(token) is None
    assert documents.exists(token) is False
    assert documents.end(token) is False
    with pytest.raises(StoreUnavailable):
        documents.read(UNKNOWN)


def test_what_is_read_is_a_copy(documents: Documents) -> None:
    token = documents.create(NESTED, ttl=60).token
    read = there(documents.read(token))
    read.data["cart"][0]["apples"] = 2
    read.data.clear()
    assert read.data == NESTED


def test_nobody_else_sees_it(documents: Documents, client: SessionsClient) -> None:
    token = documents.create({}, ttl=60).token
    assert client.documents("other").read(token) is None
    assert documents.read(UNKNOWN) is None


def test_its_repr_shows_neither_token_nor_data_nor_user(documents: Documents) -> None:
    made = documents.create({"password": "rosebud"}, id=USER, ttl=60)
    assert repr(made) == "<Document r=1 w=1 idle=0>"


# -------------------------------------------------------------------------------------------- saving


def test_a_save_merges_by_top_level_keys(documents: Documents) -> None:
    token = documents.create({"kept": 1, "changed": {"a": 1, "b": 1}, "gone": 1}, ttl=60).token
    read = there(documents.read(token))
    saved = there(documents.save(read, {"changed": {"a": 2}, "gone": REMOVED, "never": REMOVED, "new": None}))
    expected = {"kept": 1, "changed": {"a": 2}, "new": None}
    assert saved.data == data_of(documents, token) == expected
    assert (saved.token, saved.r, saved.w) == (token, 2, 2)


def test_a_document_can_be_saved_again_and_again(documents: Documents) -> None:
    document = documents.create({}, ttl=60)
    for number in range(5):
        document = there(documents.save(document, {str(number): number}))
    assert document.w == 6
    assert data_of(documents, document.token) == {str(number): number for number in range(5)}


def test_writers_who_read_the_same_keep_each_others_keys(documents: Documents) -> None:
    token = documents.create({"gone": 1}, ttl=60).token
    one, two, three = (there(documents.read(token)) for _ in range(3))
    there(documents.save(two, {"two": 2, "both": 2}))
    there(documents.save(three, {"gone": REMOVED}))
    saved = there(documents.save(one, {"one": 1, "both": 1}))
    assert saved.data == data_of(documents, token) == {"one": 1, "two": 2, "both": 1}


def test_many_writers_at_once_keep_each_others_keys(documents: Documents) -> None:
    token = documents.create({}, ttl=60).token

    def write(number: int) -> Document | None:
        return documents.save(there(documents.read(token)), {f"key{number}": number})

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(write, range(40)))
    read = there(documents.read(token))
    assert read.data == {f"key{number}": number for number in range(40)}
    assert read.w == 41


@pytest.mark.parametrize("how", ["end", "kill", "killsoid", "killall", "expiry", "move", "end_device"])
@pytest.mark.parametrize("fresh", [False, True], ids=["read", "just made"])
def test_what_has_ended_since_it_was_read_is_not_brought_back(
    where: Where, documents: Documents, client: SessionsClient, how: str, fresh: bool
) -> None:
    made = documents.create({"a": 1}, id=USER, ttl=60)
    held = made if fresh else there(documents.read(made.token))
    end: dict[str, Any] = {
        "end": lambda: documents.end(made.token),
        "kill": lambda: client.kill(APP, made.token),
        "killsoid": lambda: client.killsoid(APP, USER),
        "killall": lambda: client.killall(APP),
        "expiry": lambda: where.advance(62),
        "move": lambda: documents.move(there(documents.read(made.token)), {}),
        "end_device": lambda: documents.end_device(USER, handle_of_token(made.token)),
    }
    end[how]()
    left = len(client.soapp(APP))
    assert documents.save(held, {"b": 2}) is None
    assert documents.move(held, {"b": 2}) is None
    assert documents.move(held, {}, id="another") is None
    assert documents.end_unchanged(held) is False
    assert documents.read(made.token) is None
    assert len(client.soapp(APP)) == left == (how == "move")


def test_a_save_that_cannot_be_kept_leaves_what_is_there(documents: Documents) -> None:
    token = documents.create({"a": 1}, ttl=60).token
    held = there(documents.read(token))
    for act in (documents.save, documents.move):
        with pytest.raises(SessionTooLarge):
            act(held, {"large": "x" * 1_050_000})
        with pytest.raises(InvalidValue):
            act(held, {"a": object()})
        with pytest.raises(InvalidValue, match="reserved"):
            act(held, {"~": 1})
        assert data_of(documents, token) == {"a": 1}
    there(documents.save(held, {"b": 2}))


def test_what_fits_together_with_what_is_there_is_decided_by_the_sum(documents: Documents) -> None:
    token = documents.create({"a": "x" * 600_000}, ttl=60).token
    held = there(documents.read(token))
    with pytest.raises(SessionTooLarge):
        documents.save(held, {"b": "x" * 600_000})
    assert there(documents.save(held, {"a": REMOVED, "b": "x" * 600_000})).data == {"b": "x" * 600_000}


def test_a_read_from_the_clients_cache_sees_what_was_saved_moved_and_ended(
    where: Where, make_client: MakeClient
) -> None:
    rs = make_client(where.address, ns=where.ns, cachetime=3600)
    documents = rs.documents(APP)
    token = documents.create({"a": 1}, id=USER, ttl=60).token

    def cached(token: str) -> Any:
        session = rs.get(APP, token)
        return session and session["d"]

    assert cached(token) == {"a": 1}
    there(documents.save(there(documents.read(token)), {"a": 2}))
    assert cached(token) == {"a": 2}
    moved = there(documents.move(there(documents.read(token)), {"a": 3})).token
    assert cached(token) is None
    assert cached(moved) == {"a": 3}
    documents.end_device(USER, handle_of_token(moved))
    assert cached(moved) is None
    token = documents.create({"a": 1}, ttl=60).token
    assert cached(token) == {"a": 1}
    documents.end_unchanged(there(documents.read(token)))
    assert cached(token) is None


_where = InMemory()


@functools.cache
def _shared() -> Documents:
    """Those of the tests below, which make their own sessions many times."""
    return SessionsClient(_where.address, wipe=0).documents(APP)


@given(
    first=json_values.documents,
    changes=st.lists(
        st.tuples(
            st.dictionaries(json_values.keys, st.one_of(st.just(REMOVED), json_values.values), max_size=4),
            st.sampled_from(["latest", "stale", "move"]),
        ),
        max_size=6,
    ),
)
def test_any_changes_over_any_reading_end_in_what_they_say(
    first: dict[str, Any], changes: list[tuple[dict[str, Any], str]]
) -> None:
    """Over the latest document or one that others have changed since, the last change of a key holds."""
    documents = _shared()
    latest = stale = documents.create(first, ttl=60)
    expected = first
    for change, how in changes:
        expected = applied(expected, change)
        if how == "move":
            latest = stale = there(documents.move(stale, change))
        else:
            held = there(documents.read(latest.token)) if how == "latest" else stale
            latest = there(documents.save(held, change))
        assert latest.data == expected
    assert data_of(documents, latest.token) == expected
    documents.end(latest.token)


# ------------------------------------------------------------------------------------- a fixed end


def test_a_fixed_end_comes_however_it_is_used(where: Where, documents: Documents) -> None:
    ticks = Ticks(where)
    token = documents.create({}, ttl=600, no_resave=True).token
    where.advance(400)
    read = there(documents.read(token))
    assert 600 - read.left in since(ticks, 400)
    assert read.idle in since(ticks, 400)
    there(documents.save(read, {"a": 1}))
    where.advance(202)
    assert documents.read(token) is None
    assert not documents.exists(token)


def test_a_fixed_end_can_be_nearer_than_the_ttl_from_the_beginning(
    where: Where, documents: Documents
) -> None:
    made = documents.create({}, ttl=600, no_resave=True, ends_in=100)
    assert made.left == 100
    where.advance(90)
    assert there(documents.read(made.token)).left <= 10
    where.advance(12)
    assert documents.read(made.token) is None


@pytest.mark.parametrize("move", [False, True], ids=["save", "move"])
def test_a_save_and_a_move_can_set_another_end(where: Where, documents: Documents, move: bool) -> None:
    act = documents.move if move else documents.save
    held = documents.create({}, ttl=600, no_resave=True, ends_in=100)
    where.advance(90)
    held = there(act(there(documents.read(held.token)), {}, ends_in=500))
    assert 498 <= held.left <= 500
    where.advance(450)
    held = there(documents.read(held.token))
    assert 48 <= held.left <= 50
    held = there(act(held, {}))  # does not move it
    assert held.left <= 50
    held = there(act(there(documents.read(held.token)), {}, ends_in=1))
    where.advance(3)
    assert documents.read(held.token) is None


@pytest.mark.parametrize("ends_in", [0, -1, 601, True, 5.0, "5"])
def test_an_end_that_is_none_is_refused(documents: Documents, ends_in: Any) -> None:
    """memcached would take 0 for a session that never ends."""
    held = documents.create({}, ttl=600, no_resave=True)
    for act in (documents.save, documents.move):
        with pytest.raises(InvalidValue, match="ends_in must be an integer from 1 to ttl"):
            act(held, {}, ends_in=ends_in)
    assert documents.exists(held.token)


# ------------------------------------------------------------------------------------------- moving


def test_a_moved_session_has_a_new_token_and_all_else(documents: Documents, client: SessionsClient) -> None:
    token = documents.create({"a": 1, "b": 1}, id=USER, ip=IP, ttl=60).token
    held = there(documents.read(token))
    moved = there(documents.move(held, {"b": REMOVED, "c": 3}))
    assert moved.token != token
    assert (moved.id, moved.ip, moved.ttl, moved.r, moved.w) == (USER, IP, 60, 2, 2)
    assert moved.data == data_of(documents, moved.token) == {"a": 1, "c": 3}
    assert documents.read(token) is None
    assert len(client.soid(APP, USER)) == len(client.soapp(APP)) == 1


def test_a_move_can_change_its_user_address_and_life(
    where: Where, documents: Documents, client: SessionsClient
) -> None:
    document = documents.create({"a": 1}, ttl=60)
    document = there(documents.move(document, {}, id=USER, ip=IP, ttl=6000))
    assert (document.id, document.ip, document.ttl) == (USER, IP, 6000)
    assert [session["ip"] for session in client.soid(APP, USER)] == [IP]
    where.advance(5000)
    document = there(documents.read(document.token))
    document = there(documents.move(document, {}, id="another"))
    assert client.soid(APP, USER) == []
    assert len(client.soid(APP, "another")) == 1
    document = there(documents.move(document, {}, id=None))
    assert document.id is None
    assert client.soid(APP, "another") == []
    assert document.data == {"a": 1}
    assert len(client.soapp(APP)) == 1


def test_what_others_wrote_since_it_was_read_moves_along(documents: Documents) -> None:
    token = documents.create({"a": 1}, ttl=60).token
    held = there(documents.read(token))
    there(documents.save(there(documents.read(token)), {"b": 2}))
    assert there(documents.move(held, {"c": 3})).data == {"a": 1, "b": 2, "c": 3}


def test_of_two_who_move_the_same_one_wins(documents: Documents, client: SessionsClient) -> None:
    token = documents.create({"a": 1}, ttl=60).token
    one, two = (there(documents.read(token)) for _ in range(2))
    there(documents.move(one, {}))
    assert documents.move(two, {}) is None
    assert len(client.soapp(APP)) == 1


@pytest.mark.parametrize("id", ["", "~somebody", 5])
def test_nobody_can_be_given_the_id_of_a_visitor_who_is_nobody(documents: Documents, id: Any) -> None:
    held = documents.create({}, ttl=60)
    with pytest.raises(ValidationError):
        documents.move(held, {}, id=id)
    assert documents.exists(held.token)


def test_a_counter_is_moved_as_wide_as_it_was(on_memcached: OnMemcached, make_client: MakeClient) -> None:
    """A server that is full has no room for one that has to grow."""
    documents = make_client(on_memcached.address, ns=on_memcached.ns).documents(APP)
    document = documents.create({}, ttl=60)
    for moves in range(1, 4):
        document = there(documents.move(there(documents.read(document.token)), {}))
        counters = [value for key, value in contents(on_memcached).items() if ":r:" in key]
        assert f"{moves + 1}".ljust(10).encode() in counters


# ------------------------------------------------------------------------------------------ adopting


def token_for(where: Where, ttl: int = 60) -> str:
    return new_token(server_tag(str(where.address)), Life(ttl, no_resave=False))


def test_a_token_can_be_adopted_and_says_how_long_it_lives(where: Where, documents: Documents) -> None:
    token = token_for(where, ttl=600)
    adopted = there(documents.adopt(token, {"a": 1}, id=USER, ip=IP))
    assert (adopted.token, adopted.ttl, adopted.id, adopted.ip) == (token, 600, USER, IP)
    assert there(documents.save(there(documents.read(token)), {"b": 2})).data == {"a": 1, "b": 2}


def test_a_token_that_is_taken_is_not_adopted(where: Where, documents: Documents) -> None:
    token = documents.create({"a": 1}, ttl=60).token
    assert documents.adopt(token, {"a": 2}) is None
    assert data_of(documents, token) == {"a": 1}
    free = token_for(where)
    with ThreadPoolExecutor(8) as threads:
        adopted = list(threads.map(lambda n: documents.adopt(free, {"n": n}), range(8)))
    [winner] = [document for document in adopted if document is not None]
    assert data_of(documents, free) == winner.data


@pytest.mark.parametrize("token", MALFORMED)
def test_what_cannot_be_a_token_is_not_adopted(where: Where, documents: Documents, token: Any) -> None:
    with pytest.raises(ValidationError):
        documents.adopt(token, {})
    assert contents(where) == {}


def test_a_token_of_a_server_that_is_not_listed_is_not_adopted(make_client: MakeClient) -> None:
    name = secrets.token_hex(6)
    several = {"one": f"memory://{name}1", "two": f"memory://{name}2"}
    documents = make_client(several).documents(APP)
    assert documents.adopt(new_token(server_tag("three"), Life(60, no_resave=False)), {}) is None
    for server in several:
        assert documents.adopt(new_token(server_tag(server), Life(60, no_resave=False)), {}) is not None


# ------------------------------------------------------------------------------------------- ending


def test_what_was_ended_is_gone_and_cannot_be_ended_again(documents: Documents) -> None:
    token = documents.create({}, ttl=60).token
    assert documents.end(token) is True
    assert documents.end(token) is False
    assert documents.read(token) is None


def test_it_is_ended_unless_somebody_has_written_meanwhile(documents: Documents) -> None:
    token = documents.create({}, ttl=60).token
    held, other = (there(documents.read(token)) for _ in range(2))
    there(documents.save(other, {"a": 1}))
    assert documents.end_unchanged(held) is False
    assert documents.end_unchanged(there(documents.read(token))) is True
    assert documents.read(token) is None


def test_devices_are_the_users_sessions_the_last_used_first(where: Where, documents: Documents) -> None:
    tokens = []
    for number in range(3):
        tokens.append(documents.create({}, id=USER, ip=f"192.0.2.{number}", ttl=3600).token)
        where.advance(100)
    documents.create({}, id="another", ttl=3600)
    documents.read(tokens[0])
    shown = documents.devices(USER)
    assert [device.handle for device in shown] == [handle_of_token(tokens[n]) for n in (0, 2, 1)]
    assert [device.session["ip"] for device in shown] == [f"192.0.2.{n}" for n in (0, 2, 1)]
    assert shown == documents.devices(USER) or where.kind == "memcached"  # which counts its seconds itself
    assert documents.devices("nobody") == []


def test_a_device_is_ended_by_its_name_and_only_for_its_user(documents: Documents) -> None:
    token = documents.create({}, id=USER, ttl=60).token
    name = handle_of_token(token)
    for user, wrong in (("another", name), (USER, token), (USER, ""), (USER, name[:-1]), (USER, name + "\n")):
        assert documents.end_device(user, wrong) is False
    for odd in (None, 5, name.encode(), "é" * 22, "a b" + "c" * 19):
        assert documents.end_device(USER, odd) is False
    assert documents.exists(token)
    assert documents.end_device(USER, name) is True
    assert documents.end_device(USER, name) is False
    assert not documents.exists(token)


def test_a_device_whose_end_has_come_was_not_ended(where: Where, documents: Documents) -> None:
    token = documents.create({}, id=USER, ttl=600, no_resave=True, ends_in=10).token
    where.advance(12)
    assert documents.end_device(USER, handle_of_token(token)) is False


def test_devices_on_all_servers_are_seen_and_ended(make_client: MakeClient) -> None:
    name = secrets.token_hex(6)
    documents = make_client([f"memory://{name}{n}" for n in range(3)]).documents(APP)
    tokens = [documents.create({}, id=USER, ttl=60).token for _ in range(30)]
    assert len({token[TAG] for token in tokens}) == 3
    assert {device.handle for device in documents.devices(USER)} == {
        handle_of_token(token) for token in tokens
    }
    moved = there(documents.move(there(documents.read(tokens[0])), {})).token
    assert moved[TAG] == tokens[0][TAG]
    assert all(documents.end_device(USER, handle_of_token(token)) for token in (moved, *tokens[1:]))
    assert documents.devices(USER) == []


# --------------------------------------------------------------------------------------- encryption

OLD, NEW, OTHER = (Fernet.generate_key() for _ in range(3))


def test_encrypted_data_does_not_show_and_is_read_with_any_of_the_keys(
    where: Where, client: SessionsClient
) -> None:
    secret = {"rosebud": {"is": "a sledge"}}
    token = client.documents(APP, Encryption(OLD)).create(secret, id=USER, ttl=60).token
    both = client.documents(APP, Encryption([NEW, OLD]))
    saved = there(both.save(there(both.read(token)), {"rosebud 2": "another sledge"}))
    assert saved.data == {**secret, "rosebud 2": "another sledge"}
    for value in contents(where).values():
        assert b"rosebud" not in value
        assert b"sledge" not in value
    assert "sledge" not in str(client.soid(APP, USER))
    assert data_of(client.documents(APP, Encryption(NEW)), token) == saved.data


def test_what_no_key_opens_is_unknown_and_warned_of(
    client: SessionsClient, caplog: pytest.LogCaptureFixture
) -> None:
    plain, old, new = (
        client.documents(APP),
        client.documents(APP, Encryption(OLD)),
        client.documents(APP, Encryption(NEW)),
    )
    for writer, reader in ((old, new), (old, plain), (plain, old)):
        token = writer.create({"password": "rosebud"}, id=USER, ttl=60).token
        caplog.clear()
        with caplog.at_level(logging.WARNING, "memsessions"):
            assert reader.read(token) is None
        assert len(caplog.records) == 1
        assert APP in caplog.text
        assert token not in caplog.text
        assert "rosebud" not in caplog.text
        assert there(writer.read(token)).data == {"password": "rosebud"}


def test_without_data_there_is_nothing_to_encrypt(client: SessionsClient) -> None:
    token = client.documents(APP, Encryption(OLD)).create({}, ttl=60).token
    assert data_of(client.documents(APP, Encryption(NEW)), token) == {}


def test_what_was_encrypted_anew_meanwhile_with_an_unknown_key_is_not_overwritten(
    client: SessionsClient,
) -> None:
    """A process that has not heard of the new key yet must not take the session for an empty one."""
    old, both = client.documents(APP, Encryption(OLD)), client.documents(APP, Encryption([NEW, OLD]))
    token = old.create({"a": 1}, ttl=60).token
    held = there(old.read(token))
    there(both.save(there(both.read(token)), {"b": 2}))
    assert old.save(held, {"c": 3}) is None
    assert old.move(held, {"c": 3}) is None
    assert data_of(both, token) == {"a": 1, "b": 2}


def test_the_data_of_one_user_is_not_that_of_another(where: Where, make_client: MakeClient) -> None:
    """Though somebody who can write into memcached puts it there."""
    rs = make_client(where.address, ns=where.ns)
    documents = rs.documents(APP, Encryption(OLD))
    mine = documents.create({"admin": True}, id=USER, ttl=60).token
    theirs = documents.create({"admin": False}, id="another", ttl=60).token
    sealed = there(documents.read(mine)).held.found[-1]
    assert sealed is not None
    rs.set(APP, theirs, sealed)
    assert documents.read(theirs) is None
    assert data_of(documents, mine) == {"admin": True}


def test_a_session_whose_user_changes_keeps_its_encrypted_data(client: SessionsClient) -> None:
    documents = client.documents(APP, Encryption(OLD))
    document = documents.create({"a": 1}, ttl=60)
    for user in (USER, "another", None):
        document = there(documents.move(there(documents.read(document.token)), {}, id=user))
        assert data_of(documents, document.token) == {"a": 1}


# --------------------------------------------------------------------------------------------- cost


@pytest.mark.parametrize("fixed", [False, True], ids=["renewed", "fixed end"])
def test_each_call_waits_for_as_many_round_trips_as_it_says(
    proxy: Proxy, on_memcached: OnMemcached, make_client: MakeClient, fixed: bool
) -> None:
    documents = make_client(proxy.address, ns=on_memcached.ns, timeout=5).documents(APP)
    documents.create({}, ttl=60)  # connects, and makes the app known

    def trips(call: Any) -> tuple[int, Any]:
        before = proxy.round_trips
        answer = call()
        return proxy.round_trips - before, answer

    def once() -> list[int]:
        made, document = trips(lambda: documents.create({"a": 1}, id=USER, ttl=3600, no_resave=fixed))
        token = document.token
        unknown, _ = trips(lambda: documents.read(UNKNOWN))
        exists, _ = trips(lambda: documents.exists(token))
        read, held = trips(lambda: documents.read(token))
        saved, latest = trips(lambda: documents.save(held, {"a": 2}))
        again, _ = trips(lambda: documents.save(latest, {"a": 3}))  # of its own write it knows no unique
        stale, _ = trips(lambda: documents.save(held, {"b": 1}))
        moved, document = trips(lambda: documents.move(there(documents.read(token)), {"b": 2}, id="other"))
        device, _ = trips(lambda: documents.end_device("other", handle_of_token(document.token)))
        document = documents.create({}, ttl=3600, no_resave=fixed)
        ended, _ = trips(lambda: documents.end(document.token))
        document = documents.create({}, ttl=3600, no_resave=fixed)
        unchanged, _ = trips(lambda: documents.end_unchanged(there(documents.read(document.token))))
        return [made, unknown, exists, read, saved, again, stale, moved - 1, device, ended, unchanged - 1]

    # A tick may be the moment to list a session again.
    found = between_ticks(on_memcached, once)
    assert found == [1, 1, 1, 1, 1, 2, 3, 1, 2, 1, 2]
