"""What is measured. Each part is a module with `measure(bench)`, which answers its tables."""

from __future__ import annotations

import importlib

from ..machine import Bench
from ..report import Table

#: What each part measures, in the order in which they run and are printed. Imported when they run only.
PARTS = {
    "calls": "one call at a time, beside memcached clients that do less",
    "redis_sessions": "one call at a time, beside redis-sessions: in warm processes, and in fresh ones",
    "headline": "1,000 sessions created, read and killed, beside redis-sessions with all calls at once",
    "soid": "the sessions of a user who has 1, 10 and 100, beside redis-sessions",
    "sizes": "sessions with 64 bytes to 256 KB of data, beside plain reads and writes of as many bytes",
    "concurrency": "the same calls from several threads and from several processes",
    "servers": "three memcacheds beside one",
    "metering": "what it costs that calls are counted",
    "web": "a request through Django, Flask and Starlette, beside their other sessions on a server",
    "memory": "memory of a session on the server and in the client, beside redis-sessions",
    "lists": "what goes through all sessions of an app, beside redis-sessions",
    "scans": "what goes through all sessions of an app, over asking for as many bare keys",
    "peak": "memory of the client that goes through all sessions, and the largest index item",
    "growth": "one call among few and among many sessions",
    "imports": "what `import memsessions` takes, beside what it needs",
}


def measure(name: str, bench: Bench) -> list[Table]:
    """The tables of one part; none where it is about something that is lacking."""
    tables: list[Table] = []
    with bench.unless_lacking():
        tables += importlib.import_module(f".{name}", __name__).measure(bench)
    return tables
