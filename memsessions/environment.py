"""A client's arguments, read from `MEMSESSIONS_*` variables."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any

from .config import LEAST_S, MOST, MOST_ITEM_BYTES, check_credentials, check_ns
from .errors import ConfigurationError
from .servers import from_text, listed


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
            check_credentials(arguments.get("username"), arguments.get("password"))
        except ConfigurationError as error:
            variables = "MEMSESSIONS_USERNAME and MEMSESSIONS_PASSWORD are"
            raise ConfigurationError(f"{variables} not usable: {error}") from None
    return arguments


def _tls_from(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    try:
        if not flag(environ.get("MEMSESSIONS_TLS", "") or "1"):
            return None
    except ValueError as error:
        raise ConfigurationError(f"MEMSESSIONS_TLS is not usable: {error}") from None
    try:
        return ssl.create_default_context(cafile=environ.get("MEMSESSIONS_TLS_CA", "") or None)
    except OSError as error:
        raise ConfigurationError(f"MEMSESSIONS_TLS_CA is not usable: {error}") from None


def _servers(text: str) -> object:
    servers = from_text(text)
    listed(servers)
    return servers


def _whole(least: int, most: int = MOST) -> Callable[[str], int]:
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
    if not LEAST_S <= seconds <= MOST:
        raise ValueError(f"it must be a number of seconds from {LEAST_S} to {MOST}")
    return seconds


def flag(text: str) -> bool:
    """Yes or no, in one of the words for it. Raises `ValueError` for any other."""
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
    "MEMSESSIONS_MAX_ITEM_BYTES": ("max_item_bytes", _whole(4096, MOST_ITEM_BYTES)),
}
