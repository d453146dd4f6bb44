"""Small Flask applications for the tests, each with sessions in the namespace of its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import flask
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from memsessions import SessionsClient
from memsessions.flask import FlaskSession, MemSessionInterface, MemSessions

from ..conftest import Where

#: Makes one; its arguments are config.
MakeApp = Callable[..., Flask]
APP = "website"


def making_apps(where: Where) -> Iterator[MakeApp]:
    """For a fixture: makes applications, and closes their clients in the end."""
    apps = []

    def make(**config: Any) -> Flask:
        app = Flask("tests")
        defaults = {"SERVERS": where.address, "NS": where.ns, "APP": APP, "WIPE": 0, "TIMEOUT": 5}
        app.config.update({f"MEMSESSIONS_{name}": value for name, value in defaults.items()})
        app.config.update(config)
        MemSessions(app)
        apps.append(app)
        return app

    yield make
    for app in apps:
        client_of(app).close()


def interface_of(app: Flask) -> MemSessionInterface:
    interface = app.extensions["memsessions"]
    assert isinstance(interface, MemSessionInterface)
    assert app.session_interface is interface
    return interface


def client_of(app: Flask) -> SessionsClient:
    return interface_of(app).storage.client


def here() -> FlaskSession:
    """The session of this request, with what it has beyond Flask's."""
    session = flask.session
    assert isinstance(session, FlaskSession)
    return session


def cookie(client: FlaskClient, name: str = "session") -> str | None:
    """What the browser has."""
    found = client.get_cookie(name)
    return None if found is None else found.value


def set_cookies(response: TestResponse) -> list[str]:
    return response.headers.getlist("Set-Cookie")


def put(client: FlaskClient, **items: Any) -> None:
    """Put something into a visitor's session, as a test of Flask does it."""
    with client.session_transaction() as session:
        session.update(items)
