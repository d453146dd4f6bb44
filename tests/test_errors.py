"""The exceptions: one family, which survives the way between processes and tells no secret."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import memsessions
from memsessions import (
    ClientClosed,
    ConfigurationError,
    DumpForbidden,
    InvalidValue,
    ItemTooLarge,
    MemsessionsError,
    SessionTooLarge,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UnsupportedServer,
    ValidationError,
    WriteRefused,
    errors,
)

FAMILY = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == errors.__name__
]
OF_THE_STORE = [kind for kind in FAMILY if issubclass(kind, StoreError)]
OTHERS = [kind for kind in FAMILY if not issubclass(kind, StoreError)]


def test_every_exception_is_public_and_of_one_family() -> None:
    assert len(FAMILY) > 10
    assert all(issubclass(kind, MemsessionsError) for kind in FAMILY)
    assert all(getattr(memsessions, kind.__name__) is kind for kind in FAMILY)
    assert {kind.__name__ for kind in FAMILY} <= set(memsessions.__all__)


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (ValidationError, ValueError),
        (ConfigurationError, ValueError),
        (ClientClosed, RuntimeError),
        (SessionTooLarge, InvalidValue),
        (StoreFull, WriteRefused),
        (ItemTooLarge, WriteRefused),
        (WriteRefused, StoreError),
        (StoreUnavailable, StoreError),
        (UnsupportedServer, StoreError),
        (StoreDamaged, StoreError),
        (DumpForbidden, StoreError),
    ],
)
def test_who_catches_the_base_catches_the_rest(kind: type[Exception], base: type[Exception]) -> None:
    assert issubclass(kind, base)


@pytest.mark.parametrize("kind", [StoreFull, ItemTooLarge, StoreDamaged, UnsupportedServer, DumpForbidden])
def test_only_an_outage_is_an_outage(kind: type[Exception]) -> None:
    """Who tries again after one does not try again after a refusal."""
    assert not issubclass(kind, StoreUnavailable)


@pytest.mark.parametrize("kind", OF_THE_STORE)
def test_an_error_of_the_store_names_the_server_and_the_reason(kind: type[StoreError]) -> None:
    error = kind("127.0.0.1:11211", "no answer in time")
    assert (error.server, error.reason) == ("127.0.0.1:11211", "no answer in time")
    assert str(error) == "127.0.0.1:11211: no answer in time"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", OF_THE_STORE)
def test_an_error_of_the_store_survives_pickling(kind: type[StoreError], protocol: int) -> None:
    """As from a worker process to its parent."""
    error = kind("[::1]:11211", "refused")
    for copied in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
        assert type(copied) is kind
        assert (copied.server, copied.reason, str(copied)) == (error.server, error.reason, str(error))


@pytest.mark.parametrize("kind", OTHERS)
def test_every_other_error_survives_pickling(kind: type[Exception]) -> None:
    error = kind("No app supplied")
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is kind
    assert str(copied) == "No app supplied"
    assert getattr(copied, "name", None) == getattr(error, "name", None)


def test_the_answers_to_a_batch_that_was_refused_stay_in_the_process() -> None:
    """They may hold anything that was read, sessions included."""
    error = StoreFull("server", "full", [b"data", None])
    assert list(error.answers) == [b"data", None]
    assert b"data" not in pickle.dumps(error)
    assert "data" not in str(error) + repr(error)
