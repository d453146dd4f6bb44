"""Wiping: what is removed and what never is, and the thread that does it."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial

import pytest

from memsessions import SessionsClient, StoreError, StoreUnavailable
from memsessions.index import RECORD_LENGTH
from memsessions.sessions import counter_life
from memsessions.store.operations import Add, Append, Delete, Outcome, Swap
from memsessions.tokens import Life, hashed
from memsessions.wiping import WipeThread

from .conftest import MakeClient, Where
from .support.damage import bucket_key, counter_key, session_key, value
from .support.interleaving import step_by_step
from .support.memcached import Memcached
from .support.sessions import contents, ips

APP = "forum"
USER = "user1234"


def until(done: Callable[[], bool]) -> None:
    """Wait for another thread."""
    give_up = time.monotonic() + 10
    while not done():
        assert time.monotonic() < give_up, "it does not come to pass"
        time.sleep(0.005)


# --------------------------------------------------------------------------------- what is removed


def half_made(rs: SessionsClient, name: bytes, life: Life) -> None:
    """What a client leaves that ends in the middle of making a session: a counter and a record."""
    sessions = rs._nodes[0].app(APP).sessions
    new = sessions._listings.new(name, hashed(USER), life)
    answers = rs._nodes[0].store.run((Add(new.counter, b"1         ", counter_life(life)), *new.listing))
    assert answers[0] is True


@pytest.mark.parametrize("no_resave", [False, True])
def test_a_session_that_was_never_finished_is_wiped(
    where: Where, client: SessionsClient, make_client: MakeClient, no_resave: bool
) -> None:
    """Its record and its counter, once nobody can be making it any more; living ones beside it stay.

    Of one whose life is fixed that is when its life is over, as its counter does not tell its age.
    """
    client.create(APP, USER, "192.0.2.1", ttl=7200)
    half_made(make_client(where.address, ns=where.ns), hashed("half"), Life(3600, no_resave))
    assert ips(client.soid(APP, USER)) == ips(client.soapp(APP)) == ["192.0.2.1"]
    assert client.activity(APP) == {"activity": 1}
    assert client.wipe() == {"wiped": 0}
    where.advance(3602 if no_resave else 10)
    assert client.wipe() == {"wiped": 1}
    record = value(client, bucket_key(client, USER))
    assert record is not None
    assert len(record) == RECORD_LENGTH
    assert not any(key.endswith(hashed("half").decode()) for key in contents(where))
    assert client.wipe() == {"wiped": 0}
    assert ips(client.soid(APP, USER)) == ["192.0.2.1"]


@pytest.mark.parametrize("no_resave", [False, True])
@pytest.mark.parametrize("call", ["wipe", "killsoid", "killall"])
def test_a_session_that_is_just_being_made_keeps_its_record_and_its_counter(
    client: SessionsClient, call: str, no_resave: bool
) -> None:
    """It is not counted either; whoever makes it finds everything in its place."""
    token = client.create(APP, USER, "192.0.2.1", no_resave=no_resave)["token"]
    key = session_key(client, token)
    record, stored = value(client, bucket_key(client, USER)), value(client, key)
    assert stored is not None
    assert client._nodes[0].store.run((Delete(key),)) == [Outcome.DONE]
    arguments = {"wipe": (), "killsoid": (APP, USER), "killall": (APP,)}[call]
    assert set(getattr(client, call)(*arguments).values()) == {0}
    assert value(client, bucket_key(client, USER)) == record
    assert value(client, counter_key(client, token)) is not None
    assert client._nodes[0].store.run((Add(key, stored, 7201),)) == [True]
    assert len(client.soid(APP, USER)) == len(client.soapp(APP)) == 1
    assert client.get(APP, token) is not None


@pytest.mark.parametrize("no_resave", [False, True])
def test_a_wipe_never_removes_a_living_session(where: Where, client: SessionsClient, no_resave: bool) -> None:
    """At no age of the session, with dead ones in the same bucket all the time."""
    living = client.create(APP, USER, "living", ttl=100, no_resave=no_resave)["token"]
    for age in range(0, 90, 15):
        dead = client.create(APP, USER, "dead", ttl=100)["token"]
        client.kill(APP, dead)
        assert client.wipe() == {"wiped": 1}
        assert ips(client.soid(APP, USER)) == ips(client.soapp(APP)) == ["living"], age
        if age == 30:
            assert client.get(APP, living) is not None
        if age == 45:
            assert client.set(APP, living, {"a": 1}) is not None
        where.advance(15)
    session = client.get(APP, living)
    assert session is not None
    assert session["w"] == 2


def test_a_bucket_that_changes_while_it_is_wiped_is_wiped_all_the_same(
    where: Where, client: SessionsClient, make_client: MakeClient
) -> None:
    """Before each write of the wipe a session is added; none is lost, and the dead one is removed."""
    wiping = make_client(where.address, ns=where.ns)
    client.kill(APP, client.create(APP, USER, "dead")["token"])
    added = 0

    def add(op: object) -> None:
        nonlocal added
        if added < 3 and isinstance(op, (Swap, Delete)):
            added += 1
            client.create(APP, USER, f"ip{added}")

    step_by_step(wiping, add)
    assert wiping.wipe() == {"wiped": 1}
    assert added == 3
    assert sorted(ips(client.soid(APP, USER))) == ["ip1", "ip2", "ip3"]
    record = value(client, bucket_key(client, USER))
    assert record is not None
    assert len(record) == 3 * RECORD_LENGTH


def test_a_bucket_that_never_stops_changing_is_left_to_the_next_wipe(
    where: Where, client: SessionsClient, make_client: MakeClient
) -> None:
    """The wipe ends, and has taken nothing away."""
    wiping = make_client(where.address, ns=where.ns)
    client.kill(APP, client.create(APP, USER, "dead")["token"])
    added = 0

    def add(op: object) -> None:
        nonlocal added
        if isinstance(op, (Swap, Delete)):
            added += 1
            client.create(APP, USER, f"ip{added}")

    step_by_step(wiping, add)
    assert wiping.wipe() == {"wiped": 0}
    assert len(client.soid(APP, USER)) == added > 3
    assert client.wipe() == {"wiped": 1}
    assert len(client.soid(APP, USER)) == added


def test_a_wipe_reports_each_dead_session_once(where: Where, client: SessionsClient) -> None:
    """Also one whose record stands twice."""
    client.kill(APP, client.create(APP, USER, "dead")["token"])
    record = value(client, bucket_key(client, USER))
    assert record is not None
    assert client._nodes[0].store.run((Append(bucket_key(client, USER), record),)) == [True]
    assert client.wipe() == {"wiped": 1}
    assert set(contents(where)) == {f"{where.ns}:apps"}


# ----------------------------------------------------------------------------------------- election


def test_of_many_clients_one_wipes_in_each_interval(
    where: Where, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease stands on the store; in the next interval any of them can have it."""
    clients = [make_client(where.address, ns=where.ns) for _ in range(5)]
    wipes: list[int] = []
    for number, rs in enumerate(clients):
        rs._wipe_s = 600
        monkeypatch.setattr(rs._nodes[0], "wipe", partial(wipes.append, number))
    for rs in clients:
        rs._wipe_in_turn()
    assert wipes == [0]
    where.advance(590)
    for rs in clients:
        rs._wipe_in_turn()
    assert wipes == [0]
    where.advance(10)
    for rs in reversed(clients):
        rs._wipe_in_turn()
    assert wipes == [0, 4]


