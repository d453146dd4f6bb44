"""Sessions whose items are evicted, damaged or half there, and tokens that are taken."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any

import pytest

from memsessions import SessionsClient, StoreDamaged, StoreError, listings, sessions, tokens
from memsessions.tokens import Life

from .conftest import MakeClient, Where
from .support.damage import counter_key, evict, put, session_key, value
from .support.sessions import between_ticks, contents

APP = "forum"
USER = "user1234"
TTL = 3600


def created(rs: SessionsClient, **options: Any) -> str:
    return rs.create(APP, USER, "192.0.2.1", ttl=TTL, **options)["token"]


# ------------------------------------------------------------------------------------------ eviction


def test_a_counter_that_was_evicted_heals_at_the_next_get(where: Where, client: SessionsClient) -> None:
    """It begins again as that of a new session; `w`, data and life are not touched."""

    def life() -> list[int | None]:
        token = created(client, d={"a": 1})
        for _ in range(5):
            client.get(APP, token)
        client.set(APP, token, {"b": 2})
        evict(client, counter_key(client, token))
        reads: list[int | None] = []
        for _ in range(3):
            session = client.get(APP, token)
            assert session is not None
            reads.append(session["r"])
            assert (session["w"], session["d"], session["ttl"]) == (2, {"a": 1, "b": 2}, TTL)
        for seconds in (TTL, TTL - 5):  # the first of them is all that it has
            where.advance(seconds)
            session = client.get(APP, token)
            reads.append(None if session is None else session["r"])
        return reads

    assert between_ticks(where, life) == [2, 3, 4, 5, 6]


def test_a_counter_that_was_evicted_heals_at_the_next_set(where: Where, client: SessionsClient) -> None:
    token = created(client)
    client.get(APP, token)
    evict(client, counter_key(client, token))
    session = client.set(APP, token, {"a": 1})
    assert session is not None
    assert (session["r"], session["w"]) == (1, 2)
    where.advance(TTL - 5)
    session = client.get(APP, token)
    assert session is not None
    assert (session["r"], session["w"]) == (2, 2)


def test_a_counter_that_was_evicted_is_made_again_by_rotate(client: SessionsClient) -> None:
    token = created(client, d={"a": 1})
    client.get(APP, token)
    evict(client, counter_key(client, token))
    answer = client.rotate(APP, token)
    assert answer is not None
    session = client.get(APP, answer["token"])
    assert session is not None
    assert (session["r"], session["w"], session["d"]) == (2, 1, {"a": 1})
    assert client.get(APP, token) is None


def test_a_session_without_its_counter_is_listed_counted_and_ended(client: SessionsClient) -> None:
    token = created(client)
    client.get(APP, token)
    evict(client, counter_key(client, token))
    assert [session["r"] for session in client.soid(APP, USER)] == [1]
    assert [session["r"] for session in client.soapp(APP)] == [1]
    assert client.activity(APP) == {"activity": 1}
    assert client.wipe() == {"wiped": 0}
    assert client.kill(APP, token) == {"kill": 1}
    assert client.get(APP, token) is None


CALLS: dict[str, Callable[[SessionsClient, str], Any]] = {
    "get": lambda rs, token: rs.get(APP, token),
    "set": lambda rs, token: rs.set(APP, token, {"a": 1}),
    "rotate": lambda rs, token: rs.rotate(APP, token),
    "kill": lambda rs, token: rs.kill(APP, token),
    "soid": lambda rs, _token: rs.soid(APP, USER),
    "soapp": lambda rs, _token: rs.soapp(APP),
    "activity": lambda rs, _token: rs.activity(APP),
    "killsoid": lambda rs, _token: rs.killsoid(APP, USER),
    "killall": lambda rs, _token: rs.killall(APP),
}
NOTHING: dict[str, Any] = {
    **dict.fromkeys(["get", "set", "rotate"]),
    **{call: [] for call in ("soid", "soapp")},
    **{call: {"kill": 0} for call in ("kill", "killsoid", "killall")},
    "activity": {"activity": 0},
}


@pytest.mark.parametrize("call", CALLS)
def test_a_no_resave_session_whose_counter_was_evicted_is_over(client: SessionsClient, call: str) -> None:
    """Its end was known to the counter only; better early than never."""
    token = created(client, no_resave=True)
    evict(client, counter_key(client, token))
    assert CALLS[call](client, token) == NOTHING[call]


@pytest.mark.parametrize("no_resave", [False, True])
@pytest.mark.parametrize("call", CALLS)
def test_a_session_that_was_evicted_is_unknown_although_its_counter_is_there(
    client: SessionsClient, call: str, no_resave: bool
) -> None:
    """And stays so: no call makes anything of what is left."""
    token = created(client, no_resave=no_resave)
    evict(client, session_key(client, token))
    for _ in range(2):
        assert CALLS[call](client, token) == NOTHING[call]
    assert client.get(APP, token) is None
    assert value(client, session_key(client, token)) is None


@pytest.mark.parametrize("no_resave", [False, True])
def test_what_is_left_of_a_session_that_was_evicted_is_wiped(
    where: Where, client: SessionsClient, no_resave: bool
) -> None:
    """Its record and its counter, when they can no longer be those of a session that is being made.

    Of one whose life is fixed that is when its life is over, as its counter does not tell its age.
    """
    token = created(client, no_resave=no_resave)
    evict(client, session_key(client, token))
    where.advance(TTL + 2 if no_resave else 10)
    assert client.wipe() == {"wiped": 1}
    assert set(contents(where)) == {f"{where.ns}:apps"}
    assert client.kill(APP, token) == {"kill": 0}


def test_a_counter_is_not_made_for_a_session_that_was_killed(where: Where, client: SessionsClient) -> None:
    """A late read or write of a dead session leaves nothing on the store."""
    token = created(client)
    client.kill(APP, token)
    assert client.get(APP, token) is None
    assert client.set(APP, token, {"a": 1}) is None
    assert not any(f":{APP}:r:" in key or f":{APP}:s:" in key for key in contents(where))


# ------------------------------------------------------------------------------------------- damage


DAMAGED = {
    "empty": b"",
    "text": b"hello",
    "cut off": b'[1,"user1234","192.0.2.1",3600,0,1,nul',
    "not UTF-8": b'[1,"\xff","192.0.2.1",3600,0,1,null]',
    "another schema": b'[2,"user1234","192.0.2.1",3600,0,1,null]',
    "one field too few": b'[1,"user1234","192.0.2.1",3600,0,1]',
    "one field too many": b'[1,"user1234","192.0.2.1",3600,0,1,null,1]',
    "a number": b"1",
    "null": b"null",
    "a string of seven": b'"1234567"',
    "an object": b'{"id":"user1234"}',
    "an object of seven": b'{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7}',
    "two sessions": b'[1,"a","b",60,0,1,null],[1,"a","b",60,0,1,null]',
    "compressed": b"x\x9c\xabV*I-.Q",
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("call", ["get", "set", "rotate", "soid", "soapp"])
def test_a_record_that_is_damaged_is_an_error_and_never_a_session(
    client: SessionsClient, call: str, damage: bytes
) -> None:
    """The error names the server, and shows nothing of what stands there."""
    token = created(client)
    created(client)
    put(client, session_key(client, token), damage, TTL)
    with pytest.raises(StoreDamaged, match="not a session") as caught:
        CALLS[call](client, token)
    assert caught.value.server == client._nodes[0].store.server
    assert len(damage) < 2 or damage.decode(errors="replace") not in str(caught.value)
    assert value(client, session_key(client, token)) == damage


@pytest.mark.parametrize("call", ["kill", "killsoid", "killall"])
def test_a_record_that_is_damaged_can_be_ended(where: Where, client: SessionsClient, call: str) -> None:
    token = created(client)
    put(client, session_key(client, token), b"hello", TTL)
    assert CALLS[call](client, token) == {"kill": 1}
    assert not any(f":{APP}:s:" in key for key in contents(where))


@pytest.mark.parametrize("damage", [b"", b"x", b"12x", b"1.5"])
@pytest.mark.parametrize("call", ["get", "set", "soid", "soapp"])
def test_a_counter_that_is_damaged_is_no_other_error_than_one_of_the_store(
    client: SessionsClient, call: str, damage: bytes
) -> None:
    token = created(client)
    put(client, counter_key(client, token), damage, TTL)
    with pytest.raises(StoreError):
        CALLS[call](client, token)


# -------------------------------------------------------------------------------------------- tokens


def test_a_token_that_is_taken_is_not_given_again(
    client: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session that has it stays as it was, and the new one gets another."""
    taken = created(client, d={"a": 1})
    client.get(APP, taken)
    free = tokens.new_token(tokens.server_tag(client._nodes[0].store.server), Life(TTL, False))
    given = iter([taken, taken, free])
    monkeypatch.setattr(tokens, "new_token", lambda _tag, _life: next(given))
    assert client.create(APP, "other", "192.0.2.2", ttl=TTL) == {"token": free}
    session = client.get(APP, taken)
    assert session is not None
    assert (session["id"], session["r"], session["w"], session["d"]) == (USER, 3, 1, {"a": 1})
    assert [session["id"] for session in client.soid(APP, "other")] == ["other"]


def test_a_generator_that_gives_taken_tokens_only_is_given_up(
    client: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = created(client, d={"a": 1})
    monkeypatch.setattr(tokens, "new_token", lambda _tag, _life: taken)
    with pytest.raises(StoreError, match="no token"):
        created(client)
    session = client.get(APP, taken)
    assert session is not None
    assert (session["r"], session["d"]) == (2, {"a": 1})


# ---------------------------------------------------------------------------------- a create that is slow


def test_a_session_that_was_long_in_the_making_is_listed_again(
    where: Where, client: SessionsClient, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wipe may have taken its record for the rest of a failure; it costs a record that stands twice."""
    moments = chain([0.0, listings.LONG_S + 1.0], repeat(listings.LONG_S + 1.0))
    clock = SimpleNamespace(monotonic=lambda: next(moments))
    monkeypatch.setattr(sessions, "time", clock)
    monkeypatch.setattr(listings, "time", clock)
    token = created(client)
    assert len(client.soid(APP, USER)) == len(client.soapp(APP)) == 1
    (bucket,) = (stored for key, stored in contents(where).items() if f":{APP}:i:" in key)
    assert bucket[: len(bucket) // 2] * 2 == bucket
    assert make_client(where.address, ns=where.ns).get(APP, token) is not None
