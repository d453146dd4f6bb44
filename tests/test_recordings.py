"""The pictures in the README can be made anew, and show what the commands show."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pyte
import pytest

from memsessions.cli.frame import SECTIONS

from .recordings.scenes import FOLDER, SCENES
from .recordings.svg import svg

ROOT = Path(__file__).parents[1]
TEXT = "{http://www.w3.org/2000/svg}text"

#: Of each command, what nobody could mistake for anything else, whatever the figures are.
SHOWN = {
    "demo": ["$ memsessions demo", "Alice logs in on her phone", "killsoid", "{'kill': 2}"],
    "top": [
        "$ memsessions top",
        "forum",
        "shop",
        "wiki",
        "created/s",
        "misses/s",
        "p99 ms",
        "ping in ms",
        "⢕⢕",
    ],
    "doctor": ["$ memsessions doctor", "127.0.0.1", "memory"],
}


def texts(content: str) -> str:
    """All text of an SVG, which must be well-formed, and need nothing from elsewhere."""
    root = ElementTree.fromstring(content)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "url(" not in content
    assert "href" not in content
    return "\n".join(each.text or "" for each in root.iter(TEXT))


def test_the_program_records_every_command(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.recordings", "--folder", str(tmp_path)]
    done = subprocess.run(
        [*command, "--seconds", "1.5"], capture_output=True, text=True, check=False, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / f"{name}.svg") for name in SCENES]
    for name in SCENES:
        shown = texts((tmp_path / f"{name}.svg").read_text(encoding="utf-8"))
        for text in SHOWN[name]:
            assert text in shown


@pytest.mark.parametrize("name", SCENES)
def test_what_is_in_the_repository_is_such_a_recording(name: str) -> None:
    shown = texts((FOLDER / f"{name}.svg").read_text(encoding="utf-8"))
    for text in SHOWN[name]:
        assert text in shown


def test_what_is_recorded_are_commands_that_there_are() -> None:
    assert SCENES.keys() == SHOWN.keys()
    assert SCENES.keys() <= {name for section in SECTIONS.values() for name in section}
    done = subprocess.run(
        [sys.executable, "-m", "tests.recordings", "dome"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert "there is no recording of dome; there are demo, top, doctor" in done.stderr


def test_characters_colours_and_places_are_those_of_the_screen() -> None:
    screen = pyte.Screen(20, 5)
    pyte.Stream(screen).feed("a <b> & \x1b[31;1mr d\x1b[0m\r\n\r\n   \x1b[7mon\x1b[0m\x1b[38;5;208m!\x1b[0m")
    content = svg(screen, 'say "<hi>"')
    root = ElementTree.fromstring(content)
    assert root.get("aria-label") == 'say "<hi>"'
    title, plain, red, on, last = root.iter(TEXT)
    assert [each.text for each in (title, plain, red, on, last)] == [
        '$ say "<hi>"',
        "a <b> &",
        "r d",
        "on",
        "!",
    ]
    assert (red.get("fill"), red.get("font-weight")) == ("#f0717c", "bold")
    assert last.get("fill") == "#ff8700"
    assert plain.get("y") == red.get("y") != on.get("y")
    assert float(red.get("x", 0)) == pytest.approx(float(plain.get("x", 0)) + 8 * 8.4)
    assert on.get("fill") == "#1b1f27"  # as reversed


def test_the_readme_shows_every_recording() -> None:
    shown = re.findall(r"!\[[^]]+\]\((tests/recordings/[^)]+)\)", (ROOT / "README.md").read_text())
    assert sorted(shown) == sorted(f"tests/recordings/{name}.svg" for name in SCENES)
