"""Runs commands on a terminal, on a memcached of its own, and writes what they look like as SVG files."""

from __future__ import annotations

import argparse
from pathlib import Path

from .scenes import FOLDER, SCENES, record


def main() -> None:
    """Record what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.recordings", description=__doc__)
    parser.add_argument("command", nargs="*", help=f"which; all by default: {', '.join(SCENES)}")
    parser.add_argument("--seconds", type=float, default=60, help="watch `top` for so long (default: 60)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="write to it (default: where they are)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.command if name not in SCENES]
    if unknown:
        parser.error(f"there is no recording of {', '.join(unknown)}; there are {', '.join(SCENES)}")
    for name in arguments.command or SCENES:
        path = arguments.folder / f"{name}.svg"
        path.write_text(record(name, arguments.seconds), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
