"""Arguments, checked before any I/O: the rules, names and wording of redis-sessions 4, made strict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import orjson

from .errors import InvalidFormat, InvalidValue, MissingParameter, SessionTooLarge
from .tokens import LENGTH as TOKEN_LENGTH
from .tokens import TTL_MAX_S, TTL_MIN_S
from .types import Data

_APP = re.compile(r"[A-Za-z0-9_-]{3,20}")
_TOKEN = re.compile(rf"[A-Za-z0-9]{{{TOKEN_LENGTH}}}")
_ID_MAX = 128
_IP_MAX = 39
_INT_MIN = -(2**63)
_INT_MAX = 2**64 - 1

#: What an item needs besides the session's JSON: memcached's header, the longest key, and reserve.
ITEM_OVERHEAD_BYTES = 512


def is_app(app: object) -> bool:
    """Whether it is 3 to 20 of A-Z a-z 0-9 _ -."""
    return isinstance(app, str) and _APP.fullmatch(app) is not None


def check_app(app: object) -> None:
    """3 to 20 of A-Z a-z 0-9 _ -."""
    if not is_app(app):
        _refuse("app", app)


def is_token(token: object) -> TypeGuard[str]:
    """Whether it is 64 of A-Z a-z 0-9."""
    return isinstance(token, str) and _TOKEN.fullmatch(token) is not None


def check_token(token: object) -> None:
    """64 of A-Z a-z 0-9."""
    if not (isinstance(token, str) and _TOKEN.fullmatch(token)):
        _refuse("token", token)


def check_listed(name: str, given: object) -> None:
    """What can be iterated over, and is no text or mapping."""
    if given is None:
        raise MissingParameter(f"No {name} supplied")
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise InvalidValue(f"{name} must be a list, or something else to iterate over")


def check_id(id: object) -> None:
    """1 to 128 characters of any kind."""
    _check_text("id", id, _ID_MAX)


def check_ip(ip: object) -> None:
    """1 to 39 characters."""
    _check_text("ip", ip, _IP_MAX)


def _check_text(name: str, value: object, longest: int) -> None:
    if not (isinstance(value, str) and 0 < len(value) <= longest and _is_unicode(value)):
        _refuse(name, value)


def _refuse(name: str, value: object) -> None:
    if value is None or value == "":
        raise MissingParameter(f"No {name} supplied")
    raise InvalidFormat(f"Invalid {name} format")


def _is_unicode(text: str) -> bool:
    """Whether it can be encoded: half of a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_seconds(name: str, value: object, longest: int | None = None) -> None:
    """An integer of at least 10."""
    if isinstance(value, bool) or not isinstance(value, int) or value < TTL_MIN_S:
        raise InvalidValue(f"{name} must be a positive integer >= {TTL_MIN_S}")
    if longest is not None and value > longest:
        raise InvalidValue(f"{name} must be at most {longest} seconds")


def check_ttl(ttl: object) -> None:
    """A time to live: 10 seconds to 10 years."""
    check_seconds("ttl", ttl, TTL_MAX_S)


def check_flag(name: str, value: object) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise InvalidValue(f"{name} must be True or False")


def checked_data(d: object, item_bytes: int) -> dict[str, Any]:
    """The data as a new, plain dict; its None values say which keys are to be removed."""
    if d is None:
        raise MissingParameter("No d supplied")
    if not isinstance(d, Mapping):
        raise InvalidValue("d must be an object")
    if not d:
        raise InvalidValue("d must containt at least one key.")  # sic: callers compare the wording
    data = {_checked_key(key): _checked_value(key, value) for key, value in d.items()}
    check_size(data, item_bytes)
    return data


def _checked_key(key: object) -> str:
    if not isinstance(key, str):
        raise InvalidValue(f"d has a key of type {type(key).__name__}. Only strings are allowed.")
    if not _is_unicode(key):
        raise InvalidValue(f"d has the key {key!a}, which is not valid Unicode.")
    return str.__str__(key)


def _checked_value(key: str, value: object) -> str | int | float | bool | None:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        if not _is_unicode(value):
            raise InvalidValue(f"d.{key} is not valid Unicode: it holds half of a surrogate pair.")
        return str.__str__(value)
    if isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise InvalidValue(f"d.{key} is an integer of more than 64 bits.")
        return int.__int__(value)
    if isinstance(value, float):
        if value - value != 0:  # so for an infinity, and for what is not a number
            raise InvalidValue(f"d.{key} is infinite or not a number, which JSON cannot hold.")
        return float.__float__(value)
    raise InvalidValue(f"d.{key} has a forbidden type. Only strings, numbers, boolean and null are allowed.")


def check_size(data: Data | dict[str, Any], item_bytes: int) -> None:
    """Whether the data fits into an item of this size, with the rest of its session."""
    limit = item_bytes - ITEM_OVERHEAD_BYTES - 8 * (_ID_MAX + _IP_MAX)
    size = len(orjson.dumps(data))
    if size > limit:
        sizes = {key: len(orjson.dumps(value)) + len(key) for key, value in data.items()}
        largest = max(sizes, key=lambda key: sizes[key])
        raise SessionTooLarge(
            f"d is too large: {size} bytes of JSON, and at most {limit} fit; "
            f"d.{largest[:64]} alone takes {sizes[largest]}."
        )
