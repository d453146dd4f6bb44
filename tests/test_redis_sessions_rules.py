"""The rules of redis-sessions 4.0.0, each by name, on both stores.

Where memsessions means to differ, the test says so: `d` is always in the map, lists are lists, `r` counts
the call itself, and what JavaScript would have converted is refused.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from memsessions import Scalar, Session, SessionsClient, ValidationError

from .conftest import MakeClient, Where, every_where
from .support.sessions import KEYS, UNKNOWN, Ticks, ips, since

APP = "test"
OTHER_APP = "TEST"
IP = "127.0.0.1"


@pytest.fixture(params=["memory", "memcached", "three memcached"])
def where(request: pytest.FixtureRequest) -> Where:
    """What a client does is the same on one server and on several."""
    return every_where(request)


def there(session: Session | None) -> Session:
    """The session that a call answered with, which has to be one."""
    assert session is not None
    return session


def refusal(rs: SessionsClient, call: str, *arguments: Any, **options: Any) -> tuple[str, str]:
    """The name and the message of the error that a call raises."""
    with pytest.raises(ValidationError) as caught:
        getattr(rs, call)(*arguments, **options)
    return caught.value.name, str(caught.value)


# -------------------------------------------------------------------------------------- app and token


def test_ping_answers_pong(client: SessionsClient) -> None:
    assert client.ping() == "PONG"


CALLS: dict[str, tuple[Any, ...]] = {
    "create": ("user1", IP),
    "get": (UNKNOWN,),
    "set": (UNKNOWN, {"a": 1}),
    "kill": (UNKNOWN,),
    "soid": ("user1",),
    "killsoid": ("user1",),
    "soapp": (60,),
    "activity": (60,),
    "killall": (),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("app", [None, ""])
def test_an_app_is_needed_by_every_call(client: SessionsClient, call: str, app: str | None) -> None:
    assert refusal(client, call, app, *CALLS[call]) == ("missingParameter", "No app supplied")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("app", ["a", "ab", "x" * 21, "my app", "my.app", "app:1", "äpp", "app\n"])
def test_an_app_has_3_to_20_letters_digits_underscores_and_hyphens(
    client: SessionsClient, call: str, app: str
) -> None:
    assert refusal(client, call, app, *CALLS[call]) == ("invalidFormat", "Invalid app format")


@pytest.mark.parametrize("app", ["abc", "x" * 20, "a_b", "a-b", "123", "___", "---"])
def test_every_app_within_these_limits_is_accepted(client: SessionsClient, app: str) -> None:
    token = client.create(app, "user1", IP)["token"]
    assert there(client.get(app, token))["id"] == "user1"


@pytest.mark.parametrize("call", ["get", "set", "kill"])
@pytest.mark.parametrize("token", [None, ""])
def test_a_token_is_needed(client: SessionsClient, call: str, token: str | None) -> None:
    found = refusal(client, call, APP, token, *CALLS[call][1:])
    assert found == ("missingParameter", "No token supplied")


@pytest.mark.parametrize("call", ["get", "set", "kill"])
@pytest.mark.parametrize(
    "token", ["short", UNKNOWN[:63], UNKNOWN + "0", "!" + UNKNOWN[1:], UNKNOWN[:63] + " ", UNKNOWN[:63] + "é"]
)
def test_a_token_has_64_letters_and_digits(client: SessionsClient, call: str, token: str) -> None:
    found = refusal(client, call, APP, token, *CALLS[call][1:])
    assert found == ("invalidFormat", "Invalid token format")


def test_a_well_formed_token_that_does_not_exist_gets_nothing(client: SessionsClient) -> None:
    assert client.get(APP, UNKNOWN) is None


def test_the_app_is_checked_before_the_token_and_the_token_before_d(client: SessionsClient) -> None:
    assert refusal(client, "set", None, None, None)[1] == "No app supplied"
    assert refusal(client, "set", "a", None, None)[1] == "Invalid app format"
    assert refusal(client, "set", APP, None, None)[1] == "No token supplied"
    assert refusal(client, "set", APP, "short", None)[1] == "Invalid token format"
    assert refusal(client, "set", APP, UNKNOWN, None)[1] == "No d supplied"


# --------------------------------------------------------------------------------------------- create


@pytest.mark.parametrize("call", ["create", "soid", "killsoid"])
@pytest.mark.parametrize("user", [None, ""])
def test_an_id_is_needed(client: SessionsClient, call: str, user: str | None) -> None:
    found = refusal(client, call, APP, user, *CALLS[call][1:])
    assert found == ("missingParameter", "No id supplied")


@pytest.mark.parametrize("ip", [None, ""])
def test_an_ip_is_needed(client: SessionsClient, ip: str | None) -> None:
    assert refusal(client, "create", APP, "user1", ip) == ("missingParameter", "No ip supplied")


def test_an_ip_has_at_most_39_characters(client: SessionsClient) -> None:
    assert refusal(client, "create", APP, "user1", "1" * 40) == ("invalidFormat", "Invalid ip format")
    token = client.create(APP, "user1", "2001:0000:1234:0000:0000:C1C0:ABCD:0876")["token"]
    assert there(client.get(APP, token))["ip"] == "2001:0000:1234:0000:0000:C1C0:ABCD:0876"


def test_the_app_is_checked_before_the_id_the_ip_the_ttl_and_d(client: SessionsClient) -> None:
    bad: dict[str, Any] = {"ttl": 1, "d": []}
    assert refusal(client, "create", "a", "", "", **bad)[1] == "Invalid app format"
    assert refusal(client, "create", APP, "", "", **bad)[1] == "No id supplied"
    assert refusal(client, "create", APP, "user1", "", **bad)[1] == "No ip supplied"
    assert refusal(client, "create", APP, "user1", IP, **bad)[1] == "ttl must be a positive integer >= 10"
    assert refusal(client, "create", APP, "user1", IP, d=[])[1] == "d must be an object"


@pytest.mark.parametrize("ttl", [4, 9, 0, -30])
def test_a_ttl_is_at_least_10_seconds(client: SessionsClient, ttl: int) -> None:
    found = refusal(client, "create", APP, "user1", IP, ttl=ttl)
    assert found == ("invalidValue", "ttl must be a positive integer >= 10")


@pytest.mark.parametrize("ttl", ["30", 30.5, True])
def test_unlike_redis_sessions_a_ttl_is_not_converted_to_an_integer(client: SessionsClient, ttl: Any) -> None:
    found = refusal(client, "create", APP, "user1", IP, ttl=ttl)
    assert found == ("invalidValue", "ttl must be a positive integer >= 10")


def test_the_ttl_is_two_hours_where_none_is_given(client: SessionsClient) -> None:
    token = client.create(APP, "user1", IP)["token"]
    assert there(client.get(APP, token))["ttl"] == 7200


def test_create_answers_a_token_and_nothing_else(client: SessionsClient) -> None:
    answer = client.create(APP, "user1", IP, ttl=30)
    assert list(answer) == ["token"]
    assert re.fullmatch("[0-9A-Za-z]{64}", answer["token"])


def test_an_id_can_be_korean(client: SessionsClient) -> None:
    token = client.create(APP, "딸기 필드 영원히", IP, ttl=30)["token"]
    assert there(client.get(APP, token))["id"] == "딸기 필드 영원히"
    assert len(client.soid(APP, "딸기 필드 영원히")) == 1


def test_an_id_can_be_an_e_mail_address(client: SessionsClient) -> None:
    address = "first.last-0a1b2c@mail.some-company.co.uk"
    token = client.create(APP, address, IP, ttl=30)["token"]
    assert there(client.get(APP, token))["id"] == address
    assert client.killsoid(APP, address) == {"kill": 1}


def test_an_id_has_at_most_128_characters(client: SessionsClient) -> None:
    """redis-sessions says so, though its pattern lets longer ones through."""
    assert refusal(client, "create", APP, "x" * 129, IP) == ("invalidFormat", "Invalid id format")
    token = client.create(APP, "x" * 128, IP)["token"]
    assert there(client.get(APP, token))["id"] == "x" * 128


BAD_D: dict[str, tuple[Any, str]] = {
    "array": ([12, "bla"], "d must be an object"),
    "string": ("someString", "d must be an object"),
    "number": (12, "d must be an object"),
    "empty": ({}, "d must containt at least one key."),
    "with an array": (
        {"arr": [1, 2, 3]},
        "d.arr has a forbidden type. Only strings, numbers, boolean and null are allowed.",
    ),
    "with an object": (
        {"fine": 1, "obj": {"bla": 1}},
        "d.obj has a forbidden type. Only strings, numbers, boolean and null are allowed.",
    ),
}


@pytest.mark.parametrize("kind", BAD_D)
def test_create_takes_only_a_flat_object_of_at_least_one_key(client: SessionsClient, kind: str) -> None:
    d, message = BAD_D[kind]
    assert refusal(client, "create", APP, "user1", IP, d=d) == ("invalidValue", message)
    assert client.soid(APP, "user1") == []


def test_create_stores_strings_numbers_and_booleans_and_leaves_null_out(client: SessionsClient) -> None:
    d = {"foo": "bar", "nu": None, "hi": 123, "lo": -123, "boo": True, "boo2": False}
    token = client.create(APP, "user1", IP, ttl=30, d=d)["token"]
    kept = {"foo": "bar", "hi": 123, "lo": -123, "boo": True, "boo2": False}
    assert there(client.get(APP, token))["d"] == kept


def test_create_with_nothing_but_null_stores_no_d(client: SessionsClient) -> None:
    token = client.create(APP, "user1", IP, d={"nu": None})["token"]
    assert there(client.get(APP, token))["d"] is None


# ------------------------------------------------------------------------------------------------ get


def test_get_shows_the_session(client: SessionsClient) -> None:
    """Unlike in redis-sessions `d` is there also when there is no data."""
    token = client.create(APP, "user1", IP, ttl=30)["token"]
    session = there(client.get(APP, token))
    assert list(session) == KEYS
    assert (session["id"], session["w"], session["ttl"], session["ip"]) == ("user1", 1, 30, IP)
    assert session["d"] is None


def test_get_counts_the_reads(client: SessionsClient) -> None:
    """Unlike in redis-sessions, but as its documentation has it, `r` counts this read too."""
    token = client.create(APP, "user1", IP, ttl=30)["token"]
    assert [there(client.get(APP, token))["r"] for _ in range(3)] == [2, 3, 4]


def test_get_renews_the_session(where: Where, client: SessionsClient) -> None:
    ticks = Ticks(where)
    token = client.create(APP, "user1", IP, ttl=30)["token"]
    for _ in range(3):
        where.advance(20)
        assert there(client.get(APP, token))["idle"] in since(ticks, 20)


def test_a_session_is_gone_when_it_was_idle_for_longer_than_its_ttl(
    where: Where, client: SessionsClient
) -> None:
    token = client.create(APP, "user1", IP, ttl=10)["token"]
    client.create(APP, "user2", IP, ttl=100)
    where.advance(12)
    assert client.get(APP, token) is None
    assert [session["id"] for session in client.soapp(APP, 60)] == ["user2"]


def test_an_app_does_not_see_the_sessions_of_another(client: SessionsClient) -> None:
    """Not even if the names differ in case only."""
    token = client.create(APP, "user1", IP)["token"]
    assert client.get(OTHER_APP, token) is None
    assert client.soid(OTHER_APP, "user1") == []
    assert client.activity(OTHER_APP, 60) == {"activity": 0}
    assert client.killall(OTHER_APP) == {"kill": 0}
    assert there(client.get(APP, token))["id"] == "user1"


# ------------------------------------------------------------------------------------------ no_resave


def test_no_resave_is_in_the_map_only_where_it_was_asked_for(client: SessionsClient) -> None:
    fixed = client.create(APP, "user1", IP, ttl=30, no_resave=True)["token"]
    normal = client.create(APP, "user2", IP, ttl=30, no_resave=False)["token"]
    assert there(client.get(APP, fixed))["no_resave"] is True
    assert "no_resave" not in there(client.get(APP, normal))


def test_the_ttl_of_no_resave_is_what_is_left_of_it(where: Where, client: SessionsClient) -> None:
    ticks = Ticks(where)
    token = client.create(APP, "user1", IP, ttl=100, no_resave=True)["token"]
    where.advance(60)
    session = there(client.get(APP, token))
    assert 100 - session["ttl"] in since(ticks, 60)
    assert session["idle"] in since(ticks, 60)


def test_no_resave_ends_although_it_is_used(where: Where, client: SessionsClient) -> None:
    token = client.create(APP, "user1", IP, ttl=100, no_resave=True)["token"]
    where.advance(60)
    assert client.get(APP, token) is not None
    assert client.set(APP, token, {"a": 1}) is not None
    where.advance(42)
    assert client.get(APP, token) is None
    assert client.soapp(APP, 600) == []


# ---------------------------------------------------------------------------------------------- lists


def test_activity_counts_users_not_sessions(client: SessionsClient) -> None:
    for _ in range(3):
        client.create(APP, "user1", IP, ttl=30)
    assert client.activity(APP, 60) == {"activity": 1}
    client.create(APP, "user2", IP, ttl=30)
    assert client.activity(APP, 60) == {"activity": 2}


def test_activity_still_counts_a_user_with_one_of_two_sessions_killed(client: SessionsClient) -> None:
    token, _ = (client.create(APP, "user1", IP)["token"] for _ in range(2))
    assert client.kill(APP, token) == {"kill": 1}
    assert client.activity(APP, 60) == {"activity": 1}


def test_activity_no_longer_counts_a_user_whose_last_session_was_killed(client: SessionsClient) -> None:
    token = client.create(APP, "user1", IP)["token"]
    client.kill(APP, token)
    assert client.activity(APP, 60) == {"activity": 0}


@pytest.mark.parametrize("call", ["soapp", "activity"])
@pytest.mark.parametrize("dt", [9, 0, -60])
def test_a_list_looks_back_at_least_10_seconds(client: SessionsClient, call: str, dt: int) -> None:
    """The argument is called `dt` here, and `deltaTime` there."""
    assert refusal(client, call, APP, dt) == ("invalidValue", "dt must be a positive integer >= 10")


def test_soapp_lists_all_sessions_of_an_app(client: SessionsClient) -> None:
    """Unlike in redis-sessions the list itself is the answer."""
    for number in range(4):
        client.create(APP, f"user{number // 2}", f"ip{number}", ttl=30)
    client.create(OTHER_APP, "user1", IP, ttl=30)
    assert sorted(ips(client.soapp(APP, 60))) == ["ip0", "ip1", "ip2", "ip3"]


def test_soapp_lists_the_last_used_first(where: Where, client: SessionsClient) -> None:
    tokens = []
    for number in range(3):
        tokens.append(client.create(APP, "user1", f"ip{number}")["token"])
        where.advance(10)
    client.get(APP, tokens[1])
    assert ips(client.soapp(APP, 600)) == ["ip1", "ip2", "ip0"]


def test_soapp_leaves_out_what_was_not_used_lately(where: Where, client: SessionsClient) -> None:
    client.create(APP, "user1", IP)
    where.advance(100)
    client.create(APP, "user2", IP)
    assert [session["id"] for session in client.soapp(APP, 60)] == ["user2"]
    assert client.activity(APP, 60) == {"activity": 1}


def test_soid_lists_all_sessions_of_a_user(client: SessionsClient) -> None:
    """Unlike in redis-sessions the list itself is the answer."""
    client.create(APP, "user1", "127.0.0.1")
    client.create(APP, "user1", "127.0.0.2", ttl=30)
    client.create(APP, "user2", "127.0.0.3")
    sessions = client.soid(APP, "user1")
    assert sorted(ips(sessions)) == ["127.0.0.1", "127.0.0.2"]
    assert {session["id"] for session in sessions} == {"user1"}


def test_a_list_of_no_sessions_is_empty(client: SessionsClient) -> None:
    assert client.soid(APP, "user1") == []
    assert client.soapp(APP, 60) == []
    assert client.activity(APP, 60) == {"activity": 0}


def test_a_thousand_users_are_counted_read_and_listed(client: SessionsClient) -> None:
    tokens = [client.create(APP, f"bulkuser_{number}", IP)["token"] for number in range(1000)]
    client.create(APP, "user1", IP)
    assert client.activity(APP, 60) == {"activity": 1001}
    sessions = [there(client.get(APP, token)) for token in tokens]
    assert [session["id"] for session in sessions] == [f"bulkuser_{number}" for number in range(1000)]
    assert len(client.soapp(APP, 60)) == 1001
    client.create(APP, "bulkuser_999", "127.0.0.2", ttl=30)
    assert sorted(ips(client.soid(APP, "bulkuser_999"))) == ["127.0.0.1", "127.0.0.2"]
    assert client.killsoid(APP, "bulkuser_999") == {"kill": 2}
    assert client.killall(APP) == {"kill": 1000}


# -------------------------------------------------------------------------------------------- killing


def test_kill_ends_a_session_once(client: SessionsClient) -> None:
    token = client.create(APP, "user1", IP)["token"]
    assert client.kill(APP, token) == {"kill": 1}
    assert client.get(APP, token) is None
    assert client.kill(APP, token) == {"kill": 0}


def test_kill_of_an_unknown_token_ends_nothing(client: SessionsClient) -> None:
    assert client.kill(APP, UNKNOWN) == {"kill": 0}


def test_killsoid_ends_all_sessions_of_a_user_once(client: SessionsClient) -> None:
    for _ in range(2):
        client.create(APP, "user1", IP)
    client.create(APP, "user2", IP)
    assert client.killsoid(APP, "user1") == {"kill": 2}
    assert client.killsoid(APP, "user1") == {"kill": 0}
    assert client.soid(APP, "user1") == []
    assert len(client.soid(APP, "user2")) == 1


def test_killall_ends_all_sessions_of_an_app_once(client: SessionsClient) -> None:
    for number in range(5):
        client.create(APP, f"user{number}", IP)
    client.create(OTHER_APP, "user1", IP)
    assert client.killall(APP) == {"kill": 5}
    assert client.killall(APP) == {"kill": 0}
    assert client.activity(APP, 60) == {"activity": 0}
    assert len(client.soapp(OTHER_APP, 60)) == 1


# ------------------------------------------------------------------------------------------------ set


def test_set_needs_d(client: SessionsClient) -> None:
    token = client.create(APP, "user1", IP)["token"]
    assert refusal(client, "set", APP, token, None) == ("missingParameter", "No d supplied")


@pytest.mark.parametrize("kind", BAD_D)
def test_set_takes_only_a_flat_object_of_at_least_one_key(client: SessionsClient, kind: str) -> None:
    token = client.create(APP, "user1", IP, d={"a": 1})["token"]
    d, message = BAD_D[kind]
    assert refusal(client, "set", APP, token, d) == ("invalidValue", message)
    session = there(client.get(APP, token))
    assert (session["d"], session["w"]) == ({"a": 1}, 1)


def test_set_on_a_killed_session_answers_nothing(client: SessionsClient) -> None:
    token = client.create(APP, "user1", IP)["token"]
    client.kill(APP, token)
    assert client.set(APP, token, {"str": "haha"}) is None
    assert client.get(APP, token) is None


def test_set_stores_everything_but_null(client: SessionsClient) -> None:
    token = client.create(APP, "user1", IP)["token"]
    session = there(client.set(APP, token, {"hi": "ho", "count": 120, "premium": True, "nix": None}))
    assert session["id"] == "user1"
    assert session["d"] == {"hi": "ho", "count": 120, "premium": True}
    assert there(client.get(APP, token))["d"] == session["d"]


def test_set_removes_a_key_that_is_null_and_leaves_the_others(client: SessionsClient) -> None:
    token = client.create(APP, "user1", IP, d={"hi": "ho", "count": 120, "premium": True})["token"]
    session = there(client.set(APP, token, {"hi": None}))
    assert session["d"] == {"count": 120, "premium": True}
    assert there(client.get(APP, token))["d"] == session["d"]


def test_set_can_remove_all_keys_and_again(client: SessionsClient) -> None:
    """Unlike in redis-sessions `d` is None then, and not missing."""
    token = client.create(APP, "user1", IP, d={"count": 120, "premium": True})["token"]
    for w in (2, 3):
        session = there(client.set(APP, token, {"count": None, "premium": None}))
        assert (session["d"], session["w"]) == (None, w)
        assert there(client.get(APP, token))["d"] is None


def test_set_replaces_values_by_values_of_another_type(client: SessionsClient) -> None:
    token = client.create(APP, "user1", IP)["token"]
    client.set(APP, token, {"a": "sometext", "b": 20, "c": True, "d": False})
    changed: dict[str, Scalar] = {"a": False, "b": "some_text", "c": 20, "d": True, "e": 20.212}
    for session in (client.set(APP, token, changed), client.get(APP, token)):
        d = there(session)["d"]
        assert d == changed
        assert [type(value) for value in d.values()] == [bool, str, int, bool, float]


def test_set_counts_the_writes_and_renews_the_session(where: Where, client: SessionsClient) -> None:
    token = client.create(APP, "user1", IP, ttl=30)["token"]
    for w in (2, 3, 4):
        where.advance(20)
        session = there(client.set(APP, token, {"a": w}))
        assert (session["w"], session["r"]) == (w, 1)


# ---------------------------------------------------------------------------------------------- cache


class Moment:
    """The clock of a client's cache."""

    def __init__(self, rs: SessionsClient) -> None:
        self.now = 0.0
        rs._cache._clock = lambda: self.now  # type: ignore[attr-defined]


