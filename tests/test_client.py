"""The conformance suite: what every call of the client does, the same on both stores."""

from __future__ import annotations

import re
import string
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import pytest

from memsessions import (
    ClientClosed,
    MemsessionsError,
    Scalar,
    Session,
    SessionsClient,
    SessionTooLarge,
    StoreFull,
    ValidationError,
    tokens,
)

from .conftest import InMemory, MakeClient, OnMemcached, Where, every_where
from .support.memcached import Memcached
from .support.sessions import (
    KEYS,
    UNKNOWN,
    Shown,
    Ticks,
    between_ticks,
    contents,
    difference,
    ips,
    memory_at,
)

APP = "forum"
DAY = 24 * 3600
TEN_YEARS = 10 * 366 * DAY


@pytest.fixture(params=["memory", "memcached", "three memcached"])
def where(request: pytest.FixtureRequest) -> Where:
    """What a client does is the same on one server and on several."""
    return every_where(request)


@pytest.fixture
def shown(where: Where) -> Shown:
    return Shown(where)


def started(rs: SessionsClient, id: str = "user", ip: str = "192.0.2.1", **options: Any) -> str:
    """The token of a new session of the forum."""
    return rs.create(APP, id, ip, **options)["token"]


def there(session: Session | None) -> Session:
    """The session that a call answered with, which has to be one."""
    assert session is not None
    return session


def rotated(rs: SessionsClient, token: str) -> str:
    """The new token of a session of the forum."""
    answer = rs.rotate(APP, token)
    assert answer is not None
    return answer["token"]


def alive(rs: SessionsClient, token: str, app: str = APP) -> bool:
    """Whether a session lives; asking counts as an access."""
    return rs.get(app, token) is not None


# -------------------------------------------------------------------------------------- session maps


def test_the_story_of_the_readme(client: SessionsClient, where: Where, shown: Shown) -> None:
    """One session through every call, with exactly the answers that are promised."""
    token = client.create("forum", "user1234", "156.78.90.12", ttl=3600, d={"theme": "dark"})["token"]
    where.advance(3)
    base = {"id": "user1234", "r": 2, "w": 1, "idle": 3, "ttl": 3600, "ip": "156.78.90.12"}
    shown(client.get("forum", token), **base, d={"theme": "dark"})
    changed = {**base, "w": 2, "idle": 0, "d": {"unread": 34}}
    shown(client.set("forum", token, {"unread": 34, "theme": None}), **changed)
    for sessions in (client.soid("forum", "user1234"), client.soapp("forum", 600)):
        assert len(sessions) == 1
        shown(sessions[0], **changed)
    assert client.activity("forum", 600) == {"activity": 1}
    assert client.kill("forum", token) == {"kill": 1}
    assert client.killsoid("forum", "user1234") == {"kill": 0}
    assert client.killall("forum") == {"kill": 0}
    assert client.ping() == "PONG"


@pytest.mark.parametrize("d", [None, {"a": 1}])
@pytest.mark.parametrize("no_resave", [False, True])
def test_every_call_shows_the_same_keys_in_the_same_order(
    client: SessionsClient, d: dict[str, Scalar] | None, no_resave: bool
) -> None:
    token = started(client, d=d, no_resave=no_resave)
    keys = [*KEYS, "no_resave"] if no_resave else KEYS
    assert list(client.get(APP, token) or {}) == keys
    assert [list(session) for session in client.soid(APP, "user")] == [keys]
    assert [list(session) for session in client.soapp(APP)] == [keys]
    assert list(client.set(APP, token, {"a": None}) or {}) == keys


def test_a_new_session_has_one_read_one_write_and_two_hours(client: SessionsClient, shown: Shown) -> None:
    started(client)
    (session,) = client.soid(APP, "user")
    shown(session, id="user", r=1, w=1, idle=0, ttl=7200, ip="192.0.2.1", d=None)


def test_create_answers_nothing_but_a_token_of_64_letters_and_digits(client: SessionsClient) -> None:
    answers = [client.create(APP, "user", "192.0.2.1") for _ in range(50)]
    assert all(list(answer) == ["token"] for answer in answers)
    assert all(re.fullmatch("[A-Za-z0-9]{64}", answer["token"]) for answer in answers)
    assert len({answer["token"] for answer in answers}) == 50


def test_get_adds_one_to_r_and_set_one_to_w_and_both_answer_the_value_after(client: SessionsClient) -> None:
    token = started(client)
    seen = []
    for _ in range(12):  # beyond one digit
        for session in (client.get(APP, token), client.set(APP, token, {"k": "v"})):
            assert session is not None
            seen.append((session["r"], session["w"]))
    assert seen == [pair for n in range(1, 13) for pair in ((n + 1, n), (n + 1, n + 1))]


def test_answers_are_the_callers_own(client: SessionsClient) -> None:
    """Changing what a call answered, or the data it was given, changes no session."""
    data: dict[str, Scalar] = {"a": 1}
    token = started(client, d=data)
    data["a"] = 2
    first = client.get(APP, token)
    assert first is not None
    assert first["d"] == {"a": 1}
    first["d"]["a"] = 3
    second = client.get(APP, token)
    assert second is not None
    assert second["d"] == {"a": 1}


# ----------------------------------------------------------------------------------------------- time


def test_idle_counts_from_the_last_get_set_or_create_and_is_taken_before_the_call_counts(
    where: Where, client: SessionsClient
) -> None:
    def idles() -> list[int | None]:
        token = started(client)
        found: list[int | None] = []
        for seconds, call in ((5, client.get), (0, client.get), (7, None), (0, client.get), (2, None)):
            where.advance(seconds)
            session = client.set(APP, token, {"k": 1}) if call is None else call(APP, token)
            found.append(None if session is None else session["idle"])
        # What a set shows is what was before it; what comes after it shows that it was an access.
        where.advance(4)
        found += [session["idle"] for session in client.soid(APP, "user")[:1]]
        client.killall(APP)
        return found

    assert between_ticks(where, idles) == [5, 0, 7, 0, 2, 4]


def test_a_session_lives_while_idle_is_at_most_ttl(where: Where, client: SessionsClient) -> None:
    def last_moments() -> list[object]:
        answers: list[object] = []
        for seconds in (10, 11):
            token = started(client, ttl=10)
            where.advance(seconds)
            session = client.get(APP, token)
            answers.append(None if session is None else session["idle"])
        return answers

    assert between_ticks(where, last_moments) == [10, None]


@pytest.mark.parametrize("call", ["get", "set"])
def test_an_access_renews_a_session_by_its_whole_ttl(where: Where, client: SessionsClient, call: str) -> None:
    token = started(client, ttl=100)
    for _ in range(3):
        where.advance(80)
        session = there(client.get(APP, token) if call == "get" else client.set(APP, token, {"k": 1}))
        assert session["ttl"] == 100
    where.advance(102)
    assert client.get(APP, token) is None


def test_lists_change_nothing(where: Where, client: SessionsClient, shown: Shown) -> None:
    """No list is an access: counters stay, idle goes on, and the session ends when it would have."""
    token = started(client, ttl=100, d={"a": 1})
    expected = {"id": "user", "r": 1, "w": 1, "ttl": 100, "ip": "192.0.2.1", "d": {"a": 1}}
    for passed in (30, 60, 90):
        where.advance(30)
        for _ in range(2):
            for sessions in (client.soid(APP, "user"), client.soapp(APP, 600)):
                shown(sessions[0], **{key: expected.get(key, passed) for key in KEYS})
            assert client.activity(APP, 600) == {"activity": 1}
            assert client.wipe() == {"wiped": 0}
    where.advance(12)
    assert client.soid(APP, "user") == client.soapp(APP, 600) == []
    assert client.activity(APP, 600) == {"activity": 0}
    assert client.get(APP, token) is None


