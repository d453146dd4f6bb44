"""Servers that are full, in short; `python -m tests.stress memory_pressure` attacks for long."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from memsessions import Scalar, Session, StoreFull
from memsessions.sessions import AppSessions

from .stress import memory_pressure
from .stress.program import Plan


def test_nothing_is_lost_in_silence_and_every_refusal_has_its_type() -> None:
    report = memory_pressure.attack(Plan(seed=1, duration_s=6))
    assert report.violations == []
    for refused in ("create: StoreFull", "set: StoreFull", "set: SessionTooLarge"):
        assert report.figures[f"refuses: {refused}"] > 0
    assert report.figures["refuses: items thrown out"] == 0
    assert report.figures["evicts: items thrown out"] > 100
    assert report.figures["evicts: sessions that were thrown out"] > 0


def test_a_write_that_is_refused_in_silence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    write = AppSessions.write

    def pretending(self: AppSessions, token: str, changes: Mapping[str, Scalar]) -> Session | None:
        try:
            return write(self, token, changes)
        except StoreFull:
            return self.read(token)

    monkeypatch.setattr(AppSessions, "write", pretending)
    violations = memory_pressure.attack(Plan(seed=1, duration_s=4)).violations
    assert any("is not what it was made" in violation for violation in violations)


def test_a_write_that_is_refused_and_ends_the_session_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    write = AppSessions.write

    def destroying(self: AppSessions, token: str, changes: Mapping[str, Scalar]) -> Session | None:
        try:
            return write(self, token, changes)
        except StoreFull:
            self.kill(token)
            raise

    monkeypatch.setattr(AppSessions, "write", destroying)
    violations = memory_pressure.attack(Plan(seed=1, duration_s=4)).violations
    assert any("was lost in silence" in violation for violation in violations)
