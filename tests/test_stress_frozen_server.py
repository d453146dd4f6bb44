"""One of three servers is frozen under load, in short; `tests.stress frozen_server` does so for long."""

from __future__ import annotations

import contextlib

import pytest

from memsessions import Killed, LogoutIncomplete, SessionsClient

from .stress import frozen_server
from .stress.program import Plan

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_server, "THAWED_S", 0.8)
    monkeypatch.setattr(frozen_server, "FROZEN_S", 0.9)
    monkeypatch.setattr(frozen_server, "_TIMEOUT_S", 0.4)


def test_log_outs_are_done_or_raise_and_the_other_servers_go_on() -> None:
    report = frozen_server.attack(Plan(seed=1, duration_s=2))
    assert report.violations == []
    assert report.figures["freezes"] >= 2
    assert report.figures["log-outs that were done"] > 20
    assert 0 < report.figures["log-outs that raised"] == report.figures["of these, finished by calling again"]
    assert report.figures["reads elsewhere, frozen"] > 100


def test_a_log_out_that_says_it_is_done_and_is_not_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = SessionsClient.killsoid

    def pretending(self: SessionsClient, app: str, id: str) -> Killed:
        with contextlib.suppress(LogoutIncomplete):
            return honest(self, app, id)
        return {"kill": 0}

    monkeypatch.setattr(SessionsClient, "killsoid", pretending)
    report = frozen_server.attack(Plan(seed=1, duration_s=2))
    assert any("lives after the log-out" in violation for violation in report.violations)