@pytest.mark.parametrize(
    "ttl", [10, 30 * DAY - 2, 30 * DAY - 1, 30 * DAY, 30 * DAY + 1, 365 * DAY, TEN_YEARS]
)
@pytest.mark.parametrize("no_resave", [False, True])
def test_every_ttl_from_10_seconds_to_10_years_is_kept_to(
    where: Where, client: SessionsClient, ttl: int, no_resave: bool
) -> None:
    """Also beyond 30 days, from where on memcached takes a time for a date.

    The client makes that date from the server's clock as it knows it, which may be a second behind.
    """
    behind = 1 if where.kind == "memcached" and ttl >= 30 * DAY else 0

    def life() -> tuple[list[Session | None], list[Session], list[Session | None]]:
        client.killall(APP)
        tokens = [started(client, user, ttl=ttl, no_resave=no_resave) for user in ("reader", "writer")]
        begun = [client.get(APP, tokens[0]), client.set(APP, tokens[1], {"k": 1})]
        where.advance(ttl - behind)
        listed = client.soapp(APP, ttl)
        where.advance(1 + behind)
        return begun, listed, [client.get(APP, token) for token in tokens]

    begun, listed, ended = between_ticks(where, life)
    assert [(there(session)["r"], there(session)["w"]) for session in begun] == [(2, 1), (1, 2)]
    if no_resave:
        assert [ttl - there(session)["ttl"] <= behind for session in begun] == [True, True]
        assert [0 <= session["ttl"] <= behind for session in listed] == [True, True]
    else:
        assert [there(session)["ttl"] for session in begun] == [ttl, ttl]
        assert [session["ttl"] for session in listed] == [ttl, ttl]
    assert [ttl - behind <= session["idle"] <= ttl for session in listed] == [True, True]
    assert ended == [None, None]


@pytest.mark.parametrize("ttl", [31 * DAY, TEN_YEARS])
@pytest.mark.parametrize("no_resave", [False, True])
def test_a_session_of_more_than_30_days_is_counted_moved_and_ended(
    where: Where, client: SessionsClient, ttl: int, no_resave: bool
) -> None:
    token = started(client, ttl=ttl, no_resave=no_resave)
    for days in (0, 20, 10):
        where.advance(days * DAY)
        token = rotated(client, token)
        assert alive(client, token)
    session = there(client.get(APP, token))
    assert (session["r"], session["w"]) == (5, 1)
    assert client.activity(APP) == {"activity": 1}
    where.advance(10)  # what rotate leaves of a no_resave session goes within seconds
    assert client.wipe() == {"wiped": 3}
    assert client.kill(APP, token) == {"kill": 1}
    assert not alive(client, token)


def test_a_ttl_beyond_10_years_is_refused(client: SessionsClient) -> None:
    with pytest.raises(ValidationError, match="ttl must be at most 316224000 seconds"):
        client.create(APP, "user", "192.0.2.1", ttl=TEN_YEARS + 1)
    assert client.soid(APP, "user") == []


# ------------------------------------------------------------------------------------------ no_resave


def test_no_resave_shows_what_is_left_of_its_life(where: Where, client: SessionsClient, shown: Shown) -> None:
    token = started(client, ttl=100, no_resave=True)
    base = {"id": "user", "ip": "192.0.2.1", "d": None, "no_resave": True}

    def expect(session: Session | None, **numbers: int) -> None:
        shown(session, **{key: {**base, **numbers}[key] for key in [*KEYS, "no_resave"]})

    where.advance(30)
    expect(client.get(APP, token), r=2, w=1, idle=30, ttl=70)
    where.advance(20)
    expect(client.soid(APP, "user")[0], r=2, w=1, idle=20, ttl=50)
    expect(client.soapp(APP, 600)[0], r=2, w=1, idle=20, ttl=50)
    shown_data = client.set(APP, token, {"k": None})
    expect(shown_data, r=2, w=2, idle=20, ttl=50)
    where.advance(40)
    expect(client.get(APP, token), r=3, w=2, idle=40, ttl=10)


@pytest.mark.parametrize("use", ["nothing", "get", "set", "rotate"])
def test_no_resave_ends_ttl_seconds_after_its_creation_whatever_happens(
    where: Where, client: SessionsClient, use: str
) -> None:
    def life() -> list[object]:
        token = started(client, ttl=100, no_resave=True)
        for _ in range(4):
            where.advance(25)
            if use == "get":
                client.get(APP, token)
            elif use == "set":
                client.set(APP, token, {"k": 1})
            elif use == "rotate":
                moved = client.rotate(APP, token)
                token = moved["token"] if moved else token  # it is over if the clock has ticked
        # Exactly at its end it still lives, with nothing left.
        found: list[object] = [[session["ttl"] for session in client.soid(APP, "user")]]
        where.advance(1)
        found += [client.soid(APP, "user"), client.soapp(APP), client.activity(APP)["activity"]]
        return [*found, client.get(APP, token), client.set(APP, token, {"k": 1}), client.rotate(APP, token)]

    assert between_ticks(where, life) == [[0], [], [], 0, None, None, None]


@pytest.mark.parametrize("call", ["kill", "killsoid", "killall"])
@pytest.mark.parametrize("used", [False, True])
def test_no_kill_counts_a_no_resave_session_that_is_over(
    where: Where, client: SessionsClient, call: str, used: bool
) -> None:
    token = started(client, ttl=100, no_resave=True)
    started(client, "other", ttl=100)
    where.advance(80)
    assert client.soid(APP, "other") != []
    if used:  # its item on the server is renewed then, and outlives the session
        assert alive(client, token)
    where.advance(22)
    if call == "kill":
        assert client.kill(APP, token) == {"kill": 0}
    elif call == "killsoid":
        assert client.killsoid(APP, "user") == {"kill": 0}
    else:
        assert client.killall(APP) == {"kill": 0}
    assert client.get(APP, token) is None


@pytest.mark.parametrize("call", ["kill", "killsoid", "killall"])
def test_every_kill_counts_a_no_resave_session_that_lives(client: SessionsClient, call: str) -> None:
    token = started(client, ttl=100, no_resave=True)
    arguments = {"kill": (APP, token), "killsoid": (APP, "user"), "killall": (APP,)}[call]
    assert getattr(client, call)(*arguments) == {"kill": 1}
    assert getattr(client, call)(*arguments) == {"kill": 0}
    assert client.get(APP, token) is None


# --------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize(
    ("d", "kept"),
    [
        (None, None),
        ({"a": None}, None),
        ({"a": None, "b": None}, None),
        ({"a": None, "b": 2}, {"b": 2}),
        ({"": ""}, {"": ""}),
        ({"b": 1, "a": 2}, {"b": 1, "a": 2}),
    ],
)
def test_create_leaves_out_what_is_none(
    client: SessionsClient, d: dict[str, Scalar] | None, kept: dict[str, Scalar] | None
) -> None:
    """And d itself is None, not an empty mapping, where nothing is left."""
    token = started(client, d=d)
    session = there(client.get(APP, token))
    assert session["d"] == kept
    assert list(session["d"] or {}) == list(kept or {})


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        (None, {"a": 1}, {"a": 1}),
        (None, {"a": None}, None),
        ({"a": 1}, {"a": None}, None),
        ({"a": 1}, {"b": None}, {"a": 1}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": "x"}, {"a": "x", "b": 2}),
        ({"a": 1, "b": 2}, {"a": None, "c": 3}, {"b": 2, "c": 3}),
        ({"a": 1, "b": 2}, {"a": None, "b": None}, None),
        ({"a": 1}, {"a": True}, {"a": True}),
        ({"a": True}, {"a": 1.0}, {"a": 1.0}),
    ],
)
def test_set_merges_and_none_removes_a_key(
    client: SessionsClient,
    before: dict[str, Scalar] | None,
    change: dict[str, Scalar],
    after: dict[str, Scalar] | None,
    shown: Shown,
) -> None:
    token = started(client, d=before)
    base = {"id": "user", "r": 1, "w": 2, "idle": 0, "ttl": 7200, "ip": "192.0.2.1"}
    answer = client.set(APP, token, change)
    shown(answer, **base, d=after)
    assert answer is not None
    assert _typed(answer["d"]) == _typed(after)
    shown(client.get(APP, token), **{**base, "r": 2}, d=after)


