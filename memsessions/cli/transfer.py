"""Export and import: how an app's sessions move to another server."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click
import orjson

from ..errors import InvalidValue
from ..transfer import check_importable, export_sessions, import_sessions
from .files import replacing
from .frame import Frame, command, complete_app
from .output import Table, to_json

# What comes through a pipe is kept in memory up to this size, and in a file of the system's beyond.
_SPOOLED_BYTES = 16 * 1024 * 1024


@command("export")
@click.argument("app", shell_complete=complete_app)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write there instead, for nobody else to read; what was there stays until all is written.",
)
def export(frame: Frame, app: str, output: Path | None) -> None:
    """Write an app's living sessions as JSON lines.

    Each is an object with all that the store knows of a session: its data, but a hash in the place of its
    token. With --json they are one array. Nobody's session counts as used.
    """
    sessions = export_sessions(frame.client, app)
    if output is None:
        _write(map(to_json, sessions), frame.out.as_json)
        return
    with frame.out.progress(f"exporting {app}") as tell, replacing(output) as file:
        number = 0
        for number, session in enumerate(sessions, 1):
            file.write(f"{to_json(session)}\n".encode())
            tell(number, None)
    frame.out.answer({"exported": number}, f"{number} sessions were exported to {output}")


@command("import")
@click.argument("app", shell_complete=complete_app)
@click.argument("file", type=click.File("rb"), default="-")
def import_(frame: Frame, app: str, file: IO[bytes]) -> None:
    """Have sessions that were exported live on, from FILE or stdin.

    All of it is looked through before the first is written. A session keeps its token, its counters and the
    moment at which it ends; one that is there already stays as it is, so an import can be repeated.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_repeatable(file))
        total = check_importable(frame.client, _sessions(source))
        source.seek(0)
        tell = stack.enter_context(frame.out.progress(f"importing {app}"))
        done = import_sessions(frame.client, app, _sessions(source), lambda number: tell(number, total))
    frame.out.answer(done, Table(("imported", "there already", "ended meanwhile"), [tuple(done.values())]))


def _write(lines: Iterator[str], as_array: bool) -> None:
    """Lines on stdout, or one JSON array of them."""
    if not as_array:
        for line in lines:
            sys.stdout.write(f"{line}\n")
        return
    before = "["
    for line in lines:
        sys.stdout.write(f"{before}\n{line}")
        before = ","
    sys.stdout.write("\n]\n" if before == "," else "[]\n")


@contextlib.contextmanager
def _repeatable(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The same bytes in something that can be read twice."""
    if file.seekable():
        yield file
        return
    with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as spooled:
        shutil.copyfileobj(file, spooled)
        spooled.seek(0)
        yield spooled


def _sessions(source: IO[bytes]) -> Iterator[Any]:
    """What each line says; an array is all of it at once."""
    for number, line in enumerate(source, 1):
        text = line.strip()
        if not text:
            continue
        if number == 1 and text.startswith(b"["):
            yield from _parsed(line + source.read(), "what begins with [")
            return
        yield _parsed(text, f"line {number}")


def _parsed(text: bytes, what: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:  # its message shows what it read
        raise InvalidValue(f"{what} is not JSON: was the export interrupted?") from None
