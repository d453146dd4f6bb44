"""What a client is told: every form that is right, every one that is wrong, and every variable."""

from __future__ import annotations

import math
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymemcache import Client, HashClient, PooledClient

from memsessions import ConfigurationError, MemsessionsError, SessionsClient
from memsessions.environment import from_environment
from memsessions.servers import parse_server
from memsessions.store.memcached import MemcachedStore
from memsessions.store.memory import MemoryStore

from .conftest import MakeClient
from .support.memcached import Memcached
from .support.naming import named

PASSWORD = "correct-horse-battery"


# ------------------------------------------------------------------------------------------- servers


@pytest.mark.parametrize(
    ("server", "address", "shown"),
    [
        ("localhost", ("localhost", 11211), "localhost:11211"),
        ("127.0.0.1", ("127.0.0.1", 11211), "127.0.0.1:11211"),
        ("127.0.0.1:11212", ("127.0.0.1", 11212), "127.0.0.1:11212"),
        ("cache-1.example.org:1", ("cache-1.example.org", 1), "cache-1.example.org:1"),
        ("my_cache:65535", ("my_cache", 65535), "my_cache:65535"),
        ("[::1]:11212", ("::1", 11212), "[::1]:11212"),
        ("[::1]", ("::1", 11211), "[::1]:11211"),
        ("[fe80::1%eth0]:11212", ("fe80::1%eth0", 11212), "[fe80::1%eth0]:11212"),
        (("localhost", 11212), ("localhost", 11212), "localhost:11212"),
        (("::1", 11212), ("::1", 11212), "[::1]:11212"),
        ("unix:/run/memcached.sock", "/run/memcached.sock", "unix:/run/memcached.sock"),
    ],
)
def test_a_server_has_one_of_these_forms(
    make_client: MakeClient, server: Any, address: object, shown: str
) -> None:
    """And is called so in messages, which need no contact with it."""
    assert parse_server(server) == address
    rs = make_client(server)
    assert rs._nodes[0].store.server == shown
    assert repr(rs) == f"<SessionsClient {shown} ns='rs'>"


@pytest.mark.parametrize("server", ["memory://", "memory://tests"])
def test_memory_is_a_store_in_this_process(make_client: MakeClient, server: str) -> None:
    rs = make_client(server)
    assert isinstance(rs._nodes[0].store, MemoryStore)
    assert rs._nodes[0].store.server == server


def test_without_arguments_it_is_the_usual_memcached(make_client: MakeClient) -> None:
    rs = make_client()
    assert isinstance(rs._nodes[0].store, MemcachedStore)
    assert rs._nodes[0].store.server == "127.0.0.1:11211"
    assert rs._nodes[0].root == b"rs"


@pytest.mark.parametrize(
    "server",
    [
        "",
        " ",
        ":11211",
        "::1",
        "::1:11211",
        "host name",
        "host/path",
        "redis://host:6379",
        "user@host",
        "unix:relative.sock/",
        "unix:",
        "[::1",
        "[host]:11211",
        "[]:1",
        "host\n",
        "memory:",
        None,
        5,
        True,
        b"host",
        ("host",),
        ("host", 1, 2),
        (1, "host"),
        ("", 11211),
        ("a b", 11211),
        object(),
    ],
    ids=named,
)
def test_anything_else_is_refused_with_the_forms_there_are(server: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"(servers|port) must be") as caught:
        SessionsClient(server, wipe=0)
    assert isinstance(caught.value, (ValueError, MemsessionsError))
    if "servers must" in str(caught.value):
        assert '"[::1]:11211", (host, port), "unix:/path" or "memory://"' in str(caught.value)


@pytest.mark.parametrize("address", ["redis://:secret@host/0", "memcached://secret:11211"])
def test_an_address_has_no_scheme_but_that_of_memory(address: str) -> None:
    """The error shows nothing of what may hold a password."""
    with pytest.raises(ConfigurationError) as caught:
        SessionsClient(address, wipe=0)
    assert "secret" not in str(caught.value)
    assert '"host:port"' in str(caught.value)


@pytest.mark.parametrize(
    "server",
    [
        "host:0",
        "host:65536",
        "host:-1",
        "host:abc",
        "host:1:2",
        "host:11211 ",
        "host:\uff11",
        "[::1]:0",
        "[::1]:99999",
        ("host", 0),
        ("host", 65536),
        ("host", True),
        ("host", "abc"),
        ("host", None),
        ("host", 1.0),
    ],
    ids=named,
)
def test_a_port_is_a_number_from_1_to_65535(server: Any) -> None:
    with pytest.raises(ConfigurationError, match="a server's port must be from 1 to 65535, not"):
        SessionsClient(server, wipe=0)


# ------------------------------------------------------------------------------------------- options