def _typed(d: object) -> object:
    return {key: (type(value), value) for key, value in d.items()} if isinstance(d, dict) else d


VALUES: dict[str, Scalar] = {
    "empty": "",
    "text": "딸기 필드 영원히 🍓",
    "lines": "a\r\nb\nc\u2028d\x00e\x7f",
    "protocol": "END\r\nEN\r\nVA 1 t1 c1\r\nx\r\n",
    "quotes": "\"'\\/<>&",
    "zero": 0,
    "negative": -1,
    "least": -(2**63),
    "greatest": 2**64 - 1,
    "float": 0.1,
    "whole float": 1.0,
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "true": True,
    "false": False,
    "딸기\n:": "in the key",
    "": "an empty key",
    "k" * 1000: "a long key",
}


def test_values_come_back_as_they_are_type_and_all(client: SessionsClient) -> None:
    """Text of any kind, integers of 64 bits, floats and booleans, by create and by set."""
    created = client.get(APP, started(client, d=VALUES))
    changed = client.set(APP, started(client), VALUES)
    for session in (created, changed, *client.soid(APP, "user"), *client.soapp(APP)):
        assert session is not None
        assert _typed(session["d"]) == _typed(VALUES)
        assert list(session["d"] or {}) == list(VALUES)


class Level(IntEnum):
    HIGH = 3


class Name(str):
    __slots__ = ()


def test_subclasses_of_the_allowed_types_are_stored_as_plain_values(client: SessionsClient) -> None:
    token = started(client, d={Name("who"): Name("me"), "level": Level.HIGH})
    session = there(client.get(APP, token))
    assert _typed(session["d"]) == {"who": (str, "me"), "level": (int, 3)}


@pytest.mark.parametrize("kind", [dict, OrderedDict, lambda d: MappingProxyType(d)])
def test_d_can_be_any_mapping(
    client: SessionsClient, kind: Callable[[dict[str, Scalar]], dict[str, Scalar]]
) -> None:
    token = started(client, d=kind({"a": 1}))
    session = there(client.set(APP, token, kind({"b": 2})))
    assert session["d"] == {"a": 1, "b": 2}


