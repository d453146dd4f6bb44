"""What a Flask application says about its sessions, in its config or the environment."""

from __future__ import annotations

import ssl
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from memsessions import ConfigurationError, ValidationError
from memsessions.flask import MemSessions

from ..conftest import OnMemcached
from ..support.sessions import contents
from .flask_apps import APP, MakeApp, client_of, cookie, interface_of, making_apps, put

SECRET = "a secret of more than sixteen"
# The same in every process of the tests: cases are named by them.
KEYS = [urlsafe_b64encode(bytes([number]) * 32).decode() for number in range(2)]


@pytest.fixture
def make(on_memcached: OnMemcached) -> Iterator[MakeApp]:
    yield from making_apps(on_memcached)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVERS", "APP", "SIGN", "ENCRYPTION_KEY", "ON_OUTAGE", "USER_KEY", "TIMEOUT", "NS"):
        monkeypatch.delenv(f"MEMSESSIONS_{name}", raising=False)


def set_up(name: str = "tests", **config: Any) -> Flask:
    """An application in memory that is set up so. Nothing has to be closed."""
    app = Flask(name)
    app.config.update({"MEMSESSIONS_SERVERS": "memory://settings", "MEMSESSIONS_WIPE": 0, **config})
    MemSessions(app)
    return app


def timeout_of(app: Flask) -> float:
    return client_of(app)._nodes[0].store._timeout_s  # type: ignore[attr-defined, no-any-return]


def test_the_config_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, on_memcached: OnMemcached
) -> None:
    monkeypatch.setenv("MEMSESSIONS_SERVERS", "192.0.2.1:1")
    monkeypatch.setenv("MEMSESSIONS_TIMEOUT", "3")
    monkeypatch.setenv("MEMSESSIONS_APP", "from-environment")
    apps = [
        set_up(MEMSESSIONS_SERVERS=on_memcached.address),
        set_up(
            MEMSESSIONS_SERVERS=on_memcached.address, MEMSESSIONS_TIMEOUT=2, MEMSESSIONS_APP="from-config"
        ),
        set_up(MEMSESSIONS_SERVERS=on_memcached.address, MEMSESSIONS_TIMEOUT="2.5", MEMSESSIONS_APP=""),
    ]
    assert [timeout_of(app) for app in apps] == [3, 2, 2.5]
    names = [interface_of(app).storage.app for app in apps]
    assert names == ["from-environment", "from-config", "tests"]
    for app in apps:
        assert client_of(app).ping() == "PONG"
        client_of(app).close()


@pytest.mark.parametrize(
    "servers",
    ["a=memory://one,b=memory://two?weight=2", ["memory://one", "memory://two"], {"a": "memory://one"}],
)
def test_servers_are_text_or_what_the_client_takes(servers: Any) -> None:
    put(set_up(MEMSESSIONS_SERVERS=servers).test_client(), key="value")


def test_tls_and_a_password_are_told_in_every_way(tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    with pytest.raises(ConfigurationError, match="MEMSESSIONS_TLS_CA"):
        set_up(MEMSESSIONS_SERVERS="127.0.0.1:1", MEMSESSIONS_TLS_CA=missing)
    for tls in (
        {"MEMSESSIONS_TLS": True},
        {"MEMSESSIONS_TLS": "1"},
        {"MEMSESSIONS_TLS_CONTEXT": ssl.create_default_context()},
    ):
        account = {"MEMSESSIONS_USERNAME": "sessions", "MEMSESSIONS_PASSWORD": "a-long-one"}
        app = set_up(MEMSESSIONS_SERVERS="127.0.0.1:1", **tls, **account)
        assert "a-long-one" not in repr(client_of(app))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("forum", "forum"),
        ("my.web_app", "my-web_app"),
        ("x", "flask-x"),
        ("a.package.with.a.very.long.name", "a-package-with-a-ver"),
    ],
)
def test_the_name_is_that_of_the_application(name: str, expected: str) -> None:
    assert interface_of(set_up(name)).storage.app == expected


def test_signing_uses_flasks_secrets(make: MakeApp, on_memcached: OnMemcached) -> None:
    """A cookie that was not signed by one of them is that of a new visitor."""
    plain = make(SECRET_KEY=SECRET)
    old = make(SECRET_KEY=SECRET, MEMSESSIONS_SIGN=True)
    new = make(SECRET_KEY="new" + SECRET, SECRET_KEY_FALLBACKS=[SECRET], MEMSESSIONS_SIGN="yes")

    def value(app: Flask, sent: str | None) -> Any:
        client = app.test_client()
        client.set_cookie("session", str(sent))
        with client.session_transaction() as found:
            return found.get("key")

    clients = [app.test_client() for app in (plain, old, new)]
    for client in clients:
        put(client, key="value")
    unsigned, by_old, by_new = (cookie(client) for client in clients)
    assert [len(str(each)) for each in (unsigned, by_old, by_new)] == [64, 108, 108]
    assert [value(new, each) for each in (unsigned, by_old, by_new)] == [None, "value", "value"]
    assert [value(old, each) for each in (unsigned, by_old, by_new)] == [None, "value", None]
    assert len(contents(on_memcached)) > 0


