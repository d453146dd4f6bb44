"""How things are put into words for people."""

from __future__ import annotations

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB")


def number(count: int, thing: str, things: str = "") -> str:
    """`1 session`, `2 sessions`."""
    return f"{count} {thing}" if count == 1 else f"{count} {things or f'{thing}s'}"


def many(count: int, thing: str, things: str = "") -> str:
    """The same for what may be many: `12,000 sessions`."""
    return number(count, thing, things) if count < 1000 else f"{count:,} {things or f'{thing}s'}"


def span(seconds: int) -> str:
    """`45 s`, `3 min 20 s`, `2 d 4 h`: two units at most."""
    for at, (unit, length) in enumerate(_UNITS):
        whole, rest = divmod(seconds, length)
        if whole:
            smaller, its_length = _UNITS[min(at + 1, len(_UNITS) - 1)]
            more = rest // its_length
            return f"{whole} {unit} {more} {smaller}" if more else f"{whole} {unit}"
    return "0 s"


def size(length: float) -> str:
    """`512 bytes`, `4.9 MiB`, `64 MiB`."""
    for unit in _SIZES:
        if length < 1024 or unit == _SIZES[-1]:
            break
        length /= 1024
    shown = f"{length:.0f}" if length >= 10 or length == int(length) else f"{length:.1f}"
    return f"{shown} {unit}"


def rounded(count: int) -> int:
    """To two digits, for what is only about right: 108,312 is 110,000."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return round(count / step) * step
