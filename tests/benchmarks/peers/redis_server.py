"""A Redis of the run's own, on loopback and a free port, set up as a store of sessions that may be lost.

Its documentation says how a cache is set up: without persistence, `save ""` and `appendonly no`. That is what
memcached does, too, and what is quickest.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from typing import BinaryIO

from ...support.memcached import free_port
from ..holding import Holding
from ..lacking import Lacking

_HOST = "127.0.0.1"
_START_S = 10
_ANSWER_S = 600  # to write down or to read back a million sessions

Reply = bytes | int | None | list["Reply"]


def find_redis() -> str:
    """The command that starts it; raises `Lacking` where there is none."""
    command = shutil.which("redis-server")
    if command is None:
        raise Lacking("Redis", "no redis-server on PATH")
    return command


class Redis(Holding):
    """A server process; `with Redis() as redis:` starts and ends it."""

    def __init__(self) -> None:
        super().__init__()
        self._command = find_redis()
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Redis:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            options = {
                "bind": _HOST,
                "port": str(self.port),
                "save": "",
                "appendonly": "no",
                "dir": folder,  # only for what `keep` writes there
                "enable-debug-command": "local",  # only for `restore`
                "logfile": "/dev/null",
            }
            arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
            self._process = subprocess.Popen(
                [self._command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(self._end, self._process)
            sock = stack.enter_context(self._connected(self._process))
            self._sock = sock
            self._file: BinaryIO = stack.enter_context(sock.makefile("rb"))
            self._stack = stack.pop_all()
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def ask(self, *words: str) -> Reply:
        """A command and its reply."""
        parts = [word.encode() for word in words]
        self._sock.sendall(
            b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        )
        return self._reply(words[0])

    def _reply(self, command: str) -> Reply:
        line = self._file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._reply(command) for _ in range(int(rest))]
        raise RuntimeError(f"Redis answered {line.decode(errors='replace')!r} to {command}")

    def info(self, section: str) -> dict[str, str]:
        """What the server tells of itself."""
        answer = self.ask("INFO", section)
        assert isinstance(answer, bytes)
        return dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)

    @property
    def version(self) -> str:
        return self.info("server")["redis_version"]

    def keys(self) -> int:
        """How many there are."""
        answer = self.ask("DBSIZE")
        assert isinstance(answer, int)
        return answer

    def clear(self) -> None:
        self.ask("FLUSHALL", "SYNC")

    def keep(self) -> None:
        """Write down all there is, for `restore`."""
        self.ask("SAVE")

    def restore(self) -> None:
        """Have all there again, and only that, as it was at `keep`."""
        self.ask("DEBUG", "RELOAD", "NOSAVE")

    def _connected(self, process: subprocess.Popen[bytes]) -> socket.socket:
        give_up = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError):
                return socket.create_connection((_HOST, self.port), _ANSWER_S)
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{self._command} does not answer")
            time.sleep(0.002)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
