"""`memsessions exporter`: as Prometheus and the person who starts it see it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from memsessions import SessionsClient

from ..support.memcached import Memcached
from .support import PROGRAM, Terminal, ask, environment, run


@contextmanager
def exporting(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running exporter, and the line that it began with."""
    process = subprocess.Popen(
        [*PROGRAM, "exporter", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        text: str = response.read().decode()
    return text


def test_it_serves_the_store_and_its_own_calls_until_it_is_told_to_end(memcached: Memcached) -> None:
    """Any free port, on loopback only by default; SIGTERM is the end."""
    with SessionsClient(memcached.address, ns="exported", wipe=0, timeout=30) as rs:
        rs.create("forum", "alice", "192.0.2.1")
    with exporting("--port", "0", "--server", memcached.address, "--ns", "exported") as (process, line):
        url = line.removeprefix("serving ").strip()
        assert url.startswith("http://127.0.0.1:")
        text = scraped(url)
        assert f'memsessions_up{{server="{memcached.address}"}} 1.0' in text
        assert 'memsessions_sessions{app="forum"} 1.0' in text
        text = scraped(url)
        asked = f'memsessions_call_duration_seconds_count{{operation="stats",server="{memcached.address}"}}'
        assert f"{asked} 2.0" in text or f"{asked} 1.0" in text
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (143, "")


def test_a_store_that_is_down_does_not_stop_it(own_memcached: Memcached) -> None:
    with exporting("--port", "0", "--server", own_memcached.address, "--json") as (process, line):
        url = json.loads(line)["url"]
        own_memcached.kill()
        down = f'memsessions_up{{server="{own_memcached.address}"}}'
        assert f"{down} 0.0" in scraped(url)
        own_memcached.start()
        assert f"{down} 1.0" in scraped(url)
        assert process.poll() is None


def test_ctrl_c_ends_it(memcached: Memcached) -> None:
    with Terminal("exporter", "--port", "0", "--server", memcached.address) as terminal:
        terminal.wait_for("serving http://127.0.0.1:")
        terminal.press_ctrl_c()
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.screen


def test_a_port_that_is_taken_is_bad_usage() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("exporter", "--port", str(port), "--server", "127.0.0.1:9")
    assert done.code == 2
    assert f"cannot listen at 127.0.0.1, port {port}: " in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [[], ["--port", "65536"], ["--port", "x"], ["--port", "0", "--interval", "0"]],
)
def test_wrong_options_are_bad_usage(arguments: list[str]) -> None:
    done = ask("exporter", *arguments)
    assert (done.code, done.out) == (2, "")