REFUSED: dict[str, tuple[Any, str]] = {
    "NaN": ({"k": float("nan")}, "d.k is infinite or not a number"),
    "infinity": ({"k": float("inf")}, "d.k is infinite or not a number"),
    "minus infinity": ({"k": float("-inf")}, "d.k is infinite or not a number"),
    "65 bits": ({"k": 2**64}, "d.k is an integer of more than 64 bits"),
    "65 bits, negative": ({"k": -(2**63) - 1}, "d.k is an integer of more than 64 bits"),
    "lone surrogate": ({"k": "x\ud800"}, "d.k is not valid Unicode"),
    "lone surrogate in a key": ({"x\udfff": 1}, r"d has the key 'x\\udfff'"),
    "bytes": ({"k": b"x"}, "d.k has a forbidden type"),
    "list": ({"k": [1]}, "d.k has a forbidden type"),
    "nested": ({"ok": 1, "k": {}}, "d.k has a forbidden type"),
    "integer key": ({1: "x"}, "d has a key of type int"),
    "empty": ({}, "d must containt at least one key."),
    "list instead of a mapping": ([("a", 1)], "d must be an object"),
    "too large": ({"k": "x" * 1024 * 1024, "l": "x"}, "d.k alone takes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_cannot_be_stored_is_refused_and_the_session_stays_as_it_was(
    client: SessionsClient, shown: Shown, name: str
) -> None:
    """The message names the key; neither set nor create leave a trace."""
    d, message = REFUSED[name]
    token = started(client, d={"k": "before"})
    for call in (lambda: client.set(APP, token, d), lambda: started(client, "user", d=d)):
        with pytest.raises(ValidationError, match=message) as caught:
            call()
        assert caught.value.name == "invalidValue"
    (session,) = client.soapp(APP)
    shown(session, id="user", r=1, w=1, idle=0, ttl=7200, ip="192.0.2.1", d={"k": "before"})


# ----------------------------------------------------------------------------------------------- size


def largest(rs: SessionsClient, id: str = "user", ip: str = "192.0.2.1", **rest: Scalar) -> str:
    """The longest text that is accepted as d.k, found by trying."""
    low, high = 0, 2 * 1024 * 1024
    while high - low > 1:
        middle = (low + high) // 2
        try:
            rs.kill(APP, rs.create(APP, id, ip, d={"k": "x" * middle, **rest})["token"])
        except SessionTooLarge:
            high = middle
        else:
            low = middle
    return "x" * low


@pytest.fixture
def default_where(where: Where, request: pytest.FixtureRequest) -> Where:
    """Both stores, where memcached is one that was started without an option about memory."""
    return OnMemcached(request.getfixturevalue("own_memcached")) if where.kind == "memcached" else where


@pytest.mark.parametrize(
    ("id", "ip"),
    [("u", "1"), ("사" * 128, "주" * 39), ("\x00" * 128, "\x00" * 39), ("🍓" * 128, "🍓" * 39)],
    ids=["short", "korean", "escaped", "emoji"],
)
def test_the_largest_d_that_is_accepted_really_is_stored(
    default_where: Where, make_client: MakeClient, id: str, ip: str
) -> None:
    """With the most that the rest of a session can take, it is written, read, listed, moved and ended."""
    rs = make_client(default_where.address, ns=default_where.ns)
    text = largest(rs, id, ip)
    assert len(text) > 1_000_000
    token = rs.create(APP, id, ip, d={"k": text})["token"]
    other = rs.create(APP, id, ip)["token"]
    answers = [rs.get(APP, token), rs.set(APP, other, {"k": text}), rs.set(APP, token, {"k": text})]
    answers += [*rs.soid(APP, id), *rs.soapp(APP)]
    assert [session and session["d"] for session in answers] == [{"k": text}] * 7
    moved = rotated(rs, token)
    session = there(rs.get(APP, moved))
    assert (session["d"], session["id"], session["ip"]) == ({"k": text}, id, ip)
    with pytest.raises(SessionTooLarge):
        rs.create(APP, id, ip, d={"k": text + "x"})
    assert rs.killsoid(APP, id) == {"kill": 2}


def test_a_merge_that_grows_too_large_is_refused_and_the_session_stays_as_it_was(
    default_where: Where, make_client: MakeClient
) -> None:
    """Each of the two parts would fit; the error is one of the family of the invalid values."""
    rs = make_client(default_where.address, ns=default_where.ns)
    half = "x" * 600_000
    token = rs.create(APP, "user", "192.0.2.1", d={"first": half})["token"]
    with pytest.raises(SessionTooLarge, match=r"d\.") as caught:
        rs.set(APP, token, {"second": half})
    assert isinstance(caught.value, ValueError)
    assert caught.value.name == "invalidValue"
    assert half not in str(caught.value)
    session = there(rs.get(APP, token))
    assert (session["d"], session["r"], session["w"]) == ({"first": half}, 2, 1)
    shrunk = rs.set(APP, token, {"first": None, "second": half})
    assert shrunk is not None
    assert (shrunk["d"], shrunk["w"]) == ({"second": half}, 2)


# -------------------------------------------------------------------------------------- a full store


FILLING = {"k": "x" * 50_000}


class Full:
    """A store without room for another `FILLING`, what it holds, and a client of it."""

    def __init__(self, where: Where, rs: SessionsClient) -> None:
        self.where = where
        self.rs = rs
        self.small = rs.create(APP, "small", "192.0.2.1", d={"a": 1})["token"]
        self.tokens: list[str] = []
        try:
            while len(self.tokens) < 1000:
                self.tokens.append(rs.create(APP, "large", f"ip{len(self.tokens)}", d=FILLING)["token"])
        except StoreFull:
            return
        raise AssertionError("it takes whatever it is given")


@pytest.fixture(params=["memory", "memcached"])
def full(request: pytest.FixtureRequest, make_client: MakeClient) -> Iterator[Full]:
    if request.param == "memory":
        where = InMemory()
        memory_at(where.address)._limit_bytes = 2_000_000
        yield Full(where, make_client(where.address, ns=where.ns))
    else:
        with Memcached("-M", "-m", "2", "-t", "1") as server:
            place = OnMemcached(server)
            yield Full(place, make_client(place.address, ns=place.ns))


def test_a_full_store_refuses_a_new_session_and_leaves_nothing_of_it(full: Full) -> None:
    """What was created before is all there and listed, and nothing else is, not even unlisted."""
    assert len(full.tokens) > 5
    with pytest.raises(StoreFull):
        full.rs.create(APP, "large", "another", d=FILLING)
    assert sorted(ips(full.rs.soid(APP, "large"))) == sorted(f"ip{n}" for n in range(len(full.tokens)))
    assert len(full.rs.soapp(APP)) == len(full.tokens) + 1
    sessions = [key for key in contents(full.where) if f":{APP}:s:" in key]
    assert len(sessions) == len(full.tokens) + 1
    assert all(alive(full.rs, token) for token in full.tokens)


def test_a_full_store_refuses_to_grow_a_session_and_leaves_it_as_it_was(full: Full) -> None:
    with pytest.raises(StoreFull):
        full.rs.set(APP, full.small, {"a": None, **FILLING})
    session = there(full.rs.get(APP, full.small))
    assert (session["d"], session["r"], session["w"]) == ({"a": 1}, 2, 1)


def test_rotating_on_a_full_store_moves_the_session_or_leaves_it_as_it_was(full: Full) -> None:
    token = full.tokens[0]
    try:
        token = rotated(full.rs, token)
    except StoreFull:
        pass
    else:
        assert not alive(full.rs, full.tokens[0])
    session = there(full.rs.get(APP, token))
    assert (session["ip"], session["d"], session["r"], session["w"]) == ("ip0", FILLING, 2, 1)
    assert len(full.rs.soid(APP, "large")) == len(full.tokens)


def test_a_full_store_has_room_again_after_sessions_ended(full: Full) -> None:
    assert full.rs.killsoid(APP, "large") == {"kill": len(full.tokens)}
    assert alive(full.rs, full.rs.create(APP, "large", "another", d=FILLING)["token"])
    assert ips(full.rs.soid(APP, "large")) == ["another"]
    assert alive(full.rs, full.small)


# --------------------------------------------------------------------------------------------- rotate


def test_rotate_gives_the_same_session_a_new_token(
    where: Where, client: SessionsClient, shown: Shown
) -> None:
    """Data, address, counters, idle and life are kept, and rotating counts as no access."""
    token = started(client, ttl=100, d={"a": 1})
    for _ in range(10):
        client.get(APP, token)
    client.set(APP, token, {"b": 2})
    where.advance(30)
    answer = client.rotate(APP, token)
    assert answer is not None
    assert list(answer) == ["token"]
    assert re.fullmatch("[A-Za-z0-9]{64}", answer["token"])
    assert answer["token"] != token
    where.advance(20)
    expected = {"id": "user", "r": 11, "w": 2, "idle": 50, "ttl": 100, "ip": "192.0.2.1"}
    (session,) = client.soid(APP, "user")
    shown(session, **expected, d={"a": 1, "b": 2})
    shown(client.get(APP, answer["token"]), **{**expected, "r": 12}, d={"a": 1, "b": 2})


def test_the_old_token_is_dead_after_rotate(client: SessionsClient) -> None:
    token = started(client)
    moved = rotated(client, token)
    assert client.get(APP, token) is None
    assert client.set(APP, token, {"a": 1}) is None
    assert client.rotate(APP, token) is None
    assert client.kill(APP, token) == {"kill": 0}
    assert len(client.soid(APP, "user")) == len(client.soapp(APP)) == 1
    assert client.activity(APP) == {"activity": 1}
    assert client.kill(APP, moved) == {"kill": 1}


def test_the_old_token_is_dead_after_rotate_and_wipe(client: SessionsClient) -> None:
    """Wiping, which looks at what rotate left behind, makes nothing of it that could be ended or used."""
    token = started(client)
    moved = rotated(client, token)
    assert client.wipe() == {"wiped": 1}
    assert client.get(APP, token) is None
    assert client.set(APP, token, {"a": 1}) is None
    assert client.rotate(APP, token) is None
    assert client.kill(APP, token) == {"kill": 0}
    assert client.killsoid(APP, "user") == {"kill": 1}
    assert client.get(APP, moved) is None


def test_asking_for_the_old_token_after_rotate_does_not_keep_anything_from_being_wiped(
    client: SessionsClient,
) -> None:
    """A browser with the old cookie can ask as often as it likes."""
    token = started(client)
    moved = rotated(client, token)
    for _ in range(3):
        assert client.get(APP, token) is None
        assert client.set(APP, token, {"a": 1}) is None
    assert client.wipe() == {"wiped": 1}
    assert alive(client, moved)


def test_rotating_does_not_make_a_session_live_longer(where: Where, client: SessionsClient) -> None:
    def life() -> list[bool]:
        tokens = [started(client, ttl=100) for _ in range(2)]
        where.advance(60)
        moved = [rotated(client, token) for token in tokens]
        where.advance(40)
        first = alive(client, moved[0])
        where.advance(1)
        return [first, alive(client, moved[1])]

    assert between_ticks(where, life) == [True, False]


def test_a_session_can_be_rotated_again_and_again(client: SessionsClient) -> None:
    token = started(client, d={"a": 1})
    tokens = {token}
    for _ in range(20):
        token = rotated(client, token)
        tokens.add(token)
    assert len(tokens) == 21
    assert [other for other in tokens if alive(client, other)] == [token]
    assert client.killall(APP) == {"kill": 1}


def test_a_rotated_session_keeps_no_resave(where: Where, client: SessionsClient, shown: Shown) -> None:
    token = started(client, ttl=100, no_resave=True)
    where.advance(30)
    moved = rotated(client, token)
    where.advance(10)
    expected = {"id": "user", "r": 2, "w": 1, "idle": 40, "ttl": 60, "ip": "192.0.2.1", "d": None}
    shown(client.get(APP, moved), **expected, no_resave=True)


# ------------------------------------------------------------------------------------ ending sessions


def test_kill_ends_one_session_and_counts_it_once(client: SessionsClient) -> None:
    token, other = started(client), started(client)
    assert client.kill(APP, token) == {"kill": 1}
    assert client.kill(APP, token) == {"kill": 0}
    assert not alive(client, token)
    assert alive(client, other)


def test_killsoid_ends_the_sessions_of_one_user_and_no_other(client: SessionsClient) -> None:
    mine = [started(client, "alice") for _ in range(5)]
    others = [started(client, user) for user in ("Alice", "alice ", "alic", "bob")]
    assert client.kill(APP, mine[0]) == {"kill": 1}
    assert client.killsoid(APP, "alice") == {"kill": 4}
    assert client.killsoid(APP, "alice") == {"kill": 0}
    assert client.soid(APP, "alice") == []
    assert not any(alive(client, token) for token in mine)
    assert all(alive(client, token) for token in others)


def test_killall_ends_the_sessions_of_one_app_and_no_other(client: SessionsClient) -> None:
    tokens = [started(client, f"user{number}") for number in range(20)]
    other = client.create("blog", "user1", "192.0.2.1")["token"]
    assert client.killall(APP) == {"kill": 20}
    assert client.killall(APP) == {"kill": 0}
    assert client.soapp(APP) == []
    assert client.activity(APP) == {"activity": 0}
    assert not any(alive(client, token) for token in tokens)
    assert alive(client, other, "blog")


@pytest.mark.parametrize("call", ["kill", "killsoid", "killall"])
def test_what_has_expired_is_not_counted_as_killed(where: Where, client: SessionsClient, call: str) -> None:
    short, long = started(client, ttl=10), started(client, ttl=1000)
    where.advance(12)
    if call == "kill":
        assert [client.kill(APP, token)["kill"] for token in (short, long)] == [0, 1]
    elif call == "killsoid":
        assert client.killsoid(APP, "user") == {"kill": 1}
    else:
        assert client.killall(APP) == {"kill": 1}


@pytest.mark.parametrize("call", ["killsoid", "killall"])
def test_sessions_can_be_made_again_after_all_were_ended(client: SessionsClient, call: str) -> None:
    for _ in range(2):
        token = started(client)
        assert len(client.soid(APP, "user")) == len(client.soapp(APP)) == 1
        assert alive(client, token)
        assert getattr(client, call)(*CALLS[call]) == {"kill": 1}
        client.wipe()


# ----------------------------------------------------------------------------------------------- lists


def test_soid_lists_the_sessions_of_one_user_the_last_used_first(
    where: Where, client: SessionsClient
) -> None:
    tokens = {}
    for ip in ("ip1", "ip2", "ip3"):
        tokens[ip] = started(client, ip=ip)
        where.advance(10)
    started(client, "other")
    assert ips(client.soid(APP, "user")) == ["ip3", "ip2", "ip1"]
    client.get(APP, tokens["ip1"])
    where.advance(10)
    client.set(APP, tokens["ip2"], {"a": 1})
    assert ips(client.soid(APP, "user")) == ["ip2", "ip1", "ip3"]


def test_soapp_lists_the_sessions_of_all_users_the_last_used_first(
    where: Where, client: SessionsClient
) -> None:
    tokens = {}
    for number in range(30):
        ip = f"ip{number}"
        tokens[ip] = started(client, f"user{number % 7}", ip)
        where.advance(3)
    newest_first = [f"ip{number}" for number in reversed(range(30))]
    assert ips(client.soapp(APP)) == newest_first
    client.get(APP, tokens["ip4"])
    newest_first.remove("ip4")
    assert ips(client.soapp(APP)) == ["ip4", *newest_first]


def test_soapp_and_activity_look_back_exactly_dt_seconds(where: Where, client: SessionsClient) -> None:
    def seen() -> list[list[object]]:
        client.killall(APP)
        for user in ("old", "middle", "new"):
            started(client, user)
            where.advance(10)
        # Idle for 30, 20 and 10 seconds now.
        return [
            [sorted(session["id"] for session in client.soapp(APP, dt)), client.activity(APP, dt)["activity"]]
            for dt in (10, 19, 20, 29, 30, 10**9)
        ]

    two, three = ["middle", "new"], ["middle", "new", "old"]
    expected = [[["new"], 1], [["new"], 1], [two, 2], [two, 2], [three, 3], [three, 3]]
    assert between_ticks(where, seen) == expected


def test_soapp_and_activity_look_back_ten_minutes_by_default(where: Where, client: SessionsClient) -> None:
    def seen() -> list[object]:
        client.killall(APP)
        started(client)
        found: list[object] = []
        for seconds in (600, 1):
            where.advance(seconds)
            found += [len(client.soapp(APP)), client.activity(APP)["activity"], len(client.soid(APP, "user"))]
        return found

    assert between_ticks(where, seen) == [1, 1, 1, 0, 0, 1]


def test_activity_counts_users_not_sessions(client: SessionsClient) -> None:
    tokens = [started(client, user) for user in ("a", "a", "b", "a", "b", "c")]
    assert client.activity(APP) == {"activity": 3}
    client.kill(APP, tokens[0])
    assert client.activity(APP) == {"activity": 3}
    client.kill(APP, tokens[5])
    assert client.activity(APP) == {"activity": 2}
    client.killsoid(APP, "a")
    assert client.activity(APP) == {"activity": 1}


def test_a_user_is_active_if_one_of_the_sessions_is(where: Where, client: SessionsClient) -> None:
    first, _second = started(client), started(client)
    where.advance(100)
    assert client.activity(APP, 50) == {"activity": 0}
    client.get(APP, first)
    assert client.activity(APP, 50) == {"activity": 1}
    assert len(client.soapp(APP, 50)) == 1


def test_hundreds_of_sessions_are_all_listed_counted_and_ended(client: SessionsClient) -> None:
    """More than go into one packet, with data of very different sizes."""
    for number in range(600):
        d: dict[str, Scalar] = {"k": "x" * (number % 50) * 100, "n": number}
        client.create(APP, f"user{number % 200}", f"ip{number}", d=d)
    sessions = client.soapp(APP)
    assert sorted(ips(sessions)) == sorted(f"ip{number}" for number in range(600))
    for session in sessions:
        number = int(session["ip"][2:])
        assert session["id"] == f"user{number % 200}"
        assert session["d"] == {"k": "x" * (number % 50) * 100, "n": number}
    assert sorted(ips(client.soid(APP, "user7"))) == ["ip207", "ip407", "ip7"]
    assert client.activity(APP) == {"activity": 200}
    assert client.killsoid(APP, "user7") == {"kill": 3}
    assert client.killall(APP) == {"kill": 597}


# ------------------------------------------------------------------------------------------------ wipe


def test_wipe_counts_the_sessions_that_ended_by_themselves(where: Where, client: SessionsClient) -> None:
    """Once each, in every app, whether they expired, were killed or moved; what lives is not touched."""
    for number in range(4):
        started(client, f"user{number}", ttl=10)
    killed = client.create("blog", "user", "192.0.2.1")["token"]
    mover, living = started(client, "mover"), started(client, "living")
    assert client.wipe() == {"wiped": 0}
    where.advance(12)
    client.kill("blog", killed)
    rotated(client, mover)
    assert client.wipe() == {"wiped": 6}
    assert client.wipe() == {"wiped": 0}
    assert sorted(session["id"] for session in client.soapp(APP)) == ["living", "mover"]
    assert alive(client, living)


def test_wipe_also_removes_what_other_clients_left_in_apps_this_one_never_used(
    where: Where, client: SessionsClient, make_client: MakeClient
) -> None:
    client.create("blog", "user", "192.0.2.1", ttl=10)
    client.create("shop", "user", "192.0.2.1", ttl=10)
    where.advance(12)
    assert make_client(where.address, ns=where.ns).wipe() == {"wiped": 2}
    assert client.wipe() == {"wiped": 0}


def test_wipe_removes_a_no_resave_session_that_is_over_although_it_was_used(
    where: Where, client: SessionsClient
) -> None:
    token = started(client, ttl=100, no_resave=True)
    where.advance(90)
    assert alive(client, token)
    assert client.wipe() == {"wiped": 0}
    where.advance(12)
    assert client.wipe() == {"wiped": 1}
    assert client.wipe() == {"wiped": 0}


def test_after_everything_ended_and_was_wiped_the_store_holds_next_to_nothing(
    where: Where, client: SessionsClient
) -> None:
    """No session, no read counter and no index entry is left to pile up."""
    for number in range(50):
        token = started(client, f"user{number}", ttl=10, no_resave=number % 2 == 0)
        if number % 5 == 0:
            client.rotate(APP, token)
        elif number % 5 == 1:
            client.kill(APP, token)
    where.advance(12)
    client.wipe()
    where.advance(3 * 3600)
    left = [key.removeprefix(f"{where.ns}:") for key in contents(where)]
    assert [key for key in left if key not in ("apps", "wipe")] == []


# --------------------------------------------------------------------------------- unknown and dead


#: What may have become of the session that a token was for.
ENDS = ["never", "expired", "killed", "rotated", "logged out", "closed down", "of another app"]


def ended(how: str, rs: SessionsClient, where: Where) -> str:
    """A token that is good for nothing in the forum, where no session is left."""
    if how == "never":
        return UNKNOWN
    if how == "of another app":
        return rs.create("blog", "user", "192.0.2.1")["token"]
    token = started(rs, ttl=10)
    if how == "expired":
        where.advance(12)
    elif how == "killed":
        rs.kill(APP, token)
    elif how == "rotated":
        rs.kill(APP, rotated(rs, token))
    elif how == "logged out":
        rs.killsoid(APP, "user")
    else:
        rs.killall(APP)
    return token


@pytest.mark.parametrize("how", ENDS)
def test_a_session_that_is_not_there_is_answered_the_same_whatever_became_of_it(
    client: SessionsClient, where: Where, how: str
) -> None:
    """Also a second time: asking for it, or writing to it, brings nothing back."""
    token = ended(how, client, where)
    for _ in range(2):
        assert client.get(APP, token) is None
        assert client.set(APP, token, {"a": 1}) is None
        assert client.rotate(APP, token) is None
        assert client.kill(APP, token) == {"kill": 0}
        assert client.soid(APP, "user") == client.soapp(APP) == []
        assert client.activity(APP) == {"activity": 0}
        assert client.killsoid(APP, "user") == client.killall(APP) == {"kill": 0}
        client.wipe()


def test_a_token_that_differs_in_one_character_is_unknown(client: SessionsClient) -> None:
    """At every place: all of the token counts, also what says how long the session lives."""
    token = started(client)
    for place in range(64):
        other = "a" if token[place] != "a" else "b"
        assert client.get(APP, token[:place] + other + token[place + 1 :]) is None
    assert alive(client, token)


# ------------------------------------------------------------------------------------- ids and apps


IDS = [
    "딸기 필드 영원히",
    "someone@example.co.uk",
    "two\nlines",
    "\r\n",
    " ",
    " spaces around ",
    "🍓👩‍👩‍👧‍👦",
    "a:b",
    "a",
    "a:b:c",
    ":",
    "*",
    "\x00",
    "\u2028",
    "' OR 1=1 --",
    "e\u0301",
    "\u00e9",
    "U",
    "u",
    "../x",
    "%41",
    "A",
    "0",
    "None",
    "x" * 128,
    "x" * 127,
    "🍓" * 128,
    "사" * 128,
]


def test_ids_of_any_kind_are_kept_apart_and_come_back_as_they_are(client: SessionsClient) -> None:
    tokens = [client.create(APP, user, f"ip{number}")["token"] for number, user in enumerate(IDS)]
    for number, (user, token) in enumerate(zip(IDS, tokens, strict=True)):
        session = there(client.get(APP, token))
        assert session["id"] == user
        assert ips(client.soid(APP, user)) == [f"ip{number}"]
    assert client.activity(APP) == {"activity": len(IDS)}
    assert sorted(session["id"] for session in client.soapp(APP)) == sorted(IDS)
    assert [client.killsoid(APP, user)["kill"] for user in IDS] == [1] * len(IDS)


@pytest.mark.parametrize("ip", ["1", "2001:0000:1234:0000:0000:C1C0:ABCD:0876", "x" * 39, "딸기\n🍓"])
def test_an_ip_is_any_text_of_1_to_39_characters(client: SessionsClient, ip: str) -> None:
    session = there(client.get(APP, started(client, ip=ip)))
    assert session["ip"] == ip


APPS = ["abc", "ABC", "abc-", "abc_", "abcd", "app", "s", "x" * 20, "012", "---", "apps", "wipe"]


def test_apps_are_kept_apart(client: SessionsClient) -> None:
    """Also those whose names begin alike, differ in case, or are words the stored keys use."""
    apps = [app for app in APPS if len(app) >= 3]
    tokens = {app: client.create(app, "user", app)["token"] for app in apps}
    for app in apps:
        assert ips(client.soid(app, "user")) == ips(client.soapp(app)) == [app]
        assert client.activity(app) == {"activity": 1}
        assert [other for other in apps if alive(client, tokens[app], other)] == [app]
    assert client.killall("abc") == {"kill": 1}
    assert client.killsoid("app", "user") == {"kill": 1}
    gone = [app for app in apps if not alive(client, tokens[app], app)]
    assert gone == ["abc", "app"]


def test_namespaces_are_kept_apart(where: Where, make_client: MakeClient) -> None:
    names = [where.ns, f"{where.ns}2", f"{where.ns}.{APP}", where.ns.upper()]
    clients = [make_client(where.address, ns=name) for name in names]
    tokens = [rs.create(APP, "user", name)["token"] for rs, name in zip(clients, names, strict=True)]
    for rs, name, token in zip(clients, names, tokens, strict=True):
        assert ips(rs.soid(APP, "user")) == ips(rs.soapp(APP)) == [name]
        assert [other for other in tokens if alive(rs, other)] == [token]
    assert clients[0].killall(APP) == {"kill": 1}
    assert [alive(rs, token) for rs, token in zip(clients, tokens, strict=True)] == [False, True, True, True]
    assert [rs.killall(APP)["kill"] for rs in clients] == [0, 1, 1, 1]


def test_clients_of_one_namespace_share_their_sessions(where: Where, make_client: MakeClient) -> None:
    one, two = (make_client(where.address, ns=where.ns) for _ in range(2))
    token = started(one)
    assert two.set(APP, token, {"a": 1}) is not None
    moved = rotated(two, token)
    session = there(one.get(APP, moved))
    assert session["d"] == {"a": 1}
    one.close()
    assert len(two.soid(APP, "user")) == 1
    assert two.kill(APP, moved) == {"kill": 1}


def test_clients_that_end_and_make_sessions_in_turn_list_all_of_them(
    where: Where, make_client: MakeClient
) -> None:
    """What one client remembers of the index never hides a session after another has cleared it."""
    one, two = (make_client(where.address, ns=where.ns) for _ in range(2))
    for clear in (lambda: two.killall(APP), lambda: (two.killsoid(APP, "user"), two.wipe())):
        for _ in range(3):
            token = started(one)
            assert len(two.soid(APP, "user")) == len(two.soapp(APP)) == 1
            clear()
            assert not alive(one, token)


# ---------------------------------------------------------------------------------------------- tokens


def test_nothing_on_the_store_is_a_token_that_get_accepts(
    where: Where, client: SessionsClient, make_client: MakeClient
) -> None:
    """Neither the keys nor the values hold one, nor any other 64 letters and digits that open a session."""
    tokens = []
    for number in range(30):
        token = started(client, f"user{number % 3}", d={"n": number}, no_resave=number % 2 == 0)
        client.get(APP, token)
        if number % 3 == 0:
            client.set(APP, token, {"k": "v"})
        if number % 5 == 0:
            token = rotated(client, token)
        tokens.append(token)
    everything = contents(where)
    text = "\n".join(part for key, value in everything.items() for part in (key, value.decode()))
    assert "user2" in text  # so this is where the sessions are
    # Not even half of one: what is left to guess of a token is always more than anyone can.
    assert not [token for token in tokens if token[:26] in text or token[26:52] in text]
    for candidate in re.findall(r"(?=([A-Za-z0-9]{64}))", text):
        assert client.get(APP, candidate) is None
    assert all(alive(make_client(where.address, ns=where.ns), token) for token in tokens)


def test_tokens_are_made_of_all_letters_and_digits_equally(client: SessionsClient) -> None:
    """Their random part: each place of it takes every character, about as often as any other."""
    drawn_by: dict[str, list[str]] = {}  # of several servers, each has its own tag in its tokens
    while max(map(len, drawn_by.values()), default=0) < 500:
        token = started(client)
        drawn_by.setdefault(token[tokens.TAG], []).append(token)
    alike = max(drawn_by.values(), key=len)
    changing = [place for place in range(64) if len({token[place] for token in alike}) > 1]
    # 62 characters at 43 places are 256 bits.
    assert len(changing) >= 43
    drawn = "".join(token[place] for token in alike for place in changing)
    expected = len(drawn) / 62
    counts = [drawn.count(character) for character in string.ascii_letters + string.digits]
    # Six standard deviations: a fair draw is beyond once in millions of runs, a byte modulo 62 always.
    assert min(counts) > expected - 6 * expected**0.5
    assert max(counts) < expected + 6 * expected**0.5


# ----------------------------------------------------------------------------------------------- cache


class Moment:
    """The clock of a client's cache."""

    def __init__(self, rs: SessionsClient) -> None:
        self.now = 0.0
        rs._cache._clock = lambda: self.now  # type: ignore[attr-defined]


@pytest.fixture
def cached(where: Where, make_client: MakeClient) -> SessionsClient:
    return make_client(where.address, ns=where.ns, cachetime=30, cachemax=3)


def test_get_answers_from_the_cache_for_cachetime_seconds(
    where: Where, cached: SessionsClient, shown: Shown
) -> None:
    """`r` and `idle` are frozen meanwhile, and nothing counts as an access."""
    clock = Moment(cached)
    token = started(cached, ttl=100, d={"a": 1})
    where.advance(5)
    expected: dict[str, object] = {"id": "user", "r": 2, "w": 1, "idle": 5, "ttl": 100, "ip": "192.0.2.1"}
    for now in (0.0, 10.0, 29.9):
        clock.now = now
        shown(cached.get(APP, token), **expected, d={"a": 1})
        where.advance(10)
    shown(cached.soid(APP, "user")[0], **{**expected, "idle": 30}, d={"a": 1})
    clock.now = 30.0
    shown(cached.get(APP, token), **{**expected, "r": 3, "idle": 30}, d={"a": 1})


def test_without_cachetime_every_get_counts(client: SessionsClient) -> None:
    token = started(client)
    assert [there(client.get(APP, token))["r"] for _ in range(3)] == [2, 3, 4]


def test_what_others_do_is_seen_when_the_cached_answer_is_over(
    cached: SessionsClient, client: SessionsClient
) -> None:
    clock = Moment(cached)
    token, other = started(cached), started(cached)
    assert alive(cached, token)
    assert alive(cached, other)
    client.set(APP, token, {"a": 1})
    client.kill(APP, other)
    session = there(cached.get(APP, token))
    assert session["d"] is None
    assert alive(cached, other)
    clock.now = 30.0
    session = there(cached.get(APP, token))
    assert session["d"] == {"a": 1}
    assert not alive(cached, other)


DROPS: dict[str, Callable[[SessionsClient, str], object]] = {
    "set": lambda rs, token: rs.set(APP, token, {"changed": True}),
    "kill": lambda rs, token: rs.kill(APP, token),
    "killsoid": lambda rs, _token: rs.killsoid(APP, "user"),
    "killall": lambda rs, _token: rs.killall(APP),
    "rotate": lambda rs, token: rs.rotate(APP, token),
}


@pytest.mark.parametrize("call", DROPS)
def test_a_call_that_changes_a_session_drops_it_from_the_cache(cached: SessionsClient, call: str) -> None:
    token = started(cached)
    assert there(cached.get(APP, token))["r"] == 2
    DROPS[call](cached, token)
    session = cached.get(APP, token)
    if call == "set":
        assert session is not None
        assert (session["r"], session["w"], session["d"]) == (3, 2, {"changed": True})
    else:
        assert session is None


@pytest.mark.parametrize("call", ["set", "kill", "killsoid", "rotate"])
def test_a_call_that_changes_one_session_leaves_the_others_cached(cached: SessionsClient, call: str) -> None:
    token, other = started(cached), started(cached, "other")
    for one in (token, other):
        assert alive(cached, one)
    DROPS[call](cached, token)
    assert there(cached.get(APP, other))["r"] == 2


def test_killall_drops_only_its_own_app_from_the_cache(cached: SessionsClient) -> None:
    token = cached.create("blog", "user", "192.0.2.1")["token"]
    for _ in range(2):
        assert there(cached.get("blog", token))["r"] == 2
        cached.killall(APP)


def test_lists_neither_use_nor_drop_what_is_cached(cached: SessionsClient, client: SessionsClient) -> None:
    token = started(cached)
    assert alive(cached, token)
    client.set(APP, token, {"a": 1})
    assert [session["d"] for session in cached.soid(APP, "user")] == [{"a": 1}]
    assert [session["d"] for session in cached.soapp(APP)] == [{"a": 1}]
    assert there(cached.get(APP, token))["d"] is None


def test_the_cache_holds_cachemax_sessions_the_last_used(cached: SessionsClient) -> None:
    first, second, third, fourth = (started(cached) for _ in range(4))
    for token in (first, second, third, first, fourth):  # the second is the one used longest ago
        assert alive(cached, token)
    counts = [there(cached.get(APP, token))["r"] for token in (first, third, fourth)]
    assert counts == [2, 2, 2]
    assert there(cached.get(APP, second))["r"] == 3


def test_what_was_not_there_is_not_cached(cached: SessionsClient, client: SessionsClient) -> None:
    """A session whose token was asked for before it existed is seen as soon as it does."""
    with pytest.MonkeyPatch.context() as patch:
        drawn = {n.tag: tokens.new_token(n.tag, tokens.Life(7200, False)) for n in client._nodes}
        patch.setattr(tokens, "new_token", lambda tag, _life: drawn[tag])
        assert not any(alive(cached, token) for token in drawn.values())
        token = started(client)
        assert token in drawn.values()
    assert alive(cached, token)


def test_the_cache_keeps_no_session_beyond_its_end(where: Where, cached: SessionsClient) -> None:
    """A no_resave session with less than cachetime left is forgotten when it is over."""
    clock = Moment(cached)
    token = started(cached, ttl=100, no_resave=True)
    where.advance(90)
    assert alive(cached, token)
    where.advance(12)
    clock.now = 12.0
    assert not alive(cached, token)


def test_changing_a_cached_answer_changes_no_later_one(cached: SessionsClient) -> None:
    token = started(cached, d={"a": 1})
    for _ in range(3):
        session = there(cached.get(APP, token))
        assert (session["d"], session["r"]) == ({"a": 1}, 2)
        assert session["d"] is not None
        session["d"]["a"] = 2
        session["r"] = 99


# --------------------------------------------------------------------------------------------- closing


CALLS: dict[str, tuple[Any, ...]] = {
    "create": (APP, "user", "192.0.2.1"),
    "create_many": (APP, [{"id": "user", "ip": "192.0.2.1"}]),
    "get": (APP, UNKNOWN),
    "get_many": (APP, [UNKNOWN]),
    "set": (APP, UNKNOWN, {"a": 1}),
    "kill": (APP, UNKNOWN),
    "kill_many": (APP, [UNKNOWN]),
    "rotate": (APP, UNKNOWN),
    "soid": (APP, "user"),
    "soapp": (APP,),
    "iter_soapp": (APP,),
    "activity": (APP,),
    "killsoid": (APP, "user"),
    "killall": (APP,),
    "wipe": (),
    "ping": (),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("used", [False, True])
def test_every_call_after_quit_raises(client: SessionsClient, call: str, used: bool) -> None:
    if used:
        started(client)
    client.quit()
    with pytest.raises(ClientClosed) as caught:
        getattr(client, call)(*CALLS[call])
    assert isinstance(caught.value, MemsessionsError)


def test_a_closed_client_does_not_answer_from_its_cache_either(cached: SessionsClient) -> None:
    token = started(cached)
    assert alive(cached, token)
    cached.quit()
    with pytest.raises(ClientClosed):
        cached.get(APP, token)


@pytest.mark.parametrize("end", ["quit", "close"])
def test_quit_and_close_are_the_same_and_can_be_called_again(client: SessionsClient, end: str) -> None:
    assert client.ping() == "PONG"
    for _ in range(2):
        getattr(client, end)()
        with pytest.raises(ClientClosed):
            client.ping()


def test_with_gives_the_client_and_closes_it_at_the_end(where: Where) -> None:
    made = SessionsClient(where.address, ns=where.ns, wipe=0)
    with made as rs:
        assert rs is made
        assert rs.ping() == "PONG"
    with pytest.raises(ClientClosed):
        made.ping()


def test_with_closes_the_client_and_lets_an_error_through(where: Where) -> None:
    with pytest.raises(KeyError), SessionsClient(where.address, ns=where.ns, wipe=0) as rs:
        raise KeyError(rs.ping())
    with pytest.raises(ClientClosed):
        rs.ping()


def test_closing_a_client_ends_no_session(where: Where, make_client: MakeClient) -> None:
    with make_client(where.address, ns=where.ns) as rs:
        token = started(rs)
    assert alive(make_client(where.address, ns=where.ns), token)


# ------------------------------------------------------------------------------------------- arguments


def test_arguments_work_by_position(client: SessionsClient, shown: Shown) -> None:
    token = client.create(APP, "user", "192.0.2.1", 50, {"a": 1}, True)["token"]
    expected = {"id": "user", "r": 2, "w": 1, "idle": 0, "ttl": 50, "ip": "192.0.2.1"}
    shown(client.get(APP, token), **expected, d={"a": 1}, no_resave=True)
    answer = client.set(APP, token, {"b": 2})
    shown(answer, **{**expected, "w": 2}, d={"a": 1, "b": 2}, no_resave=True)
    assert len(client.soid(APP, "user")) == len(client.soapp(APP, 60)) == 1
    assert len(list(client.iter_soapp(APP, 60))) == 1
    assert client.activity(APP, 60) == {"activity": 1}
    assert client.kill(APP, token) == {"kill": 1}


def test_arguments_work_by_name(client: SessionsClient, shown: Shown) -> None:
    token = client.create(no_resave=True, d={"a": 1}, ttl=50, ip="192.0.2.1", id="user", app=APP)["token"]
    expected = {"id": "user", "r": 2, "w": 1, "idle": 0, "ttl": 50, "ip": "192.0.2.1"}
    shown(client.get(token=token, app=APP), **expected, d={"a": 1}, no_resave=True)
    answer = client.set(d={"b": 2}, token=token, app=APP)
    shown(answer, **{**expected, "w": 2}, d={"a": 1, "b": 2}, no_resave=True)
    assert len(client.soid(id="user", app=APP)) == len(client.soapp(dt=60, app=APP)) == 1
    assert len(list(client.iter_soapp(dt=60, app=APP))) == 1
    assert client.activity(dt=60, app=APP) == {"activity": 1}
    moved = client.rotate(token=token, app=APP)
    assert moved is not None
    assert client.kill(token=moved["token"], app=APP) == {"kill": 1}
    assert client.killsoid(id="user", app=APP) == client.killall(app=APP) == {"kill": 0}


#: For each call, the arguments that are wrong in one place, and what is said about it.
WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str, str]] = [
    *(
        (call, (app, *arguments[1:]), {}, name, message)
        for call, arguments in CALLS.items()
        if arguments
        for app, name, message in [
            (None, "missingParameter", "No app supplied"),
            ("", "missingParameter", "No app supplied"),
            ("ab", "invalidFormat", "Invalid app format"),
            ("forum\n", "invalidFormat", "Invalid app format"),
            (123, "invalidFormat", "Invalid app format"),
        ]
    ),
    *(
        (call, (APP, token, *CALLS[call][2:]), {}, name, message)
        for call in ("get", "set", "kill", "rotate")
        for token, name, message in [
            (None, "missingParameter", "No token supplied"),
            (UNKNOWN[1:], "invalidFormat", "Invalid token format"),
            (UNKNOWN + "\n", "invalidFormat", "Invalid token format"),
            (UNKNOWN.encode(), "invalidFormat", "Invalid token format"),
        ]
    ),
    *(
        (call, (APP, user, *CALLS[call][2:]), {}, name, message)
        for call in ("create", "soid", "killsoid")
        for user, name, message in [
            (None, "missingParameter", "No id supplied"),
            ("x" * 129, "invalidFormat", "Invalid id format"),
            ("\ud800", "invalidFormat", "Invalid id format"),
            (7, "invalidFormat", "Invalid id format"),
        ]
    ),
    *(
        (call, (APP,), {"dt": dt}, "invalidValue", "dt must be a positive integer >= 10")
        for call in ("soapp", "iter_soapp", "activity")
        for dt in (9, 0, -10, True, 60.0, "60", None)
    ),
    *(
        ("create", (APP, "user", "ip"), {"ttl": ttl}, "invalidValue", "ttl must be a positive integer >= 10")
        for ttl in (9, 0, -10, True, 60.0, "60", None)
    ),
    *(
        (
            "create",
            (APP, "user", "ip"),
            {"no_resave": flag},
            "invalidValue",
            "no_resave must be True or False",
        )
        for flag in (None, 1, "yes")
    ),
]


