"""The benchmarks run, and print and write what they promise; how fast anything is, is not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from .benchmarks.lacking import Lacking
from .benchmarks.parts import PARTS
from .benchmarks.peers.redis_server import find_redis
from .benchmarks.peers.redis_sessions import find_node
from .benchmarks.report import Row

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-W", "error", "-m", "tests.benchmarks"]


def _beside(targets: Mapping[str, float | None]) -> dict[str, float | None]:
    """The rows of calls and their targets; after each comes that of redis-sessions, without a target."""
    return {
        f"{call}, {whose}": target if whose == "memsessions" else None
        for call, target in targets.items()
        for whose in ("memsessions", "redis-sessions")
    }


def _lacking_here() -> Iterator[Lacking]:
    """What this machine lacks of redis-sessions."""
    for find in (find_redis, find_node):
        try:
            find()
        except Lacking as lacking:
            yield lacking


#: What threads and processes do.
WORK = ("PooledClient.get", "get", "create", "set", "rotate", "kill")

#: Every row of every table, and the ratio or size beside it that is aimed at.
ROWS: dict[str, dict[str, float | None]] = {
    "One call": {
        "PooledClient.get": None,
        "PooledClient(timeout=1).get": None,
        "Client.get": None,
        "PooledClient.gets + cas": None,
        "raw socket, bytes of PooledClient.get": None,
        "raw socket, bytes of get": None,
        "get": 0.9,
        "create": 1.2,
        "set": 1.75,
        "rotate": None,
        "kill": 0.8,
        "get, memory://": 0.3,
        "remix's scheme, read": None,
        "remix's scheme, save": None,
        "pylibmc get (C)": None,
        "pylibmc gets + cas (C)": None,
    },
    "The floor": {"get": 1.25, "PooledClient.get": None},
    "Sizes": {
        f"{size}, {call} / {peer}": None
        for size in ("64 B", "1 KB", "16 KB", "256 KB")
        for call, peer in (
            ("get", "PooledClient.get"),
            ("set", "PooledClient.gets + cas"),
            ("create", "PooledClient.set, acknowledged"),
        )
    },
    "Threads": {f"{call}, {number}": None for call in WORK for number in (1, 4, 16)},
    "Processes": {f"{call}, {number}": None for call in WORK for number in (1, 2, 4)},
    "Servers": dict.fromkeys(("get", "create", "set", "rotate", "kill", "soid", "killsoid", "soapp")),
    "Metrics": {"get, not counted": None, "get": 1.02},
    "Django": {
        "bare, memsessions": None,
        "read, memsessions": 1.0,
        "write, memsessions": 1.0,
        "bare, cache, PyMemcacheCache": None,
        "read, cache, PyMemcacheCache": None,
        "write, cache, PyMemcacheCache": None,
    },
    "Flask": {
        "bare, memsessions": None,
        "read, memsessions": 1.0,
        "write, memsessions": 1.0,
        "bare, memsessions, every session permanent": None,
        "read, memsessions, every session permanent": None,
        "write, memsessions, every session permanent": None,
        "bare, Flask-Session, writes not acknowledged": None,
        "read, Flask-Session, writes not acknowledged": None,
        "write, Flask-Session, writes not acknowledged": None,
        "bare, Flask-Session, writes acknowledged": None,
        "read, Flask-Session, writes acknowledged": None,
        "write, Flask-Session, writes acknowledged": None,
    },
    "Starlette": {
        "bare, memsessions": None,
        "read, memsessions": 1.0,
        "write, memsessions": 1.0,
        "bare, starsessions on Redis, load_session": None,
        "read, starsessions on Redis, load_session": None,
        "write, starsessions on Redis, load_session": None,
        "bare, starsessions on Redis, autoload": None,
        "read, starsessions on Redis, autoload": None,
        "write, starsessions on Redis, autoload": None,
    },
    "All of 1,000 sessions": {
        "mg KEY t, packets made before": None,
        "mg KEY t, made and parsed in Python": None,
        "activity": 1.5,
        "soapp": None,
        "killall": None,
        "wipe": None,
    },
    "Client memory": {
        "ping": None,
        "activity": 400,
        "iter_soapp": None,
        "soapp": None,
        "wipe": None,
        "repair": None,
    },
    "Index": {"index": 150_000},
    "Growth": {"get": 1.1, "create": 1.3, "kill": 1.1},
    "Imports": {"the interpreter alone": None, "pymemcache and orjson": None, "memsessions": 1.3},
}
#: Rows that are left out where something is lacking; by table, and by what that is.
OPTIONAL: dict[str, dict[str, tuple[str, ...]]] = {
    "One call": {"pylibmc": ("pylibmc get (C)", "pylibmc gets + cas (C)")},
    "Starlette": dict.fromkeys(
        ("Redis", "starsessions"), tuple(name for name in ROWS["Starlette"] if "starsessions" in name)
    ),
}
#: Tables without aims where that is lacking.
UNAIMED = {"Starlette": {"Redis", "starsessions"}}
#: What one call should be beside the same of redis-sessions.
CALLS = {"get": 7.0, "create": 4.0, "set": 4.0, "kill": 15.0}
#: The same of the tables that have rows of redis-sessions, too, where that can take part.
ROWS_BESIDE: dict[str, dict[str, float | None]] = {
    "Beside redis-sessions, one call at a time, in processes that are warm": _beside(CALLS),
    "Beside redis-sessions, one call at a time, in processes that are fresh": _beside(CALLS),
    "Headline of redis-sessions": {
        "create, memsessions, one at a time": None,
        "create, memsessions, all at once": 3.0,
        "create, redis-sessions, all at once": None,
        "get, memsessions, one at a time": None,
        "get, memsessions, all at once": 3.0,
        "get, redis-sessions, all at once": None,
        "kill, memsessions, one at a time": None,
        "kill, memsessions, all at once": 3.0,
        "kill, redis-sessions, all at once": None,
        "killall, memsessions, all at once": 3.0,
        "killall, redis-sessions, all at once": None,
    },
    "One user's sessions": _beside({"soid of 1": None, "soid of 10": None, "soid of 100": None}),
    "Lists of 1,000 sessions": _beside({"activity": None, "soapp": None, "killall": None, "wipe": None}),
    "Memory of a session on a new server": {
        "items, 100 sessions": None,
        "resident, 100 sessions": None,
        "items, 1,000 sessions": 0.42,
        "resident, 1,000 sessions": 0.42,
    },
    "Memory that a client holds of 1,000 sessions": {"memsessions": None, "redis-sessions": None},
}
#: And of these where it cannot: without a ratio there is no target.
ROWS_ALONE: dict[str, dict[str, float | None]] = {
    title: {name: None for name in rows if "redis-sessions" not in name}
    for title, rows in ROWS_BESIDE.items()
    if not title.startswith("Beside")
}
LACKING = {what.what for what in _lacking_here()}
ROWS |= ROWS_ALONE if LACKING else ROWS_BESIDE
#: The parts that these are of.
PARTS_BESIDE = ["redis_sessions", "headline", "soid", "lists", "memory"]
#: What a client holds of a session may be nothing.
MAY_BE_NONE = {"bytes/session", "bytes of objects/session"}
#: What every run is measured with.
PEERS = {
    "memsessions",
    "Python",
    "pymemcache",
    "orjson",
    "memcached",
    "session-storage-memcache",
    "Django",
    "Flask",
    "Flask-Session",
    "Starlette",
}


class Ran:
    """What a quick run left behind."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        file = folder / "figures.json"
        command = [*COMMAND, "--quick", "--sessions", "1000", "--json", str(file), *options]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,  # seconds of work, on a machine that may be busy with other tests
            check=False,
        )
        self.status, self.output, self.errors = done.returncode, done.stdout, done.stderr
        assert self.status == 0, self.errors
        self.figures: dict[str, Any] = json.loads(file.read_text())
        self.skipped = {skipped["what"] for skipped in self.figures["skipped"]}

    def table(self, title: str) -> dict[str, Any]:
        (found,) = [table for table in self.figures["tables"] if table["title"].startswith(title)]
        return {row["name"]: row for row in found["rows"]}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("benchmarks"))


