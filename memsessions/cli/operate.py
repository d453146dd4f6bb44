"""The commands that keep a store in order."""

from __future__ import annotations

from .. import operating
from ..repairing import repair as repair_all
from ..wording import number
from .frame import Frame, command
from .interrupts import stoppable
from .output import Table

_REPAIRED = ("listed", "dead", "unlisted", "relisted")


@command("wipe")
def wipe(frame: Frame) -> None:
    """Remove index entries of sessions that are gone.

    Every client does that by itself now and then. It ends no living session; but a server that is full and
    evicts (without -M) may throw some out to make room for the index that is written anew.
    """
    with stoppable() as stopped:
        with frame.out.progress("wiping") as tell:
            wiped = operating.wipe(frame.client, tell, stopped)
        more = ", and then it was stopped" if stopped() else ""
        frame.out.answer({"wiped": wiped}, f"{number(wiped, 'entry', 'entries')} removed{more}")


@command("repair")
def repair(frame: Frame) -> None:
    """List again the sessions that indexes have lost.

    A server that is short of memory may throw out an index item before the sessions it lists: "log out
    everywhere" does not reach them then. All keys of the server are compared with the indexes. Nobody is
    logged out, and no session counts as used. Run one at a time.

    \b
    listed    living sessions that the index lists
    dead      entries of sessions that are gone; a wipe removes them
    unlisted  living sessions that the index had lost
    relisted  how many of these it lists again: fewer on a server that is full
    """
    with stoppable() as stopped, frame.out.progress("repairing") as tell:

        def told(done: int, total: int) -> None:
            if stopped():
                raise KeyboardInterrupt  # what was listed again stays so
            tell(done, total)

        report = repair_all(frame.client, told)
    frame.out.answer(
        report,
        Table(
            ("app", *_REPAIRED),
            [(app, *(each[name] for name in _REPAIRED)) for app, each in report.items()],  # type: ignore[literal-required]
            caption="" if report else "No app has had sessions here.",
        ),
    )
