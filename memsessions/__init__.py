"""Sessions on memcached: grouped by app and user, counted, listed, and ended on every device."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from .client import SessionsClient
from .errors import (
    ClientClosed,
    ConfigurationError,
    DumpForbidden,
    InvalidFormat,
    InvalidValue,
    ItemTooLarge,
    LogoutIncomplete,
    MemsessionsError,
    MissingParameter,
    NoConnectionFree,
    ResponseStarted,
    SessionEnded,
    SessionTooLarge,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UnsupportedServer,
    ValidationError,
    WriteRefused,
)
from .servers import Server
from .types import Activity, Created, Data, Killed, NewSession, Repaired, Scalar, Session, Wiped

__all__ = [
    "Activity",
    "ClientClosed",
    "ConfigurationError",
    "Created",
    "Data",
    "DumpForbidden",
    "InvalidFormat",
    "InvalidValue",
    "ItemTooLarge",
    "Killed",
    "LogoutIncomplete",
    "MemsessionsError",
    "MissingParameter",
    "NewSession",
    "NoConnectionFree",
    "Repaired",
    "ResponseStarted",
    "Scalar",
    "Server",
    "Session",
    "SessionEnded",
    "SessionTooLarge",
    "SessionsClient",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "UnsupportedServer",
    "ValidationError",
    "Wiped",
    "WriteRefused",
    "metrics",
    "repair",
]

# Silent, unless the application has logging set up.
logging.getLogger(__name__).addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from . import metrics
    from .repairing import repair

    __version__: str
else:

    def __getattr__(name: str) -> object:
        """What a client does without, and takes long to import: when it is asked for."""
        if name == "metrics":
            return import_module(".metrics", __name__)
        if name == "repair":
            return import_module(".repairing", __name__).repair
        if name == "__version__":
            return import_module("importlib.metadata").version("memsessions")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
