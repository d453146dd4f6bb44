"""Clients that a Celery worker's processes find made and used: what that needs, and what `connect` does.

The workers are real ones. Each is started once, given all it has to do, and ended; the tests look at what it
answered and left behind.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import celery.exceptions
import pytest
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker

from memsessions import ClientClosed, ConfigurationError, SessionsClient
from memsessions.celery import connect

from .conftest import MakeClient, Where
from .support.celery_broker import application
from .support.memcached import Memcached

ROOT = Path(__file__).parent.parent
_WAIT_S = 60


class Worker:
    """A process `celery worker`, and what can be told of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sender = application("sender", folder)
        self._sent: dict[str, list[Any]] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def send(self, name: str, task: str, *each: tuple[Any, ...]) -> None:
        """Tasks for it, before it starts: it might read a file that is being written."""
        task = f"tests.support.celery_app.{task}"
        self._sent[name] = [self._sender.send_task(task, arguments) for arguments in each]
        time.sleep(0.002)  # the names of the files begin with milliseconds: what follows comes later

    def send_live(self, name: str, of: int) -> None:
        """Some that wait for each other: each of them runs in another process or thread."""
        self.send(name, "live", *((name, number, of) for number in range(of)))

    def start(self, server: Memcached, pool: str, at_once: int, *, connected: bool) -> None:
        options = ["--pool", pool, "--concurrency", str(at_once), "--loglevel", "WARNING"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        environment = {
            "FOLDER": str(self._folder),
            "CONNECT": "1" if connected else "",
            "MEMSESSIONS_SERVERS": server.address,
            "MEMSESSIONS_NS": self._folder.name,
        }
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "celery",
                    "-A",
                    "tests.support.celery_app",
                    "worker",
                    *options,
                    *quiet,
                ],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def answers(self) -> dict[str, list[Any]]:
        """What its tasks answered, or the exceptions that they ended with."""
        give_up = time.monotonic() + _WAIT_S
        try:
            return {
                name: [self._outcome(result, give_up - time.monotonic()) for result in sent]
                for name, sent in self._sent.items()
            }
        except celery.exceptions.TimeoutError:
            pytest.fail(self.log())

    def _outcome(self, result: Any, timeout_s: float) -> Any:
        return result.get(timeout=timeout_s, interval=0.02, propagate=False)

    def told(self, what: str) -> list[dict[str, Any]]:
        """What its processes told of this."""
        return [json.loads(file.read_text()) for file in self._folder.glob(f"{what} *.json")]

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def end(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        assert self._process is not None
        assert self._process.wait(_WAIT_S) == 0, self.log()

    def kill(self) -> None:
        """It and its processes, if it is still there."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Lives(NamedTuple):
    """Workers that have ended, and what their tasks answered."""

    processes: Worker
    threads: Worker
    alone: Worker
    embedded: dict[str, Any]
    answers: dict[str, list[Any]]


@pytest.fixture(scope="module")
def lives(memcached: Memcached, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    """The lives of three workers, side by side: they mostly wait."""
    workers = processes, threads, alone = [
        Worker(tmp_path_factory.mktemp(name)) for name in ("processes", "threads", "alone")
    ]
    processes.send_live("first", 2)
    processes.send("too long", "work_for_too_long", (), ())
    processes.send_live("after that", 2)
    processes.send("for ever", "work_for_ever", ())
    processes.send_live("at last", 2)
    threads.send_live("threads", 4)
    alone.send_live("alone", 2)
    try:
        processes.start(memcached, "prefork", 2, connected=True)
        threads.start(memcached, "threads", 4, connected=True)
        alone.start(memcached, "prefork", 2, connected=False)
        embedded = _embedded()
        answers: dict[str, list[Any]] = {}
        for worker in (threads, alone, processes):
            answers |= worker.answers()
            worker.end()
        for worker in workers:
            worker.wait()
        yield Lives(processes, threads, alone, embedded, answers)
    finally:
        for worker in workers:
            worker.kill()


def _embedded() -> dict[str, Any]:
    """What a client has done in a worker in a thread of this process, and whether it was closed then."""
    app = Celery("embedded", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(broker_transport_options={"polling_interval": 0.02})
    app.conf.update(worker_hijack_root_logger=False, worker_redirect_stdouts=False)
    with SessionsClient("memory://", wipe=0) as rs:
        connect(rs)

        @app.task(shared=False)  # type: ignore[untyped-decorator]
        def create() -> str:
            return rs.create("forum", "user1234", "192.0.2.1")["token"]

        root = logging.getLogger()
        level = root.level
        try:
            with start_worker(app, perform_ping_check=False):
                token = create.delay().get(timeout=_WAIT_S, interval=0.02)
        finally:
            root.setLevel(level)  # which Celery sets, for the tests that come after as well
        closed = is_closed(rs)
        session = None if closed else rs.get("forum", token)
    return {"id": session and session["id"], "closed": closed}


def is_closed(rs: SessionsClient) -> bool:
    try:
        return rs.ping() != "PONG"
    except ClientClosed:
        return True


def ports(told: list[dict[str, Any]]) -> set[int]:
    return {port for one in told for port in one["ports"]}


def pids(told: list[dict[str, Any]]) -> set[int]:
    return {one["pid"] for one in told}


# ------------------------------------------------------------------------------------------- the pool prefork


def test_each_process_reads_its_own_answers(lives: Lives) -> None:
    """Two at the same time, neither of which is the one that made the client."""
    first = lives.answers["first"]
    assert len(pids(first)) == 2
    assert not pids(first) & pids(lives.processes.told("ready"))


def test_no_process_has_a_connection_of_its_parents(lives: Lives) -> None:
    """Nor do two share one. The parent has used both its clients, and so has a connection of each."""
    for worker, answers in ((lives.processes, lives.answers["first"]), (lives.alone, lives.answers["alone"])):
        (parent,) = worker.told("ready")
        one, another = answers
        assert len(parent["ports"]) == 2
        assert one["ports"]
        assert another["ports"]
        assert not ports(worker.told("begins"))
        assert not set(one["ports"]) & set(another["ports"])
        assert not ports([one, another]) & set(parent["ports"])


def test_a_process_does_not_answer_from_what_its_parent_has_read(lives: Lives) -> None:
    """The client has a cache, in which the parent's first read of the session is."""
    began = lives.processes.told("has read")
    assert len(began) == 3
    assert all(one["reads"] > 2 for one in began)


def test_a_soft_time_limit_in_the_middle_of_calls_leaves_the_client_usable(lives: Lives) -> None:
    """In the task itself, and for those that come after it in the same process."""
    late = lives.answers["too long"]
    assert all(one["calls"] > 10 for one in late)
    assert pids(late) <= pids(lives.answers["after that"]) == pids(lives.answers["first"])


def test_after_a_hard_time_limit_the_other_process_and_the_next_one_work(lives: Lives) -> None:
    (outcome,) = lives.answers["for ever"]
    assert isinstance(outcome, celery.exceptions.TimeLimitExceeded)
    before, after = pids(lives.answers["after that"]), pids(lives.answers["at last"])
    assert len(before & after) == 1
    assert len(after) == 2
    assert pids(lives.processes.told("begins")) == before | after


def test_connections_are_closed_when_processes_and_their_worker_end(lives: Lives) -> None:
    """Of those that end in order. On a busy machine Celery loses its patience with one, and kills it."""
    ended = lives.processes.told("ends")
    assert pids(lives.answers["at last"]) & pids(ended)
    (worker,) = lives.processes.told("worker ends")
    for one in (*ended, worker):
        assert (one["ports"], one["state"]) == ([], "ClientClosed")


# ---------------------------------------------------------------------------------------- the pool of threads


def test_each_thread_reads_its_own_answers(lives: Lives) -> None:
    answers = lives.answers["threads"]
    assert len({one["thread"] for one in answers}) == 4
    assert pids(answers) == pids(lives.threads.told("ready"))


def test_connections_are_closed_when_a_worker_of_threads_ends(lives: Lives) -> None:
    (worker,) = lives.threads.told("worker ends")
    assert (worker["ports"], worker["state"]) == ([], "ClientClosed")


# ------------------------------------------------------------------------------------------ without `connect`


def test_without_connect_a_worker_works_and_leaves_closing_to_the_system(lives: Lives) -> None:
    answers = lives.answers["alone"]
    assert len(pids(answers)) == 2
    ended = lives.alone.told("ends")
    assert pids(ended) == pids(answers)
    for one in (*ended, *lives.alone.told("worker ends")):
        assert one["ports"]
        assert one["state"] == "PONG"


def test_without_connect_a_process_begins_with_its_parents_cache(lives: Lives) -> None:
    assert [one["reads"] for one in lives.alone.told("has read")] == [2, 2]


# ---------------------------------------------------------------------------------------- `connect` by itself


@pytest.fixture
def rs(where: Where, make_client: MakeClient) -> SessionsClient:
    return make_client(where.address, ns=where.ns, cachetime=600)


def test_connecting_asks_no_server(make_client: MakeClient) -> None:
    connect(make_client("127.0.0.1:1"))


def test_connecting_again_changes_nothing(rs: SessionsClient) -> None:
    each = (signals.worker_process_init, signals.worker_process_shutdown, signals.worker_shutdown)
    connect(rs)
    before = [len(signal.receivers) for signal in each]
    connect(rs, rs)
    assert [len(signal.receivers) for signal in each] == before


def test_what_was_connected_before_stays_connected(rs: SessionsClient, make_client: MakeClient) -> None:
    others = [make_client("memory://") for _ in range(3)]
    connect(rs)
    connect(*others)
    signals.worker_process_shutdown.send(sender=None)
    assert all(is_closed(client) for client in (rs, *others))


def test_connecting_keeps_no_client_alive() -> None:
    rs = SessionsClient("memory://", wipe=0)
    reference = weakref.ref(rs)
    connect(rs)
    del rs
    gc.collect()
    assert reference() is None
    signals.worker_process_init.send(sender=None)
    signals.worker_process_shutdown.send(sender=None)


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="connect takes SessionsClients, not str"):
        connect("127.0.0.1:11211")  # type: ignore[arg-type]


