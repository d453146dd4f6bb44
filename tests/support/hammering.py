"""One of many processes that use the same sessions at once: `python -m tests.support.hammering ...`.

Its threads wait for a line on standard input, so that all processes begin together, and it answers with
one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memsessions import SessionsClient

APP = "forum"
THREADS = 8
TURNS = 8
_ROOT = Path(__file__).parents[2]


def _set_and_get(rs: SessionsClient, token: str, name: str) -> list[Any]:
    """Write a key of its own in each turn, and read; answers what `r` and `w` were shown."""
    shown: list[Any] = []
    for turn in range(TURNS):
        written = rs.set(APP, token, {f"{name}-{turn}": turn})
        read = rs.get(APP, token)
        assert written is not None
        assert read is not None
        shown.append([read["r"], written["w"]])
    return shown


def _create(rs: SessionsClient, _token: str, name: str) -> list[Any]:
    """Make sessions, of a user of its own and of one that all share; answers their tokens."""
    tokens: list[Any] = []
    for turn in range(TURNS):
        user = name if turn % 2 else "shared"
        tokens.append(rs.create(APP, user, "192.0.2.1")["token"])
    return tokens


_WORK: dict[str, Callable[[SessionsClient, str, str], list[Any]]] = {
    "set and get": _set_and_get,
    "create": _create,
}


def hammer(processes: int, work: str, address: str, ns: str, token: str = "") -> list[Any]:
    """What all threads of so many processes answered, one list."""
    command = [sys.executable, "-m", "tests.support.hammering", work, address, ns, token]
    running = [
        subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT)
        for n in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    replies = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes
    return [answer for reply in replies for answer in json.loads(reply)]


def main(work: str, address: str, ns: str, token: str, name: str) -> None:
    # Many write one session at once here, and the last of them may wait for long on a slow machine.
    rs = SessionsClient(address, ns=ns, wipe=0, timeout=30)
    rs.ping()
    answers: list[Any] = []
    begin = threading.Event()

    def run(thread: int) -> None:
        begin.wait()
        answers.extend(_WORK[work](rs, token, f"{name}-{thread}"))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    begin.set()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
