"""Sites of Starlette: sessions of ours, and starsessions on Redis.

starsessions' store is a connection that it is given, and a view loads its session itself: so its documentation
recommends. With its autoload, which it has for those who find that annoying, it is a site, too. It stores the
session and sets its cookie anew at every request that loads it.

Asked through the transport of httpx2, in one running event loop. Starlette's own test client hands each request
to a loop in another thread, and its httpx client keeps cookies: of a request without any session, which takes
83 microseconds through the transport, it makes 920, and hides in them what is compared here.
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

from .web_sites import DATA, OURS

LOADED_IN_VIEWS = "starsessions on Redis, load_session"
AUTOLOADED = "starsessions on Redis, autoload"
_LIFETIME_S = 3600 * 24 * 14

#: A request for a page; its body.
AsyncAsk = Callable[[str], Awaitable[bytes]]
Load = Callable[[Request], Awaitable[None]]


@asynccontextmanager
async def starlette_sites(address: str, redis_url: str | None) -> AsyncIterator[dict[str, AsyncAsk]]:
    """By name, on this memcached, and on this Redis; without one only ours."""
    with SessionsClient(address, ns="web", wipe=0) as client:
        middleware = Middleware(SessionMiddleware, storage=SessionStorage(client, "shop", ttl=_LIFETIME_S))
        sites = {OURS: await _site([middleware])}
        if redis_url is None:
            yield sites
            return
        async with _starsessions_sites(redis_url) as peers:
            yield sites | peers


@asynccontextmanager
async def _starsessions_sites(redis_url: str) -> AsyncIterator[dict[str, AsyncAsk]]:
    from redis.asyncio import Redis
    from starsessions import SessionAutoloadMiddleware, load_session
    from starsessions import SessionMiddleware as StarSessions
    from starsessions.stores.redis import RedisStore

    redis = Redis.from_url(redis_url)
    try:
        middleware = Middleware(StarSessions, store=RedisStore(connection=redis), lifetime=_LIFETIME_S)
        yield {
            LOADED_IN_VIEWS: await _site([middleware], load_session),
            AUTOLOADED: await _site([middleware, Middleware(SessionAutoloadMiddleware)]),
        }
    finally:
        await redis.aclose()


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
        asked = httpx2.Request("GET", f"https://testserver/{page}", headers={"Cookie": cookie} if cookie else {})
        return await transport.handle_async_request(asked)

    filled = await response("fill")
    sent = filled.headers["Set-Cookie"].partition(";")[0]  # its id does not change

    async def ask(page: str) -> bytes:
        return await (await response(page, sent)).aread()

    return ask
