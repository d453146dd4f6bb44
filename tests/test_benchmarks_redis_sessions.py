"""The peer of the benchmarks that runs in processes of its own: a Redis, and redis-sessions in Node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .benchmarks.lacking import Lacking
from .benchmarks.peers.redis_server import Redis, find_redis
from .benchmarks.peers.redis_sessions import RedisSessions, created, find_node, lists_all
from .benchmarks.workload import APP, DATA, TTL_S

ROOT = Path(__file__).parents[1]

try:
    find_redis(), find_node()
except Lacking as lacking:
    pytest.skip(str(lacking), allow_module_level=True)


@pytest.fixture
def peer() -> Iterator[RedisSessions]:
    with Redis() as redis, RedisSessions(redis) as peer:
        yield peer


def _runs(pid: int) -> bool:
    """Not what has ended, and is only waited for by whoever is to know."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("at_once", [False, True])
def test_calls_are_timed_where_they_are_made(peer: RedisSessions, at_once: bool) -> None:
    """Each call has its seconds and its answer; all at once have one time together, and the same answers."""
    tokens = [answer["token"] for answer in peer.calls("create", [created("ann"), created("bob")]).answers]
    timed = peer.calls("get", [{"app": APP, "token": token} for token in tokens], at_once=at_once)
    assert [answer["id"] for answer in timed.answers] == ["ann", "bob"]
    assert all(answer["d"] == DATA for answer in timed.answers)
    assert len(timed.seconds) == (1 if at_once else 2)
    assert all(0 < seconds < 60 for seconds in timed.seconds)


def test_lists_answer_what_tells_whether_they_are_right(peer: RedisSessions) -> None:
    """How many sessions of how many users, and what is in them: one that is missing, or other data, shows."""
    peer.fill(3)
    answer = peer.call("soapp", app=APP, deltaTime=TTL_S)
    assert lists_all(answer, 3, 3)
    assert not lists_all(answer, 4, 4)
    peer.call("create", **{**created("user000000"), "d": {"other": 1}})
    assert not lists_all(peer.call("soapp", app=APP, deltaTime=TTL_S), 4, 3)
    assert lists_all(peer.call("soid", app=APP, id="user000001"), 1, 1)


def test_a_batch_with_a_wrong_answer_is_no_measure(peer: RedisSessions) -> None:
    """It raises, and names the batch."""
    token = "A" * 64  # of nobody
    batch = peer.batch("kill", "kill", lambda: [{"app": APP, "token": token}], [{"kill": 1}].__eq__)
    with pytest.raises(RuntimeError, match="kill did not answer as it should"):
        batch.run()


def test_a_call_that_fails_says_why(peer: RedisSessions) -> None:
    """The error of redis-sessions comes out, and the process goes on."""
    with pytest.raises(RuntimeError, match="get of redis-sessions failed: invalidFormat: Invalid app format"):
        peer.call("get", app="a", token="A" * 64)
    assert peer.call("ping") == "PONG"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_node_that_dies_says_so(peer: RedisSessions, number: signal.Signals) -> None:
    """The call does not wait for an answer that never comes, and tells how the process ended."""
    os.kill(peer.pid, number)
    with pytest.raises(RuntimeError, match=rf"Node ended in ping .* \(status -{number.value}\)"):
        peer.call("ping")


def test_a_node_that_cannot_reach_redis_says_so() -> None:
    """What Node wrote when it ended is in the error."""
    with Redis() as redis:
        pass
    with (
        RedisSessions(redis) as peer,
        pytest.raises(RuntimeError, match=r"Node ended in ping .*ECONNREFUSED"),
    ):
        peer.call("ping")


def test_both_processes_end_with_their_block() -> None:
    """Also where the block is left by an error, and while Node waits for Redis."""
    pids: list[int] = []

    def leave() -> None:
        with Redis() as redis, RedisSessions(redis) as peer:
            assert peer.call("ping") == "PONG"
            pids.extend([redis.pid, peer.pid])
            os.kill(redis.pid, signal.SIGSTOP)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave()
    assert len(pids) == 2
    assert not any(map(_runs, pids))


_KILLED = """
import os, signal
from tests.benchmarks.peers.redis_server import Redis
from tests.benchmarks.peers.redis_sessions import RedisSessions
with Redis() as redis, RedisSessions(redis) as peer:
    peer.call("ping")
    print(redis.pid, peer.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_node_ends_by_itself_when_the_run_is_killed() -> None:
    """Nobody is left then who could end it: it notices that nobody can ask it anything any more."""
    command = [sys.executable, "-c", _KILLED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    redis, node = map(int, done.stdout.split())
    os.kill(redis, signal.SIGKILL)
    give_up = time.monotonic() + 30
    while _runs(node) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not _runs(node)


def test_redis_keeps_nothing_on_disk_and_restores_what_it_was_told_to_keep(peer: RedisSessions) -> None:
    """It is set up as a cache; `restore` brings back what there was at `keep`, and nothing else."""
    assert peer.redis.ask("CONFIG", "GET", "save") == [b"save", b""]
    assert peer.redis.ask("CONFIG", "GET", "appendonly") == [b"appendonly", b"no"]
    peer.fill(5)
    peer.redis.keep()
    keys = peer.redis.keys()
    assert peer.call("killall", app=APP) == {"kill": 5}
    peer.call("create", **created("ann"))
    peer.redis.restore()
    assert peer.redis.keys() == keys
    assert peer.call("soid", app=APP, id="ann")["sessions"] == 0
    assert lists_all(peer.call("soapp", app=APP, deltaTime=TTL_S), 5, 5)
