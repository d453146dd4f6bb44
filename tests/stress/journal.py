"""A client that keeps a journal of its calls, so that another process knows what it knew when it was killed.

Each thread of it uses sessions that no other one uses, so that what they hold follows from the calls alone.
A line is written before each call and one after it; of one that has no second line, it is not known whether
it took effect.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

from memsessions import SessionsClient, index
from memsessions.tokens import hashed

from ..support.inventory import Inventory, neighbours
from .aftermath import FIXED_TTL_S

SHARED_APP = "shared"
THREADS = 3
_MOST_SESSIONS = 10
_SIZES = [1, 1, 1, 100, 3_000, 200_000]
# All users stand in one item of the index.
_USERS = neighbours(2 * THREADS)
# `wipe` and `killall` take long, and would be what nearly every client is killed in.
_CALLS = {"create": 20, "set": 20, "get": 4, "rotate": 20, "kill": 10, "killsoid": 6, "killall": 1, "wipe": 1}


def own_app(thread: int) -> str:
    """The app that only one thread uses."""
    return f"app-{thread}"


class _Writer:
    """One thread's calls."""

    def __init__(self, rs: SessionsClient, dice: random.Random, thread: int, file: Path) -> None:
        self._rs = rs
        self._dice = dice
        self._thread = thread
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._tokens: list[tuple[str, str, str]] = []  # app, user, token
        self._made = 0

    def _write(self, *line: object) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")  # what is written stays, whatever ends us

    def work(self) -> None:
        while True:
            (name,) = self._dice.choices(list(_CALLS), list(_CALLS.values()))
            getattr(self, f"_{name}")()

    def _call(self, name: str, *arguments: Any) -> Any:
        self._write(name, *arguments)
        answer = getattr(self._rs, name)(*arguments)
        self._write(answer)
        return answer

    def _somewhere(self) -> tuple[str, str]:
        app = self._dice.choice([SHARED_APP, own_app(self._thread)])
        return app, self._dice.choice(_USERS[2 * self._thread : 2 * self._thread + 2])

    def _data(self) -> dict[str, Any]:
        return {self._dice.choice("abc"): self._made, "x": "x" * self._dice.choice(_SIZES)}

    def _create(self) -> None:
        if len(self._tokens) >= _MOST_SESSIONS:
            self._killsoid()
            return
        app, user = self._somewhere()
        self._made += 1
        fixed = self._dice.random() < 0.3
        ttl = FIXED_TTL_S if fixed else 3600
        ip = f"{self._thread}.{self._made}"
        created = self._call("create", app, user, ip, ttl, self._data(), fixed)
        self._tokens.append((app, user, created["token"]))

    def _set(self) -> None:
        if self._tokens:
            app, _, token = self._dice.choice(self._tokens)
            self._made += 1
            self._call("set", app, token, {**self._data(), self._dice.choice("abc"): None})

    def _get(self) -> None:
        if self._tokens:
            app, _, token = self._dice.choice(self._tokens)
            self._call("get", app, token)

    def _rotate(self) -> None:
        if self._tokens:
            at = self._dice.randrange(len(self._tokens))
            app, user, token = self._tokens[at]
            self._tokens[at] = app, user, self._call("rotate", app, token)["token"]

    def _kill(self) -> None:
        if self._tokens:
            app, _, token = self._tokens.pop(self._dice.randrange(len(self._tokens)))
            self._call("kill", app, token)

    def _killsoid(self) -> None:
        where = self._somewhere()
        self._call("killsoid", *where)
        self._tokens = [held for held in self._tokens if held[:2] != where]

    def _killall(self) -> None:
        app = own_app(self._thread)
        self._call("killall", app)
        self._tokens = [held for held in self._tokens if held[0] != app]

    def _wipe(self) -> None:
        self._call("wipe")


