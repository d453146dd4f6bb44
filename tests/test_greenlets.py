"""With gevent, where it is installed: greenlets that are killed in the middle of calls spoil nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .support.memcached import Memcached


@pytest.mark.parametrize("number", [1, 2])
def test_greenlets_that_are_killed_or_out_of_time_leave_the_others_alone(
    own_memcached: Memcached, number: int
) -> None:
    """All kinds of calls at once; each answer is that of its own call, and no connection is left over."""
    pytest.importorskip("gevent")
    command = [sys.executable, "-m", "gevent.monkey", "--module", "tests.support.greenlets"]
    with Memcached() as other:
        servers = [own_memcached.address, other.address][:number]
        done = subprocess.run(
            [*command, ",".join(servers), "rs", "2"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=Path(__file__).parent.parent,
            # A socket whose connecting was interrupted is closed by its finalizer, which warns.
            env={**os.environ, "PYTHONWARNINGS": "error,ignore::ResourceWarning"},
        )
        connections = own_memcached.connections() + other.connections()
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["violations"] == []
    assert figures["unavailable"] == 0  # as where a reply comes that another call had asked for
    assert figures["connections left"] == 0
    assert figures["killed"] > 50
    assert figures["out of time"] > 50
    assert figures["calls"] > 500
    assert connections == 0
