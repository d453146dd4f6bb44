"""Export and import: a server can be replaced, and nobody is logged out or notices anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.fernet import Fernet

from memsessions import InvalidValue, SessionsClient, SessionTooLarge, StoreFull, ValidationError, transfer
from memsessions.transfer import Exported, check_importable, export_sessions, import_sessions
from memsessions.web import SessionStorage

from .conftest import InMemory, MakeClient, OnMemcached, Where, every_where
from .support.memcached import Memcached
from .support.sessions import between_ticks, contents

APP = "forum"
USER = "user1234"
IP = "192.0.2.1"


class Clock:
    """The time of day."""

    late_s = 0

    def now(self) -> int:
        return 1_800_000_000 + self.late_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(transfer, "_now", clock.now)
    return clock


@pytest.fixture
def old(client: SessionsClient) -> SessionsClient:
    """The server that is to be replaced."""
    return client


class New:
    """The server that takes its place, of the same kind."""

    def __init__(self, where: Where, rs: SessionsClient) -> None:
        self.where = where
        self.rs = rs


@pytest.fixture
def new(where: Where, request: pytest.FixtureRequest, make_client: MakeClient) -> New:
    other: Where = InMemory() if where.kind == "memory" else OnMemcached(request.getfixturevalue("memcached"))
    return New(other, make_client(other.address, ns=other.ns))


def as_lines(sessions: Any) -> list[Exported]:
    """What was exported, after it was written as JSON lines and read again."""
    return [json.loads(json.dumps(session)) for session in sessions]


def shown(rs: SessionsClient) -> list[Any]:
    return sorted(rs.soapp(APP, 10**8), key=lambda session: (session["id"], session["ip"]))


def assert_alike(moved: Any, before: Any) -> None:
    """That a session is shown as it was.

    The end of a life above 30 days is a date, which a client makes from the server's clock as it knows it:
    that may be a second behind, and the session seem idle for one more.
    """
    if before["ttl"] > 30 * 24 * 3600:
        assert moved["idle"] - before["idle"] in (0, 1)
        moved = {**moved, "idle": before["idle"]}
    assert moved == before


def test_nobody_notices_anything(where: Where, old: SessionsClient, new: New) -> None:
    """Tokens, data, counters, idle time, time to live and lists are what they were."""

    def act() -> None:
        old.killall(APP)
        new.rs.killall(APP)
        tokens = {
            "rolling": old.create(APP, USER, IP, ttl=3600, d={"n": 0.1, "é": "\u2028", "t": True})["token"],
            "plain": old.create(APP, "Ünal", "2001:db8::1", ttl=10**8)["token"],
            "fixed": old.create(APP, USER, "192.0.2.2", ttl=600, no_resave=True)["token"],
            "moved": old.create(APP, "guest", IP)["token"],
        }
        moved = old.rotate(APP, tokens["moved"])
        assert moved is not None
        tokens["moved"] = moved["token"]
        for _ in range(11):
            old.get(APP, tokens["rolling"])
            old.get(APP, tokens["fixed"])
        old.set(APP, tokens["rolling"], {"more": -5})
        where.advance(120)
        old.get(APP, tokens["plain"])
        where.advance(7)

        out = as_lines(export_sessions(old, APP))
        assert import_sessions(new.rs, APP, out) == {"imported": 4, "there": 0, "ended": 0}
        for moved_one, before in zip(shown(new.rs), shown(old), strict=True):
            assert_alike(moved_one, before)
        assert new.rs.activity(APP, 60) == old.activity(APP, 60) == {"activity": 1}
        for token in tokens.values():
            assert_alike(new.rs.get(APP, token), old.get(APP, token))
        assert as_lines(export_sessions(new.rs, APP)) != out  # they were read
        assert new.rs.soid(APP, USER) == old.soid(APP, USER)
        assert new.rs.killsoid(APP, USER) == {"kill": 2}
        assert new.rs.get(APP, tokens["rolling"]) is None

    between_ticks(where, act)


def test_what_was_imported_is_exported_as_it_was(where: Where, old: SessionsClient, new: New) -> None:
    def act() -> None:
        old.killall(APP)
        new.rs.killall(APP)
        for n in range(300):
            old.create(
                APP, f"user{n % 50}", IP, ttl=1000 + n, no_resave=n % 3 == 0, d={"n": n} if n % 2 else None
            )
        where.advance(33)

        def exported(rs: SessionsClient) -> list[dict[str, Any]]:
            lines = sorted(as_lines(export_sessions(rs, APP)), key=lambda line: line["session"])
            return [{**line, "server": None} for line in lines]

        seen: list[int] = []
        assert import_sessions(new.rs, APP, export_sessions(old, APP), seen.append)["imported"] == 300
        assert exported(new.rs) == exported(old)
        assert seen == [128, 256, 300]

    between_ticks(where, act)


def test_exporting_is_no_access_and_shows_no_token(where: Where, old: SessionsClient) -> None:
    def act() -> None:
        old.killall(APP)
        token = old.create(APP, USER, IP, d={"a": 1})["token"]
        where.advance(50)
        before = contents(where)
        (line,) = export_sessions(old, APP)
        assert contents(where) == before
        assert token not in json.dumps(line)
        session = old.get(APP, token)
        assert session is not None
        assert (session["r"], session["idle"]) == (2, 50)

    between_ticks(where, act)


def test_a_session_ends_when_it_would_have_ended(
    where: Where, old: SessionsClient, new: New, clock: Clock
) -> None:
    """Not later because it was on its way: both where use postpones the end, and where it is fixed."""

    def act() -> None:
        old.killall(APP)
        new.rs.killall(APP)
        clock.late_s = 0
        rolling = old.create(APP, USER, IP, ttl=100)["token"]
        fixed = old.create(APP, USER, IP, ttl=200, no_resave=True)["token"]
        short = old.create(APP, USER, IP, ttl=60)["token"]
        shortest = old.create(APP, USER, IP, ttl=50, no_resave=True)["token"]
        where.advance(30)
        out = as_lines(export_sessions(old, APP))
        clock.late_s = 40
        assert import_sessions(new.rs, APP, out) == {"imported": 2, "there": 0, "ended": 2}
        assert [new.rs.get(APP, token) for token in (short, shortest)] == [None, None]
        assert {session["idle"] for session in new.rs.soid(APP, USER)} == {70}
        assert [session["ttl"] for session in new.rs.soid(APP, USER) if "no_resave" in session] == [130]
        new.where.advance(35)
        assert new.rs.get(APP, rolling) is None
        assert new.rs.get(APP, fixed) is not None
        new.where.advance(100)
        assert new.rs.get(APP, fixed) is None

    between_ticks(where, act)


def test_importing_again_changes_nothing(old: SessionsClient, new: New) -> None:
    """So what was interrupted is done once more; what was done here meanwhile stays."""
    tokens = [old.create(APP, USER, IP, d={"n": n})["token"] for n in range(5)]
    out = as_lines(export_sessions(old, APP))
    import_sessions(new.rs, APP, out[:3])
    here = [token for token in tokens if new.rs.get(APP, token)]
    new.rs.set(APP, here[0], {"n": "changed"})
    assert import_sessions(new.rs, APP, [*out, *out]) == {"imported": 2, "there": 8, "ended": 0}
    session = new.rs.get(APP, here[0])
    assert session is not None
    assert session["d"] == {"n": "changed"}
    assert len(new.rs.soid(APP, USER)) == 5


def test_an_app_that_was_imported_is_wiped(old: SessionsClient, new: New) -> None:
    """It is among the apps that wipes go through, and its entries are like all others."""
    tokens = [old.create(APP, USER, IP)["token"] for _ in range(5)]
    import_sessions(new.rs, APP, export_sessions(old, APP))
    for token in tokens:
        new.rs.kill(APP, token)
    assert new.rs.wipe() == {"wiped": 5}
    assert [key for key in contents(new.where) if ":i:" in key] == []


def test_web_sessions_of_any_depth_go_along_encrypted_or_not(old: SessionsClient, new: New) -> None:
    key = Fernet.generate_key()
    cookies = {}
    for sealing in (None, key):
        storage = SessionStorage(old, APP, encryption_key=sealing)
        session = storage.open(None)
        session["cart"] = [{"pears": [1, 2.5, None]}]
        cookies[sealing] = storage.save(session)
    out = as_lines(export_sessions(old, APP))
    assert sum("pears" in json.dumps(line) for line in out) == 1
    import_sessions(new.rs, APP, out)
    for sealing, cookie in cookies.items():
        session = SessionStorage(new.rs, APP, encryption_key=sealing).read(cookie)
        assert dict(session) == {"cart": [{"pears": [1, 2.5, None]}]}


@pytest.mark.parametrize("kind", ["three memory", "three memcached"])
def test_of_several_servers_each_keeps_its_sessions(
    kind: str, request: pytest.FixtureRequest, make_client: MakeClient
) -> None:
    """A token tells its server by name: the one that takes its place has that name, and gets its sessions."""
    request.param = kind
    three = every_where(request)
    names = ["cache-a", "cache-b", "cache-c"]
    rs = make_client(dict(zip(names, three.address, strict=True)), ns=three.ns)
    turned = make_client(
        dict(zip(names, [*three.address[1:], three.address[0]], strict=True)), ns=three.ns + "n"
    )

    def act() -> list[Exported]:
        rs.killall(APP)
        turned.killall(APP)
        tokens = [rs.create(APP, USER, IP, d={"n": n})["token"] for n in range(60)]
        out = as_lines(export_sessions(rs, APP))
        assert {line["server"] for line in out} == set(names)
        assert import_sessions(turned, APP, out)["imported"] == 60
        moved = [turned.get(APP, token) for token in tokens]
        assert None not in moved
        assert moved == [rs.get(APP, token) for token in tokens]
        return out

    out = between_ticks(three, act)
    others = make_client(dict(zip("xyz", three.address, strict=True)), ns=three.ns + "m")
    with pytest.raises(
        InvalidValue, match=r"session 1 comes from the server 'cache-.', and here are x, y, z"
    ):
        import_sessions(others, APP, out)
    assert others.soapp(APP) == []


LINE = {
    "session": "A" * 22,
    "server": "cache-a",
    "id": USER,
    "ip": IP,
    "ttl": 100,
    "no_resave": False,
    "r": 1,
    "w": 1,
    "used": 1_800_000_000,
    "ends": 1_800_000_100,
    "d": {"secret": "in the data"},
}


@pytest.mark.parametrize(
    "change",
    [
        {"session": "A" * 21},
        {"session": "A" * 21 + ":"},
        {"session": "A" * 22 + "\n"},
        {"session": None},
        {"server": 5},
        {"id": ""},
        {"id": "x" * 129},
        {"ip": ""},
        {"ttl": 9},
        {"ttl": 10.0},
        {"no_resave": 1},
        {"r": -1},
        {"r": True},
        {"w": 2**63},
        {"used": "1800000000"},
        {"ends": None},
        {"d": []},
        {"d": "in the data"},
        {"session": "A" * 21 + "B"},
    ],
)
def test_what_no_export_has_is_refused_before_the_server_is_asked(
    change: dict[str, Any], make_client: MakeClient
) -> None:
    (key,) = change
    message = f"^session 2: {key} is not what an export has there$"
    nowhere = make_client("127.0.0.1:1")
    lines = [LINE, {**LINE, **change}]
    for call in (
        lambda: import_sessions(nowhere, APP, lines),
        lambda: check_importable(nowhere, lines),
    ):
        with pytest.raises(InvalidValue, match=message) as caught:
            call()
        assert "in the data" not in str(caught.value)


@pytest.mark.parametrize(
    "line", [{}, [], None, {**LINE, "more": 1}, {key: LINE[key] for key in LINE if key != "r"}]
)
def test_a_line_has_all_keys_and_no_other(line: Any, make_client: MakeClient) -> None:
    with pytest.raises(InvalidValue, match="session 1 must be an object of exactly session, server, id"):
        import_sessions(make_client("127.0.0.1:1"), APP, [line])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"used": 2**62, "ends": 2**62}, "session 2: used is in the future"),
        ({"ends": 1_900_000_000, "no_resave": True}, "session 2: ends must be within its ttl after used"),
        ({"ends": 1_700_000_000}, "session 2: ends must be within its ttl after used"),
        ({"d": {"large": "x" * 1_100_000}}, r"session 2: its \d+ bytes do not fit into an item of 127"),
    ],
)
def test_times_and_sizes_are_checked_before_the_server_is_asked(
    change: dict[str, Any], message: str, make_client: MakeClient
) -> None:
    nowhere = make_client("127.0.0.1:1")
    lines = [LINE, {**LINE, **change}]
    for call in (lambda: import_sessions(nowhere, APP, lines), lambda: check_importable(nowhere, lines)):
        with pytest.raises((InvalidValue, SessionTooLarge), match=message):
            call()


def test_an_import_can_be_stopped_between_batches(old: SessionsClient, new: New) -> None:
    """What it has done is whole, and the rest is done by repeating it."""
    for n in range(300):
        old.create(APP, f"user{n}", IP)
    out = as_lines(export_sessions(old, APP))
    asked = iter([False, True])
    done = import_sessions(new.rs, APP, out, stop=lambda: next(asked))
    assert done == {"imported": 128, "there": 0, "ended": 0}
    assert len(new.rs.soapp(APP)) == 128
    assert import_sessions(new.rs, APP, out) == {"imported": 172, "there": 128, "ended": 0}


def test_what_can_be_imported_is_counted_without_a_server(make_client: MakeClient) -> None:
    nowhere = make_client("127.0.0.1:1")
    assert check_importable(nowhere, iter([LINE, LINE])) == 2
    assert check_importable(nowhere, []) == 0


@pytest.mark.parametrize("app", ["", "a", "a:b"])
def test_an_app_has_to_have_a_name(app: str, client: SessionsClient) -> None:
    with pytest.raises(ValidationError):
        export_sessions(client, app)
    with pytest.raises(ValidationError):
        import_sessions(client, app, [])


def test_an_app_without_sessions_has_nothing_to_export(client: SessionsClient) -> None:
    assert list(export_sessions(client, APP)) == []
    assert import_sessions(client, APP, []) == {"imported": 0, "there": 0, "ended": 0}


def test_a_server_that_is_full_says_so_and_keeps_what_it_took(
    old: SessionsClient, make_client: MakeClient
) -> None:
    for n in range(20):
        for _ in range(10):
            old.create(APP, f"user{n}", IP, d={"large": "x" * 20_000})
    with Memcached("-m", "2", "-M", "-t", "1") as full:
        rs = make_client(full.address)
        with pytest.raises(StoreFull):
            import_sessions(rs, APP, export_sessions(old, APP))
        kept = rs.soapp(APP)
        assert all(session["d"] == {"large": "x" * 20_000} for session in kept)


def test_a_server_of_small_items_says_so(on_memcached: OnMemcached, make_client: MakeClient) -> None:
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    rs.create(APP, USER, IP, d={"large": "x" * 600_000})
    fails = pytest.raises(SessionTooLarge, match=r"^session 1: its \d+ bytes do not fit into an item of 127")
    with Memcached("-I", "512k", "-t", "1") as small, fails:
        import_sessions(make_client(small.address), APP, export_sessions(rs, APP))


def test_an_import_that_takes_long_lists_again(
    old: SessionsClient, new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a wipe may have removed the entries of sessions that were not there yet."""
    token = old.create(APP, USER, IP)["token"]
    monkeypatch.setattr(transfer, "LONG_S", 0)
    import_sessions(new.rs, APP, export_sessions(old, APP))
    assert [session["id"] for session in new.rs.soid(APP, USER)] == [USER]
    assert sum(len(held) for key, held in contents(new.where).items() if ":i:" in key) == 2 * 49
    assert new.rs.get(APP, token) is not None
