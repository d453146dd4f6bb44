"""`top`: the command, its keys, and the terminal, which it leaves as it was."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from ... import operating, signals
from ... import validation as check
from ...errors import StoreError
from .. import codes
from ..frame import Frame, command, complete_app
from ..interrupts import stoppable
from ..options import Seconds
from ..output import complain
from .gathering import Gatherer
from .readings import Reading

if TYPE_CHECKING:
    from rich.live import Live

_LEAST_S, _MOST_S = 0.1, 3600
# A reading is late that does not come within so many intervals, and so many seconds.
_LATE, _LATE_S = 3, 1.0
# So often it is looked for keys, a new size of the terminal, and a new reading.
_LOOK_S = 0.1
_END = frozenset("qQ")
_ENDED, _SUSPEND = "ended", "suspend"

_NOTES = """\b
active   users who used a session in the last 10 minutes
created  by second; a session that gets a new token counts as one created
         and one ended
net      created less ended; of more than 100,000 sessions only this is told
reads    of the app's sessions by second, which found them
hits     reads of sessions that were there, whichever app's
misses   reads of sessions that were not: memcached does not say of which app
found    hits of all reads
evicted  items thrown out for want of memory since the server began
p99      99 % of the last minute's pings, from here, took so long at most

Apps are counted for a fifth of the time at most: large ones less often."""


@command("top", notes=_NOTES)
@click.option(
    "--interval",
    type=Seconds(_LEAST_S, _MOST_S),
    default=2,
    show_default=True,
    metavar="SECONDS",
    help="Read again after so long.",
)
@click.option(
    "--app",
    "apps",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_app,
    help="Show this app only. Give it again for each of several.",
)
def top(frame: Frame, interval: float, apps: Sequence[str]) -> None:
    """Watch apps and servers live, until q or Ctrl-C.

    In a pipe, or with --json, it is one reading, after one interval. Watching refreshes no session.
    """
    for app in apps:
        check.check_app(app)
    if frame.out.on_terminal:
        with contextlib.suppress(StoreError):  # which is shown, and may be over soon
            _check_known(frame, apps)
        _watch(frame, Gatherer(frame.client, interval, apps))
    else:
        _once(frame, Gatherer(frame.client, interval, apps), apps)


def _check_known(frame: Frame, apps: Sequence[str]) -> None:
    unknown = sorted({*apps}.difference(operating.app_names(frame.client))) if apps else []
    if unknown:
        frame.not_found(f"there is no app {unknown[0]}; `memsessions apps` lists those that there are")


def _once(frame: Frame, gatherer: Gatherer, apps: Sequence[str]) -> None:
    from .view import tables

    _check_known(frame, apps)
    reading = gatherer.once()
    frame.out.answer(reading.document(), *tables(reading))
    frame.fail([StoreError(server.server, server.error) for server in reading.servers if server.error])
    if reading.counting.error is not None:
        complain(reading.counting.error)
        raise click.exceptions.Exit(codes.UNAVAILABLE)


# --------------------------------------------------------------------------------------------- live


class _Watching:
    """A thread that reads the store, and what it died of."""

    def __init__(self, gatherer: Gatherer) -> None:
        self._gatherer = gatherer
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="memsessions-top", daemon=True)

    def __enter__(self) -> _Watching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gatherer.stop.set()
        # A server that does not answer keeps it for a second; nobody needs to wait for that.
        self._thread.join(_LOOK_S)

    def reading(self) -> Reading:
        """The latest. Raises what kept the thread from going on."""
        if self._error is not None:
            raise self._error
        return self._gatherer.latest

    def _run(self) -> None:
        signals.leave_to_others()
        try:
            self._gatherer.go_on()
        except BaseException as error:  # noqa: BLE001  it is raised where somebody sees it
            self._error = error


def _watch(frame: Frame, gatherer: Gatherer) -> None:
    from . import view  # noqa: F401  here, so that the screen is not empty meanwhile

    # Ctrl-C and a signal to end are seen between two looks: nothing that is being written is cut off.
    with stoppable() as stopped, _Watching(gatherer) as watching:
        while _on_screen(frame, gatherer, watching, stopped) == _SUSPEND:
            # As Ctrl-Z would have done it: until the shell lets it go on; where there is none, the system
            # does not stop what nobody would let go on.
            os.kill(os.getpid(), signal.SIGTSTP)


def _on_screen(frame: Frame, gatherer: Gatherer, watching: _Watching, stopped: Callable[[], bool]) -> str:
    """Draw until there is a reason not to, and say which."""
    from rich.live import Live

    console = frame.out.console
    with (
        _suspending() as suspended,
        _keys() as key,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        drawn: object = None
        while not stopped():
            reading = watching.reading()
            shown = (reading, _late_s(reading), console.size)
            if shown != drawn:
                _draw(live, reading, gatherer, operating.namespace(frame.client))
                drawn = shown
            if _END.intersection(key(_LOOK_S)):
                return _ENDED
            if suspended():
                return _SUSPEND
    return _ENDED


def _late_s(reading: Reading) -> int:
    """For how long there has been no reading, where that is longer than it should be."""
    late_s = time.monotonic() - reading.at
    return int(late_s) if late_s > max(_LATE_S, _LATE * reading.interval_s) else 0


def _draw(live: Live, reading: Reading, gatherer: Gatherer, ns: str) -> None:
    from .view import screen

    # Drawing keeps the interpreter busy: no ping is to be measured meanwhile. One that waits for a server
    # that does not answer is not worth waiting for.
    quiet = gatherer.quiet.acquire(timeout=_LOOK_S)
    try:
        width, height = live.console.size
        live.update(screen(reading, width, height, ns, _late_s(reading)), refresh=True)
    finally:
        if quiet:
            gatherer.quiet.release()


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Gives what waits so many seconds for keys; they are not echoed meanwhile, and need no Enter."""
    if not sys.stdin.isatty():
        nobody = threading.Event()

        def no_key(timeout_s: float) -> str:
            nobody.wait(timeout_s)
            return ""

        yield no_key
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()

    def key(timeout_s: float) -> str:
        ready, _, _ = select.select([terminal], [], [], timeout_s)
        if not ready:
            return ""
        pressed = os.read(terminal, 64)
        if not pressed:  # nobody will press one again
            threading.Event().wait(timeout_s)
        return pressed.decode(errors="replace")

    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield key
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)


@contextlib.contextmanager
def _suspending() -> Iterator[Callable[[], bool]]:
    """Ctrl-Z is only noted; gives what says whether it was pressed. Where it is ignored, it stays so."""
    if signal.getsignal(signal.SIGTSTP) == signal.SIG_IGN:
        yield lambda: False
        return
    pressed = threading.Event()
    before = signal.signal(signal.SIGTSTP, lambda *_: pressed.set())
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGTSTP, before)
