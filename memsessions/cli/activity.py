"""`activity`: how many users are active, once or again and again."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import click
from rich.text import Text

from ..errors import StoreError
from ..wording import number
from .frame import Frame, command, complete_app
from .look import known
from .options import Seconds
from .output import complain, safe, to_json

_LEAST_S, _MOST_S = 0.1, 86_400
_BARS = " ▁▂▃▄▅▆▇█"


@command("activity")
@click.argument("app", shell_complete=complete_app)
@click.option(
    "--active",
    type=click.IntRange(min=10),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="Used in so many seconds.",
)
@click.option(
    "--watch",
    type=Seconds(_LEAST_S, _MOST_S),
    metavar="SECONDS",
    help="Ask again, each time after so long.",
)
@click.option("--times", type=click.IntRange(min=1), help="With --watch: stop after so many times.")
def activity(frame: Frame, app: str, active: int, watch: float | None, times: int | None) -> None:
    """Count the distinct users of APP who are active.

    With --watch this goes on until Ctrl-C: in one place on a terminal, else a line each time. With --json it
    is a list then, to which elements are added.
    """
    users = frame.client.activity(app, active)["activity"]
    if not users:
        known(frame, app, {"activity": 0})
    if watch is None:
        text = f"{number(users, 'user')} of {app} active in the last {active} s"
        frame.out.answer({"activity": users}, text)
        return
    samples = _samples(frame, app, active, watch, times, users)
    if frame.out.as_json:
        _listed(frame, samples)
    elif frame.out.on_terminal:
        _drawn(frame, app, active, samples)
    else:
        for sample in samples:
            if isinstance(sample["activity"], int):
                frame.out.write(f"{sample['time']}  {sample['activity']}")


def _samples(
    frame: Frame, app: str, active: int, watch: float, times: int | None, first: int
) -> Iterator[dict[str, Any]]:
    """One after the other; in an outage, without a number."""
    for turn in itertools.count(1):
        error = None
        if turn == 1:
            users: int | None = first
        else:
            try:
                users = frame.client.activity(app, active)["activity"]
            except StoreError as outage:  # it may be back the next time
                users, error = None, outage
                if not frame.out.on_terminal:
                    complain(str(outage))
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        yield {"time": now, "activity": users, **({"error": str(error)} if error else {})}
        if turn == times:
            return
        time.sleep(watch)


def _listed(frame: Frame, samples: Iterator[dict[str, Any]]) -> None:
    """One JSON list, whole even if it is interrupted."""
    before = "["
    try:
        for sample in samples:
            frame.out.write(f"{before}{to_json(sample)}")
            before = ","
    finally:
        frame.out.write("]" if before == "," else "[]")


def _drawn(frame: Frame, app: str, active: int, samples: Iterator[dict[str, Any]]) -> None:
    from rich.live import Live

    console = frame.out.console
    seen: deque[int] = deque(maxlen=1_000)
    with Live(console=console, auto_refresh=False) as live:
        for sample in samples:
            users = sample["activity"]
            if users is None:
                line = Text(safe(sample["error"]), "red")
            else:
                seen.append(users)
                line = Text.assemble(
                    (number(users, "user"), "bold"), f" of {app} active in the last {active} s"
                )
            curve = Text(_curve(list(seen)[-console.width :]), "green")
            live.update(Text("\n").join([line, curve, Text(f"{sample['time']}, Ctrl-C ends", "dim")]))
            live.refresh()


def _curve(values: list[int]) -> str:
    most = max(values, default=0) or 1
    return "".join(_BARS[-(-value * (len(_BARS) - 1) // most)] for value in values)
