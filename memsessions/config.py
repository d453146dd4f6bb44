"""What a client is told about its store: checked here, before anything is contacted."""

from __future__ import annotations

import re
import ssl
from typing import Any, NamedTuple

from pymemcache import Client, HashClient, PooledClient

from .errors import ConfigurationError
from .servers import DEFAULT_SERVER, Listed, is_memory, listed, shown
from .store.operations import Store

DEFAULT_ITEM_BYTES = 1024 * 1024

# No wait can be longer: it is given in milliseconds, as a C int.
MOST = 2_000_000
LEAST_S = 0.001
MOST_ITEM_BYTES = 1024**3  # memcached's own limit for `-I`


def check_ns(ns: object) -> None:
    """1 to 50 of A-Z a-z 0-9 _ . -."""
    if not (isinstance(ns, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,50}", ns)):
        raise ConfigurationError("ns must be 1 to 50 of the characters A-Z a-z 0-9 _ . -")


def check_number(name: str, value: object, least: float, whole: bool = False, most: float = MOST) -> None:
    """A number of at least this; a bool is none."""
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        kind = "an integer" if whole else "a number"
        raise ConfigurationError(f"{name} must be {kind} from {least} to {most}, not {value!r}")


def open_stores(
    servers: object,
    *,
    client: object,
    timeout: float,
    connect_timeout: float,
    tls_context: ssl.SSLContext | None,
    username: str | None,
    password: str | None,
    max_item_bytes: int,
) -> list[tuple[Listed, Store]]:
    """The servers that these arguments name, and their stores. Nothing is contacted."""
    check_number("timeout", timeout, LEAST_S)
    check_number("connect_timeout", connect_timeout, LEAST_S)
    check_number("max_item_bytes", max_item_bytes, 4096, whole=True, most=MOST_ITEM_BYTES)
    check_credentials(username, password)
    if client is not None:
        if servers != DEFAULT_SERVER or tls_context is not None:
            raise ConfigurationError("client brings its own address and TLS: give no servers, no tls_context")
        shared = _shared(client)
    else:
        if tls_context is not None and not isinstance(tls_context, ssl.SSLContext):
            kind = type(tls_context).__name__
            raise ConfigurationError(f"tls_context must be an ssl.SSLContext, not {kind}")
        found = listed(servers)
        if is_memory(found[0].address):
            from .store.memory import named_store  # each kind of store is imported where it is used

            return [(server, named_store(str(server.address), item_bytes=max_item_bytes)) for server in found]
        shared = [_Shared(server, Client(server.address, tls_context=tls_context), None) for server in found]
    for _, template, _ in shared:
        if not re.fullmatch(rb"[!-~]{0,100}", template.key_prefix):
            raise ConfigurationError("the client's key_prefix must be at most 100 printable ASCII characters")
    from .store.memcached import MemcachedStore

    return [
        (
            server,
            MemcachedStore(
                server.label,
                template,
                timeout=timeout,
                connect_timeout=connect_timeout,
                item_bytes=max_item_bytes,
                username=username,
                password=password,
                shared_pool=pool,
            ),
        )
        for server, template, pool in shared
    ]


class _Shared(NamedTuple):
    """A server, a pymemcache client to open connections like, and the pool to take them from."""

    server: Listed
    template: Any
    pool: Any


def _shared(client: object) -> list[_Shared]:
    if isinstance(client, HashClient):
        # Its servers and settings; where it would put a key is not asked.
        if not client.clients:
            raise ConfigurationError("client must have a server: this HashClient has none")
        return [_shared_one(each) for each in client.clients.values()]
    return [_shared_one(client)]


def _shared_one(client: object) -> _Shared:
    if isinstance(client, PooledClient):
        template, pool = client._create_client(), client.client_pool  # noqa: SLF001  how it makes its own
    elif isinstance(client, Client):
        template, pool = client, None
    else:
        kind = type(client).__name__
        raise ConfigurationError(
            f"client must be a pymemcache Client, PooledClient or HashClient, not {kind}"
        )
    label = shown(template.server)
    return _Shared(Listed(label, template.server, label, 1.0, drain=False), template, pool)


def check_credentials(username: object, password: object) -> None:
    """Both or none, and nothing in them that memcached would not take."""
    if (username is None) != (password is None):
        raise ConfigurationError("username and password must be given together")
    if username is None:
        return
    for name, value in (("username", username), ("password", password)):
        if not (isinstance(value, str) and value and value.isprintable()):
            raise ConfigurationError(f"{name} must be printable text")  # and is not shown
        if " " in value:
            raise ConfigurationError(f"{name} must hold no space: memcached takes none")
