"""The index: spilling, what is removed from it, and what is made of one that others wrote into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from memsessions import SessionsClient, StoreDamaged, index
from memsessions.index import RECORD_LENGTH, Bucket
from memsessions.store.operations import FOREVER, Add, Delete
from memsessions.tokens import Life, hashed

from .conftest import MakeClient, Where
from .support.damage import append, bucket_key, evict, put, session_key, value
from .support.interleaving import step_by_step
from .support.sessions import contents

APP = "forum"
USER = "user1234"
LIMIT = 10  # records that fit into a bucket before it spills


@pytest.fixture
def spilling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets that spill early, and are looked at after each record."""
    monkeypatch.setattr(index, "FULL_BYTES", LIMIT * RECORD_LENGTH)
    monkeypatch.setattr(index, "_ASK_AGAIN", 1.0)
    monkeypatch.setattr(index, "_ASK_AGAIN_SOON", 1.0)


def created(rs: SessionsClient, number: int, id: str = USER) -> list[str]:
    return [rs.create(APP, id, f"ip{n}")["token"] for n in range(number)]


def names(where: Where, kind: str) -> list[str]:
    """The keys of a kind that stand on the store: `i` buckets, `x` segments and the flag."""
    start = f"{where.ns}:{APP}:"
    return [key for key in contents(where) if key.startswith(start) and key.split(":")[2] == kind]


def flag(where: Where) -> str:
    return f"{where.ns}:{APP}:x"


# ------------------------------------------------------------------------------------------ spilling


@pytest.mark.usefixtures("spilling")
def test_a_bucket_that_is_full_spills_into_segments_and_nothing_is_lost(
    where: Where, client: SessionsClient, make_client: MakeClient
) -> None:
    """Every session lives and is listed, for the client that filled the bucket and for one that comes new."""
    tokens = created(client, 100)
    others = created(client, 3, "other")
    home = contents(where)[bucket_key(client, USER).decode()]
    assert LIMIT * RECORD_LENGTH < len(home) <= (LIMIT + 2) * RECORD_LENGTH
    assert flag(where) in names(where, "x")
    assert len(names(where, "x")) > 10
    for rs in (client, make_client(where.address, ns=where.ns)):
        assert {session["ip"] for session in rs.soid(APP, USER)} == {f"ip{n}" for n in range(100)}
        assert len(rs.soid(APP, "other")) == 3
        assert len(rs.soapp(APP)) == 103
        assert rs.activity(APP) == {"activity": 2}
        assert rs.wipe() == {"wiped": 0}
    assert all(client.get(APP, token) is not None for token in [*tokens, *others])


@pytest.mark.usefixtures("spilling")
@pytest.mark.parametrize("end", ["killsoid", "killall", "kill"])
def test_sessions_that_have_spilled_can_be_ended_and_leave_nothing(
    where: Where, client: SessionsClient, end: str
) -> None:
    """After a wipe there is no bucket, no segment and no flag."""
    tokens = created(client, 60)
    if end == "kill":
        assert [client.kill(APP, token)["kill"] for token in tokens] == [1] * 60
    else:
        arguments = (APP, USER) if end == "killsoid" else (APP,)
        assert getattr(client, end)(*arguments) == {"kill": 60}
    assert client.soid(APP, USER) == []
    client.wipe()
    assert set(contents(where)) == {f"{where.ns}:apps"}


@pytest.mark.usefixtures("spilling")
def test_sessions_that_have_spilled_expire_and_are_wiped(where: Where, client: SessionsClient) -> None:
    living = client.create(APP, "other", "192.0.2.1", ttl=3600)["token"]
    for n in range(60):
        client.create(APP, USER, f"ip{n}", ttl=10)
    where.advance(30)
    assert client.soid(APP, USER) == []
    assert client.wipe() == {"wiped": 60}
    assert names(where, "x") == []
    assert len(client.soapp(APP)) == 1
    assert client.get(APP, living) is not None


