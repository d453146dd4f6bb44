"""The cache of `get`: for how long, how much, and what drops it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from memsessions import Session
from memsessions.cache import NoCache, SessionCache

from .support.injection import at_line

APP = "forum"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> SessionCache:
    """Keeps three sessions for ten seconds."""
    return SessionCache(10, 3, clock)


def session(id: str = "user", **more: Any) -> Session:
    shown: dict[str, Any] = {
        "id": id,
        "r": 2,
        "w": 1,
        "idle": 0,
        "ttl": 3600,
        "ip": "ip",
        "d": {"a": 1},
        **more,
    }
    return shown  # type: ignore[return-value]


def put(cache: SessionCache, token: str, shown: Session | None = None, app: str = APP) -> None:
    cache.put(app, token, shown or session(), cache.moment())


def test_what_was_put_is_there_until_its_time_is_over(cache: SessionCache, clock: Clock) -> None:
    put(cache, "token")
    clock.now += 9.999
    assert cache.get(APP, "token") == session()
    clock.now += 0.001
    assert cache.get(APP, "token") is None
    assert not cache._entries


def test_being_read_does_not_make_it_stay_longer(cache: SessionCache, clock: Clock) -> None:
    """Otherwise a session that is used all the time would never be seen to change."""
    put(cache, "token")
    for _ in range(9):
        clock.now += 1
        assert cache.get(APP, "token") is not None
    clock.now += 1
    assert cache.get(APP, "token") is None


def test_being_put_again_does(cache: SessionCache, clock: Clock) -> None:
    put(cache, "token")
    clock.now += 9
    put(cache, "token", session(r=3))
    clock.now += 9
    assert cache.get(APP, "token") == session(r=3)


@pytest.mark.parametrize(("ttl", "there"), [(10, 10), (4, 4), (3600, 10)])
def test_nothing_stays_longer_than_its_session_lives(
    cache: SessionCache, clock: Clock, ttl: int, there: int
) -> None:
    """Of a `no_resave` session, `ttl` is what is left."""
    put(cache, "token", session(ttl=ttl, no_resave=True))
    clock.now += there - 0.01
    assert cache.get(APP, "token") is not None
    clock.now += 0.01
    assert cache.get(APP, "token") is None


def test_the_one_that_was_not_used_for_longest_makes_room(cache: SessionCache) -> None:
    for token in ("one", "two", "three"):
        put(cache, token)
    cache.get(APP, "one")
    put(cache, "four")
    assert [token for token in ("one", "two", "three", "four") if cache.get(APP, token)] == [
        "one",
        "three",
        "four",
    ]
    put(cache, "one")
    put(cache, "five")
    put(cache, "six")
    assert [token for _, token in cache._entries] == ["one", "five", "six"]


def test_there_is_never_more_than_its_size(cache: SessionCache) -> None:
    for number in range(100):
        put(cache, str(number))
        assert len(cache._entries) <= 3


def test_a_session_is_known_by_its_app_and_its_token(cache: SessionCache) -> None:
    put(cache, "token", session("one"), "forum")
    put(cache, "token", session("two"), "shop")
    assert cache.get("forum", "token") == session("one")
    assert cache.get("shop", "token") == session("two")
    assert cache.get("other", "token") is None
    cache.drop("forum", "token")
    assert cache.get("forum", "token") is None
    assert cache.get("shop", "token") is not None


def test_an_app_is_dropped_as_a_whole_or_by_user(cache: SessionCache) -> None:
    put(cache, "one", session("a"))
    put(cache, "two", session("b"))
    put(cache, "three", session("a"), "shop")
    cache.drop_app(APP, "a")
    assert list(cache._entries) == [(APP, "two"), ("shop", "three")]
    cache.drop_app(APP)
    assert list(cache._entries) == [("shop", "three")]


@pytest.mark.parametrize("drop", ["the session", "another session", "the user", "the app"])
def test_a_read_that_was_under_way_during_a_drop_is_not_kept(cache: SessionCache, drop: str) -> None:
    """It may have read what was there before the change that the drop is for."""
    moment = cache.moment()
    match drop:
        case "the session":
            cache.drop(APP, "token")
        case "another session":
            cache.drop(APP, "other")
        case "the user":
            cache.drop_app(APP, "user")
        case _:
            cache.drop_app(APP)
    cache.put(APP, "token", session(), moment)
    assert cache.get(APP, "token") is None
    put(cache, "token")
    assert cache.get(APP, "token") is not None


def test_what_is_put_and_what_is_got_are_copies(cache: SessionCache) -> None:
    """The caller may do with an answer what it likes."""
    mine = session()
    put(cache, "token", mine)
    for changed in (mine, cache.get(APP, "token")):
        assert changed is not None
        assert changed["d"] is not None
        changed["d"]["a"] = 2
        changed["r"] = 99
        del changed["ip"]  # type: ignore[misc]
        assert cache.get(APP, "token") == session()


def test_a_session_without_data_is_kept_as_well(cache: SessionCache) -> None:
    put(cache, "token", session(d=None))
    assert cache.get(APP, "token") == session(d=None)


def test_dropping_what_is_not_there_is_no_error(cache: SessionCache) -> None:
    cache.drop(APP, "token")
    cache.drop_app(APP)
    cache.drop_app(APP, "user")
    assert not cache._entries


def test_a_signal_handler_may_use_the_cache_in_the_middle_of_a_call(cache: SessionCache) -> None:
    """The thread that it interrupts may hold the lock."""
    with cache._lock:
        put(cache, "token")
        assert cache.get(APP, "token") is not None
        cache.drop(APP, "token")


def test_a_signal_handler_may_drop_what_a_call_is_just_using(cache: SessionCache, clock: Clock) -> None:
    """At any line of it."""
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: cache.get(APP, "token"),
        "get, too late": lambda: cache.get(APP, "old"),
        "put": lambda: put(cache, "token"),
        "put, one too many": lambda: put(cache, "new"),
        "drop": lambda: cache.drop(APP, "token"),
        "drop all": lambda: cache.drop_app(APP),
    }
    for name, call in calls.items():
        for line in count(1):
            put(cache, "old")
            clock.now += 11
            put(cache, "token")
            put(cache, "other")
            _, reached = at_line(line, cache.clear, call)
            if not reached:
                assert line > 3, name
                break
            assert len(cache._entries) <= 3


def test_a_child_of_a_fork_does_not_wait_for_the_lock_of_a_thread_of_the_parent(cache: SessionCache) -> None:
    put(cache, "token")
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with cache._lock:
            holding.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert holding.wait(10)
        cache.after_fork_in_child()
        assert cache._lock.acquire(blocking=False)
        cache._lock.release()
        assert cache.get(APP, "token") is not None
    finally:
        done.set()
        thread.join()


def test_threads_leave_it_in_order(cache: SessionCache) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(500):
                put(cache, f"{number}{turn % 4}")
                cache.get(APP, f"{(number + 1) % 4}{turn % 4}")
                cache.drop(APP, f"{number}{(turn + 1) % 4}")
                if turn % 50 == 0:
                    cache.drop_app(APP)
        except BaseException as error:  # noqa: BLE001  told by the thread that waits
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(cache._entries) <= 3


def test_no_cache_keeps_nothing() -> None:
    none = NoCache()
    none.put(APP, "token", session(), none.moment())
    assert none.get(APP, "token") is None
    none.drop(APP, "token")
    none.drop_app(APP)
    none.after_fork_in_child()