def test_progress_is_not_shown_where_nobody_watches(ran: Ran) -> None:
    """A run whose standard error is no terminal writes nothing to it, warnings included."""
    assert ran.errors == ""


@pytest.mark.parametrize("title", ROWS)
def test_every_row_is_measured_and_printed(ran: Ran, title: str) -> None:
    """Each table has all its rows with their targets, and a positive figure in each of their columns."""
    table = ran.table(title)
    rows = dict(ROWS[title])
    for lacking in ran.skipped & OPTIONAL.get(title, {}).keys():
        for name in OPTIONAL[title][lacking]:
            del rows[name]
    if ran.skipped & UNAIMED.get(title, set()):
        rows = dict.fromkeys(rows)
    assert {name: row["target"] for name, row in table.items()} == rows
    for row in table.values():
        assert all(figure > 0 for column, figure in row["figures"].items() if column not in MAY_BE_NONE)
    printed = [block for block in ran.output.split("\n\n") if block.startswith(title)]
    assert len(printed) == 1
    lines = printed[0].splitlines()[2:]
    assert len(lines) == len(rows)
    for line, (name, target) in zip(lines, rows.items(), strict=True):
        assert line.startswith(f"  {name} ")
        assert line.endswith(("met", "missed")) == (target is not None)


def test_a_call_is_compared_with_itself_as_one(ran: Ran) -> None:
    """The ratio of a plain cache read to itself is exactly 1, as is that of bare keys, and of an import."""
    assert ran.table("One call")["PooledClient.get"]["figures"]["/ PooledClient.get"] == 1
    bare = ran.table("All of")["mg KEY t, packets made before"]
    assert bare["figures"]["/ mg KEY t"] == 1
    for title in ("Threads", "Processes"):
        by_as_many = [row["figures"]["/ PooledClient.get by as many"] for row in ran.table(title).values()]
        assert by_as_many[:3] == [1, 1, 1]
    assert ran.table("Imports")["pymemcache and orjson"]["figures"]["/ pymemcache and orjson"] == 1


