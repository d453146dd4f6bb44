"""The checks of what is on a server: whether its indexes list all sessions, and little else."""

from __future__ import annotations

from ..wording import many
from .facts import Facts
from .findings import Check, Finding

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
        apps = ", ".join(name for name, report in contents.apps.items() if report["unlisted"])
        says = (
            f"{many(lost, 'living session')} of {contents.sessions:,} are in no list ({apps}): a log-out"
            " everywhere does not reach them."
        )
        return Finding("unlisted", "problem", says, "Run `memsessions repair`; see to the server's memory.")
    sessions = many(contents.sessions, "session")
    if contents.compared:
        return Finding("unlisted", "ok", f"All of {sessions} are listed." if contents.sessions else _NONE)
    if not facts.evicts:
        return Finding(
            "unlisted", "ok", f"{sessions} are listed; it throws out no index item that lists any."
        )
    says = f"{sessions} are listed. Whether there are others is not known: {contents.why_not}."
    return Finding("unlisted", "warning", says, "Start it with -M, or without -X.")


_NONE = "There are no sessions."


def dead(facts: Facts) -> Finding | None:
    contents = facts.contents
    if contents is None:
        return None
    number = contents.total("dead")
    entries = number + contents.total("listed")
    share = number / entries if entries else 0.0
    says = f"{number:,} of {many(entries, 'index entry', 'index entries')} are of sessions that are gone"
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
        says = f"The list of apps lacks {', '.join(contents.unregistered)}: nobody wipes these."
        mend = "Run `memsessions repair`; see to the server's memory."
        return Finding("apps", "warning", says, mend)
    if not contents.apps:
        return Finding("apps", "ok", "No app has had sessions here.")
    return Finding("apps", "ok", f"{many(len(contents.apps), 'app')}: {', '.join(contents.apps)}.")


CHECKS: dict[str, Check] = {"unlisted": unlisted, "dead": dead, "apps": apps}
