"""Several servers as one: where sessions go, what an outage takes along, and how servers come and go."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pymemcache import HashClient

from memsessions import (
    LogoutIncomplete,
    NewSession,
    Server,
    SessionsClient,
    StoreFull,
    StoreUnavailable,
    UnsupportedServer,
    batches,
)
from memsessions.nodes import Node
from memsessions.tokens import TAG

from .conftest import MakeClient
from .support.fakes import FakeServer, hello
from .support.memcached import Memcached, free_port
from .support.proxy import Proxy

APP = "forum"
IP = "192.0.2.1"
NAMES = ["cache-a", "cache-b", "cache-c"]


class Fleet:
    """Three memcacheds of a test's own, by name, and what has to be known to look behind their backs."""

    def __init__(self, servers: list[Memcached]) -> None:
        self.servers = dict(zip(NAMES, servers, strict=True))

    @property
    def addresses(self) -> dict[str, str]:
        return {name: server.address for name, server in self.servers.items()}

    def __getitem__(self, name: str) -> Memcached:
        return self.servers[name]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet([stack.enter_context(Memcached("-m", "64", "-t", "1")) for _ in NAMES])


def home(rs: SessionsClient, token: str) -> str:
    """The name of the server that a token tells."""
    (name,) = [node.name for node in rs._nodes if node.tag == token[TAG]]
    return name


def one_on_each(rs: SessionsClient, user: str = "user") -> dict[str, str]:
    """A token on each server that takes new sessions."""
    found: dict[str, str] = {}
    wanted = {node.name for node in rs._nodes if node.weight}
    while found.keys() < wanted:
        token = rs.create(APP, user, IP)["token"]
        if found.setdefault(home(rs, token), token) != token:
            rs.kill(APP, token)
    return found


# --------------------------------------------------------------------------------------- placement


def test_a_session_and_all_that_belongs_to_it_are_on_the_server_that_its_token_names(
    fleet: Fleet, make_client: MakeClient
) -> None:
    rs = make_client(fleet.addresses)
    token = rs.create(APP, "user", IP, d={"n": 1})["token"]
    for _ in range(3):
        rs.get(APP, token)
        rs.set(APP, token, {"n": 2})
        new = rs.rotate(APP, token)
        assert new is not None
        token = new["token"]
    kinds = {
        name: {key.split(":")[2] for key in server.keys("rs:forum")} for name, server in fleet.servers.items()
    }
    assert kinds.pop(home(rs, token)) == {"s", "r", "i"}
    assert list(kinds.values()) == [set(), set()]


def test_new_sessions_are_spread_equally_by_default_and_by_weight_if_there_is_one(
    make_client: MakeClient,
) -> None:
    equal = make_client(["memory://equal-a", "memory://equal-b"])
    weighted = make_client({"light": "memory://light", "heavy": Server("memory://heavy", weight=3)})
    for rs, share in ((equal, 0.5), (weighted, 0.75)):
        last = rs._nodes[-1].name
        number = Counter(home(rs, rs.create(APP, "user", IP)["token"]) == last for _ in range(2000))[True]
        # Six standard deviations of 2,000 draws.
        assert abs(number - 2000 * share) < 6 * (2000 * share * (1 - share)) ** 0.5


def test_a_server_that_drains_keeps_its_sessions_and_gets_no_new_ones(
    fleet: Fleet, make_client: MakeClient
) -> None:
    before = one_on_each(make_client(fleet.addresses))
    rs = make_client({**fleet.addresses, "cache-b": f"{fleet['cache-b'].address}?drain"})
    assert {home(rs, rs.create(APP, "user", IP)["token"]) for _ in range(60)} == {"cache-a", "cache-c"}
    token = before["cache-b"]
    assert rs.get(APP, token) is not None
    assert rs.set(APP, token, {"a": 1}) is not None
    rotated = rs.rotate(APP, token)
    assert rotated is not None
    assert rs.get(APP, rotated["token"]) is not None
    assert len(rs.soid(APP, "user")) == 63
    assert rs.killsoid(APP, "user") == {"kill": 63}


