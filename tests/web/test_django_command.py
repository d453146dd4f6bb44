"""`manage.py memsessions`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.management import CommandError, call_command
from django.test import override_settings

from memsessions.django import SessionStore

from ..conftest import OnMemcached
from .django_project import sessions_on

USER = "user1234"


@pytest.fixture(autouse=True)
def _sessions(on_memcached: OnMemcached) -> Iterator[None]:
    with sessions_on(on_memcached):
        yield


def manage(*arguments: str) -> str:
    out = io.StringIO()
    call_command("memsessions", *arguments, stdout=out)
    return out.getvalue()


def session_of(user: str) -> SessionStore:
    session = SessionStore()
    session[SESSION_KEY] = user
    session.save()
    return session


def test_a_users_sessions_are_listed_for_people() -> None:
    key = session_of(USER).session_key
    session_of("another")
    first, second, *rest = manage("list", USER).splitlines()
    assert first == f"1 session of {USER}"
    assert "idle 0 s" in second
    assert rest == []
    assert str(key) not in second


def test_a_users_sessions_are_listed_for_programs() -> None:
    session_of(USER)
    [device] = json.loads(manage("list", USER, "--json"))
    assert set(device) == {"handle", "ip", "idle", "last_seen", "current"}
    assert json.loads(manage("list", "another", "--json")) == []


def test_all_of_a_users_sessions_are_ended() -> None:
    first, second, other = session_of(USER), session_of(USER), session_of("another")
    assert manage("end", USER) == f"2 sessions of {USER} ended\n"
    assert [each.exists(str(each.session_key)) for each in (first, second, other)] == [False, False, True]
    assert json.loads(manage("end", USER, "--json")) == {"ended": 0}


def test_one_of_a_users_sessions_is_ended() -> None:
    for _ in range(2):
        session_of(USER)
    handle = json.loads(manage("list", USER, "--json"))[0]["handle"]
    assert json.loads(manage("end", USER, "--device", handle, "--json")) == {"ended": 1}
    assert [handle] != [device["handle"] for device in json.loads(manage("list", USER, "--json"))]
    with pytest.raises(CommandError, match="user1234 has no such session") as caught:
        manage("end", USER, "--device", handle)
    assert caught.value.returncode == 1


def test_a_user_who_is_not_known_any_more_can_be_named_by_primary_key() -> None:
    with pytest.raises(CommandError, match="there is no user 'nobody'") as caught:
        manage("end", "nobody")
    assert caught.value.returncode == 1
    session_of("nobody")
    assert manage("end", "nobody", "--pk") == "1 session of nobody ended\n"


@pytest.mark.parametrize(
    "arguments", [[], ["list"], ["end"], ["forget", USER], ["list", USER, "--device", "x"]]
)
def test_bad_usage_is_an_error(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        manage(*arguments)


@pytest.mark.parametrize("user", ["", "x" * 129])
@pytest.mark.parametrize("action", ["list", "end"])
def test_what_cannot_be_a_user_is_no_outage(action: str, user: str) -> None:
    with pytest.raises(CommandError, match="id") as caught:
        manage(action, user, "--pk")
    assert caught.value.returncode == 1


@pytest.mark.parametrize("action", ["list", "end"])
def test_a_store_that_is_away_gives_exit_code_3_and_says_so(action: str) -> None:
    setting: dict[str, Any] = {"servers": "127.0.0.1:1", "wipe": 0}
    with override_settings(MEMSESSIONS=setting), pytest.raises(CommandError) as caught:
        manage(action, USER)
    assert caught.value.returncode == 3
    assert "127.0.0.1:1: Connection refused" in str(caught.value)
    assert ("some may live" in str(caught.value)) is (action == "end")
