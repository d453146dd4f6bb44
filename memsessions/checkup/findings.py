"""What a check answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from .facts import Facts

#: From good to bad.
Status = Literal["ok", "warning", "problem"]
STATUSES: tuple[Status, ...] = ("ok", "warning", "problem")


class Finding(NamedTuple):
    """What one check found on a server, in words for people, and what would mend it; "" if nothing has to."""

    check: str
    status: Status
    says: str
    mend: str = ""


#: Judges a server by the facts alone. None where it does not apply.
Check = Callable[[Facts], "Finding | None"]


def worst(statuses: list[Status]) -> Status:
    """Of several; of none it is "ok"."""
    return max(statuses, key=STATUSES.index, default="ok")
