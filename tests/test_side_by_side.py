"""Calls at the same time: their answers, their errors, and what is left of their threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from memsessions.errors import StoreUnavailable
from memsessions.side_by_side import SideBySide

DOWN = StoreUnavailable("server", "no answer in time")


def fail() -> int:
    raise DOWN


def test_calls_are_made_at_the_same_time_and_answered_in_their_order() -> None:
    meeting = threading.Barrier(5, timeout=10)

    def call(number: int) -> Callable[[], int]:
        def meet() -> int:
            meeting.wait()
            return number

        return meet

    assert SideBySide(5).answers([call(number) for number in range(5)]) == [0, 1, 2, 3, 4]


def test_one_call_is_made_in_the_callers_thread() -> None:
    assert SideBySide(1).answers([threading.current_thread]) == [threading.current_thread()]
    assert SideBySide(3).answers([threading.current_thread] * 3)[0] == threading.current_thread()


def test_threads_are_used_again() -> None:
    calls = SideBySide(3)
    before = threading.active_count()
    for _ in range(50):
        calls.answers([lambda: 1] * 3)
    assert threading.active_count() <= before + 4


def test_an_error_is_raised_when_all_calls_have_ended() -> None:
    ended = []

    def last() -> int:
        threading.Event().wait(0.05)
        ended.append(True)
        return 1

    with pytest.raises(StoreUnavailable):
        SideBySide(3).answers([fail, last, last])
    assert ended == [True, True]


def test_the_outcome_of_each_call_is_its_answer_or_its_error() -> None:
    assert SideBySide(3).outcomes([lambda: 1, fail, lambda: 3]) == [1, DOWN, 3]


def test_a_defect_is_no_outcome() -> None:
    def defect() -> int:
        raise ZeroDivisionError

    for calls in ([defect, fail], [fail, defect]):
        with pytest.raises(ZeroDivisionError):
            SideBySide(2).outcomes(calls)


def test_where_there_can_be_no_more_threads_calls_are_made_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    assert SideBySide(3).outcomes([lambda: 1, fail, lambda: 3]) == [1, DOWN, 3]


def test_they_can_be_made_while_the_interpreter_shuts_down() -> None:
    """In a function that `atexit` calls, after the interpreter has ended its threads."""
    program = (
        "import threading\n"
        "from memsessions import SessionsClient\n"
        "rs = SessionsClient(['memory://a', 'memory://b'], wipe=0)\n"
        "for n in range(20): rs.create('forum', 'user', '192.0.2.1')\n"
        "import atexit\n"
        "atexit.register(lambda: print(rs.killsoid('forum', 'user')))\n"
        "rs.ping()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "{'kill': 20}\n"


def test_after_it_was_closed_its_threads_end() -> None:
    before = set(threading.enumerate())
    calls = SideBySide(3)
    calls.answers([lambda: 1] * 3)
    threads = set(threading.enumerate()) - before
    assert threads
    calls.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
