"""Calls for many sessions at once do what as many single calls do, on every store."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from memsessions import (
    LogoutIncomplete,
    NewSession,
    Session,
    SessionsClient,
    SessionTooLarge,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreUnavailable,
    ValidationError,
    batches,
    index,
    many,
)
from memsessions import validation as check
from memsessions.batches import Ready, cut
from memsessions.scans import BATCH_BYTES, BATCH_MAX
from memsessions.store.operations import Add, Append, Batch, Operation
from memsessions.tokens import Life, hashed, new_token

from .conftest import InMemory, MakeClient, OnMemcached, Where, every_where
from .support.damage import bucket_key, counter_key, evict, put, session_key, value
from .support.memcached import Memcached, free_port
from .support.sessions import UNKNOWN, between_ticks, contents, ips, memory_at

APP = "forum"
IP = "192.0.2.1"
#: What is ended or unknown, among what lives.
TTL_S = 100


@pytest.fixture(params=["memory", "memcached", "three memory", "three memcached"])
def where(request: pytest.FixtureRequest) -> Where:
    """What a client does is the same on one server and on several."""
    return every_where(request)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of seven sessions, so that a few dozen are many."""
    monkeypatch.setattr(batches, "BATCH_MIN", 3)
    monkeypatch.setattr(batches, "BATCH_MAX", 7)
    monkeypatch.setattr(batches, "next_size", lambda _values, _asked: 7)


def new(number: int, **more: Any) -> NewSession:
    session: NewSession = {"id": f"user{number}", "ip": f"ip{number}", **more}  # type: ignore[typeddict-item]
    return session


def created(rs: SessionsClient, sessions: list[NewSession]) -> list[str]:
    return [answer["token"] for answer in rs.create_many(APP, sessions)]


def there(sessions: list[Session | None]) -> list[Session]:
    """The sessions that a call answered with, all of which have to be some."""
    assert None not in sessions
    return [session for session in sessions if session is not None]


# ------------------------------------------------------------------------------------------- create

#: What `create` can be given.
KINDS: list[dict[str, Any]] = [
    {},
    {"ttl": 50},
    {"d": {"a": 1, "b": None, "ü": "앨"}},
    {"d": {"b": None}},
    {"no_resave": True},
    {"ttl": 40 * 24 * 3600, "d": {"a": "x" * 3000}, "no_resave": True},
    {"ttl": 7200, "d": None, "no_resave": False},
]


def test_sessions_are_made_as_by_create_and_their_tokens_come_in_order(
    where: Where, client: SessionsClient
) -> None:
    def act() -> None:
        client.killall(APP)
        sessions = [new(number, **kind) for number, kind in enumerate(KINDS * 3)]
        one_by_one = [client.create(APP, **session)["token"] for session in sessions]
        at_once = created(client, sessions)
        assert [client.get(APP, token) for token in at_once] == [
            client.get(APP, token) for token in one_by_one
        ]
        assert [token[-5:] for token in at_once] == [token[-5:] for token in one_by_one], "their lives"
        assert len({*at_once, *one_by_one}) == 2 * len(sessions)

    between_ticks(where, act)


def test_sessions_that_were_made_at_once_are_listed_and_ended_as_all_are(client: SessionsClient) -> None:
    """Three of each of ten users, the users in turns."""
    tokens = created(client, [new(number % 10) for number in range(30)])
    assert sorted(ips(client.soapp(APP))) == sorted(f"ip{number % 10}" for number in range(30))
    assert len(client.soid(APP, "user3")) == 3
    assert client.activity(APP) == {"activity": 10}
    assert client.killsoid(APP, "user3") == {"kill": 3}
    assert [client.get(APP, token) is None for token in tokens] == [number % 10 == 3 for number in range(30)]
    assert client.wipe() == {"wiped": 3}
    assert client.killall(APP) == {"kill": 27}


@pytest.mark.usefixtures("small_batches")
def test_more_sessions_than_fit_into_a_batch(client: SessionsClient) -> None:
    tokens = created(client, [new(number) for number in range(40)])
    assert [session["id"] for session in there(client.get_many(APP, tokens))] == [
        f"user{number}" for number in range(40)
    ]
    assert len(client.soapp(APP)) == 40
    assert client.kill_many(APP, tokens) == {"kill": 40}
    assert client.soapp(APP) == []


