"""Forks in the middle of calls, in a process of their own: forking a small one costs little.

python -m tests.support.forking SERVER at-lines NAME KIND STEP
python -m tests.support.forking SERVER at-any-time
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymemcache import PooledClient

from memsessions import SessionsClient, StoreUnavailable

from .injection import at_line

APP = "forum"
IP = "127.0.0.1"
#: A child that takes longer hangs: it is ended, and fails its test.
CHILD_S = 40


def sockets(port: int) -> set[int]:
    """The local ports of this process's connections to a port, whoever in it holds them."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if descriptor.readlink().name.startswith("socket:"):
                with socket.socket(fileno=os.dup(int(descriptor.name))) as sock:
                    if sock.family == socket.AF_INET and sock.getpeername()[1] == port:
                        found.add(int(sock.getsockname()[1]))
    return found


class Sessions:
    """Some sessions, each of which knows its own number."""

    def __init__(self, rs: SessionsClient, number: int = 8) -> None:
        self.rs = rs
        self.tokens = [rs.create(APP, f"user{n}", IP, d={"n": n})["token"] for n in range(number)]

    def get(self, number: int) -> None:
        session = self.rs.get(APP, self.tokens[number])
        assert session is not None
        assert (session["id"], session["d"]) == (f"user{number}", {"n": number})

    def work(self, rounds: int) -> int:
        """Read, list, make and end sessions, and look at every answer."""
        for round_ in range(rounds):
            number = round_ % len(self.tokens)
            self.get(number)
            assert [session["id"] for session in self.rs.soid(APP, f"user{number}")] == [f"user{number}"]
            token = self.rs.create("another", f"{os.getpid()}-{round_}", IP)["token"]
            session = self.rs.set("another", token, {"round": round_})
            assert session is not None
            assert (session["id"], session["d"]) == (f"{os.getpid()}-{round_}", {"round": round_})
            assert self.rs.kill("another", token) == {"kill": 1}
        return rounds


class Fork:
    """Forks when called, and knows on which side it is."""

    def __init__(self) -> None:
        self.pid: int | None = None

    def __call__(self) -> None:
        if self.pid is None:
            self.pid = os.fork()

    @property
    def in_child(self) -> bool:
        return self.pid == 0


def fork_inside(call: Callable[[Fork], Any], afterwards: Callable[[str, Any, Fork], None]) -> bool:
    """Make a call that forks inside, check it and what follows on both sides; say whether it forked."""
    fork = Fork()
    code = 1
    try:
        outcome: tuple[str, Any]
        try:
            outcome = "answer", call(fork)
        except StoreUnavailable as error:
            outcome = "error", error
        afterwards(outcome[0], outcome[1], fork)
        code = 0
    except BaseException:
        if not fork.in_child:
            raise
        traceback.print_exc(file=sys.__stderr__)
    finally:
        if fork.in_child:
            os._exit(code)
    if not fork.pid:
        return False
    give_up = time.monotonic() + CHILD_S
    while (ended := os.waitpid(fork.pid, os.WNOHANG)) == (0, 0):
        if time.monotonic() > give_up:
            os.kill(fork.pid, signal.SIGKILL)
        time.sleep(0.001)
    assert ended[1] == 0, "the child did not do what it should: see its output"
    return True


def checker(sessions: Sessions, port: int, name: str, repeated: bool) -> Callable[[str, Any, Fork], None]:
    """What is true after a call in the middle of which a signal handler forked."""
    reading, writing = os.pipe()

    def check(kind: str, answer: Any, fork: Fork) -> None:
        if kind == "error":
            # The child's connection was closed under its call: one that had been used before is replaced
            # for a call that can be repeated.
            assert fork.in_child, answer
            assert not repeated, answer
        elif name == "get":
            assert answer["id"] == "user0"
        elif name == "set":
            assert answer["d"] == {"n": 0, "more": 1}
        else:
            session = sessions.rs.get(APP, answer["token"])
            assert session is not None
            assert session["id"] == "new"
        # The next calls work on both sides at once, the first of them being one that is not repeated.
        token = sessions.rs.create(APP, "user9", IP)["token"]
        assert sessions.rs.kill(APP, token) == {"kill": 1}
        sessions.get(1)
        if fork.in_child:
            os.close(writing)  # so that a parent that failed is not waited for
            of_parent = set(json.loads(os.read(reading, 10_000)))
            assert not of_parent & sockets(port), "the child uses a connection of the parent"
        else:
            os.write(writing, json.dumps(sorted(sockets(port))).encode())
            os.close(writing)
            os.close(reading)

    return check


CALLS: dict[str, Callable[[Sessions], Any]] = {
    "get": lambda sessions: sessions.rs.get(APP, sessions.tokens[0]),
    "set": lambda sessions: sessions.rs.set(APP, sessions.tokens[0], {"more": 1}),
    "create": lambda sessions: sessions.rs.create(APP, "new", IP),
}


def at_lines(server: str, name: str, kind: str, step: int) -> int:
    """Fork at every so manieth line of a call; return the last.

    The call is the first of its client, or a later one, or a later one of a client that shares a pool.
    """
    port = int(server.split(":")[1])
    options: dict[str, Any] = (
        {"client": PooledClient(("127.0.0.1", port))} if kind == "pool" else {"servers": server}
    )
    sessions = Sessions(SessionsClient(wipe=0, timeout=CHILD_S, **options), 2)
    forked = True
    line = 0
    while forked:
        line += step
        if kind == "first":
            sessions.rs.quit()
            sessions.rs = SessionsClient(server, wipe=0, timeout=CHILD_S)

        def call(fork: Fork, line: int = line) -> Any:
            return at_line(line, fork, lambda: CALLS[name](sessions))[0]

        forked = fork_inside(call, checker(sessions, port, name, name == "get" and kind != "first"))
    return line


def at_any_time(server: str) -> int:
    """Fork in a signal handler that runs whenever it does; return how often it did during a call."""
    sessions = Sessions(SessionsClient(server, wipe=0, timeout=CHILD_S), 2)
    dice = random.Random(99)
    forked = 0
    for _ in range(200):
        name = dice.choice(list(CALLS))
        after_s = dice.uniform(1e-5, 4e-4)

        def call(fork: Fork, name: str = name, after_s: float = after_s) -> Any:
            signal.signal(signal.SIGALRM, lambda *_: fork())
            signal.setitimer(signal.ITIMER_REAL, after_s)
            answer = CALLS[name](sessions)
            signal.setitimer(signal.ITIMER_REAL, 0)
            return answer

        port = int(server.split(":")[1])
        forked += fork_inside(call, checker(sessions, port, name, name == "get"))
    return forked


if __name__ == "__main__":
    server, what, *arguments = sys.argv[1:]
    if what == "at-lines":
        print(at_lines(server, arguments[0], arguments[1], int(arguments[2])))
    else:
        print(at_any_time(server))