@pytest.mark.parametrize(
    ("call", "arguments", "options", "name", "message"),
    WRONG,
    ids=[f"{call}-{message}-{number}" for number, (call, _, _, _, message) in enumerate(WRONG)],
)
def test_a_wrong_argument_is_refused_by_every_call_that_takes_it(
    call: str, arguments: tuple[Any, ...], options: dict[str, Any], name: str, message: str
) -> None:
    """Before any I/O, with the error name and the words of redis-sessions: no store is needed for it."""
    with SessionsClient("127.0.0.1:1", wipe=0) as rs, pytest.raises(ValidationError) as caught:
        getattr(rs, call)(*arguments, **options)
    assert (caught.value.name, str(caught.value)) == (name, message)
    assert caught.value.__context__ is None, "its traceback begins with an error of the library's own"


# ---------------------------------------------------------------------------------------- many at once


def test_threads_that_share_a_client_lose_no_count_and_no_key(client: SessionsClient) -> None:
    token = started(client)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                assert client.set(APP, token, {f"{number}-{turn}": turn}) is not None
                assert alive(client, token)
                assert client.kill(APP, started(client, f"user{number}")) == {"kill": 1}
        except BaseException as error:  # noqa: BLE001  told by the thread that waits
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    session = there(client.get(APP, token))
    assert (session["r"], session["w"]) == (82, 81)
    assert session["d"] == {f"{number}-{turn}": turn for number in range(8) for turn in range(10)}
    assert len(client.soapp(APP)) == 1


