"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """A file that takes the place of another when all is written; if not, nothing of it is left.

    Its `mode` is what the process's umask leaves of it. An `OSError` names the file that is meant.
    """
    try:
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
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
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
