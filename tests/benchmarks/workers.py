"""The same calls from several threads or processes at once: each worker has sessions and users of its own."""

from __future__ import annotations

import gc
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, cast

from memsessions import SessionsClient

from .peers import pymemcache
from .timing import Batch, Case, timed
from .workload import ours, session_cases

#: What workers do, in the order in which they are to be asked: what one call makes, the next ones need.
CALLS = (pymemcache.POOLED, "get", "create", "set", "rotate", "kill")

_USERS_EACH = 10_000_000


class Work(NamedTuple):
    """What every worker of a run is told."""

    port: int
    ns: str
    key: str  # of the plain read
    value: bytes  # and what it answers
    calls: int  # of one repetition


class Worker:
    """What one thread does, or one process. The clients may be shared with other threads."""

    def __init__(self, client: SessionsClient, pooled: Any, work: Work, number: int) -> None:
        key, value = work.key, work.value
        read = Case(
            pymemcache.POOLED, pooled.get, lambda: [key] * work.calls, lambda answer: bool(answer == value)
        )
        cases = [read, *session_cases(client, work.calls, first_user=(number + 1) * _USERS_EACH)]
        self._cases = {case.name: case for case in cases}
        self._arguments: list[Any] = []

    def prepare(self, call: str) -> None:
        self._arguments = list(self._cases[call].arguments())

    def run(self, call: str) -> list[float]:
        return timed(self._cases[call], self._arguments)


@contextmanager
def threads(work: Work, number: int) -> Iterator[list[Batch]]:
    """So many of them, on one client."""
    with ExitStack() as stack:
        client = stack.enter_context(ours(f"127.0.0.1:{work.port}", work.ns))
        pooled = stack.enter_context(pymemcache.client(work.port))
        workers = [Worker(client, pooled, work, at) for at in range(number)]
        pool = stack.enter_context(ThreadPoolExecutor(number))
        together = threading.Barrier(number)

        def run_one(worker: Worker, call: str) -> list[float]:
            together.wait()
            return worker.run(call)

        def run(call: str) -> list[float]:
            running = [pool.submit(run_one, worker, call) for worker in workers]
            return [seconds for one in running for seconds in one.result()]

        def prepare(call: str) -> None:
            for worker in workers:
                worker.prepare(call)

        yield [Batch(f"{call}, {number}", partial(run, call), partial(prepare, call)) for call in CALLS]


class Processes:
    """Several of them, each with a client; `with Processes(work, 4) as processes:` ends them."""

    def __init__(self, work: Work, most: int) -> None:
        # Fresh ones: what this process holds, and its threads, are no matter of theirs.
        context = multiprocessing.get_context("spawn")
        self._connections: list[Connection] = []
        self._processes = []
        for number in range(most):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work, number), daemon=True)
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_error: object) -> None:
        for connection in self._connections:
            connection.close()  # a worker that nobody asks any more ends
        for process in self._processes:
            process.join()

    def batches(self, number: int) -> list[Batch]:
        """For the first so many of them."""
        asked = self._connections[:number]

        def ask(request: str, call: str) -> list[float]:
            for connection in asked:
                connection.send((request, call))
            return [seconds for connection in asked for seconds in _reply(connection)]

        def prepare(call: str) -> None:
            ask("prepare", call)

        return [
            Batch(f"{call}, {number}", partial(ask, "run", call), partial(prepare, call)) for call in CALLS
        ]


def _reply(connection: Connection) -> list[float]:
    reply = connection.recv()
    if isinstance(reply, RuntimeError):
        raise reply
    return cast("list[float]", reply)


def _serve(connection: Connection, work: Work, number: int) -> None:
    """What a process does until nobody asks any more."""
    with ExitStack() as stack:
        client = stack.enter_context(ours(f"127.0.0.1:{work.port}", work.ns))
        pooled = stack.enter_context(pymemcache.client(work.port))
        worker = Worker(client, pooled, work, number)
        while True:
            try:
                request, call = connection.recv()
            except EOFError:
                return
            if request == "prepare":
                worker.prepare(call)
                gc.collect()
                connection.send([])
                continue
            try:
                connection.send(worker.run(call))
            except RuntimeError as wrong_answer:
                connection.send(wrong_answer)
