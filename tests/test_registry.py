"""The list of apps: every app is on it once at least, and nothing that others write there does harm."""

from __future__ import annotations

import pytest

from memsessions import SessionsClient
from memsessions.registry import Registry

from .conftest import MakeClient, Where
from .support.damage import append, evict, put, value


def apps_key(rs: SessionsClient) -> bytes:
    return rs._nodes[0].root + b":apps"


def test_an_app_is_entered_by_its_first_session_and_once(client: SessionsClient) -> None:
    assert client._nodes[0].registry.names() == []
    for app in ("forum", "shop", "forum", "shop"):
        client.create(app, "user", "192.0.2.1")
    assert client._nodes[0].registry.names() == ["forum", "shop"]
    assert value(client, apps_key(client)) == b"forum\nshop\n"


def test_an_app_that_another_client_has_entered_is_not_entered_again(
    where: Where, client: SessionsClient, make_client: MakeClient
) -> None:
    other = make_client(where.address, ns=where.ns)
    for rs in (client, other):
        rs.create("forum", "user", "192.0.2.1")
    assert value(client, apps_key(client)) == b"forum\n"


@pytest.mark.parametrize("call", ["get", "soid", "soapp", "kill", "killall"])
def test_only_a_session_enters_its_app(client: SessionsClient, call: str) -> None:
    """What looks at an app that nobody uses leaves no trace of it."""
    arguments = {"get": ["x" * 64], "kill": ["x" * 64], "soid": ["user"]}.get(call, [])
    getattr(client, call)("forum", *arguments)
    assert client._nodes[0].registry.names() == []


def test_a_name_that_stands_twice_is_one_app(client: SessionsClient) -> None:
    """Two clients that begin with an app at the same time both enter it."""
    client.create("forum", "user", "192.0.2.1")
    append(client, apps_key(client), b"forum\nforum\n")
    assert client._nodes[0].registry.names() == ["forum"]


@pytest.mark.parametrize(
    "damage",
    [b"", b"\n\n", b"fo", b"a b c\n", b"\xff\xfe\n", b"forum:s:x\n", b"x" * 21 + b"\n", b"no end", b"\0\n"],
)
def test_lines_that_are_no_apps_are_passed_over(client: SessionsClient, damage: bytes) -> None:
    """Names end at a line's end: what was appended to a broken line is lost for the list only."""
    client.create("forum", "user", "192.0.2.1")
    put(client, apps_key(client), b"forum\n" + damage + b"\nshop\n")
    assert client._nodes[0].registry.names() == ["forum", "shop"]
    assert client.wipe() == {"wiped": 0}


def test_a_list_that_was_evicted_is_made_again_by_those_who_use_an_app(
    where: Where, client: SessionsClient, make_client: MakeClient
) -> None:
    """At their turn to wipe, at the latest; a client that knows nothing then wipes the app as well."""
    client.create("forum", "user", "192.0.2.1", ttl=10)
    evict(client, apps_key(client))
    where.advance(30)
    other = make_client(where.address, ns=where.ns)
    assert other.wipe() == {"wiped": 0}
    client._wipe_in_turn()
    assert client._nodes[0].registry.names() == ["forum"]
    client.create("forum", "user", "192.0.2.1", ttl=10)
    where.advance(30)
    assert other.wipe() == {"wiped": 1}


def test_names_that_begin_alike_are_different_apps(client: SessionsClient) -> None:
    registry = Registry(client._nodes[0].store, client._nodes[0].root)
    client.create("forum-2", "user", "192.0.2.1")
    assert registry.entering("forum") != []
    assert registry.entering("forum-2") == []
    client.create("forum", "user", "192.0.2.1")
    assert registry.names() == ["forum-2", "forum"]
