"""What all commands share: where the store is, how they are found, and how they end.

A command is a function that is given a `Frame`:

    @command("ping")
    @click.argument("app")
    def ping(frame: Frame, app: str) -> None:
        \"\"\"Its help.\"\"\"
        frame.out.answer({"json": ...}, Table(...))

It stands in a module of this package, and in `SECTIONS`. What it raises becomes the exit code.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, NoReturn, ParamSpec

import click
from click.shell_completion import shell_complete

from ..client import SessionsClient
from ..errors import ConfigurationError, MemsessionsError, StoreError, ValidationError
from ..servers import from_text
from . import codes
from .interrupts import in_order
from .output import Output, complain

PROGRAM = "memsessions"
COMPLETE = "_MEMSESSIONS_COMPLETE"

#: Where each command is: `module.function` in this package. It is imported when it is used.
SECTIONS: dict[str, dict[str, str]] = {
    "Look": {
        "ping": "look.ping",
        "apps": "look.apps",
        "sessions": "look.sessions",
        "show": "look.show",
        "activity": "activity.activity",
        "top": "top.command.top",
    },
    "Change": {
        "create": "change.create",
        "set": "change.set_",
        "kill": "change.kill",
        "kill-user": "change.kill_user",
        "kill-app": "change.kill_app",
    },
    "Operate": {
        "doctor": "doctor.doctor",
        "wipe": "operate.wipe",
        "repair": "operate.repair",
        "export": "transfer.export",
        "import": "transfer.import_",
    },
    "Measure": {
        "bench": "bench.command.bench",
        "exporter": "exporter.exporter",
    },
    "Other": {
        "demo": "demo.demo",
        "completion": "completion.completion",
    },
}

P = ParamSpec("P")


class NotFound(Exception):
    """What was asked for is not there: exit code 1, with this message on stderr."""


class Frame:
    """What every command is given: the options that all of them have, and where its answer goes."""

    def __init__(self) -> None:
        self.servers: list[str] = []
        self.ns: str | None = None
        self.out = Output()
        self._client: SessionsClient | None = None

    @property
    def client(self) -> SessionsClient:
        """A client of the store that is meant; closed at the end. It wipes and caches nothing."""
        if self._client is None:
            self._client = self.open()
            click.get_current_context().call_on_close(self._client.close)
        return self._client

    def open(self, **options: Any) -> SessionsClient:
        """A client of one's own, with more options; whoever asks for it closes it.

        Raises `ConfigurationError`: exit code 2.
        """
        where: dict[str, Any] = {"wipe": 0, "cachetime": 0}
        if self.servers:
            where["servers"] = from_text(",".join(self.servers))
        if self.ns is not None:
            where["ns"] = self.ns
        return SessionsClient.from_env(**{**where, **options})

    def fail(self, errors: Sequence[StoreError]) -> None:
        """If there is one, say each on stderr, and end with exit code 3."""
        for error in errors:
            complain(str(error))
        if errors:
            raise click.exceptions.Exit(codes.UNAVAILABLE)

    def not_found(self, message: str, document: object = None) -> NoReturn:
        """End with exit code 1. `document` is what --json answers then."""
        self.out.answer(document)
        raise NotFound(message)


# ------------------------------------------------------------------------------------------ commands


class Command(click.Command):
    """A command that takes the options of all commands."""

    def __init__(self, *args: Any, notes: str = "", **options: Any) -> None:
        """`notes` stand below the options."""
        epilog = f"{notes}\n\n{codes.HELP}" if notes else codes.HELP
        super().__init__(*args, **{"epilog": epilog, **options})
        self.params += _shared_options()


def command(name: str, **options: Any) -> Callable[[Callable[Concatenate[Frame, P], object]], click.Command]:
    """Make a function a command; its docstring is the help. `options` are those of `Command`."""

    def decorate(function: Callable[Concatenate[Frame, P], object]) -> click.Command:
        return click.command(name, cls=Command, **options)(click.pass_obj(function))

    return decorate


class _Commands(click.Group):
    """Imports a command when it is asked for, so that nobody waits for what other commands need."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        for section in SECTIONS.values():
            if cmd_name in section:
                module, _, function = section[cmd_name].rpartition(".")
                found: click.Command = getattr(importlib.import_module(f".{module}", __package__), function)
                return found
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = formatter.width - 6 - max(map(len, self.list_commands(ctx)))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                commands = [(name, self.get_command(ctx, name)) for name in section]
                formatter.write_dl(
                    [(name, each.get_short_help_str(width)) for name, each in commands if each is not None]
                )


