"""A server that failed is left alone for a moment, and then tried by one call at a time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any

import pytest

from memsessions.breaker import Breaker, GuardedStore
from memsessions.errors import NoConnectionFree, StoreDamaged, StoreError, StoreFull, StoreUnavailable
from memsessions.store.memory import MemoryStore
from memsessions.store.operations import Add, Batch, Read

DOWN = StoreUnavailable("server", "no answer in time")
PROBE_S = 1.5


class Fragile(MemoryStore):
    """A store that fails as it is told."""

    def __init__(self) -> None:
        super().__init__("server", item_bytes=1024 * 1024)
        self.error: BaseException | None = None
        self.asked = 0
        self.before: Callable[[], None] = lambda: None

    def run(self, batch: Batch, *, repeatable: bool = False, deadline: float | None = None) -> list[Any]:
        self.asked += 1
        self.before()
        if self.error is not None:
            raise self.error
        return super().run(batch, repeatable=repeatable, deadline=deadline)

    def stream(
        self, batches: Iterable[Batch], deadline: float | None = None
    ) -> Generator[list[Any], None, None]:
        for batch in batches:
            yield self.run(batch, deadline=deadline)


class Guarded:
    """A fragile store behind a breaker whose clock stands still, and whose dice always show the most."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.store = Fragile()
        self.breaker = Breaker("server", PROBE_S, clock=lambda: self.now, dice=lambda: 1.0)
        self.guarded = GuardedStore(self.store, self.breaker)

    def call(self) -> str:
        """What became of a call: "done", "failed" by the store, or "refused" without asking it."""
        before = self.store.asked
        try:
            self.guarded.run((Read(b"key"),))
        except StoreError:
            return "failed" if self.store.asked > before else "refused"
        return "done"

    def fail(self, error: BaseException = DOWN) -> None:
        self.store.error = error

    def mend(self) -> None:
        self.store.error = None


@pytest.fixture
def it() -> Guarded:
    return Guarded()


def test_a_store_that_works_is_asked_every_time(it: Guarded) -> None:
    assert [it.call() for _ in range(5)] == ["done"] * 5


def test_after_its_first_failure_calls_fail_at_once_for_a_moment(it: Guarded) -> None:
    it.fail()
    assert [it.call() for _ in range(5)] == ["failed"] + ["refused"] * 4
    it.mend()
    it.now += 0.049
    assert it.call() == "refused"
    it.now += 0.002
    assert [it.call() for _ in range(3)] == ["done"] * 3


def test_a_call_that_is_refused_names_the_server_and_is_an_outage(it: Guarded) -> None:
    it.fail()
    it.call()
    with pytest.raises(StoreUnavailable) as caught:
        it.guarded.run((Read(b"key"),))
    assert caught.value.server == "server"
    assert str(caught.value) == "server: it failed just now, and is tried again in a moment"


def test_the_pause_grows_with_each_failure_up_to_less_than_a_second(it: Guarded) -> None:
    it.fail()
    pauses = []
    for _ in range(8):
        assert it.call() == "failed"
        began = it.now
        while it.breaker.is_open:
            it.now += 0.001
        pauses.append(round(it.now - began, 2))
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 0.9, 0.9, 0.9]


def test_an_outage_can_last_for_ever(it: Guarded) -> None:
    it.fail()
    for _ in range(3000):
        assert it.call() == "failed"
        it.now += 1
    it.mend()
    assert it.call() == "done"


def test_the_pause_differs_by_chance_between_a_half_and_the_whole() -> None:
    """So that a hundred processes do not come back in the same moment."""
    for roll, pause_s in ((0.0, 0.025), (0.5, 0.0375), (1.0, 0.05)):
        moments = iter([0.0, pause_s - 0.0001, pause_s + 0.0001])
        breaker = Breaker("server", PROBE_S, clock=partial(next, moments), dice=partial(float, roll))
        breaker.failed(breaker.enter())
        assert breaker.is_open
        assert not breaker.is_open


