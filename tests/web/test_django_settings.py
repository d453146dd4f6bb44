"""The setting MEMSESSIONS, what it makes, and Django's own settings for sessions."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import Client, override_settings
from pymemcache import Client as Pymemcache

from memsessions.django import SessionStore, app_name, client
from memsessions.django.configured import configure, configured

from ..conftest import OnMemcached
from ..support.sessions import contents
from .django_project import sessions_on
from .site import PATH


def visit(browser: Client, action: str, **arguments: Any) -> Any:
    body = {"action": action, "gate": None, **arguments}
    return browser.post(PATH, body, "application/json")


# ------------------------------------------------------------------------------------- MEMSESSIONS


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"server": "x", "nss": 1}, "MEMSESSIONS has no server, nss; it can have app, cachemax, "),
        ("127.0.0.1", "MEMSESSIONS must be a dict, not str"),
        ({"app": "x"}, "MEMSESSIONS: Invalid app format"),
        ({"app": None}, "MEMSESSIONS: No app supplied"),
        ({"on_outage": "ignore"}, 'MEMSESSIONS: on_outage must be "raise" or "anonymous"'),
        ({"ns": "a b"}, "MEMSESSIONS: ns must"),
        ({"servers": "a:b:c"}, "MEMSESSIONS: "),
        ({"timeout": 0}, "MEMSESSIONS: timeout must"),
        ({"password": "rosebud"}, "MEMSESSIONS: username and password must"),
        ({"encryption_key": "rosebud"}, "MEMSESSIONS: encryption_key: number 1 is no key"),
    ],
)
def test_what_is_wrong_with_the_setting_is_said(setting: object, message: str) -> None:
    with override_settings(MEMSESSIONS=setting), pytest.raises(ImproperlyConfigured) as caught:
        SessionStore("a" * 64).load()
    assert str(caught.value).startswith(message)
    assert "rosebud" not in str(caught.value)


def test_every_argument_of_the_client_is_a_key() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        configure({"unknown": 1})
    for key in ("servers", "ns", "wipe", "client", "timeout", "tls_context", "username", "app", "on_outage"):
        assert f" {key}" in str(caught.value)


def test_what_the_setting_does_not_say_is_taken_from_the_environment(
    on_memcached: OnMemcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSESSIONS_SERVERS", on_memcached.address)
    monkeypatch.setenv("MEMSESSIONS_NS", "from-env")
    monkeypatch.setenv("MEMSESSIONS_WIPE", "0")
    with configure(None).client as made:
        assert repr(made) == f"<SessionsClient {on_memcached.address} ns='from-env'>"
    with configure({"ns": on_memcached.ns}).client as made:
        assert repr(made) == f"<SessionsClient {on_memcached.address} ns={on_memcached.ns!r}>"
    monkeypatch.setenv("MEMSESSIONS_NS", "not one")
    with pytest.raises(ImproperlyConfigured, match="MEMSESSIONS_NS is not usable"):
        configure(None)


def test_app_and_policy_are_taken_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSESSIONS_APP", "from-env")
    monkeypatch.setenv("MEMSESSIONS_ON_OUTAGE", "anonymous")
    made, said = configure(None), configure({"app": "said", "on_outage": "raise"})
    with made.client, said.client:
        assert (made.app, made.anonymous_on_outage) == ("from-env", True)
        assert (said.app, said.anonymous_on_outage) == ("said", False)


def test_keys_are_taken_from_the_environment_too(
    on_memcached: OnMemcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who says that data is to be encrypted does not find it in the open; several stand after commas."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    with sessions_on(on_memcached, encryption_key=old):
        session = SessionStore()
        session["rosebud"] = "sledge"
        session.save()
    monkeypatch.setenv("MEMSESSIONS_ENCRYPTION_KEY", f"{new}, {old}")
    with sessions_on(on_memcached):
        session = SessionStore(session.session_key)
        assert session["rosebud"] == "sledge"
        session["more"] = "sledges"
        session.save()
    assert not any(b"sledge" in value for value in contents(on_memcached).values())
    with sessions_on(on_memcached, encryption_key=new):
        assert SessionStore(session.session_key)["more"] == "sledges"
    monkeypatch.setenv("MEMSESSIONS_ENCRYPTION_KEY", "rosebud")
    with pytest.raises(ImproperlyConfigured, match="encryption_key: number 1 is no key") as caught:
        configure(None)
    assert "rosebud" not in str(caught.value)


def test_a_pymemcache_client_brings_its_own_server(
    on_memcached: OnMemcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSESSIONS_SERVERS", "127.0.0.1:1")
    shared = Pymemcache(("127.0.0.1", on_memcached.server.port))
    with override_settings(MEMSESSIONS={"client": shared, "ns": on_memcached.ns, "wipe": 0}):
        SessionStore().create()
        assert len(client().soapp("django")) == 1


def test_the_app_is_django_unless_it_is_said(on_memcached: OnMemcached) -> None:
    with sessions_on(on_memcached):
        assert app_name() == "django"
    with sessions_on(on_memcached, app="shop"):
        assert app_name() == "shop"
        SessionStore().create()
        assert len(client().soapp("shop")) == 1


def test_one_client_serves_a_process_until_the_setting_is_overridden(on_memcached: OnMemcached) -> None:
    with sessions_on(on_memcached):
        first = configured()
        assert configured() is first
        with sessions_on(on_memcached, app="other"):
            assert configured() is not first
            SessionStore().create()
            assert len(client().soapp("other")) == 1
        SessionStore().create()
        assert len(client().soapp("django")) == 1


def test_data_can_be_encrypted(on_memcached: OnMemcached) -> None:
    key = Fernet.generate_key()
    with sessions_on(on_memcached, encryption_key=[key]):
        session = SessionStore()
        session["rosebud"] = "sledge"
        session.save()
        assert SessionStore(session.session_key)["rosebud"] == "sledge"
    assert not any(b"sledge" in value for value in contents(on_memcached).values())
    with sessions_on(on_memcached):
        assert SessionStore(session.session_key).load() == {}


# ----------------------------------------------------------------------------------------- the app


def test_django_has_nothing_to_complain_of() -> None:
    out = io.StringIO()
    call_command("check", fail_level="WARNING", stdout=out)
    assert out.getvalue() == "System check identified no issues (0 silenced).\n"


def test_a_setting_that_is_wrong_is_found_by_check() -> None:
    with (
        override_settings(MEMSESSIONS={"sever": "x"}),
        pytest.raises(SystemCheckError, match=r"memsessions\.E001.*MEMSESSIONS has no sever"),
    ):
        call_command("check")


def test_the_label_of_the_app_is_its_own() -> None:
    assert apps.get_app_config("memsessions").name == "memsessions.django"
    assert list(apps.get_app_config("memsessions").get_models()) == []


def test_the_engine_needs_not_be_installed_as_an_app() -> None:
    program = """
