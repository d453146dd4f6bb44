"""Comparing the indexes with the sessions that a server really holds, and listing again what is not listed.

A server that is short of memory may throw out an index item before the sessions it lists. They can be
used as before, but "log out everywhere" does not reach them. Only a dump of the server's keys finds them.

The dump is taken first and the indexes are read after it. A session is listed before it is stored, so
one that is in the dump and then not in an index is not just being made: it ended, or its record is lost.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from . import record
from .errors import StoreDamaged, WriteRefused
from .index import Entry, entry
from .store.operations import LeftMany, PeekMany
from .tokens import NAME_LENGTH, Life, hashed
from .types import Repaired
from .validation import is_app
from .wiping import gone

if TYPE_CHECKING:
    from .client import SessionsClient
    from .nodes import Node

_log = logging.getLogger("memsessions.repair")

#: Called with how many keys were looked at, and how many there are.
Progress = Callable[[int, int], None]

# A pass holds the names of the sessions among so many items in memory; a server that has more takes several.
_ITEMS_EACH_PASS = 2_500_000
# As many sessions are peeked at and listed again at once: few, as they may be large.
_BATCH = 128


def repair(client: SessionsClient, progress: Progress | None = None) -> dict[str, Repaired]:
    """Compare the indexes of all apps with the sessions that the server holds, and list those that are not.

    After that `soid`, `killsoid` and `killall` reach every living session again, also where memcached
    has evicted index items. It counts as no access to any session, ends none and brings none back, and
    can run while the server is in use; call it once at a time. It takes some seconds and
    100 MB for each million sessions.

    Parameters:
        client: whose servers and `ns` are looked at, all at the same time.
        progress: called now and then with the number of keys looked at so far and the number of all; by one
            thread at a time, but not always by the same. What it raises ends the repair.

    Returns:
        `{app: {"listed": n, "dead": n, "unlisted": n, "relisted": n}}`, in the order of the apps' names;
        see `Repaired`.

    Raises:
        DumpForbidden: the server was started with `-X`, or its crawler is switched off. Nothing was done.
        StoreUnavailable: as every call; also when the server is busy with another dump for 5 seconds.
            What was listed again stays so, and calling again finishes the job.
        StoreDamaged: something else wrote under the keys of an app; everything else was repaired.
    """
    looked_at: dict[str, tuple[int, int]] = {}
    telling = threading.Lock()

    def repair_node(node: Node) -> dict[str, Repaired]:
        def tell(done: int, total: int) -> None:
            looked_at[node.name] = done, total
            if progress is not None:
                with telling:
                    progress(
                        sum(done for done, _ in looked_at.values()),
                        sum(total for _, total in looked_at.values()),
                    )

        report, damaged = _compare(node, tell, mend=True)
        if damaged is not None:
            raise damaged
        for app, found in report.items():
            node.meter.relists += found["relisted"]
            level = logging.INFO if found["unlisted"] else logging.DEBUG
            said = {"server": node.store.server, "operation": "repair", "app": app, **found}
            message = "repaired %s on %s: %d of %d sessions that were not listed are listed again"
            counts = found["relisted"], found["unlisted"]
            _log.log(level, message, app, node.store.server, *counts, extra=said)
        return report

    reports = client._on_each_server(repair_node, "repair")  # noqa: SLF001
    return {
        app: _sum([report[app] for report in reports if app in report])
        for app in sorted(set().union(*reports))
    }


def _sum(reports: list[Repaired]) -> Repaired:
    return {
        "listed": sum(report["listed"] for report in reports),
        "dead": sum(report["dead"] for report in reports),
        "unlisted": sum(report["unlisted"] for report in reports),
        "relisted": sum(report["relisted"] for report in reports),
    }


def compare(node: Node, progress: Progress) -> tuple[dict[str, Repaired], StoreDamaged | None]:
    """What a repair would find on one server, and what kept it from seeing all. Changes nothing."""
    return _compare(node, progress, mend=False)


def _compare(
    node: Node, progress: Progress, *, mend: bool
) -> tuple[dict[str, Repaired], StoreDamaged | None]:
    apps: dict[str, _App] = {}
    damaged: StoreDamaged | None = None
    number, passes = 0, 1
    seen, total = 0, 0

    def tell() -> None:
        progress(number * total + seen, passes * total)

    while number < passes:
        held: defaultdict[bytes, set[bytes]] = defaultdict(set)
        for part in node.store.keys(node.root + b":"):
            names, seen, total = part
            if number == 0:
                passes = max(1, -(-total // _ITEMS_EACH_PASS))
            _collect(names, held, number, passes)
            tell()
        for name, sessions in sorted(held.items()):
            app = name.decode(errors="replace")
            if is_app(app):
                serving = apps.get(app) or apps.setdefault(app, _App(node, app, mend))
                try:
                    serving.repair(sessions, number, passes, tell)
                except StoreDamaged as error:
                    damaged = error
        number += 1
    return {app: serving.report for app, serving in sorted(apps.items())}, damaged


def _collect(names: list[bytes], held: defaultdict[bytes, set[bytes]], number: int, passes: int) -> None:
    """Add to `held`, by app, the sessions of this pass out of some keys, and every app that has an index."""
    for name in names:
        app, _, rest = name.partition(b":")
        kind, session = rest[:2], rest[2:]
        if kind == b"s:":
            if len(session) == NAME_LENGTH and (passes == 1 or hash(session) % passes == number):
                held[app].add(session)
        elif kind in (b"i:", b"x:"):
            held[app]


class _App:
    """The repair of one app, or only what it would find."""

    def __init__(self, node: Node, app: str, mend: bool) -> None:
        self._mend = mend
        self._store = node.store
        on_node = node.app(app)
        self._keys, self._index, self._listings = on_node.keys, on_node.listing, on_node.listings
        self.report: Repaired = {"listed": 0, "dead": 0, "unlisted": 0, "relisted": 0}
        if mend:
            # A server without room for this has it from the next `create`.
            with contextlib.suppress(WriteRefused):
                if missing := node.registry.entering(app):
                    node.store.run(missing)

    def repair(self, held: set[bytes], number: int, passes: int, tell: Callable[[], None]) -> None:
        """List what is not listed among the sessions of this pass, which the server held a moment ago."""
        for group in self._index.groups():
            tell()
            entries = [entry(item) for bucket in group for item in bucket.records()]
            if passes > 1:
                entries = [item for item in entries if hash(item.session) % passes == number]
            dead, _ = gone(self._store, self._keys, entries)
            self.report["dead"] += len(dead)
            for item in entries:
                # One that is not held was created after the dump.
                if item.session in held:
                    held.remove(item.session)
                    self.report["listed"] += item.session not in dead
        damage: StoreDamaged | None = None
        unlisted = iter(held)
        while some := list(islice(unlisted, _BATCH)):
            tell()
            peeks = (PeekMany(self._keys.sessions, some), LeftMany(self._keys.reads, some))
            items, counters = self._store.run(peeks, repeatable=True)
            living = []
            for name, item, counter_left in zip(some, items, counters, strict=True):
                if item is None:
                    continue
                try:
                    found = self._entry(name, item[0])
                except StoreDamaged as error:
                    damage = error
                    continue
                if counter_left is not None or not found.life.no_resave:
                    living.append(found)
            self.report["unlisted"] += len(living)
            if self._mend:
                self.report["relisted"] += len(living) - self._listings.each(living)
        if damage is not None:
            raise damage

    def _entry(self, name: bytes, value: bytes) -> Entry:
        """What the index should say of a session."""
        try:
            _, user, _, ttl, no_resave, _, _ = record.decode(value)
            if isinstance(user, str) and isinstance(ttl, int):
                return Entry(hashed(user), name, Life(ttl, bool(no_resave)))
        except ValueError:
            pass
        raise StoreDamaged(self._store.server, "what stands under a session's key is not a session")