WRONG: list[tuple[str, Any]] = [
    *(("ns", ns) for ns in ("", "x" * 51, "a b", "a:b", "ä", "a\n", None, 5, b"rs")),
    *(("wipe", wipe) for wipe in (-1, 1.5, True, "600", None, math.inf, 2**31)),
    *(("cachetime", seconds) for seconds in (-1, -0.5, True, "1", None, math.nan, math.inf)),
    *(("cachemax", number) for number in (0, -1, 1.5, True, "1", None, 2**31)),
    *(("timeout", seconds) for seconds in (0, -1, True, "1", None, math.nan, math.inf, 2**31)),
    *(("connect_timeout", seconds) for seconds in (0, -1, False, "1", None, math.nan, math.inf)),
    *(("max_item_bytes", size) for size in (0, 4095, -1, 1e6, True, "1048576", None, 2**31)),
    *(("tls_context", context) for context in (True, "cert.pem", object(), ssl)),
]


@pytest.mark.parametrize(
    ("server", "option", "value"),
    [
        (server, option, value)
        for server in ("127.0.0.1:11211", "memory://options")
        for option, value in WRONG
        if option != "tls_context" or server != "memory://options"  # there is nothing to encrypt
    ],
    ids=named,
)
def test_an_option_that_is_wrong_is_named(server: str, option: str, value: Any) -> None:
    """Nothing is contacted; it makes no difference that the in-process store needs no timeouts."""
    with pytest.raises(ConfigurationError, match=rf"^{option} must be"):
        SessionsClient(server, **{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("ns", ns) for ns in ("x", "x" * 50, "A-z_0.9")),
        *(("wipe", wipe) for wipe in (0, 1, 86400)),
        *(("cachetime", seconds) for seconds in (0, 1, 0.5, 3600)),
        *(("cachemax", number) for number in (1, 10**6)),
        *(("timeout", seconds) for seconds in (0.001, 1, 2.5, 600)),
        *(("connect_timeout", seconds) for seconds in (0.001, 10)),
        *(("max_item_bytes", size) for size in (4096, 1024**3)),
    ],
    ids=named,
)
def test_an_option_that_is_right_is_taken(make_client: MakeClient, option: str, value: Any) -> None:
    make_client("memory://options-right", **{option: value}).ping()


