"""Opening sockets: every address in turn, within the time there is, and without touching the template."""

from __future__ import annotations

import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest
from pymemcache import Client

from memsessions.store.sockets import DeadlinePassed, is_from_network, open_socket

from ..support.fakes import FullBacklog
from ..support.memcached import Memcached
from ..support.tries import at_one_try, least_s


def soon() -> float:
    return time.monotonic() + 20


def several_addresses(*ports: int) -> Any:
    """The socket module, where every host name has these ports of loopback as its addresses."""
    infos = [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)) for port in ports
    ]
    names = {name: getattr(socket, name) for name in dir(socket) if not name.startswith("__")}
    return SimpleNamespace(**{**names, "getaddrinfo": lambda *_args: infos})


def refusing() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_every_address_of_a_host_is_tried(memcached: Memcached) -> None:
    modules = several_addresses(refusing(), refusing(), memcached.port)
    sock = open_socket(Client(("memcached.example", 1), socket_module=modules), 0.5, soon())
    with sock:
        assert sock.getpeername()[1] == memcached.port
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_host_none_of_whose_addresses_answers_is_refused_with_the_last_reason() -> None:
    modules = several_addresses(refusing(), refusing())
    with pytest.raises(ConnectionRefusedError) as caught:
        open_socket(Client(("memcached.example", 1), socket_module=modules), 0.5, soon())
    assert is_from_network(caught.value)


def test_an_address_that_does_not_answer_costs_the_connect_timeout_only(memcached: Memcached) -> None:
    with FullBacklog() as silent:
        modules = several_addresses(silent.port, memcached.port)

        def connect() -> None:
            with open_socket(Client(("memcached.example", 1), socket_module=modules), 0.1, soon()) as sock:
                assert sock.getpeername()[1] == memcached.port

        assert 0.1 <= least_s(lambda: at_one_try(connect), 0.6) < 0.6


def test_addresses_that_do_not_answer_cost_no_more_than_the_deadline() -> None:
    with FullBacklog() as silent:
        modules = several_addresses(*[silent.port] * 20)
        template = Client(("memcached.example", 1), socket_module=modules)

        def connect() -> None:
            with pytest.raises(DeadlinePassed):
                open_socket(template, 0.1, time.monotonic() + 0.25)

        assert 0.25 <= least_s(connect, 0.7) < 0.7


def test_opening_a_socket_leaves_the_template_alone(memcached: Memcached) -> None:
    template = Client(("127.0.0.1", memcached.port), connect_timeout=9, timeout=8)
    before = dict(vars(template))
    with open_socket(template, 0.5, soon()):
        assert vars(template) == before


def test_what_a_signal_handler_raises_does_not_count_as_the_network() -> None:
    assert not is_from_network(TimeoutError("mine"))
    assert not is_from_network(OSError("mine"))
    assert not is_from_network(KeyboardInterrupt())
    assert is_from_network(ConnectionRefusedError(111, "Connection refused"))
