"""Flask's conventions for sessions, each as its manual has it; what all adapters share is in the suite."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import flask
import pytest
from flask import Flask, flash, get_flashed_messages, session, stream_with_context
from flask.json.tag import JSONTag
from markupsafe import Markup

from memsessions import InvalidValue, SessionsClient
from memsessions.flask import MemSessions, devices, end_all_devices, end_other_devices

from ..conftest import MakeClient, OnMemcached
from ..support.proxy import Proxy
from ..support.sessions import contents
from .flask_apps import APP, MakeApp, client_of, cookie, here, interface_of, making_apps, put, set_cookies


@pytest.fixture
def make(on_memcached: OnMemcached) -> Iterator[MakeApp]:
    yield from making_apps(on_memcached)


@pytest.fixture
def app(make: MakeApp) -> Flask:
    """Pages that do to the session what their path says."""
    app = make()

    @app.get("/nothing")
    def nothing() -> str:
        return "the same for everybody"

    @app.get("/get/<key>")
    def get(key: str) -> dict[str, Any]:
        return {"value": session.get(key)}

    @app.get("/set/<key>/<value>")
    def put_in(key: str, value: str) -> str:
        session[key] = value
        return "done"

    @app.get("/pop/<key>")
    def pop(key: str) -> str:
        session.pop(key, None)
        return "done"

    @app.get("/clear")
    def clear() -> str:
        session.clear()
        return "done"

    return app


def sessions(app: Flask) -> list[Any]:
    """Those that there are."""
    return client_of(app).soapp(APP, 10**9)


# ---------------------------------------------------------------------------------------------- types

NOON = datetime(2026, 11, 21, 12, 0, 5, tzinfo=timezone.utc)
VALUES = {
    "datetime": NOON,
    "UUID": uuid.UUID("12345678123456781234567812345678"),
    "Markup": Markup("<b>bold</b>"),
    "bytes": b"\x00\xff",
    "tuple": (1, (2, [3])),
    "nested": {"list": [(NOON, b"x"), {"deep": Markup("&amp;")}]},
    "like a tag": {" t": [1, 2]},
    "like its inside": {" di": {" t__": (1,)}},
    "empty": {"dict": {}, "list": [], "tuple": ()},
    "plain": {"fraction": 1.5, "none": None, "number": 1, "text": "x", "yes": True},
}


@pytest.mark.parametrize("name", VALUES)
def test_flasks_types_survive(app: Flask, name: str) -> None:
    value = VALUES[name]
    client = app.test_client()
    put(client, key=value)
    with client.session_transaction() as found:
        assert found["key"] == value
        assert repr(found["key"]) == repr(value)  # its type, and those inside


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({1: "one"}, {"1": "one"}),
        (date(2026, 11, 21), "Sat, 21 Nov 2026 00:00:00 GMT"),
        (Decimal("1.5"), "1.5"),
    ],
)
def test_what_flask_makes_text_of_becomes_text(app: Flask, value: object, text: object) -> None:
    client = app.test_client()
    put(client, key=value)
    with client.session_transaction() as found:
        assert found["key"] == text


def test_a_tag_of_the_applications_own_keeps_its_type(app: Flask) -> None:
    class TagComplex(JSONTag):
        key = " c"

        def check(self, value: object) -> bool:
            return isinstance(value, complex)

        def to_json(self, value: complex) -> list[float]:
            return [value.real, value.imag]

        def to_python(self, value: list[float]) -> complex:
            return complex(*value)

    interface_of(app).serializer.register(TagComplex, index=0)
    client = app.test_client()
    put(client, key=[1 + 2j])
    with client.session_transaction() as found:
        assert found["key"] == [1 + 2j]


def test_what_no_json_is_made_of_is_an_error_and_changes_nothing(app: Flask) -> None:
    client = app.test_client()
    put(client, kept=1)
    with pytest.raises(TypeError, match="not JSON serializable"), client.session_transaction() as found:
        found["key"] = object()
    with pytest.raises(InvalidValue), client.session_transaction() as found:
        found["key"] = float("nan")
    assert client.get("/get/kept").json == {"value": 1}
    assert client.get("/get/key").json == {"value": None}


def test_parallel_requests_merge_by_key_whatever_the_types(app: Flask) -> None:
    client = app.test_client()
    put(client, removed=(1,), kept=b"kept", both=NOON)
    with client.session_transaction() as slow:
        slow["mine"] = (1, 2)
        slow["both"] = "last"
        del slow["removed"]
        client.get("/set/theirs/value")
        client.get("/set/both/first")
    with client.session_transaction() as found:
        assert dict(found) == {"kept": b"kept", "mine": (1, 2), "theirs": "value", "both": "last"}


def test_a_change_inside_a_value_needs_no_word(app: Flask) -> None:
    client = app.test_client()
    put(client, cart=[{"pears": (1,)}])
    with client.session_transaction() as found:
        found["cart"][0]["pears"] += (2,)
        assert found.modified
    with client.session_transaction() as found:
        assert found["cart"] == [{"pears": (1, 2)}]


# ------------------------------------------------------------------------------------- what it tells


def test_the_session_tells_what_happened_to_it(app: Flask) -> None:
    with app.test_request_context():
        assert not here().modified
        assert "key" not in session
        assert here().accessed
        assert here().new
        assert not here().permanent
        session["key"] = "value"
        assert here().modified
    client = app.test_client()
    put(client, key="value")
    with client.session_transaction() as found:
        assert not found.modified
        assert not found.new
        assert found["key"] == "value"
        assert not found.modified
        found["key"] = object()
        assert found.modified  # though it cannot be saved
        found["key"] = "value"
        assert not found.modified  # it is as it was


def test_what_was_done_so_far_is_not_saved_if_modified_is_set_to_false(app: Flask) -> None:
    client = app.test_client()
    put(client, key="old")
    with client.session_transaction() as found:
        found["key"] = "new"
        found.modified = False
    assert client.get("/get/key").json == {"value": "old"}
    with client.session_transaction() as found:
        found["key"] = "new"
        found.modified = False
        found["other"] = "later"
    assert client.get("/get/key").json == {"value": "new"}


def test_the_cookie_is_sent_again_if_modified_is_set_to_true(app: Flask) -> None:
    @app.get("/touch")
    def touch() -> str:
        session.modified = True
        return str(session["key"])

    client = app.test_client()
    put(client, key="value")
    before = cookie(client)
    [header] = set_cookies(client.get("/touch"))
    assert header.startswith(f"session={before};")
    assert set_cookies(client.get("/get/key")) == []


def test_caches_learn_that_a_page_used_the_session(app: Flask) -> None:
    client = app.test_client()
    put(client, key="value")
    assert "Vary" not in client.get("/nothing").headers
    for path in ("/get/key", "/get/other", "/set/key/other", "/clear"):
        assert client.get(path).headers["Vary"] == "Cookie"


# ------------------------------------------------------------------------------------------- an end


@pytest.mark.parametrize("path", ["/clear", "/pop/key"])
@pytest.mark.parametrize("permanent", [False, True], ids=["of the browser", "permanent"])
def test_a_session_that_was_emptied_ends_and_its_cookie_is_deleted(
    app: Flask, path: str, permanent: bool
) -> None:
    client = app.test_client()
    with client.session_transaction() as found:
        found["key"] = "value"
        found.permanent = permanent
    before = cookie(client)
    [header] = set_cookies(client.get(path))
    assert header.startswith("session=; Expires=Thu, 01 Jan 1970")
    assert cookie(client) is None
    assert sessions(app) == []
    client.set_cookie("session", str(before))
    assert client.get("/get/key").json == {"value": None}
    assert set_cookies(client.get(path)) == []  # an unknown one is left alone


def test_a_visitor_without_data_costs_nothing_although_every_session_is_permanent(
    app: Flask, on_memcached: OnMemcached
) -> None:
    """`session.permanent = True` before each request is what many applications do."""

    @app.before_request
    def keep() -> None:
        session.permanent = True

    client = app.test_client()
    assert set_cookies(client.get("/get/key")) == []
    assert contents(on_memcached) == {}
    client.get("/set/key/value")
    assert len(sessions(app)) == 1
    client.get("/pop/key")
    assert (cookie(client), sessions(app)) == (None, [])


def test_a_log_out_of_a_session_that_has_just_ended_is_done(app: Flask) -> None:
    """As of a button that was pressed twice."""
    client = app.test_client()
    put(client, key="value", _user_id="alice")
    with client.session_transaction() as slow:
        slow.clear()
        assert client.get("/clear").status_code == 200
    assert sessions(app) == []


# ------------------------------------------------------------------------------------------ settings

SET: dict[str, tuple[dict[str, Any], str]] = {
    "as usual": ({}, "session=?; HttpOnly; Path=/"),
    "name": ({"SESSION_COOKIE_NAME": "visitor"}, "visitor=?; HttpOnly; Path=/"),
    "domain": ({"SESSION_COOKIE_DOMAIN": "localhost"}, "session=?; Domain=localhost; HttpOnly; Path=/"),
    "path": ({"SESSION_COOKIE_PATH": "/set"}, "session=?; HttpOnly; Path=/set"),
    "root": ({"APPLICATION_ROOT": "/shop"}, "session=?; HttpOnly; Path=/shop"),
    "scripts": ({"SESSION_COOKIE_HTTPONLY": False}, "session=?; Path=/"),
    "secure": ({"SESSION_COOKIE_SECURE": True}, "session=?; Secure; HttpOnly; Path=/"),
    "strict": ({"SESSION_COOKIE_SAMESITE": "Strict"}, "session=?; HttpOnly; Path=/; SameSite=Strict"),
    "partitioned": (
        {"SESSION_COOKIE_PARTITIONED": True, "SESSION_COOKIE_SECURE": True},
        "session=?; Secure; HttpOnly; Path=/; Partitioned",
    ),
}


@pytest.mark.parametrize("name", SET)
def test_the_cookie_is_as_flasks_settings_say(make: MakeApp, name: str) -> None:
    """When it is set and when it is deleted."""
    config, expected = SET[name]
    if name == "partitioned" and not hasattr(flask.sessions.SessionInterface, "get_cookie_partitioned"):
        pytest.skip("since Flask 3.1")
    app = make(**config)
    root = config.get("APPLICATION_ROOT", "")

    @app.get("/set")
    def put_in() -> str:
        session["key"] = "value"
        return "done"

    @app.get("/set/end")
    def end() -> str:
        session.clear()
        return "done"

    base = {"base_url": f"https://localhost{root}"}
    client = app.test_client()
    [header] = set_cookies(client.get("/set", **base))
    value = header.partition("=")[2].partition(";")[0]
    assert len(value) == 64
    assert header.replace(value, "?", 1) == expected
    [header] = set_cookies(client.get("/set/end", **base))
    deleted = "=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0;"
    assert _as_set(header) == _as_set(expected.replace("=?;", deleted, 1))


def _as_set(header: str) -> list[str]:
    """A header, in whatever order."""
    return sorted(header.split("; "))


def test_a_session_lives_as_long_as_the_lifetime_without_a_request(
    make: MakeApp, on_memcached: OnMemcached
) -> None:
    """Whether it is permanent or not: reading it renews it."""
    app = make(PERMANENT_SESSION_LIFETIME=100)
    clients = [app.test_client(), app.test_client()]
    put(clients[0], key="value")
    put(clients[1], key="value", _permanent=True)
    assert [found["ttl"] for found in sessions(app)] == [100, 100]
    for _ in range(3):
        on_memcached.advance(80)
        for client in clients:
            with client.session_transaction() as found:
                assert found["key"] == "value"
    on_memcached.advance(102)
    for client in clients:
        with client.session_transaction() as found:
            assert "key" not in found


@pytest.mark.parametrize("refresh", [True, False])
def test_the_cookie_of_a_permanent_session_is_sent_again_by_the_pages_that_use_it(
    make: MakeApp, refresh: bool
) -> None:
    """Unless SESSION_REFRESH_EACH_REQUEST is off."""
    app = make(SESSION_REFRESH_EACH_REQUEST=refresh, PERMANENT_SESSION_LIFETIME=3600)

    @app.get("/<what>")
    def page(what: str) -> str:
        return str(session.get("key")) if what == "read" else "nothing"

    client = app.test_client()
    put(client, key="value")
    assert set_cookies(client.get("/read")) == []
    put(client, _permanent=True)
    before = cookie(client)
    assert set_cookies(client.get("/nothing")) == []
    headers = set_cookies(client.get("/read"))
    assert len(headers) == refresh
    assert cookie(client) == before
    for header in headers:
        expires = parsedate_to_datetime(header.partition("Expires=")[2].partition(";")[0])
        assert 3590 <= (expires - datetime.now(timezone.utc)).total_seconds() <= 3600


def test_a_cookie_that_is_signed_again_is_signed_with_the_new_secret(make: MakeApp) -> None:
    secrets = ["an old secret of sixteen", "a new secret of sixteen"]
    old = make(MEMSESSIONS_SIGN=True, SECRET_KEY=secrets[0])
    new = make(MEMSESSIONS_SIGN=True, SECRET_KEY=secrets[1], SECRET_KEY_FALLBACKS=secrets[:1])
    only = make(MEMSESSIONS_SIGN=True, SECRET_KEY=secrets[1])
    client = old.test_client()
    put(client, key="value", _permanent=True)

    def renewed(app: Flask, value: str | None) -> str | None:
        """What a page of this application that only reads makes of a cookie."""
        other = app.test_client()
        other.set_cookie("session", str(value))
        with other.session_transaction() as found:
            known = found.get("key") == "value"
        return cookie(other) if known else None

    assert renewed(only, cookie(client)) is None
    signed = renewed(new, cookie(client))
    assert signed not in (None, cookie(client))
    assert renewed(only, signed) == signed


# -------------------------------------------------------------------------------------------- flows


def test_flashed_messages_are_shown_once_in_order(app: Flask) -> None:
    @app.get("/flash")
    def leave() -> str:
        flash("first")
        flash("second", "warning")
        return "done"

    @app.get("/messages")
    def messages() -> dict[str, Any]:
        return {"value": get_flashed_messages(with_categories=True)}

    client = app.test_client()
    client.get("/flash")
    assert client.get("/nothing").status_code == 200
    assert client.get("/messages").json == {"value": [["message", "first"], ["warning", "second"]]}
    assert client.get("/messages").json == {"value": []}
    assert sessions(app) == []  # nothing else was in it


def test_a_stream_reads_the_session(app: Flask) -> None:
    """Also where nothing has read it before."""

    @app.get("/stream")
    def stream() -> flask.Response:
        def chunks() -> Iterator[str]:
            yield "for "
            yield str(session["key"])

        return flask.Response(stream_with_context(chunks()))

    client = app.test_client()
    put(client, key="you")
    assert client.get("/stream").text == "for you"


def test_a_test_looks_at_the_session_of_the_last_request(app: Flask) -> None:
    with app.test_client() as client:
        client.get("/set/key/value")
        assert session["key"] == "value"
        client.get("/clear")
        assert not session


def test_views_can_be_async(app: Flask) -> None:
    pytest.importorskip("asgiref")

    @app.get("/async/<value>")
    async def view(value: str) -> dict[str, Any]:
        before = session.get("key")
        session["key"] = value
        return {"value": before}

    client = app.test_client()
    assert [client.get(f"/async/{value}").json for value in "ab"] == [{"value": None}, {"value": "a"}]


# ------------------------------------------------------------------------------------------- its user


def test_a_session_belongs_to_the_user_that_a_key_names(make: MakeApp) -> None:
    app = make(MEMSESSIONS_USER_KEY="user")
    client = app.test_client()
    put(client, key="value")
    tokens = [cookie(client)]
    for user in (42, "alice", uuid.UUID(int=1)):
        put(client, user=user)
        tokens.append(cookie(client))
        assert [found["id"] for found in client_of(app).soid(APP, str(user))] == [str(user)]
    put(client, user=None)
    tokens.append(cookie(client))
    assert len(set(tokens)) == 5
    [found] = sessions(app)
    assert found["id"].startswith("~")
    with client.session_transaction() as now:
        assert now["key"] == "value"


def test_other_changes_do_not_move_it(app: Flask) -> None:
    client = app.test_client()
    put(client, _user_id="alice")
    before = cookie(client)
    put(client, key="value")
    assert cookie(client) == before


def test_without_a_key_the_view_says_whose_it_is(make: MakeApp) -> None:
    """And what it holds does not matter."""
    app = make(MEMSESSIONS_USER_KEY="")

    @app.get("/login")
    def login() -> str:
        session.clear()
        here().bind("alice")
        return "hello"

    @app.get("/logout")
    def logout() -> str:
        here().destroy()
        return "bye"

    client = app.test_client()
    put(client, _user_id="no user", key="value")
    client.get("/login")
    assert [(found["id"], found["d"]) for found in sessions(app)] == [("alice", None)]
    put(client, key="value")
    assert [found["id"] for found in sessions(app)] == ["alice"]
    client.get("/logout")
    assert (cookie(client), sessions(app)) == (None, [])


def test_emptying_a_session_ends_it_whoever_it_belongs_to(app: Flask) -> None:
    @app.get("/login")
    def login() -> str:
        here().bind("alice")
        session["key"] = "value"
        return "hello"

    client = app.test_client()
    client.get("/login")
    assert [found["id"] for found in sessions(app)] == ["alice"]
    client.get("/clear")
    assert (cookie(client), sessions(app)) == (None, [])


def test_who_logs_in_and_out_in_one_request_is_nobody(app: Flask) -> None:
    @app.get("/both")
    def both() -> dict[str, Any]:
        session["_user_id"] = "alice"
        listed = devices()
        del session["_user_id"]
        session["key"] = "value"
        return {"value": [listed, here().user_id]}

    client = app.test_client()
    assert client.get("/both").json == {"value": [[], "alice"]}
    [found] = sessions(app)
    assert found["id"].startswith("~")


def test_a_user_is_logged_out_on_all_devices_here_included(app: Flask) -> None:
    @app.get("/everywhere")
    def everywhere() -> dict[str, Any]:
        return {"value": end_all_devices()}

    @app.get("/others")
    def others() -> dict[str, Any]:
        return {"value": end_other_devices()}

    nobody, *clients = [app.test_client() for _ in range(4)]
    for client in clients:
        put(client, _user_id="alice")
    put(nobody, key="value")
    assert nobody.get("/everywhere").json == nobody.get("/others").json == {"value": 0}
    assert clients[0].get("/others").json == {"value": 2}
    assert len(client_of(app).soid(APP, "alice")) == 1
    put(clients[1], _user_id="alice")
    assert clients[0].get("/everywhere").json == {"value": 2}
    assert cookie(clients[0]) is None
    assert clients[1].get("/get/_user_id").json == {"value": None}
    assert len(sessions(app)) == 1
    put(clients[2], _user_id=42)
    with app.app_context():
        assert end_all_devices(42) == 1  # of a command, without a request


# ---------------------------------------------------------------------------------------- extension


def test_one_extension_serves_several_applications_made_later(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    extension = MemSessions(client=rs)
    apps = [Flask("first"), Flask("second")]
    clients = []
    for app in apps:
        extension.init_app(app)
        app.add_url_rule("/", view_func=lambda: str(session.get("key")))
        assert client_of(app) is rs
        client = app.test_client()
        put(client, key=app.name)
        clients.append(client)
    assert [client.get("/").text for client in clients] == ["first", "second"]
    assert [len(rs.soapp(app.name, 600)) for app in apps] == [1, 1]
    clients[0].set_cookie("session", str(cookie(clients[1])))
    assert clients[0].get("/").text == "None"  # each has its own


def test_the_device_list_needs_an_application_that_was_set_up() -> None:
    app = Flask("without")
    with app.test_request_context(), pytest.raises(ValueError, match="memsessions"):
        devices()


# --------------------------------------------------------------------------------------------- cost


def test_a_request_costs_as_many_round_trips_as_the_session_needs(
    make: MakeApp, proxy: Proxy, app: Flask
) -> None:
    """None for a page that does not use it, one to read it, one more to write, whatever it holds."""
    counted = make(MEMSESSIONS_SERVERS=proxy.address)
    counted.url_map = app.url_map
    counted.view_functions = app.view_functions
    client = counted.test_client()
    put(client, key=[1, "x" * 1000], when=NOON)

    def trips(path: str) -> int:
        before = proxy.round_trips
        assert client.get(path).status_code == 200
        return proxy.round_trips - before

    paths = ["/nothing", "/get/key", "/set/key/value", "/set/key/value", "/pop/other"]
    assert [trips(path) for path in paths] == [0, 1, 2, 1, 1]
    put(client, _permanent=True)
    assert [trips(path) for path in paths] == [0, 1, 1, 1, 1]


def test_threads_share_an_application(app: Flask) -> None:
    done: list[object] = []

    def visit(number: int) -> None:
        client = app.test_client()
        for step in range(10):
            client.get(f"/set/step{step}/{number}")
        with client.session_transaction() as found:
            done.append(dict(found) == {f"step{step}": str(number) for step in range(10)})

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 4


def test_the_extension_is_a_client_like_any_other(app: Flask) -> None:
    assert isinstance(client_of(app), SessionsClient)
    assert interface_of(app).storage.app == APP
