"""Opening sockets and waiting for them, and what can go wrong on the way."""

from __future__ import annotations

import copy
import select
import socket
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeGuard


class DeadlinePassed(Exception):
    """The whole reply was not there in time."""


class Broken(Exception):
    """The other side closed the connection, or it was not usable in the first place."""


class NoneFree(Broken):
    """A pool that is shared with others has lent all the connections that it may have."""


class _OneAddress:
    """A socket module whose name look-up knows one address: pymemcache connects to the first it is told."""

    def __init__(self, module: ModuleType, info: tuple[Any, ...]) -> None:
        self._module = module
        self._info = info

    def getaddrinfo(self, *_arguments: object) -> list[tuple[Any, ...]]:
        return [self._info]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def is_from_network(error: BaseException) -> TypeGuard[OSError]:
    """Whether the system raised it; an `OSError` that a signal handler raises has no number."""
    return isinstance(error, OSError) and error.errno is not None


def open_socket(template: Any, connect_timeout: float, deadline: float) -> socket.socket:
    """A new socket, opened the way the pymemcache `Client` that serves as template opens its own.

    The template itself is not touched. Every address that its host name has is tried in turn.
    """
    client = copy.copy(template)
    client.sock = None
    client.no_delay = True
    module = template.socket_module
    routes = [module]
    if isinstance(template.server, tuple):
        host, port = template.server
        infos = module.getaddrinfo(host, port, module.AF_UNSPEC, module.SOCK_STREAM, module.IPPROTO_TCP)
        routes = [_OneAddress(module, info) for info in infos]
    failure: Exception = DeadlinePassed()
    for route in routes:
        started = time.monotonic()
        if started >= deadline:
            break
        client.socket_module = route
        client.connect_timeout = client.timeout = min(deadline - started, connect_timeout)
        try:
            client._connect()  # noqa: SLF001  pymemcache's hook for subclasses, and the only way in
        except OSError as error:
            if is_from_network(error):
                failure = error
            elif time.monotonic() - started >= client.timeout * 0.9:
                failure = DeadlinePassed()
            else:
                raise  # a signal handler's own
        else:
            sock: socket.socket = client.sock
            return sock
    raise failure


#: Waits for so many milliseconds at most, and returns what is ready: something or nothing.
Wait = Callable[[float], Sequence[Any]]


def waits(sock: socket.socket) -> tuple[Wait, Wait]:
    """What waits until the socket can be read, and until it can be read or written."""
    if hasattr(select, "poll"):
        to_read, to_do_either = select.poll(), select.poll()
        to_read.register(sock, select.POLLIN)
        to_do_either.register(sock, select.POLLIN | select.POLLOUT)
        return to_read.poll, to_do_either.poll
    # On Windows, and under eventlet.
    socks = [sock]
    return (
        lambda timeout_ms: select.select(socks, [], [], timeout_ms / 1000)[0],
        lambda timeout_ms: [s for some in select.select(socks, socks, [], timeout_ms / 1000) for s in some],
    )
