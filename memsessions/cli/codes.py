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

#: SIGTERM, as a shell makes it of the signal.
TERMINATED = 143

HELP = (
    "Exit codes: 0 done; 1 not found; 2 bad usage; 3 the store is unavailable or refuses; 4 and 5 doctor"
    " found warnings, or problems; 70 a mistake in this program; 74 the answer cannot be written; 130"
    " interrupted, or a question was answered with no; 141 nobody reads the answer; 143 ended by SIGTERM."
)
