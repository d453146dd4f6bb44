"""The servers that a client is told about: how they are written, and what each is called."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from .errors import ConfigurationError

if TYPE_CHECKING:
    from typing import TypeAlias

DEFAULT_SERVER = "127.0.0.1:11211"
DEFAULT_PORT = 11211

_HOST = r"[A-Za-z0-9_.-]+"
_BRACKETED = r"\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\](?::([0-9]+))?"
_NAME = r"[!-+\--<>@-~]{1,100}"  # printable ASCII without a comma, an equals sign, a question mark
_FORMS = '"host", "host:port", "[::1]:11211", (host, port), "unix:/path" or "memory://"'
_MOST_WEIGHT = 1e6

#: A server as it can be written.
Address: TypeAlias = "str | tuple[str, int] | Server"
#: One server, a list of them, or a mapping of names to them.
Addresses: TypeAlias = (
    "Address | list[str] | list[tuple[str, int]] | list[Server] | list[Address]"
    " | Mapping[str, str] | Mapping[str, tuple[str, int]] | Mapping[str, Server] | Mapping[str, Address]"
)


class Server(NamedTuple):
    """One of several servers, with more to say about it than its address.

    Parameters:
        address: in one of the forms that `SessionsClient` takes.
        weight: its share of the new sessions, next to the weights of the others; more than 0.
        drain: keep its sessions working and place no new ones on it.

    As text: `"10.0.0.2:11211?weight=2"`, `"10.0.0.2:11211?drain"`.
    """

    address: str | tuple[str, int]
    weight: float = 1.0
    drain: bool = False


class Listed(NamedTuple):
    """A server as it was understood."""

    name: str  # what tokens remember
    address: str | tuple[str, int]  # as pymemcache has it, or one of the in-process store
    label: str  # what messages call it
    weight: float
    drain: bool


def listed(servers: object) -> list[Listed]:
    """The servers that are meant, in the order in which they were given."""
    several = True
    if isinstance(servers, Mapping):
        found = [_named(name, server) for name, server in servers.items()]
    elif isinstance(servers, list):
        found = [_unnamed(server) for server in servers]
    else:
        several = False
        found = [_unnamed(servers)]
    if several:
        _check_several(found)
    if all(server.drain for server in found):
        raise ConfigurationError("one server at least must take new sessions: they are all set to drain")
    return found


def _check_several(found: list[Listed]) -> None:
    if not found:
        raise ConfigurationError(f"servers names no server: give {_FORMS}, or several of these")
    for what in ("name", "address"):
        values = [getattr(server, what) for server in found]
        for value in values:
            if values.count(value) > 1:
                raise ConfigurationError(f"servers has the same {what} twice: {value!r}")
    if len({is_memory(server.address) for server in found}) > 1:
        raise ConfigurationError("memory:// cannot be one of several servers of which others are memcached")


def _named(name: object, server: object) -> Listed:
    if not (isinstance(name, str) and re.fullmatch(_NAME, name)):
        raise ConfigurationError(
            f"a server's name must be 1 to 100 printable ASCII characters without space , = ?, not {name!r}"
        )
    return _unnamed(server)._replace(name=name, label=name)


def _unnamed(server: object) -> Listed:
    options = _from_text(server) if isinstance(server, str) else server
    if not isinstance(options, Server):
        options = Server(server)  # type: ignore[arg-type]  # checked below
    weight, drain, written = options.weight, options.drain, options.address
    if isinstance(written, str) and "://" in written and not is_memory(written):
        scheme = written.partition("://")[0]  # what comes after it may hold a password
        raise ConfigurationError(f"servers must be {_FORMS}, and none of {scheme}://")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight <= _MOST_WEIGHT:
        raise ConfigurationError(
            f"a server's weight must be a number above 0 (drain places no new sessions), not {weight!r}"
        )
    if not isinstance(drain, bool):
        raise ConfigurationError(f"a server's drain must be True or False, not {drain!r}")
    address = parse_server(written)
    label = shown(address)
    return Listed(written if isinstance(written, str) else label, address, label, weight, drain)


def _from_text(text: str) -> Server:
    """`address?option&option`."""
    address, question, options = text.partition("?")
    weight = 1.0
    drain = False
    for option in options.split("&") if question else ():
        name, _, value = option.partition("=")
        if option == "drain":
            drain = True
        elif name == "weight":
            weight = _weight(value)
        else:
            raise ConfigurationError(
                f'a server takes the options "weight=2" and "drain" after "?", not {option!r}'
            )
    return Server(address, weight, drain)


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # refused as any other that is no weight


def is_memory(address: str | tuple[str, int]) -> bool:
    """Whether it names an in-process store."""
    return isinstance(address, str) and address.startswith("memory://")


def parse_server(server: object) -> tuple[str, int] | str:
    """The address in pymemcache's form, (host, port) or the path of a Unix socket; or one of `memory://`."""
    if isinstance(server, tuple) and len(server) == 2:
        host, port = server
        if isinstance(host, str) and (re.fullmatch(_HOST, host) or ":" in host):
            return host, _port(port)
    elif isinstance(server, str):
        if is_memory(server):
            return server
        if server.startswith("unix:/"):
            return server.removeprefix("unix:")
        if match := re.fullmatch(_BRACKETED, server):
            return match[1], _port(match[2] or DEFAULT_PORT)
        host, colon, port = server.partition(":")
        if re.fullmatch(_HOST, host) and (port or not colon):
            return host, _port(port or DEFAULT_PORT)
    raise ConfigurationError(f"servers must be {_FORMS}, or a list or mapping of these, not {server!r}")


def _port(port: object) -> int:
    number = int(port) if isinstance(port, str) and port.isascii() and port.isdigit() else port
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 65536:
        raise ConfigurationError(
            f"a server's port must be from 1 to 65535, not {port!r} (several servers are given as a list)"
        )
    return number


def shown(address: str | tuple[str, int]) -> str:
    """An address as people write it."""
    if isinstance(address, tuple):
        host, port = address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return address if is_memory(address) else f"unix:{address}"


def from_text(text: str) -> str | list[str] | dict[str, str]:
    """The servers of a variable: one, several after commas, or `name=address` for each."""
    parts = [part.strip() for part in text.split(",")]
    names = [_name_in(part) for part in parts]
    if not any(names):
        return parts if len(parts) > 1 else parts[0]
    if not all(names):
        raise ConfigurationError("either every server has a name (name=address), or none has")
    if len(set(names)) < len(names):
        raise ConfigurationError("two servers have the same name")
    return {name: part.removeprefix(f"{name}=") for name, part in zip(names, parts, strict=True)}


def _name_in(part: str) -> str:
    """The name in `name=address`, or nothing: in an address itself, an equals sign comes after these."""
    name, equals, _ = part.partition("=")
    return name if equals and "?" not in name and not name.startswith(("unix:", "memory:")) else ""
