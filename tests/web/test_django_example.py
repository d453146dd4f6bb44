"""The example, as a real server process with a database serves it."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from memsessions import SessionsClient

from ..conftest import MakeClient, OnMemcached
from .servers import ServerProcess
from .site import Setup, Site, Traits

ROOT = Path(__file__).parents[2]


class Person:
    """A browser, as far as the example needs one: cookies, and forms with their CSRF tokens."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cookies: dict[str, str] = {}

    def get(self, path: str) -> str:
        return self._ask("GET", path)

    def post(self, path: str, **fields: str) -> str:
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get("/"))
        assert token is not None
        return self._ask("POST", path, {"csrfmiddlewaretoken": token[1], **fields})

    def log_in(self, name: str, password: str) -> str:
        return self.post("/login", username=name, password=password)

    def _ask(self, method: str, path: str, fields: dict[str, str] | None = None) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if fields is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urllib.parse.urlencode(fields or {}), headers)
        response = connection.getresponse()
        body = response.read().decode()
        for header in response.headers.get_all("Set-Cookie") or []:
            for name, morsel in SimpleCookie(header).items():
                self.cookies[name] = morsel.value
        connection.close()
        if response.status == 302:
            return self._ask("GET", response.headers["Location"])
        assert response.status == 200, body
        return body


class Example:
    """What runs it."""

    traits = Traits()
    port = 0

    def serve(self, setup: Setup) -> Site:
        raise NotImplementedError

    def command(self, port: int) -> list[str]:
        self.port = port
        options = ["--preload", "--workers=2", "--threads=2", f"--bind=127.0.0.1:{port}"]
        return [sys.executable, "-m", "gunicorn", *options, "tests.examples.django_app:application"]


@pytest.fixture
def example(on_memcached: OnMemcached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Example]:
    monkeypatch.setenv("MEMSESSIONS_SERVERS", on_memcached.address)
    monkeypatch.setenv("MEMSESSIONS_NS", on_memcached.ns)
    monkeypatch.setenv("EXAMPLE_DATABASE", str(tmp_path / "example.sqlite3"))
    running = Example()
    with ServerProcess(running, Setup(on_memcached.address, on_memcached.ns), tmp_path):
        yield running


@pytest.fixture
def sessions(on_memcached: OnMemcached, make_client: MakeClient) -> SessionsClient:
    return make_client(on_memcached.address, ns=on_memcached.ns)


def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(ROOT / "tests" / "examples" / "django_app.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_people_log_in_see_their_sessions_and_end_them(example: Example, sessions: SessionsClient) -> None:
    """With Django's own log-in form, CSRF and user model; and the command beside the server."""
    phone, laptop, bob = (Person(example.port) for _ in range(3))
    assert "Log in" in phone.get("/")
    assert "sessionid" not in phone.cookies  # nothing is stored for a visitor
    assert "correct username and password" in phone.log_in("alice", "wrong")
    for person, name, password in (
        (phone, "alice", "wonderland"),
        (laptop, "alice", "wonderland"),
        (bob, "bob", "builder"),
    ):
        page = person.log_in(name, password)
        assert "Your active sessions" in page
        assert page.count("this one") == 1
    page = phone.get("/")
    assert page.count("<tr class=") == 2
    assert page.count("127.0.0.1") == 2
    assert phone.cookies["sessionid"] not in page
    [handle] = re.findall(r'name="handle" value="([^"]+)"', page)
    assert phone.post("/end", handle=handle).count("<tr class=") == 1
    assert "Log in" in laptop.get("/")

    laptop.log_in("alice", "wonderland")
    shown = json.loads(manage("memsessions", "list", "alice", "--json").stdout)
    assert [device["ip"] for device in shown] == ["127.0.0.1"] * 2
    assert laptop.post("/end-others").count("<tr class=") == 1
    assert "Log in" in phone.get("/")
    phone.log_in("alice", "wonderland")
    assert "Log in" in phone.post("/end-all")
    assert "Log in" in laptop.get("/")
    assert "Your active sessions" in bob.get("/")

    ended = manage("memsessions", "end", "bob")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1 session of bob ended\n", "")
    assert "Log in" in bob.get("/")
    assert sessions.soapp("example") == []