def complete_app(context: click.Context, _argument: click.Parameter, begun: str) -> list[str]:
    """For the `shell_complete` of an argument: the apps of the store; none if it cannot be asked."""
    from ..operating import app_names

    with contextlib.suppress(MemsessionsError), context.ensure_object(Frame).open() as client:
        return [name for name in app_names(client) if name.startswith(begun)]
    return []


def _shared_options() -> list[click.Parameter]:
    """--server, --ns and --json, which may stand before the command's name and after it."""

    def add_servers(context: click.Context, _option: click.Parameter, servers: Sequence[str]) -> None:
        frame = context.ensure_object(Frame)
        if servers and frame.servers:  # whether these are more servers or others, nobody can tell
            raise click.UsageError("--server stands before and behind the command: say all in one place")
        frame.servers += servers

    def set_ns(context: click.Context, _option: click.Parameter, ns: str | None) -> None:
        frame = context.ensure_object(Frame)
        frame.ns = frame.ns if ns is None else ns

    def set_json(context: click.Context, _option: click.Parameter, as_json: bool) -> None:
        out = context.ensure_object(Frame).out
        out.as_json = out.as_json or as_json

    return [
        click.Option(
            ["--server"],
            multiple=True,
            metavar="ADDRESS",
            expose_value=False,
            callback=add_servers,
            help="A memcached: host:port, unix:/path, or name=host:port. Give it again for each of several."
            "  [default: $MEMSESSIONS_SERVERS, or 127.0.0.1:11211]",
        ),
        click.Option(
            ["--ns"],
            metavar="NAME",
            expose_value=False,
            callback=set_ns,
            help="The prefix of every key.  [default: $MEMSESSIONS_NS, or rs]",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=set_json,
            help="Answer with one JSON document.",
        ),
    ]


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from .. import __version__

        click.echo(f"{PROGRAM} {__version__}")
        context.exit()


_GROUP = _Commands(
    PROGRAM,
    params=[
        *_shared_options(),
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_show_version,
            help="Show the version.",
        ),
    ],
    help="Sessions on memcached: see what is in the store, explain it, and operate it.\n\n"
    "All MEMSESSIONS_* variables count, as for a program: _SERVERS (several after commas), _NS, _TLS, "
    "_TLS_CA, _USERNAME, _PASSWORD, _TIMEOUT and the others. Several servers are asked as one.",
    epilog=codes.HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def group() -> click.Group:
    """All commands."""
    return _GROUP


# --------------------------------------------------------------------------------------------- ends


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, that of the process by default, and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _stand_in_for_closed_streams()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # what stands for it in a test
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with in_order():
            if instruction := os.environ.get(COMPLETE):
                return shell_complete(_GROUP, {}, PROGRAM, COMPLETE, instruction)
            return _run(given)
    except KeyboardInterrupt:
        complain("interrupted")
        return codes.INTERRUPTED


def _stand_in_for_closed_streams() -> None:
    """Python has None where one is closed. Nothing comes from stdin then, and stderr is not read.

    What is written to stdout fails, as for other programs. This also keeps their numbers from the sockets.
    """
    ways = {"stdin": ("r", os.O_RDONLY), "stdout": ("w", os.O_RDONLY), "stderr": ("w", os.O_WRONLY)}
    for name, (mode, flags) in ways.items():
        if getattr(sys, name) is None:
            number = os.open(os.devnull, flags)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _run(arguments: list[str]) -> int:
    try:
        with _GROUP.make_context(PROGRAM, arguments) as context:
            _GROUP.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(f"{error.format_message()}\n")
        return codes.USAGE
    except click.UsageError as error:
        _explain(error)
        return codes.USAGE
    except click.Abort:  # at a question
        sys.stderr.write("\n")
        complain("interrupted")
        return codes.INTERRUPTED
    except (ValidationError, ConfigurationError) as error:
        complain(str(error))
        return codes.USAGE
    except NotFound as error:
        complain(str(error))
        return codes.NOT_FOUND
    except StoreError as error:
        complain(str(error))
        return codes.UNAVAILABLE
    except OSError as error:
        return _not_written(error)
    except Exception:  # noqa: BLE001  it must not look like "not found"
        traceback.print_exc()
        return codes.BUG
    return codes.DONE


def _explain(error: click.UsageError) -> None:
    complain(" ".join(error.format_message().split()))  # it may be a list of choices, each in a line
    if error.ctx is not None:
        sys.stderr.write(f"Try '{error.ctx.command_path} --help'.\n")


def _not_written(error: OSError) -> int:
    """The answer could not be written; the store's own errors are `StoreError`."""
    # What is still buffered must not be tried again when the interpreter ends.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    if error.errno == errno.EPIPE:
        return codes.NOT_READ
    complain(str(error))
    return codes.CANNOT_WRITE
