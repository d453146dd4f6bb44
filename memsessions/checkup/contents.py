"""The checks of what is on a server: whether its indexes list all sessions, and little else."""

from __future__ import annotations

from collections.abc import Sequence

from ..wording import many
from .facts import Facts
from .findings import Check, Finding

# So many apps are named.
_NAMED = 5
# Few dead entries cost nothing. Where nobody seems to wipe, and where somebody does.
_DEAD_LEAST, _DEAD_SHARE = 100, 0.2
_WIPED_LEAST, _WIPED_SHARE = 10_000, 0.5


def unlisted(facts: Facts) -> Finding | None:
    contents = facts.contents
    if contents is None:
        return None
    if contents.damaged:
        mend = (
            "Find out who else uses these keys, and give sessions another --ns or a memcached of their own."
        )
        says = f"Something that memsessions did not write stands under its keys: {contents.damaged}."
        return Finding("unlisted", "problem", says, mend)
    if lost := contents.total("unlisted"):
        apps = _named([name for name, report in contents.apps.items() if report["unlisted"]])
        says = (
            f"Of {many(contents.sessions, 'living session')}, {lost:,} {_are(lost)} in no list ({apps}):"
            " a log-out everywhere does not reach them."
        )
        return Finding("unlisted", "problem", says, "Run `memsessions repair`; see to the server's memory.")
    listed = f"{many(contents.sessions, 'session')} {_are(contents.sessions)} listed"
    if contents.compared:
        says = f"{listed}, and there are no others." if contents.sessions else "There are no sessions."
        return Finding("unlisted", "ok", says)
    if not facts.evicts:
        return Finding("unlisted", "ok", f"{listed}; it throws out no index item that lists any.")
    says = f"{listed}. Whether there are others is not known: {contents.why_not}."
    mend = "Look again in a while." if facts.dumps else "Start it with -M, or without -X."
    return Finding("unlisted", "warning", says, mend)


def dead(facts: Facts) -> Finding | None:
    contents = facts.contents
    if contents is None:
        return None
    number = contents.total("dead")
    entries = number + contents.total("listed")
    share = number / entries if entries else 0.0
    of_all = f"Of {many(entries, 'index entry', 'index entries')}, {number:,}"
    says = f"{of_all} {_are(number)} of sessions that are gone"
    if not number:
        return Finding("dead", "ok", "No index entry is of a session that is gone.")
    if not contents.wiping and number >= _DEAD_LEAST and share >= _DEAD_SHARE:
        says += f" ({share:.0%}), and nobody seems to remove them."
        return Finding("dead", "warning", says, "Run `memsessions wipe`; let a client wipe (wipe=600).")
    if number >= _WIPED_LEAST and share >= _WIPED_SHARE:
        says += f" ({share:.0%}): they cost time and memory."
        return Finding("dead", "warning", says, "Run `memsessions wipe`; let clients wipe more often.")
    return Finding("dead", "ok", f"{says}; wipes remove them.")


def apps(facts: Facts) -> Finding | None:
    contents = facts.contents
    if contents is None:
        return None
    if contents.unregistered:
        says = f"The list of apps lacks {_named(contents.unregistered)}: nobody wipes these."
        mend = "Run `memsessions repair`; see to the server's memory."
        return Finding("apps", "warning", says, mend)
    if not contents.apps:
        return Finding("apps", "ok", "No app has had sessions here.")
    return Finding("apps", "ok", f"{many(len(contents.apps), 'app')}: {_named(list(contents.apps))}.")


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _named(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:_NAMED])} and {more:,} more"


CHECKS: dict[str, Check] = {"unlisted": unlisted, "dead": dead, "apps": apps}