@pytest.mark.usefixtures("spilling")
def test_the_flag_stays_as_long_as_one_segment_does(where: Where, client: SessionsClient) -> None:
    tokens = created(client, 40)
    assert [client.kill(APP, token)["kill"] for token in tokens[:-1]] == [1] * 39
    assert client.wipe() == {"wiped": 39}
    segments = names(where, "x")
    assert len(segments) == 2
    assert flag(where) in segments
    assert [session["ip"] for session in client.soid(APP, USER)] == ["ip39"]
    assert client.killsoid(APP, USER) == {"kill": 1}
    client.wipe()
    assert names(where, "x") == []


@pytest.mark.usefixtures("spilling")
def test_a_flag_without_a_segment_is_taken_back(where: Where, client: SessionsClient) -> None:
    created(client, 1)
    put(client, flag(where).encode(), b"")
    assert client.wipe() == {"wiped": 0}
    assert names(where, "x") == []
    assert len(client.soid(APP, USER)) == 1


@pytest.mark.parametrize("done", range(6))
def test_a_listing_in_a_segment_that_was_broken_off_is_wiped(
    where: Where, client: SessionsClient, done: int
) -> None:
    """As by a client that was killed when the server had got so many of its operations."""
    created(client, 1)
    listing = client._nodes[0].app(APP).listing
    listing.mark_full(hashed(USER))
    operations = listing.listing(hashed(USER), hashed("a token"), Life(3600, False))
    assert len(operations) == 5
    client._nodes[0].store.run(operations[:done])
    client.wipe()
    assert names(where, "x") == []
    assert len(client.soid(APP, USER)) == 1


@pytest.mark.usefixtures("spilling", "small_index")
def test_a_flag_that_is_taken_back_hides_no_session_that_comes_at_the_same_time(
    where: Where, client: SessionsClient, make_client: MakeClient
) -> None:
    """A session is made in a segment before any one operation of the wipe, and is listed from then on."""
    wiping = make_client(where.address, ns=where.ns)
    left = -1  # operations until the session comes

    def come(_op: object) -> None:
        nonlocal left
        if left == 0:
            client._nodes[0].app(APP).listing.mark_full(hashed(USER))
            client.create(APP, USER, "new")
        if left <= 0:
            assert len(client.soid(APP, USER)) == 1
        left -= 1

    step_by_step(wiping, come)
    step = 0
    while left < 0:
        put(client, flag(where).encode(), b"")
        left = step
        wiping.wipe()
        assert len(client.soid(APP, USER)) == (left < 0)
        client.killsoid(APP, USER)
        client.wipe()
        step += 1
    assert step > 5


