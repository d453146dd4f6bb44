"""Writes the figures of a run into the README: `python -m tests.benchmarks.readme FILE.json`.

The file is what `--json` of the suite wrote. It is kept in `tests/benchmarks/results/`, beside the plot, so
that a test can show that the README says what was measured. Nobody edits those figures.
"""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

from . import plots
from .comparisons import OTHER_PICKS, PICKS, Line, lines
from .lacking import FLAG
from .results import Results
from .workload import Plan

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
RESULTS = Path(__file__).parent / "results"

_ALL = [pick for picks in (*PICKS.values(), *OTHER_PICKS.values()) for pick in picks]

BEGIN = "<!-- Figures: python -m tests.benchmarks.readme writes what follows -->"
END = "<!-- End of the figures -->"
# Fewer repetitions show that the suite works, not how fast anything is.
_LEAST_REPETITIONS = 7
_WIDTH = 120
_UNITS = (("s", 1.0), ("ms", 1e3), ("µs", 1e6))


def kept() -> Path | None:
    """The run that the README shows: the last one that is kept."""
    return max(RESULTS.glob("*.json"), default=None)


def section(results: Results) -> str:
    """What stands between the marks, as Markdown."""
    picture = (RESULTS / f"{results.date}.svg").relative_to(ROOT)
    return "\n\n".join(
        [
            f"![How many times faster memsessions is; the table says the same]({picture})",
            textwrap.fill(_introduction(results), _WIDTH, break_long_words=False, break_on_hyphens=False),
            "\n".join(_table(results)),
            _conclusion(results),
        ]
    )


def written(readme: str) -> str | None:
    """What a README says between its marks; None without marks."""
    found = re.search(f"{re.escape(BEGIN)}\n\n(.*)\n\n{re.escape(END)}", readme, re.DOTALL)
    return found[1] if found else None


def replaced(readme: str, text: str) -> str:
    """A README with this text between its marks."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _introduction(results: Results) -> str:
    plan, default = results.plan, Plan()
    more = f" --sessions {plan['sessions']}" if plan["sessions"] != default.sessions else ""
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    machine = ", ".join(f"{name} {what}" for name, what in results.machine.items())
    return (
        f"Measured on {results.date} by `python -m tests.benchmarks {FLAG}{more} --json FILE.json`, which "
        f"says more: medians of {plan['repetitions']} times {plan['calls']} interleaved calls "
        f"({plan['requests']} requests), or of {plan['scan_repetitions']} lists; ratios of pairs measured "
        f"side by side. {machine}; {versions}."
    )


def _table(results: Results) -> Iterator[str]:
    yield "| | memsessions | beside it | | memsessions is | aim |"
    yield "| --- | ---: | ---: | --- | --- | --- |"
    for is_speed, groups in ((True, PICKS), (False, OTHER_PICKS)):
        for group, picks in groups.items():
            found = list(lines(results, picks))
            if found:
                yield f"| **{group}** | | | | | |"
            for line in found:
                yield _row(line, is_speed)


def _row(line: Line, is_speed: bool) -> str:
    said = _said(line.times, is_speed)
    aim = (
        "" if line.target is None else _aim(line.target, is_speed) + (": met" if line.met else ": **missed**")
    )
    cells = [
        line.label,
        _amount(line.ours, line.unit),
        _amount(line.theirs, line.unit),
        line.peer,
        said if line.times >= 1 or not is_speed else f"**{said}**",
        aim,
    ]
    return f"| {' | '.join(cells)} |"


def _aim(times: float, is_speed: bool) -> str:
    if not is_speed:
        return f"at most {1 / times:.3g}"
    if times == 1:
        return "no slower"
    return f"{times:.3g} times faster" if times > 1 else f"at most {1 / times:.3g} times slower"


def _said(times: float, is_speed: bool) -> str:
    if not is_speed:
        return f"{_factor(1 / times)} times as much"
    return f"{_factor(times)} times faster" if times >= 1 else f"{_factor(1 / times)} times slower"


def _factor(times: float) -> str:
    return f"{times:.0f}" if times >= 10 else f"{times:.1f}" if times >= 2 else f"{times:.2f}"


def _amount(figure: float, unit: str) -> str:
    if unit == "bytes":
        return f"{figure:,.0f} bytes"
    seconds = figure * {"us": 1e-6, "ms": 1e-3}[unit]
    shown, per_second = next((name, per) for name, per in _UNITS if seconds * per >= 1 or name == "µs")
    return f"{seconds * per_second:.3g} {shown}"


def _conclusion(results: Results) -> str:
    aims = [line.met for line in lines(results, _ALL) if line.met is not None]
    missed = aims.count(False)
    sentences = [
        f"Of {len(aims)} aims, {missed} {'is' if missed == 1 else 'are'} missed. "
        "Where memsessions is the slower one, that is in bold."
    ]
    if results.skipped:
        sentences.append(f"Lacking, and so left out: {', '.join(each['what'] for each in results.skipped)}.")
    return " ".join(sentences)


def keep(file: Path) -> Results:
    """Put a run and its plot where the README finds them."""
    results = Results.read(file)
    if results.plan["repetitions"] < _LEAST_REPETITIONS:
        raise ValueError(f"{file} has {results.plan['repetitions']} repetitions, which say nothing of speed")
    missing = [pick.row for pick in _ALL if not list(lines(results, [pick]))]
    if missing and not results.skipped:
        raise ValueError(f"{file} has nothing of {', '.join(missing)}: a part of a run")
    RESULTS.mkdir(exist_ok=True)
    kept_file = RESULTS / f"{results.date}.json"
    if file.resolve() != kept_file:
        shutil.copyfile(file, kept_file)
    if (plot := plots.overview(results)) is not None:
        kept_file.with_suffix(".svg").write_bytes(plot)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.readme", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE.json", help="what --json of the suite wrote")
    parser.add_argument("--print", action="store_true", help="print the section, and write nothing")
    arguments = parser.parse_args()
    if arguments.print:
        print(section(Results.read(arguments.file)))
        return
    try:
        replaced(README.read_text(), "")  # before anything is written
        README.write_text(replaced(README.read_text(), section(keep(arguments.file))))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
