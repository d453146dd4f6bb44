"""Rows of a call of memsessions, and of the same call of redis-sessions where that takes part."""

from __future__ import annotations

from collections.abc import Mapping

from .report import Row
from .timing import Timing

OURS = "memsessions"
THEIRS = "redis-sessions"


def our_row(call: str) -> str:
    """The name of a row."""
    return f"{call}, {OURS}"


def its_row(call: str) -> str:
    return f"{call}, {THEIRS}"


def versus(
    timings: Mapping[str, Timing], call: str, target: float | None = None, unit: str = "us"
) -> list[Row]:
    """Both rows of a call; the first says how many times faster it is, and should be so many times."""
    mine = timings[our_row(call)]
    its = timings.get(its_row(call))
    if its is None:
        return [Row(our_row(call), mine.figures(unit))]
    return [
        faster(our_row(call), mine, its, target, unit),
        Row(its_row(call), its.figures(unit)),
    ]


def faster(name: str, mine: Timing, its: Timing, target: float | None = None, unit: str = "us") -> Row:
    """One row that says how many times faster it is than another."""
    return Row(name, {**mine.figures(unit), "times faster": its.over(mine)}, target, "higher")
