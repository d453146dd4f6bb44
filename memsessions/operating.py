"""What tools for whoever runs a store ask of it, beyond a `SessionsClient`'s calls.

Nothing that looks counts as a use of a session, or renews one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from .client import SessionsClient
    from .errors import StoreError
    from .nodes import Node

T = TypeVar("T")


def on_each_server(client: SessionsClient, work: Callable[[Node], T]) -> list[tuple[str, T | StoreError]]:
    """What some work answers for each server, all at the same time, or the error that it raised there.

    Returns:
        `(server, answer or error)` for each, in the order in which they were given to the client.
    """
    client._start()  # noqa: SLF001  part of this package
    answers = client._fleet.outcome_on_each(work)  # noqa: SLF001
    return [(node.store.server, answer) for node, answer in zip(client._nodes, answers, strict=True)]  # noqa: SLF001


def app_names(client: SessionsClient) -> list[str]:
    """The apps that ever had sessions on the client's servers, sorted. One round trip."""
    lists = client._on_each_server(lambda node: node.registry.names())  # noqa: SLF001
    return sorted(set().union(*lists))
