"""The checks of a server itself: its memory, what it does when that is used up, its limits and its speed."""

from __future__ import annotations

import re

from ..index import BUCKETS, FULL_BYTES, RECORD_LENGTH
from ..percentiles import percentile
from ..wording import many, rounded, size, span
from .facts import Facts
from .findings import Check, Finding, Status

_MIB = 1024 * 1024
_HOUR_S = 3600

# Of the memory, what is free: below these it is little, and too little.
_LITTLE_FREE, _TOO_LITTLE_FREE = 0.25, 0.10
# A class of items in which so much of the memory is used is one that sessions use: what is free in it counts.
_IN_USE = 0.5
# Items that are no sessions of this `ns`: few do not matter.
_FEW_OTHERS, _OTHERS_SHARE = 1000, 0.2
# An app's index is at most so many items while no bucket of it is full.
_INDEX_ITEMS = 512
# Room for a bucket of the index that is about to spill.
_BUCKET_BYTES = FULL_BYTES + 10_000
# What each session more costs besides its own bytes: the items of the index grow out of one class after the
# other, and leave their pages behind. That ends when an app has so many sessions that its buckets are full.
_LOST_BYTES = 4 * RECORD_LENGTH
_INDEXED = BUCKETS * FULL_BYTES // RECORD_LENGTH
_MANY_CONNECTIONS, _TOO_MANY_CONNECTIONS = 0.8, 0.95
_FAR_OFF_S = 60
_SLOW_P50_S, _SLOW_P95_S = 0.010, 0.050
# The slowest calls come near their time-out when pings take this share of it.
_TOO_SLOW = 0.25


def version(facts: Facts) -> Finding:
    if facts.in_memory:
        says = "This store is in the memory of one process: nobody else sees it, and it ends with that."
        return Finding("version", "warning", says, "Run a memcached, and name it with --server.")
    return Finding("version", "ok", f"memcached {facts.stats.get('version', 'of an unknown version')}.")


def uptime(facts: Facts) -> Finding | None:
    up = facts.stat("uptime")
    if up is None:
        return None
    says = f"It has been up for {span(up)}."
    if up < _HOUR_S:
        says += " What it held before is gone, and what is counted since then says little yet."
    return Finding("uptime", "ok", says)


def cas(facts: Facts) -> Finding | None:
    if facts.in_memory:
        return None
    if facts.settings.get("cas_enabled") == "no":
        says = "Compare-and-swap is switched off (-C): sessions cannot be changed, and indexes not wiped."
        return Finding("cas", "problem", says, "Start it without -C.")
    return Finding("cas", "ok", "Compare-and-swap is there.")


# ------------------------------------------------------------------------------------------- memory


def room(facts: Facts) -> int | None:
    """The bytes of memory that are left for sessions.

    A memcached gives its memory away in pages, each for items of about one size, and hardly takes one back.
    Free is what is in no page yet, and what is unused in the pages of sizes that are much in use.
    """
    limit, used = facts.stat("limit_maxbytes"), facts.stat("bytes")
    if not limit or used is None:
        return None
    pages = facts.slabs.get("total_malloced", "")
    if not pages.isdecimal():
        return max(0, limit - used)
    free = max(0, limit - int(pages))
    for length, used_chunks, free_chunks in _classes(facts):
        if used_chunks >= _IN_USE * (used_chunks + free_chunks):
            free += length * free_chunks
    return free


def _classes(facts: Facts) -> list[tuple[int, int, int]]:
    """Of each class of items: how large one may be, how many there are, and for how many more it has room."""
    numbers = {}
    for name, text in facts.slabs.items():
        if (match := re.fullmatch(r"(\d+):(chunk_size|used_chunks|free_chunks)", name)) and text.isdecimal():
            numbers[match[1], match[2]] = int(text)
    return [
        (length, numbers.get((number, "used_chunks"), 0), numbers.get((number, "free_chunks"), 0))
        for (number, what), length in numbers.items()
        if what == "chunk_size"
    ]


