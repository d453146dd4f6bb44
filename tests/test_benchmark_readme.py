"""The figures in the README: they are those of a run that is kept, and none is left out for being bad."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .benchmarks import plots, readme
from .benchmarks.comparisons import OTHER_PICKS, PICKS
from .benchmarks.report import Row, Table
from .benchmarks.results import Results

MARKED = f"# Title\n\n{readme.BEGIN}\n\nold\n\n{readme.END}\n\nmore\n"
RESULTS = Results(
    tables=[
        Table(
            "One call: 80 bytes of record",
            [
                Row("PooledClient.get", {"median us": 20.0, "/ PooledClient.get": 1.0}),
                Row("pylibmc get (C)", {"median us": 8.0, "/ PooledClient.get": 0.4}),
                Row("get", {"median us": 16.0, "/ PooledClient.get": 0.8}, 0.9),
                Row("create", {"median us": 30.0, "/ PooledClient.get": 1.5}, 1.2),
            ],
        ),
        Table(
            "Lists of 100,000 sessions of distinct users",
            [
                Row("soapp, memsessions", {"median ms": 400.0, "times faster": 2.75}, 2.5, "higher"),
                Row("soapp, redis-sessions", {"median ms": 1100.0}),
                Row("activity, memsessions", {"median ms": 75.0, "times faster": 1 / 750}, None, "higher"),
                Row("activity, redis-sessions", {"median ms": 0.1}),
                Row("killall, memsessions", {"median ms": 75.0}),  # the other was lacking
            ],
        ),
        Table("Growth", [Row("get", {"at 1,000": 20.0, "at 100,000": 21.0, "ratio": 1.05}, 1.1)]),
        Table(
            "Memory of a session on a new server, of distinct users, in bytes",
            [
                Row("items, 1,000 sessions", {"memsessions": 9.0, "redis-sessions": 9.0, "ratio": 1.0}),
                Row(
                    "items, 100,000 sessions",
                    {"memsessions": 506.0, "redis-sessions": 1012.0, "ratio": 0.5},
                    0.42,
                ),
            ],
        ),
    ],
    date="2026-01-02",
    machine={"CPU": "Some", "cores": "2"},
    versions={"memsessions": "0.1.0", "Redis": "7.0.15"},
    plan={"sessions": 100_000, "repetitions": 15, "calls": 400, "requests": 100, "scan_repetitions": 7},
    skipped=[{"what": "starsessions", "why": "not installed", "flag": "--install"}],
)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ")]


def _written(results: Results, file: Path) -> Path:
    content: dict[str, Any] = {**vars(results), "tables": [table.content() for table in results.tables]}
    file.write_text(json.dumps(content))
    return file


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose README has the marks."""
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    monkeypatch.setattr(readme, "RESULTS", tmp_path / "results")
    (tmp_path / "README.md").write_text(MARKED)
    return tmp_path


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["readme", *map(str, arguments)])
    readme.main()


def test_the_readme_says_what_was_measured() -> None:
    """Its figures are those of the run that is kept beside the tests: nobody has edited them."""
    kept = readme.kept()
    expected = readme.section(Results.read(kept)) if kept else None
    assert readme.written(readme.README.read_text()) == expected


def test_the_plot_in_the_readme_says_what_was_measured() -> None:
    """Each text in it is one that is drawn from the run that is kept; without a run there is no plot."""
    kept = readme.kept()
    drawn = plots.overview(Results.read(kept)) if kept else None
    pictures = [file.read_bytes() for file in sorted(readme.RESULTS.glob("*.svg"))[-1:]]
    assert list(map(_texts, pictures)) == ([_texts(drawn)] if drawn else [])


def _texts(svg: bytes) -> list[str]:
    """pygal writes other bytes in other versions."""
    return [
        text for each in ElementTree.fromstring(svg).iter() if (text := each.text) and "style" not in each.tag
    ]


def test_a_line_says_both_times_and_the_ratio_of_pairs() -> None:
    """Times faster is what was measured side by side, in units that are read at a glance."""
    text = readme.section(RESULTS)
    assert "| `soapp` | 400 ms | 1.1 s | redis-sessions | 2.8 times faster | 2.5 times faster: met |" in text
    assert (
        "| `get` | 16 µs | 20 µs | pymemcache's `PooledClient.get` | 1.25 times faster | 1.11 times" in text
    )


