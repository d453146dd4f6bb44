"""Sessions for Starlette, FastAPI and any other ASGI application.

    from memsessions.asgi import SessionMiddleware
    from memsessions.web import SessionStorage

    app.add_middleware(SessionMiddleware, storage=SessionStorage("127.0.0.1:11211", "forum"))

    # In the application:
    request.session["visits"] = request.session.get("visits", 0) + 1

The store is read and written in a worker thread: the event loop never waits for it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from anyio import CancelScope, get_cancelled_exc_class, sleep, to_thread
from anyio.lowlevel import checkpoint_if_cancelled

from .errors import SessionEnded, StoreUnavailable
from .web.cookies import Cookie
from .web.responses import REFUSED, refusal, save_late, with_vary

if TYPE_CHECKING:
    from typing import TypeAlias

    from .web.session import Session
    from .web.storage import SessionStorage

    Scope: TypeAlias = MutableMapping[str, Any]
    Message: TypeAlias = MutableMapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[Message]]
    Send: TypeAlias = Callable[[Message], Awaitable[None]]
    ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

T = TypeVar("T")

# The messages that can carry a cookie, each the first of a response.
_STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
# The last message of a response, if it does not say that more comes.
_BODIES = (
    "http.response.body",
    "http.response.pathsend",
    "http.response.zerocopysend",
    "websocket.http.response.body",
)
# How often a request that was cancelled looks whether its call is over.
_LOOK_AGAIN_S = 0.002
# Why a websocket was not accepted, for servers that cannot tell it by a response.
_TRY_AGAIN_LATER, _POLICY_VIOLATION = 1013, 1008


class SessionMiddleware:
    """An ASGI application around another one, which finds its session in `scope["session"]`.

    That is `request.session` and `websocket.session` of Starlette and FastAPI.

    A visitor without a cookie costs nothing until something is put into the session. With a cookie, the
    session is read before the application runs: one round trip; and written, one more, if it has changed.

    Parameters:
        app: the application.
        storage: where its sessions are.
        cookie: the cookie's name and attributes. Where it leaves `secure` open, the cookie is `Secure` if
            the scope's scheme is https or wss: behind a proxy, have your server believe its
            `X-Forwarded-Proto`.

    The client's address in the scope is kept with a session, for the list of devices. A response says
    `Vary: Cookie` if the application looked at the session before it started.

    The session is saved when the response starts, and again before its end and after the application (its
    background tasks) if there are more changes. A websocket's is saved when it is accepted, and when it
    ends; its application sees the session as it was when the connection was made. Where a change after the
    start would need a cookie (the session is new, or has got a new id), `ResponseStarted` is raised, and
    nothing of it is saved.

    If the application raises, nothing is saved of what it has changed: before its response, or since that
    started. But if the visitor was gone when it raised, what was changed since the start is saved. A request
    that is cancelled waits for its thread, whose call is over within the client's time-out.

    In place of the application's response, as long as that has not started, the answer is
        503, with `Retry-After`, for `StoreUnavailable` and `StoreFull` from the session (or that the
        application lets out); an application that does not look at its session does not notice;
        409 when the session was ended elsewhere while the request changed it (`SessionEnded`): its changes
        are lost, and the page that says otherwise must not be seen.
    What goes wrong at the save is raised where the response starts, through the application; after that, it
    goes to the server, as all other errors always do. A websocket is refused in the same way, by a close if
    its server knows no other.
    """

    def __init__(self, app: ASGIApp, storage: SessionStorage, *, cookie: Cookie | None = None) -> None:
        self._app = app
        self._storage = storage
        self._cookie = Cookie() if cookie is None else cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        session = await self._session(scope)
        scope["session"] = session
        exchange = _Exchange(self._storage, session, self._cookie, scope, receive, send)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001  raised again, unless it is answered
            await exchange.end_with(error)
        else:
            await exchange.end()

    async def _session(self, scope: Scope) -> Session:
        """The session of the visitor; it has been read, if there can be one."""
        # HTTP/2 may divide a cookie header into several.
        cookies = b"; ".join(value for name, value in scope["headers"] if name.lower() == b"cookie")
        sent = self._cookie.find(cookies.decode("latin-1"))
        client = scope.get("client")
        session = self._storage.open(sent, (client[0] or None) if client else None)
        if sent is not None:
            with contextlib.suppress(StoreUnavailable):  # raised by what looks at the session
                await in_thread(session.opened)
        return session


class _Exchange:
    """One request or websocket: its session, and how far its response has come."""

    def __init__(
        self,
        storage: SessionStorage,
        session: Session,
        cookie: Cookie,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._storage = storage
        self._session = session
        self._cookie = cookie
        self._scope = scope
        self._from_server = receive
        self._to_server = send
        self._started = False
        self._left = False  # the visitor, before the end
        self._failure: Exception | None = None  # of saving, which the application was told

    async def receive(self) -> Message:
        """What the application calls for a message."""
        message = await self._from_server()
        if message["type"] == "websocket.disconnect":
            self._left = True
        return message

    async def send(self, message: Message) -> None:
        """What the application calls to send a message. The session is saved before the first and last."""
        kind = message["type"]
        if kind in _STARTS and not self._started:
            message = await self._with_cookie(message)
            self._started = True
        elif kind == "websocket.close" or (kind in _BODIES and not message.get("more_body", False)):
            await self._save_late()
        try:
            await self._to_server(message)
        except OSError:  # the visitor is gone
            self._left = True
            raise

    async def _with_cookie(self, message: Message) -> Message:
        """The first message of the response, with what belongs to the session in its headers."""
        # A connection that becomes a websocket is nothing that could be kept for others.
        vary = self._session.accessed and message["type"] != "websocket.accept"
        value = await self._save()
        if not vary and value is None:
            return message
        headers = [
            (key.decode("latin-1"), text.decode("latin-1")) for key, text in message.get("headers", ())
        ]
        if vary:
            headers = with_vary(headers)
        if value is not None:
            https = self._scope.get("scheme") in ("https", "wss")
            headers.append(("Set-Cookie", self._cookie.header(value, https)))
        return {**message, "headers": _encoded(headers)}

    async def _save(self) -> str | None:
        """Save what has changed, in a thread; nothing any more once the application was told of a failure."""
        if self._failure is not None:
            return None
        try:
            if not self._session.dirty:
                return None
            return await in_thread(self._storage.save, self._session)
        except Exception as error:
            self._failure = error
            raise

    async def _save_late(self) -> None:
        """Save what has changed since the response started."""
        if self._failure is not None:
            return
        try:
            if self._session.dirty:
                await in_thread(save_late, self._storage, self._session)
        except Exception as error:
            self._failure = error
            raise

    async def end(self) -> None:
        """The application is done."""
        if self._failure is None:
            await self._save_late()
        elif not self._started:  # it has caught what it was told, and has not answered
            await self._refuse_or_raise(self._failure)

    async def end_with(self, error: Exception) -> None:
        """The application has raised."""
        if self._left and self._started and self._failure is None:
            # The end of many a loop: that the visitor has left is raised where it sends, or waits for more.
            await self._save_late()
            raise error
        await self._refuse_or_raise(error if self._failure is None else self._failure, error)

    async def _refuse_or_raise(self, reason: Exception, raised: Exception | None = None) -> None:
        if self._started or not isinstance(reason, REFUSED):
            raise raised or reason
        self._started = True
        status, _, headers, body = refusal(reason)
        kind = "http.response"
        if self._scope["type"] == "websocket":
            kind = "websocket.http.response"
            if kind not in (self._scope.get("extensions") or {}):
                code = _POLICY_VIOLATION if isinstance(reason, SessionEnded) else _TRY_AGAIN_LATER
                await self._to_server({"type": "websocket.close", "code": code, "reason": ""})
                return
        await self._to_server({"type": f"{kind}.start", "status": status, "headers": _encoded(headers)})
        if self._scope.get("method") == "HEAD":
            body = b""
        await self._to_server({"type": f"{kind}.body", "body": body, "more_body": False})


def _encoded(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def in_thread(call: Callable[..., T], *arguments: Any) -> T:
    """Call it in a worker thread, and wait for it whatever happens: no request is left without its end."""
    work = _Work(call, arguments)
    try:
        await to_thread.run_sync(work)
    except get_cancelled_exc_class():
        # A thread is waited for where a scope is cancelled, but not where asyncio cancels the task itself
        # (`wait_for`, the end of a server): it would go on beside what the application does next.
        await work.over()
        raise
    await checkpoint_if_cancelled()
    if work.error is not None:
        raise work.error
    return cast("T", work.answer)


class _Work:
    """A call that is made in a thread, or never."""

    def __init__(self, call: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._call = call
        self._arguments = arguments
        self._claimed = threading.Lock()
        self._done = False
        self.answer: object = None
        self.error: Exception | None = None

    def __call__(self) -> None:
        if not self._claimed.acquire(blocking=False):
            return
        try:
            self.answer = self._call(*self._arguments)
        except Exception as error:  # noqa: BLE001  raised where it is waited for
            self.error = error
        finally:
            self._done = True

    async def over(self) -> None:
        """Returns when it has been made, or never will be."""
        if self._claimed.acquire(blocking=False):
            return
        while not self._done:
            # Also if the task is cancelled again meanwhile.
            with CancelScope(shield=True), contextlib.suppress(get_cancelled_exc_class()):
                await sleep(_LOOK_AGAIN_S)
