"""The command as a person runs it: in this process, as a process in a pipe, and on a terminal."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from unittest import mock

import pyte

from memsessions import cli

PROGRAM = (sys.executable, "-W", "error", "-m", "memsessions")
# Makes the terminal that it is given the one that Ctrl-C comes from, and becomes the program.
_ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Done(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document that it answered with."""
        return json.loads(self.out)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """That of this process without what concerns memsessions or terminals."""
    mine = {
        name: value for name, value in os.environ.items() if not name.startswith(("MEMSESSIONS_", "_MEMS"))
    }
    for name in (
        "NO_COLOR",
        "FORCE_COLOR",
        "COLUMNS",
        "LINES",
        "TTY_COMPATIBLE",
        "TTY_INTERACTIVE",
        "PYTHONUNBUFFERED",
    ):
        mine.pop(name, None)
    # A machine that has more to do than it can is no outage.
    patient = {"MEMSESSIONS_TIMEOUT": "20", "MEMSESSIONS_CONNECT_TIMEOUT": "20"}
    return {**mine, **patient, "TERM": "xterm-256color", "PYTHONDONTWRITEBYTECODE": "1", **(more or {})}


def ask(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Done:
    """Run it in this process, as in a pipe. Quick, so most tests use it."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with (
        mock.patch.dict(os.environ, environment(env), clear=True),
        mock.patch.multiple(sys, stdin=io.StringIO(stdin), stdout=out, stderr=err),
    ):
        code = cli.main(arguments)
    for stream in (out, err):
        stream.seek(0)
    return Done(code, out.read(), err.read())


def run(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Done:
    """Run it as a process in a pipe."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=environment(env),
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Terminal:
    """A program on a terminal of its own: `with Terminal("apps") as terminal:` starts `memsessions apps`.

    `screen` shows what a person sees, and `raw` holds all that was written to it.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 100,
        rows: int = 30,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._command = [sys.executable, "-S", "-c", _ON_TERMINAL, *program, *arguments]
        self._env = environment(env)
        self.columns, self.rows = columns, rows
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._side = -1

    def __enter__(self) -> Terminal:
        self._side, theirs = pty.openpty()
        self.resize(self.columns, self.rows)
        self._process = subprocess.Popen(
            self._command, stdin=theirs, stdout=theirs, stderr=theirs, env=self._env, start_new_session=True
        )
        os.close(theirs)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        os.close(self._side)

    # --------------------------------------------------------------------------------------- seeing

    @property
    def screen(self) -> str:
        """The lines of the screen, without the spaces and empty lines at their ends."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    @property
    def cursor_hidden(self) -> bool:
        return bool(self._screen.cursor.hidden)

    def colours(self, text: str) -> set[str]:
        """The colours that the letters of a text have, where it stands first on the screen."""
        for row, line in enumerate(self._screen.display):
            if (at := line.find(text)) >= 0:
                return {str(self._screen.buffer[row][column].fg) for column in range(at, at + len(text))}
        raise AssertionError(f"{text!r} is not on the screen:\n{self.screen}")

    def wait_for(self, *texts: str, timeout_s: float = 20.0) -> str:
        """The screen, once it shows all of these."""
        return self._wait_until(lambda screen: all(text in screen for text in texts), texts, timeout_s)

    def wait_for_match(self, pattern: str, timeout_s: float = 20.0) -> str:
        """The screen, once it shows what matches a regular expression."""
        return self._wait_until(lambda screen: re.search(pattern, screen) is not None, pattern, timeout_s)

    def _wait_until(self, right: Callable[[str], bool], wanted: object, timeout_s: float) -> str:
        give_up = time.monotonic() + timeout_s
        while not right(self.screen):
            # In small pieces: also what is shown for a moment only is seen, however late this process looks.
            if not self._read(give_up - time.monotonic(), 64):
                raise AssertionError(f"waited for {wanted}, and the screen shows:\n{self.screen}")
        return self.screen

    def wait(self, timeout_s: float = 20.0) -> int:
        """The exit code, at its end, up to which it is read."""
        give_up = time.monotonic() + timeout_s
        while self._read(give_up - time.monotonic()):
            pass
        assert self._process is not None
        return self._process.wait(max(0.1, give_up - time.monotonic()))

    def _read(self, timeout_s: float, most_bytes: int = 1 << 16) -> bool:
        """Take in what was written; False at its end, or if nothing comes."""
        ready, _, _ = select.select([self._side], [], [], max(0.0, timeout_s))
        if not ready:
            return False
        try:
            written = os.read(self._side, most_bytes)
        except OSError:  # the program has closed its side
            return False
        self.raw += written
        self._stream.feed(written)
        return bool(written)

    # --------------------------------------------------------------------------------------- doing

    def type(self, keys: str) -> None:
        os.write(self._side, keys.encode())

    def press(self, key: str) -> None:
        """A key that is looked at by the terminal itself, such as Ctrl-C."""
        # Not just before it begins to wait for a key: Python notices it only with the next key then.
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/stat")
        while status.read_text().rpartition(")")[2].split()[0] == "R":
            time.sleep(0.001)
        self.type(key)

    def press_ctrl_c(self) -> None:
        self.press("\x03")

    def terminate(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen.resize(rows, columns)

    def echoes(self) -> bool:
        """Whether what is typed is shown."""
        return bool(termios.tcgetattr(self._side)[3] & termios.ECHO)


class At(NamedTuple):
    """A store, and the command on it."""

    address: str
    ns: str

    @property
    def options(self) -> list[str]:
        return ["--server", self.address, "--ns", self.ns]

    def ask(self, *arguments: str, stdin: str = "") -> Done:
        return ask(*self.options, *arguments, stdin=stdin)

    def run(self, *arguments: str, stdin: str = "") -> Done:
        return run(*self.options, *arguments, stdin=stdin)

    def terminal(self, *arguments: str, **options: Any) -> Terminal:
        return Terminal(*self.options, *arguments, **options)
