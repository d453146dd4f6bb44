"""Exceptions that come out of nowhere: raised by a signal handler, or by one thread in another."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable


class StopError(Exception):
    """What an application may raise in a signal handler."""


class Stop(BaseException):
    """The same, not to be caught by accident."""


#: What the interrupts here raise.
INTERRUPTS: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit, Stop, StopError)


def was_interrupted(call: Callable[[], object], after_s: float) -> bool:
    """Call, with an alarm after some time, and say whether it came before the end.

    What the handler of SIGALRM raises has to be one of `INTERRUPTS`.
    """
    try:
        signal.setitimer(signal.ITIMER_REAL, after_s)
        call()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except INTERRUPTS:
        return True
    except BaseException:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise
    return False


def stop_thread(thread: threading.Thread) -> bool:
    """Raise `Stop` in a thread, at the next bytecode that it executes; whether it was still there."""
    assert thread.ident is not None
    number = ctypes.c_ulong(thread.ident)
    return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(Stop)) == 1)