def test_adding_a_server_logs_nobody_out_and_it_takes_its_share(
    fleet: Fleet, make_client: MakeClient
) -> None:
    """Whatever its place in the list."""
    addresses = fleet.addresses
    few = make_client({name: addresses[name] for name in ("cache-a", "cache-b")})
    tokens = [few.create(APP, f"user{n}", IP)["token"] for n in range(40)]
    more = make_client({name: addresses[name] for name in ("cache-c", "cache-b", "cache-a")})
    for number, token in enumerate(tokens):
        session = more.get(APP, token)
        assert session is not None
        assert session["id"] == f"user{number}"
    assert {home(more, more.create(APP, "new", IP)["token"]) for _ in range(60)} == set(NAMES)


def test_from_one_server_to_several_nobody_is_logged_out(fleet: Fleet, make_client: MakeClient) -> None:
    """As long as its address, or its name, is written as before."""
    a, b, _ = fleet.addresses.values()
    token = make_client(a).create(APP, "user", IP)["token"]
    assert make_client([b, a]).get(APP, token) is not None
    assert make_client({"b": b, a: a}).get(APP, token) is not None


def test_a_token_of_a_server_that_is_not_listed_is_unknown(fleet: Fleet, make_client: MakeClient) -> None:
    """And asks nobody."""
    gone = one_on_each(make_client(fleet.addresses))["cache-c"]
    with Proxy(("127.0.0.1", fleet["cache-a"].port)) as proxy:
        rs = make_client({"cache-a": proxy.address, "cache-b": fleet["cache-b"].address})
        assert rs.get(APP, gone) is None
        assert rs.set(APP, gone, {"a": 1}) is None
        assert rs.rotate(APP, gone) is None
        assert rs.kill(APP, gone) == {"kill": 0}
        assert proxy.round_trips == 0


def test_a_server_can_move_to_another_address_and_keep_its_name(
    fleet: Fleet, make_client: MakeClient
) -> None:
    tokens = one_on_each(make_client(fleet.addresses))
    with Proxy(("127.0.0.1", fleet["cache-b"].port)) as moved:
        rs = make_client({**fleet.addresses, "cache-b": moved.address})
        assert all(rs.get(APP, token) is not None for token in tokens.values())


def test_a_hash_client_brings_its_servers_and_nothing_else(fleet: Fleet, make_client: MakeClient) -> None:
    """Sessions go where their tokens say, also when one of its servers dies."""
    rs = make_client(client=HashClient([("127.0.0.1", server.port) for server in fleet.servers.values()]))
    tokens = one_on_each(rs)
    dead = fleet["cache-a"]
    dead.kill()
    for name, token in tokens.items():
        if name == dead.address:
            with pytest.raises(StoreUnavailable, match=dead.address):
                rs.get(APP, token)
        else:
            assert rs.get(APP, token) is not None


# ------------------------------------------------------------------------------------------ outages


def test_a_server_that_is_down_takes_only_its_own_sessions_along_and_says_so(
    fleet: Fleet, make_client: MakeClient
) -> None:
    rs = make_client(fleet.addresses)
    tokens = one_on_each(rs)
    fleet["cache-b"].freeze()
    try:
        for name in ("cache-a", "cache-c"):
            assert rs.get(APP, tokens[name]) is not None
        for call in (
            lambda: rs.get(APP, tokens["cache-b"]),
            lambda: rs.kill(APP, tokens["cache-b"]),
            lambda: rs.set(APP, tokens["cache-b"], {"a": 1}),
            lambda: rs.soid(APP, "user"),
            lambda: rs.soapp(APP),
            lambda: rs.activity(APP),
            rs.wipe,
            rs.ping,
        ):
            with pytest.raises(StoreUnavailable) as caught:
                call()
            assert caught.value.server == "cache-b"
    finally:
        fleet["cache-b"].thaw()
    time.sleep(1)
    assert rs.get(APP, tokens["cache-b"]) is not None, "it kept its memory"
    assert len(rs.soid(APP, "user")) == 3


def test_a_server_that_came_back_is_used_again_within_a_second(fleet: Fleet, make_client: MakeClient) -> None:
    rs = make_client(fleet.addresses)
    tokens = one_on_each(rs)
    server = fleet["cache-b"]
    server.kill()
    for _ in range(50):  # the pause has grown to its longest
        with pytest.raises(StoreUnavailable):
            rs.get(APP, tokens["cache-b"])
        time.sleep(0.05)
    server.start()
    began = time.monotonic()
    while True:
        try:
            assert rs.get(APP, tokens["cache-b"]) is None
            break
        except StoreUnavailable:
            time.sleep(0.01)
    assert time.monotonic() - began < 1.1


