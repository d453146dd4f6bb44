"""Traces for OpenTelemetry (extra `opentelemetry`): one span for each call of a client.

    from memsessions import telemetry

    telemetry.instrument()

A span is named by its operation (`get`, `documents.read`) and is a child of the span that is current. It has
the attributes of OpenTelemetry's conventions for databases, and the app's name: never a token, a user, an
address of a user, or data. Nothing is imported, and no call costs anything, until `instrument` is called.

What a framework's adapter calls are the documents' operations, so these are there, too.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

try:
    from opentelemetry import trace
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
except ImportError as error:
    raise ImportError(
        "memsessions.telemetry needs one more package: pip install 'memsessions[opentelemetry]'"
    ) from error

from .client import SessionsClient
from .document import Document
from .documents import Documents
from .fleet import Fleet
from .tokens import TAG
from .validation import is_app, is_token

#: Of a client: calls that are given an app and a token, other calls of an app, and those of none.
_BY_TOKEN = ("get", "set", "kill", "rotate")
_MANY = ("create_many", "get_many", "kill_many")
_OF_APP = ("create", *_MANY, "soid", "soapp", "iter_soapp", "activity", "killsoid", "killall")
_OF_NO_APP = ("wipe", "ping")
#: Of documents: calls that are given a token, or a document, and others.
_BY_DOCUMENT = ("adopt", "read", "exists", "save", "move", "end", "end_unchanged")
_BY_USER = ("create", "devices", "end_device")
_TRACED = [
    *((SessionsClient, name, name) for name in (*_BY_TOKEN, *_OF_APP, *_OF_NO_APP)),
    *((Documents, name, f"documents.{name}") for name in (*_BY_DOCUMENT, *_BY_USER)),
]

_tracers: weakref.WeakKeyDictionary[Fleet, Tracer] = weakref.WeakKeyDictionary()
_everywhere: Tracer | None = None
# What the methods were before, by class and name; there is none as long as nothing is traced.
_untraced: dict[tuple[type, str], Callable[..., Any]] = {}


def instrument(client: SessionsClient | None = None, tracer_provider: TracerProvider | None = None) -> None:
    """Have the calls of one client traced, or those of all clients, present and future.

    To be called at the beginning of a program: a call that is under way is not traced. Calling it again
    changes the provider.

    Parameters:
        client: one client; None for all.
        tracer_provider: where spans go; by default, OpenTelemetry's global one.
    """
    global _everywhere
    from . import __version__

    tracer = trace.get_tracer("memsessions", __version__, tracer_provider)
    if client is None:
        _everywhere = tracer
    else:
        _tracers[client._fleet] = tracer  # noqa: SLF001  part of this package
    for kind, name, operation in _TRACED:
        if (kind, name) not in _untraced:
            untraced = _untraced[kind, name] = getattr(kind, name)
            make = _traced_iterator if name == "iter_soapp" else _traced
            setattr(kind, name, make(operation, untraced))


def uninstrument(client: SessionsClient | None = None) -> None:
    """End what `instrument` began: for one client that it was called with, or for all and everything."""
    global _everywhere
    if client is not None:
        _tracers.pop(client._fleet, None)  # noqa: SLF001  part of this package
    else:
        _everywhere = None
        _tracers.clear()
    if _everywhere is None and not _tracers:
        while _untraced:
            (kind, name), untraced = _untraced.popitem()
            setattr(kind, name, untraced)


def _traced(operation: str, untraced: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(untraced)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        fleet: Fleet = self._fleet
        tracer = _tracers.get(fleet, _everywhere)
        if tracer is None:
            return untraced(self, *arguments, **options)
        attributes = _attributes(operation, self, arguments, options)
        with tracer.start_as_current_span(
            operation,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,  # a traceback may show what a program keeps to itself
            set_status_on_exception=False,
        ) as span:
            with _errors_shown(span):
                answer = untraced(self, *arguments, **options)
            if "server.address" not in attributes:
                span.set_attributes(_server(fleet, _token_of(answer)))
            return answer

    return call


def _traced_iterator(operation: str, untraced: Callable[..., Any]) -> Callable[..., Any]:
    """From the first to the last that is taken. Not current: what happens in between is the program's own."""

    @functools.wraps(untraced)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        tracer = _tracers.get(self._fleet, _everywhere)
        answer = untraced(self, *arguments, **options)
        if tracer is None:
            return answer
        return _iterated(tracer, operation, _attributes(operation, self, arguments, options), answer)

    return call


def _iterated(
    tracer: Tracer, operation: str, attributes: dict[str, str | int], answer: Iterator[Any]
) -> Iterator[Any]:
    span = tracer.start_span(operation, kind=SpanKind.CLIENT, attributes=attributes)
    try:
        with _errors_shown(span):
            yield from answer
    finally:
        span.end()


@contextmanager
def _errors_shown(span: Span) -> Iterator[None]:
    try:
        yield
    except GeneratorExit:
        raise
    except BaseException as error:
        kind = type(error).__qualname__
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, kind))
        raise


def _attributes(
    operation: str, called: Any, arguments: tuple[Any, ...], options: dict[str, Any]
) -> dict[str, str | int]:
    found: dict[str, str | int] = {"db.system.name": "memcached", "db.operation.name": operation}
    rest = list(arguments)
    app: Any = None
    token = None
    if isinstance(called, Documents):
        app = called._app  # noqa: SLF001  part of this package
        if operation.removeprefix("documents.") in _BY_DOCUMENT:
            token = _token_of(rest[0] if rest else options.get("token", options.get("document")))
    elif operation not in _OF_NO_APP:
        app = rest.pop(0) if rest else options.get("app")
        if operation in _BY_TOKEN:
            token = _token_of(rest[0] if rest else options.get("token"))
    if isinstance(app, str) and is_app(app):  # nothing else that somebody gives in its place is shown
        found["memsessions.app"] = app
    return {**found, **_server(called._fleet, token)}  # noqa: SLF001  part of this package


def _token_of(given: object) -> str | None:
    """The token in an argument or an answer, if there is one."""
    if isinstance(given, Document):
        return given.token
    if isinstance(given, dict):
        given = given.get("token")
    return given if isinstance(given, str) and is_token(given) else None


def _server(fleet: Fleet, token: str | None) -> dict[str, str | int]:
    """The server that a session is on, or the only one; nothing where several are asked."""
    nodes = fleet.nodes
    if len(nodes) > 1:
        nodes = [node for node in nodes if token is not None and node.tag == token[TAG]]
    for node in nodes:
        if isinstance(node.address, tuple):
            return {"server.address": node.address[0], "server.port": node.address[1]}
        return {"server.address": node.address}
    return {}
