"""Tables, JSON and progress bars by themselves."""

from __future__ import annotations

import io
import json
import sys
import threading
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsessions.cli import output
from memsessions.cli.output import Output, Table, safe, styled, to_json
from memsessions.wording import number, span


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_safe_text_holds_nothing_that_a_terminal_would_obey(text: str) -> None:
    assert safe(text).isprintable()
    if text.isprintable():
        assert safe(text) == text


@settings(max_examples=50, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda of: st.lists(of)))
def test_json_holds_nothing_that_a_terminal_would_obey_and_is_the_same_data(document: object) -> None:
    text = to_json(document)
    assert text.isprintable()
    assert text.isascii()
    assert json.loads(text) == document


def shown(table: Table, width: int) -> list[str]:
    """The lines of a table on a terminal of this width, without colours."""
    console = output.TerminalConsole(file=io.StringIO(), width=width, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(output._drawn(table, width))
    return [line.rstrip() for line in captured.get().splitlines()]


WIDE = Table(
    ("user", "idle", "r", "data", "handle"),
    [("alice", "3 s", 1, "d" * 40, "h" * 22), ("u" * 30, "2 min 3 s", 100, None, "i" * 22)],
    caption="2 sessions",
    whole=("idle", "handle"),
    cut="data",
)


def test_a_table_is_as_wide_as_it_has_to_be() -> None:
    lines = shown(WIDE, 200)
    assert lines[0].split() == ["user", "idle", "r", "data", "handle"]
    assert lines[2] == f"{'alice':30}  {'3 s':9}    1  {'d' * 40}  {'h' * 22}"
    assert lines[3] == f"{'u' * 30}  {'2 min 3 s':9}  100  {'-':40}  {'i' * 22}"
    assert lines[4].strip() == "2 sessions"


def test_a_column_is_cut_to_what_is_left_and_then_left_out() -> None:
    lines = shown(WIDE, 90)
    assert "ddd…" in lines[2]
    assert len(lines) == 5
    assert all(len(line) <= 90 for line in lines)
    assert shown(WIDE, 74)[0].split() == ["user", "idle", "r", "handle"]


def test_a_narrow_table_folds_what_is_not_to_be_copied() -> None:
    lines = shown(WIDE, 60)
    assert any("h" * 22 in line for line in lines)
    assert sum(line.count("u") for line in lines[1:]) == 30
    assert all(len(line) <= 60 for line in lines)


def test_a_table_on_a_very_narrow_terminal_becomes_paragraphs_that_hold_everything() -> None:
    lines = shown(WIDE, 35)
    assert lines[0] == "user    alice"
    assert f"handle  {'h' * 22}" in lines
    assert "".join(lines).count("d" * 20) > 0
    assert lines[-1] == "2 sessions"
    assert all(len(line) <= 35 for line in lines)


def test_in_a_pipe_nothing_is_cut_off_folded_or_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    Output().show(Table(("name", "n", "text"), [(styled("ä\x1b[31m", "red"), 7, "t" * 500), ("b", 12, None)]))
    assert capsys.readouterr().out.splitlines() == [
        "name        n  text",
        "ä\\x1b[31m   7  " + "t" * 500,
        "b          12  -",
    ]


def test_markup_in_data_is_data() -> None:
    assert "[red]a[/red]" in "".join(shown(Table(("user",), [("[red]a[/red]",)]), 80))


def test_an_answer_in_json_is_all_that_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.as_json = True
    out.show("for people")
    out.note("for people")
    with out.progress("working") as tell:
        tell(1, 2)
    out.answer([1], "for people", Table(("a",), [("b",)]))
    assert capsys.readouterr() == ("[1]\n", "")


def test_a_bar_appears_after_a_second_on_a_terminal_and_goes_away() -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    with (
        mock.patch.multiple(sys, stdout=Screen(), stderr=screen),
        mock.patch("memsessions.cli.output.time") as clock,
        mock.patch.dict("os.environ", {"TERM": "xterm"}),
    ):
        clock.monotonic.return_value = 0.0
        with Output().progress("working") as tell:
            for clock.monotonic.return_value in (0.2, 0.9, 0.999):
                tell(1, 10)
            assert screen.getvalue() == ""
            clock.monotonic.return_value = 1.5
            tell(5, 10)
            threads = [threading.Thread(target=tell, args=(n, 10)) for n in (6, 7, 8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            tell(10, 10)
        assert "working" in screen.getvalue()
        assert "\x1b[?25l" in screen.getvalue()  # hides the cursor, and shows it again
        assert screen.getvalue().rindex("\x1b[?25h") > screen.getvalue().rindex("\x1b[?25l")
        assert screen.getvalue().endswith("\x1b[1A\x1b[2K")  # up and erased


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3659, "1 h"),
        (7260, "2 h 1 min"),
        (86_400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
    ],
)
def test_spans_have_two_units_at_most(seconds: int, words: str) -> None:
    assert span(seconds) == words


def test_numbers_agree_with_their_nouns() -> None:
    assert [number(n, "session") for n in (0, 1, 2)] == ["0 sessions", "1 session", "2 sessions"]
    assert number(2, "entry", "entries") == "2 entries"