import django
from django.conf import settings
settings.configure(SESSION_ENGINE="memsessions.django", MEMSESSIONS={"servers": "memory://"})
django.setup()
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
def view(request):
    request.session["key"] = 1
    return HttpResponse()
answer = SessionMiddleware(view)(HttpRequest())
from memsessions.django import SessionStore
print(SessionStore(answer.cookies["sessionid"].value)["key"])
"""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1\n", "")


# --------------------------------------------------------------------------------- Django's settings


def test_the_cookie_is_as_djangos_settings_say(on_memcached: OnMemcached) -> None:
    browser = Client()
    with (
        sessions_on(on_memcached),
        override_settings(
            SESSION_COOKIE_NAME="sid",
            SESSION_COOKIE_AGE=100,
            SESSION_COOKIE_PATH="/shop",
            SESSION_COOKIE_DOMAIN=".example.org",
            SESSION_COOKIE_SECURE=True,
            SESSION_COOKIE_HTTPONLY=False,
            SESSION_COOKIE_SAMESITE="Strict",
        ),
    ):
        cookie = visit(browser, "write", items={"key": 1}).cookies["sid"]
    assert len(cookie.value) == 64
    attributes = {
        name: cookie[name] for name in ("max-age", "path", "domain", "secure", "httponly", "samesite")
    }
    assert attributes == {
        "max-age": 100,
        "path": "/shop",
        "domain": ".example.org",
        "secure": True,
        "httponly": "",
        "samesite": "Strict",
    }


def test_a_cookie_that_goes_with_the_browser_has_no_age(on_memcached: OnMemcached) -> None:
    with sessions_on(on_memcached), override_settings(SESSION_EXPIRE_AT_BROWSER_CLOSE=True):
        cookie = visit(Client(), "write", items={"key": 1}).cookies["session"]
    assert (cookie["max-age"], cookie["expires"]) == ("", "")


def test_a_session_can_be_saved_by_every_request(on_memcached: OnMemcached) -> None:
    with (
        sessions_on(on_memcached),
        override_settings(SESSION_SAVE_EVERY_REQUEST=True, SESSION_COOKIE_AGE=600),
    ):
        visitor, stranger = Client(), Client()
        visit(visitor, "write", items={"key": 1})
        for _ in range(3):
            on_memcached.advance(400)
            assert "session" in visit(visitor, "nothing").cookies
        assert visit(visitor, "read", key="key").json()["value"] == 1
        assert not visit(stranger, "nothing").cookies
        assert len(client().soapp("django")) == 1
        stranger.cookies["session"] = "made up"
        assert visit(stranger, "read", key="key").json()["value"] is None


def test_what_middleware_and_templates_keep_in_sessions_works(on_memcached: OnMemcached) -> None:
    """CSRF tokens and messages, as Django can keep them there."""
    with sessions_on(on_memcached), override_settings(CSRF_USE_SESSIONS=True):
        browser = Client(enforce_csrf_checks=True)
        visit(browser, "flash", key="notice", value="saved")
        assert browser.post("/change-password").status_code == 403
        assert visit(browser, "flashed", key="notice").json()["value"] == "saved"


def test_the_tests_settings_are_the_projects_own() -> None:
    assert settings.SESSION_ENGINE == "memsessions.django"
