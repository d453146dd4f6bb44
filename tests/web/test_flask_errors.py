"""What a Flask application answers when a session cannot be read or saved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from flask import Blueprint, Flask, flash, get_flashed_messages, redirect, session
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException, ServiceUnavailable
from werkzeug.wrappers import Response as AnyResponse

from memsessions import SessionEnded, StoreFull, StoreUnavailable
from memsessions.flask import MemSessions, end_all_devices, end_device, end_other_devices

from ..conftest import OnMemcached
from ..support.memcached import Memcached
from ..test_full_server import fill_up
from .flask_apps import APP, MakeApp, client_of, cookie, here, making_apps, put, set_cookies

ALICE = "alice"


@pytest.fixture
def make(own_memcached: Memcached) -> Iterator[MakeApp]:
    yield from making_apps(OnMemcached(own_memcached))


@pytest.fixture
def app(make: MakeApp) -> Flask:
    return with_pages(make())


def with_pages(app: Flask) -> Flask:
    @app.get("/nothing")
    def nothing() -> str:
        return "nothing"

    @app.get("/read")
    def read() -> str:
        return f"hello {session.get('_user_id')}"

    @app.get("/write")
    def write() -> str:
        session["key"] = "new"
        return "written"

    @app.get("/logout")
    def log_out() -> str:
        session.pop("_user_id", None)
        return "bye"

    @app.get("/clear")
    def clear() -> str:
        session.clear()
        return "bye"

    @app.get("/destroy")
    def destroy() -> str:
        here().destroy()
        return "bye"

    @app.get("/login")
    def log_in() -> str:
        session["_user_id"] = "bob"
        return "hello"

    @app.get("/everywhere")
    def everywhere() -> str:
        return str(end_all_devices())

    @app.get("/elsewhere")
    def elsewhere() -> str:
        return str(end_other_devices())

    @app.get("/there")
    def there() -> str:
        return str(end_device("0" * 32))

    return app


def logged_in(app: Flask) -> FlaskClient:
    client = app.test_client()
    put(client, _user_id=ALICE, key="old")
    return client


def after(app: Flask, act: Callable[[], object]) -> None:
    """Have something done between the next view and its saving, though the application runs already."""

    def once(response: flask.Response) -> flask.Response:
        functions.remove(once)
        act()
        return response

    functions: list[Any] = app.after_request_funcs.setdefault(None, [])
    functions.append(once)


def ends_meanwhile(app: Flask) -> None:
    """Have the session ended elsewhere after the next view."""
    after(app, lambda: client_of(app).killsoid(APP, ALICE))


# ---------------------------------------------------------------------------------------- an outage


WRITING = ["/write", "/logout", "/clear", "/destroy", "/login", "/everywhere"]


@pytest.mark.parametrize(
    ("when", "path"),
    [
        ("before", "/read"),
        *((when, path) for when in ("before", "between read and save") for path in WRITING),
    ],
)
def test_an_outage_is_a_503_and_never_a_page(
    app: Flask, own_memcached: Memcached, caplog: pytest.LogCaptureFixture, when: str, path: str
) -> None:
    """And the cookie stays. The log says why, without a token or data. `testing` makes no difference."""
    app.testing = True
    client = logged_in(app)
    before = cookie(client)
    if when == "before":
        own_memcached.kill()
    else:
        after(app, own_memcached.kill)
    response = client.get(path)
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert "try again" in response.text
    assert "bye" not in response.text
    assert (set_cookies(response), cookie(client)) == ([], before)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert own_memcached.address in record.getMessage()
    for secret in (str(before), ALICE, "old"):
        assert secret not in caplog.text + response.text


def test_pages_without_session_go_on(app: Flask, own_memcached: Memcached) -> None:
    client = logged_in(app)
    own_memcached.kill()
    assert client.get("/nothing").text == "nothing"
    assert app.test_client().get("/read").text == "hello None"  # a visitor without cookie


def test_when_the_store_is_back_everybody_is_still_logged_in(make: MakeApp, own_memcached: Memcached) -> None:
    app = with_pages(make(MEMSESSIONS_TIMEOUT=1))
    client = logged_in(app)
    own_memcached.freeze()
    assert client.get("/read").status_code == 503
    own_memcached.thaw()
    while (response := client.get("/read")).status_code == 503:  # it is left alone for a moment
        pass
    assert response.text == "hello alice"


@pytest.mark.parametrize("path", ["/read", "/write"])
@pytest.mark.parametrize("kind", [StoreUnavailable, 503, HTTPException, Exception])
def test_the_page_for_it_is_the_applications_own(
    app: Flask, own_memcached: Memcached, kind: Any, path: str
) -> None:
    """Whichever kind of handler it has; it can look at the session, which is empty then."""

    @app.errorhandler(kind)
    def page(error: Exception) -> tuple[str, int]:
        shown = "" if kind is StoreUnavailable else flask.render_template_string("{{ session['_user_id'] }}")
        cause = error if kind is StoreUnavailable else error.__cause__
        assert isinstance(cause, StoreUnavailable)
        return f"our page {shown}", 503

    client = logged_in(app)
    if path == "/read":
        own_memcached.kill()
    else:
        after(app, own_memcached.kill)
    response = client.get(path)
    assert (response.status_code, response.text.split()[:2]) == (503, ["our", "page"])


def test_a_handler_that_was_there_first_stays(make: MakeApp, own_memcached: Memcached) -> None:
    app = with_pages(make())
    app.register_error_handler(StoreUnavailable, lambda _error: ("ours", 503))
    app.register_error_handler(SessionEnded, lambda _error: ("ours", 409))
    MemSessions(client=client_of(app)).init_app(app)
    client = logged_in(app)
    own_memcached.kill()
    assert client.get("/read").text == "ours"


def test_a_blueprint_has_a_page_of_its_own(app: Flask, own_memcached: Memcached) -> None:
    shop = Blueprint("shop", __name__)
    shop.register_error_handler(503, lambda _error: ("the shop is closed", 503))
    shop.add_url_rule("/shop", view_func=lambda: str(session.get("key")))
    app.register_blueprint(shop)
    client = logged_in(app)
    own_memcached.kill()
    assert client.get("/shop").text == "the shop is closed"
    assert client.get("/read").text != "the shop is closed"


def test_whatever_looks_at_every_response_makes_no_difference(app: Flask, own_memcached: Memcached) -> None:
    """As Flask-Login does, which asks the session about its "remember me" cookie."""
    seen = []

    @app.after_request
    def look(response: flask.Response) -> flask.Response:
        if "_remember" not in session:
            seen.append(response.status_code)
        response.headers["X-Frame-Options"] = "DENY"
        return response

    client = logged_in(app)
    del seen[:]
    own_memcached.kill()
    response = client.get("/read")
    assert (response.status_code, response.headers["X-Frame-Options"], seen) == (503, "DENY", [503])
    del seen[:]
    response = client.get("/nothing")  # the view did not look: the page is not answered all the same
    assert (response.status_code, response.headers["X-Frame-Options"], seen) == (503, "DENY", [200, 503])


def test_the_page_that_could_not_be_saved_leaves_nothing(app: Flask, own_memcached: Memcached) -> None:
    """Neither its body nor its headers; what it would have streamed is closed."""
    closed = []

    @app.get("/stream")
    def stream() -> flask.Response:
        session["key"] = "streamed"

        def chunks() -> Iterator[str]:
            try:
                yield "a page"
                raise AssertionError("nobody asks for more")
            finally:
                closed.append("stream")

        started = chunks()
        next(started)
        response = flask.Response(started, headers={"X-Page": "yes", "ETag": '"1"'})
        response.call_on_close(lambda: closed.append("response"))
        return response

    client = logged_in(app)
    after(app, own_memcached.kill)
    response = client.get("/stream")
    assert response.status_code == 503
    assert not {"X-Page", "ETag"} & set(response.headers.keys())
    assert response.content_length == len(response.data)
    response.close()
    assert closed == ["stream", "response"]


def test_a_page_for_the_outage_that_writes_to_the_session_is_shown(
    app: Flask, own_memcached: Memcached
) -> None:
    @app.errorhandler(503)
    def page(_error: ServiceUnavailable) -> tuple[str, int]:
        get_flashed_messages()
        flash("There was an outage.")
        return "our page", 503

    client = logged_in(app)
    after(app, own_memcached.kill)
    assert client.get("/write").text == "our page"
    assert client.get("/read").text == "our page"


def test_what_only_the_end_of_a_request_would_write_is_not_lost_silently(
    app: Flask, own_memcached: Memcached
) -> None:
    """A view that makes do without the session, and a function after it that writes."""

    @app.get("/swallow")
    def swallow() -> str:
        try:
            return str(session["key"])
        except StoreUnavailable:
            return "without"

    client = logged_in(app)
    own_memcached.kill()
    assert (client.get("/swallow").status_code, client.get("/swallow").text) == (200, "without")

    def count() -> None:
        session["seen"] = 1

    after(app, count)
    assert client.get("/swallow").status_code == 503


def test_an_error_in_a_view_stays_a_500(app: Flask, own_memcached: Memcached) -> None:
    """What it wrote is saved, as Flask does."""
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/fail/<value>")
    def fail(value: str) -> str:
        session["key"] = value
        raise RuntimeError

    client = logged_in(app)
    assert client.get("/fail/written").status_code == 500
    with client.session_transaction() as found:
        assert found["key"] == "written"
    after(app, own_memcached.kill)
    assert client.get("/fail/lost").status_code == 503


def test_a_tests_session_transaction_raises(app: Flask, own_memcached: Memcached) -> None:
    client = logged_in(app)
    own_memcached.kill()
    with pytest.raises(StoreUnavailable), client.session_transaction() as found:
        found["key"] = "new"
    with pytest.raises(StoreUnavailable):
        put(app.test_client(), key="new")


def test_a_full_store_is_a_503_too() -> None:
    with Memcached("-M", "-m", "2", "-t", "1") as server:
        for app in making_apps(OnMemcached(server)):
            pages = with_pages(app())
            client = logged_in(pages)
            fill_up(client_of(pages))
            with pytest.raises(StoreFull):
                put(pages.test_client(), key="x" * 10_000)
            pages.add_url_rule("/large", view_func=lambda: str(session.update(key="x" * 10_000)))
            response = pages.test_client().get("/large")
            assert (response.status_code, set_cookies(response)) == (503, [])
            assert client.get("/read").text == "hello alice"


# --------------------------------------------------------------------------------- the anonymous way


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/read", 200),
        ("/nothing", 200),
        ("/write", 200),  # it is lost
        *((path, 503) for path in ("/login", "/logout", "/clear", "/destroy")),
        *((path, 503) for path in ("/everywhere", "/elsewhere", "/there")),
    ],
)
def test_by_policy_pages_are_for_nobody_and_a_log_out_does_not_succeed(
    make: MakeApp, own_memcached: Memcached, caplog: pytest.LogCaptureFixture, path: str, status: int
) -> None:
    app = with_pages(make(MEMSESSIONS_ON_OUTAGE="anonymous"))
    client = logged_in(app)
    before = cookie(client)
    own_memcached.kill()
    response = client.get(path)
    assert response.status_code == status
    assert (set_cookies(response), cookie(client)) == ([], before)
    if path == "/read":
        assert response.text == "hello None"
    if path == "/write":
        assert "is lost" in caplog.text


@pytest.mark.parametrize("path", ["/logout", "/clear", "/destroy"])
@pytest.mark.parametrize("user", [ALICE, None])
def test_by_policy_an_outage_between_read_and_save_is_no_log_out_either(
    make: MakeApp, own_memcached: Memcached, path: str, user: str | None
) -> None:
    app = with_pages(make(MEMSESSIONS_ON_OUTAGE="anonymous"))
    client = app.test_client()
    put(client, key="old", **({} if user is None else {"_user_id": user}))
    after(app, own_memcached.kill)
    before = cookie(client)
    response = client.get(path)
    expected = 200 if (user, path) == (None, "/logout") else 503  # nobody was logged in
    assert response.status_code == expected
    assert cookie(client) == before


@pytest.mark.parametrize("when", ["before", "between read and save"])
@pytest.mark.parametrize(("user_key", "status"), [(None, 503), ("username", 503), ("user", 200)])
def test_by_policy_whatever_is_removed_may_be_a_log_out_where_nobody_has_said_what_is(
    make: MakeApp, own_memcached: Memcached, when: str, user_key: str | None, status: int
) -> None:
    """As in Flask's own tutorial, where `session.pop("username", None)` is one."""
    app = make(MEMSESSIONS_ON_OUTAGE="anonymous", MEMSESSIONS_USER_KEY=user_key)

    @app.get("/logout")
    def log_out() -> str:
        session.pop("username", None)
        return "bye"

    @app.get("/messages")
    def messages() -> str:
        return str(get_flashed_messages())

    client = app.test_client()
    put(client, username="alice", cart=["pears"], _flashes=[("message", "Hello.")])
    if when == "before":
        own_memcached.kill()
        assert client.get("/messages").text == "[]"
    else:
        after(app, own_memcached.kill)
    assert client.get("/logout").status_code == status


