"""A request through a web framework: what its session costs, beside the framework's other memcached sessions.

Each page of each framework is asked for through the framework's own test client. `bare` does not touch the
session, `read` shows one value of it, `write` changes one. The peers are Django's `cache` engine on its
PyMemcacheCache, and Flask-Session with pymemcache's thread-safe client. That client sends writes without
waiting for a reply, unless it is told to wait, as Django tells it, and as memsessions does. It is given
`no_delay`, without which its requests wait for 40 ms behind such a write.

All are as they come but for that. So Flask-Session stores the session and sets its cookie anew at every
request: that is how it renews them. What memsessions takes if it sets the cookie as often is a row, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count, islice
from typing import Any

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from flask import Flask, request, session
from flask_session import Session as FlaskSession
from pymemcache import PooledClient

from memsessions.flask import MemSessions

from ...support.memcached import Memcached
from ..machine import Bench
from ..report import Row, Table
from ..timing import Case, Timing, interleaved
from ..workload import Plan

OURS = "memsessions"
OURS_PERMANENT = "memsessions, every session permanent"
DJANGO_CACHE = "cache, PyMemcacheCache"
FLASK_SESSION = "Flask-Session, writes not acknowledged"
FLASK_SESSION_WAITING = "Flask-Session, writes acknowledged"
#: What a session holds besides.
_DATA = {"theme": "dark", "lang": "en", "cart": [{"sku": number, "count": 1} for number in range(10)]}

_ANSWERS = {"bare": b"bare", "read": b"dark", "write": b"written"}

#: A request for a page; its body.
Ask = Callable[[str], bytes]


def measure(bench: Bench) -> list[Table]:
    """A table for each framework."""
    server, plan = bench.memcached, bench.plan
    for peer in ("Django", "Flask", "Flask-Session"):
        bench.took_part(peer)
    with ExitStack() as stack:
        django_sites = stack.enter_context(_django_sites(server))
        flask_sites = stack.enter_context(_flask_sites(server))
        return [
            _table("Django", django_sites, plan, DJANGO_CACHE),
            _table("Flask", flask_sites, plan, FLASK_SESSION_WAITING),
        ]


def _table(framework: str, sites: dict[str, Ask], plan: Plan, peer: str) -> Table:
    numbers = count()

    def case(name: str, ask: Ask, page: str) -> Case:
        return Case(
            f"{page}, {name}",
            lambda number: ask(f"{page}?number={number}"),
            lambda: islice(numbers, plan.requests),
            lambda body: body == _ANSWERS[page],
        )

    for ask in sites.values():
        ask("fill")
    cases = [case(name, ask, page) for name, ask in sites.items() for page in _ANSWERS]
    timings = interleaved(cases, plan.repetitions, framework)
    title = f"{framework}: one request, {plan.repetitions} x {plan.requests} of them, times in microseconds"
    return Table(title, [_row(name, timings, peer) for name in timings])


def _row(name: str, timings: dict[str, Timing], peer: str) -> Row:
    page, _, site = name.partition(", ")
    timing = timings[name]
    figures = {
        **timing.figures(),
        f"/ {peer}": timing.over(timings[f"{page}, {peer}"]),
    }
    return Row(name, figures, 1.0 if site == OURS and page != "bare" else None)


# ------------------------------------------------------------------------------------------ Django


def _page(request: HttpRequest, page: str) -> HttpResponse:
    if page == "fill":
        request.session.update(_DATA)
    elif page == "read":
        return HttpResponse(request.session["theme"])
    elif page == "write":
        request.session["number"] = request.GET["number"]
        return HttpResponse("written")
    return HttpResponse("bare")


urlpatterns = [path("<page>", _page)]


def _django_site() -> Ask:
    client = Client()
    client.get("/bare")  # loads the middleware, which remembers its engine
    return lambda page: client.get(f"/{page}").content


@contextmanager
def _django_sites(server: Memcached) -> Iterator[dict[str, Ask]]:
    if not settings.configured:
        settings.configure(SECRET_KEY="for these benchmarks only")
        django.setup(set_prefix=False)
    common = {
        "ROOT_URLCONF": __name__,
        "MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"],
        "ALLOWED_HOSTS": ["testserver"],
        "CACHES": {
            "default": {
                "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
                "LOCATION": server.address,
            }
        },
        "MEMSESSIONS": {"servers": server.address, "ns": "web", "wipe": 0},
    }
    engines = {OURS: "memsessions.django", DJANGO_CACHE: "django.contrib.sessions.backends.cache"}
    with override_settings(**common):
        sites: dict[str, Ask] = {}
        for name, engine in engines.items():
            with override_settings(SESSION_ENGINE=engine):
                sites[name] = _django_site()
        yield sites


# ------------------------------------------------------------------------------------------- Flask


def _flask_app(page_of: Flask) -> Ask:
    @page_of.get("/<page>")
    def answer(page: str) -> str:
        if page == "fill":
            session.update(_DATA)
        elif page == "read":
            return str(session["theme"])
        elif page == "write":
            session["number"] = request.args["number"]
            return "written"
        return "bare"

    client = page_of.test_client()
    return lambda page: client.get(f"/{page}").data


def _be_permanent() -> None:
    session.permanent = True


@contextmanager
def _flask_sites(server: Memcached) -> Iterator[dict[str, Ask]]:
    ours = Flask("ours")
    ours.config.update(MEMSESSIONS_SERVERS=server.address, MEMSESSIONS_NS="web", MEMSESSIONS_WIPE=0)
    MemSessions(ours)
    permanent = Flask("permanent")
    permanent.config.update(ours.config)
    MemSessions(permanent, client=ours.extensions["memsessions"].storage.client)
    permanent.before_request(_be_permanent)
    sites = {OURS: _flask_app(ours), OURS_PERMANENT: _flask_app(permanent)}
    with ExitStack() as stack:
        for name, noreply in ((FLASK_SESSION, True), (FLASK_SESSION_WAITING, False)):
            client: Any = PooledClient(server.address, no_delay=True, default_noreply=noreply)
            stack.callback(client.close)
            app = Flask(name)
            app.config.update(SESSION_TYPE="memcached", SESSION_MEMCACHED=client)
            FlaskSession(app)
            sites[name] = _flask_app(app)
        yield sites
