"""The threads of a client leave signals to the program's own."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from memsessions import signals

from .conftest import MakeClient, OnMemcached
from .support.memcached import Memcached
from .test_forks import in_child

pytestmark = [
    pytest.mark.skipif(
        not hasattr(signal, "pthread_sigmask"), reason="this system has no signals of threads"
    ),
    pytest.mark.no_cover,
]


def is_held_back() -> bool:
    """Whether a signal that this thread holds back, and that would end the process, waits for it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.02)  # for another thread to be ended by it
    return signal.SIGTERM in signal.sigpending()


def wait_for_threads(number: int) -> None:
    """Until there are so many that hold signals back: one that has just been made does not yet."""
    give_up = time.monotonic() + 2
    while sum(map(_blocks, Path("/proc/self/task").iterdir())) < number and time.monotonic() < give_up:
        time.sleep(0.005)


def _blocks(thread: Path) -> bool:
    (mask,) = re.findall(r"^SigBlk:\s*(\w+)$", (thread / "status").read_text(), re.MULTILINE)
    return int(mask, 16) != 0


def test_the_wipe_thread_takes_no_signal(on_memcached: OnMemcached, make_client: MakeClient) -> None:
    rs = make_client(on_memcached.address, ns=on_memcached.ns, wipe=600)

    def child() -> bool:
        rs.ping()
        wait_for_threads(1)
        return is_held_back()

    assert in_child(child) is True


def test_threads_that_ask_other_servers_take_no_signal(
    three_memcacheds: list[Memcached], make_client: MakeClient
) -> None:
    rs = make_client([server.address for server in three_memcacheds])

    def child() -> bool:
        rs.ping()
        wait_for_threads(2)
        return is_held_back()

    assert in_child(child) is True


@pytest.mark.parametrize("kind", ["SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT"])
def test_a_crash_in_a_thread_is_reported_as_everywhere(kind: str) -> None:

    def child() -> bool:
        signals.leave_to_others()
        return signal.Signals[kind] not in signal.pthread_sigmask(signal.SIG_BLOCK, [])

    assert in_child(child) is True
