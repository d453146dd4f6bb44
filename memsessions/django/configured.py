"""The setting `MEMSESSIONS`, and what it names: made once in a process, when it is first needed.

    MEMSESSIONS = {"servers": "127.0.0.1:11211", "ns": "shop", "app": "django", "on_outage": "raise"}

Its keys are the arguments of `SessionsClient`. Besides these:

    app             under which app the sessions are listed, "django" if it is not said
    encryption_key  one or several keys, as `memsessions.web.SessionStorage` has them; in text, after commas
    on_outage       "raise": while the store cannot be reached, a page that looks at its session is an error.
                    "anonymous": the session is empty then, and what is put into it is lost, with a warning in
                    the log; but log-ins and log-outs are errors.

What it does not say is taken from the environment: `MEMSESSIONS_SERVERS`, `MEMSESSIONS_APP` and so on.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from ..client import SessionsClient
from ..documents import Documents
from ..errors import ConfigurationError, ValidationError
from ..web.encryption import Encryption

SETTING = "MEMSESSIONS"

# What it can say besides the client's arguments, and what holds if nobody says it.
_OURS = {"app": "django", "encryption_key": None, "on_outage": "raise"}
_CLIENTS = tuple(inspect.signature(SessionsClient).parameters)


class Configured(NamedTuple):
    """What the setting names."""

    client: SessionsClient
    app: str
    documents: Documents
    #: Whether pages are shown without their sessions while the store cannot be reached.
    anonymous_on_outage: bool


# At most one. A dict, as its `setdefault` is one step for threads, and no lock has to survive a fork.
_made: dict[str, Configured] = {}


def configured() -> Configured:
    """What the setting names; made by the first call in a process. Nothing is contacted.

    Raises:
        ImproperlyConfigured: it, or a `MEMSESSIONS_*` variable, is not usable.
    """
    return _made.get(SETTING) or _made.setdefault(SETTING, configure(getattr(settings, SETTING, None)))


def client() -> SessionsClient:
    """The client that the sessions are in: `client().killsoid(app_name(), str(user.pk))`.

    Raises:
        ImproperlyConfigured: as for `configured`.
    """
    return configured().client


def app_name() -> str:
    """The app that they are listed under, `"django"` unless another one is said."""
    return configured().app


def configure(setting: object) -> Configured:
    """What such a setting names; None for one that is not there. Raises `ImproperlyConfigured`."""
    if not isinstance(setting, Mapping) and setting is not None:
        raise ImproperlyConfigured(f"{SETTING} must be a dict, not {type(setting).__name__}")
    given: dict[str, Any] = dict(setting or {})
    unknown = [str(key) for key in given if key not in (*_CLIENTS, *_OURS)]
    if unknown:
        known = ", ".join(sorted((*_CLIENTS, *_OURS)))
        raise ImproperlyConfigured(f"{SETTING} has no {', '.join(unknown)}; it can have {known}")
    app, key, on_outage = (
        given.pop(name, os.environ.get(f"{SETTING}_{name.upper()}") or default)
        for name, default in _OURS.items()
    )
    if on_outage not in ("raise", "anonymous"):
        raise ImproperlyConfigured(f'{SETTING}: on_outage must be "raise" or "anonymous"')
    try:
        sealing = None if key is None else Encryption(_keys(key))
        # A client that is shared brings its own server, whatever the environment says.
        make = SessionsClient if given.get("client") is not None else SessionsClient.from_env
        made = make(**given)
        return Configured(made, app, made.documents(app, sealing), on_outage == "anonymous")
    except (ConfigurationError, ValidationError) as error:
        raise ImproperlyConfigured(f"{SETTING}: {error}") from None


def _keys(value: Any) -> Any:
    return [key.strip() for key in value.split(",")] if isinstance(value, str) else value


@receiver(setting_changed, dispatch_uid="memsessions.django.configured")
def _forget(*, setting: str, **_: object) -> None:
    """For tests, which override settings: the next call finds the setting as it is then."""
    if setting == SETTING and (old := _made.pop(SETTING, None)) is not None:
        old.client.close()
