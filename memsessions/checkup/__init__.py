"""Looking at servers as a doctor does: what is wrong for sessions, and how to mend it.

A check is a function of the facts about a server, and answers with a `Finding`. Looking changes nothing, and
counts as a use of no session.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from ..errors import StoreError, UnsupportedServer
from ..nodes import Node
from ..operating import on_each_server
from . import access, contents, facts, server
from .facts import Facts, Tell
from .findings import STATUSES, Check, Finding, Status, worst

if TYPE_CHECKING:
    from ..client import SessionsClient

__all__ = ["CHECKS", "STATUSES", "Facts", "Finding", "Report", "Status", "Tell", "examine", "worst"]

#: Every check of a server that answers, in the order in which findings are shown.
CHECKS: dict[str, Check] = {**server.CHECKS, **access.CHECKS, **contents.CHECKS}
#: What is found of one that does not, or is too old.
REACH = "reach"


class Report(NamedTuple):
    """What was found on one server; `error` if it could not be examined, or not to the end."""

    server: str
    findings: list[Finding]
    error: StoreError | None = None

    @property
    def status(self) -> Status:
        """The worst of them."""
        return worst([finding.status for finding in self.findings])


def examine(
    client: SessionsClient,
    *,
    quick: bool = False,
    tell: Tell | None = None,
    ignore: Collection[str] = (),
) -> list[Report]:
    """Look at each of a client's servers, all at the same time.

    Parameters:
        quick: leave out what goes through all sessions: some round trips only, instead of some seconds and
            100 MB for each million of sessions.
        tell: told now and then, from any thread, how many keys or records were looked at, of how many.
        ignore: checks to leave out.

    Returns:
        A report for each server, in the order in which they were given to the client. One that is away is
        one with a problem.
    """
    told: dict[str, tuple[int, int]] = {}
    telling = threading.Lock()

    def examine_one(node: Node) -> Facts:
        def tell_one(done: int, total: int) -> None:
            if tell is not None:
                with telling:
                    told[node.name] = done, total
                    tell(sum(done for done, _ in told.values()), sum(total for _, total in told.values()))

        found = facts.ask(node, client._item_bytes)  # noqa: SLF001  part of this package
        return found if quick else facts.look_into(node, found, tell_one)

    return [
        _unreached(name, answer) if isinstance(answer, StoreError) else Report(name, judge(answer, ignore))
        for name, answer in on_each_server(client, examine_one)
    ]


def judge(found: Facts, ignore: Collection[str] = ()) -> list[Finding]:
    """What all checks, but for some, have to say of a server."""
    findings = (check(found) for name, check in CHECKS.items() if name not in ignore)
    return [finding for finding in findings if finding is not None]


def _unreached(name: str, error: StoreError) -> Report:
    if isinstance(error, UnsupportedServer):
        old = Finding("version", "problem", f"{_sentence(error.reason)}.", "Install a newer memcached.")
        return Report(name, [old], error)
    mend = "Start it, or look at its address, the network, TLS and the password."
    return Report(name, [Finding(REACH, "problem", f"{_sentence(error.reason)}.", mend)], error)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