@pytest.mark.usefixtures("spilling")
def test_a_bucket_that_was_full_is_used_again_after_a_while(
    where: Where, client: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    created(client, 40)
    client.killsoid(APP, USER)
    client.wipe()
    created(client, 1)
    assert names(where, "i") == []
    assert len(names(where, "x")) == 2
    monkeypatch.setattr(index, "_FULL_AGAIN_S", 0.0)
    created(client, 1)
    assert len(names(where, "i")) == 1
    assert len(client.soid(APP, USER)) == 2


def test_3000_sessions_of_one_user_are_listed_moved_and_ended(where: Where, make_client: MakeClient) -> None:
    """With the real limits: the bucket has spilled, and a new client sees all of it."""
    rs = make_client(where.address, ns=where.ns, timeout=10)
    tokens = created(rs, 3000)
    assert flag(where) in names(where, "x")
    assert index.FULL_BYTES < len(contents(where)[bucket_key(rs, USER).decode()]) < 3000 * RECORD_LENGTH
    other = make_client(where.address, ns=where.ns, timeout=10)
    assert {session["ip"] for session in other.soid(APP, USER)} == {f"ip{n}" for n in range(3000)}
    assert len(other.soapp(APP)) == 3000
    assert other.activity(APP) == {"activity": 1}
    for token in (tokens[0], tokens[-1]):
        assert other.rotate(APP, token) is not None
    assert rs.wipe() == {"wiped": 2}
    assert other.killsoid(APP, USER) == {"kill": 3000}
    assert rs.soapp(APP) == []
    rs.wipe()
    assert set(contents(where)) <= {f"{where.ns}:apps", *names(where, "r")}
    assert names(where, "i") == names(where, "x") == []


# ----------------------------------------------------------------------------------- what is removed


@pytest.mark.parametrize("end", ["kill", "expire"])
def test_a_bucket_is_removed_with_its_last_session(where: Where, client: SessionsClient, end: str) -> None:
    tokens = [client.create(APP, USER, "192.0.2.1", ttl=10)["token"] for _ in range(3)]
    if end == "kill":
        for token in tokens:
            client.kill(APP, token)
    else:
        where.advance(30)
    assert len(names(where, "i")) == 1
    assert client.wipe() == {"wiped": 3}
    assert names(where, "i") == []


def test_a_record_that_stands_twice_counts_once_and_is_removed_once(
    where: Where, client: SessionsClient
) -> None:
    """A client that was cut off may not know that it was listed, and lists itself again."""
    (token,) = created(client, 1)
    key = bucket_key(client, USER)
    record = value(client, key)
    assert record is not None
    assert len(record) == RECORD_LENGTH
    append(client, key, record * 2)
    assert len(client.soid(APP, USER)) == len(client.soapp(APP)) == 1
    assert client.activity(APP) == {"activity": 1}
    assert client.wipe() == {"wiped": 0}
    assert value(client, key) == record
    append(client, key, record)
    assert client.killsoid(APP, USER) == {"kill": 1}
    assert client.get(APP, token) is None
    assert client.wipe() == {"wiped": 1}
    assert names(where, "i") == []


@pytest.mark.usefixtures("spilling")
def test_a_session_that_is_listed_in_the_bucket_and_in_a_segment_is_one(
    where: Where, client: SessionsClient
) -> None:
    created(client, 1)
    record = value(client, bucket_key(client, USER))
    assert record is not None
    put(client, f"{flag(where)}:{index._bucket_of(hashed(USER))}.0".encode(), record)
    put(client, flag(where).encode(), b"")
    assert len(client.soid(APP, USER)) == 1
    assert client.killsoid(APP, USER) == {"kill": 1}


def test_a_bucket_that_was_evicted_is_begun_anew(where: Where, client: SessionsClient) -> None:
    """What it listed is listed no more (its sessions live on), what comes next is."""
    (old,) = created(client, 1)
    evict(client, bucket_key(client, USER))
    new = client.create(APP, USER, "new")["token"]
    assert [session["ip"] for session in client.soid(APP, USER)] == ["new"]
    assert client.get(APP, old) is not None
    assert client.get(APP, new) is not None
    assert len(names(where, "i")) == 1


# ------------------------------------------------------------------------------------------- damage


CALLS: dict[str, Callable[[SessionsClient], Any]] = {
    "soid": lambda rs: rs.soid(APP, USER),
    "killsoid": lambda rs: rs.killsoid(APP, USER),
    "soapp": lambda rs: rs.soapp(APP),
    "activity": lambda rs: rs.activity(APP),
    "killall": lambda rs: rs.killall(APP),
    "wipe": lambda rs: rs.wipe(),
}


@pytest.mark.parametrize("garbage", [b"x", b"x" * (RECORD_LENGTH - 1), b"x" * (RECORD_LENGTH + 1)])
@pytest.mark.parametrize("call", CALLS)
def test_an_index_item_that_is_not_made_of_records_is_damaged(
    client: SessionsClient, call: str, garbage: bytes
) -> None:
    """Said so by an error that names the server, and nothing is changed by the call."""
    (token,) = created(client, 1)
    key = bucket_key(client, USER)
    append(client, key, garbage)
    before = value(client, key)
    with pytest.raises(StoreDamaged, match="index") as caught:
        CALLS[call](client)
    assert caught.value.server == client._nodes[0].store.server
    assert value(client, key) == before
    assert client.get(APP, token) is not None


#: Of a record's width, but nothing that was ever written.
IMPOSSIBLE = {
    "punctuation": b"!" * RECORD_LENGTH,
    "spaces": b" " * RECORD_LENGTH,
    "zeros": b"\0" * RECORD_LENGTH,
    "not ASCII": b"\xff" * RECORD_LENGTH,
    "the user, and punctuation": hashed(USER) + b"!" * (RECORD_LENGTH - 22),
    "the user, and spaces": hashed(USER) + b" " * (RECORD_LENGTH - 22),
}


@pytest.mark.parametrize("garbage", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
@pytest.mark.parametrize("call", CALLS)
def test_a_record_that_nobody_wrote_is_damage_or_is_passed_over(
    client: SessionsClient, call: str, garbage: bytes
) -> None:
    """It leads to no other error than the one for damage, and to no answer that is wrong."""
    (token,) = created(client, 1)
    append(client, bucket_key(client, USER), garbage)
    try:
        answer = CALLS[call](client)
    except StoreDamaged:
        assert client.get(APP, token) is not None or call in ("killsoid", "killall")
        return
    if call in ("soid", "soapp"):
        assert [session["ip"] for session in answer] == ["ip0"]
    else:
        expected = {"activity": {"activity": 1}, "wipe": {"wiped": 1}}
        assert answer == expected.get(call, {"kill": 1})
    assert (client.get(APP, token) is None) == call.startswith("kill")


def test_damage_in_one_app_keeps_no_other_app_from_being_wiped(client: SessionsClient) -> None:
    for app in ("apple", "forum", "zebra"):
        token = client.create(app, USER, "192.0.2.1")["token"]
        client.kill(app, token)
    append(client, bucket_key(client, USER), b"x")
    with pytest.raises(StoreDamaged):
        client.wipe()
    for app in ("apple", "zebra"):
        assert value(client, bucket_key(client, USER).replace(b"forum", app.encode())) is None


# -------------------------------------------------------------------------------------------- records


def test_a_users_name_is_looked_for_where_a_record_begins_only() -> None:
    """It may also stand across two records, or as a session's name."""
    user, other = hashed("user"), hashed("other")
    session, life = hashed("session"), b"00000"
    mine = user + session + life
    theirs = other + user + life
    shifted = b"x" * 10 + user + b"y" * (RECORD_LENGTH - 10 - len(user))
    bucket = Bucket(b"key", 1, shifted + theirs + mine + theirs + mine)
    assert bucket.records_of(user) == [mine]
    assert bucket.records_of(hashed("nobody")) == []
    assert bucket.records() == [shifted, theirs, mine]
    assert index.entry(mine) == (user, session, Life(10, False))


def test_users_are_spread_over_all_buckets() -> None:
    """Of 20,000 users no bucket gets three times its share."""
    counts = [0] * index.BUCKETS
    for number in range(20_000):
        counts[index._bucket_of(hashed(f"user{number}"))] += 1
    assert min(counts) > 0
    assert max(counts) < 3 * 20_000 / index.BUCKETS


def test_the_sessions_of_a_user_are_spread_over_all_segments() -> None:
    counts = [0] * index.SEGMENTS
    for number in range(3_200):
        counts[index._segment_of(hashed(f"token{number}"))] += 1
    assert min(counts) > 30
    assert max(counts) < 300


def test_an_empty_bucket_is_removed_by_the_wipe(client: SessionsClient) -> None:
    """It stands there where a client was cut off between making it and appending to it."""
    token = client.create(APP, "other", "192.0.2.1")["token"]
    key = bucket_key(client, USER)
    assert client._nodes[0].store.run((Delete(key), Add(key, b"", FOREVER)))[1]
    assert client.wipe() == {"wiped": 0}
    assert value(client, key) is None
    assert value(client, session_key(client, token)) is not None
