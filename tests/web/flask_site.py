"""The pages of `pages.py` as a Flask application, as Flask's manual and ours would have it written."""

from __future__ import annotations

from typing import Any

import flask
from flask import Flask

from memsessions.flask import FlaskSession, MemSessionInterface, MemSessions, devices, end_device

from .pages import Visit
from .site import HOST, PATH, Request, Response, Setup


class FlaskHands:
    """What Flask's users do with their sessions; `_user_id` is where Flask-Login keeps the user."""

    @property
    def session(self) -> FlaskSession:
        session = flask.session
        assert isinstance(session, FlaskSession)
        return session

    def flash(self, key: str, value: str) -> None:
        flask.flash(value, key)

    def flashed(self, key: str) -> str | None:
        messages = flask.get_flashed_messages(category_filter=[key])
        return messages[0] if messages else None  # type: ignore[return-value]  # no pairs were asked for

    def regenerate(self) -> None:
        interface = flask.current_app.session_interface
        assert isinstance(interface, MemSessionInterface)
        interface.regenerate(flask.session)

    def destroy(self) -> None:
        self.session.destroy()

    def bind(self, user: str | None) -> None:
        if user is None:
            del flask.session["_user_id"]
            return
        if flask.session.get("_user_id") == user:
            self.regenerate()  # who logs in again
        flask.session["_user_id"] = user

    def devices(self) -> list[dict[str, Any]]:
        return [dict(device) for device in devices()]

    def end_device(self, handle: str) -> bool:
        return end_device(handle)


def make_app(setup: Setup) -> Flask:
    """The application, set up so."""
    app = Flask(__name__)
    app.config.update(
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=setup.ttl,
        PROPAGATE_EXCEPTIONS=False,
        MEMSESSIONS_SERVERS=setup.servers,
        MEMSESSIONS_NS=setup.ns,
        MEMSESSIONS_APP=setup.app,
        MEMSESSIONS_TIMEOUT=setup.timeout,
        MEMSESSIONS_WIPE=setup.wipe,
        MEMSESSIONS_ON_OUTAGE=setup.on_outage,
        MEMSESSIONS_ENCRYPTION_KEY=setup.encryption_key,
    )
    if setup.secrets:
        first, *others = setup.secrets
        app.config.update(SECRET_KEY=first, SECRET_KEY_FALLBACKS=others, MEMSESSIONS_SIGN=True)
    MemSessions(app)

    @app.post(PATH)
    def visit() -> flask.Response:
        visit = Visit(flask.request.get_data())
        answer = visit.perform(FlaskHands())
        if visit.streams:
            return flask.Response(visit.chunks(answer), mimetype="application/json")
        return flask.jsonify(answer)

    return app


class FlaskSite:
    """The application behind Flask's test client."""

    def __init__(self, setup: Setup) -> None:
        self.app = make_app(setup)

    def request(self, request: Request) -> Response:
        client = self.app.test_client(use_cookies=False)
        given = client.post(
            PATH,
            data=request.body,
            base_url=f"{'https' if request.https else 'http'}://{HOST}",
            headers={} if request.cookie is None else {"Cookie": request.cookie},
            environ_base={"REMOTE_ADDR": request.ip},
        )
        return Response(given.status_code, given.headers.to_wsgi_list(), given.data)

    def close(self) -> None:
        interface = self.app.session_interface
        assert isinstance(interface, MemSessionInterface)
        interface.storage.client.close()


def application() -> Flask:
    """For a WSGI server."""
    return make_app(Setup.from_environment())
