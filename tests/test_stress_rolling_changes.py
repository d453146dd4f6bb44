"""Servers come and go under load, in short; `python -m tests.stress rolling_changes` does so for long."""

from __future__ import annotations

import pytest

from .stress import rolling_changes
from .stress.program import Plan
from .support.attacks import assert_finds

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover


def test_nobody_is_logged_out_when_servers_are_added_drained_and_removed() -> None:
    report = rolling_changes.attack(Plan(seed=1, duration_s=3))
    assert report.violations == []
    assert report.figures["reads"] > 500
    assert report.figures["share of c when there is a b c-"] == 0
    assert 0.1 < report.figures["share of c when there is a b c"] < 0.6


def test_a_server_that_is_opened_at_once_logs_people_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the attack is there to find: processes meet tokens of a server that they do not know yet."""
    monkeypatch.setattr(rolling_changes, "_STEPS", ["a b", "a b c"])
    assert_finds("", rolling_changes.attack, seed=1, duration_s=2)
