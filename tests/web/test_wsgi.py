"""The behaviour suite on the WSGI middleware, which is checked against PEP 3333 from both sides."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

from werkzeug.test import Client, EnvironBuilder

from memsessions.web import SessionStorage
from memsessions.wsgi import SessionMiddleware

from .behaviour import Behaviour
from .pages import SessionHands, Visit
from .site import HOST, PATH, Request, Response, Setup, Site, Traits

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_BODIES = "tests.bodies"


def pages(storage: SessionStorage) -> WSGIApplication:
    """The pages, as an application that knows of nothing but its environment."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        visit = Visit(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        answer = visit.perform(SessionHands(environ["memsessions.session"], storage))
        start_response("200 OK", [("Content-Type", "application/json")])
        return visit.chunks(answer) if visit.streams else [json.dumps(answer).encode()]

    return app


def _kept(app: WSGIApplication) -> WSGIApplication:
    """Remembers the iterable that it answered."""

    def keeping(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = app(environ, start_response)
        environ[_BODIES].append(body)
        return body

    return keeping


class WsgiSite:
    """Served by werkzeug's test client."""

    def __init__(self, setup: Setup) -> None:
        self._storage = setup.storage()
        app = SessionMiddleware(validator(pages(self._storage)), self._storage)
        self._client = Client(_kept(validator(app)), use_cookies=False)

    def request(self, request: Request) -> Response:
        bodies: list[Any] = []
        builder = EnvironBuilder(
            PATH,
            f"http{'s' if request.https else ''}://{HOST}",
            method="POST",
            data=request.body,
            headers=[] if request.cookie is None else [("Cookie", request.cookie)],
            environ_overrides={"REMOTE_ADDR": request.ip, _BODIES: bodies},
        )
        try:
            with self._client.open(builder) as response:
                return Response(response.status_code, list(response.headers), response.data)
        except Exception as error:  # noqa: BLE001  what a server would answer 500 for
            for body in bodies:  # a server closes it then, this client does not
                body.close()
            return Response(500, [], b"", error)

    def close(self) -> None:
        self._storage.client.close()


class WsgiAdapter:
    traits = Traits(status_when_ended=409)

    def serve(self, setup: Setup) -> Site:
        return WsgiSite(setup)

    def command(self, port: int) -> list[str]:
        app = f"{__name__}:application()"
        return [sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", "--workers=2", app]


class TestWsgi(Behaviour):
    adapter = WsgiAdapter()


def application() -> SessionMiddleware:
    """The site, for a server."""
    storage = Setup.from_environment().storage()
    return SessionMiddleware(pages(storage), storage)
