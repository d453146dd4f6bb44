"""What the WSGI and the ASGI middleware add to a response, and what they answer in place of one."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ResponseStarted, SessionEnded, StoreError, StoreFull, StoreUnavailable
from ..logs import about
from .cookies import vary_on_cookie

if TYPE_CHECKING:
    from .session import Session
    from .storage import SessionStorage

logger = logging.getLogger("memsessions.web")

#: What is answered by itself, as long as the application's own response has not started.
REFUSED = (StoreUnavailable, StoreFull, SessionEnded)

# A server that failed is left alone for 0.9 s at most.
_RETRY_AFTER_S = "1"


class Refusal(NamedTuple):
    """A whole response."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


def refusal(error: Exception) -> Refusal:
    """The answer to a request whose session could not be read or saved; one line of the log says why."""
    if isinstance(error, SessionEnded):
        logger.info("answered 409: %s", error, extra={"error": type(error).__name__})
        return _plain(409, "Conflict", "Your session ended while this was being done. Please try again.\n")
    said = about(error) if isinstance(error, StoreError) else {"error": type(error).__name__}
    logger.error("answered 503: %s", error, extra=said)
    text = "Your session cannot be reached at the moment. Please try again.\n"
    return _plain(503, "Service Unavailable", text, ("Retry-After", _RETRY_AFTER_S))


def _plain(status: int, reason: str, text: str, *more: tuple[str, str]) -> Refusal:
    body = text.encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *more,
    ]
    return Refusal(status, reason, headers, body)


def with_vary(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers, with `Cookie` in one `Vary` header, which comes last."""
    every = list(headers)
    said = ", ".join(value for name, value in every if name.lower() == "vary")
    return [
        *(header for header in every if header[0].lower() != "vary"),
        ("Vary", vary_on_cookie(said or None)),
    ]


def save_late(storage: SessionStorage, session: Session) -> None:
    """Save what has changed since the response started, when no cookie can be sent any more.

    Raises:
        ResponseStarted: it would need one. Nothing was saved; but a log-out is done.
    """
    if not session.needs_cookie:
        storage.save(session)
        return
    if session.destroyed:
        session.destroy()  # what came after the log-out is given up
        storage.save(session)
    raise ResponseStarted(
        "the session is new, or was given a new id, when no response could carry its cookie any more: "
        "nothing of this was saved"
    )
