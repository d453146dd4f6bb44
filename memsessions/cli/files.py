"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """A file that takes the place of another when all is written; if not, nothing of it is left.

    Its `mode` is what the process's umask leaves of it. A symbolic link stays, and what it leads to is
    replaced. What is not a file, such as a FIFO or a device, is written to as it stands. An `OSError` names
    the file that is meant.
    """
    if _is_something_else(path):
        with path.open("wb") as there:
            yield there
        return
    target = path.resolve()
    try:
        number, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(number)
            umask = os.umask(0o077)
            os.umask(umask)
            os.fchmod(number, mode & ~umask)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _is_something_else(path: Path) -> bool:
    """Whether something is there that is not a file."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False
