"""The checks of `doctor` at their boundaries, and the facts that they judge by."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import pytest

from memsessions import SessionsClient, StoreUnavailable, checkup
from memsessions.checkup import Finding, access, contents, facts, server
from memsessions.checkup.facts import Contents, Facts
from memsessions.percentiles import percentile
from memsessions.store.operations import Protection
from memsessions.types import Repaired
from memsessions.wording import many, rounded, size

from .conftest import MakeClient, OnMemcached, Where
from .support import damage
from .support.memcached import Memcached
from .support.proxy import Proxy

MIB = 1024 * 1024
OPEN = Protection(encrypted=False, verified=False, authenticated=False)
TLS = Protection(encrypted=True, verified=True, authenticated=True)

# A memcached as the README starts it, an hour old.
STATS = {
    "version": "1.6.18",
    "uptime": "3600",
    "time": "1700000000",
    "bytes": "0",
    "limit_maxbytes": str(64 * MIB),
    "curr_items": "0",
    "evictions": "0",
    "store_no_memory": "0",
    "store_too_large": "0",
    "max_connections": "1024",
    "curr_connections": "10",
    "rejected_connections": "0",
    "listen_disabled_num": "0",
    "cmd_flush": "0",
}
SETTINGS = {
    "evictions": "off",
    "cas_enabled": "yes",
    "item_size_max": str(MIB),
    "flush_enabled": "no",
    "dump_enabled": "no",
    "lru_crawler": "yes",
    "shutdown_command": "no",
    "auth_enabled_ascii": "no",
    "ssl_enabled": "no",
    "ssl_verify_mode": "0",
    "inter": "127.0.0.1",
}
NOTHING = Contents({}, compared=True)


def holding(sessions: int = 0, *, dead: int = 0, unlisted: int = 0, **more: Any) -> Contents:
    report: Repaired = {"listed": sessions, "dead": dead, "unlisted": unlisted, "relisted": 0}
    return Contents({"forum": report}, **{"compared": True, **more})


def found(
    stats: Mapping[str, object] | None = None, settings: Mapping[str, object] | None = None, **more: Any
) -> Facts:
    """Facts without anything to complain of, but for these."""

    def texts(changes: Mapping[str, object] | None) -> dict[str, str]:
        return {name: str(value) for name, value in (changes or {}).items()}

    given = {
        "server": "cache",
        "address": ("127.0.0.1", 11211),
        "hosts": ("127.0.0.1",),
        "protection": OPEN,
        "item_bytes": MIB,
        "timeout_s": 1.0,
        "asked_at": 1_700_000_000.4,
        "pings_s": (0.0001,) * 50,
        "contents": NOTHING,
        **more,
    }
    return Facts(stats={**STATS, **texts(stats)}, settings={**SETTINGS, **texts(settings)}, **given)


def status(finding: Finding | None) -> str:
    assert finding is not None
    assert (finding.status == "ok") == (finding.mend == ""), "what is wrong can be mended"
    assert finding.says.endswith(".")
    return finding.status


def test_a_server_as_the_readme_starts_it_is_all_well() -> None:
    judged = checkup.judge(found())
    assert [finding.check for finding in judged] == list(checkup.CHECKS)
    assert {status(finding) for finding in judged} == {"ok"}


def test_each_check_calls_itself_by_its_name() -> None:
    for name, check in checkup.CHECKS.items():
        finding = check(found())
        assert finding is not None
        assert finding.check == name


def test_checks_that_are_to_be_ignored_are_left_out() -> None:
    assert [finding.check for finding in checkup.judge(found(), ["uptime", "cas"])] == [
        name for name in checkup.CHECKS if name not in ("uptime", "cas")
    ]


def test_a_server_that_says_nothing_of_itself_is_judged_all_the_same() -> None:
    """A store of another version may leave out any of it."""
    for name in [*STATS, *SETTINGS]:
        bare = found()
        left = Facts(
            **{
                **vars(bare),
                "stats": {key: text for key, text in STATS.items() if key != name},
                "settings": {key: text for key, text in SETTINGS.items() if key != name},
            }
        )
        for finding in checkup.judge(left):
            status(finding)
    for finding in checkup.judge(found(dict.fromkeys(STATS, "?"), dict.fromkeys(SETTINGS, "?"))):
        status(finding)


# ------------------------------------------------------------------------------------------- memory


def pages(taken: int, *classes: tuple[int, int, int]) -> dict[str, str]:
    """`stats slabs`: what all pages take, and of each class the length, the used and the free chunks."""
    slabs = {"active_slabs": str(len(classes)), "total_malloced": str(taken)}
    for at, (length, used, free) in enumerate(classes, 1):
        slabs[f"{at}:chunk_size"] = str(length)
        slabs[f"{at}:used_chunks"] = str(used)
        slabs[f"{at}:free_chunks"] = str(free)
    return slabs


def test_free_is_what_is_in_no_page_or_unused_among_sizes_that_are_in_use() -> None:
    slabs = pages(40 * MIB, (100, 500, 500), (200, 499, 501), (300, 0, 1000))
    assert server.room(found(slabs=slabs)) == 24 * MIB + 100 * 500
    assert server.room(found({"bytes": 10 * MIB})) == 54 * MIB, "of a store without pages"
    assert server.room(found(slabs=pages(70 * MIB))) == 0


@pytest.mark.parametrize(
    ("taken", "expected"),
    [(0, "ok"), (48, "ok"), (49, "warning"), (57, "warning"), (58, "problem"), (64, "problem")],
)
def test_memory_is_little_below_a_quarter_and_too_little_below_a_tenth(taken: int, expected: str) -> None:
    assert status(server.memory(found(slabs=pages(taken * MIB)))) == expected
    assert status(server.memory(found(slabs=pages(taken * MIB), contents=holding(1000)))) == expected


def test_the_arithmetic_of_memory_is_shown() -> None:
    slabs = pages(12 * MIB, (96, 12_000, 0), (314, 12_000, 0))
    finding = server.memory(found({"curr_items": 24_512}, slabs=slabs, contents=holding(12_000)))
    assert status(finding) == "ok"
    assert finding is not None
    assert finding.says == (
        "12,000 sessions take 4.7 MiB, 410 bytes each with their index; 52 MiB of 64 MiB are free"
        " (7.3 MiB are kept for items of other sizes): at this size it is full at about 100,000 sessions."
    )


def test_what_to_do_about_memory_comes_with_its_arithmetic() -> None:
    slabs = pages(60 * MIB, (96, 100_000, 0), (314, 100_000, 0))
    finding = server.memory(found(slabs=slabs, contents=holding(100_000)))
    assert finding is not None
    assert finding.mend == "Give it more memory: -m 128. That holds about 220,000 sessions."


@pytest.mark.parametrize(
    ("limit", "free", "sessions", "held"),
    [
        (64, 49_732_840, 12_000, 98_298),
        (256, 201_981_896, 100_000, 440_050),
        (1024, 537 * MIB, 1_000_000, 2_613_478),
    ],
)
def test_the_arithmetic_is_that_of_servers_that_were_filled(
    limit: int, free: int, sessions: int, held: int
) -> None:
    """`held` is what a memcached 1.6.18 of so many MiB held, `free` its room when it held `sessions`."""
    slabs = pages(limit * MIB - free, (367, sessions, 0))
    stats = {"limit_maxbytes": limit * MIB, "curr_items": 2 * sessions}
    finding = server.memory(found(stats, slabs=slabs, contents=holding(sessions)))
    assert finding is not None
    match = re.search(r"full at about ([0-9,]+) sessions", finding.says)
    assert match is not None
    assert int(match[1].replace(",", "")) == pytest.approx(held, rel=0.06)


def test_no_average_is_told_where_other_data_is_counted_with_sessions() -> None:
    slabs = pages(12 * MIB, (96, 100_000, 0))
    finding = server.memory(found({"curr_items": 100_000}, slabs=slabs, contents=holding(10)))
    assert finding is not None
    assert finding.says == "10 sessions and other data take 9.2 MiB; 52 MiB of 64 MiB are free."


@pytest.mark.parametrize(
    ("stats", "settings", "taken", "expected", "says"),
    [
        ({}, {"evictions": "off"}, 0, "ok", "refuses new sessions"),
        ({}, {"evictions": "on"}, 0, "warning", "logs users out in silence"),
        ({"evictions": 1}, {"evictions": "on"}, 0, "warning", "threw out 1 item since"),
        ({"evictions": 12_345}, {"evictions": "on"}, 60, "problem", "threw out 12,345 items since"),
        ({"store_no_memory": 2}, {"evictions": "off"}, 0, "warning", "refused 2 writes since"),
        ({"store_no_memory": 2}, {"evictions": "off"}, 60, "problem", "could not log in"),
    ],
)
def test_evictions_are_worse_while_memory_is_short(
    stats: dict[str, int], settings: dict[str, str], taken: int, expected: str, says: str
) -> None:
    finding = server.evictions(found(stats, settings, slabs=pages(taken * MIB)))
    assert status(finding) == expected
    assert finding is not None
    assert says in finding.says


@pytest.mark.parametrize(
    ("items", "sessions", "expected"),
    [
        (0, 0, "ok"),
        (512 + 1000, 0, "ok"),
        (512 + 1001, 0, "warning"),
        (512 + 20_000 + 5_000, 10_000, "ok"),
        (512 + 20_000 + 5_200, 10_000, "warning"),
    ],
)
def test_other_data_is_pointed_out_from_a_fifth_of_the_items_on(
    items: int, sessions: int, expected: str
) -> None:
    assert status(server.sharing(found({"curr_items": items}, contents=holding(sessions)))) == expected


@pytest.mark.parametrize(
    ("most", "wanted", "expected"),
    [
        (MIB, MIB, "ok"),
        (2 * MIB, MIB, "ok"),
        (MIB, MIB + 1, "warning"),
        (110_000, 110_000, "ok"),
        (109_999, 109_999, "problem"),
    ],
)
def test_item_sizes_have_to_do_for_clients_and_for_indexes(most: int, wanted: int, expected: str) -> None:
    assert status(server.item_size(found({}, {"item_size_max": most}, item_bytes=wanted))) == expected


def test_what_would_mend_an_item_size_is_told_in_what_memcached_takes() -> None:
    finding = server.item_size(found({}, {"item_size_max": 512 * 1024}, item_bytes=MIB + 1))
    assert finding is not None
    assert finding.mend == "Start it with -I 2m, or set MEMSESSIONS_MAX_ITEM_BYTES=524288."
    finding = server.item_size(found({"store_too_large": 2}, item_bytes=MIB // 2))
    assert status(finding) == "ok"
    assert finding is not None
    assert finding.says == (
        "Items may have 1 MiB; clients here allow 512 KiB. 2 larger ones came, and had to be refused."
    )


# ------------------------------------------------------------------------------- connections, times


@pytest.mark.parametrize(
    ("there", "refused", "expected"),
    [(799, 0, "ok"), (800, 0, "warning"), (949, 0, "warning"), (950, 0, "problem"), (1, 1, "warning")],
)
def test_connections_are_to_stay_below_their_limit(there: int, refused: int, expected: str) -> None:
    for name in ("rejected_connections", "listen_disabled_num"):
        stats = {"max_connections": 1000, "curr_connections": there, name: refused}
        assert status(server.connections(found(stats))) == expected


@pytest.mark.parametrize(
    ("off_s", "expected", "says"),
    [
        (-2, "ok", "agree"),
        (2, "ok", "agree"),
        (3, "ok", "3 s ahead of"),
        (-60, "ok", "1 min behind"),
        (61, "warning", "only for lives above 30 days"),
        (-86_400, "warning", "1 d behind"),
    ],
)
def test_a_clock_that_is_far_off_is_pointed_out(off_s: int, expected: str, says: str) -> None:
    finding = server.clock(found({"time": 1_700_000_000 + off_s}))
    assert status(finding) == expected
    assert finding is not None
    assert says in finding.says


@pytest.mark.parametrize(
    ("p50_s", "p95_s", "timeout_s", "expected"),
    [
        (0.0099, 0.0499, 1.0, "ok"),
        (0.010, 0.010, 1.0, "warning"),
        (0.001, 0.050, 1.0, "warning"),
        (0.001, 0.249, 1.0, "warning"),
        (0.001, 0.250, 1.0, "problem"),
        (0.001, 0.030, 0.1, "problem"),
    ],
)
def test_latency_is_judged_by_its_middle_and_its_slow_end(
    p50_s: float, p95_s: float, timeout_s: float, expected: str
) -> None:
    pings = (p50_s,) * 47 + (p95_s,) * 3
    assert status(server.latency(found(pings_s=pings, timeout_s=timeout_s))) == expected
    assert status(server.latency(found(pings_s=(p95_s,), timeout_s=timeout_s))) != "ok" or expected == "ok"


def test_one_slow_ping_of_twenty_is_beyond_the_95_percent_that_are_told() -> None:
    pings = (0.0001,) * 19 + (0.5,)
    finding = server.latency(found(pings_s=pings))
    assert finding is not None
    assert (finding.status, finding.says) == (
        "ok",
        "A ping takes 0.1 ms; of 20, 95 % took 0.1 ms at most.",
    )


def test_a_percentile_is_the_least_time_that_such_a_part_is_within() -> None:
    times = [float(n) for n in range(1, 101)]
    assert [percentile(times, part) for part in (0.0, 0.5, 0.95, 0.99, 1.0)] == [1, 50, 95, 99, 100]
    assert [percentile([7.0], part) for part in (0.5, 0.99)] == [7, 7]


def test_a_server_that_was_started_just_now_is_said_to_be() -> None:
    young, older = server.uptime(found({"uptime": 3599})), server.uptime(found({"uptime": 3600}))
    assert (status(young), status(older)) == ("ok", "ok")
    assert young is not None
    assert young.says.startswith("It has been up for 59 min 59 s. What it held before is gone")
    assert older is not None
    assert older.says == "It has been up for 1 h."


def test_a_server_without_compare_and_swap_is_a_problem() -> None:
    assert status(server.cas(found({}, {"cas_enabled": "no"}))) == "problem"


# ------------------------------------------------------------------------------------------- access

FAR = {"address": ("10.0.0.5", 11211), "hosts": ("10.0.0.5",)}
PUBLIC = {"address": ("cache.example", 11211), "hosts": ("10.0.0.5", "8.8.8.8")}
PASSWORD = {"auth_enabled_ascii": "/etc/accounts"}
BOTH = {**PASSWORD, "ssl_enabled": "yes"}


@pytest.mark.parametrize(
    ("settings", "more", "expected", "says"),
    [
        ({}, {}, "ok", "127.0.0.1 is loopback, and it listens nowhere else"),
        ({"inter": "127.0.0.1,::1,localhost:11211,[::1]:11211"}, {}, "ok", "nowhere else"),
        ({"inter": "NULL"}, {"address": "/run/memcached.sock", "hosts": ()}, "ok", "socket file"),
        ({"inter": "NULL"}, {}, "warning", "It listens at all addresses of its machine"),
        ({"inter": "0.0.0.0"}, {}, "warning", "asks for no password and does not encrypt"),
        ({"inter": "127.0.0.1,10.0.0.5:11211"}, {}, "warning", "listens at 10.0.0.5, too"),
        ({"inter": "127.0.0.1,8.8.8.8"}, {}, "problem", "listens at 8.8.8.8, too"),
        ({"inter": "notls:[fe80::1%eth0]:11211"}, {}, "warning", "fe80::1"),
        ({}, FAR, "warning", "10.0.0.5 is not loopback"),
        ({}, PUBLIC, "problem", "cache.example (10.0.0.5, 8.8.8.8) is a public address"),
        ({}, {**FAR, "hosts": ()}, "warning", "cannot be looked up"),
        (PASSWORD, FAR, "warning", "does not encrypt: who is in that network can listen in"),
        (BOTH, {**FAR, "protection": TLS}, "ok", "asks for a password, and encrypts"),
        (BOTH, {**PUBLIC, "protection": TLS}, "ok", "encrypts"),
        (
            BOTH,
            {**FAR, "protection": TLS._replace(verified=False)},
            "warning",
            "own certificate is not checked",
        ),
        (
            {"ssl_enabled": "yes"},
            {**FAR, "protection": TLS._replace(authenticated=False)},
            "warning",
            "no pass",
        ),
        (
            {"ssl_enabled": "yes", "ssl_verify_mode": "3"},
            {**FAR, "protection": TLS._replace(authenticated=False)},
            "ok",
            "asks for a certificate, and encrypts",
        ),
        ({**BOTH, "inter": "NULL"}, {}, "ok", "encrypts"),
        ({}, {"protection": TLS}, "problem", "but it asks for none"),
    ],
)
def test_who_can_reach_a_server_is_judged_by_its_address_and_what_it_asks_for(
    settings: dict[str, str], more: dict[str, Any], expected: str, says: str
) -> None:
    finding = access.access(found({}, settings, **more))
    assert status(finding) == expected
    assert finding is not None
    assert says in finding.says


@pytest.mark.parametrize(
    ("flush", "stop", "expected", "mend"),
    [
        ("no", "no", "ok", ""),
        ("yes", "no", "warning", "Start it with -F."),
        ("no", "yes", "warning", "Start it without -A."),
        ("yes", "yes", "warning", "Start it with -F and without -A."),
    ],
)
def test_commands_that_end_all_sessions_are_pointed_out(
    flush: str, stop: str, expected: str, mend: str
) -> None:
    finding = access.flush(found({"cmd_flush": 3}, {"flush_enabled": flush, "shutdown_command": stop}))
    assert status(finding) == expected
    assert finding is not None
    assert finding.mend == mend
    assert ("was done 3 times" in finding.says) == (expected != "ok")


@pytest.mark.parametrize(
    ("evictions", "dumps", "crawler", "expected"),
    [
        ("off", "no", "yes", "ok"),
        ("off", "yes", "yes", "warning"),
        ("off", "yes", "no", "ok"),
        ("on", "yes", "yes", "ok"),
        ("on", "no", "yes", "warning"),
        ("on", "yes", "no", "warning"),
    ],
)
def test_a_dump_belongs_to_evictions_and_no_dump_to_none(
    evictions: str, dumps: str, crawler: str, expected: str
) -> None:
    settings = {"evictions": evictions, "dump_enabled": dumps, "lru_crawler": crawler}
    assert status(access.dump(found({}, settings))) == expected


# ----------------------------------------------------------------------------------------- contents


@pytest.mark.parametrize(
    ("held", "evictions", "expected", "says"),
    [
        (NOTHING, "on", "ok", "There are no sessions."),
        (holding(5), "on", "ok", "5 sessions are listed, and there are no others."),
        (holding(4999, unlisted=1), "off", "problem", "Of 5,000 living sessions, 1 is in no list (forum)"),
        (holding(5, compared=False), "off", "ok", "throws out no index item"),
        (holding(5, compared=False, why_not="it is busy"), "on", "warning", "is not known: it is busy."),
        (
            holding(5, damaged="it is odd"),
            "off",
            "problem",
            "did not write stands under its keys: it is odd.",
        ),
    ],
)
def test_sessions_in_no_list_are_a_problem(held: Contents, evictions: str, expected: str, says: str) -> None:
    finding = contents.unlisted(found({}, {"evictions": evictions}, contents=held))
    assert status(finding) == expected
    assert finding is not None
    assert says in finding.says


@pytest.mark.parametrize(
    ("living", "dead", "wiping", "expected"),
    [
        (0, 0, False, "ok"),
        (0, 99, False, "ok"),
        (400, 100, False, "warning"),
        (401, 100, False, "ok"),
        (0, 9_999, True, "ok"),
        (10_000, 10_000, True, "warning"),
        (10_001, 10_000, True, "ok"),
    ],
)
def test_dead_entries_are_judged_by_whether_somebody_wipes(
    living: int, dead: int, wiping: bool, expected: str
) -> None:
    held = holding(living, dead=dead, wiping=wiping)
    assert status(contents.dead(found(contents=held))) == expected


def test_an_app_that_the_list_of_apps_lacks_is_pointed_out() -> None:
    finding = contents.apps(found(contents=holding(1, unregistered=("forum",))))
    assert status(finding) == "warning"
    assert finding is not None
    assert finding.says == "The list of apps lacks forum: nobody wipes these."


def test_of_many_apps_some_are_named() -> None:
    report: Repaired = {"listed": 1, "dead": 0, "unlisted": 0, "relisted": 0}

    def says(number: int) -> str:
        held = Contents({f"app{n}": report for n in range(number)}, compared=True)
        finding = contents.apps(found(contents=held))
        assert finding is not None
        return finding.says

    assert says(6) == "6 apps: app0, app1, app2, app3, app4, app5."
    assert says(1200) == "1,200 apps: app0, app1, app2, app3, app4 and 1,195 more."


def test_what_was_not_looked_at_is_not_judged() -> None:
    checks = {finding.check for finding in checkup.judge(found(contents=None))}
    assert checks == set(checkup.CHECKS) - {*contents.CHECKS, "sharing"}


# -------------------------------------------------------------------------------------------- facts


def report(client: SessionsClient, **options: Any) -> dict[str, Finding]:
    (only,) = checkup.examine(client, **options)
    return {finding.check: finding for finding in only.findings}


def test_looking_counts_as_no_use_and_renews_nothing(client: SessionsClient, where: Where) -> None:
    token = client.create("forum", "alice", "10.0.0.1", ttl=100)["token"]
    client.create("forum", "bob", "10.0.0.1", ttl=100, no_resave=True)
    where.advance(60)
    checkup.examine(client)
    assert [session["r"] for session in client.soid("forum", "alice")] == [1]
    assert client.soid("forum", "alice")[0]["idle"] >= 60
    where.advance(41)
    assert client.get("forum", token) is None
    assert client.soid("forum", "bob") == []


def test_looking_changes_nothing(on_memcached: OnMemcached, make_client: MakeClient) -> None:
    """Neither what is lost is listed again, nor what is dead is removed."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    rs.create("forum", "alice", "10.0.0.1")
    damage.evict(rs, damage.bucket_key(rs, "alice"))
    damage.evict(rs, rs._nodes[0].root + b":apps")
    rs.create("shop", "bob", "10.0.0.1")
    rs.kill("shop", rs.create("shop", "bob", "10.0.0.1")["token"])
    held = on_memcached.server.keys(on_memcached.ns)
    before = {key: on_memcached.server.value(key) for key in held}
    judged = report(make_client(on_memcached.address, ns=on_memcached.ns))
    assert judged["unlisted"].says.startswith("Of 2 living sessions, 1 is in no list (forum)")
    assert judged["dead"].says == "Of 2 index entries, 1 is of sessions that are gone; wipes remove them."
    assert judged["apps"].says.startswith("The list of apps lacks forum")
    assert sorted(on_memcached.server.keys(on_memcached.ns)) == sorted(held)
    assert {key: on_memcached.server.value(key) for key in held} == before