def test_the_apps_are_registered_for_wipes(where: Where, client: SessionsClient) -> None:
    """By the first call, which is that of no single session."""
    created(client, [new(1)])
    client.create_many("shop", [new(2)])
    seen = {key.split(":", 1)[1]: held for key, held in contents(where).items() if key.endswith(":apps")}
    assert set(seen["apps"].decode().split()) <= {APP, "shop"}
    other = SessionsClient(where.address, ns=where.ns, wipe=0)
    client.killall("shop")
    client.create_many("shop", [new(3, ttl=10)])
    where.advance(30)
    assert other.wipe() == {"wiped": 1}
    other.close()


def test_whatever_can_be_iterated_over_is_taken(client: SessionsClient) -> None:
    """Once, as a generator can be."""
    tokens = [answer["token"] for answer in client.create_many(APP, (new(number) for number in range(3)))]
    assert len(there(client.get_many(APP, iter(tokens)))) == 3
    assert len(there(client.get_many(APP, dict.fromkeys(tokens).keys()))) == 3
    assert client.kill_many(APP, set(tokens)) == {"kill": 3}


def test_none_at_all_are_answered_without_asking(make_client: MakeClient) -> None:
    rs = make_client(f"127.0.0.1:{free_port()}")
    assert rs.create_many(APP, []) == []
    assert rs.get_many(APP, []) == []
    assert rs.kill_many(APP, ()) == {"kill": 0}


# --------------------------------------------------------------------------------------------- get


def twins(rs: SessionsClient, where: Where) -> tuple[list[str], list[str]]:
    """Twice the tokens of sessions of all kinds: living, ended, over, unknown."""
    kinds: list[dict[str, Any]] = [
        {"ttl": TTL_S},
        {"ttl": 10},  # which will be over
        {"ttl": TTL_S, "d": {"a": 1}},
        {"ttl": TTL_S, "no_resave": True},
        {"ttl": 10, "no_resave": True},
        {"ttl": TTL_S},  # will be killed
    ]
    sessions = [new(number, **kind) for number, kind in enumerate(kinds)]
    both = [[rs.create(APP, **session)["token"] for session in sessions] for _ in range(2)]
    where.advance(8)
    for tokens in both:
        assert rs.get(APP, tokens[4]) is not None  # which keeps its item beyond its end
    where.advance(4)
    for tokens in both:
        rs.kill(APP, tokens[5])
        tokens.append(UNKNOWN)
    return both[0], both[1]


def test_sessions_are_read_as_by_get_and_none_stands_for_what_is_not_there(
    where: Where, client: SessionsClient
) -> None:
    def act() -> None:
        one_by_one, at_once = twins(client, where)
        where.advance(3)
        for expected_reads in (2, 3):
            expected = [client.get(APP, token) for token in one_by_one]
            assert client.get_many(APP, at_once) == expected
            assert [session and session["r"] for session in expected] == [
                *(expected_reads, None, expected_reads, expected_reads, None, None, None)
            ]

    between_ticks(where, act)


def test_reading_renews_a_life(where: Where, client: SessionsClient) -> None:
    """But of a `no_resave` session."""
    tokens = created(client, [new(1, ttl=TTL_S), new(2, ttl=TTL_S, no_resave=True)])
    where.advance(60)
    assert len(there(client.get_many(APP, tokens))) == 2
    where.advance(60)
    renewed, ended = client.get_many(APP, tokens)
    assert renewed is not None
    assert renewed["r"] == 3
    assert ended is None


@pytest.mark.parametrize("small", [False, True])
def test_a_token_that_is_given_twice_is_read_twice(
    request: pytest.FixtureRequest, client: SessionsClient, small: bool
) -> None:
    if small:
        request.getfixturevalue("small_batches")
    tokens = created(client, [new(number) for number in range(3)])
    sessions = there(client.get_many(APP, [*tokens, *tokens, tokens[0]]))
    assert [session["r"] for session in sessions] == [2, 2, 2, 3, 3, 3, 4]
    assert [session["id"] for session in sessions[:3]] == ["user0", "user1", "user2"]
    sessions[0]["r"] = 99
    assert sessions[3]["r"] == 3, "each answer is the caller's own"


