"""The gunicorn under attack works at all, within seconds, and what goes wrong in it is found."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from .stress import forked_server
from .support import web
from .support.attacks import assert_finds, attacked

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover

BROKEN = """
import threading, time
from memsessions import forks
from tests.support import forking_app

right = forking_app._answer
def otherwise(*path):
    return wrong() if path[0] == "see" else right(*path)
{}
app = forking_app.app
"""

# Each breaks something in the application, and is found as this.
BREAKS = {
    "workers keep the sockets of the master": (
        "forks._hooks.clear()",
        "was answered with status 500|hangs",
    ),
    "an answer is that of another session": (
        "wrong = lambda: right('before'); forking_app._answer = otherwise",
        "see answered the session of before the fork for visitor",
    ),
    "a thread of the master fails": ("threading.Thread(target=lambda: 1 / 0).start()", "Traceback"),
    "a worker hangs": (
        "wrong = lambda: time.sleep(60); forking_app._answer = otherwise",
        "see hangs",
    ),
}


def test_a_short_run_does_everything_and_finds_nothing() -> None:
    enough = {"forks": 8, "workers that answered": 4, "answers": 100, "SIGKILL": 0, "SIGHUP": 0, "reload": 0}
    attacked(forked_server.attack, 2, 4, enough)


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, found = BREAKS[name]
    (tmp_path / "broken.py").write_text(BROKEN.format(code))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(web, "_HANG_S", 2.0)
    assert_finds(found, partial(forked_server.attack, app="broken:app"), seed=2, duration_s=1.5)
