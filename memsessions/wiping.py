"""Removing dead records from the indexes: what a wipe does, and the thread that does it now and then."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

from . import signals
from .errors import StoreError, WriteRefused
from .index import Bucket, Entry, Index, entry
from .keys import AppKeys
from .sessions import counter_life
from .store.operations import FOREVER, Delete, DeleteMany, LeftMany, Outcome, ReadMany, Store, Swap
from .tokens import Life

_log = logging.getLogger("memsessions.wipe")

# A counter without a session announces one that is being made, for this long. Who takes longer than
# `sessions.LONG_S` to make one lists it again afterwards; between the two is room for whole seconds.
BEING_MADE_S = 5
# A bucket that changes while it is wiped is tried again this often, and then left to the next wipe.
_ATTEMPTS = 5


def wipe_app(store: Store, keys: AppKeys, index: Index) -> int:
    """Remove the records of sessions that are gone; return how many sessions that were."""
    wiped = 0
    for group in index.groups():
        for _attempt in range(_ATTEMPTS):
            removed, changed = _wipe_group(store, keys, group)
            wiped += removed
            if not changed:
                break
            (items,) = store.run((ReadMany(b"", changed),), repeatable=True)
            found = zip(changed, items, strict=True)
            group = [Bucket(key, item.cas, item.value) for key, item in found if item is not None]
    index.forget_spilled()
    return wiped


def _wipe_group(store: Store, keys: AppKeys, group: list[Bucket]) -> tuple[int, list[bytes]]:
    """Wipe some buckets; return how many sessions were dead, and which buckets changed meanwhile."""
    listed = [bucket.records() for bucket in group]
    dead, orphans = gone(store, keys, [entry(record) for records in listed for record in records])
    if orphans:
        store.run((DeleteMany(keys.reads, orphans),))
    writes: list[Swap | Delete] = []
    removals = []
    for bucket, records in zip(group, listed, strict=True):
        living = [record for record in records if entry(record).session not in dead]
        value = b"".join(living)
        if len(value) == len(bucket.value) and value:
            continue
        removals.append(len(records) - len(living))
        key, cas = bucket.key, bucket.cas
        writes.append(Swap(key, value, FOREVER, cas) if living else Delete(key, cas))
    if not writes:
        return 0, []
    try:
        outcomes = store.run(writes)
    except WriteRefused as error:  # a full server; what it could not do waits for the next wipe
        outcomes = list(error.answers)
    wiped = sum(count for count, outcome in zip(removals, outcomes, strict=True) if outcome is Outcome.DONE)
    changed = [op.key for op, outcome in zip(writes, outcomes, strict=True) if outcome is Outcome.CHANGED]
    return wiped, changed


def is_old(life: Life, counter_left: int) -> bool:
    """Whether a counter is not that of a session which is just being made or moved.

    The counter of a `no_resave` session cannot tell: it brings its end along when it is moved.
    """
    return not life.no_resave and counter_life(life) - counter_left >= BEING_MADE_S


def gone(store: Store, keys: AppKeys, entries: list[Entry]) -> tuple[set[bytes], list[bytes]]:
    """The sessions that are gone for good, and which of these have left their counters."""
    names = [item.session for item in entries]
    both = (LeftMany(keys.sessions, names), LeftMany(keys.reads, names))
    lefts, counters = store.run(both, repeatable=True)
    dead = set()
    orphans = []
    for item, left, counter_left in zip(entries, lefts, counters, strict=True):
        if counter_left is None:
            if left is None or item.life.no_resave:
                dead.add(item.session)
        elif left is None and is_old(item.life, counter_left):
            orphans.append(item.session)
    return dead.union(orphans), orphans


class WipeThread:
    """A daemon thread that does a turn every `interval_s` seconds, until stopped or its client is gone."""

    def __init__(self, client: Any, turn: Callable[[Any], list[StoreError]], interval_s: float) -> None:
        stop = threading.Event()
        # The thread must not keep the client alive, and ends at once when the client is collected.
        reference = weakref.ref(client, lambda _: stop.set())
        self._stop = stop
        self._thread = threading.Thread(
            target=_work,
            args=(reference, turn, stop, interval_s),
            name="memsessions-wipe",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Have it end; does not wait for a wipe that is going on."""
        self._stop.set()


def _work(
    reference: weakref.ref[Any],
    turn: Callable[[Any], list[StoreError]],
    stop: threading.Event,
    interval_s: float,
) -> None:
    signals.leave_to_others()
    failing: set[str] = set()
    while not stop.wait(interval_s):
        client = reference()
        if client is None:
            return
        errors = turn(client)
        del client
        for error in errors:
            # Once an outage; what is wiped late is only late.
            level = logging.DEBUG if error.server in failing else logging.WARNING
            _log.log(level, "could not wipe %s: %s", error.server, error.reason)
        failing = {error.server for error in errors}
