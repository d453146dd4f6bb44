"""What is logged, with which fields, and that nothing of it is secret."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from memsessions import MemsessionsError, SessionsClient, StoreFull, StoreUnavailable, repair
from memsessions.logs import Seldom
from memsessions.web.encryption import Encryption
from memsessions.web.responses import refusal
from memsessions.web.storage import SessionStorage

from .conftest import MakeClient, OnMemcached, Where
from .support.memcached import Memcached

APP = "forum"
IP = "192.0.2.177"
USER = "Alice-the-secret-user"
SECRET = "hush-hush"

#: What every record has, and `extra` must not name.
_OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says beside its message."""
    return {name: value for name, value in vars(record).items() if name not in _OWN}


class Collector(logging.Handler):
    """Keeps every record."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """Every record of memsessions, of any level."""
    logger, collector = logging.getLogger("memsessions"), Collector()
    level = logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.DEBUG)
    yield collector.records
    logger.removeHandler(collector)
    logger.setLevel(level)


def of(records: list[logging.LogRecord], logger: str) -> list[logging.LogRecord]:
    return [record for record in records if record.name == f"memsessions.{logger}"]


@pytest.fixture
def two(make_client: MakeClient) -> Iterator[tuple[SessionsClient, list[Memcached], list[float]]]:
    """A client of two servers, these, and the hands of its breakers' clock."""
    with ExitStack() as stack:
        servers = [stack.enter_context(Memcached("-t", "1")) for _ in range(2)]
        rs = make_client({"one": servers[0].address, "other": servers[1].address}, timeout=5)
        rs.ping()
        now = [1000.0]
        for node in rs._nodes:
            assert node.breaker is not None
            node.breaker._clock = lambda: now[0]
        yield rs, servers, now


def test_a_server_that_fails_and_comes_back_is_logged_once_each(
    two: tuple[SessionsClient, list[Memcached], list[float]], records: list[logging.LogRecord]
) -> None:
    """With how long it was away."""
    rs, servers, now = two
    servers[0].kill()
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            rs.ping()
        now[0] += 10
    servers[0].start()
    rs.ping()
    rs.ping()
    failed, back = of(records, "breaker")
    assert (failed.levelno, back.levelno) == (logging.WARNING, logging.INFO)
    assert failed.getMessage().startswith("one failed, and is left alone for moments: ")
    assert fields(failed)["server"] == fields(back)["server"] == "one"
    assert fields(failed)["error"] == "StoreUnavailable"
    assert fields(back) == {"server": "one", "outage_s": 50.0}


def test_that_a_new_session_goes_to_another_server_is_logged_now_and_then(
    two: tuple[SessionsClient, list[Memcached], list[float]], records: list[logging.LogRecord]
) -> None:
    """Not each time: it is often while a server is down."""
    rs, servers, _now = two
    servers[0].kill()
    for _ in range(40):
        rs.create(APP, USER, IP)
    (passed_over,) = of(records, "fleet")
    assert passed_over.levelno == logging.INFO
    assert passed_over.getMessage().startswith("one takes no new session, another server does: ")
    shown = fields(passed_over)
    shown.pop("reason")
    assert shown == {
        "server": "one",
        "app": APP,
        "operation": "create",
        "error": "StoreUnavailable",
        "times": 1,
    }


def test_a_full_server_is_logged_now_and_then(
    make_client: MakeClient, records: list[logging.LogRecord]
) -> None:
    with Memcached("-m", "2", "-M") as server:
        rs = make_client(server.address, timeout=5)
        refused = 0
        while refused < 3:
            try:
                rs.create(APP, USER, IP, d={"k": "x" * 10_000})
            except StoreFull:
                refused += 1
        warnings = [record for record in of(records, "calls") if record.levelno == logging.WARNING]
        (warning,) = warnings
        assert warning.getMessage().startswith(f"{server.address} is full: ")
        assert (fields(warning)["operation"], fields(warning)["times"]) == ("create", 1)
        assert len(of(records, "calls")) == 3, "each failed call is logged for who looks closely"


