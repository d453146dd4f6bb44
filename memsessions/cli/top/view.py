"""How `top` shows a reading: a function of the reading and of the terminal's size, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from rich.console import Group, RenderableType
from rich.text import Text

from ...wording import number, span
from ..output import GAP, Table, ruled, safe, styled
from .plots import PLOT_ROWS, plots
from .readings import AppNow, Reading, ServerNow

T = TypeVar("T")

# Worth a colour: so much of the memory is taken, of the reads so many found no session.
_FULL, _ALMOST_FULL = 0.98, 0.9
_FEW_ROWS = 3
#: What takes two rows of a table: the names of its columns, and a line.
_HEAD_ROWS = 2


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column: what it says of a thing, and how much it matters where there is little room, 0 most."""

    name: str
    cell: Callable[[T], Text]
    rank: int
    left: bool = False


# --------------------------------------------------------------------------------------------- words


def _count(value: int | None) -> Text:
    return Text("-", "dim") if value is None else Text(f"{value:,}")


def _rate(value: float | None, style: str = "") -> Text:
    if value is None:
        return Text("-", "dim")
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"
    return Text(text, style if value else "dim")


def _signed(value: float | None) -> Text:
    if value is None:
        return Text("-", "dim")
    return Text(f"{value:+,.1f}", "dim" if not value else "green" if value > 0 else "red")


def _ms(value: float | None) -> Text:
    if value is None:
        return Text("-", "dim")
    return Text(f"{value:.2f}" if value < 100 else f"{value:,.0f}", "yellow" if value >= 10 else "")


def size(number_of: int) -> str:
    """Bytes, for reading."""
    value, unit = float(number_of), "B"
    for larger in "KMGT":
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f}".removesuffix(".0") + unit


def _memory(server: ServerNow) -> Text:
    if server.memory_bytes is None:
        return Text("-", "dim")
    text, limit = size(server.memory_bytes), server.memory_limit_bytes
    if not limit:
        return Text(text)
    part = server.memory_bytes / limit
    style = "red" if part >= _FULL else "yellow" if part >= _ALMOST_FULL else ""
    return Text(f"{text} of {size(limit)} {part:.0%}", style)


def _found(server: ServerNow) -> Text:
    hits, misses = server.hits_per_s, server.misses_per_s
    if hits is None or misses is None or not hits + misses:
        return Text("-", "dim")
    return Text(f"{hits / (hits + misses):.1%}")


def _state(server: ServerNow) -> Text:
    return Text("up", "green") if server.error is None else Text("away", "bold red")


def _evicted(server: ServerNow) -> Text:
    text = _count(server.evictions)
    if server.evictions:
        text.stylize("yellow")
    if server.evictions_per_s:
        text.append(f" +{server.evictions_per_s:,.1f}/s", "bold red")
    return text


# ------------------------------------------------------------------------------------------- columns


_APPS: Sequence[Column[AppNow]] = (
    Column("app", lambda app: styled(app.app, "bold"), 0, left=True),
    Column("sessions", lambda app: _count(app.sessions), 0),
    Column("users", lambda app: _count(app.users), 1),
    Column("active", lambda app: _count(app.active), 1),
    Column("created/s", lambda app: _rate(app.created_per_s, "green"), 2),
    Column("ended/s", lambda app: _rate(app.ended_per_s, "red"), 2),
    Column("net/s", lambda app: _signed(app.net_per_s), 4),
    Column("reads/s", lambda app: _rate(app.reads_per_s, "cyan"), 3),
)
_SERVERS: Sequence[Column[ServerNow]] = (
    Column("server", lambda its: styled(its.server, "bold red" if its.error else "bold"), 0, left=True),
    Column("state", _state, 4, left=True),
    Column("memory", _memory, 1),
    Column("evicted", _evicted, 2),
    Column("conns", lambda its: _count(its.connections), 4),
    Column("hits/s", lambda its: _rate(its.hits_per_s, "cyan"), 3),
    Column("misses/s", lambda its: _rate(its.misses_per_s, "yellow"), 3),
    Column("found", _found, 5),
    Column("p50 ms", lambda its: _ms(its.latency.p50_ms), 5),
    Column("p95 ms", lambda its: _ms(its.latency.p95_ms), 6),
    Column("p99 ms", lambda its: _ms(its.latency.p99_ms), 3),
)


def _fitting(columns: Sequence[Column[T]], things: Sequence[T], width: int) -> list[Column[T]]:
    """The columns that there is room for; those that matter least are left out first."""
    chosen = list(columns)

    def takes(column: Column[T]) -> int:
        return max([len(column.name), *(column.cell(each).cell_len for each in things)]) + GAP

    while len(chosen) > 1 and sum(map(takes, chosen)) - GAP > width:
        least = max(chosen[1:], key=lambda column: (column.rank, chosen.index(column)))
        chosen.remove(least)
    return chosen