def test_calls_for_a_server_that_is_down_fail_at_once(fleet: Fleet, make_client: MakeClient) -> None:
    """One at a time waits for its answer; the others do not."""
    rs = make_client(fleet.addresses, timeout=0.6)
    tokens = one_on_each(rs)
    fleet["cache-b"].freeze()
    times: list[float] = []
    over = time.monotonic() + 3

    def ask() -> None:
        while time.monotonic() < over:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                rs.get(APP, tokens["cache-b"])
            times.append(time.monotonic() - began)
            time.sleep(0.01)

    try:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        fleet["cache-b"].thaw()
    waited = sum(each > 0.3 for each in times)
    # The first call of each thread may be under way; after that, one probe in each 0.6 s and its pause.
    assert 2 <= waited <= 4 + 5
    assert len(times) > 20 * waited


@pytest.mark.parametrize("how", ["dead", "frozen"])
def test_new_sessions_go_to_the_servers_that_answer(fleet: Fleet, make_client: MakeClient, how: str) -> None:
    """No `create` fails, not even the first that meets the outage, and none takes longer than it may."""
    rs = make_client(fleet.addresses, timeout=1.0)
    one_on_each(rs)
    server = fleet["cache-b"]
    server.kill() if how == "dead" else server.freeze()
    try:
        for _ in range(60):
            began = time.monotonic()
            token = rs.create(APP, "another", IP)["token"]
            assert time.monotonic() - began < 1.1
            assert home(rs, token) != "cache-b"
            assert rs.get(APP, token) is not None
    finally:
        if how == "frozen":
            server.thaw()


def test_a_session_that_was_made_on_a_server_too_late_is_listed_and_can_be_ended(
    fleet: Fleet, make_client: MakeClient
) -> None:
    """Beside the one that was made elsewhere; nobody has its token, but "log out everywhere" ends it."""
    rs = make_client(fleet.addresses, timeout=0.4)
    one_on_each(rs)
    fleet["cache-b"].freeze()
    try:
        made = 0
        took_s = 0.0
        while took_s < 0.15:  # until cache-b was tried: as the first, for half of the time-out
            began = time.monotonic()
            rs.create(APP, "another", IP)
            took_s = time.monotonic() - began
            made += 1
            assert made < 100
    finally:
        fleet["cache-b"].thaw()
    time.sleep(1)  # until it has done what waited, and is asked again
    assert len(rs.soid(APP, "another")) == made + 1
    assert rs.killsoid(APP, "another") == {"kill": made + 1}
    assert rs.soid(APP, "another") == []


def test_with_all_servers_down_create_raises(make_client: MakeClient) -> None:
    rs = make_client([f"127.0.0.1:{free_port()}" for _ in range(3)])
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            rs.create(APP, "user", IP)


def test_a_server_that_is_full_leaves_new_sessions_to_the_others(make_client: MakeClient) -> None:
    with Memcached("-M", "-m", "2", "-t", "1") as small, Memcached("-m", "512", "-t", "1") as large:
        rs = make_client({"small": small.address, "large": large.address})
        filling = {"filling": "x" * 100_000}
        homes = Counter(home(rs, rs.create(APP, "user", IP, d=filling)["token"]) for _ in range(100))
        assert homes["large"] > 60
        only = make_client({"small": small.address})
        with pytest.raises(StoreFull):
            only.create(APP, "user", IP, d=filling)
        # Nothing of those that it refused is left on it.
        assert len(only.soid(APP, "user")) == homes["small"]


# ------------------------------------------------------------------------------- many calls at once


def made(rs: SessionsClient, number: int, user: str = "user", **more: Any) -> list[str]:
    """Tokens of so many new sessions."""
    new: NewSession = {"id": user, "ip": IP, **more}  # type: ignore[typeddict-item]
    return [created["token"] for created in rs.create_many(APP, [new] * number)]


def test_many_new_sessions_are_spread_as_single_ones(make_client: MakeClient) -> None:
    equal = make_client(["memory://equal-a", "memory://equal-b"])
    weighted = make_client({"light": "memory://light", "heavy": Server("memory://heavy", weight=3)})
    for rs, share in ((equal, 0.5), (weighted, 0.75)):
        last = rs._nodes[-1].name
        number = Counter(home(rs, token) == last for token in made(rs, 2000))[True]
        # Six standard deviations of 2,000 draws.
        assert abs(number - 2000 * share) < 6 * (2000 * share * (1 - share)) ** 0.5