def test_a_process_begins_with_an_empty_cache(rs: SessionsClient, make_client: MakeClient) -> None:
    """One without a cache begins as well."""
    connect(rs, make_client("memory://"))
    token = rs.create("forum", "user1234", "192.0.2.1")["token"]
    reads = []
    for _ in range(2):
        for _ in range(2):
            session = rs.get("forum", token)
            assert session is not None
            reads.append(session["r"])
        signals.worker_process_init.send(sender=None)
    assert reads == [2, 2, 3, 3]


def test_a_worker_in_a_thread_of_another_program_closes_nothing(lives: Lives) -> None:
    """As in a project's own tests, by what Celery has for these."""
    assert lives.embedded == {"id": "user1234", "closed": False}


def test_when_the_worker_itself_ends_its_clients_are_closed_but_not_by_a_thread(rs: SessionsClient) -> None:
    connect(rs)
    thread = threading.Thread(target=signals.worker_shutdown.send, args=[None])
    thread.start()
    thread.join()
    assert not is_closed(rs)
    signals.worker_shutdown.send(sender=None)
    assert is_closed(rs)


def test_without_celery_the_import_says_what_is_missing_and_all_else_works() -> None:
    program = """
import sys
sys.modules["celery"] = None
import memsessions
try:
    import memsessions.celery
except ImportError as error:
    print(error.name, "-", error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("celery - ")
