"""The names of what is stored: as documented, within memcached's limit, and without a secret in them."""

from __future__ import annotations

import re
import secrets

import pymemcache
import pytest

from memsessions import SessionsClient, index, keys
from memsessions.index import RECORD_LENGTH
from memsessions.keys import AppKeys
from memsessions.tokens import hashed

from .conftest import InMemory, MakeClient, OnMemcached, Where
from .support.damage import APP
from .support.memcached import Memcached
from .support.sessions import contents

NAME = "[A-Za-z0-9+/]{22}"
LONGEST = 250  # of memcached


def pattern(line: str) -> str:
    """A line of the documentation as a regular expression."""
    form = line.split("  ")[0].replace("{session}", NAME).replace("{bucket}", r"\d{1,3}")
    return form.replace("{segment}", r"\d{1,2}").replace("{ns}", "NS").replace("{app}", APP)


def fill(rs: SessionsClient) -> str:
    """Have at least one item of every kind on the store, and answer a token."""
    token = rs.create(APP, "user", "192.0.2.1")["token"]
    rs.create(APP, "user", "192.0.2.1", no_resave=True)
    rs._nodes[0].app(APP).listing.mark_full(hashed("user"))
    rs.create(APP, "user", "192.0.2.1")
    rs._wipe_s = 600  # seconds that it holds the lease
    rs._wipe_in_turn()
    return token


def test_every_key_is_of_a_documented_form_and_every_form_is_used(
    where: Where, client: SessionsClient
) -> None:
    assert keys.__doc__ is not None
    forms = [pattern(line) for line in keys.__doc__.splitlines() if line.startswith("{")]
    assert len(forms) == 7
    fill(client)
    found = [key.replace(where.ns, "NS", 1) for key in contents(where)]
    assert [key for key in found if not any(re.fullmatch(form, key) for form in forms)] == []
    assert [form for form in forms if not any(re.fullmatch(form, key) for key in found)] == []


def test_no_key_and_no_value_holds_a_token_or_a_users_id_outside_its_session(
    where: Where, client: SessionsClient
) -> None:
    token = fill(client)
    user = "somebody@example.org"
    client.create(APP, user, "192.0.2.1")
    for key, value in contents(where).items():
        assert token not in key
        assert token.encode() not in value
        assert user not in key
        assert user.encode() not in value or f":{APP}:s:" in key


def test_the_longest_names_make_keys_that_memcached_takes(
    memcached: Memcached, make_client: MakeClient
) -> None:
    """A key prefix, a namespace and an app of the greatest length, in the index's segments as well."""
    ns = secrets.token_hex(25)
    prefix = b"p" * 100
    shared = pymemcache.Client(("127.0.0.1", memcached.port), key_prefix=prefix)
    rs = make_client(client=shared, ns=ns)
    app = "a" * 20
    for _ in range(2):
        assert len(ns) == 50
        token = rs.create(app, "user", "192.0.2.1")["token"]
        rs._nodes[0].app(app).listing.mark_full(hashed("user"))
    assert rs.get(app, token) is not None
    assert len(rs.soid(app, "user")) == len(rs.soapp(app)) == 2
    stored = memcached.keys(prefix.decode() + ns)
    assert max(map(len, stored)) <= LONGEST
    longest = AppKeys(prefix + ns.encode(), app)
    name = b"%d.%d" % (index.BUCKETS - 1, index.SEGMENTS - 1)
    assert len(longest.sessions + hashed("x")) <= LONGEST
    assert len(longest.segments + name) <= LONGEST


@pytest.mark.parametrize("other", ["foru", "forum2", "forum-s", "for"])
def test_the_keys_of_two_apps_never_meet(other: str) -> None:
    """No key of one app begins with what all keys of another begin with."""
    one, two = AppKeys(b"ns", APP), AppKeys(b"ns", other)
    for name in AppKeys.__slots__:
        assert not getattr(one, name).startswith(b"ns:%b:" % other.encode())
        assert not getattr(two, name).startswith(b"ns:%b:" % APP.encode())


def test_the_items_of_a_session_are_of_the_width_that_the_index_relies_on(make_client: MakeClient) -> None:
    where = InMemory()
    rs = make_client(where.address, ns=where.ns)
    rs.create(APP, "user", "192.0.2.1")
    (bucket,) = (value for key, value in contents(where).items() if f":{APP}:i:" in key)
    assert len(bucket) == RECORD_LENGTH == 49


def test_two_namespaces_share_no_key(on_memcached: OnMemcached, make_client: MakeClient) -> None:
    """Also where one name begins with the other."""
    short, long = (make_client(on_memcached.address, ns=on_memcached.ns + end) for end in ("", "x"))
    tokens = [rs.create(APP, "user", "192.0.2.1")["token"] for rs in (short, long)]
    assert short.killall(APP) == {"kill": 1}
    assert short.get(APP, tokens[0]) is None
    assert long.get(APP, tokens[1]) is not None
