"""JSON of any depth, checked: what is stored must be what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import orjson

from .errors import InvalidValue

#: For orjson: what it would turn into text without a word is refused.
STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_DEEPEST = 200
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


def plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data as it will be read again, and a copy. Tuples become lists.

    Raises `InvalidValue`, which tells where in the data something is that JSON cannot hold.
    """
    try:
        # In a list, as it is in what is stored: it must not be too deep there.
        (copy,) = orjson.loads(orjson.dumps([dict(data)], option=STRICT))
    except (TypeError, ValueError) as error:
        _check(data, "", 0)
        raise InvalidValue(f"the data cannot be written as JSON: {error}") from None
    if copy != data:
        _check(data, "", 0)
    checked: dict[str, Any] = copy
    return checked


def is_plain(value: object) -> bool:
    """Whether JSON can hold a value."""
    try:
        _check(value, "", 0)
    except InvalidValue:
        return False
    return True


def _check(value: object, path: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise InvalidValue(f"the data is nested more than {_DEEPEST} deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                _refuse(path, f"has a key of type {type(key).__name__}; JSON has strings only")
            _check(key, path, depth)
            _check(item, f"{path}[{key[:64]!a}]", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            _refuse(path, "is not valid Unicode: it holds half of a surrogate pair")
    elif isinstance(value, bool) or value is None:
        pass
    elif isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            _refuse(path, "is an integer of more than 64 bits")
    elif isinstance(value, float):
        if value - value != 0:  # so for an infinity, and for what is not a number
            _refuse(path, "is infinite or not a number, which JSON cannot hold")
    else:
        kinds = "strings, numbers, True, False, None, lists and dicts"
        _refuse(path, f"is of type {type(value).__name__}; only {kinds} can be kept")


def _refuse(path: str, reason: str) -> NoReturn:
    raise InvalidValue(f"data{path} {reason}")