def memory(facts: Facts) -> Finding | None:
    limit, used, free = facts.stat("limit_maxbytes"), facts.stat("bytes"), room(facts)
    if not limit or used is None or free is None:
        return None
    status = _by_share(free / limit)
    in_classes = sum(length * used_chunks for length, used_chunks, _ in _classes(facts))
    taken = in_classes or used
    sessions = 0 if facts.contents is None else facts.contents.sessions
    left = f"{size(free)} of {size(limit)} are free"
    lost = limit - free - taken
    if lost > limit / 10:
        left += f" ({size(lost)} are kept for items of other sizes)"
    more = -(-2 * limit // (64 * _MIB)) * 64
    mend = f"Give it more memory: -m {more}."
    if facts.contents is None or not sessions:
        return Finding("memory", status, f"{size(taken)} are used, {left}.", "" if status == "ok" else mend)
    if _others(facts) > _OTHERS_SHARE * (facts.stat("curr_items") or 0):
        says = f"{many(sessions, 'session')} and other data take {size(taken)}; {left}."
        return Finding("memory", status, says, "" if status == "ok" else mend)
    each = max(1.0, taken / sessions)
    listed = sum(min(report["listed"], _INDEXED) for report in facts.contents.apps.values())
    growing = _INDEXED * len(facts.contents.apps)
    full = sessions + _fit(facts, free, each, growing - listed)
    says = (
        f"{many(sessions, 'session')} take {size(taken)}, {each:,.0f} bytes each with their index; {left}: "
    )
    says += f"at this size it is full at about {many(rounded(full), 'session')}."
    if status != "ok":
        then = _fit(facts, more * _MIB, each, growing)
        mend += f" That holds about {many(rounded(then), 'session')}."
    return Finding("memory", status, says, "" if status == "ok" else mend)


def _fit(facts: Facts, free: int, each: float, growing: int) -> int:
    """How many sessions go into so much memory, if indexes grow with so many of them."""
    lost = 0 if facts.in_memory else _LOST_BYTES
    first = min(free / (each + lost), growing)
    return int(first + (free - first * (each + lost)) / each)


def _by_share(free: float) -> Status:
    if free < _TOO_LITTLE_FREE:
        return "problem"
    return "warning" if free < _LITTLE_FREE else "ok"


def _is_short(facts: Facts) -> bool:
    limit, free = facts.stat("limit_maxbytes"), room(facts)
    return bool(limit and free is not None and free / limit < _LITTLE_FREE)


def evictions(facts: Facts) -> Finding | None:
    """What it does, and did, for want of memory."""
    thrown_out, refused = facts.stat("evictions") or 0, facts.stat("store_no_memory") or 0
    now: Status = "problem" if _is_short(facts) else "warning"
    ago = "" if facts.in_memory else f" since it started {span(facts.stat('uptime') or 0)} ago"
    if thrown_out:
        says = (
            f"It threw out {many(thrown_out, 'item')}{ago}, for want of memory: users were logged out in"
            " silence, or dropped out of the lists, where a log-out everywhere does not reach them."
        )
        mend = "Give it more memory (-m), start it with -M, and run `memsessions repair`."
        return Finding("evictions", now, says, mend)
    if refused:
        says = f"It refused {many(refused, 'write')}{ago}, for want of memory: users could not log in."
        return Finding("evictions", now, says, "Give it more memory (-m).")
    if facts.evicts:
        says = "It threw out nothing yet, but when its memory is used up, it logs users out in silence."
        return Finding("evictions", "warning", says, "Start it with -M: it refuses new sessions then.")
    return Finding("evictions", "ok", "It refuses new sessions when its memory is used up, and did not yet.")


def _others(facts: Facts) -> int:
    """About how many items there are that no session of this `ns` accounts for; rather too few."""
    items, contents = facts.stat("curr_items"), facts.contents
    if items is None or contents is None:
        return 0
    own = 2 * (contents.sessions + contents.total("dead")) + _INDEX_ITEMS * len(contents.apps)
    return max(0, items - own)


def sharing(facts: Facts) -> Finding | None:
    others, items = _others(facts), facts.stat("curr_items")
    if facts.contents is None or items is None:
        return None
    if others <= max(_FEW_OTHERS, _OTHERS_SHARE * items):
        return Finding("sharing", "ok", "Sessions have the memory for themselves.")
    says = (
        f"At least {others:,} of its {many(items, 'item')} are no sessions of this --ns: other data uses up"
        f" the memory, and {'pushes sessions out' if facts.evicts else 'new sessions are refused then'}."
    )
    return Finding("sharing", "warning", says, "Give sessions a memcached of their own.")


def item_size(facts: Facts) -> Finding | None:
    text = facts.settings.get("item_size_max", "")
    if not text.isdecimal():
        return None
    most, wanted = int(text), facts.item_bytes
    too_large = facts.stat("store_too_large") or 0
    if most < _BUCKET_BYTES:
        says = f"Items are at most {size(most)}: the index of an app with many sessions does not fit."
        return Finding("item-size", "problem", says, "Start it with -I 1m, its default.")
    if most < wanted:
        says = (
            f"Items are at most {size(most)}, and clients here allow {size(wanted)}: a session in between"
            " fails with ItemTooLarge."
        )
        mend = f"Start it with -I {-(-wanted // _MIB)}m, or set MEMSESSIONS_MAX_ITEM_BYTES={most}."
        return Finding("item-size", "warning", says, mend)
    says = f"Items may have {size(most)}"
    says += "." if most == wanted else f"; clients here allow {size(wanted)}."
    if too_large:
        says += f" {many(too_large, 'larger one')} came, and had to be refused."
    return Finding("item-size", "ok", says)


# ------------------------------------------------------------------------------- connections, times


def connections(facts: Facts) -> Finding | None:
    most, there = facts.stat("max_connections"), facts.stat("curr_connections")
    if not most or there is None:
        return None
    refused = max(facts.stat("rejected_connections") or 0, facts.stat("listen_disabled_num") or 0)
    share = there / most
    says = f"{there:,} of {many(most, 'connection')} are open."
    status: Status = "ok"
    if refused:
        says += f" It was at its limit, and turned clients away, {many(refused, 'time')} since it started."
        status = "warning"
    if share >= _MANY_CONNECTIONS:
        status = "warning"
    if share >= _TOO_MANY_CONNECTIONS:
        status = "problem"
    mend = f"Allow more (-c {2 * most}), or run fewer processes and threads." if status != "ok" else ""
    return Finding("connections", status, says, mend)


def clock(facts: Facts) -> Finding | None:
    its = facts.stat("time")
    if its is None:
        return None
    off_s = round(its - facts.asked_at)  # it gives whole seconds
    if abs(off_s) <= 2:
        return Finding("clock", "ok", "Its clock and this machine's agree.")
    says = f"Its clock is {span(abs(off_s))} {'ahead of' if off_s > 0 else 'behind'} this machine's."
    if abs(off_s) <= _FAR_OFF_S:
        return Finding("clock", "ok", says)
    says += (
        " That matters only for lives above 30 days: memsessions reckons these by the server's clock, other"
        " clients by their own."
    )
    mend = "Set both machines' clocks (NTP). memcached reads its own when it starts."
    return Finding("clock", "warning", says, mend)


def latency(facts: Facts) -> Finding | None:
    pings = facts.pings_s
    if facts.in_memory or not pings:
        return None
    p50, p95 = percentile(pings, 0.50), percentile(pings, 0.95)
    says = f"A ping takes {_ms(p50)}; of {len(pings)}, 95 % took {_ms(p95)} at most."
    if p95 >= _TOO_SLOW * facts.timeout_s:
        says += f" Calls fail after {facts.timeout_s:.3g} s."
        mend = "Look at the network and at the server's load, or give calls more time (MEMSESSIONS_TIMEOUT)."
        return Finding("latency", "problem", says, mend)
    if p50 >= _SLOW_P50_S or p95 >= _SLOW_P95_S:
        says += " Each request of a web application waits that long once or twice."
        mend = "Run it nearer to its clients; look at the network and at its load."
        return Finding("latency", "warning", says, mend)
    return Finding("latency", "ok", says)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2g} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


CHECKS: dict[str, Check] = {
    "version": version,
    "uptime": uptime,
    "cas": cas,
    "memory": memory,
    "evictions": evictions,
    "sharing": sharing,
    "item-size": item_size,
    "connections": connections,
    "clock": clock,
    "latency": latency,
}
