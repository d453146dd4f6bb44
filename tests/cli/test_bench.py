"""`bench`: what it shows, what it refuses, and that nothing of it stays."""

from __future__ import annotations

import itertools
import json
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote

import pytest

from memsessions import SessionsClient
from memsessions.cli import codes
from memsessions.cli.bench import measuring, workload
from memsessions.cli.bench.measuring import Call, Case, Measured, Plan, in_threads, measure, planned

from ..conftest import MakeClient
from ..store.conftest import PASSWORD, certificate, encrypted, guarded
from ..support.memcached import Memcached
from .support import PROGRAM, At, ask, environment

__all__ = ["certificate", "encrypted", "guarded"]  # fixtures

OPERATIONS = ["get", "set", "soid", "soapp", "activity", "create", "kill"]
TINY = ("bench", "--seconds", "0.02", "--threads", "1,2", "--sessions", "20")
LONG = ("bench", "--seconds", "30", "--threads", "1,2", "--sessions", "20")


def everything(server: Memcached) -> list[str]:
    """The keys of all items of a server."""
    while (dump := server.ask(b"lru_crawler metadump hash\r\n", b"\r\n").decode()).startswith("BUSY"):
        time.sleep(0.01)
    return sorted(map(unquote, re.findall(r"^key=(\S+)", dump, re.MULTILINE)))


def wait_until_it_measures(server: Memcached) -> None:
    """What is created and killed is there once all else is."""
    give_up = time.monotonic() + 20
    while not any("bench-made" in key for key in everything(server)):
        assert time.monotonic() < give_up
        time.sleep(0.01)


# ------------------------------------------------------------------------------------ what it shows


def test_every_operation_is_measured_with_every_number_of_threads(memcached: Memcached) -> None:
    done = ask(*TINY, "--server", memcached.address, "--json")
    assert (done.code, done.err) == (0, "")
    found = done.document
    measured = [(each["threads"], each["operation"]) for each in found["results"]]
    assert measured == list(itertools.product([1, 2], ["bare get", *OPERATIONS]))
    for each in found["results"]:
        assert each["calls"] >= 3 * each["threads"]
        assert 0 < each["p50_ms"] <= each["p95_ms"] <= each["p99_ms"]
        assert each["per_second"] > 0
        assert each["bare_gets"] > 0
    assert {each["bare_gets"] for each in found["results"] if each["operation"] == "bare get"} == {1.0}


def test_the_document_says_what_was_measured_with_what(memcached: Memcached) -> None:
    found = ask(*TINY, "--server", memcached.address, "--data", "300", "--json").document
    assert set(found) == {"date", "versions", "machine", "servers", "workload", "results"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["date"])
    assert set(found["versions"]) == {"memsessions", "python", "pymemcache", "orjson"}
    assert found["servers"] == [{"server": memcached.address, "memcached": memcached.stats()["version"]}]
    assert set(found["machine"]) == {"cpus", "system", "gil"}
    load = found["workload"]
    assert (load["sessions"], load["users"], load["data_bytes"]) == (20, 2, 300)
    assert (load["rounds"], load["seconds"]) == (3, 0.02)
    assert 300 < load["item_bytes"] < 400


