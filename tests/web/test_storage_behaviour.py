"""The behaviour suite on SessionStorage and Cookie alone, as an adapter without framework would use them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

from memsessions import MemsessionsError, StoreUnavailable
from memsessions.web import Cookie

from .behaviour import Behaviour
from .pages import PageFailed, SessionHands, Visit
from .site import Request, Response, Setup, Site, Traits


class StorageSite:
    """What an adapter does, in a few lines."""

    def __init__(self, setup: Setup) -> None:
        self._storage = setup.storage()
        self._cookie = Cookie()

    def request(self, request: Request) -> Response:
        headers = []
        session = self._storage.open(self._cookie.find(request.cookie), request.ip)
        try:
            answer = Visit(request.body).perform(SessionHands(session, self._storage))
            accessed = session.accessed
            value = self._storage.save(session)
        except StoreUnavailable as error:
            return Response(503, [], b"", error)
        except (MemsessionsError, PageFailed) as error:
            return Response(500, [], b"", error)
        if accessed:
            headers.append(("Vary", "Cookie"))
        if value is not None:
            headers.append(("Set-Cookie", self._cookie.header(value, request.https)))
        return Response(200, headers, json.dumps(answer).encode())

    def close(self) -> None:
        self._storage.client.close()


class StorageAdapter:
    traits = Traits()

    def serve(self, setup: Setup) -> Site:
        return StorageSite(setup)

    def command(self, port: int) -> list[str]:
        app = f"{__name__}:application()"
        return [sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", "--workers=2", app]


class TestStorage(Behaviour):
    adapter = StorageAdapter()


def application() -> Callable[..., Iterable[bytes]]:
    """The site, for a WSGI server."""
    site = StorageSite(Setup.from_environment())

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        response = site.request(Request(body, environ.get("HTTP_COOKIE"), environ["REMOTE_ADDR"]))
        start_response(f"{response.status} so", response.headers)
        return [response.body]

    return app
