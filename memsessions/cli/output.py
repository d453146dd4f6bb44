"""What commands answer with: one JSON document, or tables for people; and progress bars."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table as Drawing

# A bar is shown for what takes longer than this.
_PATIENCE_S = 1.0
# Between two columns of a table; what a column of text is folded to at least, and one is cut to.
GAP, _FOLDED, _LEAST_CUT = 2, 12, 8


def safe(text: object) -> str:
    """Text that does nothing to a terminal: what is stored may hold escape sequences.

    Whatever is not printable, characters that change the direction of writing included, is shown as Python
    would escape it.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shown)


def styled(text: object, style: str) -> Text:
    """The same, in a style of rich's; for the cells of a `Table`."""
    return Text(safe(text), style=style)


@dataclass
class Table:
    """Rows under names. A cell is text, a number, None, or `styled`; a column of numbers is set to the right.

    On a terminal that is too narrow for it, each row becomes a paragraph. In a pipe it is bare columns.
    What is long is folded, but for the columns that are `whole`, as they are to be copied, and the one that
    is `cut` to what is left of the width, or left out where that is next to nothing.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]] = field(default_factory=list)
    caption: str = ""
    whole: Sequence[str] = ()
    cut: str = ""


class Tell(Protocol):
    """Says how far something has come."""

    def __call__(self, done: float, total: int | None, /) -> None: ...  # None where it is not known


class TerminalConsole(Console):
    """What is rich's, but for the end of a pipe: `frame` says how the program ends then."""

    def on_broken_pipe(self) -> None:
        raise


class Output:
    """Where a command's answer goes. Nothing else may write to stdout."""

    def __init__(self) -> None:
        self.as_json = False

    @property
    def console(self) -> Console:
        """rich's console on stdout: for what draws by itself."""
        return TerminalConsole(file=sys.stdout, highlight=False, markup=False, emoji=False)

    @property
    def on_terminal(self) -> bool:
        """Whether somebody is looking: then, and without --json, there can be colours and motion."""
        return _moving(sys.stdout) and not self.as_json

    def answer(self, document: object, *views: str | Table | RenderableType) -> None:
        """With --json, the document; otherwise the views, one below the other."""
        if self.as_json:
            self.write(to_json(document, indent=2 if sys.stdout.isatty() else None))
            return
        for view in views:
            self.show(view)

    def show(self, view: str | Table | RenderableType) -> None:
        """Something for people, on stdout; a text is made `safe`. Nothing with --json."""
        if self.as_json:
            return
        if isinstance(view, str):
            self.write(safe(view))
        elif isinstance(view, Table) and not sys.stdout.isatty():
            self.write("\n".join(_bare(view)))
        else:
            console = self.console
            with console.capture() as captured:
                view = _drawn(view, console.width) if isinstance(view, Table) else view
                console.print(view, soft_wrap=not sys.stdout.isatty())
            self.write(captured.get().removesuffix("\n"))

    def write(self, text: str) -> None:
        """Text as it is, and a line end. It must be harmless to a terminal."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """A remark for people, on stderr; nothing with --json."""
        if not self.as_json:
            complain(text)

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[Tell]:
        """Call what this gives with `(done, total)`: a bar is shown once a second has passed, on a terminal.

        It may be called from any thread.
        """
        with contextlib.ExitStack() as stack:
            yield _Bar(what, stack).tell if _moving(sys.stdout) and _moving(sys.stderr) else _silent


class _Bar:
    """A progress bar that appears late, and is taken away at the end."""

    def __init__(self, what: str, stack: contextlib.ExitStack) -> None:
        self._what = what
        self._stack = stack
        self._after = time.monotonic() + _PATIENCE_S
        self._progress: Progress | None = None
        self._telling = threading.Lock()

    def tell(self, done: float, total: int | None, /) -> None:
        with self._telling:
            self._tell(done, total)

    def _tell(self, done: float, total: int | None) -> None:
        if self._progress is None:
            if time.monotonic() < self._after:
                return
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            console = TerminalConsole(file=sys.stderr, highlight=False, markup=False)
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
            self._progress = self._stack.enter_context(Progress(*columns, console=console, transient=True))
            self._progress.add_task(safe(self._what), total=None)
        (task,) = self._progress.task_ids
        self._progress.update(task, completed=done, total=total)


def _moving(stream: TextIO) -> bool:
    """Whether it is a terminal on which the cursor can be moved."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def _silent(_done: float, _total: int | None, /) -> None:
    pass


