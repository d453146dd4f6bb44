"""Repair: every living session is listed again whatever the index lost, and nothing else changes."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from pymemcache import Client

from memsessions import (
    ClientClosed,
    DumpForbidden,
    Session,
    SessionsClient,
    StoreDamaged,
    StoreFull,
    index,
    repair,
    repairing,
)
from memsessions.store.memory import named_store
from memsessions.store.operations import FOREVER, Add, Delete, LeftMany
from memsessions.tokens import hashed

from .conftest import InMemory, MakeClient, OnMemcached, Where
from .support.damage import bucket_key, counter_key, evict, put, session_key, value
from .support.interleaving import Play
from .support.memcached import Memcached
from .support.sessions import Ticks, between_ticks, contents, ips, memory_at, since

APP = "forum"
USER = "user1234"


def fill(rs: SessionsClient, users: int = 30, app: str = APP) -> list[str]:
    """Users with one to three sessions of several lives, one in five of which is `no_resave`."""
    return [
        rs.create(app, f"user{n}", f"{n}.{more}", ttl=3600 + n % 3, no_resave=n % 5 == 0)["token"]
        for n in range(users)
        for more in range(n % 3 + 1)
    ]


def is_index(key: str) -> bool:
    return key.split(":")[2][0] in "ix" if key.count(":") >= 2 else False


def lose_index(where: Where, rs: SessionsClient, every: int = 1) -> int:
    """Evict one index item in so many; return how many records were in these."""
    items = sorted((key, held) for key, held in contents(where).items() if is_index(key))
    lost = items[::every]
    for key, _ in lost:
        evict(rs, key.encode())
    return sum(len(held) // index.RECORD_LENGTH for _, held in lost)


def listed_records(where: Where) -> list[bytes]:
    """Every record of every index item, sorted."""
    items = [held for key, held in contents(where).items() if is_index(key)]
    width = index.RECORD_LENGTH
    return sorted(held[at : at + width] for held in items for at in range(0, len(held), width))


def report(listed: int = 0, dead: int = 0, unlisted: int = 0, relisted: int | None = None) -> Any:
    relisted = unlisted if relisted is None else relisted
    return {"listed": listed, "dead": dead, "unlisted": unlisted, "relisted": relisted}


# ------------------------------------------------------------------------------------- what it finds


@pytest.mark.parametrize("every", [1, 2, 7])
def test_what_was_evicted_of_an_index_is_there_again_record_for_record(
    where: Where, client: SessionsClient, every: int
) -> None:
    """Users, names and lives as `create` had written them."""
    tokens = fill(client)
    before = listed_records(where)
    lost = lose_index(where, client, every)
    assert lost
    assert len(client.soapp(APP)) == len(tokens) - lost
    assert repair(client) == {APP: report(listed=len(tokens) - lost, unlisted=lost)}
    assert listed_records(where) == before
    assert len(client.soapp(APP)) == len(tokens)
    assert repair(client) == {APP: report(listed=len(tokens))}


def test_after_it_killsoid_and_killall_reach_every_session(where: Where, client: SessionsClient) -> None:
    tokens = fill(client)
    lose_index(where, client)
    assert client.killsoid(APP, "user2") == client.killall(APP) == {"kill": 0}
    repair(client)
    assert client.killsoid(APP, "user2") == {"kill": 3}
    assert client.killall(APP) == {"kill": len(tokens) - 3}
    assert not any(client.get(APP, token) for token in tokens)


def test_a_store_without_sessions_has_nothing_to_repair(where: Where, client: SessionsClient) -> None:
    assert repair(client) == {}
    assert contents(where) == {}


def test_dead_entries_are_counted_and_left_to_the_wipe(where: Where, client: SessionsClient) -> None:
    tokens = fill(client)
    for token in tokens[:7]:
        client.kill(APP, token)
    before = contents(where)
    assert repair(client) == {APP: report(listed=len(tokens) - 7, dead=7)}
    assert contents(where) == before
    assert client.wipe() == {"wiped": 7}
    assert repair(client) == {APP: report(listed=len(tokens) - 7)}


def test_an_app_of_which_only_dead_entries_are_left_is_reported(client: SessionsClient) -> None:
    client.kill(APP, client.create(APP, USER, "192.0.2.1")["token"])
    assert repair(client) == {APP: report(dead=1)}


def test_apps_are_found_without_the_registry_and_entered_again(where: Where, client: SessionsClient) -> None:
    """So that the background wipe of every process knows them."""
    for app in ("shop", "forum", "a-b_c"):
        fill(client, 3, app)
    lose_index(where, client)
    evict(client, client._nodes[0].root + b":apps")
    assert repair(client) == {app: report(unlisted=6) for app in ("a-b_c", "forum", "shop")}
    assert client._nodes[0].registry.names() == ["a-b_c", "forum", "shop"]
    assert list(repair(client)) == ["a-b_c", "forum", "shop"]
    assert value(client, client._nodes[0].root + b":apps") == b"a-b_c\nforum\nshop\n"


def test_other_namespaces_are_left_alone(where: Where, make_client: MakeClient) -> None:
    """Also one whose name begins alike."""
    mine, others = make_client(where.address, ns=where.ns), make_client(where.address, ns=where.ns + ".x")
    for rs in (mine, others):
        rs.create(APP, USER, "192.0.2.1")
        evict(rs, bucket_key(rs, USER))
    assert repair(mine) == {APP: report(unlisted=1)}
    assert (len(mine.soid(APP, USER)), len(others.soid(APP, USER))) == (1, 0)


@pytest.mark.parametrize(
    "key",
    [b"apps:s:x", b"forum:s:short", b"xy:s:" + b"A" * 22, b"wrong app:s:".replace(b" ", b".") + b"A" * 22],
)
def test_keys_that_are_none_of_a_session_are_passed_over(client: SessionsClient, key: bytes) -> None:
    client.create(APP, USER, "192.0.2.1")
    put(client, client._nodes[0].root + b":" + key, b"foreign", 100)
    found = repair(client)
    assert found[APP] == report(listed=1)
    assert sum(app["unlisted"] for app in found.values()) == 0


# ------------------------------------------------------------------------------- what it does not do


def test_it_is_no_access(where: Where, client: SessionsClient) -> None:
    """No count, no life and no data changes, and idle times go on."""
    ticks = Ticks(where)
    fill(client)
    where.advance(100)

    def look() -> list[Any]:
        lose_index(where, client)
        before = contents(where)
        names = [key.encode() for key in before if key.split(":")[2:3] in (["s"], ["r"])]
        lefts = client._nodes[0].store.run((LeftMany(b"", names),))
        assert repair(client)[APP]["relisted"] > 0
        after = contents(where)
        assert {key: after[key] for key in before} == before
        return [lefts, client._nodes[0].store.run((LeftMany(b"", names),))]

    before, after = between_ticks(where, look)
    assert before == after
    assert {session["idle"] for session in client.soapp(APP)} <= set(since(ticks, 100))
    assert {session["r"] for session in client.soapp(APP)} == {1}


def test_it_does_not_mark_a_session_as_used(on_memcached: OnMemcached, make_client: MakeClient) -> None:
    """Or a server that is short of memory would throw out the wrong ones."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    token = rs.create(APP, USER, "192.0.2.1")["token"]
    evict(rs, bucket_key(rs, USER))
    repair(rs)
    for key in (session_key(rs, token), counter_key(rs, token)):
        assert on_memcached.server.ask(b"mg %b h\r\nmn\r\n" % key, b"MN\r\n").startswith(b"HD h0\r\n")
    rs.get(APP, token)
    key = session_key(rs, token)
    assert on_memcached.server.ask(b"mg %b h\r\nmn\r\n" % key, b"MN\r\n").startswith(b"HD h1\r\n")


