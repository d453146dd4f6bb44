"""Django's rules for session engines, one by one, on the engine itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone

from memsessions import SessionsClient, SessionTooLarge, StoreUnavailable
from memsessions.django import SessionEnded, SessionStore, client

from ..conftest import Where
from ..support.proxy import Proxy
from ..support.sessions import contents
from .django_project import sessions_on

APP = "django"
DAY_S = 24 * 3600
FOREVER_S = 20 * 366 * DAY_S
AGE_S = 14 * DAY_S  # Django's default for SESSION_COOKIE_AGE


@pytest.fixture(autouse=True)
def _sessions(where: Where) -> Iterator[None]:
    with sessions_on(where):
        yield


def stored(**data: Any) -> SessionStore:
    """A session with this data, as the request knows it that has made it."""
    session = SessionStore()
    session.update(data)
    session.save()
    return session


def again(session: SessionStore) -> SessionStore:
    """The same session in another request."""
    return SessionStore(session.session_key)


def data(session: SessionStore) -> dict[str, Any]:
    """What another request finds."""
    return dict(again(session).items())


# ------------------------------------------------------------------------------------------ saving


def test_a_new_session_is_neither_looked_at_nor_changed_nor_stored(where: Where) -> None:
    session = SessionStore()
    assert (session.accessed, session.modified, session.session_key) == (False, False, None)
    assert session.is_empty()
    assert contents(where) == {}


def test_reading_a_new_session_asks_and_stores_nothing(where: Where) -> None:
    session = SessionStore()
    assert session.get("key") is None
    assert (session.accessed, session.modified, session.session_key) == (True, False, None)
    assert contents(where) == {}


def test_save_makes_a_session_that_another_request_finds() -> None:
    session = stored(key=["value", {"deep": 1}])
    assert data(session) == {"key": ["value", {"deep": 1}]}
    assert not session.is_empty()


def test_create_stores_an_empty_session_with_a_key() -> None:
    session = SessionStore()
    session.create()
    assert session.modified
    assert session.exists(session.session_key)
    assert data(session) == {}


def test_a_session_that_is_emptied_keeps_its_key() -> None:
    session = stored(key=1)
    del session["key"]
    session.save()
    assert session.exists(session.session_key)
    assert data(session) == {}


@pytest.mark.parametrize("key", ["unknown1", "a" * 32, "a" * 64, "a" * 10_000, "%00 \r\n" * 5])
def test_an_unknown_key_is_an_empty_session_without_key_and_is_not_adopted(where: Where, key: str) -> None:
    session = SessionStore(key)
    assert dict(session.items()) == {}
    assert session.session_key is None
    assert contents(where) == {}
    session["key"] = 1
    session.save()
    assert session.session_key not in (None, key)


@pytest.mark.parametrize("key", [None, "", "1234567", "12345678", "a" * 63, "a" * 65, "-" * 64])
def test_what_cannot_be_a_key_costs_no_trip(key: str | None) -> None:
    with override_settings(MEMSESSIONS={"servers": "127.0.0.1:1", "wipe": 0}):
        session = SessionStore(key)
        assert session.get("key") is None
        assert not session.exists(key)
        session.delete(key)


def test_an_unknown_key_cannot_be_saved() -> None:
    session = SessionStore("a" * 64)
    with pytest.raises(UpdateError):
        session.save()


def test_must_create_refuses_a_session_that_is_there_and_makes_one_that_is_not() -> None:
    session = stored(key=1)
    with pytest.raises(CreateError):
        session.save(must_create=True)
    assert data(session) == {"key": 1}
    session.delete()
    old = session.session_key
    session.save(must_create=True)
    assert data(session) == {"key": 1}
    assert not session.exists(old)


def test_data_that_is_too_large_is_refused_and_changes_nothing() -> None:
    session = stored(key=1)
    session["large"] = "x" * 2_000_000
    with pytest.raises(SessionTooLarge):
        session.save()
    assert data(session) == {"key": 1}


@pytest.mark.parametrize("where", ["memcached"], indirect=True)
def test_what_was_stored_a_moment_ago_is_not_stored_again(where: Where, proxy: Proxy) -> None:
    """As the middleware saves at the end of each request, after `cycle_key`, too."""
    with sessions_on(where, servers=proxy.address):
        session = stored(key=1)
        before = proxy.round_trips
        session.save()
        assert proxy.round_trips == before
        session["key"] = 2
        session.save()
        assert data(session) == {"key": 2}
        session.set_expiry(100)
        session.save()
        assert data(session)["_session_expiry"] == 100
        session = again(session)
        before = proxy.round_trips
        session.save()  # of one that was read it moves the end
        assert proxy.round_trips == before + 2


# ------------------------------------------------------------------------------- requests that meet


def test_requests_side_by_side_keep_each_others_keys() -> None:
    first = stored(cart=["apple"], gone=1, seen=1)
    second = again(first)
    second["language"] = "de"
    del second["gone"]
    first["cart"].append("pear")
    first["seen"] = 2
    second.save()
    first.save()
    assert data(first) == {"cart": ["apple", "pear"], "seen": 2, "language": "de"}


def test_a_request_that_saves_twice_does_not_undo_what_came_in_between() -> None:
    session = stored(key=1)
    session["key"] = 2
    session.save()
    other = again(session)
    other["other"] = 1
    other.save()
    session["key"] = 3
    session.save()
    assert data(session) == {"key": 3, "other": 1}


def test_who_loads_by_hand_does_not_undo_what_came_in_between() -> None:
    """As some do to look at what is stored, while the session goes on with the data it has."""
    session = again(stored(key=1))
    assert session["key"] == 1
    other = again(session)
    other["other"] = 1
    other.save()
    assert session.load() == {"key": 1, "other": 1}
    session["key"] = 2
    session.save()
    assert data(session) == {"key": 2, "other": 1}


def test_the_last_one_to_change_a_key_wins() -> None:
    first = stored(key=1)
    second = again(first)
    first["key"] = 2
    second["key"] = 3
    second.save()
    first.save()
    assert data(first) == {"key": 2}


@pytest.mark.parametrize("change", ["write", "clear", "cycle", "nothing", "log in"])
def test_a_session_that_was_ended_elsewhere_is_not_brought_back(where: Where, change: str) -> None:
    session = again(stored(key=1))
    if change != "clear":
        assert session["key"] == 1
    again(session).delete()
    if change == "clear":
        session.clear()
    elif change == "write":
        session["key"] = 2
    elif change == "log in":
        session[SESSION_KEY] = "user1234"
    with pytest.raises(UpdateError) as caught:
        (session.cycle_key if change == "cycle" else session.save)()
    assert isinstance(caught.value, SessionEnded)
    assert isinstance(caught.value, SessionInterrupted)
    assert str(session.session_key) not in str(caught.value)
    assert not any(":s:" in key for key in contents(where))
    assert session.load() == {}
    assert session.session_key is None


def test_what_one_request_deletes_it_cannot_save() -> None:
    session = stored(key=1)
    session.delete()
    with pytest.raises(UpdateError):
        session.save()


# -------------------------------------------------------------------------------------- other keys


def test_cycle_key_keeps_what_was_not_saved_yet_and_the_old_key_is_dead() -> None:
    session = again(stored(key=1))
    old = session.session_key
    session["new"] = 2
    session.cycle_key()
    assert session.modified
    assert session.session_key not in (None, old)
    assert not session.exists(old)
    assert data(session) == {"key": 1, "new": 2}


def test_cycle_key_keeps_what_others_have_written_meanwhile() -> None:
    session = again(stored(key=1))
    assert session["key"] == 1
    other = again(session)
    other["late"] = 1
    other.save()
    session.cycle_key()
    assert data(session) == {"key": 1, "late": 1}


def test_cycle_key_of_a_new_session_makes_one() -> None:
    session = SessionStore()
    session["key"] = 1
    session.cycle_key()
    assert data(session) == {"key": 1}


def test_flush_ends_a_session_and_what_follows_is_another() -> None:
    session = again(stored(key=1))
    old = session.session_key
    session.flush()
    assert (session.session_key, session.modified, session.accessed) == (None, True, True)
    assert session.is_empty()
    assert not session.exists(old)
    session["other"] = 1
    session.save()
    assert session.session_key != old
    assert data(session) == {"other": 1}


def test_clear_removes_all_data_even_what_was_not_read() -> None:
    session = again(stored(key=1, other=2))
    session.clear()
    session["new"] = 3
    session.save()
    assert data(session) == {"new": 3}


def test_delete_ends_another_session_by_its_key() -> None:
    session, other = stored(key=1), stored(key=2)
    session.delete(other.session_key)
    assert data(other) == {}
    assert data(session) == {"key": 1}


# ------------------------------------------------------------------------------------------ expiry


def test_a_session_ends_as_long_after_it_was_saved_as_the_setting_says(where: Where) -> None:
    with override_settings(SESSION_COOKIE_AGE=600):
        session = stored(key=1)
        where.advance(400)
        session["key"] = 2
        session.save()
        where.advance(590)
        assert data(session) == {"key": 2}
        where.advance(12)
        assert data(session) == {}


def test_reading_does_not_postpone_the_end_and_counts_as_being_used(
    where: Where, client: SessionsClient
) -> None:
    session = stored(key=1)
    where.advance(DAY_S)
    [before] = client.soapp(APP, FOREVER_S)
    assert DAY_S - 2 <= before["idle"] <= DAY_S + 2
    assert data(session) == {"key": 1}
    [after] = client.soapp(APP, FOREVER_S)
    assert after["idle"] <= 2
    assert AGE_S - DAY_S - 2 <= after["ttl"] <= AGE_S - DAY_S
    where.advance(AGE_S - DAY_S - 100)
    assert data(session) == {"key": 1}
    where.advance(102)
    assert data(session) == {}


def test_a_shorter_life_ends_earlier_under_the_same_key(where: Where) -> None:
    session = stored(key=1)
    key = session.session_key
    session.set_expiry(100)
    session.save()
    assert session.session_key == key
    where.advance(102)
    assert not session.exists(key)
    assert data(session) == {}


def test_a_life_of_seconds(where: Where) -> None:
    session = SessionStore()
    session.set_expiry(3)
    session.save()
    assert data(session) == {"_session_expiry": 3}
    where.advance(5)
    assert data(session) == {}


def test_a_longer_life_than_the_key_was_made_for_needs_a_new_key(where: Where) -> None:
    session = again(stored(key=1))
    old = session.session_key
    session.set_expiry(60 * DAY_S)
    session.save()
    assert session.session_key != old
    assert not session.exists(old)
    where.advance(59 * DAY_S)
    assert again(session)["key"] == 1
    where.advance(DAY_S + 2)
    assert data(session) == {}


def test_the_setting_may_become_longer(where: Where) -> None:
    session = stored(key=1)
    with override_settings(SESSION_COOKIE_AGE=2 * AGE_S):
        session = again(session)
        session["key"] = 2
        session.save()
        where.advance(AGE_S + DAY_S)
        assert data(session) == {"key": 2}


@pytest.mark.parametrize("life", [timedelta(hours=1), "date"])
def test_a_date_is_a_fixed_end(where: Where, life: timedelta | str) -> None:
    session = SessionStore()
    session.set_expiry(timezone.now() + timedelta(hours=1) if isinstance(life, str) else life)
    session.save()
    where.advance(3590)
    assert list(data(session)) == ["_session_expiry"]
    where.advance(12)
    assert data(session) == {}


def test_zero_is_until_the_browser_closes_and_at_most_the_settings_age(where: Where) -> None:
    session = stored(key=1)
    session.set_expiry(0)
    session.save()
    assert session.get_expire_at_browser_close()
    assert session.get_expiry_age() == AGE_S
    where.advance(AGE_S - 10)
    assert again(session)["key"] == 1


@pytest.mark.parametrize("age", [-3600, -timedelta(seconds=1), "past"])
def test_an_age_in_the_past_ends_a_session(where: Where, age: int | timedelta | str) -> None:
    session = stored(key=1)
    session.set_expiry(timezone.now() - timedelta(days=1) if isinstance(age, str) else age)
    session.save()
    assert not any(":s:" in key for key in contents(where))
    assert data(session) == {}
    session.save()  # once more, as the middleware does
    assert not any(":s:" in key for key in contents(where))


def test_a_new_session_with_an_age_in_the_past_is_not_stored_but_has_a_key(where: Where) -> None:
    session = SessionStore()
    session["key"] = 1
    session.set_expiry(-1)
    session.save()
    assert session.session_key is not None
    assert contents(where) == {}
    assert data(session) == {}


def test_a_session_that_was_over_and_is_not_any_more_is_a_new_one() -> None:
    session = stored(key=1)
    old = session.session_key
    session.set_expiry(-1)
    session.save()
    session.set_expiry(None)
    session.save()
    assert session.session_key != old
    assert data(session) == {"key": 1}


def test_no_session_lives_for_more_than_ten_years() -> None:
    session = SessionStore()
    session.set_expiry(FOREVER_S)
    session.save()
    session.save()
    assert list(data(session)) == ["_session_expiry"]


def test_ages_need_not_be_whole_seconds() -> None:
    with override_settings(SESSION_COOKIE_AGE=600.5):
        assert data(stored(key=1)) == {"key": 1}


def test_clearsessions_tidies_the_indexes(where: Where) -> None:
    session = stored(key=1)
    where.advance(2 * AGE_S)
    assert any(":i:" in key for key in contents(where))
    call_command("clearsessions")
    assert not any(":i:" in key for key in contents(where))
    assert data(session) == {}


# ------------------------------------------------------------------------------------------ others


def test_an_outage_raises_and_is_never_an_empty_session() -> None:
    session = stored(key=1)
    with override_settings(MEMSESSIONS={"servers": "127.0.0.1:1", "wipe": 0}):
        for ask in (
            lambda: again(session).get("key"),
            lambda: session.exists(session.session_key),
            session.delete,
            session.flush,
            session.cycle_key,
            session.create,
            stored,
        ):
            with pytest.raises(StoreUnavailable) as caught:
                ask()
            assert str(session.session_key) not in str(caught.value)


def test_two_sessions_are_two_visitors_and_nobodys(client: SessionsClient) -> None:
    stored(key=1)
    stored(key=2)
    assert client.activity(APP) == {"activity": 2}


def test_a_session_shows_neither_key_nor_data() -> None:
    session = stored(secret="rosebud")
    assert str(session.session_key) not in repr(session)
    assert "rosebud" not in repr(session)


def test_the_client_is_that_of_the_setting(where: Where) -> None:
    stored(key=1)
    assert len(client().soapp(APP)) == 1
    assert repr(where.ns) in repr(client())


def test_importing_the_engine_needs_neither_settings_nor_registry() -> None:
    program = "import memsessions.django as m; m.SessionStore; from django.conf import settings as s; "
    program += "print(s.configured)"
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")
