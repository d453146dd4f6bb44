"""The soak test works at all, within seconds, and finds each kind of thing that it looks for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memsessions import Session, SessionsClient, Wiped
from memsessions.sessions import AppSessions
from memsessions.store.connection import Connection
from memsessions.store.memcached import MemcachedStore

from .stress import soak
from .support.attacks import assert_finds

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parents[1]


def test_a_short_run_does_everything_and_finds_nothing(tmp_path: Path) -> None:
    """In a process of its own, whose memory and descriptors are those of the load alone."""
    file = tmp_path / "report.json"
    command = [sys.executable, "-W", "error", "-m", "tests.stress", "soak", "--duration", "5"]
    command += ["--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(file.read_text())["soak"]
    figures = report["figures"]
    assert report["violations"] == []
    assert figures["calls"] > 200
    assert figures["freezes"] > 0
    assert figures["unavailable"] > 0
    assert figures["clients opened"] > 3
    assert figures["items, second half"] > 50
    assert figures["items at the end"] == 0


def _mix_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read answers now and then what another one answered."""
    read = AppSessions.read
    answers: list[Session | None] = []

    def mixed_up(self: AppSessions, token: str) -> Session | None:
        answers.append(read(self, token))
        return answers[-2] if len(answers) % 5 == 0 else answers[-1]

    monkeypatch.setattr(AppSessions, "read", mixed_up)


def _leak_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose call failed is not closed."""
    kept: list[Connection] = []
    monkeypatch.setattr(soak, "_FREEZE_EVERY_S", 0.15)  # so that some calls fail
    monkeypatch.setattr(MemcachedStore, "_discard", lambda _, connection: kept.append(connection))


def _never_wipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SessionsClient, "wipe", lambda _: Wiped(wiped=0))


def _keep_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something holds on to every client that is opened for a moment."""
    kept: list[SessionsClient] = []
    open_client = soak._open_client

    def keep(*arguments: Any) -> SessionsClient:
        kept.append(open_client(*arguments))
        return kept[-1]

    monkeypatch.setattr(soak, "_open_client", keep)


PLANTS: list[tuple[Callable[[pytest.MonkeyPatch], None], list[str]]] = [
    (_mix_up, ["answered"]),
    (_leak_connections, ["Connection remained", "descriptors remained"]),
    (_never_wipe, ["remained on the server"]),
    (_keep_clients, ["SessionsClient remained", "threads remained"]),
]


@pytest.mark.parametrize(("plant", "found"), PLANTS)
def test_what_is_planted_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], found: list[str]
) -> None:
    plant(monkeypatch)
    for text in found:
        assert_finds(text, soak.attack, seed=3, duration_s=2)


@pytest.mark.parametrize("name", list(soak._ALLOWED))
def test_a_figure_that_grows_is_found(name: str) -> None:
    flat = [soak._Sample(30_000, 20_000, 80_000, 10, 3, 500)] * soak._PERIODS
    assert soak._growth(flat) == []
    start = getattr(flat[0], name)
    growing = [replace(sample, **{name: start * (10 + period) // 10}) for period, sample in enumerate(flat)]
    (found,) = soak._growth(growing)
    assert found.startswith(f"{name} grew from")
