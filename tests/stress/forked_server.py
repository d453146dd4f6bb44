"""A gunicorn that forks its workers from a master in the middle of calls, and loses them all the time.

The application's client, of two servers, was made and used before the fork, with a wipe thread; threads of
the master go on using it. Workers end after some requests, by SIGKILL, by SIGHUP and with a reload. Every
visitor gets its own session, nothing hangs, and no connection is left over.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from ..support.memcached import Memcached
from ..support.web import Gunicorn, Visitor
from .program import Plan, Report

DURATION_S = 180
_VISITORS = 6
# Between two workers that are ended, or a reload.
_CALM_S = 0.4


def attack(plan: Plan, app: str | None = None) -> Report:
    """Also of another application than the right one."""
    dice = plan.dice
    violations: list[str] = []
    done = Counter[str]()
    with tempfile.TemporaryDirectory() as name, Memcached() as one, Memcached() as other:
        folder = Path(name)
        with Gunicorn(f"{one.address},{other.address}", folder, *([app] if app else [])) as server:
            stop = threading.Event()
            visitors = [Visitor(n, server, stop, dice.randrange(2**32)) for n in range(_VISITORS)]
            for visitor in visitors:
                visitor.start()
            for what in itertools.cycle(("SIGKILL", "SIGHUP", "SIGKILL", "reload")):
                if plan.is_over:
                    break
                time.sleep(dice.uniform(0, 2 * _CALM_S))
                done[what] += 1
                if what == "reload":
                    server.reload()
                elif workers := server.workers():
                    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                        os.kill(dice.choice(workers), signal.Signals[what])
                plan.progress(f"{dict(done)}")
            stop.set()
            for visitor in visitors:
                visitor.join()
                violations += visitor.violations
            if not server.stop():
                violations.append("gunicorn does not end")
            log = server.log()
        violations += [line for line in log.splitlines() if "Traceback" in line or "WORKER TIMEOUT" in line]
        if connections := one.connections() + other.connections():
            violations.append(f"{connections} connections remained")
    answers = sum((visitor.answers for visitor in visitors), Counter[int]())
    figures = {
        "forks": log.count("Booting worker with pid"),
        "workers that answered": len(answers),
        "answers": answers.total(),
        "requests lost with their worker": sum(visitor.lost for visitor in visitors),
    }
    return Report(figures | done, violations)
