"""Sessions for any WSGI application.

    from memsessions.web import SessionStorage
    from memsessions.wsgi import SessionMiddleware

    application = SessionMiddleware(application, SessionStorage("127.0.0.1:11211", "forum"))

    # In the application:
    session = environ["memsessions.session"]
    session["visits"] = session.get("visits", 0) + 1

The session is saved when the response starts, which is with the first piece of its body: until then the
server has to keep status and headers back, so everything that an application does before it is in time for
the cookie, after its call of `start_response`, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .web.cookies import Cookie
from .web.responses import REFUSED, refusal, save_late, with_vary

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TypeAlias

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .web.session import Session
    from .web.storage import SessionStorage

    ExcInfo: TypeAlias = (
        "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"
    )

#: Where the application finds its session.
KEY = "memsessions.session"


class SessionMiddleware:
    """A WSGI application around another one, which finds its session under `environ["memsessions.session"]`.

    A request that does not touch its session costs no round trip, one that reads it costs one, and one
    that changes it two.

    Parameters:
        app: the application.
        storage: where its sessions are.
        cookie: the cookie's name and attributes. Where it leaves `secure` open, the cookie is `Secure` if
            `wsgi.url_scheme` says https: behind a proxy, have your server believe its `X-Forwarded-Proto`.

    `REMOTE_ADDR` is kept with a session, for the list of devices. The response says `Vary: Cookie` if the
    application looked at the session before it started.

    If the application raises, nothing is saved of what it has changed: before its response, or since that
    started. What is changed after the start is saved at the end, also if the visitor has left before that.
    Where it would need a cookie (the session is new, or has got a new id), `ResponseStarted` is raised
    there, and nothing of it is saved.

    In place of the application's response, as long as that has not started, the answer is
        503, with `Retry-After`, for `StoreUnavailable` and `StoreFull` from the session (or that the
        application lets out);
        409 when the session was ended elsewhere while the request changed it (`SessionEnded`): its changes
        are lost, and the page that says otherwise must not be seen.
    After that, they are raised to the server, as all other errors always are.
    """

    def __init__(
        self, app: WSGIApplication, storage: SessionStorage, *, cookie: Cookie | None = None
    ) -> None:
        self._app = app
        self._storage = storage
        self._cookie = Cookie() if cookie is None else cookie

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        sent = self._cookie.find(environ.get("HTTP_COOKIE"))
        session = self._storage.open(sent, environ.get("REMOTE_ADDR") or None)
        environ[KEY] = session
        exchange = _Exchange(self._storage, session, self._cookie, environ, start_response)
        try:
            body = self._app(environ, exchange.start_response)
        except REFUSED as error:
            return exchange.refuse(error)
        if not _is_complete(body, environ):
            return _Body(body, exchange)
        try:
            exchange.begin()
            exchange.save_late()
        except BaseException as error:
            if hasattr(body, "close"):
                body.close()
            if isinstance(error, REFUSED):
                return exchange.refuse(error)
            raise
        return body


def _is_complete(body: object, environ: WSGIEnvironment) -> bool:
    """Whether none of the application's code runs any more.

    Such a body goes to the server as it is, which can tell its length, or send a file by itself.
    """
    wrapper = environ.get("wsgi.file_wrapper")
    return type(body) in (list, tuple) or (isinstance(wrapper, type) and isinstance(body, wrapper))


class _Exchange:
    """One request: its session, and what of its response has been told to the server."""

    def __init__(
        self,
        storage: SessionStorage,
        session: Session,
        cookie: Cookie,
        environ: WSGIEnvironment,
        start_response: StartResponse,
    ) -> None:
        self.begun = False  # the server was told status and headers
        self.failed = False  # the application raised, or was told that saving failed
        self._storage = storage
        self._session = session
        self._cookie = cookie
        self._environ = environ
        self._to_server = start_response
        self._held: tuple[str, list[tuple[str, str]]] | None = None
        self._set_cookie: list[tuple[str, str]] = []
        self._accessed = False
        self._server_write: Callable[[bytes], object] | None = None

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        """What the application calls: held back until the response starts, and then the server's own."""
        try:
            if self.begun:
                # The server knows whether its headers are out: it replaces them, or raises what happened.
                more = () if exc_info is None else (exc_info,)
                self._server_write = self._to_server(status, self._completed(headers), *more)
            elif self._held is not None and exc_info is None:
                raise AssertionError("start_response was called again, without exc_info")
            else:
                self._held = status, headers
        finally:
            exc_info = None  # a traceback that refers to this frame
        return self.write

    def write(self, data: bytes) -> None:
        """The callable that `start_response` returns."""
        self.begin()
        if self._server_write is None:
            raise AssertionError("the server has not taken status and headers")
        self._server_write(data)

    def begin(self) -> None:
        """Save the session and tell the server status and headers, unless that is done.

        An application that has not called `start_response` by then is the server's to complain about.
        """
        if self.begun or self._held is None:
            return
        status, headers = self._held
        self._accessed = self._session.accessed
        value = None
        if not self.failed:
            try:
                value = self._storage.save(self._session)
            except BaseException:
                self.failed = True
                raise
        if value is not None:
            https = self._environ.get("wsgi.url_scheme") == "https"
            self._set_cookie = [("Set-Cookie", self._cookie.header(value, https))]
        self.begun = True
        self._server_write = self._to_server(status, self._completed(headers))

    def _completed(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [*(with_vary(headers) if self._accessed else headers), *self._set_cookie]

    def save_late(self) -> None:
        """Save what has changed since the response started."""
        if self._held is not None and not self.failed and self._session.dirty:
            save_late(self._storage, self._session)

    def refuse(self, error: Exception) -> list[bytes]:
        """Answer that the session cannot be read or saved; raise it if the response has started."""
        self.failed = True
        if self.begun:
            raise error
        status, reason, headers, body = refusal(error)
        self.begun = True
        self._to_server(f"{status} {reason}", headers)
        return [] if self._environ.get("REQUEST_METHOD") == "HEAD" else [body]


class _Body:
    """The pieces of a response, each as soon as the application has it."""

    def __init__(self, body: Iterable[bytes], exchange: _Exchange) -> None:
        self._body: Any = body
        self._pieces: Iterator[bytes] | None = None
        self._exchange = exchange

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        exchange = self._exchange
        try:
            piece = self._piece()
            exchange.begin()
            if piece is None:
                exchange.save_late()
        except REFUSED as error:
            self._pieces = iter(exchange.refuse(error))
            return next(self._pieces)
        except BaseException:
            exchange.failed = True
            raise
        if piece is None:
            raise StopIteration
        return piece

    def _piece(self) -> bytes | None:
        """What the application has next; None after the last one."""
        if self._pieces is None:
            self._pieces = iter(self._body)
        return next(self._pieces, None)

    def close(self) -> None:
        """Close the application's iterable, and save what it has changed."""
        exchange = self._exchange
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        except BaseException:
            exchange.failed = True
            raise
        exchange.save_late()