def test_a_token_of_another_app_is_unknown(client: SessionsClient) -> None:
    tokens = created(client, [new(1), new(2)])
    assert client.get_many("shop", tokens) == [None, None]
    assert client.kill_many("shop", tokens) == {"kill": 0}
    assert len(there(client.get_many(APP, tokens))) == 2


def on(rs: SessionsClient, token: str) -> SessionsClient:
    """The client as the helpers need it: they look at its first server."""
    rs._nodes.sort(key=lambda node: not node.app(APP).sessions.exists(token))
    return rs


@pytest.mark.parametrize("where", ["memory", "memcached"], indirect=True)
def test_a_session_that_lost_its_counter_is_read_as_by_get(client: SessionsClient) -> None:
    """It begins to count anew. Of a `no_resave` session, only the counter tells that it lives."""
    tokens = created(client, [new(1), new(2), new(3, no_resave=True)])
    one = client.create(APP, **new(4))["token"]
    for token in (tokens[0], tokens[2], one):
        evict(client, counter_key(client, token))
    expected = client.get(APP, one)
    first, second, fixed, again = client.get_many(APP, [*tokens, tokens[0]])
    assert first is not None
    assert expected is not None
    assert second is not None
    assert again is not None
    assert (first["r"], again["r"], second["r"]) == (expected["r"], expected["r"] + 1, 2)
    assert fixed is None


def test_a_session_that_a_full_store_cannot_count_is_read_as_by_get(make_client: MakeClient) -> None:
    """The others in its batch are counted."""
    where = InMemory()
    rs = make_client(where.address, ns=where.ns)
    tokens = created(rs, [new(1), new(2), new(3)])
    for _ in range(8):
        rs.get_many(APP, tokens[:2])
    rs.get(APP, tokens[2])
    store = memory_at(where.address)
    store._limit_bytes = store._bytes  # no room for a second digit
    by_get = rs.get(APP, tokens[0])
    first, second, third, again = there(rs.get_many(APP, [*tokens, tokens[0]]))
    assert first == again == by_get
    assert [session["r"] for session in (first, second, third)] == [10, 10, 3]


def test_many_that_an_index_item_cannot_take_are_refused_and_not_there(make_client: MakeClient) -> None:
    """One after the other, some would be taken."""
    where = InMemory()
    rs = make_client(where.address, ns=where.ns)
    store = memory_at(where.address)
    store._item_bytes = 4096
    tokens = created(rs, [{"id": "user", "ip": IP}] * 70)
    before = set(contents(where))
    with pytest.raises(StoreFull):
        created(rs, [{"id": "user", "ip": IP}] * 20)
    assert set(contents(where)) == before
    assert len(rs.soid(APP, "user")) == len(there(rs.get_many(APP, tokens))) == 70


@pytest.mark.parametrize("where", ["memory", "memcached"], indirect=True)
def test_the_counter_of_a_session_that_is_gone_is_not_kept_alive(client: SessionsClient) -> None:
    tokens = created(client, [new(1), new(2)])
    evict(client, session_key(client, tokens[0]))
    first, second = client.get_many(APP, tokens)
    assert first is None
    assert second is not None
    assert value(client, counter_key(client, tokens[0])) is None
    assert value(client, counter_key(client, tokens[1])) is not None


@pytest.mark.parametrize("where", ["memory", "memcached"], indirect=True)
@pytest.mark.parametrize(
    ("key", "foreign"), [(session_key, b"[1]"), (session_key, b"rosebud"), (counter_key, b"rosebud")]
)
def test_what_something_else_wrote_is_damage(
    client: SessionsClient, key: Callable[[SessionsClient, str], bytes], foreign: bytes
) -> None:
    tokens = created(client, [new(1), new(2)])
    put(client, key(client, tokens[1]), foreign)
    with pytest.raises(StoreError) as caught:
        client.get_many(APP, tokens)
    assert isinstance(caught.value, (StoreDamaged, StoreUnavailable))  # memcached refuses to count it
    with pytest.raises(type(caught.value)):
        client.get(APP, tokens[1])
    assert "rosebud" not in str(caught.value)


