"""A test that must not be traced is not, in a worker of pytest-xdist either."""

from __future__ import annotations

import sys
import threading

import pytest


@pytest.mark.no_cover
def test_nothing_is_traced_where_no_cover_says_so() -> None:
    """A lock of the tracer that is held at a fork, or when a signal handler raises, is never released."""
    traces: list[object] = []
    thread = threading.Thread(target=lambda: traces.append(sys.gettrace()))
    thread.start()
    thread.join()
    assert [*traces, sys.gettrace()] == [None, None]
