"""Processes that attack side by side: `python -m tests.stress.workers NAME` runs `work(orders)` of a program.

Orders come in as JSON on standard input; what `work` has to say goes out with `say`, a JSON line each. All
processes of a machine have the same `time.monotonic()`, so that they can agree on when to end, and what
they saw can be put in order.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from pymemcache import PooledClient

from memsessions import SessionsClient

_ROOT = Path(__file__).parents[2]
#: What a worker may take longer than it was told to, before it counts as hanging.
_LATE_S = 60


def open_client(servers: Mapping[str, str], timeout_s: float, shared: bool = False) -> SessionsClient:
    """The client of every attack: of the servers of these names and addresses.

    A server is named by its own address, and may be reached at that of a proxy. `shared` borrows the
    connections from a pool of pymemcache's.
    """
    (address,) = servers.values()
    options: dict[str, Any] = {"servers": address}
    if shared:
        host, port = address.split(":")
        options = {"client": PooledClient((host, int(port)))}
    return SessionsClient(wipe=0, timeout=timeout_s, connect_timeout=timeout_s, **options)


def say(what: Any) -> None:
    """Write a line, whole, whoever else writes: other threads, and children that a worker forked."""
    line = json.dumps(what, separators=(",", ":")).encode() + b"\n"
    written = os.write(sys.stdout.fileno(), line)
    assert written == len(line)


class Workers:
    """Processes of one program, each with its orders; they are ended with the block."""

    def __init__(self, program: str, orders: Sequence[Mapping[str, Any]]) -> None:
        command = [sys.executable, "-m", "tests.stress.workers", program]
        # A tracer is not made for exceptions that signals raise.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        self._running: list[tuple[subprocess.Popen[bytes], Any, Any]] = []
        for order in orders:
            said, complaints = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=said, stderr=complaints, cwd=_ROOT, env=environment
            )
            self._running.append((process, said, complaints))
            assert process.stdin is not None
            with process.stdin as pipe:
                pipe.write(json.dumps(order).encode())

    def failures(self, ends: float) -> list[str]:
        """Wait for all, until well after they should have ended; what is wrong with how they did."""
        found = []
        for number, (process, _, complaints) in enumerate(self._running):
            try:
                status: int | str = process.wait(max(0, ends - time.monotonic()) + _LATE_S)
            except subprocess.TimeoutExpired:
                status = "none: it hangs"
            if status != 0:
                complaints.seek(0)
                last = complaints.read().decode(errors="replace").splitlines()[-1:]
                found.append(f"worker {number} ended with status {status}: {' '.join(last)}")
        return found

    def lines(self) -> list[Iterator[Any]]:
        """What each said, in its order."""
        return [_lines(said) for _, said, _ in self._running]

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process, said, complaints in self._running:
            process.kill()
            process.wait()
            said.close()
            complaints.close()


def _lines(file: Any) -> Iterator[Any]:
    file.seek(0)
    return map(json.loads, file)


if __name__ == "__main__":
    importlib.import_module(f"tests.stress.{sys.argv[1]}").work(json.load(sys.stdin))
