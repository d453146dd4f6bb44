"""How servers are written, one or several: every form that is right, and every one that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pymemcache import Client, HashClient

from memsessions import ConfigurationError, Server, SessionsClient
from memsessions.servers import Listed, from_text, listed

from .conftest import MakeClient
from .support.naming import named

A, B = "10.0.0.1:11211", "10.0.0.2:11211"


def names(servers: Any) -> list[str]:
    return [server.name for server in listed(servers)]


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        ([A, B], [A, B]),
        ([A], [A]),
        (["cache-a", "cache-b:11212"], ["cache-a", "cache-b:11212"]),
        ([("10.0.0.1", 11211), ("::1", 1)], ["10.0.0.1:11211", "[::1]:1"]),
        ([A, "unix:/run/m.sock", "[::1]"], [A, "unix:/run/m.sock", "[::1]"]),
        ({"cache-a": A, "cache-b": ("10.0.0.2", 1)}, ["cache-a", "cache-b"]),
        ({"cache-a": Server(A), "b": Server(B, weight=2)}, ["cache-a", "b"]),
        ([f"{A}?weight=2", f"{B}?drain", Server("c")], [A, B, "c"]),
        (["memory://a", "memory://b"], ["memory://a", "memory://b"]),
    ],
    ids=named,
)
def test_a_server_is_called_by_its_name_or_as_its_address_was_written(
    servers: Any, expected: list[str]
) -> None:
    """Options are no part of the name: a server that is set to drain keeps its sessions."""
    assert names(servers) == expected


@pytest.mark.parametrize(
    ("server", "weight", "drain"),
    [
        (A, 1.0, False),
        (f"{A}?weight=2.5", 2.5, False),
        (f"{A}?drain&weight=3", 3.0, True),
        (Server(A, weight=2), 2.0, False),
        (Server(A, drain=True), 1.0, True),
    ],
)
def test_a_server_says_its_weight_and_whether_it_drains(server: Any, weight: float, drain: bool) -> None:
    found = listed({"one": server, "other": B})[0]
    assert found == Listed("one", ("10.0.0.1", 11211), "one", weight, drain)


@pytest.mark.parametrize(
    ("servers", "message"),
    [
        ([], "names no server"),
        ({}, "names no server"),
        ([A, A], "the same name twice"),
        ([A, "10.0.0.1"], "the same address twice"),
        ({"a": A, "b": A}, "the same address twice"),
        ([A, "memory://"], "memory://"),
        ([f"{A}?drain"], "all set to drain"),
        ([f"{A}?drain", Server(B, drain=True)], "all set to drain"),
        (f"{A}?drain", "all set to drain"),
        ([f"{A}?weight=0"], "above 0"),
        ([f"{A}?weight=nan"], "above 0"),
        ([f"{A}?weight=heavy"], "above 0"),
        ([Server(A, weight=-1)], "above 0"),
        ([Server(A, weight=True)], "above 0"),
        ([Server(A, drain=1)], "True or False"),  # type: ignore[arg-type]
        ([f"{A}?colour=red"], "'colour=red'"),
        ([f"{A}?"], "''"),
        ([A, 5], "servers must be"),
        ([[A]], "servers must be"),
        ([None], "servers must be"),
        ({A, B}, "servers must be"),
        ((A, B), "several servers are given as a list"),
        ({1: A}, "name must be"),
        ({"": A}, "name must be"),
        ({"a b": A}, "name must be"),
        ({"a,b": A}, "name must be"),
        ({"ä": A}, "name must be"),
        ({"a\n": A}, "name must be"),
        ({"x" * 101: A}, "name must be"),
    ],
    ids=named,
)
def test_servers_that_are_wrong_are_refused_and_it_says_what_is_wrong(servers: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SessionsClient(servers, wipe=0)


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        (A, A),
        (f"{A},{B}", [A, B]),
        (f" {A} , {B} ", [A, B]),
        (f"cache-a={A},cache-b={B}", {"cache-a": A, "cache-b": B}),
        (f"cache-a={A}?weight=2,cache-b={B}?drain", {"cache-a": f"{A}?weight=2", "cache-b": f"{B}?drain"}),
        (f"{A}?weight=2,{B}", [f"{A}?weight=2", B]),
        ("unix:/run/a=b.sock", "unix:/run/a=b.sock"),
        ("a=unix:/run/a=b.sock,b=memory://", {"a": "unix:/run/a=b.sock", "b": "memory://"}),
        ("[::1]=[::1]:1", {"[::1]": "[::1]:1"}),
    ],
)
def test_a_variable_lists_servers_after_commas_with_or_without_names(text: str, servers: object) -> None:
    assert from_text(text) == servers


@pytest.mark.parametrize("text", [f"a={A},{B}", f"a={A},a={B}", f"={A}", ",", f"{A},,{B}"])
def test_a_variable_that_is_wrong_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^MEMSESSIONS_SERVERS is not usable"):
        SessionsClient.from_env({"MEMSESSIONS_SERVERS": text})


def test_several_servers_come_from_the_environment() -> None:
    rs = SessionsClient.from_env({"MEMSESSIONS_SERVERS": f"a={A}?weight=3,b={B}?drain"}, wipe=0)
    assert [(node.name, node.weight) for node in rs._nodes] == [("a", 3.0), ("b", 0.0)]
    assert repr(rs) == "<SessionsClient a, b ns='rs'>"


@pytest.mark.parametrize("pooled", [False, True])
def test_a_hash_client_brings_its_servers_and_settings(make_client: MakeClient, pooled: bool) -> None:
    """A token remembers each by its address."""
    pymemcache = HashClient([("10.0.0.1", 11211), "/run/m.sock"], use_pooling=pooled, key_prefix=b"p:")
    rs = make_client(client=pymemcache)
    assert [node.name for node in rs._nodes] == [A, "unix:/run/m.sock"]
    assert {node.store.key_prefix for node in rs._nodes} == {b"p:"}
    alone = make_client(client=Client(("10.0.0.1", 11211)))
    assert alone._nodes[0].tag == rs._nodes[0].tag


def test_the_order_of_servers_changes_nothing_in_their_tokens(make_client: MakeClient) -> None:
    def tags(servers: Mapping[str, str]) -> dict[str, str]:
        return {node.name: node.tag for node in make_client(servers)._nodes}

    assert tags({"a": A, "b": B}) == tags({"b": B, "a": A})
    assert tags({"a": A, "b": B}) == tags({"a": B, "b": A}), "a name can move to another address"