def test_another_namespace_has_a_wiper_of_its_own(where: Where, make_client: MakeClient) -> None:
    clients = [make_client(where.address, ns=where.ns + end) for end in ("a", "b")]
    for rs in clients:
        rs._wipe_s = 600
        rs.kill(APP, rs.create(APP, USER, "192.0.2.1")["token"])
        rs._wipe_in_turn()
        assert value(rs, bucket_key(rs, USER)) is None


def test_wipe_works_whoever_has_the_lease(where: Where, make_client: MakeClient) -> None:
    one, other = (make_client(where.address, ns=where.ns) for _ in range(2))
    one._wipe_s = 600
    one._wipe_in_turn()
    other.kill(APP, other.create(APP, USER, "192.0.2.1")["token"])
    assert other.wipe() == {"wiped": 1}


# --------------------------------------------------------------------------------------- the thread


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "memsessions-wipe"]


def started(rs: SessionsClient) -> threading.Thread:
    """The wipe thread of a client, which its first call starts."""
    rs.ping()
    assert rs._thread is not None
    return rs._thread._thread


@pytest.mark.parametrize(("wipe", "interval"), [(1, 10), (9, 10), (10, 10), (11, 11), (600, 600)])
def test_the_interval_is_10_seconds_at_least(make_client: MakeClient, wipe: int, interval: int) -> None:
    rs = make_client("memory://interval", wipe=wipe)
    assert rs._wipe_s == interval
    assert started(rs).is_alive()


def test_the_interval_is_10_minutes_by_default() -> None:
    with SessionsClient("memory://interval") as rs:
        assert rs._wipe_s == 600


def test_without_an_interval_there_is_no_thread(make_client: MakeClient) -> None:
    before = threads()
    rs = make_client("memory://interval", wipe=0)
    rs.ping()
    rs.create(APP, USER, "192.0.2.1")
    assert rs._wipe_s == 0
    assert set(threads()) <= set(before)


