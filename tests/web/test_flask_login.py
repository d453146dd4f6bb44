"""Flask-Login on memsessions, in the example: log in, see where, and log out there."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from ..conftest import OnMemcached
from ..support.memcached import Memcached
from ..support.proxy import Proxy
from ..support.sessions import contents
from .flask_apps import MakeApp, client_of, cookie, interface_of, making_apps, set_cookies

flask_login = pytest.importorskip("flask_login")
EXAMPLE = Path(__file__).parents[1] / "examples" / "flask_app.py"
APP = "example"


def load() -> ModuleType:
    """The example, as if its process had just begun."""
    spec = importlib.util.spec_from_file_location("flask_app", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, on_memcached: OnMemcached) -> pytest.MonkeyPatch:
    for name, value in (("SERVERS", on_memcached.address), ("NS", on_memcached.ns), ("WIPE", "0")):
        monkeypatch.setenv(f"MEMSESSIONS_{name}", value)
    return monkeypatch


@pytest.fixture
def app(environment: pytest.MonkeyPatch) -> Iterator[Flask]:
    del environment
    app: Flask = load().app
    yield app
    client_of(app).close()


def log_in(app: Flask, name: str = "alice", ip: str = "192.0.2.1") -> FlaskClient:
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = ip
    response = client.post("/login", data={"name": name, "password": app_passwords[name]})
    assert (response.status_code, response.location) == (302, "/")
    return client


app_passwords = {"alice": "wonderland", "bob": "builder"}


def rows(client: FlaskClient) -> list[tuple[str, str, str | None]]:
    """The list that is shown: whether it is this one, the address, and what its button sends."""
    page = client.get("/")
    assert page.status_code == 200
    found = re.findall(r'<tr class="(\w+)">(.*?)</tr>', page.text, re.DOTALL)
    shown = []
    for kind, row in found:
        handle = re.search(r'value="([^"]+)"', row)
        address = re.search(r"<td>([^<]+)</td>", row)
        assert address is not None
        shown.append((kind, address[1], handle and handle[1]))
    return sorted(shown)


def message(response: TestResponse) -> str:
    found = re.search(r'role="status">([^<]+)<', response.text)
    return "" if found is None else found[1]


def test_the_page_is_for_users_only(app: Flask, on_memcached: OnMemcached) -> None:
    client = app.test_client()
    response = client.get("/")
    assert response.status_code == 302
    assert response.location.startswith("/login")
    assert client.get("/login").status_code == 200
    wrong = client.post("/login", data={"name": "alice", "password": "?"}, follow_redirects=True)
    assert message(wrong) == "Wrong name or password."
    del on_memcached


def test_a_user_sees_every_device_and_which_one_is_this(app: Flask) -> None:
    phone, laptop = log_in(app, ip="192.0.2.1"), log_in(app, ip="192.0.2.2")
    log_in(app, "bob")
    assert [row[:2] for row in rows(phone)] == [("current", "192.0.2.1"), ("other", "192.0.2.2")]
    assert [row[:2] for row in rows(laptop)] == [("current", "192.0.2.2"), ("other", "192.0.2.1")]
    page = phone.get("/").text
    for client in (phone, laptop):
        assert str(cookie(client)) not in page  # nobody can log in with what is shown
    assert client_of(app).activity(APP) == {"activity": 2}


def test_a_user_ends_another_device(app: Flask) -> None:
    phone, laptop = log_in(app), log_in(app)
    [handle] = [handle for kind, _, handle in rows(phone) if kind == "other"]
    ended = phone.post("/end", data={"handle": handle}, follow_redirects=True)
    assert message(ended) == "That session has ended."
    assert laptop.get("/").status_code == 302
    assert len(rows(phone)) == 1
    again = phone.post("/end", data={"handle": handle}, follow_redirects=True)
    assert message(again) == "That session had ended already."


def test_nobody_ends_the_device_of_another_user(app: Flask) -> None:
    alice, bob = log_in(app), log_in(app, "bob")
    second = log_in(app, "bob")
    [handle] = [handle for kind, _, handle in rows(bob) if kind == "other"]
    refused = alice.post("/end", data={"handle": handle}, follow_redirects=True)
    assert message(refused) == "That session had ended already."
    assert len(rows(second)) == 2


def test_ending_this_device_is_a_log_out(app: Flask) -> None:
    phone, laptop = log_in(app), log_in(app, ip="192.0.2.2")
    [handle] = [handle for _, ip, handle in rows(laptop) if ip == "192.0.2.1"]
    response = phone.post("/end", data={"handle": handle})
    assert response.status_code == 302
    assert phone.get("/").status_code == 302  # to the log-in
    assert len(rows(laptop)) == 1


def test_log_out_everywhere_else_and_here(app: Flask) -> None:
    phone, *others = [log_in(app) for _ in range(4)]
    bob = log_in(app, "bob")
    done = phone.post("/end-others", follow_redirects=True)
    assert message(done) == "Logged out in 3 other places."
    assert [client.get("/").status_code for client in others] == [302] * 3
    assert len(rows(phone)) == len(rows(bob)) == 1
    before = cookie(phone)
    assert message(phone.post("/logout", follow_redirects=True)) == "You are logged out."
    assert client_of(app).soid(APP, "alice") == []
    other = app.test_client()
    other.set_cookie("session", str(before))
    assert other.get("/").status_code == 302


def test_an_administrator_logs_a_user_out_everywhere(app: Flask) -> None:
    clients = [log_in(app) for _ in range(3)]
    bob = log_in(app, "bob")
    assert client_of(app).killsoid(APP, "alice") == {"kill": 3}
    assert [client.get("/").status_code for client in clients] == [302] * 3
    assert bob.get("/").status_code == 200


def test_every_log_in_and_log_out_changes_the_id(app: Flask) -> None:
    """A cookie that somebody planted before is of no use after it, whoever logs in."""
    client = app.test_client()
    client.post("/login", data={"name": "alice", "password": "?"})  # a message makes it a session
    seen = [cookie(client)]
    for name in ("alice", "alice", "bob"):
        client.post("/login", data={"name": name, "password": app_passwords[name]})
        seen.append(cookie(client))
        assert [found["id"] for found in client_of(app).soapp(APP, 600)] == [name]
    client.post("/logout")
    seen.append(cookie(client))
    assert None not in seen
    assert len(set(seen)) == len(seen)
    for old in seen[:-1]:
        thief = app.test_client()
        thief.set_cookie("session", str(old))
        assert thief.get("/").status_code == 302


def test_who_is_ended_elsewhere_during_a_request_is_led_to_the_log_in(app: Flask) -> None:
    client = log_in(app)

    def end(response: Any) -> Any:
        client_of(app).killsoid(APP, "alice")
        return response

    app.after_request_funcs[None].append(end)
    response = client.post(
        "/end", data={"handle": "none"}
    )  # it leaves a message, so there is something to save
    assert (response.status_code, response.location) == (302, "/login")


def test_what_a_request_costs_with_flask_login(
    environment: pytest.MonkeyPatch, proxy: Proxy, on_memcached: OnMemcached
) -> None:
    """It asks the session at the end of every request whether there is something to remember: one trip."""
    environment.setenv("MEMSESSIONS_SERVERS", proxy.address)
    app: Flask = load().app
    app.add_url_rule("/static-page", view_func=lambda: "the same for everybody")
    client = log_in(app)

    def trips(path: str, client: FlaskClient = client) -> int:
        before = proxy.round_trips
        assert client.get(path).status_code == 200
        return proxy.round_trips - before

    assert trips("/static-page") == 1
    assert trips("/") == 1 + 2  # the list is two
    assert trips("/login", app.test_client()) == 0
    client_of(app).close()
    assert contents(on_memcached)


# ----------------------------------------------------------------------- what the example does not do


@pytest.fixture
def make(own_memcached: Memcached) -> Iterator[MakeApp]:
    yield from making_apps(OnMemcached(own_memcached))


def with_login(app: Flask) -> Flask:
    app.secret_key = "it signs the cookies that remember"
    manager = flask_login.LoginManager(app)

    @manager.user_loader  # type: ignore[untyped-decorator]
    def load_user(name: str) -> Any:
        user = flask_login.UserMixin()
        user.id = name
        return user

    @app.get("/login/<name>")
    def log_in(name: str) -> str:
        flask_login.login_user(load_user(name), remember=True)
        return "hello"

    @app.get("/logout")
    def log_out() -> str:
        flask_login.logout_user()
        return "bye"

    @app.get("/confirm")
    def confirm() -> str:
        flask_login.confirm_login()
        return "sure"

    @app.get("/who")
    def who() -> str:
        return str(flask_login.current_user.get_id())

    return app


def test_who_is_remembered_gets_a_session_of_theirs(make: MakeApp) -> None:
    app = with_login(make())
    client = app.test_client()
    client.get("/login/alice")
    client.delete_cookie("session")
    assert client.get("/who").text == "alice"
    storage = interface_of(app).storage
    assert len(storage.client.soid(storage.app, "alice")) == 2
    client.get("/logout")
    assert client.get("/who").text == "None"
    assert len(storage.client.soid(storage.app, "alice")) == 1


def test_who_proves_again_who_they_are_gets_a_new_id(make: MakeApp) -> None:
    client = with_login(make()).test_client()
    client.get("/login/alice")
    before = cookie(client)
    client.get("/confirm")
    assert cookie(client) != before
    assert client.get("/who").text == "alice"


@pytest.mark.parametrize("policy", ["raise", "anonymous"])
def test_no_log_in_or_log_out_succeeds_during_an_outage(
    make: MakeApp, own_memcached: Memcached, policy: str
) -> None:
    """Though for Flask-Login there is nobody to log out, where the session looks empty."""
    app = with_login(make(MEMSESSIONS_ON_OUTAGE=policy))
    client = app.test_client()
    client.get("/login/alice")
    client.delete_cookie("remember_token")
    own_memcached.kill()
    for path in ("/logout", "/login/alice", "/login/bob", "/confirm"):
        response = client.get(path)
        assert (response.status_code, set_cookies(response)) == (503, [])
    if policy == "anonymous":
        assert client.get("/who").text == "None"
    else:
        assert client.get("/who").status_code == 503
