"""Sites of Starlette: sessions of ours, and starsessions on Redis.

starsessions is used as its documentation recommends: its store is given a connection, and each view loads
its session. With the autoload that it has for those who find this tedious, it is a site of its own. Whenever
it has loaded a session, it stores it and sets the cookie anew.

They are asked through the transport of httpx2, in one running event loop. Starlette's own test client hands
each request to a loop in another thread, and keeps cookies: a request without sessions, 83 microseconds
through the transport, takes it 920, which would hide most of what is compared here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from memsessions import SessionsClient
from memsessions.asgi import SessionMiddleware
from memsessions.web import SessionStorage

from .redis_server import Redis
from .web_sites import DATA, OURS

LOADED_IN_VIEWS = "starsessions on Redis, load_session"
AUTOLOADED = "starsessions on Redis, autoload"
_LIFETIME_S = 3600 * 24 * 14

#: A request for a page; its body.
AsyncAsk = Callable[[str], Awaitable[bytes]]
Load = Callable[[Request], Awaitable[None]]


@asynccontextmanager
async def sites(address: str) -> AsyncIterator[dict[str, AsyncAsk]]:
    """That of ours by its name, on this memcached."""
    with SessionsClient(address, ns="web", wipe=0) as client:
        storage = SessionStorage(client, "shop", ttl=_LIFETIME_S)
        yield {OURS: await _site([Middleware(SessionMiddleware, storage=storage)])}


@asynccontextmanager
async def starsessions_sites(redis: Redis) -> AsyncIterator[dict[str, AsyncAsk]]:
    """Those of starsessions by their names, on this Redis."""
    from redis.asyncio import Redis as RedisClient
    from starsessions import SessionAutoloadMiddleware, load_session
    from starsessions import SessionMiddleware as StarSessions
    from starsessions.stores.redis import RedisStore

    client = RedisClient.from_url(f"redis://127.0.0.1:{redis.port}")
    try:
        middleware = Middleware(StarSessions, store=RedisStore(connection=client), lifetime=_LIFETIME_S)
        yield {
            LOADED_IN_VIEWS: await _site([middleware], load_session),
            AUTOLOADED: await _site([middleware, Middleware(SessionAutoloadMiddleware)]),
        }
    finally:
        await client.aclose()


async def _loaded(_request: Request) -> None:
    """The middleware has loaded the session."""


async def _site(middleware: list[Middleware], load: Load = _loaded) -> AsyncAsk:
    async def answer(request: Request) -> Response:
        page = request.path_params["page"]
        if page == "bare":
            return PlainTextResponse("bare")
        await load(request)
        if page == "fill":
            request.session.update(DATA)
        elif page == "read":
            return PlainTextResponse(request.session["theme"])
        elif page == "write":
            request.session["number"] = request.query_params["number"]
        elif page == "number":
            return PlainTextResponse(request.session["number"])
        return PlainTextResponse("written")

    transport = httpx2.ASGITransport(Starlette(routes=[Route("/{page}", answer)], middleware=middleware))

    async def response(page: str, cookie: str = "") -> httpx2.Response:
        asked = httpx2.Request(
            "GET", f"https://testserver/{page}", headers={"Cookie": cookie} if cookie else {}
        )
        return await transport.handle_async_request(asked)

    filled = await response("fill")
    sent = filled.headers["Set-Cookie"].partition(";")[0]  # its id does not change

    async def ask(page: str) -> bytes:
        return await (await response(page, sent)).aread()

    return ask
