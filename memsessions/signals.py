"""What the threads of this library do about signals: nothing."""

from __future__ import annotations

import signal

# Those that a thread brings about by itself, and that somebody may want to have reported (`faulthandler`).
_OWN = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"}


def leave_to_others() -> None:
    """Have what is sent to the process come to its other threads. To be called in a thread of its own.

    A thread can hold a signal back for itself only. Celery's processes do so when they end, as it would kill
    them with a lock in their hands that the whole pool needs: a thread they do not know of must not take it.
    """
    if hasattr(signal, "pthread_sigmask"):
        others = [number for number in signal.valid_signals() if getattr(number, "name", "") not in _OWN]
        signal.pthread_sigmask(signal.SIG_BLOCK, others)