# ------------------------------------------------------------------------------- ended meanwhile


def test_a_session_that_was_ended_meanwhile_is_a_409(app: Flask) -> None:
    """Nothing is brought back, and the cookie is left alone: another tab may have a new one by now."""
    client = logged_in(app)
    ends_meanwhile(app)
    before = cookie(client)
    response = client.get("/write")
    assert (response.status_code, set_cookies(response)) == (409, [])
    assert "logged out" in response.text
    assert client_of(app).soapp(APP, 10**9) == []
    assert cookie(client) == before
    assert client.get("/read").text == "hello None"


@pytest.mark.parametrize("path", ["/read", "/nothing", "/clear", "/destroy", "/everywhere"])
def test_who_writes_nothing_or_logs_out_does_not_mind(app: Flask, path: str) -> None:
    client = logged_in(app)
    ends_meanwhile(app)
    assert client.get(path).status_code == 200


def test_the_application_says_what_happens_then(app: Flask) -> None:
    """Its handler has a new session, for a message."""

    @app.errorhandler(SessionEnded)
    def ended(_error: SessionEnded) -> AnyResponse:
        assert "_user_id" not in session
        flash("You were logged out.")
        return redirect("/messages")

    app.add_url_rule("/messages", view_func=lambda: "".join(get_flashed_messages()))  # type: ignore[arg-type]
    client = logged_in(app)
    ends_meanwhile(app)
    before = cookie(client)
    response = client.get("/write")
    assert (response.status_code, response.location) == (302, "/messages")
    assert cookie(client) not in (before, None)
    assert client.get("/messages").text == "You were logged out."


def test_an_outage_while_that_is_answered_is_a_503(app: Flask, own_memcached: Memcached) -> None:
    @app.errorhandler(SessionEnded)
    def ended(_error: SessionEnded) -> AnyResponse:
        flash("You were logged out.")
        own_memcached.kill()
        return redirect("/nothing")

    client = logged_in(app)
    ends_meanwhile(app)
    put(app.test_client(), key="value")
    assert client.get("/write").status_code == 503
