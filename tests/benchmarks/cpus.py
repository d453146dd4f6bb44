"""Which CPUs do what: the servers share one, and who asks them has the others.

A server on its client's CPU answers in a third of the time, as the kernel changes from one to the other at
once. Left to itself it puts them together and apart again from one second to the next, and with that decides
comparisons. Apart is how they are in use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")

ALL = frozenset(os.sched_getaffinity(0))
SERVERS = frozenset({max(ALL)})
CLIENTS = ALL - SERVERS or ALL


@contextmanager
def on(cpus: frozenset[int]) -> Iterator[None]:
    """What is started meanwhile runs on these, threads of this process and others."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def apart(server: AbstractContextManager[T]) -> Iterator[T]:
    """A server, started on the CPU of servers."""
    with on(SERVERS):
        started = server.__enter__()
    try:
        yield started
    finally:
        server.__exit__(None, None, None)


def described() -> str:
    """For who reads the figures."""
    if CLIENTS == ALL:
        return str(len(ALL))
    return f"{len(ALL)}, of which one is the servers'"
