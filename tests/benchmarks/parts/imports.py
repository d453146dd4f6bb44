"""What importing the library takes, in fresh interpreters, beside importing what it needs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from functools import partial
from tempfile import TemporaryDirectory
from time import perf_counter

from ..machine import Bench
from ..report import Row, Table
from ..timing import Batch, Timing, interleaved

NOTHING = "the interpreter alone"
NEEDED = "pymemcache and orjson"
OURS = "memsessions"
#: At most so many times the time of importing what it needs.
TARGET = 1.3
# A start takes as long as hundreds of calls; there is one in each repetition.
_REPETITIONS_EACH = 2

_PROGRAMS = {NOTHING: "pass", NEEDED: "import pymemcache, orjson", OURS: "import memsessions"}


def measure(bench: Bench) -> list[Table]:
    """The start of the interpreter is taken off the two others, side by side."""
    repetitions = bench.plan.repetitions * _REPETITIONS_EACH
    with TemporaryDirectory() as folder:
        cases = [Batch(name, partial(_seconds, program, folder)) for name, program in _PROGRAMS.items()]
        timings = interleaved(cases, repetitions, "imports")
    alone, needed, ours = (timings[name] for name in _PROGRAMS)
    ratio = statistics.median(
        (mine - start) / (its - start)
        for mine, its, start in zip(ours.repetitions, needed.repetitions, alone.repetitions, strict=True)
    )
    rows = [
        Row(NOTHING, alone.figures("ms")),
        Row(NEEDED, {**needed.figures("ms"), "import ms": _without(needed, alone), f"/ {NEEDED}": 1.0}),
        Row(OURS, {**ours.figures("ms"), "import ms": _without(ours, alone), f"/ {NEEDED}": ratio}, TARGET),
    ]
    return [Table(f"Imports: {repetitions} fresh interpreters each, their own start taken off", rows)]


def _seconds(program: str, compiled: str) -> list[float]:
    """Of one interpreter, which finds compiled what the first one compiled into this folder."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    return [perf_counter() - start]


def _without(timing: Timing, start: Timing) -> float:
    pairs = zip(timing.repetitions, start.repetitions, strict=True)
    return statistics.median(mine - its for mine, its in pairs) * 1e3
