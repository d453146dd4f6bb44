"""A terminal's screen as an SVG that needs nothing else: no font, no script, no other file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple
from xml.sax.saxutils import escape

import pyte

# In pixels. Lines of boxes join where a row is about as high as the font's own line.
_FONT_SIZE, _COLUMN, _ROW = 14, 8.4, 17
_MARGIN, _BAR = 12, 30
_BACKGROUND, _FOREGROUND, _BAR_COLOUR, _TITLE_COLOUR = "#1b1f27", "#d5d9e0", "#2a303c", "#9aa3b2"
_FONTS = "'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"
_WORDS = re.compile(r"\S+(?: \S+)*")
#: What pyte calls the colours that a terminal chooses itself.
_COLOURS = {
    "black": "#3b4252",
    "red": "#f0717c",
    "green": "#8fcf7f",
    "brown": "#e6c35c",
    "blue": "#7aa8f0",
    "magenta": "#c99ae0",
    "cyan": "#6cc7d1",
    "white": "#d5d9e0",
    "brightblack": "#77808f",
    "brightred": "#ff8b94",
    "brightgreen": "#a9e69a",
    "brightbrown": "#ffdd80",
    "brightyellow": "#ffdd80",
    "brightblue": "#9cc2ff",
    "brightmagenta": "#e0b8f2",
    "brightcyan": "#8fe3ec",
    "brightwhite": "#ffffff",
}


class _Look(NamedTuple):
    """How a character is drawn."""

    colour: str
    behind: str | None
    bold: bool
    italic: bool
    underlined: bool


def svg(screen: pyte.Screen, title: str) -> str:
    """The rows of a screen down to the last that is not empty, with a title above them."""
    rows = [_runs(screen, row) for row in range(screen.lines)]
    while rows and not rows[-1]:
        rows.pop()
    width = round(screen.columns * _COLUMN + 2 * _MARGIN)
    height = _BAR + len(rows) * _ROW + 2 * _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{_attribute(title)}">',
        f'<rect width="{width}" height="{height}" rx="8" fill="{_BACKGROUND}"/>',
        f'<path d="M0 {_BAR}V8a8 8 0 0 1 8-8H{width - 8}a8 8 0 0 1 8 8V{_BAR}Z" fill="{_BAR_COLOUR}"/>',
        f'<g font-family="{_FONTS}" font-size="{_FONT_SIZE}">',
        f'<text x="{_MARGIN}" y="{_BAR - 10}" fill="{_TITLE_COLOUR}">$ {escape(title)}</text>',
    ]
    for row, runs in enumerate(rows):
        top = _BAR + _MARGIN + row * _ROW
        for column, text, look in runs:
            lines += _run(column, top, text, look)
    return "\n".join([*lines, "</g>", "</svg>", ""])


def _runs(screen: pyte.Screen, row: int) -> list[tuple[int, str, _Look]]:
    """The parts of a row that look the same, each with its first column; spaces only where they show."""
    cells = [(column, screen.buffer[row][column]) for column in range(screen.columns)]
    found = []
    for look, group in groupby(cells, key=lambda cell: _look(cell[1])):
        part = list(group)
        text = "".join(cell.data for _, cell in part)
        if text.strip() or look.behind:
            found.append((part[0][0], text, look))
    return found


def _look(cell: pyte.screens.Char) -> _Look:
    colour, behind = _colour(cell.fg) or _FOREGROUND, _colour(cell.bg)
    if cell.reverse:
        colour, behind = behind or _BACKGROUND, colour
    if cell.data == " " and not cell.underscore:  # of a space nothing but this is to be seen
        return _Look(_FOREGROUND, behind, False, False, False)
    return _Look(colour, behind, cell.bold, cell.italics, cell.underscore)


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    return _COLOURS.get(name) or f"#{name}"


def _run(column: int, top: int, text: str, look: _Look) -> Iterator[str]:
    left = _MARGIN + column * _COLUMN
    if look.behind:
        width = len(text) * _COLUMN
        yield f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_ROW}" fill="{look.behind}"/>'
    style = f' fill="{look.colour}"'
    style += ' font-weight="bold"' if look.bold else ""
    style += ' font-style="italic"' if look.italic else ""
    style += ' text-decoration="underline"' if look.underlined else ""
    # Of several spaces, an SVG shows one: each text begins at its own place. Its length keeps columns in
    # line whatever font there is.
    for words in _WORDS.finditer(text):
        left = _MARGIN + (column + words.start()) * _COLUMN
        length = f'textLength="{len(words[0]) * _COLUMN:.1f}" lengthAdjust="spacingAndGlyphs"'
        yield f'<text x="{left:.1f}" y="{top + _ROW - 4}"{style} {length}>{escape(words[0])}</text>'


def _attribute(text: str) -> str:
    return escape(text, {'"': "&quot;"})
