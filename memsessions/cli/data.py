"""Data for a session, as it is written in a command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

HELP = (
    "KEY=VALUE is text, and KEY:=JSON a number, true, false, null or quoted text: name=Ada unread:=34. Others"
    " on this machine can see that; what they must not see is given as one JSON object on stdin: --data -."
)


def takes_data(function: F) -> F:
    """Adds the arguments `pairs` and `data`; give them to `parsed`."""
    option = click.option(
        "--data", metavar="JSON", help="A JSON object with more data; - reads it from stdin."
    )
    argument = click.argument("pairs", nargs=-1, metavar="[KEY=VALUE | KEY:=JSON]...")
    return argument(option(function))


def parsed(pairs: Sequence[str], data: str | None) -> dict[str, Any]:
    """The data that is meant; what stands as a pair wins. No message shows any of it."""
    found: dict[str, Any] = {}
    if data is not None:
        found = _json(sys.stdin.read() if data == "-" else data, "--data")
        if not isinstance(found, dict):
            raise click.UsageError('--data must be a JSON object, such as {"theme": "dark"}')
    for number, pair in enumerate(pairs, 1):
        key, equals, value = pair.partition("=")
        if not equals or key in ("", ":"):
            raise click.UsageError(f"KEY=VALUE or KEY:=JSON is wanted, which number {number} of these is not")
        if key.endswith(":"):
            found[key[:-1]] = _json(value, f"what stands after := in number {number} of these")
        else:
            found[key] = value
    return found


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise click.UsageError(f"{what} is not JSON: {error}") from None
    except RecursionError:
        raise click.UsageError(f"{what} is not JSON: it is nested too deep") from None
    except ValueError:  # Python refuses to read thousands of digits
        raise click.UsageError(f"{what} has a whole number of more than 64 bits") from None
