"""The commands that look: nothing here counts as a use of a session, or keeps one alive."""

from __future__ import annotations

import json
import time
from typing import Any

import click
from rich.text import Text

from .. import operating
from ..document import SEALED
from ..errors import StoreError
from ..nodes import Node
from ..operating import Named
from ..wording import number, span
from .frame import Frame, command, complete_app
from .output import Table, safe, styled
from .tokens import WANTED, refuse_arguments, wanted_token

_ACTIVE_S = 600
_LIMIT = 100
# Of a session's data, a list shows so many characters at most.
_SHORT = 60


@command("ping")
def ping(frame: Frame) -> None:
    """Ask each server for a sign of life.

    Says in how many milliseconds it answered, on a connection that was open.
    """

    def timed(node: Node) -> float:
        node.ping()  # which also connects
        started = time.perf_counter()
        node.ping()
        return round((time.perf_counter() - started) * 1000, 3)

    outcomes = operating.on_each_server(frame.client, timed)
    documents: list[dict[str, object]] = []
    rows: list[tuple[object, ...]] = []
    for server, outcome in outcomes:
        if isinstance(outcome, StoreError):
            documents.append({"server": server, "error": outcome.reason})
            rows.append((server, styled("no answer", "red"), None))
        else:
            documents.append({"server": server, "answer": "PONG", "ms": outcome})
            rows.append((server, styled("PONG", "green"), outcome))
    frame.out.answer(documents, Table(("server", "answer", "ms"), rows))
    frame.fail([outcome for _, outcome in outcomes if isinstance(outcome, StoreError)])


@command("apps")
def apps(frame: Frame) -> None:
    """List the apps: sessions, users, and who is active.

    Active are the users who used a session in the last 10 minutes. All sessions of all apps are counted, in
    little memory.
    """
    found: dict[str, operating.Census] = {}
    names = operating.app_names(frame.client)
    with frame.out.progress("counting apps") as tell:

        def tell_of_app(done: int, total: int | None) -> None:
            tell(len(found) + (done / total if total else 0), len(names))

        for app in names:
            found[app] = operating.census(frame.client, app, _ACTIVE_S, tell_of_app)
    frame.out.answer(
        [{"app": app, **census._asdict()} for app, census in found.items()],
        Table(
            ("app", "sessions", "users", "active"),
            [(app, *census) for app, census in found.items()],
            whole=("app",),
            caption="" if found else "No app has had sessions here.",
        ),
    )


@command("sessions")
@click.argument("app", shell_complete=complete_app)
@click.option(
    "--active",
    type=click.IntRange(min=10),
    metavar="SECONDS",
    help="Those used in so many seconds only, at least 10.",
)
@click.option("--user", metavar="ID", help="Those of this user only.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=_LIMIT,
    show_default=True,
    help="List so many at most; 0 for all, which are held in memory.",
)
def sessions(frame: Frame, app: str, active: int | None, user: str | None, limit: int) -> None:
    """List the sessions of APP, the last used first.

    No token is shown, as the store knows none. In place of it, `show` and `kill` take a session's handle.
    """
    with frame.out.progress(f"looking at {app}") as tell:
        found = operating.sessions(frame.client, app, id=user, dt=active, limit=limit or None, tell=tell)
    several = len({each.server for each in found.sessions}) > 1
    document = {"sessions": [document_of(each) for each in found.sessions], "total": found.total}
    if not found.total and user is None:
        known(frame, app, document)
    columns = ["user", "ip", "idle", "ends in", "r", "w", "data", "handle"]
    rows = [_row(each) for each in found.sessions]
    caption = number(found.total, "session")
    if found.total > len(rows):
        caption += f"; the last used {len(rows)} are shown (--limit)"
        if not frame.out.on_terminal:
            frame.out.note(caption)
    frame.out.answer(
        document,
        Table(
            [*columns, "server"] if several else columns,
            [(*row, each.server) for row, each in zip(rows, found.sessions, strict=True)]
            if several
            else rows,
            caption=caption,
            whole=("idle", "ends in", "handle"),
            cut="data",
        ),
    )


@command("show", **WANTED)
@click.argument("app", shell_complete=complete_app)
@click.option(
    "--handle", help="Show the session that has this name in lists, instead of one whose token is known."
)
def show(frame: Frame, app: str, handle: str | None) -> None:
    """Show one session of APP, whose token is asked for.

    On a terminal the token is typed in or pasted, and not shown; else it is read from stdin. It is never an
    argument, as others could read it. Looking counts as no access, and does not renew the session.
    """
    refuse_arguments()
    if handle is None:
        found = operating.peek(frame.client, app, wanted_token())
    else:
        found = operating.peek_named(frame.client, app, handle)
    if found is None:
        frame.not_found(f"{app} has no such session: it never was, has expired or was ended")
    show_one(frame, found)


def show_one(frame: Frame, found: Named) -> None:
    """Answer with a session."""
    session = found.session
    frame.out.answer(
        document_of(found),
        Table(
            ("session", ""),
            [
                ("user", styled(session["id"], "bold")),
                ("ip", session["ip"]),
                ("idle", span(session["idle"])),
                ("ends in", _ends(found)),
                ("reads", str(session["r"])),
                ("writes", str(session["w"])),
                ("data", _lines(_data(found, 2 if frame.out.on_terminal else None))),
                ("handle", found.handle),
                ("server", found.server),
            ],
        ),
    )


def known(frame: Frame, app: str, document: object = None) -> None:
    """End with "not found" if the store has never heard of an app: its name may be misspelt."""
    if app not in operating.app_names(frame.client):
        frame.not_found(f"there is no app {app}; `memsessions apps` lists those that there are", document)


def document_of(found: Named) -> dict[str, Any]:
    """A session as JSON has it: as `get` shows it, with where it is and the seconds until it ends."""
    return {**found.session, "left": _left(found), "handle": found.handle, "server": found.server}


def _left(found: Named) -> int:
    session = found.session
    return session["ttl"] if session.get("no_resave") else max(0, session["ttl"] - session["idle"])


def _ends(found: Named) -> str:
    fixed = ", however it is used" if found.session.get("no_resave") else ""
    return span(_left(found)) + fixed


def _row(found: Named) -> tuple[object, ...]:
    session = found.session
    data = _data(found) or ""
    short = data if len(data) <= _SHORT else f"{data[: _SHORT - 1]}…"
    idle, left = span(session["idle"]), span(_left(found))
    return session["id"], session["ip"], idle, left, session["r"], session["w"], short, found.handle


def _lines(text: str | None) -> Text | None:
    """The lines of a text, each of which is harmless."""
    return None if text is None else Text("\n".join(map(safe, text.split("\n"))))


def _data(found: Named, indent: int | None = None) -> str | None:
    data = found.session["d"]
    if data is None:
        return None
    if set(data) == {SEALED}:
        return "(encrypted)"
    return json.dumps(data, ensure_ascii=False, indent=indent)
