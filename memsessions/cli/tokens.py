"""How a command comes by a token: it is asked for, or read from stdin, and never in the list of processes."""

from __future__ import annotations

import getpass
import sys
from typing import Any

import click

#: For a command that wants a token: who gives it as an argument is told, and it is not repeated on stderr.
WANTED: dict[str, Any] = {"context_settings": {"allow_extra_args": True}}


def refuse_arguments() -> None:
    """Raises if there are arguments too many, one of which may be a token."""
    if click.get_current_context().args:
        raise click.UsageError(
            "too many arguments. The token is not one of them, as everybody on this machine could see it:"
            " it is asked for, or read from stdin"
        )


def wanted_token() -> str:
    """The token that is typed in, without an echo, or the first line of stdin."""
    refuse_arguments()
    if sys.stdin.isatty():
        try:
            token = getpass.getpass("Token: ", sys.stderr)
        except EOFError:
            token = ""
    else:
        token = sys.stdin.readline()
    if not token.strip():
        raise click.UsageError("no token was given: it is asked for on a terminal, and else read from stdin")
    return token.strip()