def test_a_server_that_drains_gets_none_of_many_and_answers_for_its_own(
    fleet: Fleet, make_client: MakeClient
) -> None:
    before = one_on_each(make_client(fleet.addresses))
    rs = make_client({**fleet.addresses, "cache-b": f"{fleet['cache-b'].address}?drain"})
    assert {home(rs, token) for token in made(rs, 60)} == {"cache-a", "cache-c"}
    assert None not in rs.get_many(APP, before.values())
    assert rs.kill_many(APP, before.values()) == {"kill": 3}


def test_many_tokens_of_a_server_that_is_not_listed_are_unknown(
    fleet: Fleet, make_client: MakeClient
) -> None:
    """And ask nobody."""
    tokens = one_on_each(make_client(fleet.addresses))
    with Proxy(("127.0.0.1", fleet["cache-a"].port)) as proxy:
        rs = make_client({"cache-a": proxy.address, "cache-b": fleet["cache-b"].address})
        unlisted = [tokens["cache-c"]] * 3
        assert rs.get_many(APP, unlisted) == [None] * 3
        assert rs.kill_many(APP, unlisted) == {"kill": 0}
        assert proxy.round_trips == 0
        some = rs.get_many(APP, [tokens[name] for name in ("cache-c", "cache-b", "cache-a")])
        assert [session is None for session in some] == [True, False, False]
        assert rs.kill_many(APP, tokens.values()) == {"kill": 2}


