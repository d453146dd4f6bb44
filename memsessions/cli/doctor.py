"""The command that says what is wrong with a server, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.text import Text

from ..checkup import CHECKS, Finding, Report, Status, examine, worst
from ..errors import StoreUnavailable
from ..wording import number
from . import codes
from .frame import Frame, command
from .output import Table, safe, styled

_STYLES: dict[Status, str] = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_CODES: dict[Status, int] = {"ok": codes.DONE, "warning": codes.WARNINGS, "problem": codes.PROBLEMS}


@command(
    "doctor",
    notes=f"For monitoring: ends with {codes.WARNINGS} if there are warnings and no problem, with "
    f"{codes.PROBLEMS} if there is a problem, with {codes.UNAVAILABLE} if a server does not answer.",
)
@click.option("--quick", is_flag=True, help="Leave out what goes through all sessions.")
@click.option(
    "--ignore",
    multiple=True,
    type=click.Choice(list(CHECKS)),
    metavar="CHECK",
    help="Leave out the check of this name, as what it finds is so on purpose. Can be given again.",
)
def doctor(frame: Frame, quick: bool, ignore: Sequence[str]) -> None:
    """Say what is wrong with servers, and how to mend it.

    Looks at the version, the memory and what the sessions take of it, evictions, limits, who can reach the
    server and what they could do, its clock and its speed; and goes through all sessions, to see whether the
    indexes list them all, and little else. That takes some seconds for a million sessions. It changes
    nothing, and counts as a use of no session.
    """
    with frame.out.progress("examining") as tell:
        reports = examine(frame.client, quick=quick, tell=tell, ignore=ignore)
    status = worst([report.status for report in reports])
    frame.out.answer(
        {"status": status, "servers": [_document(report) for report in reports]},
        *(_views(reports) if frame.out.on_terminal else [_table(reports)]),
    )
    frame.fail([report.error for report in reports if isinstance(report.error, StoreUnavailable)])
    if status != "ok":
        raise click.exceptions.Exit(_CODES[status])


def _document(report: Report) -> dict[str, Any]:
    return {
        "server": report.server,
        "status": report.status,
        "findings": [finding._asdict() for finding in report.findings],
    }


def _table(reports: Sequence[Report]) -> Table:
    """For a pipe: one line for each finding."""
    rows = [
        (report.server, finding.check, finding.status, finding.says, finding.mend or None)
        for report in reports
        for finding in report.findings
    ]
    return Table(("server", "check", "status", "finding", "mend"), rows)


def _views(reports: Sequence[Report]) -> list[Text | Table]:
    """For a person: a part for each server."""
    views: list[Text | Table] = []
    for report in reports:
        if views:
            views.append(Text())
        title = Text.assemble((safe(report.server), "bold"), ": ", styled(*_summary(report)))
        views += [
            title,
            Table(("check", "status", "finding"), [_row(finding) for finding in report.findings]),
        ]
    return views


def _summary(report: Report) -> tuple[str, str]:
    """`2 problems, 1 warning`, and its style."""
    statuses = [finding.status for finding in report.findings]
    counts = [number(statuses.count(each), each) for each in ("problem", "warning") if each in statuses]
    return ", ".join(counts) or "all is well", _STYLES[report.status]


def _row(finding: Finding) -> tuple[str, Text, Text]:
    text = Text(safe(finding.says))
    if finding.mend:
        text.append(f"\n→ {safe(finding.mend)}", style="cyan")
    return finding.check, styled(finding.status, _STYLES[finding.status]), text
