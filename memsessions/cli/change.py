"""The commands that change sessions."""

from __future__ import annotations

import sys

import click

from .. import operating
from ..handles import handle_of_token
from ..operating import Named
from ..wording import number
from . import codes
from . import data as data_of
from .data import parsed, takes_data
from .frame import Frame, command, complete_app
from .interrupts import stoppable
from .look import show_one
from .output import complain
from .tokens import WANTED, refuse_arguments, wanted_token


@command("create", notes=data_of.HELP)
@click.argument("app", shell_complete=complete_app)
@click.argument("id")
@takes_data
@click.option("--ip", default="unknown", show_default=True, help="The user's address, 1 to 39 characters.")
@click.option(
    "--ttl", type=int, default=7200, show_default=True, metavar="SECONDS", help="Its life without a use."
)
@click.option("--no-resave", is_flag=True, help="End after --ttl seconds, whether it is used or not.")
def create(
    frame: Frame,
    app: str,
    id: str,
    pairs: tuple[str, ...],
    data: str | None,
    ip: str,
    ttl: int,
    no_resave: bool,
) -> None:
    """Make a session of user ID, and print its token.

    Who has the token is logged in: keep it to yourself. The store does not know it, so it is not shown again.
    """
    d = parsed(pairs, data)
    client = frame.client
    with stoppable():  # nobody could end a session whose token was not printed
        created = client.create(app, id, ip, ttl, d or None, no_resave)
        try:
            frame.out.answer(created, created["token"])
        except OSError:  # nobody knows the token
            client.kill(app, created["token"])
            raise


@command("set", notes=data_of.HELP)
@click.argument("app", shell_complete=complete_app)
@takes_data
def set_(frame: Frame, app: str, pairs: tuple[str, ...], data: str | None) -> None:
    """Merge data into a session of APP, whose token is asked for.

    Keys that are not named stay; null removes one (theme:=null). The token is read as for `show`: with
    --data - it is the first line of stdin, and the data is the rest.
    """
    token = wanted_token()
    changes = parsed(pairs, data)
    if not changes:
        raise click.UsageError("nothing is to be set: give KEY=VALUE, KEY:=JSON or --data")
    client = frame.client
    with stoppable():
        session = client.set(app, token, changes)
        if session is None:
            frame.not_found(f"{app} has no such session: it never was, has expired or was ended")
        found = operating.peek(client, app, token)
        show_one(frame, found or Named("", handle_of_token(token), session))


@command("kill", **WANTED)
@click.argument("app", shell_complete=complete_app)
@click.option(
    "--handle", help="End the session that has this name in lists, instead of one whose token is known."
)
def kill(frame: Frame, app: str, handle: str | None) -> None:
    """End one session of APP, whose token is asked for.

    The token is read as for `show`.
    """
    refuse_arguments()
    client = frame.client
    token = wanted_token() if handle is None else ""
    with stoppable():
        if handle is None:
            killed = client.kill(app, token)["kill"]
        else:
            found = operating.peek_named(client, app, handle)
            killed = int(
                found is not None and client.documents(app).end_device(found.session["id"], found.handle)
            )
        if not killed:
            frame.not_found(f"{app} has no such session: it never was, has expired or was ended", {"kill": 0})
        frame.out.answer({"kill": killed}, "1 session ended")


@command("kill-user")
@click.argument("app", shell_complete=complete_app)
@click.argument("id")
def kill_user(frame: Frame, app: str, id: str) -> None:
    """End all sessions of user ID: log out everywhere."""
    client = frame.client
    with stoppable():
        killed = client.killsoid(app, id)
        if not killed["kill"]:
            frame.not_found(f"{app} has no session of this user", killed)
        frame.out.answer(killed, f"{number(killed['kill'], 'session')} ended")


@command("kill-app")
@click.argument("app", shell_complete=complete_app)
@click.option("--yes", is_flag=True, help="Do not ask.")
def kill_app(frame: Frame, app: str, yes: bool) -> None:
    """End all sessions of APP: everybody is logged out.

    Asks before it does so. Ctrl-C stops it after what it is just doing, and the rest lives.
    """
    client = frame.client
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("everybody would be logged out: say --yes, as nobody can be asked here")
        with frame.out.progress(f"counting {app}") as tell:
            living, away = operating.living(client, app, tell)
        of = f"{app} ({client!r})"
        question = f"End {number(living, 'session')} of {of}?"
        if away:
            question = (
                f"{', '.join(away)} cannot be reached. End at least {number(living, 'session')} of {of}?"
            )
        if not click.confirm(question, err=True):
            complain("nothing was done")
            raise click.exceptions.Exit(codes.INTERRUPTED)
    with stoppable() as stopped:
        with frame.out.progress(f"ending {app}") as tell:
            killed = operating.kill_all(client, app, tell, stopped)
        if stopped():
            frame.out.answer({"kill": killed}, f"{number(killed, 'session')} ended, the others live")
        elif not killed:
            frame.not_found(f"{app} has no session", {"kill": 0})
        else:
            frame.out.answer({"kill": killed}, f"{number(killed, 'session')} ended")