def test_the_cache_answers_for_cachetime_seconds_with_r_as_it_was(
    where: Where, make_client: MakeClient
) -> None:
    rs = make_client(where.address, ns=where.ns, cachetime=2)
    clock = Moment(rs)
    token = rs.create(APP, "user1", IP)["token"]
    seen = []
    for now in (0.0, 0.5, 1.9, 2.1, 4.0, 4.2):
        clock.now = now
        seen.append(there(rs.get(APP, token))["r"])
    assert seen == [2, 2, 2, 3, 3, 4]


def test_set_flushes_the_cached_session(where: Where, make_client: MakeClient) -> None:
    rs = make_client(where.address, ns=where.ns, cachetime=2)
    Moment(rs)
    token = rs.create(APP, "user1", IP, d={"a": True, "c": 20})["token"]
    assert there(rs.get(APP, token))["r"] == 2
    assert there(rs.set(APP, token, {"a": None, "c": 30}))["d"] == {"c": 30}
    for _ in range(2):
        session = there(rs.get(APP, token))
        assert (session["r"], session["d"]) == (3, {"c": 30})


@pytest.mark.parametrize("call", ["kill", "killsoid", "killall"])
def test_killing_flushes_the_cached_session(where: Where, make_client: MakeClient, call: str) -> None:
    rs = make_client(where.address, ns=where.ns, cachetime=2)
    Moment(rs)
    token = rs.create(APP, "user1", IP)["token"]
    assert rs.get(APP, token) is not None
    arguments = {"kill": (APP, token), "killsoid": (APP, "user1"), "killall": (APP,)}[call]
    assert getattr(rs, call)(*arguments) == {"kill": 1}
    assert rs.get(APP, token) is None


