"""How long calls took of which each time is known. (`metrics` knows only how many took about so long.)"""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], part: float) -> float:
    """The least of these times, the shortest first and at least one, that such a part of them is within."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
