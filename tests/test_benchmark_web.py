"""The sites that the benchmarks ask: each does what the others of its framework do, or the run fails."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest

from .benchmarks.machine import Bench
from .benchmarks.parts import web
from .benchmarks.peers import django_sites, flask_sites, starlette_sites
from .benchmarks.peers.redis_server import Redis
from .benchmarks.peers.web_sites import PAGES, Ask
from .benchmarks.workload import QUICK
from .support.memcached import Memcached

FEW = replace(QUICK, repetitions=1, requests=2)
needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


@contextmanager
def _starsessions(_address: str) -> Iterator[Mapping[str, Ask]]:
    pytest.importorskip("starsessions")
    loop = asyncio.new_event_loop()
    with Redis() as redis:
        context = starlette_sites.starsessions_sites(redis)
        sites = loop.run_until_complete(context.__aenter__())
        yield {name: web.waiting(loop, ask) for name, ask in sites.items()}
        loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()


@contextmanager
def _starlette(address: str) -> Iterator[Mapping[str, Ask]]:
    loop = asyncio.new_event_loop()
    context = starlette_sites.sites(address)
    sites = loop.run_until_complete(context.__aenter__())
    yield {name: web.waiting(loop, ask) for name, ask in sites.items()}
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()


@pytest.mark.parametrize(
    "sites",
    [
        django_sites.sites,
        flask_sites.sites,
        _starlette,
        pytest.param(_starsessions, marks=needs_redis),
    ],
    ids=["Django", "Flask", "Starlette", "starsessions"],
)
def test_all_sites_answer_alike(sites: Callable[[str], AbstractContextManager[Mapping[str, Ask]]]) -> None:
    """Each page has its body on every site, and what one request writes, the next one reads."""
    with Memcached("-t", "1") as server, sites(server.address) as found:
        assert found
        for ask in found.values():
            ask("fill")
            assert {page: ask(f"{page}?number=7") for page in PAGES} == PAGES
            assert ask("number") == b"7"
            assert ask("read") == b"dark"


def test_a_site_that_keeps_nothing_is_no_measure() -> None:
    """What answers quickly as it does not write makes the run fail, by its name."""
    answers = {"write?number=kept": b"written", "number": b"of before"}
    with pytest.raises(RuntimeError, match="the lazy one has not kept what was written"):
        web.check("the lazy one", answers.__getitem__)


@pytest.mark.parametrize("lacking", ["starsessions", "redis"])
def test_starlette_is_measured_without_its_peer(monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    """What is lacking is named; the rows of memsessions are there, and are compared with nothing."""
    monkeypatch.setitem(sys.modules, lacking, None)
    with Bench(FEW) as bench:
        (table,) = web.measure(bench, {"Starlette": web.FRAMEWORKS["Starlette"]})
    assert [skipped.what for skipped in bench.skipped] == [lacking]
    assert [row.name for row in table.rows] == [
        "bare, memsessions",
        "read, memsessions",
        "write, memsessions",
    ]
    assert [row.target for row in table.rows] == [None, None, None]
    assert not any("/" in column for row in table.rows for column in row.figures)
    assert "starsessions" not in bench.versions


def test_a_framework_that_is_lacking_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and its table is not there; the other frameworks are measured."""
    monkeypatch.setitem(sys.modules, "flask_session", None)
    frameworks = {name: web.FRAMEWORKS[name] for name in ("Flask", "Django")}
    with Bench(FEW) as bench:
        tables = web.measure(bench, frameworks)
    assert [skipped.what for skipped in bench.skipped] == ["Flask-Session"]
    assert [table.title.partition(":")[0] for table in tables] == ["Django"]
