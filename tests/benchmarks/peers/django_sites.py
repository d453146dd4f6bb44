"""Sites of Django: sessions of ours, and its `cache` engine on its PyMemcacheCache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from .web_sites import DATA, OURS, Ask

CACHE = "cache, PyMemcacheCache"


def _page(request: HttpRequest, page: str) -> HttpResponse:
    if page == "fill":
        request.session.update(DATA)
    elif page == "read":
        return HttpResponse(request.session["theme"])
    elif page == "write":
        request.session["number"] = request.GET["number"]
        return HttpResponse("written")
    elif page == "number":
        return HttpResponse(request.session["number"])
    return HttpResponse("bare")


urlpatterns = [path("<page>", _page)]


@contextmanager
def sites(address: str) -> Iterator[dict[str, Ask]]:
    """By name, on this memcached."""
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
                "LOCATION": address,
            }
        },
        "MEMSESSIONS": {"servers": address, "ns": "web", "wipe": 0},
    }
    engines = {OURS: "memsessions.django", CACHE: "django.contrib.sessions.backends.cache"}
    with override_settings(**common):
        found: dict[str, Ask] = {}
        for name, engine in engines.items():
            with override_settings(SESSION_ENGINE=engine):
                found[name] = _site()
        yield found


def _site() -> Ask:
    client = Client()
    client.get("/bare")  # loads the middleware, which remembers its engine
    return lambda page: client.get(f"/{page}").content
