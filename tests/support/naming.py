"""Names of test cases that are the same in every process: workers of pytest-xdist compare theirs."""

from __future__ import annotations

import re


def named(value: object) -> str:
    """As `ascii`, but without addresses of objects, and with the members of a set in their order."""
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(named, value)))}}}"
    return re.sub(r" at 0x[0-9a-f]+", "", ascii(value))
