"""Many at once: nothing is lost, nothing comes back, in whatever order the server runs the commands.

The first part has two calls run against each other in every order of their single commands, on the
in-process store, which answers as memcached does (see store/test_operations.py) and stands still in
between. The second part uses a real memcached, processes and threads.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest

from memsessions import Created, NewSession, Session, SessionsClient
from memsessions.store.memcached import MemcachedStore
from memsessions.store.memory import named_store
from memsessions.store.operations import Delete
from memsessions.store.pool import Pool
from memsessions.tokens import hashed

from .conftest import InMemory, MakeClient, OnMemcached, Where
from .support.hammering import THREADS, TURNS, hammer
from .support.interleaving import Play, step_by_step
from .support.proxy import Proxy
from .support.sessions import ips

APP = "forum"
USER = "user1234"
PROCESSES = 8


def there(session: Session | None) -> Session:
    assert session is not None
    return session


# --------------------------------------------------------------------------- two calls, in every order


class Listing(NamedTuple):
    """Where the index lists the session that is there, and what the racing clients know of that."""

    old_in_segment: bool = False
    new_in_segment: bool = False
    known: bool = False  # both clients have used this bucket before
    can_be_full: bool = False  # the store may refuse what is new, so that a rotation takes one more step


LISTINGS = {
    "bucket that is known": Listing(known=True),
    "bucket that is known, can be full": Listing(known=True, can_be_full=True),
    "bucket that is not known": Listing(),
    "segment": Listing(old_in_segment=True, new_in_segment=True),
    "segment, and then the bucket": Listing(old_in_segment=True),
    "segment, and then the bucket, can be full": Listing(old_in_segment=True, can_be_full=True),
    "segment, and then the known bucket": Listing(old_in_segment=True, known=True),
    "bucket, and then a segment": Listing(new_in_segment=True),
}


class World:
    """A session of its own, two clients that race and one that looks."""

    def __init__(self, where: InMemory, listing: Listing, no_resave: bool) -> None:
        store = named_store(where.address, item_bytes=1024 * 1024)
        store._entries.clear()  # the world before this one, which would only slow this one down
        store._bytes = 0
        ns = "t" + secrets.token_hex(6)
        self.where = where
        self.racing = (
            SessionsClient(where.address, ns=ns, wipe=0),
            SessionsClient(where.address, ns=ns, wipe=0),
        )
        self.looking = SessionsClient(where.address, ns=ns, wipe=0)
        if listing.known:
            for rs in self.racing:
                assert rs.kill(APP, rs.create(APP, "other", "192.0.2.2")["token"]) == {"kill": 1}
        if listing.old_in_segment:
            self._spill(self.looking)
        created = self.looking.create(APP, USER, "192.0.2.1", ttl=3600, d={"old": 1}, no_resave=no_resave)
        self.token = created["token"]
        where.advance(20)  # so that nothing takes it for one that is just being made
        if listing.new_in_segment:
            for rs in self.racing:
                self._spill(rs)

    @staticmethod
    def _spill(rs: SessionsClient) -> None:
        rs._nodes[0].app(APP).listing.mark_full(hashed(USER))

    def lives(self, token: str) -> bool:
        """Asking counts as an access."""
        return self.looking.get(APP, token) is not None

    def assert_only(self, token: str) -> Session:
        """Of the user, this session lives and no other, and every list shows it."""
        session = there(self.looking.get(APP, token))
        assert len(self.looking.soid(APP, USER)) == 1
        assert len(self.looking.soapp(APP, 7200)) == 1
        assert self.looking.activity(APP, 7200) == {"activity": 1}
        return session

    def assert_dead(self, *tokens: str | None) -> None:
        """None of these lives, and no other session of the user does either."""
        assert not any(self.lives(token) for token in (self.token, *tokens) if token is not None)
        assert self.looking.soid(APP, USER) == []
        assert self.looking.soapp(APP, 7200) == []
        assert self.looking.kill(APP, self.token) == {"kill": 0}


def get(world: World, rs: SessionsClient) -> Session | None:
    return rs.get(APP, world.token)


def get_many(world: World, rs: SessionsClient) -> Session | None:
    return rs.get_many(APP, [world.token])[0]


def write(world: World, rs: SessionsClient) -> Session | None:
    return rs.set(APP, world.token, {"new": 2})


def write_too(world: World, rs: SessionsClient) -> Session | None:
    return rs.set(APP, world.token, {"newer": 3})


def kill(world: World, rs: SessionsClient) -> int:
    return rs.kill(APP, world.token)["kill"]


def kill_many(world: World, rs: SessionsClient) -> int:
    return rs.kill_many(APP, [world.token])["kill"]


def killsoid(_world: World, rs: SessionsClient) -> int:
    return rs.killsoid(APP, USER)["kill"]


def killall(_world: World, rs: SessionsClient) -> int:
    return rs.killall(APP)["kill"]


def wipe(_world: World, rs: SessionsClient) -> int:
    return rs.wipe()["wiped"]


def rotate(world: World, rs: SessionsClient) -> str | None:
    answer = rs.rotate(APP, world.token)
    return None if answer is None else answer["token"]


def create(_world: World, rs: SessionsClient) -> str:
    return rs.create(APP, USER, "192.0.2.9")["token"]


def create_many(_world: World, rs: SessionsClient) -> str:
    return rs.create_many(APP, [{"id": USER, "ip": "192.0.2.9"}])[0]["token"]


def make_and_list(make: Call, world: World, rs: SessionsClient) -> str:
    """A session that was returned is listed from then on."""
    token: str = make(world, rs)
    assert "192.0.2.9" in ips(world.looking.soid(APP, USER))
    return token


Call = Callable[[World, SessionsClient], Any]
Race = Callable[[Call, Call, Callable[[World, Any, Any], None]], None]


@pytest.fixture(params=[False, True], ids=["renewed", "no_resave"])
def no_resave(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


#: How the session is listed, and whether its life is fixed; for that it is enough to look at some of them.
SESSIONS = {
    **{name: (listing, False) for name, listing in LISTINGS.items()},
    **{
        f"{name}, no_resave": (listing, True)
        for name, listing in LISTINGS.items()
        if listing.known or listing.can_be_full
    },
}


#: For the races in which less depends on it.
few_sessions = pytest.mark.parametrize(
    "stored",
    [
        (LISTINGS["bucket that is known"], False),
        (LISTINGS["bucket that is not known"], False),
        (LISTINGS["segment"], False),
        (LISTINGS["bucket that is known"], True),
    ],
    ids=["known", "not known", "segment", "known, no_resave"],
)


# The same lines again and again: to measure that they are covered would take longer than to run them.
@pytest.fixture(
    params=[pytest.param(stored, marks=pytest.mark.no_cover) for stored in SESSIONS.values()],
    ids=list(SESSIONS),
)
def stored(request: pytest.FixtureRequest) -> tuple[Listing, bool]:
    found: tuple[Listing, bool] = request.param
    return found


@pytest.fixture
def race(small_index: None, stored: tuple[Listing, bool]) -> Race:  # noqa: ARG001
    """Runs two calls in every order, with the session listed in every way."""
    where = InMemory()

    named_store(where.address, item_bytes=1024 * 1024).refuses_when_full = stored[0].can_be_full

    def run(first: Call, second: Call, check: Callable[[World, Any, Any], None]) -> None:
        def make() -> World:
            return World(where, *stored)

        orders = Play(make, lambda world: world.racing, first, second, check).every_order()
        assert orders > 3

    return run


@pytest.fixture(params=[False, True], ids=["evicts", "can be full"])
def simple_race(request: pytest.FixtureRequest, small_index: None, no_resave: bool) -> Race:  # noqa: ARG001
    """The same for calls that do not look at the index."""
    where = InMemory()
    named_store(where.address, item_bytes=1024 * 1024).refuses_when_full = request.param

    def run(first: Call, second: Call, check: Callable[[World, Any, Any], None]) -> None:
        def make() -> World:
            return World(where, Listing(), no_resave)

        assert Play(make, lambda world: world.racing, first, second, check).every_order() > 3

    return run


@pytest.mark.parametrize("end", [kill, kill_many, killsoid, killall])
def test_a_write_that_races_the_end_of_a_session_never_brings_it_back(simple_race: Race, end: Call) -> None:
    """The end counts the session once, and what the write answers is the session as it was before the end."""

    def check(world: World, written: Session | None, killed: int) -> None:
        assert killed == 1
        assert written is None or (written["w"], written["d"]) == (2, {"old": 1, "new": 2})
        world.assert_dead()

    simple_race(write, end, check)
    simple_race(end, write, lambda world, killed, written: check(world, written, killed))


@pytest.mark.parametrize("end", [kill, kill_many, killsoid, killall])
@pytest.mark.parametrize("read", [get, get_many])
def test_a_read_that_races_the_end_of_a_session_never_brings_it_back(
    simple_race: Race, read: Call, end: Call
) -> None:
    """Not even its counter, which would make a later call find something to end."""

    def check(world: World, session: Session | None, killed: int) -> None:
        assert killed == 1
        assert session is None or (session["r"], session["w"]) == (2, 1)
        world.assert_dead()

    simple_race(read, end, check)
    simple_race(end, read, lambda world, killed, session: check(world, session, killed))


def test_two_writes_lose_no_key_and_no_count(simple_race: Race) -> None:
    def check(world: World, one: Session | None, other: Session | None) -> None:
        assert {there(one)["w"], there(other)["w"]} == {2, 3}
        session = world.assert_only(world.token)
        assert (session["w"], session["d"]) == (3, {"old": 1, "new": 2, "newer": 3})

    simple_race(write, write_too, check)


@pytest.mark.parametrize("other", [get, get_many])
def test_two_reads_lose_no_count(simple_race: Race, other: Call) -> None:
    def check(world: World, one: Session | None, other: Session | None) -> None:
        assert {there(one)["r"], there(other)["r"]} == {2, 3}
        assert world.assert_only(world.token)["r"] == 4

    simple_race(get, other, check)
    simple_race(other, get, check)


def test_a_read_and_a_write_lose_no_count(simple_race: Race) -> None:
    def check(world: World, written: Session | None, read: Session | None) -> None:
        assert (there(written)["w"], there(read)["r"]) == (2, 2)
        session = world.assert_only(world.token)
        assert (session["r"], session["w"], session["d"]) == (3, 2, {"old": 1, "new": 2})

    simple_race(write, get, check)


@pytest.mark.parametrize("other", [kill, kill_many, killsoid, killall])
@pytest.mark.parametrize("one", [kill, kill_many, killsoid, killall])
def test_of_two_calls_that_end_a_session_exactly_one_counts_it(
    simple_race: Race, one: Call, other: Call
) -> None:
    def check(world: World, killed: int, killed_too: int) -> None:
        world.assert_dead()
        assert killed + killed_too == 1

    simple_race(one, other, check)


def test_rotating_while_somebody_writes_loses_no_write(simple_race: Race) -> None:
    """A write that was answered is in the moved session; one that was not has found the old token dead."""

    def check(world: World, token: str | None, written: Session | None) -> None:
        assert token is not None
        session = world.assert_only(token)
        assert not world.lives(world.token)
        if written is None:
            assert (session["w"], session["d"]) == (1, {"old": 1})
        else:
            assert (session["w"], session["d"]) == (2, {"old": 1, "new": 2})

    simple_race(rotate, write, check)
    simple_race(write, rotate, lambda world, written, token: check(world, token, written))


def test_rotating_while_somebody_reads_moves_the_session(simple_race: Race) -> None:
    """Of the count, only what that one read adds to it may be left out."""

    def check(world: World, token: str | None, read: Session | None) -> None:
        assert token is not None
        session = world.assert_only(token)
        assert not world.lives(world.token)
        assert session["w"] == 1
        assert session["d"] == {"old": 1}
        assert session["r"] in (2, 3)
        assert read is None or read["r"] == 2

    simple_race(rotate, get, check)
    simple_race(get, rotate, lambda world, read, token: check(world, token, read))


def test_rotating_while_somebody_kills_moves_the_session_or_loses_it_to_the_kill(simple_race: Race) -> None:
    """A kill that counted the session has ended it for good; one that came too late says so."""

    def check(world: World, token: str | None, killed: int) -> None:
        if killed:
            assert token is None
            world.assert_dead()
        else:
            assert token is not None
            assert world.assert_only(token)["d"] == {"old": 1}
            assert not world.lives(world.token)

    simple_race(rotate, kill, check)
    simple_race(kill, rotate, lambda world, killed, token: check(world, token, killed))


@few_sessions
def test_rotating_twice_at_once_gives_exactly_one_token(race: Race) -> None:
    def check(world: World, one: str | None, other: str | None) -> None:
        (token,) = (token for token in (one, other) if token is not None)
        session = world.assert_only(token)
        assert (session["r"], session["w"], session["d"]) == (2, 1, {"old": 1})
        assert not world.lives(world.token)

    race(rotate, rotate, check)


@pytest.mark.parametrize("end", [killsoid, killall])
def test_logging_out_everywhere_never_misses_a_session_that_is_being_rotated(race: Race, end: Call) -> None:
    """Whatever becomes of the rotation, its session existed when the call began, and so has ended.

    It is counted; twice where it was found under both of its tokens.
    """

    def check(world: World, token: str | None, killed: int) -> None:
        world.assert_dead(token)
        assert killed in (1, 2)

    race(rotate, end, check)
    race(end, rotate, lambda world, killed, token: check(world, token, killed))


@pytest.mark.usefixtures("small_index")
def test_logging_out_everywhere_misses_no_rotated_session_while_the_index_is_wiped(
    stored: tuple[Listing, bool],
) -> None:
    """Three at once: the wipe may remove the item that the rotation was just about to append to.

    So the wipe runs at every place in the rotation, and the log-out at every place after that.
    """
    where = InMemory()
    named_store(where.address, item_bytes=1024 * 1024).refuses_when_full = stored[0].can_be_full
    for wiped_at in range(30):
        for ended_at in range(wiped_at, 30):
            world = World(where, *stored)
            rotating, other = world.racing
            step = 0

            def interfere(_op: object, wiped_at: int = wiped_at, ended_at: int = ended_at) -> None:
                nonlocal step
                if step == wiped_at:
                    other.wipe()  # noqa: B023
                if step == ended_at:
                    other.killsoid(APP, USER)  # noqa: B023
                step += 1

            step_by_step(rotating, interfere)
            token = rotate(world, rotating)
            if step <= ended_at:
                break
            try:
                world.assert_dead(token)
            except AssertionError as error:
                order = f"with the wipe after {wiped_at} operations and the log-out after {ended_at}"
                raise AssertionError(order) from error
        if step <= wiped_at:
            return
    raise AssertionError("the call never ends")


@few_sessions
@pytest.mark.parametrize("end", [killsoid, killall])
@pytest.mark.parametrize("make", [create, create_many])
def test_a_session_that_is_made_while_all_are_ended_is_listed_or_ended(
    race: Race, make: Call, end: Call
) -> None:
    """Ended and counted, or alive and listed; nothing in between."""

    def check(world: World, token: str, killed: int) -> None:
        assert not world.lives(world.token)
        lives = world.lives(token)
        assert killed == 2 - lives
        assert ips(world.looking.soid(APP, USER)) == ["192.0.2.9"] * lives
        assert ips(world.looking.soapp(APP)) == ["192.0.2.9"] * lives

    race(make, end, check)
    race(end, make, lambda world, killed, token: check(world, token, killed))


@pytest.mark.parametrize("make", [create, create_many])
def test_a_session_that_is_made_during_a_wipe_is_listed_as_soon_as_it_is_returned(
    race: Race, make: Call
) -> None:
    def check(world: World, token: str) -> None:
        assert world.lives(token)
        assert world.lives(world.token)
        assert sorted(ips(world.looking.soid(APP, USER))) == ["192.0.2.1", "192.0.2.9"]
        assert sorted(ips(world.looking.soapp(APP, 7200))) == ["192.0.2.1", "192.0.2.9"]

    race(make, wipe, lambda world, token, _wiped: check(world, token))
    race(wipe, partial(make_and_list, make), lambda world, _wiped, token: check(world, token))


def test_a_session_that_is_rotated_during_a_wipe_stays_as_it_was_and_listed(race: Race) -> None:
    def check(world: World, token: str | None) -> None:
        assert token is not None
        session = world.assert_only(token)
        assert (session["r"], session["w"], session["d"]) == (2, 1, {"old": 1})
        assert world.looking.kill(APP, world.token) == {"kill": 0}

    race(rotate, wipe, lambda world, token, _wiped: check(world, token))
    race(wipe, rotate, lambda world, _wiped, token: check(world, token))


@pytest.mark.usefixtures("small_index")
def test_the_count_of_a_session_that_is_rotated_is_never_missing(no_resave: bool) -> None:
    """It is brought up to date after a read that came in between, and others wipe all the while."""
    world = World(InMemory(), Listing(), no_resave)
    rotating, wiping = world.racing

    def interfere(op: object) -> None:
        if isinstance(op, Delete) and op.cas is not None:
            assert world.lives(world.token)
        wiping.wipe()

    step_by_step(rotating, interfere)
    token = rotate(world, rotating)
    assert token is not None
    assert world.assert_only(token)["r"] == 3


@pytest.mark.parametrize("use", [get, get_many, write])
def test_a_session_that_is_used_during_a_wipe_stays_listed(simple_race: Race, use: Call) -> None:
    def check(world: World, _wiped: int, session: Session | None) -> None:
        assert session is not None
        world.assert_only(world.token)

    simple_race(wipe, use, check)


def test_a_session_that_is_killed_during_a_wipe_is_counted_and_stays_dead(simple_race: Race) -> None:
    def check(world: World, _wiped: int, killed: int) -> None:
        assert killed == 1
        world.assert_dead()

    simple_race(wipe, kill, check)
    simple_race(kill, wipe, lambda world, killed, wiped: check(world, wiped, killed))


@few_sessions
def test_two_wipes_at_once_remove_what_is_dead_and_nothing_else(race: Race) -> None:
    def check(world: World, _wiped: int, _wiped_too: int) -> None:
        world.assert_only(world.token)
        assert world.looking.wipe() == {"wiped": 0}

    race(wipe, wipe, check)


@few_sessions
def test_two_sessions_that_are_made_at_once_are_two_and_both_are_listed(race: Race) -> None:
    def check(world: World, one: str, other: str) -> None:
        assert one != other
        assert world.lives(one)
        assert world.lives(other)
        assert len(world.looking.soid(APP, USER)) == len(world.looking.soapp(APP, 7200)) == 3

    race(create, create, check)
    race(create_many, create, check)
    race(create, create_many, check)


def test_a_counter_that_was_evicted_is_made_once(simple_race: Race) -> None:
    """Two reads find a session without its counter, and count on from one; the session stays a session."""

    def evict(world: World) -> None:
        store = named_store(world.where.address, item_bytes=1024 * 1024)
        key = b"%b:%b:r:%b" % (world.looking._nodes[0].root, APP.encode(), hashed(world.token))
        if key in store._entries:
            store._drop(key)

    def get_evicted(world: World, rs: SessionsClient) -> Session | None:
        evict(world)
        return get(world, rs)

    def check(world: World, one: Session | None, other: Session | None) -> None:
        if one is not None and other is not None:  # a life that is fixed ends with its counter
            assert one["r"] >= 2
            assert other["r"] >= 2
            assert there(world.looking.get(APP, world.token))["r"] in (3, 4)

    simple_race(get_evicted, get, check)


# ------------------------------------------------------------------------------------ on both stores


@pytest.mark.parametrize("no_resave", [False, True], ids=["renewed", "no_resave"])
@pytest.mark.parametrize("call", ["get", "set", "rotate"])
def test_a_call_that_races_the_end_of_a_life_never_brings_the_session_back(
    where: Where, make_client: MakeClient, call: str, no_resave: bool
) -> None:
    """Its time runs out before any one of the commands; dead is then dead, whatever the call answers."""
    looking = make_client(where.address, ns=where.ns)
    for number in range(40):
        rs = make_client(where.address, ns=where.ns)
        token = rs.create(APP, USER, "192.0.2.1", ttl=100, no_resave=no_resave)["token"]
        left = number
        reached = False

        def expire(_op: object) -> None:
            nonlocal left, reached
            if left == 0:
                reached = True
                where.advance(102)
            left -= 1

        step_by_step(rs, expire)
        arguments = ({"a": 1},) if call == "set" else ()
        answer = getattr(rs, call)(APP, token, *arguments)
        if not reached:
            assert answer is not None
            return
        left = -1
        assert looking.get(APP, token) is None
        if call == "rotate" and answer is not None:
            assert (looking.get(APP, answer["token"]) is None) == (looking.soid(APP, USER) == [])
            looking.killsoid(APP, USER)
        assert looking.soid(APP, USER) == []
    raise AssertionError("the call never ends")


# ---------------------------------------------------------------------------- processes and threads


def test_8_processes_with_8_threads_lose_no_key_and_no_count(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    """All of them write and read one session; each answer shows a count that no other shows."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    token = rs.create(APP, USER, "192.0.2.1")["token"]
    shown = hammer(PROCESSES, "set and get", on_memcached.address, on_memcached.ns, token)
    calls = PROCESSES * THREADS * TURNS
    assert sorted(r for r, _ in shown) == sorted(w for _, w in shown) == list(range(2, calls + 2))
    session = there(rs.get(APP, token))
    assert (session["r"], session["w"]) == (calls + 2, calls + 1)
    assert session["d"] == {
        f"{process}-{thread}-{turn}": turn
        for process in range(PROCESSES)
        for thread in range(THREADS)
        for turn in range(TURNS)
    }


