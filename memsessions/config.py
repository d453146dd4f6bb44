"""What a client is told about its store: checked here, before anything is contacted."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from pymemcache import Client, HashClient, PooledClient

from .errors import ConfigurationError
from .store.memcached import MemcachedStore
from .store.memory import named_store
from .store.operations import Store

DEFAULT_SERVER = "127.0.0.1:11211"
DEFAULT_PORT = 11211
DEFAULT_ITEM_BYTES = 1024 * 1024

_NS = re.compile(r"[A-Za-z0-9_.-]{1,50}")
_HOST = re.compile(r"[A-Za-z0-9_.-]+")
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\](?::([0-9]+))?")
_KEY_PREFIX = re.compile(rb"[!-~]{0,100}")
_FORMS = '"host", "host:port", "[::1]:11211", (host, port), "unix:/path" or "memory://"'

# No wait can be longer: it is given in milliseconds, as a C int.
_MOST = 2_000_000
_LEAST_S = 0.001
_MOST_ITEM_BYTES = 1024**3  # memcached's own limit for `-I`


def check_ns(ns: object) -> None:
    """1 to 50 of A-Z a-z 0-9 _ . -."""
    if not (isinstance(ns, str) and _NS.fullmatch(ns)):
        raise ConfigurationError("ns must be 1 to 50 of the characters A-Z a-z 0-9 _ . -")


def check_number(name: str, value: object, least: float, whole: bool = False, most: float = _MOST) -> None:
    """A number of at least this; a bool is none."""
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        kind = "an integer" if whole else "a number"
        raise ConfigurationError(f"{name} must be {kind} from {least} to {most}, not {value!r}")


def parse_server(server: object) -> tuple[str, int] | str:
    """The address in pymemcache's form: (host, port), or the path of a Unix socket."""
    if isinstance(server, tuple) and len(server) == 2:
        host, port = server
        if isinstance(host, str) and (_HOST.fullmatch(host) or ":" in host):
            return host, _port(port)
    elif isinstance(server, str):
        if server.startswith("unix:/"):
            return server.removeprefix("unix:")
        if match := _BRACKETED.fullmatch(server):
            return match[1], _port(match[2] or DEFAULT_PORT)
        host, colon, port = server.partition(":")
        if _HOST.fullmatch(host) and (port or not colon):
            return host, _port(port or DEFAULT_PORT)
    raise ConfigurationError(f"servers must be {_FORMS}, not {server!r}")


def _port(port: object) -> int:
    number = int(port) if isinstance(port, str) and port.isascii() and port.isdigit() else port
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 65536:
        raise ConfigurationError(f"a server's port must be from 1 to 65535, not {port!r}")
    return number


def _shown(address: Any) -> str:
    if isinstance(address, tuple):
        host, port = address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"unix:{address}"


def open_store(
    servers: object,
    *,
    client: object,
    timeout: float,
    connect_timeout: float,
    tls_context: ssl.SSLContext | None,
    username: str | None,
    password: str | None,
    max_item_bytes: int,
) -> Store:
    """The store that these arguments name. Nothing is contacted."""
    check_number("timeout", timeout, _LEAST_S)
    check_number("connect_timeout", connect_timeout, _LEAST_S)
    check_number("max_item_bytes", max_item_bytes, 4096, whole=True, most=_MOST_ITEM_BYTES)
    _check_credentials(username, password)
    if isinstance(servers, (list, dict, set)):
        raise ConfigurationError("several servers are not supported yet: give one, not a collection")
    if client is None and isinstance(servers, str) and servers.startswith("memory://"):
        return named_store(servers, item_bytes=max_item_bytes)
    pool = None
    if client is None:
        if tls_context is not None and not isinstance(tls_context, ssl.SSLContext):
            kind = type(tls_context).__name__
            raise ConfigurationError(f"tls_context must be an ssl.SSLContext, not {kind}")
        template = Client(parse_server(servers), tls_context=tls_context)
    else:
        if servers != DEFAULT_SERVER or tls_context is not None:
            raise ConfigurationError("client brings its own address and TLS: give no servers, no tls_context")
        template, pool = _shared(client)
    if not _KEY_PREFIX.fullmatch(template.key_prefix):
        raise ConfigurationError("the client's key_prefix must be at most 100 printable ASCII characters")
    return MemcachedStore(
        _shown(template.server),
        template,
        timeout=timeout,
        connect_timeout=connect_timeout,
        item_bytes=max_item_bytes,
        username=username,
        password=password,
        shared_pool=pool,
    )