def complain(text: str) -> None:
    """A message on stderr."""
    sys.stderr.write(f"memsessions: {safe(text)}\n")
    sys.stderr.flush()


def to_json(document: object, indent: int | None = None) -> str:
    """JSON in ASCII without control characters, so that it is harmless to a terminal, too."""
    return json.dumps(document, indent=indent).replace("\x7f", "\\u007f")


# ------------------------------------------------------------------------------------------- tables


def _text(cell: object) -> Text:
    if isinstance(cell, Text):
        return cell
    return Text("-" if cell is None else safe(cell))


def _numeric(table: Table, column: int) -> bool:
    cells = [row[column] for row in table.rows]
    return any(isinstance(cell, (int, float)) for cell in cells) and all(
        cell is None or isinstance(cell, (int, float)) for cell in cells
    )


def _bare(table: Table) -> Iterator[str]:
    """Lines for programs and for `grep`: nothing is cut off, folded or coloured."""
    rows = [[_text(cell).plain for cell in row] for row in table.rows]
    cells = [list(table.columns), *rows]
    last = len(table.columns) - 1
    numeric = [_numeric(table, column) for column in range(len(table.columns))]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = []
        for column, (text, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - cell_len(text))
            padded.append(space + text if numeric[column] else text + space if column < last else text)
        yield "  ".join(padded).rstrip()


def _widths(table: Table) -> list[int]:
    """Of each column, what its longest line takes."""
    return [
        max(
            [
                cell_len(name),
                *(cell_len(line.plain) for row in table.rows for line in _text(row[at]).split("\n")),
            ]
        )
        for at, name in enumerate(table.columns)
    ]


def ruled(caption: Text | None = None) -> Drawing:
    """An empty table of rich's: a line below the names of its columns, and no other."""
    from rich import box
    from rich.table import Table as Drawing

    return Drawing(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, GAP - 1, 0, 0),  # the box is one more
        header_style="bold",
        caption=caption,
        caption_justify="left",
    )


def _drawn(table: Table, width: int) -> RenderableType:
    """As it fits into so many columns of a terminal."""
    widths = dict(zip(table.columns, _widths(table), strict=True))
    others = [name for name in table.columns if name != table.cut]
    least = sum(
        widths[name] if name in table.whole or _numeric(table, at) else min(widths[name], _FOLDED)
        for at, name in enumerate(table.columns)
        if name in others
    )
    if table.rows and least + GAP * (len(others) - 1) > width:
        return _paragraphs(table)
    left = width - sum(widths[name] + GAP for name in others)
    drawing = ruled(Text(safe(table.caption), "italic") if table.caption else None)
    shown = []
    for at, name in enumerate(table.columns):
        if name == table.cut and left < min(_LEAST_CUT, widths[name]):
            continue
        shown.append(at)
        drawing.add_column(
            name,
            justify="right" if _numeric(table, at) else "left",
            no_wrap=name in table.whole or name == table.cut,
            overflow="ellipsis" if name == table.cut else "fold",
            max_width=min(left, widths[name]) if name == table.cut else None,
        )
    for row in table.rows:
        drawing.add_row(*(_text(row[at]) for at in shown))
    return drawing


def _paragraphs(table: Table) -> Text:
    """Each row as lines of `name value`."""
    wide = max(map(len, table.columns))
    lines: list[Text] = []
    for row in table.rows:
        if lines:
            lines.append(Text())
        for name, cell in zip(table.columns, row, strict=True):
            lines.append(Text.assemble((name.ljust(wide), "bold"), "  ", _text(cell)))
    if table.caption:
        lines += [Text(), Text(safe(table.caption), "italic")]
    text = Text("\n").join(lines)
    text.overflow = "fold"
    return text
