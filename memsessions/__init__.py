"""Sessions on memcached: grouped by app and user, counted, listed, and ended on every device."""

from __future__ import annotations

import logging

from . import metrics
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
from .repairing import repair
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


def __getattr__(name: str) -> str:
    if name == "__version__":
        # Asked for rarely, and importing this takes longer than everything else here.
        from importlib.metadata import version

        return version("memsessions")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
