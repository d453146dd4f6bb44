"""What the command's exit codes say."""

from __future__ import annotations

DONE = 0
NOT_FOUND = 1
USAGE = 2
UNAVAILABLE = 3
#: What `doctor` found.
WARNINGS = 4
PROBLEMS = 5
#: A mistake in this program, and what it answers could not be written, as in BSD's `sysexits.h`.
BUG = 70
CANNOT_WRITE = 74
#: Ctrl-C, or a question that was answered with no.
INTERRUPTED = 130
#: Nobody reads on, as when the answer is piped into `head`; what a shell makes of the signal for that.
NOT_READ = 141

HELP = (
    "Exit codes: 0 done; 1 not found; 2 bad usage; 3 the store is unavailable or refuses; "
    "130 interrupted, or a question was answered with no."
)
