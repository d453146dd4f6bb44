"""What is measured. Each part is a module with `measure(bench)`, which answers its tables."""

from __future__ import annotations

import importlib

from ..machine import Bench
from ..report import Table

#: What each part measures, in the order in which they run and are printed. Imported when they run only.
PARTS = {
    "calls": "one call at a time, beside memcached clients that do less",
    "metering": "what it costs that calls are counted",
    "web": "a request through Django, Flask and Starlette, beside their other sessions on a server",
    "memory": "memory of a session on the server",
    "scans": "what goes through all sessions of an app",
    "peak": "memory of the client that goes through all sessions, and the largest index item",
    "growth": "one call among few and among many sessions",
}


def measure(name: str, bench: Bench) -> list[Table]:
    """The tables of one part; none where it is about something that is lacking."""
    tables: list[Table] = []
    with bench.unless_lacking():
        tables += importlib.import_module(f".{name}", __name__).measure(bench)
    return tables