def test_500_sessions_are_cached_each_as_its_own(where: Where, make_client: MakeClient) -> None:
    rs = make_client(where.address, ns=where.ns, cachetime=2)
    clock = Moment(rs)
    tokens = [rs.create(APP, f"bulkuser_{number}", IP)["token"] for number in range(500)]
    for now, r in ((0.0, 2), (0.5, 2), (1.5, 2), (3.5, 3)):
        clock.now = now
        sessions = [there(rs.get(APP, token)) for token in tokens]
        assert [session["id"] for session in sessions] == [f"bulkuser_{number}" for number in range(500)]
        assert {session["r"] for session in sessions} == {r}


def test_the_cache_forgets_the_session_used_longest_ago_beyond_cachemax(
    where: Where, make_client: MakeClient
) -> None:
    rs = make_client(where.address, ns=where.ns, cachetime=2, cachemax=2)
    Moment(rs)
    tokens = [rs.create(APP, "user1", IP)["token"] for _ in range(3)]
    assert [there(rs.get(APP, token))["r"] for token in tokens] == [2, 2, 2]
    assert [there(rs.get(APP, token))["r"] for token in reversed(tokens)] == [2, 2, 3]


# ----------------------------------------------------------------------------------------------- wipe


def test_wipe_removes_what_timed_out_and_nothing_else(where: Where, client: SessionsClient) -> None:
    client.create(APP, "user1", IP, ttl=10)
    living = client.create(APP, "user2", IP, ttl=100)["token"]
    where.advance(12)
    assert client.wipe() == {"wiped": 1}
    assert client.get(APP, living) is not None
    assert [session["id"] for session in client.soapp(APP, 60)] == ["user2"]


@pytest.mark.parametrize(("wipe", "interval"), [(1, 10), (9, 10), (10, 10), (600, 600), (0, 0)])
def test_the_interval_of_wipe_is_at_least_10_seconds_or_none(
    where: Where, make_client: MakeClient, wipe: int, interval: int
) -> None:
    assert make_client(where.address, ns=where.ns, wipe=wipe)._wipe_s == interval


def test_quit_ends_the_client_and_no_session(where: Where, make_client: MakeClient) -> None:
    rs = make_client(where.address, ns=where.ns)
    token = rs.create(APP, "user1", IP)["token"]
    rs.quit()
    assert make_client(where.address, ns=where.ns).get(APP, token) is not None