def test_a_no_resave_session_that_is_over_stays_so(where: Where, client: SessionsClient) -> None:
    """Its item may be there after its end."""
    token = client.create(APP, USER, "192.0.2.1", ttl=100, no_resave=True)["token"]
    where.advance(60)
    assert client.get(APP, token) is not None
    where.advance(60)
    assert value(client, session_key(client, token)) is not None
    assert repair(client) == {APP: report(dead=1)}
    evict(client, bucket_key(client, USER))
    assert repair(client) == {APP: report()}
    assert value(client, bucket_key(client, USER)) is None


def test_a_session_that_lost_its_counter_lives_and_is_listed(client: SessionsClient) -> None:
    token = client.create(APP, USER, "192.0.2.1")["token"]
    evict(client, bucket_key(client, USER))
    evict(client, counter_key(client, token))
    assert repair(client) == {APP: report(unlisted=1)}
    assert ips(client.soid(APP, USER)) == ["192.0.2.1"]


# ------------------------------------------------------------------------------------------ large ones


@pytest.mark.parametrize("passes", [2, 3, 10])
def test_in_several_passes_it_finds_the_same(
    where: Where, client: SessionsClient, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    """As on a server with more sessions than may be held in memory at once."""
    tokens = fill(client) + fill(client, 4, "shop")
    for token in tokens[1:4]:
        client.kill(APP, token)
    everything = sorted(item for item in listed_records(where))
    lose_index(where, client, 2)
    expected = repair(client)
    assert expected[APP]["dead"] + expected[APP]["listed"] + expected[APP]["unlisted"] > 50
    for key in [key for key in contents(where) if is_index(key)]:
        evict(client, key.encode())
    (*_, last) = client._nodes[0].store.keys(b"")
    monkeypatch.setattr(repairing, "_ITEMS_EACH_PASS", -(-last.total // passes))
    found = repair(client)
    assert {app: item["unlisted"] for app, item in found.items()} == {
        app: item["listed"] + item["unlisted"] for app, item in expected.items()
    }
    assert set(listed_records(where)) <= set(everything)
    client.kill(APP, tokens[0])
    again = repair(client)
    assert again[APP] == report(listed=found[APP]["unlisted"] - 1, dead=1)
    assert again["shop"] == report(listed=found["shop"]["unlisted"])


def test_sessions_that_outgrow_a_bucket_are_listed_in_its_segments(
    where: Where, client: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an index that was evicted there is found again as well."""
    monkeypatch.setattr(index, "FULL_BYTES", 50 * index.RECORD_LENGTH)
    monkeypatch.setattr(repairing, "_BATCH", 16)
    for number in range(600):
        client.create(APP, USER, f"ip{number}")
    for _ in range(2):
        lost = lose_index(where, client)
        assert lost >= 600
        assert repair(client) == {APP: report(unlisted=600)}
        assert len(client.soid(APP, USER)) == len(client.soapp(APP)) == 600
        assert any(key.startswith(f"{where.ns}:{APP}:x:") for key in contents(where))


def test_it_tells_how_far_it_is(
    where: Where, client: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In rising numbers, up to the number of all, also where it takes several passes."""
    fill(client)
    for each_pass in (10**9, 50 if where.kind == "memory" else 10**9):
        monkeypatch.setattr(repairing, "_ITEMS_EACH_PASS", each_pass)
        told: list[tuple[int, int]] = []
        repair(client, lambda done, total: told.append((done, total)))  # noqa: B023  called at once
        assert told == sorted(told)
        assert len({total for _, total in told}) == 1
        assert told[-1][0] >= len(contents(where))
        if where.kind == "memory":
            assert told[-1][0] == told[-1][1]


def test_who_is_told_can_stop_it(where: Where, client: SessionsClient) -> None:
    """Nothing was done then, and the client works on."""
    fill(client)
    lose_index(where, client)
    before = contents(where)

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair(client, stop)
    assert contents(where) == before
    assert repair(client)[APP]["unlisted"] > 0


# -------------------------------------------------------------------------------------------- trouble


def test_a_closed_client_repairs_nothing(client: SessionsClient) -> None:
    client.quit()
    with pytest.raises(ClientClosed):
        repair(client)


def test_a_server_that_shows_no_keys_is_named_and_left_as_it_is() -> None:
    with Memcached("-X") as server, SessionsClient(server.address, wipe=0) as rs:
        rs.create(APP, USER, "192.0.2.1")
        evict(rs, bucket_key(rs, USER))
        with pytest.raises(DumpForbidden) as caught:
            repair(rs)
        assert caught.value.server == server.address
        assert "-X" in str(caught.value)
        assert rs.soid(APP, USER) == []
        assert rs.wipe() == {"wiped": 0}


def test_a_damaged_index_keeps_no_other_app_from_being_repaired(client: SessionsClient) -> None:
    for app in ("apple", "forum", "zebra"):
        client.create(app, USER, "192.0.2.1")
        evict(client, bucket_key(client, USER).replace(b"forum", app.encode()))
    put(client, bucket_key(client, USER), b"x")
    with pytest.raises(StoreDamaged, match="index"):
        repair(client)
    assert [len(client.soid(app, USER)) for app in ("apple", "zebra")] == [1, 1]
    assert value(client, bucket_key(client, USER)) == b"x"


@pytest.mark.parametrize(
    "foreign",
    [
        b"foreign",
        b"[]",
        b'[2,"user","ip",3600,0,1,null]',
        b'[1,5,"ip",3600,0,1,null]',
        b'[1,"user","ip",36.5,0,1,null]',
        b'[1,"user","ip",null,0,1,null]',
    ],
)
def test_what_is_no_session_is_said_to_be_damage_once_the_rest_is_repaired(
    where: Where, client: SessionsClient, foreign: bytes
) -> None:
    tokens = fill(client)
    key = session_key(client, tokens[0])
    put(client, key, foreign, 100)
    lose_index(where, client)
    with pytest.raises(StoreDamaged, match="not a session"):
        repair(client)
    assert len(client.soapp(APP)) == len(tokens) - 1
    assert value(client, key) == foreign


def test_on_a_full_store_the_report_says_what_could_not_be_listed(make_client: MakeClient) -> None:
    """And once there is room, it is listed."""
    where = InMemory()
    rs = make_client(where.address, ns=where.ns)
    tokens = fill(rs)
    lost = lose_index(where, rs)
    store = memory_at(where.address)
    limit, store._limit_bytes = store._limit_bytes, store._bytes + 500
    found = repair(rs)[APP]
    assert (found["listed"], found["unlisted"]) == (0, lost)
    assert 0 < found["relisted"] < lost
    assert len(rs.soapp(APP)) == found["relisted"]
    store._limit_bytes = limit
    assert repair(rs) == {APP: report(found["relisted"], 0, lost - found["relisted"])}
    assert len(rs.soapp(APP)) == len(tokens)


def add_without_end(rs: SessionsClient, size: int) -> None:
    """Until the server has no memory for an item of this size."""
    while True:
        rs._nodes[0].store.run((Add(b"fill:" + secrets.token_hex(8).encode(), b"x" * size, FOREVER),))


def test_a_session_is_not_said_to_be_listed_where_no_reader_looks(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little room there is: say, for a record in a segment, but not for the flag of segments."""
    monkeypatch.setattr(index, "FULL_BYTES", 0)
    monkeypatch.setattr(repairing, "_BATCH", 1)
    numbers = set()
    for room in range(0, 700, 20):
        where = InMemory()
        rs = make_client(where.address, ns=where.ns)
        for number in range(3):
            rs.create(APP, USER, f"ip{number}")
        lose_index(where, rs)
        store = memory_at(where.address)
        store._limit_bytes = store._bytes + room
        found = repair(rs)[APP]
        assert found["unlisted"] == 3
        assert len(rs.soid(APP, USER)) == len(rs.soapp(APP)) == found["relisted"]
        numbers.add(found["relisted"])
    assert numbers == {0, 1, 2, 3}


def test_a_full_server_is_repaired_as_far_as_there_is_room(make_client: MakeClient) -> None:
    """A memcached that refuses memory: what is said to be listed is, and the rest is once there is room."""
    with Memcached("-M", "-m", "2", "-t", "1") as server:
        rs = make_client(server.address, ns="full", timeout=5)
        tokens = [rs.create(APP, f"user{n}", "ip")["token"] for n in range(2_000)]
        where = OnMemcached(server)
        where.ns = "full"
        lost = lose_index(where, rs)
        assert lost == len(tokens)
        for size in (500_000, 100_000, 10_000, 3_000, 1_000, 300, 100, 30):
            with pytest.raises(StoreFull):
                add_without_end(rs, size)
        found = repair(rs)[APP]
        assert found["unlisted"] == lost
        assert found["relisted"] < lost
        assert len(rs.soapp(APP)) == found["relisted"]
        rs._nodes[0].store.run([Delete(key.encode()) for key in server.keys("fill")])
        assert repair(rs)[APP]["listed"] == found["relisted"]
        assert len(rs.soapp(APP)) == len(tokens)


@pytest.mark.parametrize("prefix", [b"", b"tenant:", b"a+b/"])
def test_the_keys_of_a_pymemcache_client_may_have_a_prefix(
    memcached: Memcached, on_memcached: OnMemcached, make_client: MakeClient, prefix: bytes
) -> None:
    rs = make_client(client=Client(("127.0.0.1", memcached.port), key_prefix=prefix), ns=on_memcached.ns)
    rs.create(APP, USER, "192.0.2.1")
    evict(rs, bucket_key(rs, USER))
    assert repair(rs) == {APP: report(unlisted=1)}
    assert len(rs.soid(APP, USER)) == 1


# ------------------------------------------------------------------------------- against another call


def test_a_session_that_ends_after_the_dump_is_neither_counted_nor_listed(
    where: Where, client: SessionsClient
) -> None:
    token = client.create(APP, USER, "192.0.2.1")["token"]
    evict(client, bucket_key(client, USER))
    client.create(APP, "other", "192.0.2.2")

    def end_it(_done: int, _total: int) -> None:
        client.kill(APP, token)

    assert repair(client, end_it) == {APP: report(listed=1)}
    assert sum(len(held) for key, held in contents(where).items() if is_index(key)) == index.RECORD_LENGTH


def test_a_session_that_is_made_after_the_dump_is_not_taken_for_lost(client: SessionsClient) -> None:
    client.create(APP, USER, "192.0.2.1")
    evict(client, bucket_key(client, USER))

    def make(_done: int, _total: int) -> None:
        client.create(APP, "other", "192.0.2.2")

    found = repair(client, make)[APP]
    assert (found["unlisted"], found["relisted"], found["dead"]) == (1, 1, 0)
    assert "192.0.2.2" in ips(client.soapp(APP))


class Lost(NamedTuple):
    """A session that no index lists, and clients that race and look."""

    where: InMemory
    token: str
    racing: tuple[SessionsClient, SessionsClient]
    looking: SessionsClient


def lost_session(no_resave: bool, others: bool) -> Lost:
    where = InMemory()
    where.address = "memory://repairing"
    store = named_store(where.address, item_bytes=1024 * 1024)
    store._clock = lambda: where.now
    store._entries.clear()
    store._bytes = 0
    racing = tuple(SessionsClient(where.address, ns=where.ns, wipe=0) for _ in range(2))
    looking = SessionsClient(where.address, ns=where.ns, wipe=0)
    token = looking.create(APP, USER, "192.0.2.1", no_resave=no_resave)["token"]
    where.advance(20)
    evict(looking, bucket_key(looking, USER))
    if others:  # then there is an index item of theirs
        looking.create(APP, USER, "192.0.2.2")
    return Lost(where, token, (racing[0], racing[1]), looking)


def rotated(world: Lost, rs: SessionsClient) -> str:
    answer = rs.rotate(APP, world.token)
    assert answer is not None
    return answer["token"]


def written(world: Lost, rs: SessionsClient) -> Session | None:
    return rs.set(APP, world.token, {"new": 1})


CALLS: dict[str, Callable[[Lost, SessionsClient], Any]] = {
    "kill": lambda world, rs: rs.kill(APP, world.token)["kill"],
    "rotate": rotated,
    "set": written,
    "get": lambda world, rs: rs.get(APP, world.token),
    "create": lambda _, rs: rs.create(APP, USER, "192.0.2.3")["token"],
    "killsoid": lambda _, rs: rs.killsoid(APP, USER)["kill"],
    "killall": lambda _, rs: rs.killall(APP)["kill"],
    "wipe": lambda _, rs: rs.wipe(),
    "repair": lambda _, rs: repair(rs),
}


@pytest.mark.no_cover  # the same lines in every order
@pytest.mark.usefixtures("small_index")
@pytest.mark.parametrize("others", [False, True], ids=["alone", "with others"])
@pytest.mark.parametrize("no_resave", [False, True], ids=["renewed", "no_resave"])
@pytest.mark.parametrize("call", CALLS)
def test_no_call_is_harmed_in_any_order_of_commands(call: str, no_resave: bool, others: bool) -> None:
    """What was ended stays so, what lives is listed, and what it counts is right."""

    def check(world: Lost, found: Any, answer: Any) -> None:
        rs = world.looking
        assert found[APP]["unlisted"] == found[APP]["relisted"]
        living = [world.token, answer] if call == "create" else [answer if call == "rotate" else world.token]
        dead = [world.token] if call == "rotate" else []
        if call == "kill":
            assert answer == 1
            living, dead = [], living
        elif call in ("killsoid", "killall"):
            # The one that was lost is reached if it was listed in time; and is never left half-dead.
            is_dead = rs.get(APP, world.token) is None
            assert answer == others + is_dead
            living, dead = ([], living) if is_dead else (living, [])
        assert all(rs.get(APP, token) is not None for token in living)
        assert all(rs.get(APP, token) is None for token in dead)
        others_live = others and call not in ("killsoid", "killall")
        assert len(rs.soid(APP, USER)) == len(rs.soapp(APP)) == len(living) + others_live
        rs.wipe()
        assert len(rs.soid(APP, USER)) == len(living) + others_live
        assert rs.killsoid(APP, USER) == {"kill": len(living) + others_live}
        assert not any(rs.get(APP, token) for token in living)

    play = Play(
        lambda: lost_session(no_resave, others),
        lambda world: world.racing,
        lambda _, rs: repair(rs),
        CALLS[call],
        check,
    )
    assert play.every_order() > 5


def test_while_many_make_move_and_end_sessions_nothing_is_lost_or_comes_back(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    """Index items are evicted all the while; after one more repair the index is what lives."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns, timeout=5)
    tokens: list[str] = []
    ended: list[str] = []

    def work(number: int) -> None:
        token = rs.create(APP, f"user{number % 50}", "192.0.2.1")["token"]
        if number % 4 == 1:
            answer = rs.rotate(APP, token)
            assert answer is not None
            ended.append(token)
            token = answer["token"]
        if number % 4 == 2:
            assert rs.kill(APP, token) == {"kill": 1}
            ended.append(token)
        else:
            tokens.append(token)
        if number % 10 == 3:
            key = b"%b:forum:i:%d" % (rs._nodes[0].root, index._bucket_of(hashed(f"user{number % 50}")))
            rs._nodes[0].store.run((Delete(key),))
        if number % 40 == 4:
            repair(rs)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(400)))
    found = repair(rs)[APP]
    assert found["listed"] + found["unlisted"] == len(tokens)
    assert found["unlisted"] == found["relisted"]
    assert len(rs.soapp(APP)) == len(tokens)
    assert all(rs.get(APP, token) is not None for token in tokens)
    assert not any(rs.get(APP, token) for token in ended)
    assert rs.killall(APP) == {"kill": len(tokens)}