def test_the_bare_get_reads_as_many_bytes_under_a_key_as_long(
    own_memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[str, tuple[int, int]] = {}

    def looked_at(*_: object) -> NoReturn:
        for key in everything(own_memcached):
            kind = "bare" if ":bare" in key else "session" if ":s:" in key else "other"
            sizes[kind] = len(key), len(own_memcached.value(key) or b"")
        raise KeyboardInterrupt

    monkeypatch.setattr(SessionsClient, "soid", looked_at)
    assert ask(*TINY, "--server", own_memcached.address).code == codes.INTERRUPTED
    assert sizes["bare"][0] == sizes["session"][0]
    assert abs(sizes["bare"][1] - sizes["session"][1]) <= 1  # `w` of those that were written is longer


def test_in_a_pipe_it_is_bare_columns_and_what_was_measured_stands_beside(memcached: Memcached) -> None:
    done = ask(*TINY, "--server", memcached.address)
    assert done.code == 0
    head, *rows = done.out.splitlines()
    assert head.split("  ")[0] == "threads"
    assert "bare gets" in head
    assert [row.split()[:2] for row in rows[:2]] == [["1", "bare"], ["1", "get"]]
    assert len(rows) == 16
    before, after = done.err.splitlines()
    assert "from up to 2 threads" in before
    assert "are removed at the end" in before
    assert f"{memcached.address} (memcached {memcached.stats()['version']})" in after


def test_on_a_terminal_it_is_a_table_with_a_bar_before(memcached: Memcached) -> None:
    at = At(memcached.address, "rs")
    with at.terminal("bench", "--seconds", "0.5", "--threads", "1", rows=40) as terminal:
        terminal.wait_for("/32")  # of the bar
        assert terminal.wait(60) == 0
        assert "bare gets\n────" in terminal.screen
        assert "/32" not in terminal.screen
        assert re.search(r"^ +1  soapp +\d+ +\d+\.\d{3} ", terminal.screen, re.MULTILINE)
        assert "memsessions 0.1.0 on" in terminal.screen
        assert not terminal.cursor_hidden


def test_there_is_a_bar_for_what_comes_before_and_after_too(own_memcached: Memcached) -> None:
    impatient = (
        "import sys; from memsessions.cli import main, output; output._PATIENCE_S = 0; sys.exit(main())"
    )
    program = (sys.executable, "-c", impatient)
    with At(own_memcached.address, "rs").terminal(*TINY, rows=40, program=program) as terminal:
        assert terminal.wait(60) == 0
        assert not any(bar in terminal.screen for bar in ("preparing", "removing ", "━"))
        assert not terminal.cursor_hidden
    at = [terminal.raw.rindex(bar) for bar in (b"preparing", b"measuring", b"removing")]
    assert at == sorted(at)
    assert b"20/20" in terminal.raw
    assert everything(own_memcached) == []


def test_in_memory_there_is_no_bare_get() -> None:
    done = ask(*TINY, "--server", "memory://bench")
    assert done.code == 0
    assert "there is no bare get" in done.err
    assert "bare gets" not in done.out
    found = ask(*TINY, "--server", "memory://bench", "--json").document
    assert [each["operation"] for each in found["results"]] == OPERATIONS * 2
    assert {each["bare_gets"] for each in found["results"]} == {None}
    assert found["servers"] == [{"server": "memory://bench", "memcached": None}]


def test_several_servers_are_measured_as_one_and_left_empty(three_memcacheds: list[Memcached]) -> None:
    before = [int(server.stats()["cmd_get"]) for server in three_memcacheds]
    servers = [word for server in three_memcacheds for word in ("--server", server.address)]
    done = ask(*TINY, *servers, "--json")
    assert (done.code, done.err) == (0, "")
    found = done.document
    assert [each["server"] for each in found["servers"]] == [server.address for server in three_memcacheds]
    assert len(found["results"]) == 16
    for server, gets in zip(three_memcacheds, before, strict=True):
        assert int(server.stats()["cmd_get"]) > gets
        assert everything(server) == []


def test_it_measures_through_tls(encrypted: Memcached, certificate: Path) -> None:
    env = {
        "MEMSESSIONS_SERVERS": f"localhost:{encrypted.port}",
        "MEMSESSIONS_TLS_CA": str(certificate / "cert.pem"),
    }
    done = ask(*TINY, "--json", env=env)
    assert (done.code, done.err) == (0, "")
    assert done.document["results"][0]["operation"] == "bare get"


def test_it_measures_with_a_user_name_and_a_password(guarded: Memcached) -> None:
    env = {
        "MEMSESSIONS_SERVERS": guarded.address,
        "MEMSESSIONS_USERNAME": "web",
        "MEMSESSIONS_PASSWORD": PASSWORD,
    }
    done = ask(*TINY, env=env)
    assert done.code == 0
    assert "bare get" in done.out
    assert PASSWORD not in done.out + done.err


# ------------------------------------------------------------------------------------- what is left


def test_nothing_stays_and_nothing_of_others_is_touched(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    rs = make_client(own_memcached.address)
    tokens = [rs.create("bench-listed", f"user{n:06}", "10.0.0.1", d={"n": n})["token"] for n in range(30)]
    before = everything(own_memcached)
    values = {key: own_memcached.value(key) for key in before}
    assert ask(*TINY, "--server", own_memcached.address).code == 0
    assert everything(own_memcached) == before
    assert {key: own_memcached.value(key) for key in before} == values
    sessions = [rs.get("bench-listed", token) for token in tokens]
    assert [session["r"] for session in sessions if session] == [2] * 30
    assert own_memcached.connections(at_most=2) <= 2  # that of `rs`, and of this question


def test_a_server_that_asks_for_no_password_is_not_told_it(own_memcached: Memcached) -> None:
    """It would store it, for everybody to read."""
    env = {
        "MEMSESSIONS_SERVERS": own_memcached.address,
        "MEMSESSIONS_USERNAME": "web",
        "MEMSESSIONS_PASSWORD": PASSWORD,
    }
    done = ask(*TINY, env=env)
    assert done.code == 0
    assert "bare get" in done.out
    assert everything(own_memcached) == []


def test_what_was_killed_is_wiped_now_and_then(
    own_memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    wipes = []
    wipe = SessionsClient.wipe

    def wiped(client: SessionsClient) -> Any:
        wipes.append(wipe(client))

    monkeypatch.setattr(workload, "MOST_DEAD", 10)
    monkeypatch.setattr(SessionsClient, "wipe", wiped)
    assert ask(*TINY, "--server", own_memcached.address).code == 0
    assert sum(each["wiped"] for each in wipes) > 10
    assert everything(own_memcached) == []


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_leaves_nothing(own_memcached: Memcached, presses: int) -> None:
    at = At(own_memcached.address, "rs")
    with at.terminal(*LONG) as terminal:
        wait_until_it_measures(own_memcached)
        terminal.wait_for("measuring ━")
        for _ in range(presses):
            terminal.press_ctrl_c()
        code = terminal.wait()
        # The second may come when all is done, and Python is just about to leave.
        assert code == codes.INTERRUPTED or (presses > 1 and code == -signal.SIGINT)
        assert "memsessions: interrupted" in terminal.screen or presses > 1
        assert not terminal.cursor_hidden
    assert everything(own_memcached) == []


def test_sigterm_leaves_nothing(own_memcached: Memcached) -> None:
    process = subprocess.Popen(
        [*PROGRAM, *LONG, "--server", own_memcached.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    wait_until_it_measures(own_memcached)
    process.send_signal(signal.SIGTERM)
    out, _err = process.communicate(timeout=20)
    assert (process.returncode, out) == (143, "")
    assert everything(own_memcached) == []


def test_an_interrupt_while_sessions_are_prepared_leaves_nothing(
    own_memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = SessionsClient.create
    numbers = itertools.count()

    def created(client: SessionsClient, *arguments: Any) -> Any:
        if next(numbers) == 10:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return create(client, *arguments)

    monkeypatch.setattr(SessionsClient, "create", created)
    done = ask("bench", "--sessions", "30000", "--server", own_memcached.address)
    assert (done.code, done.out) == (codes.INTERRUPTED, "")
    assert next(numbers) < 30_000
    assert everything(own_memcached) == []


def test_a_mistake_leaves_nothing(own_memcached: Memcached, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> NoReturn:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(SessionsClient, "activity", wrong)
    done = ask(*TINY, "--server", own_memcached.address)
    assert (done.code, done.out) == (codes.BUG, "")
    assert "RuntimeError: a mistake" in done.err
    assert everything(own_memcached) == []


def test_a_server_that_goes_away_is_said_and_so_is_what_may_be_left(
    own_memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    activity = SessionsClient.activity

    def last(client: SessionsClient, *arguments: Any) -> Any:
        own_memcached.kill()
        return activity(client, *arguments)

    monkeypatch.setattr(SessionsClient, "activity", last)
    done = ask(*TINY, "--server", own_memcached.address)
    assert (done.code, done.out) == (codes.UNAVAILABLE, "")
    assert "could not be removed: it ends within 1" in done.err
    assert "Traceback" not in done.err


def test_a_server_that_goes_away_before_a_bare_get_is_exit_code_3(
    own_memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = workload.Workload.prepare

    def last(self: workload.Workload, *arguments: Any) -> None:
        prepare(self, *arguments)
        own_memcached.kill()

    monkeypatch.setattr(workload.Workload, "prepare", last)
    done = ask(*TINY, "--server", own_memcached.address)
    assert (done.code, done.out) == (codes.UNAVAILABLE, "")
    assert f"{own_memcached.address}: a bare get failed" in done.err


def test_a_server_that_goes_away_while_it_is_prepared_is_exit_code_3(
    own_memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last(*arguments: Any) -> Any:
        done = in_threads(*arguments)
        own_memcached.kill()
        return done

    monkeypatch.setattr(workload, "in_threads", last)
    done = ask(*TINY, "--server", own_memcached.address)
    assert (done.code, done.out) == (codes.UNAVAILABLE, "")


def test_what_could_not_be_removed_is_exit_code_3(
    own_memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = workload.Workload.remove

    def late(self: workload.Workload, *arguments: Any) -> Any:
        own_memcached.kill()
        return remove(self, *arguments)

    monkeypatch.setattr(workload.Workload, "remove", late)
    done = ask(*TINY, "--server", own_memcached.address, "--json")
    assert (done.code, done.out) == (codes.UNAVAILABLE, "")
    assert "could not be removed" in done.err


def test_so_many_sessions_are_created_at_once_and_no_more(
    own_memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "MOST_MADE", 4)
    found = ask(*TINY, "--server", own_memcached.address, "--json").document
    calls = [each["calls"] for each in found["results"] if each["operation"] == "create"]
    assert all(count <= 4 * found["workload"]["rounds"] for count in calls)


def test_a_server_that_is_drained_is_not_asked_for_a_bare_get(three_memcacheds: list[Memcached]) -> None:
    used, drained, _ = three_memcacheds
    servers = ["--server", used.address, "--server", f"{drained.address}?drain"]
    assert ask(*TINY, *servers).code == 0
    assert everything(drained) == everything(used) == []


@pytest.mark.parametrize("missing", [":bare", ":s:"])
def test_what_was_evicted_is_not_measured(
    own_memcached: Memcached, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    prepare = workload.Workload.prepare

    def evicted(self: workload.Workload, *arguments: Any) -> None:
        prepare(self, *arguments)
        for key in everything(own_memcached):
            if missing in key:
                own_memcached.delete(key)

    monkeypatch.setattr(workload.Workload, "prepare", evicted)
    done = ask(*TINY, "--server", own_memcached.address)
    assert (done.code, done.out) == (codes.UNAVAILABLE, "")
    assert f"{own_memcached.address}: what the benchmark stored is gone" in done.err
    assert everything(own_memcached) == []


# ---------------------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--threads", "0"], "numbers from 1 to 256 are wanted, such as 1,8,64"),
        (["--threads", "1,,2"], "numbers from 1 to 256"),
        (["--threads", "257"], "numbers from 1 to 256"),
        (["--threads", "many"], "numbers from 1 to 256"),
        (["--threads", "²"], "numbers from 1 to 256"),
        (["--threads", "1,1"], "each once"),
        (["--threads", "1,2,3,4,5,6,7,8,9"], "at most 8 numbers"),
        (["--seconds", "0"], "--seconds"),
        (["--seconds", "61"], "--seconds"),
        (["--seconds", "nan"], "--seconds"),
        (["--data", "0"], "--data"),
        (["--sessions", "9"], "--sessions"),
        (["--plot", "/nowhere/bench.svg"], "there is no directory /nowhere"),
        (["--plot", "/"], "directory"),
        (["--ns", "not a name"], "ns must be"),
    ],
)
def test_bad_options_are_refused_before_anything_is_asked(options: list[str], said: str) -> None:
    done = ask("bench", "--server", "127.0.0.1:1", *options)
    assert (done.code, done.out) == (codes.USAGE, "")
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_server_that_is_away_is_exit_code_3(memcached: Memcached) -> None:
    done = ask(*TINY, "--server", "127.0.0.1:1")
    assert (done.code, done.out) == (codes.UNAVAILABLE, "")
    assert done.err == "memsessions: 127.0.0.1:1: Connection refused\n"
    done = ask(*TINY, "--server", memcached.address, "--server", "127.0.0.1:1")
    assert (done.code, done.out) == (codes.UNAVAILABLE, "")


def test_connections_that_a_server_does_not_have_are_not_taken_from_others() -> None:
    with Memcached("-c", "40") as server:
        done = ask("bench", "--server", server.address, "--threads", "1,64")
        assert (done.code, done.out) == (codes.USAGE, "")
        assert "of its 40 connections left, and 138 are needed: give fewer --threads" in done.err
        assert ask(*TINY, "--server", server.address).code == 0


def test_files_that_this_process_may_not_open_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (100, 100))
    done = ask("bench", "--server", "127.0.0.1:1")
    assert (done.code, done.out) == (codes.USAGE, "")
    assert "128 connections are needed, and this process may have 100 files open" in done.err


def test_memory_that_would_be_taken_from_others_sessions_is_not_taken() -> None:
    with Memcached("-m", "8") as server:
        done = ask(*TINY, "--server", server.address, "--data", "5000")
        assert (done.code, done.out) == (codes.USAGE, "")
        assert "8 MB of memory left" in done.err
        assert "give less --data or fewer --sessions" in done.err
        assert everything(server) == []


def test_data_that_does_not_fit_into_an_item_is_refused(memcached: Memcached) -> None:
    env = {"MEMSESSIONS_MAX_ITEM_BYTES": "4096"}
    done = ask(*TINY, "--server", memcached.address, "--data", "5000", env=env)
    assert (done.code, done.out) == (codes.USAGE, "")
    assert "Traceback" not in done.err
    assert everything(memcached) == []


def test_threads_that_the_machine_does_not_have_are_exit_code_2(
    own_memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def started(thread: threading.Thread) -> None:
        if threading.active_count() > 30:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", started)
    done = ask(*TINY, "--threads", "64", "--server", own_memcached.address)
    assert (done.code, done.out) == (codes.USAGE, "")
    assert "no room for 64 threads" in done.err
    assert everything(own_memcached) == []


# ------------------------------------------------------------------------------------------ drawing


def test_the_plot_shows_every_operation_and_needs_nothing_else(memcached: Memcached, tmp_path: Path) -> None:
    file = tmp_path / "bench.svg"
    file.write_text("what was there")
    done = ask(*TINY, "--server", memcached.address, "--plot", str(file), "--json")
    assert (done.code, done.err) == (0, "")
    text = file.read_text()
    tree = ElementTree.fromstring(text)
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    shown = [(each.text or "").strip() for each in tree.iter() if each.tag.endswith("}text")]
    for name in ("1 thread", "2 threads", "bare get", *OPERATIONS):
        assert name in shown
    for each in done.document["results"]:
        rate = each["per_second"]
        assert (f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}") in shown
    assert memcached.address in text
    assert "script" not in text
    assert "@import" not in text
    assert not any("href" in name for each in tree.iter() for name in each.attrib)
    assert stat.S_IMODE(file.stat().st_mode) & 0o400
    assert [each.name for each in tmp_path.iterdir()] == ["bench.svg"]


def test_a_plot_needs_pygal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pygal", None)
    done = ask(*TINY, "--server", "memory://", "--plot", str(tmp_path / "bench.svg"))
    assert (done.code, done.out) == (codes.USAGE, "")
    assert "pip install 'memsessions[cli]'" in done.err


def test_a_plot_stays_as_it_was_where_there_is_nothing_to_draw(tmp_path: Path) -> None:
    file = tmp_path / "bench.svg"
    file.write_text("what was there")
    assert ask(*TINY, "--server", "127.0.0.1:1", "--plot", str(file)).code == codes.UNAVAILABLE
    assert file.read_text() == "what was there"
    assert [each.name for each in tmp_path.iterdir()] == ["bench.svg"]


def test_the_plot_of_what_is_slow_has_bars_too() -> None:
    from memsessions.cli.bench import report

    results = [
        {"operation": name, "threads": 1, "per_second": rate}
        for name, rate in (("get", 1000.0), ("soapp", 0.0), ("kill", 0.5))
    ]
    found = json.loads(ask(*TINY, "--server", "memory://", "--json").out)
    tree = ElementTree.fromstring(report.drawing({**found, "results": results}))
    bars = [each for each in tree.iter() if "rect" in each.attrib.get("class", "").split()]
    assert len(bars) == 3
    assert all(float(each.attrib["height"]) > 0 for each in bars)


# ---------------------------------------------------------------------------------------- measuring


class Clock:
    """Moves only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        monkeypatch.setattr(measuring, "perf_counter_ns", lambda: self.now)

    def taking(self, seconds: float, log: list[str] | None = None, name: str = "") -> Case:
        """Calls that take so long."""

        def caller(_number: int, _threads: int) -> Call:
            def call() -> bool:
                self.now += round(seconds * 1e9)
                if log is not None:
                    log.append(name)
                return True

            return call

        return Case(name, caller)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def unstopped() -> bool:
    return False


def untold(_done: int, _total: int) -> None:
    pass


def test_percentiles_are_those_of_all_calls() -> None:
    measured = Measured("get", 1)
    measured.times.extend([1_000_000 * n for n in range(100, 0, -1)])
    assert measured.percentiles_ms(0.5, 0.95, 0.99) == [50.0, 95.0, 99.0]
    one = Measured("get", 1)
    one.times.append(7_000_000)
    assert one.percentiles_ms(0.5, 0.99) == [7.0, 7.0]


def test_rates_and_ratios_are_medians_over_the_rounds() -> None:
    bare = Measured("bare get", 1, rates={1: 100.0, 2: 1000.0, 3: 200.0})
    get = Measured("get", 1, rates={1: 50.0, 2: 1000.0, 3: 50.0})
    assert bare.rate == 200
    assert get.in_calls_of(bare) == 2.0  # of 2, 1 and 4
    slow = Measured("soapp", 1, rates={1: 1.0})
    assert slow.in_calls_of(bare) == 100.0


def test_time_is_cut_into_rounds() -> None:
    assert planned(1.0) == Plan(5, 0.2)
    assert planned(0.03) == Plan(3, 0.01)


def test_cases_take_turns_after_a_round_that_does_not_count(clock: Clock) -> None:
    log: list[str] = []
    told: list[tuple[int, int]] = []
    cases = [clock.taking(0.1, log, "a"), clock.taking(0.05, log, "b")]
    first, second = measure(
        cases, [1], Plan(3, 0.1), lambda done, total: told.append((done, total)), unstopped
    )
    assert "".join(log) == "ab" + "abb" * 3
    assert told == [(done, 8) for done in range(1, 9)]
    assert first.rate == pytest.approx(10)
    assert second.rate == pytest.approx(20)
    assert (len(first.times), len(second.times)) == (3, 6)


def test_what_takes_long_is_left_out_once_it_was_measured_for_long_enough(clock: Clock) -> None:
    log: list[str] = []
    cases = [clock.taking(0.1, log, "a"), clock.taking(9.0, log, "b")]
    _, slow = measure(cases, [1], Plan(10, 0.1), untold, unstopped)
    assert log.count("a") == 11
    assert log.count("b") == 1 + 3
    assert slow.rate == pytest.approx(1 / 9)


def test_nothing_is_answered_where_it_was_stopped(clock: Clock) -> None:
    log: list[str] = []
    cases = [clock.taking(0.1, log, "a")]
    assert measure(cases, [1], Plan(3, 0.1), untold, lambda: len(log) >= 2) == []
    assert len(log) == 2


def test_threads_begin_together_and_each_calls_once_at_least() -> None:
    inside = threading.Barrier(8)

    def caller(_number: int, _threads: int) -> Call:
        def call() -> bool:
            inside.wait(20)  # all are in a call at the same time
            return True

        return call

    assert len(in_threads(caller, 8, seconds=0).times) == 8


def test_threads_end_when_nothing_is_left() -> None:
    left = list(range(100))

    def caller(_number: int, _threads: int) -> Call:
        def call() -> bool:
            try:
                left.pop()
            except IndexError:
                return False
            return True

        return call

    assert len(in_threads(caller, 4).times) == 100


def test_all_threads_end_when_one_fails() -> None:
    def caller(number: int, _threads: int) -> Call:
        def call() -> bool:
            if number == 3:
                raise ValueError("the third")
            return True

        return call

    with pytest.raises(ValueError, match="the third"):
        in_threads(caller, 4)
