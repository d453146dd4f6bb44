"""Every exception this library raises; none of them ever carries a token, session data or a password."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class MemsessionsError(Exception):
    """The base of every error raised by memsessions."""


class ConfigurationError(MemsessionsError, ValueError):
    """A constructor argument or a `MEMSESSIONS_*` variable is not usable; nothing was contacted."""


class ClientClosed(MemsessionsError, RuntimeError):
    """A call was made on a client after `quit()`."""


class ValidationError(MemsessionsError, ValueError):
    """An argument was refused before any I/O; `name` is the error name redis-sessions uses."""

    name: str = "invalidValue"


class MissingParameter(ValidationError):
    """An argument that is needed was not given or is empty."""

    name = "missingParameter"


class InvalidFormat(ValidationError):
    """An argument does not have the form it must have."""

    name = "invalidFormat"


class InvalidValue(ValidationError):
    """An argument has a value that is not allowed."""

    name = "invalidValue"


class SessionTooLarge(InvalidValue):
    """A session with this data would not fit into one item of the store; it was left as it was."""


class SessionEnded(MemsessionsError):
    """A web session was ended while a request was changing it; it stays ended, and the changes are lost."""


class ResponseStarted(MemsessionsError, RuntimeError):
    """A session that changed after the response had started needs a cookie, which cannot be sent any more."""


class StoreError(MemsessionsError):
    """The store could not do what was asked; `server` names it."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"{server}: {reason}")
        self.server = server
        self.reason = reason

    def __reduce__(self) -> tuple[type[StoreError], tuple[Any, ...]]:
        return type(self), (self.server, self.reason)  # so that it survives pickling between processes


class StoreUnavailable(StoreError):
    """The store did not give a whole, valid answer in time; whether the call took effect is not known."""


class NoConnectionFree(StoreUnavailable):
    """All connections of the pymemcache `PooledClient` that is shared are in use (its `max_pool_size`)."""


class LogoutIncomplete(StoreUnavailable):
    """`killsoid`, `killall` or `kill_many` could not reach every server; calling again finishes the job.

    `killed` is how many sessions it ended, `unreached` names the servers on which some may live.
    """

    def __init__(self, server: str, reason: str, killed: int = 0, unreached: Sequence[str] = ()) -> None:
        super().__init__(server, reason)
        self.killed = killed
        self.unreached = tuple(unreached)

    def __reduce__(self) -> tuple[type[StoreError], tuple[Any, ...]]:
        return type(self), (self.server, self.reason, self.killed, self.unreached)


class UnsupportedServer(StoreError):
    """The server answered, but it is not a memcached that this library can work with."""


class WriteRefused(StoreError):
    """The server refused a write; what was stored is unchanged, and everything else it was sent is done."""

    def __init__(self, server: str, reason: str, answers: Sequence[object] = ()) -> None:
        super().__init__(server, reason)
        self.answers = answers  # of the whole batch; None stands for what was refused


class StoreFull(WriteRefused):
    """The server has no memory left for this write (it runs with `-M`); what was stored is unchanged."""


class ItemTooLarge(WriteRefused):
    """The server's item size limit is below what was to be written; what was stored is unchanged."""


class DumpForbidden(StoreError):
    """The server does not show its keys: it was started with `-X`, or its crawler is switched off."""


class StoreDamaged(StoreError):
    """Something that memsessions did not write stands under one of its keys."""
