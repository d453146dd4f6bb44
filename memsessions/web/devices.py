"""Where a user is logged in: data for "your active sessions", and the ends of the others."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TypedDict

from ..documents import Documents
from ..handles import handle_of_token

# Whoever is logging others out looks again for sessions that moved meanwhile, at most this often.
_PASSES = 5


class Device(TypedDict):
    """One of a user's sessions, for "your active sessions". All of it can be shown to that user.

    `handle`: what `end_device` takes, 32 hexadecimal digits; nobody can log in with it. `ip`: the address at
    log-in. `idle`: seconds since the last request. `last_seen`: when that was, in ISO 8601, UTC. `current`:
    whether it is the session that asks.
    """

    handle: str
    ip: str
    idle: int
    last_seen: str
    current: bool


def devices(documents: Documents, user_id: str, token: str | None) -> list[Device]:
    """A user's sessions, the last used first; `token` is that of the session that asks. Two round trips."""
    current = None if token is None else handle_of_token(token)
    now = datetime.now(timezone.utc).replace(microsecond=0)
    return [
        {
            "handle": handle,
            "ip": listed["ip"],
            "idle": listed["idle"],
            "last_seen": (now - timedelta(seconds=listed["idle"])).isoformat(),
            "current": handle == current,
        }
        for handle, listed in documents.devices(user_id)
    ]


def end_others(documents: Documents, user_id: str, token: str | None) -> int:
    """End a user's sessions but that of `token`; how many. Two round trips, and two for each session."""
    ended = 0
    for _pass in range(_PASSES):
        others = [device for device in devices(documents, user_id, token) if not device["current"]]
        if not others:
            break
        ended += sum(documents.end_device(user_id, device["handle"]) for device in others)
    return ended