@pytest.mark.parametrize("options", [(), ("-X",)], ids=["by a dump", "by the indexes"])
def test_sessions_and_dead_entries_are_counted(options: tuple[str, ...], make_client: MakeClient) -> None:
    with Memcached("-t", "1", *options) as own:
        rs = make_client(own.address)
        for n in range(30):
            rs.create("forum", f"user{n}", "10.0.0.1", no_resave=n % 2 == 0)
            rs.kill("shop", rs.create("shop", f"user{n}", "10.0.0.1")["token"])
        told: list[tuple[int, int]] = []
        judged = report(rs, tell=lambda done, total: told.append((done, total)))
        assert "30 sessions are listed" in judged["unlisted"].says
        assert judged["dead"].says.startswith("Of 60 index entries, 30 are")
        assert judged["apps"].says == "2 apps: forum, shop."
        assert told[-1][0] == told[-1][1] > 0


def test_a_crawler_that_was_switched_off_meanwhile_is_none(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    """The server's settings said that it shows its keys."""
    rs = make_client(own_memcached.address)
    rs.create("forum", "alice", "10.0.0.1")
    asked = facts.ask(rs._nodes[0], MIB)
    own_memcached.ask(b"lru_crawler disable\r\n", b"\r\n")
    looked = facts.look_into(rs._nodes[0], asked, lambda _done, _total: None).contents
    assert looked is not None
    assert (looked.compared, looked.why_not) == (False, "the server does not show its keys")
    assert looked.sessions == 1


def test_a_damaged_index_is_found_by_both_ways(make_client: MakeClient) -> None:
    for options in ((), ("-X",)):
        with Memcached("-t", "1", *options) as own:
            rs = make_client(own.address)
            rs.create("forum", "alice", "10.0.0.1")
            rs.create("shop", "bob", "10.0.0.1")
            damage.append(rs, damage.bucket_key(rs, "alice"), b"!")
            judged = report(rs)
            assert judged["unlisted"].status == "problem"
            assert "an index item is not made of whole records" in judged["unlisted"].says


def test_whether_somebody_wipes_is_seen(client: SessionsClient) -> None:
    (quiet,) = [client._nodes[0]]
    asked = facts.ask(quiet, MIB)
    before = facts.look_into(quiet, asked, lambda _done, _total: None)
    quiet.wipe_in_turn(600)
    after = facts.look_into(quiet, asked, lambda _done, _total: None)
    assert before.contents is not None
    assert after.contents is not None
    assert (before.contents.wiping, after.contents.wiping) == (False, True)


def test_a_server_that_is_busy_with_another_dump_is_looked_at_by_its_indexes(
    own_memcached: Memcached, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memsessions.store.dump._BUSY_S", 0.0)

    def busy(chunk: bytes) -> bytes:
        return b"BUSY currently processing crawler request\r\n" if chunk.startswith(b"key=") else chunk

    with Proxy(("127.0.0.1", own_memcached.port)) as proxy:
        # As one of two, a server that does not answer is left alone for a moment.
        rs = make_client({"a": f"127.0.0.1:{proxy.port}", "b": f"127.0.0.1:{proxy.port + 1}"})
        make_client(own_memcached.address).create("forum", "alice", "10.0.0.1")
        proxy.to_client = busy
        first, second = checkup.examine(rs)
    judged = {finding.check: finding for finding in first.findings}
    assert first.error is None
    assert judged["unlisted"].status == "warning"
    assert judged["unlisted"].says == (
        "1 session is listed. Whether there are others is not known:"
        " it is busy with another dump of its keys."
    )
    assert isinstance(second.error, StoreUnavailable)


def test_what_goes_through_all_sessions_can_be_left_out(proxy: Proxy, make_client: MakeClient) -> None:
    judged = report(make_client(f"127.0.0.1:{proxy.port}"), quick=True)
    assert not set(judged) & {*contents.CHECKS, "sharing"}
    assert b"stats slabs" in proxy.sent
    assert b"metadump" not in proxy.sent
    assert b"mg " not in proxy.sent


def test_pings_end_after_a_while_however_slow_they_are(
    client: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(facts.ask(client._nodes[0], MIB).pings_s) == facts._PINGS
    monkeypatch.setattr(facts, "_PINGING_S", -1.0)
    assert facts.ask(client._nodes[0], MIB).pings_s == ()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/run/memcached.sock", ()),
        ("memory://x", ()),
        (("10.0.0.5", 1), ("10.0.0.5",)),
        (("fe80::1%lo", 1), ("fe80::1",)),
        (("name.invalid", 1), ()),
        (("a" * 64 + ".example", 1), ()),
    ],
)
def test_the_addresses_of_a_server_are_found_out(
    address: str | tuple[str, int], expected: tuple[str, ...]
) -> None:
    assert facts._hosts(address) == expected


def test_localhost_is_loopback() -> None:
    assert access._is_loopback(facts._hosts(("localhost", 1)))


def test_a_memcached_is_asked_for_all_that_the_checks_know(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    asked = facts.ask(make_client(on_memcached.address, timeout=30)._nodes[0], MIB)
    assert set(STATS) <= set(asked.stats)
    assert set(SETTINGS) <= set(asked.settings)
    assert "total_malloced" in asked.slabs
    assert abs(asked.asked_at - time.time()) < 60
    assert asked.timeout_s == pytest.approx(30, abs=1)


# --------------------------------------------------------------------------------------------- words


def test_numbers_are_put_into_words() -> None:
    assert [many(1, "item"), many(0, "item"), many(1000, "item")] == ["1 item", "0 items", "1,000 items"]
    assert many(2000, "index entry", "index entries") == "2,000 index entries"
    lengths = [0, 512, 1024, 1536, 10_240, 64 * MIB, 5 * MIB + 1, 2**60]
    shown = ["0 bytes", "512 bytes", "1 KiB", "1.5 KiB", "10 KiB", "64 MiB", "5.0 MiB", "1048576 TiB"]
    assert [size(length) for length in lengths] == shown
    assert [rounded(count) for count in (0, 7, 42, 108, 108_312, 99_999)] == [0, 7, 42, 110, 110_000, 100_000]