def test_a_client_has_one_thread_from_its_first_call_on(make_client: MakeClient) -> None:
    """However many threads make that first call, and it is a daemon."""
    before = set(threads())
    rs = make_client("memory://one-thread", wipe=600)
    assert set(threads()) == before
    barrier = threading.Barrier(8)

    def call() -> None:
        barrier.wait(10)
        rs.soid(APP, USER)

    calling = [threading.Thread(target=call) for _ in range(8)]
    for thread in calling:
        thread.start()
    for thread in calling:
        thread.join()
    (thread,) = set(threads()) - before
    assert thread.daemon
    assert thread is started(rs)


@pytest.mark.parametrize("end", ["quit", "close", "with"])
def test_the_thread_ends_with_the_client(make_client: MakeClient, end: str) -> None:
    rs = make_client("memory://ends", wipe=600)
    thread = started(rs)
    if end == "with":
        with rs:
            assert thread.is_alive()
    else:
        getattr(rs, end)()
    thread.join(10)
    assert not thread.is_alive()


def test_the_thread_does_not_keep_its_client_and_ends_when_it_is_collected() -> None:
    rs = SessionsClient("memory://collected", wipe=600)
    thread = started(rs)
    assert thread.is_alive()
    reference = weakref.ref(rs)
    del rs
    gc.collect()
    assert reference() is None
    thread.join(10)
    assert not thread.is_alive()


class Owner:
    """Something that is wiped."""

    def __init__(self, *errors: StoreError | None) -> None:
        self.turns = 0
        self._errors = list(errors)

    def turn(self) -> list[StoreError]:
        self.turns += 1
        error = self._errors.pop(0) if self._errors else None
        return [] if error is None else [error]


def test_the_thread_takes_its_turns_until_it_is_stopped() -> None:
    owner = Owner()
    thread = WipeThread(owner, Owner.turn, 0.005)
    until(lambda: owner.turns >= 3)
    thread.stop()
    thread._thread.join(10)
    assert not thread._thread.is_alive()


def test_the_first_turn_comes_after_the_first_interval() -> None:
    """A process that lives shortly wipes nothing."""
    owner = Owner()
    thread = WipeThread(owner, Owner.turn, 600)
    thread.stop()
    thread._thread.join(10)
    assert owner.turns == 0


def test_an_outage_is_logged_once_and_the_next_one_again(caplog: pytest.LogCaptureFixture) -> None:
    """With the server's name; the thread goes on all the while."""
    outage = StoreUnavailable("192.0.2.1:11211", "no answer in time")
    owner = Owner(outage, outage, outage, None, outage, outage)
    with caplog.at_level(logging.WARNING, "memsessions.wipe"):
        thread = WipeThread(owner, Owner.turn, 0.005)
        until(lambda: owner.turns >= 8)
        thread.stop()
        thread._thread.join(10)
    messages = [record.getMessage() for record in caplog.records]
    assert (
        messages
        == [
            "could not wipe 192.0.2.1:11211: no answer in time",
        ]
        * 2
    )
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_each_of_several_servers_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Also while another one is down already."""
    one, other = StoreUnavailable("a", "no answer in time"), StoreUnavailable("b", "Connection refused")
    turns: list[list[StoreError]] = [[one], [one, other], [other], [one, other]]

    class Several:
        def turn(self) -> list[StoreError]:
            return turns.pop(0) if turns else []

    several = Several()
    with caplog.at_level(logging.WARNING, "memsessions.wipe"):
        thread = WipeThread(several, Several.turn, 0.005)
        until(lambda: not turns)
        thread.stop()
        thread._thread.join(10)
    assert [record.getMessage() for record in caplog.records] == [
        "could not wipe a: no answer in time",
        "could not wipe b: Connection refused",
        "could not wipe a: no answer in time",
    ]


def test_the_thread_wipes_again_after_a_real_outage(
    own_memcached: Memcached, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    rs = make_client(own_memcached.address, ns="outage")
    rs._wipe_s = 2  # so that the lease ends soon
    rs.create(APP, USER, "192.0.2.1")
    own_memcached.kill()
    with caplog.at_level(logging.WARNING, "memsessions.wipe"):
        thread = WipeThread(rs, SessionsClient._wipe_in_turn, 0.02)
        until(lambda: bool(caplog.records))
        own_memcached.start()
        until(lambda: rs.kill(APP, rs.create(APP, USER, "192.0.2.1")["token"]) == {"kill": 1})
        until(lambda: value(rs, bucket_key(rs, USER)) is None)
        thread.stop()
        thread._thread.join(10)
    assert len(caplog.records) == 1
    assert own_memcached.address in caplog.records[0].getMessage()