def test_options_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        SessionsClient("127.0.0.1:11211", "rs")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"username": "user"}, "must be given together"),
        ({"password": PASSWORD}, "must be given together"),
        ({"username": "", "password": PASSWORD}, "username must be printable text"),
        ({"username": "user", "password": ""}, "password must be printable text"),
        ({"username": "user", "password": PASSWORD + "\r\n"}, "password must be printable text"),
        ({"username": "user\0", "password": PASSWORD}, "username must be printable text"),
        ({"username": "us er", "password": PASSWORD}, "username must hold no space"),
        ({"username": "user", "password": "correct horse"}, "password must hold no space"),
        ({"username": 5, "password": PASSWORD}, "username must be printable text"),
        ({"username": "user", "password": PASSWORD.encode()}, "password must be printable text"),
    ],
)
def test_credentials_that_are_wrong_are_refused_and_not_shown(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        SessionsClient(**options, wipe=0)
    assert PASSWORD not in str(caught.value)


def test_a_client_shows_no_credentials(make_client: MakeClient) -> None:
    rs = make_client(username="user", password=PASSWORD)
    assert PASSWORD not in repr(rs)
    assert "user" not in repr(rs)


# ------------------------------------------------------------------------------- a client of pymemcache


@pytest.mark.parametrize("kind", [Client, PooledClient])
@pytest.mark.parametrize("prefix", [b"", b"shop-"])
def test_a_pymemcache_client_brings_its_address_and_its_prefix(
    memcached: Memcached, make_client: MakeClient, kind: Callable[..., Any], prefix: bytes
) -> None:
    shared = kind(("127.0.0.1", memcached.port), key_prefix=prefix)
    try:
        rs = make_client(client=shared, ns="shared")
        assert rs._nodes[0].store.server == memcached.address
        token = rs.create("forum", "user", "192.0.2.1")["token"]
        assert rs.get("forum", token) is not None
        assert memcached.keys(prefix.decode() + "shared") != []
        rs.killall("forum")
    finally:
        shared.close()  # what was borrowed from a pool is the pool's to close


def test_a_subclass_of_a_pymemcache_client_is_one(memcached: Memcached, make_client: MakeClient) -> None:
    class Mine(Client):  # type: ignore[misc]
        pass

    assert make_client(client=Mine(("127.0.0.1", memcached.port))).ping() == "PONG"


def test_a_pymemcache_client_can_speak_over_a_unix_socket(make_client: MakeClient) -> None:
    assert (
        make_client(client=Client("/run/memcached.sock"))._nodes[0].store.server == "unix:/run/memcached.sock"
    )


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([], {"client": HashClient([])}, "this HashClient has none"),
        (
            [],
            {"client": object()},
            "client must be a pymemcache Client, PooledClient or HashClient, not object",
        ),
        (
            [],
            {"client": "127.0.0.1"},
            "client must be a pymemcache Client, PooledClient or HashClient, not str",
        ),
        ([], {"client": Client}, "client must be a pymemcache Client, PooledClient or HashClient, not type"),
        (["127.0.0.1:1"], {"client": Client(("127.0.0.1", 11211))}, "client brings its own address"),
        (["memory://"], {"client": Client(("127.0.0.1", 11211))}, "client brings its own address"),
        (
            [],
            {"client": Client(("127.0.0.1", 11211)), "tls_context": ssl.create_default_context()},
            "client brings its own address and TLS",
        ),
        (
            [],
            {"client": Client(("127.0.0.1", 11211), key_prefix=b"x" * 101)},
            "key_prefix must be at most 100",
        ),
        (
            [],
            {"client": PooledClient(("127.0.0.1", 11211), key_prefix=b"a b")},
            "key_prefix must be at most 100",
        ),
    ],
)
def test_a_client_that_cannot_be_shared_is_refused(
    arguments: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SessionsClient(*arguments, **options, wipe=0)


# --------------------------------------------------------------------------------------- environment


VARIABLES: list[tuple[str, str, str, Any]] = [
    ("MEMSESSIONS_SERVERS", "[::1]:11212", "servers", "[::1]:11212"),
    ("MEMSESSIONS_SERVERS", "unix:/run/memcached.sock", "servers", "unix:/run/memcached.sock"),
    ("MEMSESSIONS_SERVERS", "memory://env", "servers", "memory://env"),
    ("MEMSESSIONS_NS", "shop", "ns", "shop"),
    ("MEMSESSIONS_WIPE", "0", "wipe", 0),
    ("MEMSESSIONS_WIPE", "60", "wipe", 60),
    ("MEMSESSIONS_CACHETIME", "5", "cachetime", 5),
    ("MEMSESSIONS_CACHEMAX", "100", "cachemax", 100),
    ("MEMSESSIONS_TIMEOUT", "2.5", "timeout", 2.5),
    ("MEMSESSIONS_CONNECT_TIMEOUT", "1", "connect_timeout", 1.0),
    ("MEMSESSIONS_USERNAME", "user", "username", "user"),
    ("MEMSESSIONS_PASSWORD", PASSWORD, "password", PASSWORD),
    ("MEMSESSIONS_MAX_ITEM_BYTES", "2097152", "max_item_bytes", 2097152),
]


@pytest.mark.parametrize(("variable", "text", "argument", "value"), VARIABLES)
def test_a_variable_is_the_argument_of_the_same_name(
    variable: str, text: str, argument: str, value: Any
) -> None:
    assert from_environment({variable: text}) == {argument: value}
    assert variable == f"MEMSESSIONS_{argument.upper()}"


def test_there_is_a_variable_for_every_argument() -> None:
    """But for the pymemcache client, which no text can be; TLS has two of its own."""
    arguments = {argument for _, _, argument, _ in VARIABLES} | {"client", "tls_context"}
    assert arguments == set(SessionsClient.__init__.__annotations__) - {"return"}


def test_a_client_is_made_of_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the process, unless others are given; what is given as an argument wins."""
    monkeypatch.setenv("MEMSESSIONS_SERVERS", "memory://from-env")
    monkeypatch.setenv("MEMSESSIONS_NS", "shop")
    monkeypatch.setenv("MEMSESSIONS_WIPE", "0")
    with SessionsClient.from_env() as rs:
        assert repr(rs) == "<SessionsClient memory://from-env ns='shop'>"
        assert rs.ping() == "PONG"
    with SessionsClient.from_env(ns="other") as rs:
        assert repr(rs) == "<SessionsClient memory://from-env ns='other'>"
    with SessionsClient.from_env({"MEMSESSIONS_SERVERS": "memory://given"}, wipe=0) as rs:
        assert repr(rs) == "<SessionsClient memory://given ns='rs'>"


@pytest.mark.parametrize("variable", sorted({variable for variable, *_ in VARIABLES}))
def test_a_variable_that_is_empty_leaves_the_default(variable: str) -> None:
    assert from_environment({variable: ""}) == {}
    assert from_environment({}) == {}


def test_variables_of_others_are_none_of_our_business() -> None:
    assert from_environment({"MEMSESSIONS_": "x", "PATH": "/bin", "MEMCACHED_SERVERS": "x"}) == {}


WRONG_VARIABLES = [
    *(
        ("MEMSESSIONS_SERVERS", text)
        for text in ("host:0", "a b", "[::1", "host:port", ":1", "::1", "http://x")
    ),
    *(("MEMSESSIONS_SERVERS", text) for text in ("a,a", "a,", "x=a,b", "x=a,x=b", "a?drain", "a?weight=0")),
    *(("MEMSESSIONS_NS", text) for text in ("a b", "x" * 51, "a:b", "ä")),
    *(("MEMSESSIONS_WIPE", text) for text in ("-1", "1.5", "ten", " ", "\uff11", "99999999999", "9" * 5000)),
    *(("MEMSESSIONS_CACHETIME", text) for text in ("-1", "x", "99999999999")),
    *(("MEMSESSIONS_CACHEMAX", text) for text in ("0", "-1", "x", "99999999999")),
    *(
        ("MEMSESSIONS_TIMEOUT", text)
        for text in ("0", "-1", "x", "nan", "inf", "1e99", "0.0001", "3000000000")
    ),
    *(("MEMSESSIONS_CONNECT_TIMEOUT", text) for text in ("0", "-1", "x", "nan", "0.0001")),
    *(("MEMSESSIONS_MAX_ITEM_BYTES", text) for text in ("4095", "1m", "0", "99999999999")),
    *(("MEMSESSIONS_TLS", text) for text in ("maybe", "2", " ")),
    *(("MEMSESSIONS_TLS_CA", text) for text in ("/nowhere/ca.pem", "/", "/dev/null")),
]


@pytest.mark.parametrize(("variable", "text"), WRONG_VARIABLES, ids=lambda text: ascii(text)[:40])
def test_a_variable_that_is_wrong_is_named(variable: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{variable}\b"):
        SessionsClient.from_env({variable: text})


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"MEMSESSIONS_PASSWORD": PASSWORD}, "MEMSESSIONS_USERNAME"),
        ({"MEMSESSIONS_USERNAME": "user"}, "MEMSESSIONS_PASSWORD"),
        ({"MEMSESSIONS_USERNAME": "user", "MEMSESSIONS_PASSWORD": PASSWORD + "\n"}, "MEMSESSIONS_PASSWORD"),
        ({"MEMSESSIONS_USERNAME": "us er", "MEMSESSIONS_PASSWORD": PASSWORD}, "MEMSESSIONS_USERNAME"),
        ({"MEMSESSIONS_USERNAME": "user\0", "MEMSESSIONS_PASSWORD": PASSWORD}, "MEMSESSIONS_USERNAME"),
    ],
)
def test_credentials_in_variables_are_named_and_the_password_never_shown(
    environ: dict[str, str], variable: str
) -> None:
    with pytest.raises(ConfigurationError, match=variable) as caught:
        SessionsClient.from_env(environ)
    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in repr(caught.value.__context__)


@pytest.mark.parametrize(
    "environ",
    [{"MEMSESSIONS_WIPE": PASSWORD}, {"MEMSESSIONS_SERVERS": "a b"}, {"MEMSESSIONS_TLS": "maybe"}],
    ids=["wipe", "servers", "tls"],
)
def test_no_other_variables_error_shows_the_password(environ: dict[str, str]) -> None:
    credentials = {"MEMSESSIONS_USERNAME": "user", "MEMSESSIONS_PASSWORD": PASSWORD}
    with pytest.raises(ConfigurationError) as caught:
        SessionsClient.from_env({**environ, **credentials})
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("text", ["1", "true", "True", "YES", "on"])
def test_tls_is_switched_on(text: str) -> None:
    """With what the system trusts, host names checked."""
    context = from_environment({"MEMSESSIONS_TLS": text})["tls_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("text", ["0", "false", "No", "OFF", ""])
def test_tls_is_off(text: str) -> None:
    assert from_environment({"MEMSESSIONS_TLS": text}) == {}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a certificate to trust."""
    folder = tmp_path_factory.mktemp("ca")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return folder / "ca.pem"


@pytest.mark.parametrize("tls", ["1", ""])
def test_a_file_of_certificates_switches_tls_on_and_is_what_is_trusted(authority: Path, tls: str) -> None:
    environ = {"MEMSESSIONS_TLS_CA": str(authority), "MEMSESSIONS_TLS": tls}
    context = from_environment(environ)["tls_context"]
    assert isinstance(context, ssl.SSLContext)
    assert [cert["subject"] for cert in context.get_ca_certs()] == [((("commonName", "test"),),)]
    assert context.check_hostname


def test_tls_that_is_switched_off_stays_off_whatever_is_trusted(authority: Path) -> None:
    assert from_environment({"MEMSESSIONS_TLS_CA": str(authority), "MEMSESSIONS_TLS": "0"}) == {}