@pytest.mark.parametrize("keys", [KEYS, ",".join(KEYS), ", ".join(KEYS), KEYS[0]])
def test_data_is_encrypted_with_the_first_key(make: MakeApp, on_memcached: OnMemcached, keys: Any) -> None:
    client = make(MEMSESSIONS_ENCRYPTION_KEY=keys).test_client()
    put(client, key="rosebud", tags=(1, 2))
    assert not any(b"rosebud" in value for value in contents(on_memcached).values())
    other = make(MEMSESSIONS_ENCRYPTION_KEY=[KEYS[1], KEYS[0]]).test_client()
    other.set_cookie("session", str(cookie(client)))
    with other.session_transaction() as found:
        assert dict(found) == {"key": "rosebud", "tags": (1, 2)}


def test_the_environment_says_as_much(
    monkeypatch: pytest.MonkeyPatch, make: MakeApp, on_memcached: OnMemcached
) -> None:
    for name, value in (
        ("SIGN", "1"),
        ("ENCRYPTION_KEY", KEYS[0]),
        ("ON_OUTAGE", "anonymous"),
        ("USER_KEY", "user"),
    ):
        monkeypatch.setenv(f"MEMSESSIONS_{name}", value)
    app = make(SECRET_KEY=SECRET)
    client = app.test_client()
    put(client, user="alice")
    assert len(str(cookie(client))) == 108
    assert len(client_of(app).soid(APP, "alice")) == 1
    assert not any(b'"user"' in value for value in contents(on_memcached).values())
    with app.test_request_context():
        assert not app.session_interface.open_session(app, client.get("/").request).unavailable  # type: ignore


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"MEMSESSIONS_SERVERS": "host:port"}, "MEMSESSIONS_SERVERS"),
    ({"MEMSESSIONS_NS": "a b"}, "MEMSESSIONS_NS"),
    ({"MEMSESSIONS_TIMEOUT": "soon"}, "MEMSESSIONS_TIMEOUT"),
    ({"MEMSESSIONS_TIMEOUT": -1}, "timeout"),
    ({"MEMSESSIONS_USERNAME": "only"}, "MEMSESSIONS_USERNAME"),
    ({"MEMSESSIONS_APP": "a b"}, "MEMSESSIONS_APP"),
    ({"MEMSESSIONS_APP": 7}, "MEMSESSIONS_APP"),
    ({"MEMSESSIONS_SIGN": "perhaps"}, "MEMSESSIONS_SIGN"),
    ({"MEMSESSIONS_SIGN": True}, "SECRET_KEY"),
    ({"MEMSESSIONS_SIGN": True, "SECRET_KEY": "dev"}, "SECRET_KEY"),
    ({"MEMSESSIONS_ENCRYPTION_KEY": "short"}, "MEMSESSIONS_ENCRYPTION_KEY"),
    ({"MEMSESSIONS_ENCRYPTION_KEY": 7}, "MEMSESSIONS_ENCRYPTION_KEY"),
    ({"MEMSESSIONS_ON_OUTAGE": "ignore"}, "MEMSESSIONS_ON_OUTAGE"),
    ({"MEMSESSIONS_USER_KEY": 7}, "MEMSESSIONS_USER_KEY"),
    ({"MEMSESSIONS_SERVER": "127.0.0.1"}, "MEMSESSIONS_SERVER is no setting; there are MEMSESSIONS_APP, "),
    ({"PERMANENT_SESSION_LIFETIME": timedelta(seconds=9)}, "PERMANENT_SESSION_LIFETIME"),
    ({"PERMANENT_SESSION_LIFETIME": timedelta(days=36500)}, "PERMANENT_SESSION_LIFETIME"),
]


@pytest.mark.parametrize(("config", "named"), WRONG)
def test_what_is_not_usable_is_named_when_the_application_is_set_up(
    config: dict[str, Any], named: str
) -> None:
    with pytest.raises((ConfigurationError, ValidationError), match=named) as raised:
        set_up(**config)
    for secret in ("dev", "short"):
        assert secret not in str(raised.value)
