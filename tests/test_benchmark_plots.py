"""What the benchmarks draw: plots that say what the tables say, and need nothing but a browser."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest

from .benchmarks import plots
from .benchmarks.drawing import Bar, amounts, heading, lines, times_faster
from .benchmarks.report import Row, Table

SVG = "{http://www.w3.org/2000/svg}"
BARS = [heading("calls"), Bar("get", 4.0), Bar("set", 2.0), heading("lists"), Bar("get", 0.5)]


def _of_class(svg: bytes, name: str) -> list[ElementTree.Element]:
    return [each for each in ElementTree.fromstring(svg).iter() if name in each.get("class", "").split()]


def _texts(svg: bytes) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def _left_and_width(bar: ElementTree.Element) -> tuple[float, float]:
    return float(bar.attrib["x"]), float(bar.attrib["width"])


@pytest.fixture(scope="module")
def drawn() -> dict[str, bytes]:
    """One plot of each kind."""
    return {
        "ratios": times_faster("ratios", "Faster", "In words.", BARS),
        "amounts": amounts(
            "amounts", "Times", "In words.", [Bar("get", 20, 30), Bar("peer", 40, 80, False)], "us"
        ),
        "lines": lines("lines", "Growth", "In words.", {"get": [(10, 1), (100, 10)]}, ("sessions", "us")),
    }


@pytest.mark.parametrize("kind", ["ratios", "amounts", "lines"])
def test_a_plot_needs_nothing_else(drawn: dict[str, bytes], kind: str) -> None:
    """No script, no link, no font or picture from elsewhere, and nothing that only a mouse finds."""
    svg = drawn[kind]
    tags = {each.tag.removeprefix(SVG) for each in ElementTree.fromstring(svg).iter()}
    assert tags <= {"svg", "title", "desc", "defs", "style", "g", "rect", "path", "circle", "text"}
    assert re.findall(rb"https?:[^\"]*|url\(|@import|href|\son\w+=", svg) == [b"http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("kind", ["ratios", "amounts", "lines"])
def test_a_plot_is_told_to_who_cannot_see_it(drawn: dict[str, bytes], kind: str) -> None:
    """Its root is an image, labelled by its first two elements: the title and a description."""
    root = ElementTree.fromstring(drawn[kind])
    title, description = root[0], root[1]
    assert (title.tag, description.tag) == (f"{SVG}title", f"{SVG}desc")
    assert title.text in ("Faster", "Times", "Growth")
    assert description.text == "In words."
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"


@pytest.mark.parametrize("kind", ["ratios", "amounts", "lines"])
def test_a_plot_is_light_or_dark_as_its_reader_wants(drawn: dict[str, bytes], kind: str) -> None:
    """Paper and ink change together, so that it can be read on any page."""
    css = drawn[kind].decode()
    assert css.count("prefers-color-scheme:dark") == 1
    light, dark = css.split("prefers-color-scheme:dark")
    for colours, paper, ink in ((light, "#ffffff", "#1f2328"), (dark, "#0d1117", "#e6edf3")):
        assert f".background{{fill:{paper}}}" in colours
        assert f"text{{fill:{ink}}}" in colours


def test_the_same_figures_make_the_same_bytes() -> None:
    """No date and no random id is in a plot."""
    first, second = (times_faster("ratios", "Faster", "In words.", BARS) for _ in range(2))
    assert first == second
    assert first != times_faster("ratios", "Faster", "In words.", [*BARS[:-1], Bar("get", 0.6)])


def test_bars_of_ratios_begin_at_one(drawn: dict[str, bytes]) -> None:
    """To the right where ours is faster, to the left where it is slower, as long as their logarithms."""
    four, two = sorted(map(_left_and_width, _of_class(drawn["ratios"], "faster")), key=lambda bar: -bar[1])
    (half,) = map(_left_and_width, _of_class(drawn["ratios"], "slower"))
    assert four[0] == pytest.approx(two[0])
    assert four[1] == pytest.approx(2 * two[1])
    assert half[1] == pytest.approx(two[1])
    assert half[0] + half[1] == pytest.approx(two[0])


def test_every_bar_is_named_and_says_its_ratio(drawn: dict[str, bytes]) -> None:
    """Two that have one name under two headings are both there."""
    texts = _texts(drawn["ratios"])
    assert texts.count("get") == 2
    assert {"calls", "lists", "set", "4.0", "2.0", "0.50"} <= set(texts)
    assert [each.text for each in _of_class(drawn["ratios"], "heading")] == ["lists", "calls"]


def test_what_is_beyond_the_edge_says_by_how_much() -> None:
    """A ratio of 1 to 750 would make all other bars short: it ends at 1 to 10, and says so."""
    svg = times_faster("ratios", "Faster", "In words.", [Bar("activity", 1 / 750), Bar("get", 10.0)])
    (slower,), (faster,) = _of_class(svg, "slower"), _of_class(svg, "faster")
    assert _left_and_width(slower)[1] == pytest.approx(_left_and_width(faster)[1])
    assert "1/750, beyond the edge" in _texts(svg)


def test_bars_of_amounts_go_on_to_the_95th_percentile(drawn: dict[str, bytes]) -> None:
    """Each is followed by a paler one that makes both as long as the percentile; ours in another colour."""
    ours, our_tail, theirs, their_tail = map(_left_and_width, _of_class(drawn["amounts"], "rect"))
    assert ours[0] + ours[1] == pytest.approx(our_tail[0])
    assert theirs[1] == pytest.approx(2 * ours[1])
    assert (ours[1] + our_tail[1], theirs[1] + their_tail[1]) == pytest.approx((1.5 * ours[1], 4 * ours[1]))
    series = [each.get("class", "").split()[-1] for each in _of_class(drawn["amounts"], "series")]
    assert series[:4] == ["color-0", "color-1", "color-2", "color-3"]
    assert {"20.0", "40.0"} <= set(_texts(drawn["amounts"]))


def test_lines_are_logarithmic_both_ways() -> None:
    """What grows as the number of sessions does is straight, as far from one power of ten to the next."""
    points = [(10.0**power, 3 * 10.0**power) for power in range(4)]
    dots = _of_class(lines("lines", "Growth", "In words.", {"soapp": points}, ("sessions", "us")), "dot")
    across = [float(dot.attrib["cx"]) for dot in dots]
    upwards = [-float(dot.attrib["cy"]) for dot in dots]
    steps = [[after - before for before, after in pairwise(ordinates)] for ordinates in (across, upwards)]
    assert all(step == pytest.approx([step[0]] * 3) and step[0] > 0 for step in steps)


def test_lines_of_one_call_have_one_colour() -> None:
    """The first of them is unbroken; what begins with another name has another colour."""
    points = [(10.0, 1.0), (100.0, 2.0)]
    series = dict.fromkeys(("soapp, ours", "soapp, theirs", "killall, ours"), points)
    css = lines("lines", "Lists", "In words.", series, ("sessions", "ms")).decode()
    colours = [re.findall(rf"\.xy-graph \.color-{at}{{fill:(#\w+)", css) for at in range(3)]
    assert colours[0] == colours[1] != colours[2]
    assert re.findall(r"\.color-(\d) \.line{stroke-dasharray", css) == ["1"]


CALLS = Table(
    "One call: 80 bytes of record",
    [
        Row("PooledClient.get", {"median us": 20.0, "p95": 30.0, "/ PooledClient.get": 1.0}),
        Row("get", {"median us": 16.0, "p95": 30.0, "/ PooledClient.get": 0.8}, 0.9),
    ],
)
LISTS = [
    Table(
        f"Lists of {sessions:,} sessions of distinct users; 7 repetitions",
        [
            Row("soapp, memsessions", {"median ms": sessions / 500, "times faster": 2.5}, 2.5, "higher"),
            Row("soapp, redis-sessions", {"median ms": sessions / 200}),
        ],
    )
    for sessions in (1_000, 100_000)
]
GROWTH = Table("Growth: one call", [Row("get", {"at 1,000": 20.0, "at 100,000": 21.0, "ratio": 1.05}, 1.1)])
THREADS = Table("Threads: of one process", [Row("get, 1", {"calls/s": 9e3}), Row("get, 4", {"calls/s": 1e4})])


@pytest.mark.parametrize(
    ("tables", "names"),
    [
        ([], []),
        ([CALLS], ["overview", "calls"]),
        (LISTS, ["overview", "faster", "lists"]),
        (LISTS[:1], ["faster"]),
        ([GROWTH], ["growth"]),
        ([THREADS], ["concurrency"]),
        ([CALLS, *LISTS, GROWTH, THREADS], ["overview", "calls", "faster", "lists", "growth", "concurrency"]),
    ],
    ids=lambda value: "-".join(value) if value and isinstance(value[0], str) else "",
)
def test_what_was_measured_is_drawn(tables: list[Table], names: list[str], tmp_path: Path) -> None:
    """Each plot that the tables have figures for, in a file of its own, and no others."""
    files = plots.write(tmp_path / "new", tables)
    assert [file.name for file in files] == [f"{name}.svg" for name in names]
    assert sorted((tmp_path / "new").iterdir()) == sorted(files)


def test_the_plots_say_the_figures_of_the_tables(tmp_path: Path) -> None:
    """In their descriptions, with units; the overview says how many times faster, not the ratio of times."""
    said = {
        file.stem: ElementTree.fromstring(file.read_bytes())[1].text or ""
        for file in plots.write(tmp_path, [CALLS, *LISTS, GROWTH, THREADS])
    }
    assert "get 1.25 times faster;" in said["overview"]
    assert "PooledClient.get 20 microseconds;" in said["calls"]
    assert "Lists of 1,000 sessions of distinct users: soapp 2.5 times faster;" in said["faster"]
    assert "soapp, redis-sessions: 5 milliseconds with 1,000 sessions" in said["lists"]
    assert "21 microseconds with 100,000 sessions" in said["growth"]
    assert "get, threads: 1 9,000 calls per second;" in said["concurrency"]
