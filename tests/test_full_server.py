"""Servers that refuse to store: full ones that evict nothing (`-M`), and ones with smaller items (`-I`)."""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from memsessions import NewSession, Session, SessionsClient, SessionTooLarge, StoreFull
from memsessions.store.operations import FOREVER, Add

from .support.damage import counter_key, evict, session_key
from .support.memcached import Memcached
from .support.sessions import ips

APP = "forum"
NS = "full"
USER = "user1234"


def there(session: Session | None) -> Session:
    assert session is not None
    return session


def data(size: int) -> dict[str, Any]:
    return {"k": "x" * size}


class Server(NamedTuple):
    memcached: Memcached
    rs: SessionsClient

    def stored(self, kind: str) -> int:
        """How many items of a kind stand there: `s` sessions, `r` counters."""
        return sum(key.startswith(f"{NS}:{APP}:{kind}:") for key in self.memcached.keys(NS))

    def uptime_s(self) -> int:
        return int(self.memcached.stats()["uptime"])


@pytest.fixture
def server() -> Iterator[Server]:
    with (
        Memcached("-M", "-m", "2", "-t", "1") as memcached,
        SessionsClient(memcached.address, ns=NS, wipe=0, timeout=5) as rs,
    ):
        yield Server(memcached, rs)


def fill_up(rs: SessionsClient, spare: int = 0) -> None:
    """Leave no memory for an item of more than `spare` bytes, about, or of any size."""
    size = 500_000  # memcached stores longer ones in pieces
    while size > spare:
        # So many at once that a packet is neither large nor one of many.
        batch = [
            Add(secrets.token_hex(8).encode(), b"x" * size, FOREVER) for _ in range(min(500, 500_000 // size))
        ]
        try:
            rs._nodes[0].store.run(batch)
        except StoreFull:
            size = size * 9 // 10


#: The last one is stored in pieces, and refused in other words.
SIZES = [1, 300, 3_000, 30_000, 300_000, 900_000]


# ------------------------------------------------------------------------------------------- create


@pytest.mark.parametrize("size", SIZES)
def test_a_session_is_stored_and_listed_or_refused_and_not_there(server: Server, size: int) -> None:
    """From an empty server to a full one, the lists hold what `create` returned, no more and no less."""
    tokens: list[str] = []
    refused = 0
    for number in range(20_000):
        try:
            created = server.rs.create(APP, f"user{number % 3}", f"ip{number}", d=data(size))
            tokens.append(created["token"])
        except StoreFull:
            refused += 1
            if refused == 5:
                break
    assert refused == 5
    assert tokens
    assert server.stored("s") == len(tokens)
    assert len(server.rs.soapp(APP)) == len(tokens)
    listed = [ip for user in range(3) for ip in ips(server.rs.soid(APP, f"user{user}"))]
    assert len(listed) == len(set(listed)) == len(tokens)
    assert all(server.rs.get(APP, token) is not None for token in tokens[:: len(tokens) // 20 + 1])
    killed = sum(server.rs.killsoid(APP, f"user{user}")["kill"] for user in range(3))
    assert killed == len(tokens)
    assert server.stored("s") == 0


def test_a_server_that_is_full_from_the_beginning_refuses_and_keeps_nothing(server: Server) -> None:
    """Not even the app's first session, with all the items that it brings along."""
    fill_up(server.rs)
    with pytest.raises(StoreFull) as caught:
        server.rs.create(APP, USER, "192.0.2.1")
    assert caught.value.server == server.memcached.address
    assert server.stored("s") == server.stored("r") == 0
    assert server.rs.soid(APP, USER) == server.rs.soapp(APP) == []


def by_create(rs: SessionsClient, ip: str) -> list[str]:
    return [rs.create(APP, USER, ip)["token"]]


def by_create_many(rs: SessionsClient, ip: str) -> list[str]:
    return [created["token"] for created in rs.create_many(APP, [{"id": USER, "ip": ip}])]


@pytest.mark.parametrize("created", [by_create, by_create_many])
def test_a_session_is_refused_where_only_its_index_entry_finds_no_memory(
    server: Server, created: Callable[[SessionsClient, str], list[str]]
) -> None:
    """There is room for the session itself, but none for the longer index item that would list it.

    What is stored is listed, and nothing that was refused is stored.
    """
    made = [server.rs.create(APP, USER, f"ip{n}")["token"] for n in range(20)]
    fill_up(server.rs, spare=300)
    for number in range(20, 80):
        try:
            made += created(server.rs, f"ip{number}")
        except StoreFull:
            break
    else:
        raise AssertionError("the index item always finds memory")
    assert server.stored("s") == len(made)
    assert len(server.rs.soid(APP, USER)) == len(server.rs.soapp(APP)) == len(made)
    assert server.rs.killsoid(APP, USER) == {"kill": len(made)}


# ------------------------------------------------------------------------------------- create_many


@pytest.mark.parametrize("size", [1, 300, 3_000])
def test_many_sessions_are_stored_and_listed_or_all_refused_and_not_there(server: Server, size: int) -> None:
    """Wherever in them the memory ends, batches that were stored before included."""
    tokens: list[str] = []
    sessions: list[NewSession] = [
        {"id": f"user{number % 3}", "ip": f"ip{number}", "d": data(size)} for number in range(1_500)
    ]
    with pytest.raises(StoreFull) as caught:  # noqa: PT012  which of the calls it is depends on the size
        for _ in range(20):
            tokens += [created["token"] for created in server.rs.create_many(APP, sessions)]
    assert caught.value.server == server.memcached.address
    assert server.stored("s") == server.stored("r") == len(tokens)
    assert len(server.rs.soapp(APP)) == len(tokens)
    killed = sum(server.rs.killsoid(APP, f"user{user}")["kill"] for user in range(3))
    assert killed == len(tokens)
    some = server.rs.create_many(APP, sessions[:10])
    assert None not in server.rs.get_many(APP, [created["token"] for created in some])


def test_of_a_server_that_is_full_from_the_beginning_many_are_refused(server: Server) -> None:
    fill_up(server.rs)
    with pytest.raises(StoreFull):
        server.rs.create_many(APP, [{"id": USER, "ip": "192.0.2.1"}] * 3)
    assert server.stored("s") == server.stored("r") == 0
    assert server.rs.soid(APP, USER) == server.rs.soapp(APP) == []


# ------------------------------------------------------------------------------------ get, set, kill


@pytest.fixture
def full(server: Server) -> tuple[Server, str]:
    """A server without any memory left, and a session on it."""
    token = server.rs.create(APP, USER, "192.0.2.1", d={"a": 1})["token"]
    fill_up(server.rs)
    return server, token


@pytest.mark.parametrize("size", [300, 30_000, 900_000])
def test_a_set_that_needs_memory_is_refused_and_the_session_stays_as_it_was(
    full: tuple[Server, str], size: int
) -> None:
    server, token = full
    for _ in range(3):
        with pytest.raises(StoreFull):
            server.rs.set(APP, token, {"a": None, **data(size)})
    session = there(server.rs.get(APP, token))
    assert (session["d"], session["r"], session["w"]) == ({"a": 1}, 2, 1)
    assert len(server.rs.soid(APP, USER)) == 1


def test_a_full_server_still_reads_counts_lists_and_ends(full: tuple[Server, str]) -> None:
    server, token = full
    for number in range(2, 120):  # the counter gets wider, which takes no memory
        assert there(server.rs.get(APP, token))["r"] == number
    assert [session["r"] for session in server.rs.soid(APP, USER)] == [119]
    assert server.rs.activity(APP) == {"activity": 1}
    assert [there(session)["r"] for session in server.rs.get_many(APP, [token] * 3)] == [120, 121, 122]
    assert server.rs.kill_many(APP, [token]) == {"kill": 1}
    assert server.rs.get(APP, token) is None
    assert server.rs.wipe() == {"wiped": 1}


def test_a_full_server_can_be_wiped_where_that_takes_no_memory(full: tuple[Server, str]) -> None:
    """The records of living sessions stay whatever is refused."""
    server, token = full
    server.rs.wipe()
    assert there(server.rs.get(APP, token))["d"] == {"a": 1}
    assert len(server.rs.soid(APP, USER)) == 1


def test_a_wipe_that_is_refused_a_shorter_index_item_loses_no_session(server: Server) -> None:
    """Also an item that shrinks is a new one, for which there may be no memory; it is done later then."""
    living = [server.rs.create(APP, USER, f"ip{n}")["token"] for n in range(10)]
    dead = [server.rs.create(APP, USER, "dead")["token"] for _ in range(30)]
    fill_up(server.rs)
    for token in dead:
        assert server.rs.kill(APP, token) == {"kill": 1}
    fill_up(server.rs)
    assert server.rs.wipe()["wiped"] in (0, 30)
    assert len(server.rs.soid(APP, USER)) == len(server.rs.soapp(APP)) == len(living)
    assert all(server.rs.get(APP, token) is not None for token in living)


# ------------------------------------------------------------------------------------------- rotate


@pytest.mark.parametrize("no_resave", [False, True])
@pytest.mark.parametrize("size", [1, 3_000, 900_000])
def test_a_rotate_moves_the_session_or_leaves_it_under_its_old_token(
    server: Server, size: int, no_resave: bool
) -> None:
    """Unchanged in either case, and listed once; no other session comes to harm."""
    other = server.rs.create(APP, "other", "192.0.2.2")["token"]
    options: dict[str, Any] = {"d": data(size), "no_resave": no_resave}
    token = server.rs.create(APP, USER, "192.0.2.1", **options)["token"]
    began = server.uptime_s()
    fill_up(server.rs)
    reads = 1
    for _ in range(5):
        try:
            answer = server.rs.rotate(APP, token)
        except StoreFull:
            pass
        else:
            assert answer is not None
            assert server.rs.get(APP, token) is None
            token = answer["token"]
        reads += 1
        session = there(server.rs.get(APP, token))
        assert (session["d"], session["w"]) == (data(size), 1)
        assert 2 <= session["r"] <= reads  # memcached can want memory to count, and is read uncounted then
        # In whole seconds of the server's clock, which may have ticked just before `began`.
        assert session["ttl"] >= 7200 - (server.uptime_s() - began) - 1
        assert len(server.rs.soid(APP, USER)) == 1
        assert server.stored("s") == 2
    assert server.rs.get(APP, other) is not None
    assert server.rs.killsoid(APP, USER) == {"kill": 1}
    assert server.rs.get(APP, token) is None


def test_a_rotate_on_a_server_whose_index_cannot_grow_changes_nothing(server: Server) -> None:
    """However often it is tried: the session is there, and listed once, and no record is left behind."""
    tokens = [server.rs.create(APP, USER, f"ip{n}", d={"n": n})["token"] for n in range(20)]
    fill_up(server.rs)
    living = set()
    for number, token in enumerate(tokens):
        try:
            answer = server.rs.rotate(APP, token)
        except StoreFull:
            answer = {"token": token}
        assert answer is not None
        living.add(answer["token"])
        assert there(server.rs.get(APP, answer["token"]))["d"] == {"n": number}
    assert len(living) == 20
    assert sorted(ips(server.rs.soid(APP, USER))) == sorted(f"ip{n}" for n in range(20))
    assert server.rs.killall(APP) == {"kill": 20}


# --------------------------------------------------------------------------------- a counter that is lost


def fill_places_like(rs: SessionsClient, key: bytes) -> None:
    """Leave no memory for an item as large as the counter with this key."""
    with contextlib.suppress(StoreFull):
        while True:
            other = secrets.token_hex(len(key)).encode()[: len(key)]
            rs._nodes[0].store.run((Add(other, b"1         ", FOREVER),))


def test_a_session_whose_counter_finds_no_memory_any_more_is_read_uncounted(
    full: tuple[Server, str],
) -> None:
    server, token = full
    key = counter_key(server.rs, token)
    evict(server.rs, key)
    fill_places_like(server.rs, key)
    for _ in range(2):
        session = there(server.rs.get(APP, token))
        assert (session["d"], session["r"], session["w"]) == ({"a": 1}, 1, 1)
    assert server.rs.kill(APP, token) == {"kill": 1}
    assert server.rs.get(APP, token) is None


def test_a_set_is_no_failure_where_only_a_new_counter_finds_no_memory(server: Server) -> None:
    """The write itself is done by then."""
    token, other = (server.rs.create(APP, USER, "192.0.2.1", d={"a": 1})["token"] for _ in range(2))
    fill_up(server.rs)
    key = counter_key(server.rs, token)
    evict(server.rs, key)
    fill_places_like(server.rs, key)
    evict(server.rs, session_key(server.rs, other))  # so that there is room for the session as it is to be
    session = there(server.rs.set(APP, token, {"a": 2}))
    assert (session["d"], session["r"], session["w"]) == ({"a": 2}, 1, 2)
    assert there(server.rs.get(APP, token))["d"] == {"a": 2}


# ------------------------------------------------------------------------------------ a server that evicts


def test_a_rotate_that_an_evicting_server_refuses_leaves_the_session_as_it_was() -> None:
    """What it throws out it has no use for yet, as it is just sending that to slow readers."""
    with (
        Memcached("-m", "16", "-t", "1") as memcached,
        SessionsClient(memcached.address, ns=NS, wipe=0, timeout=5) as rs,
        contextlib.ExitStack() as readers,
    ):
        made = [rs.create(APP, USER, f"ip{n}", d=data(400_000))["token"] for n in range(48)]
        keys = [session_key(rs, token) for token in made]
        *others, last = [key for key in keys if memcached.value(key.decode()) is not None]
        assert last == keys[-1]
        assert len(others) > 8
        for key in others:
            reader = readers.enter_context(memcached.connect())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(b"mg %b v\r\n" % key * 30)  # and reads none of it
            select.select([reader], [], [])
        with pytest.raises(StoreFull):
            rs.rotate(APP, made[-1])
        assert there(rs.get(APP, made[-1]))["d"] == data(400_000)
        assert [session["ip"] for session in rs.soid(APP, USER)].count("ip47") == 1


# -------------------------------------------------------------------------------- small items (-I)


@pytest.fixture
def small() -> Iterator[Server]:
    """A server with items of half a MiB at most, of which the client was not told."""
    with (
        Memcached("-I", "512k", "-t", "1") as memcached,
        SessionsClient(memcached.address, ns=NS, wipe=0, timeout=5) as rs,
    ):
        yield Server(memcached, rs)


@pytest.mark.parametrize("size", [524_289, 700_000, 1_000_000])
def test_a_session_beyond_the_servers_limit_is_too_large_and_not_there(small: Server, size: int) -> None:
    """As one that is beyond the limit the client knows: the same error, a `ValueError` of its family."""
    with pytest.raises(SessionTooLarge) as caught:
        small.rs.create(APP, USER, "192.0.2.1", d=data(size))
    assert isinstance(caught.value, ValueError)
    assert caught.value.name == "invalidValue"
    assert "x" * 50 not in str(caught.value)
    assert small.stored("s") == small.stored("r") == 0
    assert small.rs.soid(APP, USER) == small.rs.soapp(APP) == []
    token = small.rs.create(APP, USER, "192.0.2.1", d=data(500_000))["token"]
    assert there(small.rs.get(APP, token))["d"] == data(500_000)


def test_one_of_many_that_is_beyond_the_servers_limit_is_named_and_none_is_there(small: Server) -> None:
    sessions: list[NewSession] = [{"id": USER, "ip": f"ip{n}", "d": data(100)} for n in range(30)]
    sessions[16]["d"] = data(700_000)
    with pytest.raises(SessionTooLarge, match=r"^session 17: d does not fit into an item of ") as caught:
        small.rs.create_many(APP, sessions)
    assert "x" * 50 not in str(caught.value)
    assert small.stored("s") == small.stored("r") == 0
    assert small.rs.soid(APP, USER) == small.rs.soapp(APP) == []


@pytest.mark.parametrize("size", [524_289, 700_000, 1_000_000])
def test_a_write_beyond_the_servers_limit_is_too_large_and_the_session_as_it_was(
    small: Server, size: int
) -> None:
    token = small.rs.create(APP, USER, "192.0.2.1", d={"a": 1})["token"]
    with pytest.raises(SessionTooLarge):
        small.rs.set(APP, token, {"a": None, **data(size)})
    session = there(small.rs.get(APP, token))
    assert (session["d"], session["r"], session["w"]) == ({"a": 1}, 2, 1)
    session = there(small.rs.set(APP, token, {"b": 2}))
    assert (session["d"], session["w"]) == ({"a": 1, "b": 2}, 2)


def test_a_client_that_knows_the_limit_refuses_before_any_io(small: Server) -> None:
    """It then says how much fits, and which key is the largest."""
    with SessionsClient(small.memcached.address, ns=NS, wipe=0, timeout=30, max_item_bytes=512 * 1024) as rs:
        token = rs.create(APP, USER, "192.0.2.1", d={"a": 1})["token"]
        small.memcached.freeze()
        try:
            with pytest.raises(SessionTooLarge, match=r"at most \d+ fit; d\.k alone takes"):
                rs.set(APP, token, {"a": None, **data(530_000)})
        finally:
            small.memcached.thaw()
        assert there(rs.get(APP, token))["d"] == {"a": 1}
