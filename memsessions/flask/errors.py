"""What a Flask application answers where a session could not be read or saved."""

from __future__ import annotations

from typing import Any, cast

import flask
from flask import Flask, Response, current_app
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import Conflict, HTTPException, ServiceUnavailable

from ..errors import ConfigurationError, SessionEnded, StoreError, StoreFull, StoreUnavailable
from ..logs import about
from .session import FlaskSession

#: What has an answer of its own when a session cannot be saved. Anything else is the application's fault.
ANSWERED = (StoreUnavailable, StoreFull, SessionEnded)
_RETRY_AFTER_S = 5


def current() -> object:
    """The session of this request."""
    return cast(Any, flask.session)._get_current_object()  # noqa: SLF001  as Flask's manual has it


def ours(session: object) -> FlaskSession:
    """A session, if it is one of ours."""
    if not isinstance(session, FlaskSession):
        raise ConfigurationError(f"a session of memsessions is needed, not a {type(session).__name__}")
    return session


def register(app: Flask) -> None:
    """Have these errors answered, unless the application has handlers of its own for them."""
    handlers: dict[type[Exception], Any] = {
        StoreUnavailable: _unavailable,
        StoreFull: _unavailable,
        SessionEnded: _ended,
    }
    for error, handler in handlers.items():
        if error not in app.error_handler_spec[None][None]:
            app.register_error_handler(error, handler)


def answer_instead(app: Flask, session: FlaskSession, error: Exception, response: Response) -> None:
    """Turn a response into that of the error handler for what kept its session from being saved.

    It is called where that error is being handled.
    """
    if isinstance(error, SessionEnded):
        session.begin_anew()
    else:
        session.give_up()
    made = app.process_response(app.make_response(app.handle_user_exception(error)))
    close = getattr(response.response, "close", None)
    if close is not None:
        close()  # what was to be streamed
    response.response = made.response
    response.status = made.status
    response.headers = made.headers
    response.direct_passthrough = made.direct_passthrough
    response.call_on_close(made.close)


def _unavailable(error: StoreError) -> ResponseReturnValue:
    """503, by the application's page for that if it has one."""
    current_app.logger.error("the store of the sessions failed: %s", error, extra=about(error))
    ours(current()).answering = True  # so that a page can be made that looks at the session
    return _as_http(error, ServiceUnavailable("Please try again in a moment.", retry_after=_RETRY_AFTER_S))


def _ended(error: SessionEnded) -> ResponseReturnValue:
    """409, in the same way."""
    return _as_http(error, Conflict("You were logged out meanwhile, and nothing was changed."))


def _as_http(error: Exception, answer: HTTPException) -> ResponseReturnValue:
    answer.__cause__ = error
    return current_app.handle_http_exception(answer)