def test_what_happens_all_the_time_is_said_once_a_minute() -> None:
    """With how often it happened since."""
    now = 1000.0
    seldom = Seldom(lambda: now)
    assert [seldom.due() for _ in range(4)] == [1, 0, 0, 0]
    now += 59
    assert seldom.due() == 0
    now += 1
    assert seldom.due() == 5
    assert seldom.due() == 0


def test_a_wipe_says_what_it_removed(
    where: Where, client: SessionsClient, records: list[logging.LogRecord]
) -> None:
    """As information if there was something, else for who looks closely."""
    for _ in range(3):
        client.create(APP, USER, IP, 10)
    where.advance(60)
    client.wipe()
    client.wipe()
    (server,) = [node.store.server for node in client._nodes]
    some, none = of(records, "wipe")
    assert (some.levelno, none.levelno) == (logging.INFO, logging.DEBUG)
    assert some.getMessage() == f"wiped {server}: 3 dead sessions"
    assert fields(some) == {"server": server, "operation": "wipe", "wiped": 3, "compactions": 1}
    assert (fields(none)["wiped"], fields(none)["compactions"]) == (0, 0)


def test_a_repair_says_what_it_found_in_each_app(
    on_memcached: OnMemcached, make_client: MakeClient, records: list[logging.LogRecord]
) -> None:
    server = on_memcached.server
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    rs.create(APP, USER, IP)
    rs.create("other", USER, IP)
    for key in server.keys(on_memcached.ns):
        if f":{APP}:i:" in key:
            server.delete(key)
    repair(rs)
    lost, fine = of(records, "repair")
    assert (lost.levelno, fine.levelno) == (logging.INFO, logging.DEBUG)
    assert fields(lost) == {
        "server": server.address,
        "operation": "repair",
        "app": APP,
        "listed": 0,
        "dead": 0,
        "unlisted": 1,
        "relisted": 1,
    }
    assert fields(fine)["app"] == "other"


def test_the_webs_records_have_fields(records: list[logging.LogRecord]) -> None:
    """A response of 503 tells which server did not answer."""
    refusal(StoreUnavailable("192.0.2.1:11211", "no answer in time"))
    (record,) = of(records, "web")
    assert fields(record) == {
        "server": "192.0.2.1:11211",
        "error": "StoreUnavailable",
        "reason": "no answer in time",
    }


def test_a_session_that_cannot_be_decrypted_is_logged_now_and_then(
    records: list[logging.LogRecord], client: SessionsClient
) -> None:
    """However often somebody comes with its cookie: once a minute, and how often it happened."""
    token = client.documents(APP, Encryption(Fernet.generate_key())).create({"k": SECRET}, ttl=600).token
    documents = client.documents(APP, Encryption(Fernet.generate_key()))
    now = 1000.0
    documents._sealed = Seldom(lambda: now)
    for _ in range(100):
        assert documents.read(token) is None
    now += 61
    assert documents.read(token) is None
    once, again = of(records, "documents")
    assert once.getMessage() == again.getMessage()
    assert once.getMessage() == f"a session of {APP} could not be decrypted: it counts as unknown"
    assert fields(once) == {"app": APP, "operation": "documents.read", "times": 1}
    assert fields(again)["times"] == 100


# ------------------------------------------------------------------------------------------- secrets


