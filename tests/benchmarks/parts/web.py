"""A request through a web framework: what its session costs, beside the framework's other sessions on a server.

How each site is made, and asked, is said where it is: `peers/django_sites.py`, `flask_sites.py` and
`starlette_sites.py`. All are as they come, but for what is said there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, islice
from time import perf_counter

from ..lacking import Lacking
from ..machine import Bench
from ..peers import django_sites, flask_sites, starlette_sites
from ..peers.starlette_sites import AsyncAsk
from ..peers.web_sites import OURS, PAGES, Ask
from ..report import Row, Table
from ..timing import Batch, Case, Timing, interleaved

#: A row says what it is: a page, and whose sessions.
_ROW = "{}, {}"


def measure(bench: Bench) -> list[Table]:
    """A table for each framework."""
    address = bench.memcached.address
    for peer in ("Django", "Flask", "Flask-Session", "Starlette", "httpx2"):
        bench.took_part(peer)
    with django_sites.sites(address) as django:
        tables = [_measured(bench, "Django", django, django_sites.CACHE)]
    with flask_sites.sites(address) as flask:
        tables.append(_measured(bench, "Flask", flask, flask_sites.ACKNOWLEDGED))
    return [*tables, _starlette(bench, address)]


def _measured(bench: Bench, framework: str, sites: Mapping[str, Ask], peer: str) -> Table:
    numbers = count()

    def case(name: str, ask: Ask, page: str) -> Case:
        return Case(
            _ROW.format(page, name),
            lambda number: ask(f"{page}?number={number}"),
            lambda: islice(numbers, bench.plan.requests),
            lambda body: body == PAGES[page],
        )

    for ask in sites.values():
        ask("fill")
    cases = [case(name, ask, page) for name, ask in sites.items() for page in PAGES]