# ------------------------------------------------------------------------ the in-process store's names


def test_clients_that_name_the_in_process_store_equally_share_it(make_client: MakeClient) -> None:
    one, same = (make_client("memory://conformance-one") for _ in range(2))
    others = [make_client("memory://conformance-two"), make_client("memory://")]
    token = started(one)
    assert alive(same, token)
    assert not any(alive(rs, token) for rs in others)
    one.close()
    assert alive(same, token)
    assert same.killall(APP) == {"kill": 1}
    assert all(rs.soapp(APP) == [] for rs in others)


# -------------------------------------------------------------------------------- the suite's own tools


def test_differences_between_sessions_are_told(where: Where) -> None:
    """The comparison that this suite rests on sees every kind of difference."""
    session: dict[str, object] = dict.fromkeys(KEYS, 1)
    assert difference(session, session) is None
    assert difference(None, None) is None
    assert difference(None, session) is not None
    assert difference(dict(reversed(session.items())), session) is not None
    assert difference({**session, "r": True}, session) is not None
    assert difference({**session, "idle": 2}, session, 1) is None
    assert difference({**session, "idle": 3}, session, 1) is not None
    assert difference({**session, "idle": 0}, session, 1) is not None
    assert difference({**session, "ttl": 0}, session, 1) is not None
    fixed = {**session, "no_resave": True}
    assert difference({**fixed, "ttl": 0}, fixed, 1) is None
    assert Ticks(where).passed() in (0, 1)
