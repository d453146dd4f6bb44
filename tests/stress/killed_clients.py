"""Clients that are killed (`kill -9`) at random moments of a random load.

Whole processes, whose threads make, write, move, end and wipe sessions, on servers with and without `-M`.
Each is killed within a moment; then every session that its journal knows has to be there as it was written,
or be gone where it was ended, and what `aftermath` looks at has to be so.
"""

from __future__ import annotations

import multiprocessing
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from memsessions import MemsessionsError, SessionsClient

from ..support import inventory
from ..support.memcached import Memcached
from . import journal
from .aftermath import Aftermath, aftermath
from .cut_packets import SERVERS
from .program import Plan, Report

DURATION_S = 600.0
_NS = "killed"
_APPS = [journal.SHARED_APP, *map(journal.own_app, range(journal.THREADS))]
_LONGEST_S = 0.3
# A process that has not called anything by then does not work.
_START_S = 60.0


class Killed:
    """A process that is killed, and what its threads knew then."""

    def __init__(self, server: Memcached, dice: random.Random, folder: Path) -> None:
        # Forked from a process that has only imported the library: that costs little, and inherits nothing.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([journal.__name__])
        arguments = server.address, _NS, dice.randrange(1 << 30), str(folder)
        process = context.Process(target=journal.work, args=arguments, daemon=True)
        process.start()
        give_up = time.monotonic() + _START_S
        while not any(file.stat().st_size for file in folder.iterdir()):
            assert process.is_alive(), "a client ended by itself"
            assert time.monotonic() < give_up, "a client does not begin"
            time.sleep(0.001)
        time.sleep(dice.uniform(0, _LONGEST_S))
        self.ended_by_itself = not process.is_alive()
        process.kill()
        process.join()
        process.close()
        self.threads = [journal.Known(file) for file in sorted(folder.iterdir())]


def _await_rest(server: Memcached) -> None:
    """Wait until the server has done what the dead client sent, and has closed its connections."""
    give_up = time.monotonic() + 5
    while int(server.stats()["curr_connections"]) > 1:  # the one that asks
        assert time.monotonic() < give_up, "the server keeps connections of a client that is dead"
        time.sleep(0.001)


def problems_after(server: Memcached, threads: list[journal.Known]) -> Aftermath:
    """What is wrong on the server, given what the threads of a client knew when it was killed."""
    found = {app: inventory.take(server, _NS, app) for app in _APPS}
    problems = journal.compare(threads, found)
    with SessionsClient(server.address, ns=_NS, wipe=0, timeout=30) as rs:
        try:
            after = aftermath(server, rs, _NS, _APPS)
        except MemsessionsError as error:
            return Aftermath([*problems, f"what is left cannot be used: {error!r}"], 0)
    return Aftermath(problems + after.problems, after.left_to_their_end)


def attack(plan: Plan) -> Report:
    """Start and kill clients, one after the other, on each kind of server in turn."""
    violations: list[str] = []
    pending: Counter[str] = Counter()
    kills = calls = left_to_their_end = 0
    dice = plan.dice
    servers = {kind: Memcached(*options) for kind, options in SERVERS.items()}
    try:
        for server in servers.values():
            server.start()
        while not plan.is_over:
            for kind, server in servers.items():
                with tempfile.TemporaryDirectory() as folder:
                    killed = Killed(server, dice, Path(folder))
                _await_rest(server)
                after = problems_after(server, killed.threads)
                inventory.remove(server, _NS)
                kills += 1
                calls += sum(known.calls for known in killed.threads)
                pending.update(known.pending[0] for known in killed.threads if known.pending)
                left_to_their_end += after.left_to_their_end
                found = ["a client ended by itself"] if killed.ended_by_itself else []
                violations += [
                    f"kill {kills}, of a server that {kind}: {problem}" for problem in found + after.problems
                ]
            plan.progress(f"{kills} kills")
    finally:
        for server in servers.values():
            server.kill()
    figures = {
        "kills": kills,
        "calls that came to their end": calls,
        "calls in the middle of a kill": sum(pending.values()),
        **{f"of these, {name}": number for name, number in sorted(pending.items())},
        "records of a fixed life left to its end": left_to_their_end,
    }
    return Report(figures, violations)
