"""A server that keeps to PEP 3333, that of the standard library, without a socket."""

from __future__ import annotations

import io
from email.parser import BytesHeaderParser
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple
from wsgiref.handlers import SimpleHandler
from wsgiref.util import setup_testing_defaults

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Served(NamedTuple):
    """What went over the wire, and what the server would have logged."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    error: BaseException | None

    def all(self, name: str) -> list[str]:
        """Every header of this name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def cookie(self) -> str | None:
        """The value of the one cookie that was set."""
        values = [header.partition(";")[0].partition("=")[2] for header in self.all("Set-Cookie")]
        assert len(values) <= 1, values
        return values[0] if values else None


class _Handler(SimpleHandler):
    def __init__(self, environ: dict[str, str]) -> None:
        self.output = io.BytesIO()
        super().__init__(io.BytesIO(), self.output, io.StringIO(), environ)
        self.error: BaseException | None = None

    def log_exception(self, exc_info: object) -> None:
        assert isinstance(exc_info, tuple)
        error, trace = exc_info[1:]
        assert isinstance(error, BaseException)
        assert isinstance(trace, TracebackType)
        self.error = error


def serve(app: WSGIApplication, cookie: str | None = None, **environ: str) -> Served:
    """One request. A page of the server's own, with status 500, stands for an error before the response."""
    environment: dict[str, str] = {"REMOTE_ADDR": "192.0.2.1", "QUERY_STRING": ""}
    if cookie is not None:
        environment["HTTP_COOKIE"] = f"session={cookie}"
    environment.update(environ)
    setup_testing_defaults(environment)
    handler = _Handler({key: value for key, value in environment.items() if not key.startswith("wsgi.")})
    handler.run(app)
    head, _, body = handler.output.getvalue().partition(b"\r\n\r\n")
    first, _, rest = head.partition(b"\r\n")
    status = int(first.split()[1])
    return Served(status, BytesHeaderParser().parsebytes(rest).items(), body, handler.error)
