"""The commands that are recorded, each on a memcached with sessions and people who use them."""

from __future__ import annotations

import contextlib
import math
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from memsessions import SessionsClient

from ..cli.support import Terminal
from ..support.memcached import Memcached, free_port
from .svg import svg

#: Where the README looks for them.
FOLDER = Path(__file__).parent
_USUAL_PORT = 11211
_COLUMNS = 118
# Apps, and how much happens in each.
_APPS = {"forum": 6, "shop": 3, "wiki": 1}
_FIRST_SESSIONS = 150
_READS_PER_S = 250


def record(name: str, seconds: float, usual_port: bool = True) -> str:
    """The SVG of a command's screen; `seconds` is how long what goes on and on is watched.

    Raises `ValueError` where there is no such command.
    """
    if name not in SCENES:
        raise ValueError(f"there is no recording of {name}; there are {', '.join(SCENES)}")
    port = _USUAL_PORT if usual_port and _is_free(_USUAL_PORT) else free_port()
    with Memcached("-m", "64", "-t", "2", port=port) as server, _people(server.address):
        return SCENES[name](server, seconds)


def _demo(server: Memcached, _seconds: float) -> str:
    del server  # the demo needs none
    return _to_its_end("demo", rows=60)


def _doctor(server: Memcached, _seconds: float) -> str:
    return _to_its_end("doctor", "--server", server.address, rows=80)


def _top(server: Memcached, seconds: float) -> str:
    arguments = ["top", "--server", server.address, "--interval", "1"]
    with Terminal(*arguments, columns=_COLUMNS, rows=34) as terminal:
        terminal.wait_for(*_APPS, "created/s", "reads per second")
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            terminal._read(left)
        shown = svg(terminal._screen, " ".join(["memsessions", *arguments]))
        terminal.type("q")
        _expect(terminal, [0])
    return shown


def _to_its_end(*arguments: str, rows: int) -> str:
    with Terminal(*arguments, columns=_COLUMNS, rows=rows) as terminal:
        # What is found wrong is no failure: see the exit codes of `doctor`.
        _expect(terminal, [0, 4, 5] if arguments[0] == "doctor" else [0])
        return svg(terminal._screen, " ".join(["memsessions", *arguments]))


def _expect(terminal: Terminal, codes: list[int]) -> None:
    if (code := terminal.wait()) not in codes:
        raise RuntimeError(f"it ended with {code}, and showed:\n{terminal.screen}")


SCENES: dict[str, Callable[[Memcached, float], str]] = {"demo": _demo, "top": _top, "doctor": _doctor}


# --------------------------------------------------------------------------------------------- people


@contextlib.contextmanager
def _people(address: str) -> Iterator[None]:
    """Sessions, and somebody who uses, begins and ends some of them all the time."""
    over = threading.Event()
    with SessionsClient(address, wipe=0) as rs:
        dice = random.Random(1)
        open_: list[tuple[str, str]] = []
        for _ in range(_FIRST_SESSIONS):
            _begin(rs, dice, open_)
        thread = threading.Thread(target=_live, args=(rs, dice, open_, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _live(
    rs: SessionsClient, dice: random.Random, open_: list[tuple[str, str]], over: threading.Event
) -> None:
    began = time.monotonic()
    while not over.wait(1 / _READS_PER_S):
        tide = 1 + math.sin((time.monotonic() - began) / 6)
        app, token = dice.choice(open_)
        if dice.random() < 0.3 + 0.35 * tide:
            rs.get(app, token)
        if dice.random() < 0.02 * tide:  # a cookie from long ago
            rs.get(app, f"{token[:-6]}000000")
        if dice.random() < 0.03 * tide:
            _begin(rs, dice, open_)
        if dice.random() < 0.02 and len(open_) > 1:
            app, token = open_.pop(dice.randrange(len(open_)))
            rs.kill(app, token)


def _begin(rs: SessionsClient, dice: random.Random, open_: list[tuple[str, str]]) -> None:
    (app,) = dice.choices(list(_APPS), list(_APPS.values()))
    user, ip = f"user{dice.randrange(400)}", f"203.0.113.{dice.randrange(1, 255)}"
    open_.append((app, rs.create(app, user, ip, d={"theme": "dark", "unread": dice.randrange(9)})["token"]))


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
