"""What a Flask application says about its sessions: `MEMSESSIONS_*`, in its config or the environment."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from flask import Flask

from ..client import SessionsClient
from ..environment import flag
from ..errors import ConfigurationError
from ..tokens import TTL_MAX_S, TTL_MIN_S
from ..validation import check_app
from ..web.encryption import Encryption
from ..web.signing import Signer

_PREFIX = "MEMSESSIONS_"
_CLIENT_SETTINGS = (
    "SERVERS",
    "NS",
    "WIPE",
    "CACHETIME",
    "CACHEMAX",
    "TIMEOUT",
    "CONNECT_TIMEOUT",
    "USERNAME",
    "PASSWORD",
    "MAX_ITEM_BYTES",
    "TLS",
    "TLS_CA",
    "TLS_CONTEXT",
)
_OTHER_SETTINGS = ("APP", "SIGN", "ENCRYPTION_KEY", "ON_OUTAGE", "USER_KEY")
_NAME_MIN, _NAME_MAX = 3, 20
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_POLICIES = ("raise", "anonymous")


class Settings(NamedTuple):
    """What an application's sessions are to be like."""

    name: str
    ttl: int
    secrets: list[str | bytes] | None
    encryption_key: Any
    on_outage: Literal["raise", "anonymous"]
    user_key: str | None
    user_key_given: bool

    @classmethod
    def of(cls, app: Flask) -> Settings:
        """Those of this application, as they are now. Raises `ConfigurationError`, naming the setting."""
        _check_names(app.config)
        find = _Finder(app.config)
        name = find("APP") or _name_from(app.name)
        secrets = _secrets(app) if find.flag("SIGN") else None
        encryption_key = _keys(find("ENCRYPTION_KEY"))
        with _naming(_PREFIX + "APP"):
            check_app(name)
        if secrets is not None:
            with _naming("SECRET_KEY"):
                Signer(secrets)
        if encryption_key is not None:
            with _naming(_PREFIX + "ENCRYPTION_KEY"):
                Encryption(encryption_key)
        policy, user_key = _policy(find("ON_OUTAGE") or "raise"), find("USER_KEY")
        checked = _user_key(user_key)
        return cls(name, _ttl(app), secrets, encryption_key, policy, checked, user_key is not None)


def _check_names(config: Mapping[str, Any]) -> None:
    """Nobody must believe that a setting counts which does not exist."""
    known = [_PREFIX + name for name in (*_OTHER_SETTINGS, *_CLIENT_SETTINGS)]
    for key in config:
        if key.startswith(_PREFIX) and key not in known:
            raise ConfigurationError(f"{key} is no setting; there are {', '.join(known)}")


@contextlib.contextmanager
def _naming(setting: str) -> Iterator[None]:
    """Have an error say which setting it is about."""
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(f"{setting} is not usable: {error}") from None


class _Finder:
    """Looks a setting up in the config, and then in the environment; empty text counts as unset there."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def __call__(self, name: str) -> Any:
        value = self._config.get(_PREFIX + name)
        return os.environ.get(_PREFIX + name) or None if value is None else value

    def flag(self, name: str) -> bool:
        value = self(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        with _naming(_PREFIX + name):
            return flag(str(value))


def client_from(config: Mapping[str, Any]) -> SessionsClient:
    """A client as `MEMSESSIONS_*` in this config say, and in the environment what the config does not say.

    Text is read as `SessionsClient.from_env` reads it, and anything else is an argument of the client.
    """
    environ = dict(os.environ)
    options = {}
    for name in _CLIENT_SETTINGS:
        value = config.get(_PREFIX + name)
        if value is None:
            continue
        if name in ("TLS", "TLS_CA"):
            value = str(int(value) if isinstance(value, bool) else value)
        if isinstance(value, str):
            environ[_PREFIX + name] = value
        else:
            options[name.lower()] = value
    return SessionsClient.from_env(environ, **options)


def _name_from(name: str) -> str:
    """An application's name as the store takes it."""
    text = _NOT_IN_A_NAME.sub("-", name)[:_NAME_MAX]
    return text if len(text) >= _NAME_MIN else f"flask-{text}"


def _ttl(app: Flask) -> int:
    ttl = int(app.permanent_session_lifetime.total_seconds())
    if not TTL_MIN_S <= ttl <= TTL_MAX_S:
        raise ConfigurationError(f"PERMANENT_SESSION_LIFETIME must be from {TTL_MIN_S} s to 10 years")
    return ttl


def _secrets(app: Flask) -> list[str | bytes]:
    if not app.secret_key:
        raise ConfigurationError("MEMSESSIONS_SIGN needs a SECRET_KEY")
    return [app.secret_key, *(app.config.get("SECRET_KEY_FALLBACKS") or ())]


def _keys(value: Any) -> Any:
    return [key.strip() for key in value.split(",")] if isinstance(value, str) else value


def _policy(value: object) -> Literal["raise", "anonymous"]:
    if value == "raise":
        return "raise"
    if value == "anonymous":
        return "anonymous"
    raise ConfigurationError(f"{_PREFIX}ON_OUTAGE must be one of {', '.join(_POLICIES)}")


def _user_key(value: object) -> str | None:
    if value is None:
        return "_user_id"
    if not isinstance(value, str):
        raise ConfigurationError(f"{_PREFIX}USER_KEY must be text")
    return value or None