@pytest.mark.parametrize("where", ["memory", "memcached"], indirect=True)
def test_sessions_that_an_index_lost_get_back_into_it(where: Where, client: SessionsClient) -> None:
    tokens = created(client, [new(number, no_resave=number == 3) for number in range(5)])
    for number in range(5):
        evict(client, bucket_key(client, f"user{number}"))
    assert client.soapp(APP) == []
    client.get_many(APP, tokens)
    where.advance(1800)
    client.get_many(APP, tokens)
    assert sorted(ips(client.soapp(APP))) == [f"ip{number}" for number in range(5)]
    assert client.killsoid(APP, "user3") == {"kill": 1}


def test_they_get_back_when_each_of_them_would_by_itself(make_client: MakeClient) -> None:
    """Not more often, and not later."""
    where = InMemory()
    rs = make_client(where.address, ns=where.ns)
    meter = rs._nodes[0].meter
    store = memory_at(where.address)
    tokens = created(rs, [new(number, ttl=ttl) for number, ttl in enumerate([7200, 400, 100] * 150)])
    reads: list[Callable[[], object]] = [
        lambda: rs.get_many(APP, tokens),
        lambda: [rs.get(APP, token) for token in tokens],
    ]
    for pause in (1, 59, 60, 61, 99, 50, 15):
        where.now += pause
        entries = dict(store._entries)
        counts = []
        for read in reads:
            store._entries = dict(entries)  # both find it as it was
            relisted = meter.relists
            read()
            counts.append(meter.relists - relisted)
        assert counts[0] == counts[1]
    assert meter.relists > 20


# -------------------------------------------------------------------------------------------- kill


@pytest.mark.parametrize("small", [False, True])
def test_sessions_are_ended_as_by_kill_and_counted_once(
    request: pytest.FixtureRequest, where: Where, client: SessionsClient, small: bool
) -> None:
    """What is over, unknown or killed counts as nothing, also where its item is there still."""
    one_by_one, at_once = twins(client, where)
    expected = sum(client.kill(APP, token)["kill"] for token in one_by_one)
    if small:
        request.getfixturevalue("small_batches")
    assert client.kill_many(APP, [*at_once, *at_once]) == {"kill": expected} == {"kill": 3}
    assert client.get_many(APP, at_once) == [None] * len(at_once)
    assert client.kill_many(APP, at_once) == {"kill": 0}
    assert [key for key in contents(where) if ":s:" in key or ":r:" in key] == []


# ------------------------------------------------------------------------------------------- cache


@pytest.fixture
def cached(where: Where, make_client: MakeClient) -> SessionsClient:
    return make_client(where.address, ns=where.ns, cachetime=60)


def test_the_cache_is_used_as_by_get(cached: SessionsClient, client: SessionsClient) -> None:
    """What it has is not asked for, what was read is kept, and nobody can change what it holds."""
    tokens = created(client, [new(number, d={"n": number}) for number in range(4)])
    assert cached.get(APP, tokens[0]) is not None
    for _ in range(2):
        sessions = there(cached.get_many(APP, [*tokens, tokens[1]]))
        assert [session["r"] for session in sessions] == [2] * 5
        assert sessions[1] is not sessions[4]
        assert sessions[1]["d"] is not sessions[4]["d"]
        for session in sessions:
            assert session["d"] is not None
            session["d"]["n"] = -1
            session["r"] = 99
    assert [session["d"] for session in there(cached.get_many(APP, tokens))] == [
        {"n": number} for number in range(4)
    ]
    one = cached.get(APP, tokens[3])
    assert one is not None
    assert one["r"] == 2
    assert [session["r"] for session in there(client.get_many(APP, tokens))] == [3] * 4


def test_what_is_not_there_is_not_cached(cached: SessionsClient) -> None:
    assert cached.get_many(APP, [UNKNOWN, UNKNOWN]) == [None, None]
    assert cached._cache.hits == 0