def _shared(client: object) -> tuple[Any, Any]:
    """A pymemcache client to open connections like, and the pool to take them from."""
    if isinstance(client, PooledClient):
        return client._create_client(), client.client_pool  # noqa: SLF001  how it makes its own
    if isinstance(client, Client):
        return client, None
    if isinstance(client, HashClient):
        raise ConfigurationError("several servers are not supported yet: give a Client or a PooledClient")
    raise ConfigurationError(
        f"client must be a pymemcache Client or PooledClient, not {type(client).__name__}"
    )


def _check_credentials(username: object, password: object) -> None:
    if (username is None) != (password is None):
        raise ConfigurationError("username and password must be given together")
    if username is None:
        return
    for name, value in (("username", username), ("password", password)):
        if not (isinstance(value, str) and value and value.isprintable()):
            raise ConfigurationError(f"{name} must be printable text")  # and is not shown
    if " " in str(username):
        raise ConfigurationError("username must hold no space")


# ------------------------------------------------------------------------------------- environment


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of a client that `MEMSESSIONS_*` variables give; an empty variable counts as unset."""
    arguments: dict[str, Any] = {}
    for variable, (argument, parse) in _VARIABLES.items():
        text = environ.get(variable, "")
        if text:
            try:
                arguments[argument] = parse(text)
            except (ValueError, OSError) as error:
                raise ConfigurationError(f"{variable} is not usable: {error}") from None
    tls = environ.get("MEMSESSIONS_TLS_CA", "") or environ.get("MEMSESSIONS_TLS", "")
    if tls:
        arguments["tls_context"] = _tls_from(environ)
    if arguments.get("tls_context", ...) is None:
        del arguments["tls_context"]
    return arguments


def with_environment(environ: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that variables and options give together; options win."""
    arguments = {**from_environment(environ), **options}
    if "username" not in options and "password" not in options:
        try:
            _check_credentials(arguments.get("username"), arguments.get("password"))
        except ConfigurationError as error:
            variables = "MEMSESSIONS_USERNAME and MEMSESSIONS_PASSWORD are"
            raise ConfigurationError(f"{variables} not usable: {error}") from None
    return arguments


def _tls_from(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    try:
        if not _flag(environ.get("MEMSESSIONS_TLS", "") or "1"):
            return None
    except ValueError as error:
        raise ConfigurationError(f"MEMSESSIONS_TLS is not usable: {error}") from None
    try:
        return ssl.create_default_context(cafile=environ.get("MEMSESSIONS_TLS_CA", "") or None)
    except OSError as error:
        raise ConfigurationError(f"MEMSESSIONS_TLS_CA is not usable: {error}") from None


def _servers(text: str) -> str:
    if "," in text:
        raise ValueError("several servers are not supported yet, give one")
    if not text.startswith("memory://"):
        parse_server(text)
    return text


def _whole(least: int, most: int = _MOST) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
            raise ValueError(f"it must be an integer from {least} to {most}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _LEAST_S <= seconds <= _MOST:
        raise ValueError(f"it must be a number of seconds from {_LEAST_S} to {_MOST}")
    return seconds


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("it must be 1 or 0")


def _ns(text: str) -> str:
    check_ns(text)
    return text


_VARIABLES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "MEMSESSIONS_SERVERS": ("servers", _servers),
    "MEMSESSIONS_NS": ("ns", _ns),
    "MEMSESSIONS_WIPE": ("wipe", _whole(0)),
    "MEMSESSIONS_CACHETIME": ("cachetime", _whole(0)),
    "MEMSESSIONS_CACHEMAX": ("cachemax", _whole(1)),
    "MEMSESSIONS_TIMEOUT": ("timeout", _seconds),
    "MEMSESSIONS_CONNECT_TIMEOUT": ("connect_timeout", _seconds),
    "MEMSESSIONS_USERNAME": ("username", str),
    "MEMSESSIONS_PASSWORD": ("password", str),
    "MEMSESSIONS_MAX_ITEM_BYTES": ("max_item_bytes", _whole(4096, _MOST_ITEM_BYTES)),
}