def _table(columns: Sequence[Column[T]], things: Sequence[T], width: int) -> RenderableType:
    """Each thing takes one row, whatever the width."""
    drawing = ruled()
    chosen = _fitting(columns, things, width)
    for column in chosen:
        justify = "left" if column.left else "right"
        drawing.add_column(column.name, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    for each in things:
        drawing.add_row(*(column.cell(each) for column in chosen))
    return drawing


# -------------------------------------------------------------------------------------------- screen


def screen(reading: Reading, width: int, height: int, ns: str, late_s: int = 0) -> RenderableType:
    """Everything on a screen of this size, or as much of it as there is room for.

    `ns` is the namespace that was read, `late_s` for how long nothing could be read that should have been.
    """
    notes = _notes(reading)
    if late_s:
        notes.insert(0, (f"a server has not answered for {span(late_s)}", "red"))
    rows: list[RenderableType] = [_line(_heading(reading, width, ns))]
    apps = sorted(reading.apps, key=lambda app: -app.sessions)
    servers = sorted(reading.servers, key=lambda server: server.error is None)  # who is away is seen first
    left = height - 2 - len(notes) - 2 * _HEAD_ROWS
    if left - len(apps) - len(servers) < 0:  # the servers get half of it, or what they need
        servers_shown = servers[: max(1, left // 2, left - len(apps) - 1)]
        apps_shown = apps[: max(1, left - len(servers_shown) - 1)]
    else:
        servers_shown, apps_shown = servers, apps
    rows.append(_table(_APPS, apps_shown, width))
    more = _hidden(len(apps) - len(apps_shown), len(servers) - len(servers_shown))
    rows += [_line(Text(safe(note), style)) for note, style in [*notes, *more]]
    rows += [Text(""), _table(_SERVERS, servers_shown, width)]
    left -= len(apps_shown) + len(servers_shown) + len(more) + 1
    if left >= PLOT_ROWS and len(reading.points) > 1:
        rows += [Text(""), plots(reading.points, width, left)]
    return Group(*rows)


def _line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _heading(reading: Reading, width: int, ns: str) -> Text:
    now = datetime.fromtimestamp(reading.time).astimezone().strftime("%H:%M:%S")
    ends = Text(f"{now}  every {reading.interval_s:g} s  q ends", "dim")
    name = Text.assemble(("memsessions top", "bold"), f"  ns {safe(ns)}")
    space = width - name.cell_len - ends.cell_len
    return Text.assemble(name, " " * space if space > 1 else "  ", ends)


def _notes(reading: Reading) -> list[tuple[str, str]]:
    """What is not as it should be, in words."""
    counting = reading.counting
    notes = []
    if counting.error is not None:
        when = f"; the last time was {span(int(counting.age_s))} ago" if counting.age_s is not None else ""
        notes.append((f"sessions cannot be counted: {counting.error}{when}", "red"))
    elif counting.age_s is None:
        notes.append(("counting the sessions …", "dim"))
    elif not reading.apps:
        notes.append(("no app has had sessions here", "dim"))
    elif counting.age_s > 3 * reading.interval_s and counting.took_s is not None:
        took = f"{counting.took_s:.1f} s"
        notes.append((f"counted {span(int(counting.age_s))} ago, which took {took}", "dim"))
    notes += [
        (f"{server.server} is away: {server.error}", "red")
        for server in reading.servers
        if server.error is not None
    ][:_FEW_ROWS]
    return notes


def _hidden(apps: int, servers: int) -> list[tuple[str, str]]:
    hidden = [number(apps, "app")] if apps else []
    hidden += [number(servers, "server")] if servers else []
    return [(f"and {' and '.join(hidden)} more", "dim")] if hidden else []


# ---------------------------------------------------------------------------------------------- pipe


def tables(reading: Reading) -> list[Table | str]:
    """The same once, for a pipe: bare columns, of which none is left out."""
    return [
        _bare(_APPS, sorted(reading.apps, key=lambda app: -app.sessions)),
        "",
        _bare(_SERVERS, reading.servers),
    ]


def _bare(columns: Sequence[Column[T]], things: Iterable[T]) -> Table:
    return Table(
        [column.name for column in columns],
        [
            [column.cell(thing) if column.left else _value(column.cell(thing)) for column in columns]
            for thing in things
        ],
    )


def _value(cell: Text) -> object:
    """A number as programs read it, where it is one."""
    text = cell.plain.replace(",", "")
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return None if text == "-" else cell
