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
from ..operating import app_names
from ..transfer import check_importable, export_sessions, import_sessions
from ..wording import number
from .files import replacing
from .frame import Frame, NotFound, command, complete_app
from .interrupts import stoppable
from .output import Table, Tell, to_json

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
    token. With --json they are one array. Nobody's session counts as used. Sessions that the indexes have
    lost are left out: run `memsessions repair` before. In a pipe, `set -o pipefail` tells whether all came.
    """
    sessions = export_sessions(frame.client, app)
    if output is None:
        if not _write(map(to_json, sessions), frame.out.as_json):
            _check_known(frame, app)
        return
    with frame.out.progress(f"exporting {app}") as tell, replacing(output) as file:
        count = 0
        for count, session in enumerate(sessions, 1):
            file.write(f"{to_json(session)}\n".encode())
            tell(count, None)
        if not count:
            _check_known(frame, app)
    said = f"{number(count, 'session was', 'sessions were')} exported to {output}"
    frame.out.answer({"exported": count}, said)


@command("import")
@click.argument("app", shell_complete=complete_app)
@click.argument("file", type=click.File("rb"), default="-")
def import_(frame: Frame, app: str, file: IO[bytes]) -> None:
    """Have sessions that were exported live on, from FILE or stdin.

    All of it is looked through before the first is written. A session keeps its token, its counters and the
    moment at which it ends; one that is there already stays as it is, so an import that was interrupted is
    finished by repeating it.
    """
    with _repeatable(file) as source:
        with frame.out.progress("looking through it") as tell:
            total = check_importable(frame.client, _told(_sessions(source), tell))
        if not total:
            nothing = {"imported": 0, "there": 0, "ended": 0}
            frame.not_found("there is nothing to import: did the export fail?", nothing)
        source.seek(0)
        with stoppable() as stopped:
            with frame.out.progress(f"importing {app}") as tell:
                done = import_sessions(
                    frame.client, app, _sessions(source), lambda done: tell(done, total), stopped
                )
            columns = ("imported", "there already", "ended meanwhile")
            frame.out.answer(done, Table(columns, [tuple(done.values())]))


def _told(sessions: Iterator[Any], tell: Tell) -> Iterator[Any]:
    """The same, and it is told how many there were so far."""
    for count, session in enumerate(sessions, 1):
        tell(count, None)
        yield session


def _check_known(frame: Frame, app: str) -> None:
    """An app that has no session may be misspelt: an empty export must not look like a good one."""
    if app not in app_names(frame.client):
        raise NotFound(f"there is no app {app}; `memsessions apps` lists those that there are")


def _write(lines: Iterator[str], as_array: bool) -> int:
    """Lines on stdout, or one JSON array of them; how many these were."""
    count = 0
    for count, line in enumerate(lines, 1):
        if as_array:
            sys.stdout.write("[\n" if count == 1 else ",\n")
        sys.stdout.write(line if as_array else f"{line}\n")
    if as_array:
        sys.stdout.write("\n]\n" if count else "[]\n")
    return count


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
    for at, line in enumerate(source, 1):
        text = line.strip()
        if not text:
            continue
        if at == 1 and text.startswith(b"["):
            yield from _parsed(line + source.read(), "what begins with [")
            return
        yield _parsed(text, f"line {at}")


def _parsed(text: bytes, what: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:  # its message shows what it read
        raise InvalidValue(f"{what} is not JSON: was the export interrupted?") from None
