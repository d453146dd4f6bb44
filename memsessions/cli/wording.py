"""How commands put things into words."""

from __future__ import annotations

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def number(count: int, thing: str, things: str = "") -> str:
    """`1 session`, `2 sessions`."""
    return f"{count} {thing}" if count == 1 else f"{count} {things or f'{thing}s'}"


def span(seconds: int) -> str:
    """`45 s`, `3 min 20 s`, `2 d 4 h`: two units at most."""
    for at, (unit, length) in enumerate(_UNITS):
        whole, rest = divmod(seconds, length)
        if whole:
            smaller, its_length = _UNITS[min(at + 1, len(_UNITS) - 1)]
            more = rest // its_length
            return f"{whole} {unit} {more} {smaller}" if more else f"{whole} {unit}"
    return "0 s"