def test_one_call_at_a_time_tries_again(it: Guarded) -> None:
    """The others go on failing at once while it waits for its answer."""
    it.fail()
    it.call()
    it.now += 1
    meanwhile: list[str] = []

    def during_the_probe() -> None:
        it.store.before = lambda: None
        meanwhile.extend(it.call() for _ in range(5))

    it.store.before = during_the_probe
    assert it.call() == "failed"
    assert meanwhile == ["refused"] * 5


def test_of_many_threads_one_tries_again() -> None:
    it = Guarded()
    it.fail()
    it.call()
    it.now += 1
    asked = it.store.asked
    begin = threading.Barrier(16)
    never = threading.Event()

    def wait() -> None:
        never.wait(0.05)

    it.store.before = wait
    outcomes: list[str] = []

    def call() -> None:
        begin.wait()
        try:
            it.guarded.run((Read(b"key"),))
        except StoreUnavailable as error:
            outcomes.append(error.reason)

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert it.store.asked == asked + 1
    assert sorted(outcomes) == ["it failed just now, and is tried again in a moment"] * 15 + [DOWN.reason]


def test_a_probe_that_was_interrupted_does_not_close_the_server_for_ever(it: Guarded) -> None:
    """Nobody knows what it would have found out: another call tries, once it must have ended."""
    it.fail()
    it.call()
    it.now += 1
    it.fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        it.guarded.run(())
    it.mend()
    assert it.call() == "refused"
    it.now += PROBE_S
    assert it.call() == "refused"  # which begins another pause
    it.now += 1
    assert it.call() == "done"


def test_of_the_calls_that_were_under_way_when_the_server_died_one_counts(it: Guarded) -> None:
    entered = [it.breaker.enter() for _ in range(8)]
    for each in entered:
        it.breaker.failed(each)
    it.now += 0.051
    assert not it.breaker.is_open


def test_a_call_that_succeeds_lets_everybody_through(it: Guarded) -> None:
    it.fail()
    for _ in range(6):
        it.call()
        it.now += 1
    it.mend()
    assert it.call() == "done"
    it.fail()
    it.call()
    it.now += 0.051
    assert not it.breaker.is_open, "the next outage begins with a short pause again"


@pytest.mark.parametrize(
    "error",
    [StoreFull("server", "full"), StoreDamaged("server", "foreign"), NoConnectionFree("server", "all")],
)
def test_an_answer_that_is_no_outage_closes_nothing(it: Guarded, error: StoreError) -> None:
    """Nor does a lack of connections on this side."""
    it.fail(error)
    assert [it.call() for _ in range(3)] == ["failed"] * 3


def test_a_stream_goes_through_the_breaker_too(it: Guarded) -> None:
    assert list(it.guarded.stream([(Add(b"key", b"value", 0),)])) == [[True]]
    it.fail()
    with pytest.raises(StoreUnavailable):
        list(it.guarded.stream([()]))
    asked = it.store.asked
    with pytest.raises(StoreUnavailable, match="just now"):
        list(it.guarded.stream([()]))
    assert it.store.asked == asked
    it.mend()
    it.now += 1
    assert len(list(it.guarded.stream([(), ()]))) == 2
    assert not it.breaker.is_open


def test_a_stream_that_is_left_is_left_below_as_well(it: Guarded) -> None:
    ended = []

    def batches() -> Iterable[Batch]:
        try:
            for _ in itertools.count():
                yield ()
        finally:
            ended.append(True)

    stream = it.guarded.stream(batches())
    next(stream)
    stream.close()
    assert ended == [True]


def test_a_stream_whose_batches_ask_the_store_first_can_be_the_call_that_tries_again(it: Guarded) -> None:
    def batches() -> Iterable[Batch]:
        it.guarded.run(())
        yield ()
        it.guarded.run(())
        yield ()

    it.fail()
    it.call()
    it.mend()
    it.now += 1
    assert len(list(it.guarded.stream(batches()))) == 2