@pytest.mark.parametrize("how", ["dead", "frozen"])
def test_many_new_sessions_go_to_the_servers_that_answer(
    fleet: Fleet, make_client: MakeClient, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """The first call, which meets the outage, included; and none takes longer than it may."""
    caplog.set_level(logging.INFO, "memsessions")
    rs = make_client(fleet.addresses, timeout=1.0)
    one_on_each(rs)
    server = fleet["cache-b"]
    server.kill() if how == "dead" else server.freeze()
    try:
        for _ in range(5):
            began = time.monotonic()
            tokens = made(rs, 90, "another")
            assert time.monotonic() - began < 1.1
            assert {home(rs, token) for token in tokens} == {"cache-a", "cache-c"}
            assert None not in rs.get_many(APP, tokens)
    finally:
        if how == "frozen":
            server.thaw()
    (said,) = [record for record in caplog.records if "takes no new session" in record.getMessage()]
    assert (said.server, said.operation) == ("cache-b", "create_many")  # type: ignore[attr-defined]


def test_two_servers_that_are_down_leave_all_to_the_third(fleet: Fleet, make_client: MakeClient) -> None:
    rs = make_client(fleet.addresses)
    one_on_each(rs)
    for name in ("cache-a", "cache-c"):
        fleet[name].kill()
    tokens = made(rs, 60, "another")
    assert {home(rs, token) for token in tokens} == {"cache-b"}
    assert len(set(tokens)) == 60


def test_with_all_servers_down_create_many_raises(make_client: MakeClient) -> None:
    rs = make_client([f"127.0.0.1:{free_port()}" for _ in range(3)])
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            made(rs, 20)


def test_many_that_a_full_server_refuses_go_to_the_others_or_nowhere(make_client: MakeClient) -> None:
    """Where none has memory left, those that were stored in time are ended: nobody has their tokens."""
    filling = {"filling": "x" * 1_000}
    with (
        Memcached("-M", "-m", "2", "-t", "1") as small,
        Memcached("-M", "-m", "4", "-t", "1") as medium,
        Memcached("-m", "64", "-t", "1") as large,
    ):
        addresses = {"small": small.address, "medium": medium.address}
        rs = make_client({**addresses, "large": large.address}, timeout=5)
        tokens = made(rs, 6_000, d=filling)
        homes = Counter(home(rs, token) for token in tokens)
        assert homes["large"] > 2_000
        assert len(rs.soid(APP, "user")) == 6_000
        before = [small.stats()["curr_items"], medium.stats()["curr_items"]]
        full = make_client(addresses, timeout=5)
        with pytest.raises(StoreFull):
            made(full, 6_000, "another", d=filling)
        assert full.soid(APP, "another") == []
        assert len(full.soid(APP, "user")) == homes["small"] + homes["medium"]
        # But for the index entries, which the next wipe removes.
        after = [small.stats()["curr_items"], medium.stats()["curr_items"]]
        assert all(int(now) <= int(then) + 1 for now, then in zip(after, before, strict=True))


def test_an_outage_is_no_missing_session(fleet: Fleet, make_client: MakeClient) -> None:
    """Of many, either: those of the servers that answer can be read without the others."""
    rs = make_client(fleet.addresses)
    tokens = one_on_each(rs)
    fleet["cache-b"].kill()
    for _ in range(3):
        with pytest.raises(StoreUnavailable) as caught:
            rs.get_many(APP, tokens.values())
        assert caught.value.server == "cache-b"
    assert None not in rs.get_many(APP, [tokens["cache-a"], tokens["cache-c"]])


def test_ending_many_ends_those_of_the_servers_that_answer_and_names_the_others(
    fleet: Fleet, make_client: MakeClient
) -> None:
    rs = make_client(fleet.addresses)
    tokens = one_on_each(rs)
    fleet["cache-b"].freeze()
    try:
        with pytest.raises(LogoutIncomplete) as caught:
            rs.kill_many(APP, tokens.values())
    finally:
        fleet["cache-b"].thaw()
    assert (caught.value.killed, caught.value.unreached, caught.value.server) == (2, ("cache-b",), "cache-b")
    time.sleep(1)
    # What was on its way to the frozen server may have arrived.
    assert rs.kill_many(APP, tokens.values()) in ({"kill": 1}, {"kill": 0})
    assert rs.get_many(APP, tokens.values()) == [None] * 3


def test_many_are_asked_for_on_all_servers_at_the_same_time(fleet: Fleet, make_client: MakeClient) -> None:
    with ExitStack() as stack:
        proxies = [
            stack.enter_context(Proxy(("127.0.0.1", server.port))) for server in fleet.servers.values()
        ]
        rs = make_client([proxy.address for proxy in proxies], timeout=10)
        tokens = one_on_each(rs).values()
        for proxy in proxies:
            proxy.delay_s = 0.4
        for call in (rs.get_many, rs.kill_many):
            began = time.monotonic()
            call(APP, tokens)
            assert 0.4 <= time.monotonic() - began < 1.0, "one after the other would take 1.2 s"
        began = time.monotonic()
        made(rs, 9)
        assert 0.4 <= time.monotonic() - began < 1.0


def test_what_an_interrupted_call_was_making_elsewhere_is_not_gone_on_with(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other threads end after the batch that they are at."""
    monkeypatch.setattr(batches, "BATCH_MAX", 10)
    rs = make_client(["memory://interrupted-a", "memory://interrupted-b"])
    go_on = threading.Event()
    create_many = Node.create_many
    main = threading.get_ident()

    def interrupted(*arguments: Any) -> dict[int, str]:
        if threading.get_ident() == main:
            raise KeyboardInterrupt
        go_on.wait(10)
        return create_many(*arguments)

    monkeypatch.setattr(Node, "create_many", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(rs, 1_000)
    go_on.set()
    give_up = time.monotonic() + 5
    while len(rs.soid(APP, "user")) < 10 and time.monotonic() < give_up:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(rs.soid(APP, "user")) == 10


# -------------------------------------------------------------------------------------- log-outs


@pytest.mark.parametrize("everything", [False, True], ids=["killsoid", "killall"])
def test_a_log_out_that_could_not_reach_a_server_says_what_it_did_and_can_be_finished(
    fleet: Fleet, make_client: MakeClient, everything: bool
) -> None:
    rs = make_client(fleet.addresses)
    tokens = one_on_each(rs)

    def log_out() -> Any:
        return rs.killall(APP) if everything else rs.killsoid(APP, "user")

    fleet["cache-c"].freeze()
    try:
        with pytest.raises(LogoutIncomplete) as caught:
            log_out()
    finally:
        fleet["cache-c"].thaw()
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.killed, error.unreached, error.server) == (2, ("cache-c",), "cache-c")
    assert "2 sessions were ended" in str(error)
    time.sleep(1)
    # What was on its way to the frozen server may have arrived.
    assert log_out() in ({"kill": 1}, {"kill": 0})
    assert all(rs.get(APP, token) is None for token in tokens.values())


def test_a_log_out_on_one_server_that_fails_says_so_as_well(fleet: Fleet, make_client: MakeClient) -> None:
    rs = make_client(fleet["cache-a"].address)
    rs.create(APP, "user", IP)
    fleet["cache-a"].kill()
    with pytest.raises(LogoutIncomplete) as caught:
        rs.killsoid(APP, "user")
    assert (caught.value.killed, caught.value.unreached) == (0, (fleet["cache-a"].address,))


def test_a_server_that_is_too_old_is_named_as_one_of_several(fleet: Fleet, make_client: MakeClient) -> None:
    with FakeServer(lambda sock: hello(sock, b"1.5.6")) as old:
        rs = make_client({"new": fleet["cache-a"].address, "old": old.address})
        with pytest.raises(UnsupportedServer, match=r"old: it runs memcached 1\.5\.6"):
            rs.ping()
        rs.create(APP, "user", IP)
        with pytest.raises(LogoutIncomplete) as caught:
            rs.killsoid(APP, "user")
    assert (caught.value.killed, caught.value.unreached) == (1, ("old",))


# ------------------------------------------------------------------------------------- side by side


def test_all_servers_are_asked_at_the_same_time(fleet: Fleet, make_client: MakeClient) -> None:
    """The time of a call is that of the slowest server, not of all together."""
    with ExitStack() as stack:
        proxies = [
            stack.enter_context(Proxy(("127.0.0.1", server.port))) for server in fleet.servers.values()
        ]
        rs = make_client([proxy.address for proxy in proxies], timeout=10)
        one_on_each(rs)
        for proxy in proxies:
            proxy.delay_s = 0.2
        for call, trips in (
            (lambda: rs.soid(APP, "user"), 2),
            (lambda: rs.activity(APP), 3),
            (lambda: rs.killsoid(APP, "user"), 3),
            (rs.ping, 1),
        ):
            began = time.monotonic()
            call()
            passed = time.monotonic() - began
            assert trips * 0.2 <= passed < trips * 0.2 + 0.35, "one after the other would be three times that"


def test_users_are_counted_once_wherever_their_sessions_are(fleet: Fleet, make_client: MakeClient) -> None:
    rs = make_client(fleet.addresses)
    for number in range(10):
        one_on_each(rs, f"user{number}")
    assert rs.activity(APP) == {"activity": 10}
    assert len(rs.soapp(APP)) == 30


def test_lists_of_several_servers_are_sorted_as_one(fleet: Fleet, make_client: MakeClient) -> None:
    rs = make_client(fleet.addresses)
    for number in range(12):
        rs.create(APP, "user", f"ip{number}")
        if number % 3 == 2:
            for server in fleet.servers.values():
                server.advance("rs", 20)
    for sessions in (rs.soid(APP, "user"), rs.soapp(APP, 600)):
        idles = [session["idle"] for session in sessions]
        assert len(idles) == 12
        assert idles == sorted(idles)


def test_a_child_asks_all_servers_with_threads_of_its_own(fleet: Fleet, make_client: MakeClient) -> None:
    rs = make_client(fleet.addresses)
    one_on_each(rs)
    assert len(rs.soid(APP, "user")) == 3
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(10)
            os._exit(0 if len(rs.soid(APP, "user")) == 3 and rs.activity(APP) == {"activity": 1} else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(rs.soid(APP, "user")) == 3


def test_a_client_that_is_closed_leaves_no_threads(fleet: Fleet, make_client: MakeClient) -> None:
    before = set(threading.enumerate())
    rs = make_client(fleet.addresses)
    rs.ping()
    rs.close()
    give_up = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def test_the_wipe_goes_on_on_the_servers_that_answer(fleet: Fleet, make_client: MakeClient) -> None:
    rs = make_client(fleet.addresses)
    rs._wipe_s = 600
    tokens = one_on_each(rs)
    for token in tokens.values():
        rs.kill(APP, token)
    for server in fleet.servers.values():
        server.advance("rs", 10)
    fleet["cache-a"].kill()
    (error,) = rs._wipe_in_turn()
    assert error.server == "cache-a"
    for name in ("cache-b", "cache-c"):
        assert not [key for key in fleet[name].keys("rs") if ":i:" in key]
