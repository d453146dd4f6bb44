"""How a session's values are stored, whatever `SESSION_SERIALIZER` makes of them: each key by itself.

Requests that run side by side are merged by keys, so what a serializer answers for all of a session at once
cannot be stored as it is. Of a serializer that makes JSON objects (Django's own, and most others) each key
is stored with its JSON value. Another one (pickle) is given one key at a time, and its bytes are stored.

JSON that is no JSON for others (NaN, integers of more than 64 bits, half a surrogate pair) is stored as text.
"""

from __future__ import annotations

import functools
import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Protocol

from django.core.signing import JSONSerializer

from ..changes import Changes, differences
from ..errors import InvalidValue
from ..plain import plain

# A value that is an object with one of these as its only key stands for another value.
_TEXT = "~json"
_BYTES = "~bytes"
# Keys that begin so are written in another way: the store has a use for some of them.
_ESCAPE = "~"

_log = logging.getLogger("memsessions.web")


class Serializer(Protocol):
    """What Django wants a session's serializer to be."""

    def dumps(self, obj: Any) -> bytes: ...

    def loads(self, data: bytes) -> Any: ...


class Coding:
    """A serializer's sessions, as they are stored."""

    def __init__(self, make_serializer: type[Serializer]) -> None:
        self._make_serializer = make_serializer
        self._is_json = _makes_json_objects(make_serializer)
        # What it reads is what it wrote, so nothing has to be asked of it then.
        self._is_djangos = make_serializer is JSONSerializer

    def encode(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """What is to be stored for a session. Raises what the serializer raises."""
        if self._is_json:
            return _storable(json.loads(self._make_serializer().dumps(data)))
        return {self._name(key): self._bytes(key, value) for key, value in data.items()}

    def decode(self, stored: Mapping[str, Any]) -> dict[str, Any] | None:
        """The session again; None where the serializer cannot read it, which then is an empty one."""
        try:
            read: dict[str, Any] = {}
            for name, value in stored.items():
                read.update(self._read(name, value))
            if not self._is_json or self._is_djangos:
                return read
            loaded: dict[str, Any] = self._make_serializer().loads(json.dumps(read).encode())
            return loaded
        except Exception as error:  # noqa: BLE001  serializers raise whatever they like
            kind = type(error).__name__
            _log.warning("a session cannot be read by SESSION_SERIALIZER: %s", kind, extra={"error": kind})
            return None

    def changes(self, stored: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
        """What has changed in a session between being read and being encoded."""
        changes = differences(stored, after)
        if not changes or self._is_djangos:
            return changes
        # A serializer may write in another way what it has just read, and nobody has changed.
        read = self.decode(stored)
        if read is None:
            return changes
        changed = differences(self.encode(read), after)
        return {name: value for name, value in changes.items() if name in changed}

    def _read(self, name: str, value: Any) -> dict[Any, Any]:
        kind = _escaped(value)
        if kind is None:
            return {_key(name): value}
        if kind == _TEXT:
            return {_key(name): json.loads(value[_TEXT])}
        if self._is_json:
            raise ValueError("another serializer wrote this")
        read: dict[Any, Any] = self._make_serializer().loads(b64decode(value[_BYTES]))
        return read

    def _name(self, key: Any) -> str:
        if isinstance(key, str):
            return _name(key)
        # Bytes bring their key along, so the name has to be its own only.
        return f"{_ESCAPE}!{b64encode(self._make_serializer().dumps({key: None})).decode()}"

    def _bytes(self, key: Any, value: Any) -> dict[str, str]:
        return {_BYTES: b64encode(self._make_serializer().dumps({key: value})).decode()}


coding_of = functools.lru_cache(maxsize=16)(Coding)


def _makes_json_objects(make_serializer: type[Serializer]) -> bool:
    probe = {"one": [1], "two": "2"}
    try:
        return bool(json.loads(make_serializer().dumps(probe)).keys() == probe.keys())
    except (ValueError, TypeError, AttributeError):
        return False


def _escaped(value: object) -> str | None:
    """How a value is written, if it stands for another."""
    if isinstance(value, dict) and len(value) == 1:
        (key,) = value
        return key if key in (_TEXT, _BYTES) else None
    return None


def _storable(values: dict[str, Any]) -> dict[str, Any]:
    if not any(key.startswith(_ESCAPE) for key in values) and not any(map(_escaped, values.values())):
        try:
            return plain(values)
        except InvalidValue:
            pass  # one of them
    return {_name(key): _storable_value(value) for key, value in values.items()}


def _storable_value(value: Any) -> Any:
    if _escaped(value) is None:
        try:
            return plain({"value": value})["value"]
        except InvalidValue:
            pass
    return {_TEXT: json.dumps(value)}


def _name(key: str) -> str:
    """The name under which a key is stored."""
    if key.startswith(_ESCAPE) or not _is_unicode(key):
        return _ESCAPE + json.dumps(key)[1:-1]
    return key


def _key(name: str) -> str:
    """The key again."""
    if name.startswith(_ESCAPE):
        key: str = json.loads(f'"{name[1:]}"')
        return key
    return name


def _is_unicode(text: str) -> bool:
    """Half of a surrogate pair is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