def drive(rs: SessionsClient) -> list[str]:
    """Make every call there is; the tokens."""
    tokens = []

    def made(call: Callable[[], Any]) -> Any:
        with suppress(MemsessionsError):
            return call()
        return None

    created = made(lambda: rs.create(APP, USER, IP, d={"k": SECRET})) or {"token": "t" * 64}
    token = created["token"]
    tokens.append(token)
    documents = rs.documents(APP)
    storage = SessionStorage(rs, APP, encryption_key=Fernet.generate_key())

    def visit() -> None:
        session = storage.read(None)
        session.set("k", SECRET)
        cookie = storage.save(session)
        assert cookie is not None
        tokens.append(cookie)
        session = storage.read(cookie)
        session.set("k", SECRET * 2)
        storage.save(session)

    def others() -> None:
        document = documents.create({"k": SECRET}, id=USER, ttl=600)
        tokens.append(document.token)
        documents.read(document.token)
        documents.devices(USER)
        documents.end(document.token)

    for call in (
        lambda: rs.get(APP, token),
        lambda: rs.set(APP, token, {"k": SECRET}),
        lambda: rs.set(APP, token, {"k": SECRET * 100_000}),
        lambda: rs.set(APP, token, {"k": [SECRET]}),  # type: ignore[dict-item]
        lambda: rs.get(token, token),
        lambda: tokens.append((rs.rotate(APP, token) or created)["token"]),
        lambda: rs.soid(APP, USER),
        lambda: rs.soapp(APP),
        lambda: rs.activity(APP),
        visit,
        others,
        rs.wipe,
        lambda: repair(rs),
        lambda: rs.kill(APP, token),
        lambda: rs.killsoid(APP, USER),
        lambda: rs.killall(APP),
        rs.ping,
    ):
        made(call)
    return tokens


def shown(records: list[logging.LogRecord]) -> str:
    """All that a handler could write of them."""
    formatter = logging.Formatter()
    return "\n".join(f"{formatter.format(record)} {vars(record)}" for record in records)


def test_no_record_shows_a_token_a_user_data_or_a_password(
    make_client: MakeClient, records: list[logging.LogRecord], tmp_path: Path
) -> None:
    """Whatever happens: servers that are full, that are gone, and one that takes no such password."""
    (tmp_path / "passwords").write_text("bob:another-password\n")
    secrets = [USER, IP, SECRET]
    with ExitStack() as stack:
        servers = [stack.enter_context(Memcached("-m", "2", "-M")) for _ in range(2)]
        locked = stack.enter_context(Memcached("-Y", str(tmp_path / "passwords")))
        refused = make_client(locked.address, username="bob", password=SECRET)
        secrets += drive(refused)
        rs = make_client([server.address for server in servers])
        secrets += drive(rs)
        for number in range(300):
            with suppress(StoreFull):
                rs.create(APP, f"{USER}{number}", IP, d={"k": SECRET * 1000})
        for server in servers:
            secrets += drive(rs)
            server.kill()
        secrets += drive(rs)
    assert {"StoreFull", "StoreUnavailable"} <= {fields(record).get("error") for record in records}
    text = shown(records)
    assert "did not accept the user name and password" in text
    assert not [secret for secret in secrets if secret in text]


SILENT = """
import sys
from memsessions import SessionsClient, StoreUnavailable
rs = SessionsClient(["127.0.0.1:9", "127.0.0.1:10"], wipe=0, timeout=0.5)
try:
    rs.create("forum", "user", "192.0.2.1")
except StoreUnavailable:
    pass
"""


def test_it_is_silent_by_default() -> None:
    """Also where a warning is logged; an application that sets up logging sees it."""
    ran = []
    for setup in ("", "import logging; logging.basicConfig(level='WARNING')\n"):
        command = [sys.executable, "-c", setup + SILENT]
        ran.append(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True))
    silent, told = ran
    assert (silent.stdout, silent.stderr) == ("", "")
    assert told.stderr.count("WARNING:memsessions.breaker:") == 2


def test_fields_can_be_written_as_json(records: list[logging.LogRecord], make_client: MakeClient) -> None:
    """As formatters for log collectors do."""
    rs = make_client("127.0.0.1:9", timeout=0.5)
    with pytest.raises(StoreUnavailable):
        rs.ping()
    (record,) = records
    assert json.loads(json.dumps(fields(record)))["operation"] == "ping"