def test_what_is_lost_is_there_and_is_marked() -> None:
    """A row where memsessions is slower, without an aim, and one that misses its aim: both in bold."""
    text = readme.section(RESULTS)
    assert "| `activity` | 75 ms | 100 µs | redis-sessions | **750 times slower** |  |" in text
    assert "| **1.50 times slower** | at most 1.2 times slower: **missed** |" in text
    assert (
        "| `get`, beside a client in C | 16 µs | 8 µs | pylibmc's `get` | **2.0 times slower** |  |" in text
    )
    assert "Of 5 aims, 2 are missed." in text


def test_what_is_no_speed_is_said_as_a_part() -> None:
    """Memory and growth are so many times as much; of memory, that with the most sessions."""
    text = readme.section(RESULTS)
    assert (
        "| a session | 506 bytes | 1,012 bytes | redis-sessions | 0.50 times as much | at most 0.42: **m"
        in text
    )
    assert "| `get` | 21 µs | 20 µs | among few | 1.05 times as much | at most 1.1: met |" in text


def test_what_was_not_measured_is_left_out_by_name() -> None:
    """No row and no heading without figures; what was lacking is named."""
    text = readme.section(RESULTS)
    assert "killall" not in text
    assert "A request" not in text
    assert "Lacking, and so left out: starsessions." in text
    assert "Lacking" not in readme.section(replace(RESULTS, skipped=[]))


def test_figures_are_dated_and_can_be_measured_again() -> None:
    """The section says when, on what, with what, and by which command; of another number of sessions, too."""
    text = readme.section(RESULTS).replace("\n", " ")
    assert "Measured on 2026-01-02 by `python -m tests.benchmarks --install --json FILE.json`" in text
    assert "CPU Some, cores 2; memsessions 0.1.0, Redis 7.0.15." in text
    assert "results/2026-01-02.svg)" in text
    more = replace(RESULTS, plan={**RESULTS.plan, "sessions": 1_000_000})
    assert "`python -m tests.benchmarks --install --sessions 1000000 --json FILE.json`" in readme.section(
        more
    )


def test_all_rows_have_as_many_cells() -> None:
    """So that Markdown shows them as one table, which is short."""
    lines = _lines(readme.section(RESULTS))
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {7}
    assert sum(len(picks) for picks in (*PICKS.values(), *OTHER_PICKS.values())) <= 25


def test_only_what_is_between_the_marks_is_replaced() -> None:
    """What is written is what is found again, and the rest stays as it was."""
    assert readme.written(MARKED) == "old"
    new = readme.replaced(MARKED, "new\n\n| table |")
    assert readme.written(new) == "new\n\n| table |"
    assert new.replace("new\n\n| table |", "old") == MARKED
    assert readme.written("# Title") is None
    with pytest.raises(ValueError, match="no lines"):
        readme.replaced("# Title", "new")


def test_a_run_is_kept_with_its_plot(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README says what it says, and it can be written again from what is kept, with the same result."""
    file = _written(RESULTS, project / "figures.json")
    _main(monkeypatch, file)
    kept = project / "results" / "2026-01-02.json"
    assert readme.kept() == kept
    assert kept.read_bytes() == file.read_bytes()
    assert kept.with_suffix(".svg").read_bytes() == plots.overview(RESULTS)
    text = (project / "README.md").read_text()
    assert readme.written(text) == readme.section(RESULTS)
    _main(monkeypatch, kept)
    assert (project / "README.md").read_text() == text


def test_a_section_is_printed_without_writing(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--print` changes no file."""
    _main(monkeypatch, "--print", _written(RESULTS, project / "figures.json"))
    assert capsys.readouterr().out == readme.section(RESULTS) + "\n"
    assert (project / "README.md").read_text() == MARKED
    assert readme.kept() is None


@pytest.mark.parametrize("wrong", ["repetitions", "parts", "marks"])
def test_what_cannot_be_shown_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    """A quick run, one of some parts where nothing was lacking, a README without marks: nothing is kept."""
    plan = {**RESULTS.plan, "repetitions": 2 if wrong == "repetitions" else 15}
    skipped = [] if wrong == "parts" else RESULTS.skipped
    file = _written(replace(RESULTS, plan=plan, skipped=skipped), project / "figures.json")
    if wrong == "marks":
        (project / "README.md").write_text("# Title")
    with pytest.raises(SystemExit, match="2"):
        _main(monkeypatch, file)
    errors = {"repetitions": "say nothing of speed", "parts": "has nothing of set, kill", "marks": "no lines"}
    assert errors[wrong] in capsys.readouterr().err
    assert readme.kept() is None
