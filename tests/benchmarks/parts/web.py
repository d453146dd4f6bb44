"""A request through a web framework: what its session costs, beside its other sessions on a server.

How each site is made and asked is said where it is: `peers/django_sites.py`, `peers/flask_sites.py` and
`peers/starlette_sites.py`. All are as they come, but for what is said there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from itertools import count, islice
from time import perf_counter
from typing import TYPE_CHECKING

from .. import cpus
from ..machine import Bench
from ..peers.redis_server import Redis
from ..peers.web_sites import OURS, PAGES, Ask, find
from ..report import Row, Table
from ..timing import Batch, Case, Timing, interleaved

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ..peers.starlette_sites import AsyncAsk


def _django(bench: Bench) -> Table:
    find(django="Django")
    from ..peers import django_sites

    bench.took_part("Django")
    with django_sites.sites(bench.memcached.address) as sites:
        return _measured(bench, "Django", sites, django_sites.CACHE)


def _flask(bench: Bench) -> Table:
    find(flask="Flask", flask_session="Flask-Session")
    from ..peers import flask_sites

    bench.took_part("Flask")
    bench.took_part("Flask-Session")
    with flask_sites.sites(bench.memcached.address) as sites:
        return _measured(bench, "Flask", sites, flask_sites.ACKNOWLEDGED)


def _measured(bench: Bench, framework: str, sites: Mapping[str, Ask], peer: str) -> Table:
    numbers = count()

    def case(name: str, ask: Ask, page: str) -> Case:
        return Case(
            f"{page}, {name}",
            lambda number: ask(f"{page}?number={number}"),
            lambda: islice(numbers, bench.plan.requests),
            lambda body: body == PAGES[page],
        )

    for name, ask in sites.items():
        ask("fill")
        check(name, ask)
    timings = interleaved(
        [case(name, ask, page) for name, ask in sites.items() for page in PAGES],
        bench.plan.repetitions,
        framework,
    )
    return _table(bench, framework, timings, peer)


def check(name: str, ask: Ask) -> None:
    """Raise if the site does not keep what is written."""
    ask("write?number=kept")
    if ask("number") != b"kept":
        raise RuntimeError(f"{name} has not kept what was written")


def _starlette(bench: Bench) -> Table:
    find(starlette="Starlette", httpx2="httpx2")
    from ..peers import starlette_sites

    bench.took_part("Starlette")
    loop = asyncio.new_event_loop()

    with ExitStack() as stack:
        stack.callback(loop.close)

        def entered(context: AbstractAsyncContextManager[dict[str, AsyncAsk]]) -> dict[str, AsyncAsk]:
            stack.callback(lambda: loop.run_until_complete(context.__aexit__(None, None, None)))
            return loop.run_until_complete(context.__aenter__())

        sites = entered(starlette_sites.sites(bench.memcached.address))
        with bench.unless_lacking():
            find(starsessions="starsessions", redis="redis")
            redis = stack.enter_context(cpus.apart(Redis()))
            bench.took_part("Redis", redis.version)
            bench.took_part("starsessions")
            bench.took_part("redis-py", version("redis"))
            sites |= entered(starlette_sites.starsessions_sites(redis))
        for name, ask in sites.items():
            check(name, waiting(loop, ask))
        timings = interleaved(
            [
                _batch(loop, f"{page}, {name}", ask, page, bench.plan.requests)
                for name, ask in sites.items()
                for page in PAGES
            ],
            bench.plan.repetitions,
            "Starlette",
        )
    return _table(bench, "Starlette", timings, starlette_sites.LOADED_IN_VIEWS)


def waiting(loop: asyncio.AbstractEventLoop, ask: AsyncAsk) -> Ask:
    """A request that is waited for."""
    return lambda page: loop.run_until_complete(ask(page))


def _batch(loop: asyncio.AbstractEventLoop, name: str, ask: AsyncAsk, page: str, requests: int) -> Batch:
    numbers = count()

    async def timed() -> list[float]:
        await ask("bare")  # worker threads end with the loop's run that they began in
        times = []
        for number in islice(numbers, requests):
            start = perf_counter()
            body = await ask(f"{page}?number={number}")
            times.append(perf_counter() - start)
            if body != PAGES[page]:
                raise RuntimeError(f"{name} did not answer as it should, so its time says nothing")
        return times

    return Batch(name, lambda: loop.run_until_complete(timed()))


def _table(bench: Bench, framework: str, timings: Mapping[str, Timing], peer: str) -> Table:
    def rows() -> Iterator[Row]:
        for name, timing in timings.items():
            page, _, site = name.partition(", ")
            beside = timings.get(f"{page}, {peer}")
            if beside is None:  # it is lacking
                yield Row(name, timing.figures())
                continue
            aimed = site == OURS and page != "bare"
            yield Row(name, {**timing.figures(), f"/ {peer}": timing.over(beside)}, 1.0 if aimed else None)

    plan = bench.plan
    title = f"{framework}: one request, {plan.repetitions} x {plan.requests} of them, times in microseconds"
    return Table(title, list(rows()))


#: How each framework is measured.
FRAMEWORKS: Mapping[str, Callable[[Bench], Table]] = {
    "Django": _django,
    "Flask": _flask,
    "Starlette": _starlette,
}


def measure(bench: Bench, frameworks: Mapping[str, Callable[[Bench], Table]] = FRAMEWORKS) -> list[Table]:
    """A table for each framework that is there."""
    tables: list[Table] = []
    for framework in frameworks.values():
        with bench.unless_lacking():
            tables.append(framework(bench))
    return tables
