"""What must be true of sessions whose client has died, whatever it was doing: seen through another client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from memsessions import SessionsClient
from memsessions.wiping import BEING_MADE_S

from ..support.inventory import Inventory, take
from ..support.memcached import Memcached

#: The time to live of all sessions of a fixed life here.
FIXED_TTL_S = 600


class Aftermath(NamedTuple):
    """What was found."""

    problems: list[str]
    left_to_their_end: int  # records of a fixed life that the first wipe could not tell from one being made


def aftermath(server: Memcached, rs: SessionsClient, ns: str, apps: Iterable[str]) -> Aftermath:
    """Look at the apps, wipe once, end all sessions, user by user, and wipe again: nothing is left then."""
    problems = []
    left = 0
    found = {app: take(server, ns, app) for app in apps}
    for app, before in found.items():
        problems += unreachable(rs, app, before)
    server.advance(ns, BEING_MADE_S)
    rs.wipe()
    for app, before in found.items():
        wiped = take(server, ns, app)
        if wiped.sessions != before.sessions:
            problems.append("the wipe changed a session")
        problems += unreachable(rs, app, wiped)
        # The counter of a fixed life does not tell how old it is; its record goes when it has ended.
        waiting = {name for name in wiped.dead() & wiped.counters if wiped.listed[name]}
        left += len(waiting)
        if wiped.dead() - waiting:
            problems.append(f"the wipe left {len(wiped.dead() - waiting)} records of sessions that are gone")
        problems += _not_ended(server, rs, ns, app, wiped)
    server.advance(ns, FIXED_TTL_S + 1)
    rs.wipe()
    for app in found:
        rest = take(server, ns, app)
        if rest.sessions or rest.listed or rest.index_items or rest.spilled:
            problems.append("something is left after the end of all sessions and a wipe")
    return Aftermath(problems, left)


def unreachable(rs: SessionsClient, app: str, found: Inventory) -> list[str]:
    """What is broken, or lives and is not listed, by what is stored and by what is shown."""
    problems = [f"{len(found.broken)} items are broken"] if found.broken else []
    problems += [f"{len(found.unlisted())} sessions are not listed"] if found.unlisted() else []
    wrong = [user for user in _users(found) if len(rs.soid(app, user)) != len(found.of_user(user))]
    return problems + [f"soid does not show the sessions of {user}" for user in wrong]


def _users(found: Inventory) -> list[str]:
    return sorted({held[1] for held in found.sessions.values()})


def _not_ended(server: Memcached, rs: SessionsClient, ns: str, app: str, before: Inventory) -> list[str]:
    """End the sessions user by user, and the last one's with all of the app."""
    problems = []
    users = _users(before)
    for user in users[:-1] or users:
        killed = rs.killsoid(app, user)["kill"]
        after = take(server, ns, app)
        if after.of_user(user):
            problems.append(f"{len(after.of_user(user))} sessions live on after killsoid")
        if killed != len(before.of_user(user)):
            problems.append(f"killsoid says {killed}, there were {len(before.of_user(user))}")
        if len(after.sessions) != len(before.sessions) - len(before.of_user(user)):
            problems.append("killsoid ended sessions of others")
        before = after
    killed = rs.killall(app)["kill"]
    if killed != len(before.sessions):
        problems.append(f"killall says {killed}, there were {len(before.sessions)}")
    return problems
