"""The command `memsessions`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .codes import USAGE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, that of the process by default, and return its exit code; see `codes`."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError:
        print("memsessions: the command needs more packages: pip install 'memsessions[cli]'", file=sys.stderr)
        return USAGE
    from .frame import run

    return run(arguments)