def test_8_processes_with_8_threads_make_no_token_twice_and_no_session_that_is_not_listed(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    """Others wipe all the while."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns, timeout=30)
    done = threading.Event()
    errors: list[BaseException] = []

    def wipe_on() -> None:
        try:
            while not done.is_set():
                rs.wipe()
        except BaseException as error:  # noqa: BLE001  told by the thread that waits
            errors.append(error)

    wiping = threading.Thread(target=wipe_on)
    wiping.start()
    try:
        tokens = hammer(PROCESSES, "create", on_memcached.address, on_memcached.ns)
    finally:
        done.set()
        wiping.join()
    assert errors == []
    calls = PROCESSES * THREADS * TURNS
    assert len(set(tokens)) == calls
    assert len(rs.soapp(APP)) == calls
    assert len(rs.soid(APP, "shared")) == calls // 2
    assert rs.activity(APP) == {"activity": PROCESSES * THREADS + 1}
    assert all(rs.get(APP, token) is not None for token in tokens[::7])
    assert rs.killall(APP) == {"kill": calls}


def in_threads(calls: list[Callable[[], Any]]) -> list[Any]:
    """What the calls answer, made at the same time."""
    barrier = threading.Barrier(len(calls))
    answers: list[Any] = [None] * len(calls)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            barrier.wait(10)
            answers[number] = calls[number]()
        except BaseException as error:  # noqa: BLE001  told by the thread that waits
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    return answers


@pytest.mark.parametrize("end", ["kill", "killsoid", "killall"])
def test_threads_that_use_a_session_while_it_is_ended_never_bring_it_back(
    on_memcached: OnMemcached, make_client: MakeClient, end: str
) -> None:
    rs = make_client(on_memcached.address, ns=on_memcached.ns, timeout=10)
    for _ in range(10):
        token = rs.create(APP, USER, "192.0.2.1")["token"]
        ending: dict[str, Callable[[], Any]] = {
            "kill": partial(rs.kill, APP, token),
            "killsoid": partial(rs.killsoid, APP, USER),
            "killall": partial(rs.killall, APP),
        }

        def use(token: str = token) -> None:
            for _ in range(5000):
                if rs.set(APP, token, {"a": 1}) is None or rs.get(APP, token) is None:
                    return

        *_, killed = in_threads([use, use, use, ending[end]])
        assert killed == {"kill": 1}
        assert rs.get(APP, token) is None
        assert rs.set(APP, token, {"b": 1}) is None
        assert rs.soid(APP, USER) == []


def test_threads_that_use_a_session_while_it_is_rotated_lose_no_write(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    rs = make_client(on_memcached.address, ns=on_memcached.ns, timeout=10)
    for _ in range(10):
        token = rs.create(APP, USER, "192.0.2.1")["token"]

        def use(name: str, token: str = token) -> list[str]:
            written: list[str] = []
            while len(written) < 1000 and rs.set(APP, token, {f"{name}{len(written)}": 1}) is not None:
                written.append(f"{name}{len(written)}")
            return written

        calls: list[Callable[[], Any]] = [
            partial(use, "one"),
            partial(use, "other"),
            partial(rs.rotate, APP, token),
        ]
        one, other, new = in_threads(calls)
        session = there(rs.get(APP, new["token"]))
        assert set(session["d"] or ()) == {*one, *other}
        assert session["w"] == 1 + len(one) + len(other)
        assert rs.killsoid(APP, USER) == {"kill": 1}


def test_logging_out_everywhere_wins_against_threads_that_rotate(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    rs = make_client(on_memcached.address, ns=on_memcached.ns, timeout=10)
    for _ in range(20):
        token = rs.create(APP, USER, "192.0.2.1")["token"]
        new, _killed = in_threads([partial(rs.rotate, APP, token), partial(rs.killsoid, APP, USER)])
        assert new is None or rs.get(APP, new["token"]) is None
        assert rs.get(APP, token) is None
        assert rs.soid(APP, USER) == []


# -------------------------------------------------------------------- a packet that arrives in pieces


class Held:
    """Holds back the rest of the next packet that creates a session, from the given mark on."""

    def __init__(self, proxy: Proxy, mark: bytes) -> None:
        self._proxy = proxy
        self._mark = mark
        self.arrived = threading.Event()
        self.release = threading.Event()
        proxy.to_server = self._filter

    def _filter(self, chunk: bytes) -> bytes:
        at = chunk.find(self._mark)
        if at < 0 or self.arrived.is_set():
            return chunk
        _, server = self._proxy._pairs[-1]
        server.sendall(chunk[:at])
        self.arrived.set()
        assert self.release.wait(10)
        return chunk[at:]


#: Up to where the server gets the packet of a `create` at first, for an app that is used and one that is not.
MARKS = {
    "before the index entry": b"append",
    "before the session": b"add %b:forum:s:",
    "in the middle of the session": b"[1,",
}


@pytest.mark.parametrize("between", ["wipe", "killsoid", "killall"])
@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("state", ["empty", "dead entries", "living entries"])
@pytest.mark.parametrize("number", [1, 3], ids=["create", "create_many"])
def test_a_create_that_arrives_in_pieces_is_listed_whatever_happens_in_between(
    on_memcached: OnMemcached,
    proxy: Proxy,
    make_client: MakeClient,
    between: str,
    mark: bytes,
    state: str,
    number: int,
) -> None:
    rs = make_client(proxy.address, ns=on_memcached.ns, timeout=20)
    other = make_client(on_memcached.address, ns=on_memcached.ns)
    for _ in range(3):
        token = rs.create(APP, USER, "192.0.2.1")["token"]
        if state == "dead entries":
            assert other.kill(APP, token) == {"kill": 1}
    if state == "empty":
        other.killall(APP)
    held = Held(proxy, mark % on_memcached.ns.encode() if b"%b" in mark else mark)
    new: NewSession = {"id": USER, "ip": "192.0.2.9", "d": {"a": 1}}
    created: list[Created] = []
    creating = threading.Thread(
        target=lambda: created.extend(
            [rs.create(APP, **new)] if number == 1 else rs.create_many(APP, [new] * number)
        )
    )
    creating.start()
    try:
        assert held.arrived.wait(10)
        interfere: dict[str, Callable[[], Any]] = {
            "wipe": other.wipe,
            "killsoid": partial(other.killsoid, APP, USER),
            "killall": partial(other.killall, APP),
        }
        interfere[between]()
    finally:
        held.release.set()
        creating.join()
    assert len(created) == number
    for each in created:
        session = there(other.get(APP, each["token"]))
        assert (session["id"], session["ip"], session["d"]) == (USER, "192.0.2.9", {"a": 1})
    left = number + 3 * ((state, between) == ("living entries", "wipe"))
    assert len(other.soid(APP, USER)) == len(other.soapp(APP)) == left
    assert "192.0.2.9" in ips(other.soid(APP, USER))
    assert other.killsoid(APP, USER) == {"kill": left}
    assert all(other.get(APP, each["token"]) is None for each in created)


# ---------------------------------------------------------------------------------------- connections


@pytest.fixture
def pool(on_memcached: OnMemcached, make_client: MakeClient) -> tuple[SessionsClient, Pool]:
    rs = make_client(on_memcached.address, ns=on_memcached.ns, timeout=10)
    assert isinstance(rs._nodes[0].store, MemcachedStore)
    return rs, rs._nodes[0].store._pool


def test_calls_one_after_the_other_share_one_connection(proxy: Proxy, make_client: MakeClient) -> None:
    rs = make_client(proxy.address, ns="connections")
    token = rs.create(APP, USER, "192.0.2.1")["token"]
    for _ in range(20):
        rs.get(APP, token)
        rs.set(APP, token, {"a": 1})
        rs.soid(APP, USER)
    rs.killall(APP)
    # Going through an app takes a second connection, for the index, next to the one for the sessions.
    assert proxy.connections <= 2


def test_threads_open_no_more_connections_than_there_are_calls_at_once(
    proxy: Proxy, make_client: MakeClient
) -> None:
    rs = make_client(proxy.address, ns="connections", timeout=10)
    token = rs.create(APP, USER, "192.0.2.1")["token"]

    def work() -> None:
        for _ in range(20):
            assert rs.get(APP, token) is not None

    in_threads([work] * 8)
    assert 1 <= proxy.connections <= 8
    opened = proxy.connections
    in_threads([work] * 8)
    assert proxy.connections <= max(opened, 8)


def several(rs: SessionsClient, pool: Pool) -> None:
    """Have at least two connections wait."""
    rs.ping()
    taken = [rs._nodes[0].store._acquire(rs._nodes[0].store.deadline(), check=False)[0] for _ in range(3)]  # type: ignore[attr-defined]
    for connection in taken:
        pool.put(connection)
    assert len(pool._idle) == 3


def test_the_connection_that_was_used_last_is_used_first(pool: tuple[SessionsClient, Pool]) -> None:
    """So the others grow old, and can be closed."""
    rs, waiting = pool
    several(rs, waiting)
    first, second, last = waiting._idle
    used = first.last_used, second.last_used, last.last_used
    for _ in range(5):
        rs.ping()
    assert list(waiting._idle) == [first, second, last]
    assert (first.last_used, second.last_used) == used[:2]
    assert last.last_used > used[2]


def test_connections_that_nobody_needs_any_more_are_closed(pool: tuple[SessionsClient, Pool]) -> None:
    """One at each call, until those are left that are used."""
    rs, waiting = pool
    several(rs, waiting)
    first, second, last = waiting._idle
    for connection in (first, second):
        connection.last_used -= 61
    for _ in range(5):
        rs.ping()
    assert list(waiting._idle) == [last]
    assert first.sock.fileno() == second.sock.fileno() == -1
    assert last.sock.fileno() > 0
