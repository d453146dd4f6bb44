"""The command `memsessions`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .codes import INTERRUPTED, USAGE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, that of the process by default, and return its exit code; see `codes`."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401

        from .frame import run
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "memsessions":
            raise
        print("memsessions: the command needs more packages: pip install 'memsessions[cli]'", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return run(arguments)