def test_what_is_ended_is_not_shown_from_the_cache(cached: SessionsClient) -> None:
    tokens = created(cached, [new(number) for number in range(3)])
    assert len(there(cached.get_many(APP, tokens))) == 3
    assert cached.kill_many(APP, tokens[:2]) == {"kill": 2}
    assert [session is None for session in cached.get_many(APP, tokens)] == [True, True, False]


def test_what_may_have_been_ended_is_not_shown_from_the_cache_either(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    rs = make_client(own_memcached.address, cachetime=60)
    tokens = created(rs, [new(1)])
    assert len(there(rs.get_many(APP, tokens))) == 1
    own_memcached.kill()
    with pytest.raises(LogoutIncomplete) as caught:
        rs.kill_many(APP, tokens)
    assert (caught.value.killed, caught.value.unreached) == (0, (own_memcached.address,))
    with pytest.raises(StoreUnavailable):
        rs.get_many(APP, tokens)


# -------------------------------------------------------------------------------------- validation

OK: dict[str, Any] = {"id": "user", "ip": IP}

WRONG_SESSIONS: list[tuple[Any, str, str]] = [
    (None, "missingParameter", "No sessions supplied"),
    (5, "invalidValue", "sessions must be a list, or something else to iterate over"),
    (OK, "invalidValue", "sessions must be a list, or something else to iterate over"),
    ("user", "invalidValue", "sessions must be a list, or something else to iterate over"),
    ([OK, OK, None], "invalidValue", "session 3: it must be a mapping"),
    ([OK, "user"], "invalidValue", "session 2: it must be a mapping"),
    ([{}], "missingParameter", "session 1: No id supplied"),
    ([OK, OK, {"id": "user"}], "missingParameter", "session 3: No ip supplied"),
    ([{**OK, "id": 7}], "invalidFormat", "session 1: Invalid id format"),
    ([{**OK, "ip": "x" * 40}], "invalidFormat", "session 1: Invalid ip format"),
    ([{**OK, "ttl": 9}], "invalidValue", "session 1: ttl must be a positive integer >= 10"),
    ([{**OK, "ttl": None}], "invalidValue", "session 1: ttl must be a positive integer >= 10"),
    ([{**OK, "no_resave": 1}], "invalidValue", "session 1: no_resave must be True or False"),
    ([OK, {**OK, "d": {}}], "invalidValue", "session 2: d must containt at least one key."),
    ([OK, {**OK, "d": {"k": b""}}], "invalidValue", "session 2: d.k has a forbidden type."),
    (
        [OK, {**OK, "app": APP}],
        "invalidValue",
        "session 2: it can have id, ip, ttl, d and no_resave, and not 'app'",
    ),
    ([OK, {**OK, 7: 7}], "invalidValue", "session 2: it can have id, ip, ttl, d and no_resave, and not 7"),
    ([OK, {**OK, "d": {"k": "x" * 2**20}}], "invalidValue", "session 2: d is too large: "),
    ([{**OK, "d": [1]}], "invalidValue", "session 1: d must be an object"),
]


@pytest.fixture
def unreachable(make_client: MakeClient) -> SessionsClient:
    """What it answers was found out without asking."""
    return make_client([f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"])


@pytest.mark.parametrize(("given", "name", "message"), WRONG_SESSIONS)
def test_sessions_are_checked_before_anything_is_asked(
    unreachable: SessionsClient, given: Any, name: str, message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        unreachable.create_many(APP, given)
    assert (caught.value.name, str(caught.value)[: len(message)]) == (name, message)
    assert caught.value.__cause__ is None
    assert isinstance(caught.value, SessionTooLarge) == ("too large" in message)


WRONG_TOKENS: list[tuple[Any, str, str]] = [
    (None, "missingParameter", "No tokens supplied"),
    (UNKNOWN, "invalidValue", "tokens must be a list, or something else to iterate over"),
    (7, "invalidValue", "tokens must be a list, or something else to iterate over"),
    ([UNKNOWN, UNKNOWN, UNKNOWN + "0"], "invalidFormat", "token 3: Invalid token format"),
    ([UNKNOWN.encode()], "invalidFormat", "token 1: Invalid token format"),
    ([UNKNOWN, None], "missingParameter", "token 2: No token supplied"),
    ([{"token": UNKNOWN}], "invalidFormat", "token 1: Invalid token format"),
]


@pytest.mark.parametrize("call", ["get_many", "kill_many"])
@pytest.mark.parametrize(("given", "name", "message"), WRONG_TOKENS)
def test_tokens_are_checked_before_anything_is_asked(
    unreachable: SessionsClient, call: str, given: Any, name: str, message: str
) -> None:
    """And are not shown."""
    with pytest.raises(ValidationError) as caught:
        getattr(unreachable, call)(APP, given)
    assert (caught.value.name, str(caught.value)) == (name, message)


def test_what_an_iterable_raises_comes_out_before_anything_is_asked(unreachable: SessionsClient) -> None:
    def failing() -> Iterator[Any]:
        yield OK
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        unreachable.create_many(APP, failing())
    with pytest.raises(LookupError, match="mine"):
        unreachable.get_many(APP, (UNKNOWN for _ in failing()))


def test_the_time_to_live_that_is_not_given_is_that_of_create() -> None:
    assert inspect.signature(SessionsClient.create).parameters["ttl"].default == many._TTL_S


# ------------------------------------------------------------------------------------ how it is sent


def ready(number: int, size: int) -> Ready:
    return Ready(number, b"u" * 22, Life(60, False), b"x" * size)


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ([], []),
        ([10], [1]),
        ([1] * BATCH_MAX, [BATCH_MAX]),
        ([1] * (BATCH_MAX + 1), [BATCH_MAX, 1]),
        ([BATCH_BYTES + 1] * 2, [1, 1]),
        ([BATCH_BYTES - 1, 1, 1], [2, 1]),
    ],
)
def test_batches_are_bounded_by_number_and_by_bytes(sizes: list[int], lengths: list[int]) -> None:
    """One session is sent in any case."""
    given = [ready(number, size) for number, size in enumerate(sizes)]
    cuts = list(cut(given))
    assert [len(some) for some in cuts] == lengths
    assert [each for some in cuts for each in some] == given


class Watched:
    """The batches that a client sends to its only server."""

    def __init__(self, rs: SessionsClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[Batch] = []
        run = rs._nodes[0].store.run

        def watching(batch: Batch, **options: Any) -> list[Any]:
            self.batches.append(batch)
            return run(batch, **options)

        monkeypatch.setattr(rs._nodes[0].store, "run", watching)
        rs._nodes[0]._apps.clear()
        rs._apps.clear()

    @property
    def operations(self) -> list[Operation]:
        return [operation for batch in self.batches for operation in batch]


@pytest.fixture
def alone(make_client: MakeClient) -> tuple[InMemory, SessionsClient]:
    where = InMemory()
    return where, make_client(where.address, ns=where.ns)


def test_a_session_is_stored_after_its_counter_and_its_index_entry(
    alone: tuple[InMemory, SessionsClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else is in the packet: a reader of the index takes what it finds there for granted."""
    _, rs = alone
    watched = Watched(rs, monkeypatch)
    tokens = created(rs, [new(number % 7) for number in range(50)])
    *_, batch = watched.batches
    for token in tokens:
        name = hashed(token)
        kinds = [
            "r" if b":r:" in operation.key else "s" if b":s:" in operation.key else "i"
            for operation in batch
            if isinstance(operation, (Add, Append)) and name in operation.key + operation.value
        ]
        assert kinds in (["r", "i", "i", "s"], ["r", "i", "s"])


def test_the_index_entries_of_a_bucket_are_appended_as_one(
    alone: tuple[InMemory, SessionsClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, rs = alone
    rs.create(APP, "user", IP)
    watched = Watched(rs, monkeypatch)
    for _ in range(2):
        watched.batches.clear()
        created(rs, [{"id": "user", "ip": IP}] * 200)
        assert sum(isinstance(operation, Append) for operation in watched.operations) == 1
    assert len(rs.soid(APP, "user")) == 401


def test_a_bucket_that_has_grown_to_its_limit_spills(alone: tuple[InMemory, SessionsClient]) -> None:
    """It is asked for its size as often as records are added: here, each time."""
    where, rs = alone
    for _ in range(10):
        created(rs, [{"id": "user", "ip": IP}] * 500)
    sizes = [len(held) for key, held in contents(where).items() if ":i:" in key]
    assert index.FULL_BYTES < max(sizes) <= index.FULL_BYTES + 500 * index.RECORD_LENGTH
    assert any(":x:" in key for key in contents(where))
    assert len(rs.soid(APP, "user")) == 5000
    assert rs.killsoid(APP, "user") == {"kill": 5000}


@pytest.mark.parametrize("where", ["memory", "memcached"], indirect=True)
def test_a_bucket_that_was_wiped_away_meanwhile_is_made_anew(client: SessionsClient) -> None:
    """This process believes that it is there, and finds out by the answer."""
    created(client, [new(1)])
    evict(client, bucket_key(client, "user1"))
    created(client, [new(1), new(1)])
    assert len(client.soid(APP, "user1")) == 2


def test_a_batch_that_took_long_is_listed_again(
    alone: tuple[InMemory, SessionsClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wipe may have taken it for the rest of somebody's failure."""
    _, rs = alone
    created(rs, [new(1)])
    watched = Watched(rs, monkeypatch)
    run = rs._nodes[0].store.run
    late = 0.0

    def slow(batch: Batch, **options: Any) -> list[Any]:
        nonlocal late
        answers = run(batch, **options)
        if not late:
            late = 4.0
            rs._nodes[0].store.run = run  # type: ignore[method-assign]
            rs.wipe()
            evict(rs, bucket_key(rs, "user1"))
        return answers

    monkeypatch.setattr(rs._nodes[0].store, "run", slow)
    rs._nodes[0]._apps.clear()
    rs._apps.clear()
    monotonic = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + late)
    created(rs, [new(1), new(1)])
    assert len(watched.batches) >= 2
    assert len(rs.soid(APP, "user1")) == 2


def test_a_token_that_somebody_has_is_not_given_again(
    client: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However unlikely that is: another one is drawn, and the session that has it stays as it is."""
    taken = created(client, [new(1)])[0]
    drawn = iter([taken])

    def draw(tag: str, life: Life) -> str:
        return next(drawn, None) or new_token(tag, life)

    monkeypatch.setattr(batches, "new_token", draw)
    on(client, taken)
    for node in client._nodes[1:]:
        node.weight = 0
    client._fleet._taking_new = client._nodes[:1]
    tokens = created(client, [new(2), new(3)])
    assert taken not in tokens
    assert [session["id"] for session in there(client.get_many(APP, [taken, *tokens]))] == [
        "user1",
        "user2",
        "user3",
    ]
    always = [taken] * 100
    monkeypatch.setattr(batches, "new_token", lambda _tag, _life: always.pop())
    with pytest.raises(StoreError, match="no token could be found that is free"):
        created(client, [new(4)])
    assert client.get(APP, taken) is not None


def test_the_checks_are_those_of_create(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is made for each session."""
    called: list[str] = []
    for name in ("check_id", "check_ip", "check_ttl", "check_flag", "checked_data"):
        original = getattr(check, name)

        def noting(*arguments: Any, name: str = name, original: Any = original) -> Any:
            called.append(name)
            return original(*arguments)

        monkeypatch.setattr(check, name, noting)
    with SessionsClient("memory://", wipe=0) as rs:
        rs.create(APP, "user", IP, d={"a": 1})
        by_create = called.copy()
        called.clear()
        rs.create_many(APP, [{"id": "user", "ip": IP, "d": {"a": 1}}] * 2)
    assert called == by_create * 2


def test_a_whole_batch_of_large_sessions_goes_out_and_comes_in(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    """More than the sockets hold: the server is read from while it is being written to."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns, timeout=20)
    tokens = created(rs, [new(number, d={"k": "x" * 50_000}) for number in range(200)])
    for _ in range(2):
        assert [session["id"] for session in there(rs.get_many(APP, tokens))] == [
            f"user{number}" for number in range(200)
        ]
    assert rs.kill_many(APP, tokens) == {"kill": 200}
