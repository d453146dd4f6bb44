"""The command, as a person runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from memsessions import cli
from memsessions.cli import codes

from .support.memcached import Memcached


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "memsessions", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_the_demo_tells_its_story_without_a_server() -> None:
    done = run("demo")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for line in (
        "get   {'id': 'alice', 'r': 2, 'w': 1, 'idle': 0, 'ttl': 3600,",
        "'w': 2, 'idle': 0, 'ttl': 3600, 'ip': '203.0.113.7', 'd': {'unread': 34}}",
        "get with the old token: None",
        "killsoid {'kill': 2}",
        "killall {'kill': 1}",
    ):
        assert line in done.stdout


def test_the_demo_leaves_no_session_on_a_real_server(memcached: Memcached) -> None:
    done = run("demo", "--server", memcached.address)
    assert done.returncode == 0, done.stderr
    assert memcached.address in done.stdout
    assert not [key for key in memcached.keys("memsessions-demo") if ":s:" in key]


def test_a_store_that_is_away_gives_exit_code_3_and_says_so() -> None:
    done = run("demo", "--server", "127.0.0.1:1")
    assert done.returncode == codes.UNAVAILABLE == 3
    assert done.stderr == "memsessions: 127.0.0.1:1: Connection refused\n"


@pytest.mark.parametrize("arguments", [["demo", "--server", "a:b:c"], ["nonsense"], []])
def test_bad_usage_gives_exit_code_2_and_an_explanation(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == codes.USAGE == 2
    assert done.stderr.count("memsessions") > 0
    assert done.stdout == ""


def test_the_version_is_shown() -> None:
    import memsessions

    assert run("--version").stdout == f"memsessions {memsessions.__version__}\n"


def test_the_installed_command_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo"]) == 0
    assert "killsoid {'kill': 2}" in capsys.readouterr().out
