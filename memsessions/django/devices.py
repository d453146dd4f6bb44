"""Where a user is logged in, for a page that shows it and ends what should not be there.

In an async view call these by `sync_to_async`; else they raise `SynchronousOnlyOperation`.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase

from ..errors import InvalidValue
from ..web import devices as web
from ..web.devices import Device as Device
from .asynchronous import waits
from .configured import configured
from .engine import SessionStore


@waits
def devices(user: Any, session: SessionBase | None = None) -> list[Device]:
    """A user's sessions, the last used first. Two round trips, and none of them counts as used.

    Parameters:
        user: a user, or the primary key of one.
        session: `request.session`, to say which one is this.

    Returns:
        A list of dicts that can be written as JSON: `handle`, `ip`, `idle`, `last_seen`, `current`.

    Raises:
        InvalidValue: the user is nobody (`AnonymousUser`), here and below.
        StoreUnavailable: here and below.
    """
    return web.devices(
        configured().documents, user_id(user), None if session is None else session.session_key
    )


@waits
def end_device(user: Any, handle: str) -> bool:
    """End one of a user's sessions. Two round trips.

    Parameters:
        user: as for `devices`.
        handle: from `devices`. One that is none, or another user's, ends nothing.

    Returns:
        Whether it was ended by this.
    """
    return configured().documents.end_device(user_id(user), handle)


@waits
def end_others(session: SessionBase) -> int:
    """Log the user of a session out everywhere else. Two round trips, and two for each session.

    Parameters:
        session: `request.session`.

    Returns:
        How many sessions were ended.
    """
    user = session.get(SESSION_KEY)
    if isinstance(session, SessionStore) and session.outage is not None:
        raise session.outage  # nobody knows whose session it is
    return web.end_others(configured().documents, user_id(user), session.session_key)


@waits
def end_all(user: Any) -> int:
    """Log a user out everywhere. Three round trips.

    The session of the request that does this is among them: let it `logout(request)`, too.

    Parameters:
        user: as for `devices`.

    Returns:
        How many sessions were ended.

    Raises:
        LogoutIncomplete: a server could not be reached; some sessions may live.
    """
    return configured().client.killsoid(configured().app, user_id(user))["kill"]


def user_id(user: Any) -> str:
    """The id that a user's sessions are listed under: the primary key, as Django writes it."""
    key = getattr(user, "pk", user)
    if key is None:
        raise InvalidValue("this user is nobody, and has no sessions")
    primary_key = getattr(getattr(user, "_meta", None), "pk", None)
    return str(key) if primary_key is None else str(primary_key.value_to_string(user))
