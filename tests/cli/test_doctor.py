"""`doctor` on servers with something wrong, each in its own way."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from memsessions import SessionsClient, StoreFull
from memsessions.checkup import CHECKS
from memsessions.cli import codes

from ..conftest import MakeClient, OnMemcached
from ..store.conftest import PASSWORD
from ..support import damage
from ..support.fakes import FakeServer, hello
from ..support.memcached import Memcached
from .support import At, Done, Terminal, ask, run

#: How fast a server answers is a matter of what else the machine does.
ANY_SPEED = ("--ignore", "latency")
#: As the README starts it.
WELL = ("-M", "-X", "-F", "-t", "1")


def judged(done: Done) -> dict[str, Any]:
    """The findings on the only server, by their checks."""
    (server,) = done.document["servers"]
    return {finding["check"]: finding for finding in server["findings"]}


def doctor(server: Memcached, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
    return ask("doctor", "--json", *ANY_SPEED, "--server", server.address, *arguments, env=env)


def fill(server: Memcached, items: int = 150) -> None:
    """More large items than 8 MiB take, sessions or not."""
    value = b"v" * 100_000
    for n in range(items):
        server.ask(b"set filling:%d 0 0 %d\r\n%b\r\n" % (n, len(value), value), b"\r\n")


# ------------------------------------------------------------------------------------------ answers


def test_a_server_as_the_readme_starts_it_is_all_well(make_client: MakeClient) -> None:
    with Memcached(*WELL) as server:
        make_client(server.address).create("forum", "alice", "10.0.0.1")
        done = run("doctor", *ANY_SPEED, "--server", server.address)
        assert (done.code, done.err) == (codes.DONE, "")
        header, *lines = [line.split() for line in done.out.splitlines()]
        assert header == ["server", "check", "status", "finding", "mend"]
        assert {line[0] for line in lines} == {server.address}
        assert [line[1] for line in lines] == [name for name in CHECKS if name != "latency"]
        assert {line[2] for line in lines} == {"ok"}
        assert {line[-1] for line in lines} == {"-"}
        assert run("doctor", *ANY_SPEED, "--server", server.address, "--json").document["status"] == "ok"


def test_a_server_without_options_has_warnings_and_says_what_to_do(there: At) -> None:
    done = there.ask("doctor", "--json", *ANY_SPEED)
    assert (done.code, done.err) == (codes.WARNINGS, "")
    (server,) = done.document["servers"]
    assert (done.document["status"], server["status"]) == ("warning", "warning")
    assert server["server"] == there.address
    found = judged(done)
    assert all(set(finding) == {"check", "status", "says", "mend"} for finding in found.values())
    assert {name for name, finding in found.items() if finding["status"] != "ok"} == {"evictions", "flush"}
    assert found["evictions"]["mend"] == "Start it with -M: it refuses new sessions then."
    assert found["flush"]["mend"] == "Start it with -F."
    assert found["version"]["says"] == "memcached 1.6.18."


def test_a_store_in_memory_has_what_applies_to_it(rs: SessionsClient, at: At) -> None:
    rs.create("forum", "alice", "10.0.0.1")
    done = at.ask("doctor", "--json", *ANY_SPEED)
    assert done.code == codes.WARNINGS
    found = judged(done)
    assert found["unlisted"]["says"] == "1 session is listed, and there are no others."
    assert found["memory"]["says"].startswith("1 session take")
    if at.address.startswith("memory://"):
        assert {name for name, each in found.items() if each["status"] != "ok"} == {"version"}
        assert not {"latency", "access", "flush", "dump", "clock", "connections"} & set(found)


def test_what_is_so_on_purpose_can_be_ignored(there: At) -> None:
    done = there.ask("doctor", "--json", *ANY_SPEED, "--ignore", "flush", "--ignore", "evictions")
    assert done.code == codes.DONE
    assert not {"flush", "evictions"} & set(judged(done))
    done = there.ask("doctor", "--ignore", "fluhs")
    assert done.code == codes.USAGE
    assert "'flush'" in done.err


def test_quick_leaves_out_what_goes_through_all_sessions(there: At) -> None:
    done = there.ask("doctor", "--json", *ANY_SPEED, "--quick")
    assert set(CHECKS) - set(judged(done)) == {"latency", "sharing", "unlisted", "dead", "apps"}


def test_the_help_tells_the_exit_codes() -> None:
    shown = " ".join(ask("doctor", "--help").out.split())
    assert "ends with 4 if there are warnings and no problem, with 5 if there is a problem" in shown
    assert "with 3 if a server does not answer" in shown


def test_how_fast_a_server_answers_is_told(there: At) -> None:
    says = judged(there.ask("doctor", "--json", "--quick"))["latency"]["says"]
    assert re.match(r"A ping takes [0-9.]+ ms; of [0-9]+, 95 % took [0-9.]+ ms at most\.", says)


# ----------------------------------------------------------------------------------- away, too old


def test_a_server_that_is_away_is_a_problem_and_the_others_are_looked_at(there: At) -> None:
    done = ask("doctor", "--json", "--server", "127.0.0.1:1", "--server", there.address)
    assert done.code == codes.UNAVAILABLE
    assert done.err == "memsessions: 127.0.0.1:1: Connection refused\n"
    away, well = done.document["servers"]
    assert done.document["status"] == away["status"] == "problem"
    assert [(each["check"], each["says"]) for each in away["findings"]] == [("reach", "Connection refused.")]
    assert [each["check"] for each in well["findings"]] == list(CHECKS)
    assert "127.0.0.1:1" in ask("doctor", "--server", "127.0.0.1:1").out


def test_a_server_that_is_frozen_is_away(own_memcached: Memcached) -> None:
    own_memcached.freeze()
    done = doctor(own_memcached, env={"MEMSESSIONS_TIMEOUT": "0.2"})
    own_memcached.thaw()
    assert done.code == codes.UNAVAILABLE
    assert judged(done)["reach"]["says"] == "No answer in time."


def test_a_server_that_is_too_old_is_a_problem_of_its_own() -> None:
    with FakeServer(lambda sock: hello(sock, b"1.6.17")) as server:
        done = ask("doctor", "--json", "--server", server.address)
    assert (done.code, done.err) == (codes.PROBLEMS, "")
    version = judged(done)["version"]
    assert version["status"] == "problem"
    assert version["says"] == "It runs memcached 1.6.17; memsessions needs 1.6.18 or later."


# ------------------------------------------------------------------------------------------- memory


def test_a_server_that_throws_items_out_is_a_problem() -> None:
    with Memcached("-m", "8", "-t", "1") as server:
        fill(server)
        done = doctor(server)
        thrown_out = int(server.stats()["evictions"])
    found = judged(done)
    assert done.code == codes.PROBLEMS
    assert found["evictions"]["status"] == found["memory"]["status"] == "problem"
    assert f"It threw out {thrown_out} items" in found["evictions"]["says"]
    assert "`memsessions repair`" in found["evictions"]["mend"]
    assert found["memory"]["mend"] == "Give it more memory: -m 64."


def test_a_server_that_refuses_writes_is_a_problem() -> None:
    with Memcached("-m", "8", *WELL) as server:
        fill(server)
        found = judged(done := doctor(server))
        refused = int(server.stats()["store_no_memory"])
    assert done.code == codes.PROBLEMS
    assert found["evictions"]["status"] == "problem"
    assert f"It refused {refused} writes" in found["evictions"]["says"]


def test_the_arithmetic_of_memory_comes_true_or_about(make_client: MakeClient) -> None:
    """What is foretold from few sessions is what the server holds when it refuses more."""
    with Memcached("-m", "16", *WELL) as server:
        rs = make_client(server.address)
        for n in range(3000):
            rs.create("forum", f"user{n}", "10.0.0.1", d={"theme": "dark"})
        says = judged(doctor(server))["memory"]["says"]
        sessions = 3000
        with contextlib.suppress(StoreFull):
            for n in itertools.count(sessions):
                rs.create("forum", f"user{n}", "10.0.0.1", d={"theme": "dark"})
                sessions += 1
    assert says.startswith("3,000 sessions take ")
    match = re.search(r"full at about ([0-9,]+) sessions", says)
    assert match is not None
    assert int(match[1].replace(",", "")) == pytest.approx(sessions, rel=0.5)


def test_other_data_on_the_server_is_pointed_out() -> None:
    with Memcached(*WELL) as server:
        for n in range(1100):
            server.ask(b"set other:%d 0 0 1\r\n1\r\n" % n, b"\r\n")
        found = judged(done := doctor(server))
    assert done.code == codes.WARNINGS
    assert found["sharing"]["says"].startswith(
        "At least 1,100 of its 1,100 items are no sessions of this --ns"
    )


# ------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("options", "check", "status", "mend"),
    [
        (("-M", "-F"), "dump", "warning", "Start it with -X."),
        (("-X", "-F"), "dump", "warning", "Start it with -M, or without -X (and with its crawler)."),
        (("-X", "-F"), "unlisted", "warning", "Start it with -M, or without -X."),
        (("-F", "-o", "no_lru_crawler"), "dump", "warning", "Start it with -M, or without -X (and with its"),
        (("-M", "-X"), "flush", "warning", "Start it with -F."),
        (("-M", "-X", "-F", "-A"), "flush", "warning", "Start it without -A."),
        (("-M", "-X", "-F", "-C"), "cas", "problem", "Start it without -C."),
        (
            ("-M", "-X", "-F", "-I", "512k"),
            "item-size",
            "warning",
            "Start it with -I 1m, or set MEMSESSIONS_MAX_ITEM_BYTES=524288",
        ),
    ],
)
def test_an_option_that_is_missing_or_too_much_is_named(
    options: tuple[str, ...], check: str, status: str, mend: str
) -> None:
    with Memcached(*options, "-t", "1") as server:
        done = doctor(server)
    finding = judged(done)[check]
    assert finding["status"] == status
    assert finding["mend"].startswith(mend)
    assert done.code == (codes.PROBLEMS if status == "problem" else codes.WARNINGS)


def test_connections_near_their_limit_are_pointed_out() -> None:
    with Memcached("-c", "100", *WELL) as server, contextlib.ExitStack() as idle:
        for _ in range(80):
            idle.enter_context(server.connect())
        finding = judged(doctor(server))["connections"]
    assert finding["status"] in ("warning", "problem")
    assert "of 100 connections are open" in finding["says"]
    assert finding["mend"].startswith("Allow more (-c 200)")


# ------------------------------------------------------------------------------------------- access


def test_tls_and_a_password_are_fine(certificate: Path, tmp_path: Path) -> None:
    accounts = tmp_path / "accounts"
    accounts.write_text(f"web:{PASSWORD}\n")
    tls = f"ssl_chain_cert={certificate}/cert.pem,ssl_key={certificate}/key.pem"
    with Memcached("-Z", "-o", tls, "-Y", str(accounts), *WELL) as server:
        env = {
            "MEMSESSIONS_SERVERS": f"localhost:{server.port}",
            "MEMSESSIONS_TLS_CA": f"{certificate}/cert.pem",
            "MEMSESSIONS_USERNAME": "web",
            "MEMSESSIONS_PASSWORD": PASSWORD,
        }
        done = ask("doctor", "--json", *ANY_SPEED, env=env)
        assert judged(done)["access"]["status"] == "ok"
        assert done.code == codes.DONE
        refused = ask("doctor", env={**env, "MEMSESSIONS_PASSWORD": "another"})
    assert refused.code == codes.UNAVAILABLE
    assert "did not accept the user name and password" in refused.out
    assert PASSWORD not in done.out + refused.out + refused.err


def test_a_password_that_nobody_asks_for_is_a_problem() -> None:
    """It is not sent, and so protects nothing."""
    with Memcached(*WELL) as server:
        env = {"MEMSESSIONS_USERNAME": "web", "MEMSESSIONS_PASSWORD": PASSWORD}
        done = doctor(server, env=env)
        assert server.value("auth") is None
    assert done.code == codes.PROBLEMS
    finding = judged(done)["access"]
    assert finding["status"] == "problem"
    assert "but it asks for none" in finding["says"]
    assert PASSWORD not in done.out + done.err


def test_a_password_that_is_asked_for_is_not(guarded: Memcached) -> None:
    env = {"MEMSESSIONS_USERNAME": "web", "MEMSESSIONS_PASSWORD": PASSWORD}
    assert judged(doctor(guarded, env=env))["access"]["status"] == "ok"


def test_a_socket_file_is_reached_from_this_machine_only(tmp_path: Path) -> None:
    with Memcached(*WELL, unix=tmp_path / "socket") as server:
        done = doctor(server)
    assert done.code == codes.DONE
    assert judged(done)["access"]["says"] == "It is reached by a socket file: from this machine only."


# ----------------------------------------------------------------------------------------- contents


@pytest.fixture
def client(there: At, make_client: MakeClient) -> SessionsClient:
    return make_client(there.address, ns=there.ns)


def test_sessions_that_an_index_has_lost_are_a_problem_until_repair(
    there: At, client: SessionsClient
) -> None:
    client.create("forum", "alice", "10.0.0.1")
    client.create("forum", "bob", "10.0.0.1")
    damage.evict(client, damage.bucket_key(client, "alice"))
    done = there.ask("doctor", "--json", *ANY_SPEED)
    assert done.code == codes.PROBLEMS
    assert judged(done)["unlisted"] == {
        "check": "unlisted",
        "status": "problem",
        "says": "Of 2 living sessions, 1 is in no list (forum): a log-out everywhere does not reach them.",
        "mend": "Run `memsessions repair`; see to the server's memory.",
    }
    assert there.ask("repair").code == codes.DONE
    assert judged(there.ask("doctor", "--json", *ANY_SPEED))["unlisted"]["status"] == "ok"


def test_dead_entries_are_pointed_out_until_a_wipe(there: At, client: SessionsClient) -> None:
    for n in range(100):
        client.kill("forum", client.create("forum", f"user{n}", "10.0.0.1")["token"])
    finding = judged(there.ask("doctor", "--json", *ANY_SPEED))["dead"]
    assert finding["status"] == "warning"
    assert finding["says"].startswith("Of 100 index entries, 100 are of sessions that are gone (100%)")
    assert there.ask("wipe").code == codes.DONE
    assert judged(there.ask("doctor", "--json", *ANY_SPEED))["dead"]["status"] == "ok"


def test_what_somebody_else_wrote_is_a_problem(there: At, client: SessionsClient) -> None:
    client.create("forum", "alice", "10.0.0.1")
    damage.append(client, damage.bucket_key(client, "alice"), b"\x1b[2Jx")
    done = there.ask("doctor", *ANY_SPEED)
    assert done.code == codes.PROBLEMS
    assert "an index item is not made of whole records" in done.out


# ---------------------------------------------------------------------------------------- terminals

# The command with a bar from the first moment on, and each look at an index item taking a while.
SLOW = """
import os, sys, time
from memsessions import index
from memsessions.cli import main, output
output._PATIENCE_S = 0.0
index.GROUP_RECORDS = 1
look = index.Index._bucket
def slowly(*arguments):
    time.sleep(float(os.environ.get("PAUSE_S", "0.02")))
    return look(*arguments)
