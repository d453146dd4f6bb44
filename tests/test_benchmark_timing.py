"""How the benchmarks time: in turns, with every answer checked, from threads and processes, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from memsessions import Data, SessionsClient

from .benchmarks.lacking import Lacking
from .benchmarks.machine import Bench
from .benchmarks.peers.remix import RemixStorage
from .benchmarks.timing import Batch, Case, Timing, interleaved, timed
from .benchmarks.workers import CALLS, Processes, Work, threads
from .benchmarks.workload import QUICK
from .support.memcached import Memcached


def test_cases_take_turns_after_a_round_that_does_not_count() -> None:
    """Two repetitions of two cases are three rounds, each of which prepares and runs them in their order."""
    done: list[str] = []

    def noted(what: str) -> Callable[[], None]:
        return lambda: done.append(what)

    def arguments() -> list[str]:
        done.append("arguments")
        return ["x", "y"]

    def run() -> list[float]:
        done.append("run")
        return [3.0, 1.0, 2.0]

    timings = interleaved([Case("a", done.append, arguments), Batch("b", run, noted("prepare"))], 2, "")
    assert done == ["arguments", "x", "y", "prepare", "run"] * 3
    assert timings["b"].repetitions == [2.0, 2.0]
    assert timings["b"].calls == [3.0, 1.0, 2.0] * 2
    assert [len(timing.calls) for timing in timings.values()] == [4, 6]
    assert [len(timing.elapsed) for timing in timings.values()] == [2, 2]


def test_a_call_that_did_not_do_its_work_is_no_measure() -> None:
    """One wrong answer among right ones makes the run fail, by the name of the case."""
    case = Case("get", lambda argument: argument, list, lambda answer: answer is not None)
    assert len(timed(case, [1, 2])) == 2
    with pytest.raises(RuntimeError, match="get did not answer as it should"):
        timed(case, [1, None, 2])


def test_figures_of_a_timing() -> None:
    """Percentiles are of all calls; the median, the best and the spread of the repetitions' medians."""
    calls = [float(number) for number in range(1, 101)]
    timing = Timing([2.0, 8.0, 4.0, 6.0], calls, elapsed=[10.0, 5.0, 20.0])
    assert (timing.median, timing.best, timing.p95, timing.p99) == (5.0, 2.0, 95.0, 99.0)
    assert timing.spread == (6.0 - 2.0) / 5.0
    assert timing.per_second == 100 / 3 / 10.0
    assert timing.over(timing) == 1
    assert timing.over(Timing([1.0, 2.0, 4.0, 1.0])) == 3.0  # the middle of 2, 4, 1 and 6
    assert timing.figures("ms") == {
        "median ms": 5_000,
        "p95": 95_000,
        "p99": 99_000,
        "best": 2_000,
        "spread %": 80,
    }


def test_what_is_lacking_is_named_once() -> None:
    """A block that cannot go on ends, the run goes on; other errors are not hidden."""
    with Bench(QUICK) as bench:
        went_on = []
        for _ in range(2):
            with bench.unless_lacking():
                went_on.append("began")
                raise Lacking("Redis", "no redis-server on PATH")
        assert went_on == ["began", "began"]
        assert [str(lacking) for lacking in bench.skipped] == ["Redis: no redis-server on PATH"]
        with pytest.raises(ValueError, match="not lacking"), bench.unless_lacking():
            raise ValueError("not lacking")


def test_filled_namespaces_are_shared() -> None:
    """What one part filled, the next one finds: so many sessions, once; at last their server ends."""
    with Bench(QUICK) as bench:
        filled = bench.filled(20)
        assert bench.filled(20) is filled
        assert filled.client.activity("forum", 7200) == {"activity": 20}
        server = bench.memcached
    assert server.process is None


@pytest.fixture
def work() -> Work:
    return Work(0, "workers", "plain", b"value", 6)


def _check(server: Memcached, batches: list[Batch], number: int) -> None:
    for batch in batches:
        batch.prepare()
        assert len(batch.run()) == 6 * number
    with SessionsClient(server.address, ns="workers", wipe=0) as client:
        # What was created was killed; eight sessions of each worker's are left to read and write.
        assert len(client.soapp("forum", 7200)) == 8 * number


def test_threads_do_the_work_together(work: Work) -> None:
    """Each of three makes its calls of every kind, on sessions of its own."""
    with Memcached("-t", "1") as server:
        server.ask(b"set plain 0 0 5\r\nvalue\r\n", b"STORED\r\n")
        with threads(work._replace(port=server.port), 3) as batches:
            assert [batch.name for batch in batches] == [f"{call}, 3" for call in CALLS]
            _check(server, batches, 3)


def test_processes_do_the_work_together(work: Work) -> None:
    """Each of two makes its calls of every kind; a wrong answer in one fails the run."""
    with Memcached("-t", "1") as server:
        server.ask(b"set plain 0 0 5\r\nvalue\r\n", b"STORED\r\n")
        with Processes(work._replace(port=server.port), 2) as processes:
            _check(server, processes.batches(2), 2)


def test_a_worker_that_fails_fails_the_run(work: Work) -> None:
    """A plain read that finds nothing is noticed, in a thread and in a process."""
    with Memcached("-t", "1") as server:
        told = work._replace(port=server.port)
        with threads(told, 1) as (read, *_):
            read.prepare()
            with pytest.raises(RuntimeError, match=r"PooledClient\.get did not answer"):
                read.run()
        with Processes(told, 1) as processes:
            read = processes.batches(1)[0]
            read.prepare()
            with pytest.raises(RuntimeError, match=r"PooledClient\.get did not answer"):
                read.run()


def test_remix_scheme_reads_what_it_saved() -> None:
    """Data come back, long ones, too; an unknown session is none; each command has its own connection."""
    with Memcached("-t", "1") as server:
        storage = RemixStorage(("127.0.0.1", server.port), 60)
        before = int(server.stats()["total_connections"])
        all_data: list[Data] = [{"theme": "dark", "unread": 3}, {"text": "END\r\n" * 50_000}]
        for data in all_data:
            storage.save("token", data)
            assert storage.read("token") == data
        assert storage.read("nobody") is None
        assert int(server.stats()["total_connections"]) - before == 5 + 1  # and the one that asks
        (key,) = server.keys("remix:session")
        assert len(key) == len("remix:session:") + 64
