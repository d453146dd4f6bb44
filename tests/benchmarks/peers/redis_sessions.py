"""redis-sessions of npm, in a Node process that stays: warm, as it is in a web server."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..holding import Holding
from ..lacking import FOLDER, Lacking
from ..timing import Batch
from ..workload import APP, DATA, IP, TTL_S, users
from .redis_server import Redis

_PROGRAM = Path(__file__).with_suffix(".js")
_PACKAGE = FOLDER / "node_modules" / "redis-sessions" / "package.json"
_END_S = 10
_FILL_AT_ONCE = 1_000

Options = Mapping[str, object]


def find_node() -> str:
    """The command that runs it; raises `Lacking` where it cannot run."""
    node = shutil.which("node")
    if node is None:
        raise Lacking("redis-sessions", "no node on PATH")
    if not _PACKAGE.exists():
        raise Lacking("redis-sessions", f"npm has not installed it in {FOLDER.name}")
    return node


class Timed(NamedTuple):
    """The seconds of each call, or of all together if they were made at once; the answers."""

    seconds: list[float]
    answers: list[Any]


class RedisSessions(Holding):
    """A process; `with RedisSessions(redis) as peer:` starts and ends it."""

    def __init__(self, redis: Redis) -> None:
        super().__init__()
        self.redis = redis
        self._node = find_node()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> RedisSessions:
        with contextlib.ExitStack() as stack:
            self._errors: IO[str] = stack.enter_context(tempfile.TemporaryFile("w+"))
            # `--expose-gc` for `memory` alone: while calls are timed, Node collects when it wants to.
            command = [self._node, "--expose-gc", str(_PROGRAM), str(FOLDER), str(self.redis.port)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
            )
            stack.callback(_end, self._process)
            self._stack = stack.pop_all()
        return self

    @property
    def versions(self) -> dict[str, str]:
        node = subprocess.run([self._node, "--version"], capture_output=True, text=True, check=True)
        return {
            "redis-sessions": json.loads(_PACKAGE.read_text())["version"],
            "Node": node.stdout.strip().removeprefix("v"),
        }

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def calls(self, call: str, options: Sequence[Options], *, at_once: bool = False) -> Timed:
        """So many calls, one after the other or all at once."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        request = json.dumps({"call": call, "options": options, "atOnce": at_once})
        with contextlib.suppress(BrokenPipeError):  # then there is no reply, either
            process.stdin.write(f"{request}\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"Node ended in {call} of redis-sessions: {self._last_words(process)}")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"{call} of redis-sessions failed: {reply['error']}")
        return Timed([nanoseconds / 1e9 for nanoseconds in reply["nanoseconds"]], reply["answers"])

    def call(self, call: str, **options: object) -> Any:
        """One call; its answer."""
        (answer,) = self.calls(call, [options]).answers
        return answer

    def batch(
        self,
        name: str,
        call: str,
        options: Callable[[], Sequence[Options]],
        right: Callable[[list[Any]], bool],
        *,
        prepare: Callable[[], None] | None = None,
        at_once: bool = False,
    ) -> Batch:
        """Such calls to be timed among others, `right` if their answers are; `options` is not timed."""

        def run() -> list[float]:
            timed = self.calls(call, options(), at_once=at_once)
            if not right(timed.answers):
                raise RuntimeError(f"{name} did not answer as it should, so its time says nothing")
            return timed.seconds

        return Batch(name, run) if prepare is None else Batch(name, run, prepare)

    def memory(self) -> dict[str, int]:
        """`process.memoryUsage()`, once the garbage is collected."""
        (answer,) = self.calls("memory", []).answers
        assert isinstance(answer, dict)
        return answer

    def fill(self, sessions: int, first_user: int = 0) -> None:
        """So many sessions of distinct users."""
        names = users(first_user)
        for start in range(0, sessions, _FILL_AT_ONCE):
            some = islice(names, min(_FILL_AT_ONCE, sessions - start))
            self.calls("create", [created(name) for name in some], at_once=True)

    def _last_words(self, process: subprocess.Popen[str]) -> str:
        status = process.wait(_END_S)
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if "rror" in line]
        return f"{lines[0] if lines else 'it said nothing'} (status {status})"


def created(user: str) -> dict[str, object]:
    """What `create` is told of the session that everything is measured with."""
    return {"app": APP, "id": user, "ip": IP, "ttl": TTL_S, "d": dict(DATA)}


def lists_all(answer: Mapping[str, object], sessions: int, users: int) -> bool:
    """Whether `soapp` or `soid` answered so many sessions of so many users, as `created` made them."""
    data = [json.dumps(DATA, separators=(",", ":"))]
    return answer == {"sessions": sessions, "users": users, "data": data}


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