def test_the_output_says_what_was_measured_with(ran: Ran) -> None:
    """It begins with the machine and the versions of everything involved; memcached has one thread."""
    machine, versions, *_ = ran.output.splitlines()
    assert list(ran.figures["machine"]) == ["CPU", "cores", "kernel"]
    for name, what in ran.figures["machine"].items():
        assert f"{name} {what}" in machine
    assert not PEERS - set(ran.figures["versions"])
    for name, what in ran.figures["versions"].items():
        assert f"{name} {what}" in versions
    assert " -t 1" in ran.figures["versions"]["memcached"]


@pytest.fixture(scope="module")
def without_pylibmc(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A run of one part, where something that it could use is lacking."""
    folder = tmp_path_factory.mktemp("lacking")
    (folder / "pylibmc.py").write_text("raise ImportError('libmemcached is not here')\n")
    return Ran(folder, "--only", "calls", PYTHONPATH=str(folder))


def test_what_is_lacking_is_skipped_by_name(without_pylibmc: Ran) -> None:
    """Its rows are left out, and the output and the JSON say what it is, why, and what installs it."""
    ran = without_pylibmc
    skipped = {"what": "pylibmc", "why": "libmemcached is not here", "flag": "--install"}
    assert ran.figures["skipped"] == [skipped]
    assert "skipped pylibmc: libmemcached is not here (--install installs it)" in ran.output.splitlines()
    assert "pylibmc" not in ran.figures["versions"]
    assert ran.table("One call").keys() == ROWS["One call"].keys() - set(OPTIONAL["One call"]["pylibmc"])


def test_a_part_runs_alone(without_pylibmc: Ran) -> None:
    """`--only` leaves out the other parts, and what takes part in these only."""
    titles = [table["title"].split(":")[0] for table in without_pylibmc.figures["tables"]]
    assert titles == ["One call", "The floor"]
    assert not {"Django", "Flask"} & without_pylibmc.figures["versions"].keys()


def test_what_the_machine_lacks_is_what_the_run_skips(ran: Ran) -> None:
    """Whatever is here takes part with its version; whatever is not is said to be lacking."""
    peers = {"Redis", "redis-sessions"}
    assert ran.skipped & peers == LACKING
    took_part = ran.figures["versions"].keys() & peers
    assert took_part.isdisjoint(LACKING)
    assert ("redis-sessions" in took_part) == (not LACKING)


def test_a_machine_without_redis_and_node_skips_them_by_name_and_goes_on(tmp_path: Path) -> None:
    """The parts beside redis-sessions measure memsessions alone then, and say why and what installs these."""
    ran = Ran(tmp_path, "--only", *PARTS_BESIDE, PATH=str(tmp_path))
    assert ran.errors == ""
    assert [(skipped["what"], skipped["why"]) for skipped in ran.figures["skipped"]] == [
        ("Redis", "no redis-server on PATH"),
        ("redis-sessions", "no node on PATH"),
    ]
    lines = ran.output.splitlines()
    assert "skipped Redis: no redis-server on PATH (--install installs it)" in lines
    assert "skipped redis-sessions: no node on PATH (--install installs it)" in lines
    assert len(ran.figures["tables"]) == len(ROWS_ALONE)
    for title, rows in ROWS_ALONE.items():
        assert {name: row["target"] for name, row in ran.table(title).items()} == rows
    assert not {"Redis", "redis-sessions", "Node"} & ran.figures["versions"].keys()


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_the_parts_are_listed() -> None:
    """`--list` names each part and what it measures, in the order in which they run."""
    done = _run("--list")
    assert done.returncode == 0
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()] == [
        [name, what] for name, what in PARTS.items()
    ]


@pytest.mark.parametrize(
    "arguments", [["--sessions", "99"], ["--sessions", "many"], ["--fast"], ["--only", "nothing"], ["--only"]]
)
def test_wrong_arguments_are_refused(arguments: list[str]) -> None:
    """A number of sessions that is too small or none, an unknown option or part: they end with the usage."""
    done = _run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m tests.benchmarks")


@pytest.mark.parametrize(
    ("row", "aim", "met"),
    [
        (Row("quick", {"us": 7.0, "ratio": 0.9}, 0.9), "<= 0.90 met", True),
        (Row("slow", {"us": 0.1, "ratio": 1.0}, 0.9), "<= 0.90 missed", False),
        (Row("times faster", {"ratio": 7.5}, 7, "higher"), ">= 7.00 met", True),
        (Row("times slower", {"ratio": 6.9}, 7, "higher"), ">= 7.00 missed", False),
        (Row("for comparison", {"ratio": 1.0}), "", None),
    ],
    ids=lambda value: value.name if isinstance(value, Row) else "",
)
def test_a_target_is_met_by_the_last_figure(row: Row, aim: str, met: bool | None) -> None:
    """It is the most that the last figure may be, or the least where more is better."""
    assert (row.aim(), row.met) == (aim, met)
    assert row.content()["met"] == met


@pytest.mark.parametrize("option", [["--json", "nowhere/figures.json"], ["--plots", "a_file/plots"]])
def test_what_cannot_be_written_is_said_before_anything_is_measured(
    tmp_path: Path, option: list[str]
) -> None:
    (tmp_path / "a_file").touch()
    name, where = option
    command = [*COMMAND, "--only", "calls", name, str(tmp_path / where)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"python -m tests.benchmarks: {tmp_path}")
