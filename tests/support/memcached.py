"""A memcached of the tests' own, on loopback and a free port."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

# As many as can be asked for before their replies are read.
_KEYS_AT_ONCE = 500
COMMAND = shutil.which("memcached") or "/usr/bin/memcached"


def _ports() -> Iterator[int]:
    """Ports of loopback, beginning anywhere. Workers of pytest-xdist have none in common.

    They are below those that Linux gives to clients: nobody takes one between two starts of its server, and
    a client that tries to connect while nobody listens is never connected to itself.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = range(10_000 + worker, 32_000, workers)
    return itertools.cycle(own[(at := random.randrange(len(own))) :] or own[:at])


_next_ports = _ports()


def free_port() -> int:
    """A port that nobody listens at, and that nobody else is given."""
    while True:
        port = next(_next_ports)
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            return port


class Memcached:
    """A server process; `with Memcached("-m", "64") as server:` starts and ends it."""

    def __init__(self, *options: str, port: int | None = None, unix: Path | None = None) -> None:
        self.port = port or free_port()
        self.unix = unix
        self.options = options
        self.address = f"unix:{unix}" if unix else f"127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        where = ["-s", str(self.unix)] if self.unix else ["-l", "127.0.0.1", "-p", str(self.port)]
        command = [COMMAND, "-u", getpass.getuser(), "-U", "0", *where, *self.options]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                self.connect().close()
                return
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{' '.join(command)} does not answer")
            time.sleep(0.002)

    def connect(self, timeout_s: float = 5.0) -> socket.socket:
        """A raw connection."""
        if self.unix is None:
            return socket.create_connection(("127.0.0.1", self.port), timeout_s)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(self.unix))
        except OSError:
            sock.close()
            raise
        return sock

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)
        assert self.process is not None
        # It answers for a moment yet: until all of its threads have stopped.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would, memory and all."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Memcached:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    # ------------------------------------------------------------------------------- looking inside

    def ask(self, request: bytes, end: bytes) -> bytes:
        """A raw exchange: send, and read until the reply ends so."""
        with self.connect() as sock:
            sock.sendall(request)
            reply = bytearray()
            while not reply.endswith(end):
                chunk = sock.recv(1 << 20)
                if not chunk:
                    raise ConnectionError("memcached closed the connection")
                reply += chunk
            return bytes(reply)

    def keys(self, ns: str) -> list[str]:
        """Every key that begins with `{ns}:`."""
        # A dump of the lists can miss an item that is moving between two. One of the table is refused while
        # the server tidies up by itself, which it does soon after it started.
        while (dump := self.ask(b"lru_crawler metadump hash\r\n", b"\r\n").decode()).startswith("BUSY"):
            time.sleep(0.01)
        keys = [urllib.parse.unquote(key) for key in re.findall(r"^key=(\S+)", dump, re.MULTILINE)]
        return [key for key in keys if key.startswith(f"{ns}:")]

    def value(self, key: str) -> bytes | None:
        """What stands under a key."""
        reply = self.ask(b"mg %b v\r\nmn\r\n" % key.encode(), b"MN\r\n")
        return None if reply.startswith(b"EN") else reply.partition(b"\r\n")[2].removesuffix(b"\r\nMN\r\n")

    def delete(self, key: str) -> None:
        self.ask(b"md %b\r\nmn\r\n" % key.encode(), b"MN\r\n")

    def stats(self) -> dict[str, str]:
        lines = self.ask(b"stats\r\n", b"END\r\n").decode().split("\r\n")
        return dict(line.split(" ", 2)[1:] for line in lines if line.startswith("STAT "))

    def connections(self, at_most: int = 0) -> int:
        """How many clients are connected, once it has noticed which are not any more."""
        give_up = time.monotonic() + 5
        while True:
            number = int(self.stats()["curr_connections"]) - 1  # without the one that asks
            if number <= at_most or time.monotonic() > give_up:
                return number
            time.sleep(0.01)

    def advance(self, ns: str, seconds: int) -> None:
        """Let time pass for all items of a namespace: each has so many seconds less to live."""
        keys = [key.encode() for key in self.keys(ns)]
        # `u`: an item that was read again and waits to be moved in its list is held by the server, which does
        # not count it up in place then, and forgets to renew it.
        for first in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[first : first + _KEYS_AT_ONCE]
            request = b"".join(b"mg %b t u\r\n" % key for key in some)
            replies = self.ask(request + b"mn\r\n", b"MN\r\n").split(b"\r\n")
            changes = b""
            for key, reply in zip(some, replies, strict=False):
                match = re.fullmatch(rb"HD t(\d+)", reply)
                if match is None:  # gone, or it lives for ever
                    continue
                left = int(match[1]) - seconds
                changes += b"mg %b T%d u\r\n" % (key, self._expiry(left)) if left > 0 else b"md %b\r\n" % key
            self.ask(changes + b"mn\r\n", b"MN\r\n")

    def _expiry(self, left: int) -> int:
        return left if left <= 30 * 24 * 3600 else int(self.stats()["time"]) + left
