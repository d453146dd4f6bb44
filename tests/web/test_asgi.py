"""The behaviour suite on the ASGI middleware, in Starlette."""

from __future__ import annotations

import sys

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, StreamingResponse
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from memsessions.asgi import SessionMiddleware
from memsessions.web import SessionStorage

from .behaviour import Behaviour
from .pages import SessionHands, Visit
from .site import HOST, PATH, Request, Response, Setup, Site, Traits


def pages(storage: SessionStorage) -> Starlette:
    """The pages, as Starlette's manual has them."""

    async def view(request: StarletteRequest) -> StarletteResponse:
        visit = Visit(await request.body())
        hands = SessionHands(request.session, storage)
        visit.look(hands)
        await run_in_threadpool(visit.pause)
        answer = await run_in_threadpool(visit.act, hands)  # it may ask for devices, which waits
        if visit.streams:
            return StreamingResponse(visit.chunks(answer), media_type="application/json")
        return JSONResponse(answer)

    app = Starlette(routes=[Route(PATH, view, methods=["POST"])])
    app.add_middleware(SessionMiddleware, storage=storage)
    return app


class AsgiSite:
    """Served by Starlette's test client."""

    def __init__(self, setup: Setup) -> None:
        self._storage = setup.storage()
        self._app = pages(self._storage)

    def request(self, request: Request) -> Response:
        client = TestClient(
            self._app,
            f"http{'s' if request.https else ''}://{HOST}",
            raise_server_exceptions=False,
            client=(request.ip, 50000),
        )
        headers = [] if request.cookie is None else [(b"cookie", request.cookie.encode("latin-1"))]
        response = client.post(PATH, content=request.body, headers=headers)
        return Response(response.status_code, response.headers.multi_items(), response.content)

    def close(self) -> None:
        self._storage.client.close()


class AsgiAdapter:
    # Who has a cookie is read before the application runs, whatever that does.
    traits = Traits(status_when_ended=409, trips_of_nothing=1)

    def serve(self, setup: Setup) -> Site:
        return AsgiSite(setup)

    def command(self, port: int) -> list[str]:
        app = f"{__name__}:application"
        return [sys.executable, "-m", "uvicorn", f"--port={port}", "--workers=1", "--factory", app]


class TestAsgi(Behaviour):
    adapter = AsgiAdapter()


def application() -> Starlette:
    """The site, for a server."""
    return pages(Setup.from_environment().storage())
