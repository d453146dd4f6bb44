"""`activity`, once and again and again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from datetime import datetime, timedelta, timezone

import pytest

from memsessions import SessionsClient
from memsessions.cli import codes

from ..conftest import Where
from ..support.memcached import Memcached
from .support import PROGRAM, At, ask, environment


def test_activity_counts_the_users_of_the_last_seconds(at: At, rs: SessionsClient, where: Where) -> None:
    for user in ("alice", "alice", "bob"):
        rs.create("forum", user, "10.0.0.1")
    where.advance(700)
    rs.create("forum", "carol", "10.0.0.1")
    assert at.ask("activity", "forum", "--json").document == {"activity": 1}
    assert at.ask("activity", "forum", "--active", "900", "--json").document == {"activity": 3}
    assert at.ask("activity", "forum").out == "1 user of forum active in the last 600 s\n"


def test_activity_of_an_app_that_is_unknown_is_not_found_and_of_an_idle_one_is_0(
    at: At, rs: SessionsClient
) -> None:
    rs.create("forum", "alice", "10.0.0.1")
    rs.killall("forum")
    assert at.ask("activity", "forum", "--json").document == {"activity": 0}
    assert at.ask("activity", "forun").code == codes.NOT_FOUND


def test_watching_in_a_pipe_is_a_line_each_time(at: At, rs: SessionsClient) -> None:
    rs.create("forum", "alice", "10.0.0.1")
    done = at.ask("activity", "forum", "--watch", "0.1", "--times", "3")
    lines = done.out.splitlines()
    assert len(lines) == 3
    for line in lines:
        time, users = line.split()
        assert users == "1"
        assert abs(datetime.fromisoformat(time) - datetime.now(timezone.utc)) < timedelta(minutes=5)


@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "1e10", "86401", "0.09"])
def test_watching_needs_a_time_that_can_be_waited_for(seconds: str) -> None:
    done = ask("activity", "forum", "--watch", seconds, "--times", "2", "--server", "127.0.0.1:1")
    assert (done.code, done.out) == (codes.USAGE, "")
    assert "--watch" in done.err


def test_watching_with_json_is_a_list(at: At, rs: SessionsClient) -> None:
    rs.create("forum", "alice", "10.0.0.1")
    done = at.ask("activity", "forum", "--watch", "0.1", "--times", "2", "--json")
    assert [each["activity"] for each in done.document] == [1, 1]


def test_watching_goes_on_through_an_outage(own_memcached: Memcached) -> None:
    """And the list of --json is whole, when it is interrupted at last."""
    ask("create", "forum", "alice", "--server", own_memcached.address)
    command = [*PROGRAM, "--server", own_memcached.address, "activity", "forum", "--watch", "0.1", "--json"]
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert program.stdout is not None
    lines = [program.stdout.readline()]
    own_memcached.kill()
    while '"error"' not in lines[-1]:
        lines.append(program.stdout.readline())
    own_memcached.start()
    while '"activity": 0' not in lines[-1]:
        lines.append(program.stdout.readline())
    program.send_signal(signal.SIGINT)
    rest, errors = program.communicate(timeout=20)
    assert program.returncode == codes.INTERRUPTED
    assert re.fullmatch(r"(memsessions: 127.*\n)+memsessions: interrupted\n", errors)
    document = json.loads("".join(lines) + rest)
    assert document[0]["activity"] == 1
    assert {each["activity"] for each in document} == {0, 1, None}


def test_an_outage_at_the_first_look_ends_it() -> None:
    done = ask("activity", "forum", "--watch", "1", "--server", "127.0.0.1:1")
    assert (done.code, done.out) == (codes.UNAVAILABLE, "")
