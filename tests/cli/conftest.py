"""What the tests of the command share."""

from __future__ import annotations

import pytest

from memsessions import SessionsClient

from ..conftest import MakeClient, OnMemcached, Where
from ..store.conftest import certificate, guarded
from .support import At

__all__ = ["certificate", "guarded"]


@pytest.fixture
def at(where: Where) -> At:
    """The command on each kind of store, in this process."""
    return At(where.address, where.ns)


@pytest.fixture
def there(on_memcached: OnMemcached) -> At:
    """The command on a memcached."""
    return At(on_memcached.address, on_memcached.ns)


@pytest.fixture
def rs(at: At, make_client: MakeClient) -> SessionsClient:
    """A client of the store that the command looks at."""
    return make_client(at.address, ns=at.ns)
