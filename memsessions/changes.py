"""What a request changes in a document's data, so that it can be merged into what others have changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from .plain import STRICT, is_plain

#: Of these, what is equal is the same: of floats, 0.0 and -0.0 are not.
SCALARS = frozenset({str, int, bool, type(None)})

#: New values by top-level key, or `REMOVED`.
Changes = dict[str, Any]


class Marker:
    """A value unlike all others."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


#: In `Changes`: the key is to be removed.
REMOVED: Final = Marker("REMOVED")
#: In place of a user: it stays the same.
KEEP: Final = Marker("KEEP")


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """What turns one document's data into another's, by top-level key; `True` is not 1, and 1 is not 1.0.

    What is stored in the same way is the same: a tuple is the list that it becomes. What JSON cannot hold
    differs from everything; `plain` tells what it is.
    """
    changes: Changes = {key: REMOVED for key in before if key not in after}
    for key, value in after.items():
        if key not in before or not same(before[key], value):
            changes[key] = value
    return changes


def same(one: Any, other: Any, option: int = STRICT) -> bool:
    """Whether two values are the same JSON; what is none, or `option` of orjson leaves out, never is."""
    if one is other:
        return True
    if type(one) is type(other) in SCALARS:
        return bool(one == other)
    try:
        if orjson.dumps(one) != orjson.dumps(other, option=option):
            return False
    except TypeError:
        return False
    # orjson writes some as what they are not, as `null` for NaN.
    return bool(one == other) or is_plain(other)


def applied(data: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """The data with these changes."""
    changed = {**data, **changes}
    for key, value in changes.items():
        if value is REMOVED:
            del changed[key]
    return changed
