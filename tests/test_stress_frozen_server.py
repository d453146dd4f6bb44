"""One of three servers is frozen under load, in short; `tests.stress frozen_server` does so for long."""

from __future__ import annotations

import contextlib

import pytest

from memsessions import Killed, LogoutIncomplete, SessionsClient

from .stress import frozen_server
from .support.attacks import assert_finds, attacked

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_server, "THAWED_S", 0.8)
    monkeypatch.setattr(frozen_server, "FROZEN_S", 1.5)
    monkeypatch.setattr(frozen_server, "_TIMEOUT_S", 1.0)


def test_log_outs_are_done_or_raise_and_the_other_servers_go_on() -> None:
    enough = {
        "freezes": 1,
        "log-outs that were done": 20,
        "log-outs that raised": 0,
        "reads elsewhere, frozen": 100,
    }
    figures = attacked(frozen_server.attack, 1, 2, enough)
    assert figures["log-outs that raised"] == figures["of these, finished by calling again"]


def test_a_log_out_that_says_it_is_done_and_is_not_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = SessionsClient.killsoid

    def pretending(self: SessionsClient, app: str, id: str) -> Killed:
        with contextlib.suppress(LogoutIncomplete):
            return honest(self, app, id)
        return {"kill": 0}

    monkeypatch.setattr(SessionsClient, "killsoid", pretending)
    assert_finds("lives after the log-out", frozen_server.attack, seed=1, duration_s=2)
