"""The project as an adapter of the behaviour suite."""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import StreamingHttpResponse
from django.test import Client, override_settings

from memsessions.django import client

from ..site import HOST, PATH, Request, Response, Setup, Site, Traits
from . import NAME


def settings_of(setup: Setup) -> dict[str, Any]:
    """A setup in Django's words."""
    sessions = {
        "servers": setup.servers,
        "ns": setup.ns,
        "app": setup.app,
        "timeout": setup.timeout,
        "wipe": setup.wipe,
        "on_outage": setup.on_outage,
        "encryption_key": setup.encryption_key,
    }
    return {"MEMSESSIONS": sessions, "SESSION_COOKIE_AGE": setup.ttl}


class DjangoSite:
    """Answers by `django.test.Client`, a new one for each request."""

    def __init__(self, setup: Setup) -> None:
        self._settings = override_settings(**settings_of(setup))
        self._settings.enable()

    def request(self, request: Request) -> Response:
        client = Client(raise_request_exception=False)
        environ: dict[str, Any] = {"HTTP_HOST": HOST, "REMOTE_ADDR": request.ip}
        if request.cookie is not None:
            environ["HTTP_COOKIE"] = request.cookie
        answer: Any = client.generic(
            "POST", PATH, request.body, "application/json", secure=request.https, **environ
        )
        streams = isinstance(answer, StreamingHttpResponse)
        body = b"".join(answer.streaming_content) if streams else answer.content
        cookies = [("Set-Cookie", cookie.OutputString()) for cookie in answer.cookies.values()]
        error = client.exc_info[1] if client.exc_info else None
        return Response(answer.status_code, [*answer.headers.items(), *cookies], body, error)

    def close(self) -> None:
        self._settings.disable()


class DjangoAdapter:
    traits = Traits(
        status_when_ended=400,
        status_when_down=500,
        sees_nested_changes=False,
        renews_by_reading=False,
        deletes_unknown=True,
        trips_of_a_log_in=4,
        resends_cookie=True,
        knows_ip=False,
        signs=False,
    )

    def serve(self, setup: Setup) -> Site:
        return DjangoSite(setup)

    def command(self, port: int) -> list[str]:
        app = f"{__name__}:application()"
        return [sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", "--workers=2", "--preload", app]


def application() -> Any:
    """The project, for a WSGI server."""
    assert NAME in settings.INSTALLED_APPS
    for name, value in settings_of(Setup.from_environment()).items():
        setattr(settings, name, value)
    client().ping()  # so that workers are forked with a connection that is open
    return get_wsgi_application()