def work(address: str, ns: str, seed: int, folder: str) -> None:
    """Work until killed, a file in the folder for each thread."""
    dice = random.Random(seed)
    if dice.random() < 0.5:  # buckets that spill early
        index.FULL_BYTES = 4 * index.RECORD_LENGTH
        index._ASK_AGAIN = 1.0
    rs = SessionsClient(address, ns=ns, wipe=0, timeout=60)
    writers = [
        _Writer(rs, random.Random(dice.random()), n, Path(folder) / f"thread-{n}") for n in range(THREADS)
    ]
    threads = [threading.Thread(target=writer.work) for writer in writers]
    sys.setswitchinterval(1e-4)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Held(NamedTuple):
    """A session as its client knew it."""

    app: str
    user: str
    ip: str
    d: dict[str, Any]
    w: int

    def after(self, changes: dict[str, Any]) -> Held:
        merged = {key: value for key, value in {**self.d, **changes}.items() if value is not None}
        return self._replace(d=merged, w=self.w + 1)


class Known:
    """What follows from the journal of one thread."""

    def __init__(self, file: Path) -> None:
        self.sessions: dict[str, Held] = {}  # by token
        self.pending: list[Any] = []  # the call in the middle of which it ended
        self.calls = 0
        self.problems: list[str] = []
        lines = [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]
        for call, answer in zip(lines[::2], lines[1::2], strict=False):
            self.calls += 1
            self._happened(call[0], call[1:], answer[0])
        if len(lines) % 2:
            self.pending = lines[-1]

    def _happened(self, name: str, arguments: list[Any], answer: Any) -> None:
        if name == "create":
            app, user, ip, _, d, _ = arguments
            self.sessions[answer["token"]] = Held(app, user, ip, d, 1)
        elif name in ("set", "get"):
            held = self.sessions[arguments[1]]
            if name == "set":
                held = self.sessions[arguments[1]] = held.after(arguments[2])
            if answer is None or (answer["d"], answer["w"]) != (held.d or None, held.w):
                self.problems.append(f"{name} of a session that lives does not show it as it is")
        elif name == "rotate":
            self.sessions[answer["token"]] = self.sessions.pop(arguments[1])
        elif name != "wipe":
            ended = self._of(name, arguments)
            if answer["kill"] != len(ended):
                self.problems.append(f"{name} says {answer['kill']}, there were {len(ended)} sessions")
            for token in ended:
                del self.sessions[token]

    def _of(self, name: str, arguments: list[Any]) -> list[str]:
        """The sessions that a call ends."""
        if name == "kill":
            return [arguments[1]]
        return [token for token, held in self.sessions.items() if list(held[: len(arguments)]) == arguments]

    def expected(self) -> dict[str, tuple[Held | None, ...]]:
        """What each session may be now, by token: None where it may have ended."""
        expected: dict[str, tuple[Held | None, ...]] = {
            token: (held,) for token, held in self.sessions.items()
        }
        if self.pending:
            name, *arguments = self.pending
            if name == "set":
                held = self.sessions[arguments[1]]
                expected[arguments[1]] = (held, held.after(arguments[2]))
            elif name == "rotate":
                expected[arguments[1]] = (self.sessions[arguments[1]], None)
            elif name.startswith("kill"):
                expected.update({token: (self.sessions[token], None) for token in self._of(name, arguments)})
        return expected

    def unknown(self) -> Held | None:
        """The session that may be there under a token that nobody was told."""
        if self.pending and self.pending[0] == "create":
            app, user, ip, _, d, _ = self.pending[1:]
            return Held(app, user, ip, d, 1)
        if self.pending and self.pending[0] == "rotate":
            return self.sessions[self.pending[2]]
        return None


def compare(threads: list[Known], found: dict[str, Inventory]) -> list[str]:
    """What is not on the server as its client left it, or is and should not be."""
    problems = [problem for known in threads for problem in known.problems]
    there = {
        (app, name): Held(app, held[1], held[2], dict(held[6] or {}), held[5])
        for app, inventory in found.items()
        for name, held in inventory.sessions.items()
    }
    for known in threads:
        lost = []
        for token, states in known.expected().items():
            state = there.pop((known.sessions[token].app, hashed(token)), None)
            if state is None and known.pending[:1] == ["rotate"] and known.pending[2] == token:
                lost.append("a session that was to be moved is neither here nor there")
            elif state not in states:
                lost.append("a session is gone" if state is None else "a session is not as it was written")
        unknown = known.unknown()
        moved = [key for key, state in there.items() if state == unknown]
        if moved:
            del there[moved[0]]
            lost = [problem for problem in lost if "neither" not in problem]
        problems += lost
    return problems + ["a session is there that should not be"] * len(there)
