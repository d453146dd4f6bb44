"""Celery workers that begin and end tidily: `connect(client)`, once, beside the app.

Nothing of this is required: a client that was made, and used, before a worker's processes were works in each
of them with connections of its own, and what a process leaves open is closed by the system when it ends.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

from celery import signals

from .client import SessionsClient
from .errors import ConfigurationError

# What is connected lives as long as somebody else holds on to it.
_clients: weakref.WeakSet[SessionsClient] = weakref.WeakSet()


def connect(client: SessionsClient, *others: SessionsClient) -> None:
    """Have clients begin and end with the Celery worker that this process becomes.

    A process of the pool `prefork` begins with an empty cache (`worker_process_init`): what its parent has
    read is not answered from. It has no connection of its parent's, with or without this. When it ends
    (`worker_process_shutdown`), its connections are closed. Those of the worker itself, which with the other
    pools are those of all its tasks, are closed after the last task (`worker_shutdown`). From then on calls
    raise `ClientClosed`.

    A process that is killed, as by a hard time limit, sends no signal: the system closes its connections. A
    worker that runs in a thread of another program, as in tests, closes nothing: the program may go on.

    Call it where the app is made, in a module that workers import. It asks no server, may be called again
    and from several modules, and keeps no client alive.

    Parameters:
        client, others: those of earlier calls stay connected. Of a `SessionStorage`, it is its `client`.

    Raises:
        ConfigurationError: one of them is no `SessionsClient`.
    """
    clients = (client, *others)
    for each in clients:
        if not isinstance(each, SessionsClient):
            raise ConfigurationError(f"connect takes SessionsClients, not {type(each).__name__}")
    _clients.update(clients)
    signals.worker_process_init.connect(_begin, dispatch_uid=__name__)
    signals.worker_process_shutdown.connect(_end, dispatch_uid=__name__)
    signals.worker_shutdown.connect(_end_worker, dispatch_uid=__name__)


def _begin(**_signal: Any) -> None:
    for client in list(_clients):
        client._cache.clear()  # noqa: SLF001  nobody else has a use for it


def _end(**_signal: Any) -> None:
    for client in list(_clients):
        client.quit()


def _end_worker(**_signal: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        _end()