index.Index._bucket = slowly
sys.exit(main())
"""


def test_statuses_are_coloured_on_a_terminal(on_memcached: OnMemcached, client: SessionsClient) -> None:
    client.create("forum", "alice", "10.0.0.1")
    damage.evict(client, damage.bucket_key(client, "alice"))
    options = ["--server", on_memcached.address, "--server", "127.0.0.1:1", "--ns", on_memcached.ns]
    with Terminal("doctor", *ANY_SPEED, *options, rows=70) as terminal:
        assert terminal.wait() == codes.UNAVAILABLE
        assert f"{on_memcached.address}: 1 problem, 2 warnings" in terminal.screen
        assert "127.0.0.1:1: 1 problem\n" in terminal.screen
        assert terminal.colours("ok ") & {"green"}
        assert terminal.colours("warning ") & {"brown"}
        assert terminal.colours("problem ") & {"red"}
        assert terminal.colours("→ Start it with -M") == {"cyan"}
        assert "─────" in terminal.screen


def test_all_is_well_in_green() -> None:
    with (
        Memcached(*WELL) as server,
        Terminal("doctor", *ANY_SPEED, "--server", server.address, rows=50) as terminal,
    ):
        assert terminal.wait() == codes.DONE
        assert terminal.colours("all is well") == {"green"}


def test_a_narrow_terminal_shows_everything(there: At) -> None:
    with there.terminal("doctor", *ANY_SPEED, columns=30, rows=150) as terminal:
        assert terminal.wait() == codes.WARNINGS
        assert "→ Start it with -F." in terminal.screen


def test_a_bar_is_shown_while_all_sessions_are_looked_at(there: At, client: SessionsClient) -> None:
    for n in range(40):
        client.create("forum", f"user{n}", "10.0.0.1")
    with there.terminal("doctor", *ANY_SPEED, rows=60, program=(sys.executable, "-c", SLOW)) as terminal:
        terminal.wait_for("examining")
        assert terminal.wait() == codes.WARNINGS
        assert "examining" not in terminal.screen
        assert not terminal.cursor_hidden


def test_ctrl_c_ends_it(there: At, client: SessionsClient) -> None:
    for n in range(40):
        client.create("forum", f"user{n}", "10.0.0.1")
    slowly = {"PAUSE_S": "0.06"}  # so that it is in the middle of it when the key is pressed
    with there.terminal("doctor", *ANY_SPEED, program=(sys.executable, "-c", SLOW), env=slowly) as terminal:
        terminal.wait_for("examining")
        terminal.press_ctrl_c()
        assert terminal.wait() == codes.INTERRUPTED
        assert "Traceback" not in terminal.screen
        assert not terminal.cursor_hidden
