"""What the tests of the middlewares share."""

from __future__ import annotations

import pytest

from memsessions.web import SessionStorage

from ..conftest import MakeClient, OnMemcached


@pytest.fixture
def storage(on_memcached: OnMemcached, make_client: MakeClient) -> SessionStorage:
    """Where the sessions of `forum` are."""
    return SessionStorage(make_client(on_memcached.address, ns=on_memcached.ns, timeout=5), "forum")


@pytest.fixture
def cookie(storage: SessionStorage) -> str:
    """That of a visitor who has been here."""
    session = storage.open(None)
    session["seen"] = 1
    value = storage.save(session)
    assert value
    return value
