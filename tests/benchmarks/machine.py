"""What the parts of one run share: servers started when first asked for, and what took part or is lacking."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, TypeVar

from memsessions import SessionsClient

from ..support.memcached import Memcached
from . import cpus
from .holding import Holding
from .lacking import Lacking
from .peers.redis_server import Redis, find_redis
from .peers.redis_sessions import RedisSessions, find_node
from .workload import Plan, fill, ours

T = TypeVar("T")

# One thread, so that no comparison is decided by which of its threads a connection landed on.
MEMCACHED = ("-t", "1", "-m", "4096")


class Filled(NamedTuple):
    """A namespace of the run's memcached, with sessions of distinct users in one app and nothing else."""

    client: SessionsClient
    ns: str
    sessions: int


class Bench(Holding):
    """One run; `with Bench(plan) as bench:` ends at last whatever was started for it."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.skipped: list[Lacking] = []
        self.versions = {
            "memsessions": version("memsessions"),
            "Python": platform.python_version(),
            "pymemcache": version("pymemcache"),
            "orjson": version("orjson"),
        }
        self._memcached: Memcached | None = None
        self._filled: dict[int, Filled] = {}
        self._redis_sessions: RedisSessions | None = None

    def __enter__(self) -> Bench:
        return self

    @property
    def memcached(self) -> Memcached:
        """The memcached of everything that needs one only."""
        if self._memcached is None:
            self._memcached = self.keep(cpus.apart(Memcached(*MEMCACHED)))
            self.took_part("memcached", " ".join([self._memcached.stats()["version"], *MEMCACHED]))
        return self._memcached

    def filled(self, sessions: int) -> Filled:
        """A namespace with so many sessions. All parts share it, so each leaves it as it was."""
        if sessions not in self._filled:
            ns = f"filled{sessions}"
            client = self.keep(ours(self.memcached.address, ns))
            fill(client, sessions)
            self._filled[sessions] = Filled(client, ns, sessions)
        return self._filled[sessions]

    def redis_sessions(self) -> RedisSessions | None:
        """redis-sessions in a Node process that stays, on an empty Redis; None where one is lacking."""
        if self._redis_sessions is None:
            with self.unless_lacking():
                find_redis()
            with self.unless_lacking():
                find_node()
            with self.unless_lacking():
                redis = self.keep(cpus.apart(Redis()))
                peer = RedisSessions(redis)
                self._redis_sessions = self.keep(peer)
                for name, what in {"Redis": redis.version, **peer.versions}.items():
                    self.took_part(name, what)
        if self._redis_sessions is not None:
            self._redis_sessions.redis.clear()
        return self._redis_sessions

    def keep(self, context: AbstractContextManager[T]) -> T:
        """Enter a context until the run ends."""
        return self._stack.enter_context(context)

    def took_part(self, name: str, what: str | None = None) -> None:
        """Note a version; that of the Python distribution of this name where none is given."""
        self.versions.setdefault(name, version(name) if what is None else what)

    @contextmanager
    def unless_lacking(self) -> Iterator[None]:
        """Leave out what cannot be here: the rest of the block that raises `Lacking`."""
        try:
            yield
        except Lacking as lacking:
            if lacking.what not in [known.what for known in self.skipped]:
                self.skipped.append(lacking)


def machine() -> dict[str, str]:
    """What it ran on."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return {
        "CPU": found[1] if found else platform.machine(),
        "cores": cpus.described(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
