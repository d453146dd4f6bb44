"""Django's log-in and log-out: whose session it is, and what that is good for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, login
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.http import HttpRequest
from django.test import Client, override_settings

from memsessions import InvalidValue, SessionsClient, StoreUnavailable
from memsessions.django import (
    SessionStore,
    app_name,
    client,
    devices,
    end_all,
    end_device,
    end_others,
)

from ..conftest import OnMemcached
from ..support.sessions import Ticks, between_ticks, since
from .django_project import sessions_on
from .django_project.models import Person

USER, OTHER = "user1234", "another"
APP = "shop"


@pytest.fixture(autouse=True)
def _sessions(on_memcached: OnMemcached) -> Iterator[None]:
    Person.objects.forget()
    with sessions_on(on_memcached, app=APP):
        yield


@pytest.fixture
def sessions(on_memcached: OnMemcached, make_client: Callable[..., SessionsClient]) -> SessionsClient:
    return make_client(on_memcached.address, ns=on_memcached.ns)


def visit(browser: Client, action: str, **arguments: Any) -> Any:
    body = json.dumps({"action": action, "gate": None, **arguments})
    answer = browser.post("/visit", body, "application/json")
    assert answer.status_code == 200
    return answer.json()["value"]


def logged_in(name: str = USER, ip: str = "192.0.2.1") -> Client:
    browser = Client(REMOTE_ADDR=ip)
    visit(browser, "write", items={"draft": "Hello"})
    visit(browser, "bind", user=name)
    return browser


def key_of(browser: Client) -> str:
    return browser.cookies["session"].value


def user_of(browser: Client) -> str | None:
    found: str | None = visit(browser, "read", key=SESSION_KEY)
    return found


# ------------------------------------------------------------------------------------------ log-in


def test_a_log_in_is_listed_with_its_address_and_keeps_the_guests_data(sessions: SessionsClient) -> None:
    browser = logged_in(ip="192.0.2.7")
    [session] = sessions.soid(APP, USER)
    assert (session["id"], session["ip"]) == (USER, "192.0.2.7")
    assert visit(browser, "read", key="draft") == "Hello"
    assert sessions.activity(APP) == {"activity": 1}


def test_receivers_of_the_log_in_see_the_key_that_the_visitor_gets() -> None:
    seen = []

    def look(*, request: Any, **_: object) -> None:
        seen.append(request.session.session_key)
        assert SessionStore(seen[-1])[SESSION_KEY] == USER

    user_logged_in.connect(look)
    try:
        browser = logged_in()
    finally:
        user_logged_in.disconnect(look)
    assert seen == [key_of(browser)]


def test_djangos_test_client_logs_in_and_out(sessions: SessionsClient) -> None:
    browser = Client()
    assert browser.login(username=USER, password=f"password of {USER}")
    assert user_of(browser) == USER
    assert browser.session[SESSION_KEY] == USER
    assert len(sessions.soid(APP, USER)) == 1
    browser.logout()
    assert sessions.soid(APP, USER) == []
    browser.force_login(Person.objects.get_by_natural_key(OTHER))
    assert user_of(browser) == OTHER


def test_djangos_test_client_prepares_sessions() -> None:
    """As its manual has it: the first look makes one, and the cookie stays that of it."""
    browser = Client()
    session = browser.session
    session["draft"] = "Hello"
    session.save()
    assert visit(browser, "read", key="draft") == "Hello"
    assert browser.session["draft"] == "Hello"


def test_who_logs_in_again_keeps_the_session() -> None:
    browser = logged_in()
    key = key_of(browser)
    visit(browser, "bind", user=USER)
    assert key_of(browser) == key


def test_another_user_in_the_same_browser_gets_another_session(sessions: SessionsClient) -> None:
    browser = logged_in()
    visit(browser, "bind", user=OTHER)
    assert (sessions.soid(APP, USER), len(sessions.soid(APP, OTHER))) == ([], 1)
    assert visit(browser, "read", key="draft") is None
    assert user_of(browser) == OTHER


def test_a_user_who_is_put_into_a_session_by_hand_owns_it_when_it_is_saved(
    sessions: SessionsClient,
) -> None:
    """As tests of projects do."""
    person = Person.objects.get_by_natural_key(USER)
    session = SessionStore()
    session[SESSION_KEY] = person.pk
    session[BACKEND_SESSION_KEY] = "tests.web.django_project.backend.PeopleBackend"
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    session.save()
    browser = Client()
    browser.cookies["session"] = str(session.session_key)
    assert visit(browser, "devices")[0]["current"] is True
    assert len(sessions.soid(APP, USER)) == 1


def test_a_guests_session_that_is_given_a_user_by_hand_moves(sessions: SessionsClient) -> None:
    session = SessionStore()
    session.create()
    guest = session.session_key
    session[SESSION_KEY] = 1234
    session.save()
    assert session.session_key != guest
    assert not session.exists(guest)
    assert len(sessions.soid(APP, "1234")) == 1


def test_log_ins_into_sessions_of_other_engines_are_left_alone() -> None:
    from django.contrib.sessions.backends.signed_cookies import SessionStore as InCookies

    request = HttpRequest()
    user_logged_in.send(Person, request=request, user=Person.objects.get_by_natural_key(USER))
    request.session = InCookies()
    login(request, Person.objects.get_by_natural_key(USER))
    assert request.session[SESSION_KEY] == USER


def test_a_log_in_whose_page_fails_sends_no_cookie() -> None:
    browser = Client(raise_request_exception=False)
    assert browser.get("/log-in-and-fail").status_code == 500
    assert "session" not in browser.cookies


# ----------------------------------------------------------------------------------------- log-out


def test_a_log_out_ends_the_session_and_deletes_the_cookie(sessions: SessionsClient) -> None:
    browser = logged_in()
    key = key_of(browser)
    visit(browser, "destroy")
    assert key_of(browser) == ""
    assert sessions.soapp(APP) == []
    browser.cookies["session"] = key
    assert user_of(browser) is None


def test_receivers_of_the_log_out_see_the_session_that_ends() -> None:
    browser, seen = logged_in(), []
    key = key_of(browser)

    def look(*, request: Any, user: Any, **_: object) -> None:
        seen.append((request.session.session_key, user.pk))

    user_logged_out.connect(look)
    try:
        visit(browser, "destroy")
    finally:
        user_logged_out.disconnect(look)
    assert seen == [(key, USER)]


def test_a_user_who_is_taken_out_by_hand_leaves_a_guests_session(sessions: SessionsClient) -> None:
    session = SessionStore(key_of(logged_in()))
    old = session.session_key
    del session[SESSION_KEY]
    session.save()
    assert sessions.soid(APP, USER) == []
    assert not session.exists(old)
    assert SessionStore(session.session_key)["draft"] == "Hello"


def test_an_emptied_session_of_a_user_is_nobodys(sessions: SessionsClient) -> None:
    session = SessionStore(key_of(logged_in()))
    session.clear()
    session.save()
    assert sessions.soid(APP, USER) == []


def test_killsoid_logs_out_everywhere() -> None:
    phone, laptop, other = logged_in(), logged_in(), logged_in(OTHER)
    user = Person.objects.get_by_natural_key(USER)
    assert client().killsoid(app_name(), str(user.pk)) == {"kill": 2}
    assert [user_of(each) for each in (phone, laptop, other)] == [None, None, OTHER]
    assert key_of(phone) == ""  # Django deletes the cookie of a session that is gone


def test_a_password_change_logs_out_everywhere_else(sessions: SessionsClient) -> None:
    phone, laptop = logged_in(), logged_in()
    key = key_of(phone)
    assert phone.post("/change-password", {"password": "new"}).status_code == 200
    assert key_of(phone) != key
    assert len(visit(phone, "devices")) == 2
    assert laptop.get("/count").json()["user"] is None
    assert len(sessions.soid(APP, USER)) == 1
    assert user_of(phone) == USER


@pytest.mark.parametrize("policy", ["raise", "anonymous"])
def test_a_log_out_that_does_not_reach_the_store_raises(policy: str) -> None:
    browser = logged_in()
    setting = {"servers": "127.0.0.1:1", "wipe": 0, "app": APP, "on_outage": policy}
    with override_settings(MEMSESSIONS=setting), pytest.raises(StoreUnavailable):
        visit(browser, "destroy")
    assert user_of(browser) == USER


def test_by_the_anonymous_policy_nobody_is_logged_in_by_hand_or_out_by_clearing() -> None:
    key = key_of(logged_in())
    setting = {"servers": "127.0.0.1:1", "wipe": 0, "app": APP, "on_outage": "anonymous"}
    with override_settings(MEMSESSIONS=setting):
        session = SessionStore(key)
        assert session.get("draft") is None
        session["draft"] = "lost"
        assert not session.modified
        session.save()
        assert session.session_key == key
        session[SESSION_KEY] = OTHER
        assert session.modified
        for write in (session.save, session.cycle_key, session.create):
            with pytest.raises(StoreUnavailable):
                write()
        with pytest.raises(StoreUnavailable):
            end_others(SessionStore(key))
        session = SessionStore(key)
        session.clear()
        with pytest.raises(StoreUnavailable):
            session.save()
        session = SessionStore(key)
        session.set_expiry(-1)
        with pytest.raises(StoreUnavailable):
            session.save()
    assert SessionStore(key)["draft"] == "Hello"


def test_what_was_empty_by_an_outage_never_takes_the_place_of_what_is_stored(
    on_memcached: OnMemcached,
) -> None:
    """Whoever loads by hand when the outage is over has still no data to write."""
    key = key_of(logged_in())
    with override_settings(MEMSESSIONS={"servers": "127.0.0.1:1", "wipe": 0, "on_outage": "anonymous"}):
        session = SessionStore(key)
        assert session.get("draft") is None
    with sessions_on(on_memcached, app=APP, on_outage="anonymous"):
        assert session.load()["draft"] == "Hello"
        session["draft"] = "lost"
        session.save()
        assert SessionStore(key)["draft"] == "Hello"
        assert SessionStore(key)[SESSION_KEY] == USER


@pytest.mark.parametrize("how", ["del", "pop", "apop"])
@pytest.mark.parametrize("known", [True, False], ids=["read before", "not read"])
def test_without_djangos_users_whatever_is_removed_may_be_a_log_out(
    on_memcached: OnMemcached, how: str, known: bool
) -> None:
    """Its manual has `del request.session["member_id"]`; no page may say that it worked if it did not."""
    setting: dict[str, Any] = {"on_outage": "anonymous", "app": APP}
    down = override_settings(MEMSESSIONS={"servers": "127.0.0.1:1", "wipe": 0, **setting})
    with (
        override_settings(INSTALLED_APPS=["memsessions.django"]),
        sessions_on(on_memcached, **setting),
    ):
        stored = SessionStore()
        stored.update({"member_id": 1, "seen": 1, "_messages": "[]"})
        stored.save()
        session = SessionStore(stored.session_key)
        if known:
            assert session["member_id"] == 1
        with down:
            session.pop("_messages", None)
            session["seen"] = 2
            session.save()  # which is lost
            if how == "apop":
                asyncio.run(session.apop("member_id", None))
            elif how == "pop":
                session.pop("member_id", None)
            else:
                with contextlib.nullcontext() if known else pytest.raises(KeyError):
                    del session["member_id"]
            assert session.modified
            with pytest.raises(StoreUnavailable):
                session.save()
        assert SessionStore(stored.session_key)["member_id"] == 1


def test_with_djangos_users_what_else_is_removed_is_lost(on_memcached: OnMemcached) -> None:
    with sessions_on(on_memcached, app=APP, on_outage="anonymous"):
        session = SessionStore(key_of(logged_in()))
        assert session["draft"] == "Hello"
        with override_settings(MEMSESSIONS={"servers": "127.0.0.1:1", "wipe": 0, "on_outage": "anonymous"}):
            del session["draft"]
            session.save()
        assert SessionStore(session.session_key)["draft"] == "Hello"


def test_by_the_anonymous_policy_a_strangers_cookie_stands_for_nothing() -> None:
    setting = {"servers": "127.0.0.1:1", "wipe": 0, "app": APP, "on_outage": "anonymous"}
    stranger = Client()
    with override_settings(MEMSESSIONS=setting):
        visit(stranger, "write", items={"key": 1})
    assert len(key_of(stranger)) == 32  # no key of the store
    assert visit(stranger, "read", key="key") is None
    assert key_of(stranger) == ""


# ----------------------------------------------------------------------------------------- devices


def test_devices_are_shown_and_ended_one_by_one(on_memcached: OnMemcached) -> None:
    ticks = Ticks(on_memcached)
    phone = logged_in(ip="192.0.2.1")
    on_memcached.advance(100)
    laptop = logged_in(ip="192.0.2.2")
    user = Person.objects.get_by_natural_key(USER)
    shown = devices(user, SessionStore(key_of(laptop)))
    assert [(each["ip"], each["current"]) for each in shown] == [("192.0.2.2", True), ("192.0.2.1", False)]
    assert shown[0]["idle"] in since(ticks, 0)
    assert shown[1]["idle"] in since(ticks, 100)
    others, same = between_ticks(
        on_memcached, lambda: (devices(user.pk), devices(user, SessionStore(key_of(laptop))))
    )
    assert others == [{**each, "current": False} for each in same]
    assert end_device(user, shown[1]["handle"]) is True
    assert end_device(OTHER, shown[0]["handle"]) is False
    assert (user_of(phone), user_of(laptop)) == (None, USER)


def test_the_others_are_ended_and_all() -> None:
    here, there, other = logged_in(), logged_in(), logged_in(OTHER)
    assert end_others(SessionStore(key_of(here))) == 1
    assert [user_of(each) for each in (here, there, other)] == [USER, None, OTHER]
    assert end_all(Person.objects.get_by_natural_key(USER)) == 1
    assert [user_of(each) for each in (here, other)] == [None, OTHER]


def test_nobody_has_no_devices() -> None:
    from django.contrib.auth.models import AnonymousUser  # which needs the project

    for ask in (devices, end_all):
        with pytest.raises(InvalidValue):
            ask(AnonymousUser())
    with pytest.raises(InvalidValue):
        end_device(None, "handle")
    with pytest.raises(InvalidValue):
        end_others(SessionStore())
