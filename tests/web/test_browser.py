"""The examples in real browsers: who is logged in on two devices sees both, and ends the other."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from memsessions import SessionsClient

from ..conftest import OnMemcached
from ..support.browser import Browser, installed
from ..support.memcached import free_port

_ROOT = Path(__file__).parents[2]
_EXAMPLES = {"flask": "tests.examples.flask_app:app", "django": "tests.examples.django_app:application"}
_START_S = 30

pytestmark = pytest.mark.skipif(installed() is None, reason="Chromium is not installed")


@pytest.fixture(params=sorted(_EXAMPLES))
def site(request: pytest.FixtureRequest, on_memcached: OnMemcached, tmp_path: Path) -> Iterator[str]:
    """The address of an example, served by gunicorn."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--threads=4", f"--bind=127.0.0.1:{port}"]
    environment = {
        **os.environ,
        "MEMSESSIONS_SERVERS": on_memcached.server.address,
        "MEMSESSIONS_NS": on_memcached.ns,
        "EXAMPLE_DATABASE": str(tmp_path / "example.sqlite3"),
        "HOME": str(tmp_path),
    }
    log = tmp_path / "gunicorn.log"
    with log.open("wb") as output:
        served = subprocess.Popen(
            [*command, _EXAMPLES[request.param]], cwd=_ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        give_up = time.monotonic() + _START_S
        while not _answers(port):
            ended = served.poll() is not None or time.monotonic() > give_up
            assert not ended, log.read_text()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        served.send_signal(signal.SIGINT)  # at once: it would wait for connections that the browsers keep
        served.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_S)
    try:
        connection.request("GET", "/login")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Browser]]:
    """Starting them takes longer than all that the tests do with them."""
    folders = [tmp_path_factory.mktemp(name) for name in ("laptop", "phone")]
    with ExitStack() as stack:
        laptop, phone = (stack.enter_context(Browser(folder)) for folder in folders)
        yield laptop, phone


@pytest.fixture
def browsers(site: str, started: tuple[Browser, Browser]) -> tuple[Browser, Browser]:
    """Two devices of one visitor."""
    for browser in started:
        browser.begin(site)
    return started


def _log_in(browser: Browser) -> None:
    browser.go("/login")
    browser.type("username", "alice")
    browser.type("password", "wonderland")
    browser.click("#log-in")
    assert browser.path == "/"
    assert browser.texts("#user") == ["alice"]


def test_two_browsers_see_each_other_and_one_ends_the_other(
    browsers: tuple[Browser, Browser], on_memcached: OnMemcached, tmp_path: Path
) -> None:
    """The other is logged out at its next click, and can log in again; its cookie is kept from scripts.

    "Log out everywhere else" ends it once more. What the page shows are the sessions of the store.
    """
    laptop, phone = browsers
    _log_in(laptop)
    assert len(laptop.texts("#sessions tr.current")) == 1
    assert laptop.texts("#sessions tr.other") == []
    _log_in(phone)
    laptop.go("/")
    (current,) = laptop.texts("#sessions tr.current")
    (other,) = laptop.texts("#sessions tr.other")
    assert "127.0.0.1" in current
    assert "127.0.0.1" in other
    assert all(cookie["httpOnly"] for cookie in laptop.cookies if "csrf" not in str(cookie["name"]))
    assert "session" not in laptop.seen_by_scripts()

    laptop.click("#sessions tr.other button.end")
    assert laptop.texts("#sessions tr.other") == []
    assert len(laptop.texts("#sessions tr.current")) == 1
    phone.go("/")
    assert phone.path.startswith("/login")

    _log_in(phone)
    laptop.go("/")
    assert len(laptop.texts("#sessions tr.other")) == 1
    laptop.photograph(tmp_path / "sessions.png")
    laptop.click("#end-others")
    assert laptop.texts("#sessions tr.other") == []
    phone.go("/")
    assert phone.path.startswith("/login")

    laptop.click("#log-out")
    laptop.go("/")
    assert laptop.path.startswith("/login")
    with SessionsClient(on_memcached.server.address, ns=on_memcached.ns, wipe=0) as rs:
        apps = {"example", "django"}
        assert [session for app in apps for session in rs.soid(app, "alice") + rs.soid(app, "1")] == []


def test_back_after_a_log_out_shows_nothing(browsers: tuple[Browser, Browser]) -> None:
    """A page that depends on the visitor is not shown to whoever sits down next."""
    laptop, _ = browsers
    _log_in(laptop)
    laptop.click("#log-out")
    laptop.back()
    assert laptop.texts("#user") == []
