"""Many sessions of one server at a time: made, read and ended in packets of bounded size.

Each packet has a deadline of its own, and the connection reads replies while it still sends, so a packet may
be longer than what the sockets hold. What the order of the operations in it guarantees is what it does for
one session (see `sessions`): of each group that one index item lists, the counters are there first, then the
records in the index, appended as one, and then the sessions.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from .errors import ItemTooLarge, SessionTooLarge, StoreError, StoreFull, WriteRefused
from .index import Entry
from .listings import LONG_S
from .reading import FIRST, Held
from .scans import BATCH_BYTES, BATCH_MAX, BATCH_MIN, count_ended, decoded, ending, next_size
from .sessions import AppSessions, counter_life
from .store.operations import Add, Batch, Count, DeleteMany, Item, Operation, Read
from .tokens import Life, hashed, new_token, token_life
from .types import Session

_ATTEMPTS = 4


class Ready(NamedTuple):
    """A session to be made, as it will be stored; `number` says which it is of those that were given."""

    number: int
    user: bytes
    life: Life
    value: bytes


def cut(ready: Iterable[Ready]) -> Iterator[list[Ready]]:
    """Sessions in batches, which are bounded by number and by bytes."""
    some: list[Ready] = []
    size = 0
    for each in ready:
        if some and (len(some) == BATCH_MAX or size + len(each.value) > BATCH_BYTES):
            yield some
            some, size = [], 0
        some.append(each)
        size += len(each.value)
    if some:
        yield some


class BatchedSessions(AppSessions):
    """The sessions of one app on one store, one or many at a time."""

    # ----------------------------------------------------------------------------------- making

    def make_many(
        self, ready: Sequence[Ready], first: Batch, deadline: float, left: list[str]
    ) -> dict[int, str]:
        """Make a batch of sessions, after the operations given. One round trip; answers tokens by number.

        Where that fails, those that were made are ended, as far as there is time and the server can be
        reached; the tokens of those that may be there yet are added to `left`.
        """
        made: dict[int, str] = {}
        drawn: list[str] = []
        waiting = list(ready)
        try:
            for _attempt in range(_ATTEMPTS):
                drawn = [new_token(self._tag, each.life) for each in waiting]
                stored = self._make(waiting, drawn, first, deadline)
                for each, token, was_stored in zip(waiting, drawn, stored, strict=True):
                    if was_stored:
                        made[each.number] = token
                waiting = [each for each in waiting if each.number not in made]
                if not waiting:
                    return made
                first, drawn = (), []
            raise StoreError(self._store.server, "no token could be found that is free")
        except (StoreError, SessionTooLarge):
            left += self.take_back([*made.values(), *drawn], deadline)
            raise

    def take_back(self, tokens: Sequence[str], deadline: float | None = None) -> Sequence[str]:
        """End sessions whose tokens nobody was given; answers those that may stay: the server was away."""
        for at in range(0, len(tokens), BATCH_MAX):
            try:
                self._end(tokens[at : at + BATCH_MAX], deadline)
            except StoreError:
                return tokens[at:]
        return ()

    def _make(self, ready: Sequence[Ready], drawn: Sequence[str], first: Batch, deadline: float) -> list[Any]:
        """Make sessions of these tokens; whether each was stored, and so had no other session's token."""
        started = time.monotonic()
        entries = [
            Entry(each.user, hashed(token), each.life) for each, token in zip(ready, drawn, strict=True)
        ]
        groups = self._listings.together(entries)
        batch: list[Operation] = list(first)
        counters, sessions = self._keys.reads, self._keys.sessions
        for places, _, listing in groups:
            for place in places:
                _, name, life = entries[place]
                batch.append(Add(counters + name, FIRST, counter_life(life)))
            batch += listing
            for place in places:
                _, name, life = entries[place]
                batch.append(Add(sessions + name, ready[place].value, life.ttl + 1))
        refused: WriteRefused | None = None
        try:
            answers = iter(self._run(batch, deadline=deadline))
        except WriteRefused as error:
            refused, answers = error, iter(error.answers)
        others = list(islice(answers, len(first)))
        stored: list[Any] = [None] * len(ready)
        unlisted: list[Entry] = []
        for group in groups:
            others += islice(answers, len(group.places))
            listed = list(islice(answers, len(group.listing)))
            for place, answer in zip(group.places, islice(answers, len(group.places)), strict=True):
                stored[place] = answer
            if not self._listings.took(group, listed):
                unlisted += [entries[place] for place in group.places]
        if refused is not None and (None in stored or None in others):
            self._check_too_large(refused, ready, stored)
            raise refused
        if time.monotonic() - started >= LONG_S:
            unlisted = entries  # a wipe may have taken them for the rest of somebody's failure
        if unlisted:
            self._listings.surely(unlisted, deadline)
        return stored

    def _check_too_large(self, refused: WriteRefused, ready: Sequence[Ready], stored: list[Any]) -> None:
        """Whether the server found a session too large: raises the error that says which."""
        not_stored = [each for each, answer in zip(ready, stored, strict=True) if answer is None]
        if not_stored and isinstance(refused, ItemTooLarge):
            largest = max(not_stored, key=lambda each: len(each.value))
            reason = f"d does not fit into an item of {refused.server}"
            raise SessionTooLarge(f"session {largest.number}: {reason}") from refused

    # ---------------------------------------------------------------------------------- reading

    def read_many(self, tokens: Sequence[str]) -> list[Session | None]:
        """As many reads, in their order. One round trip for each batch."""
        answers: list[Session | None] = []
        size = BATCH_MIN  # small, as they may be large
        while len(answers) < len(tokens):
            some = tokens[len(answers) : len(answers) + size]
            shown, values = self._read(some)
            answers += shown
            size = next_size(values, len(some))
        return answers

    def _read(self, asked: Sequence[str]) -> tuple[list[Session | None], list[bytes]]:
        """Read, count and renew a batch of sessions; also the values that stand there."""
        deadline = self._store.deadline()
        lives = [token_life(token) for token in asked]
        names = [hashed(token) for token in asked]
        batch: list[Operation] = []
        for (ttl, no_resave), name in zip(lives, names, strict=True):
            batch.append(Read(self._keys.sessions + name, ttl + 1))
            batch.append(Count(self._keys.reads + name, None if no_resave else 2 * (ttl + 1)))
        full = False
        try:
            answers = self._run(batch, repeatable=True, deadline=deadline)
        except StoreFull as error:  # it has no memory to count
            full, answers = True, list(error.answers)
        shown: list[Session | None] = [None] * len(asked)
        there: list[tuple[int, Item, Item]] = []
        ended: list[bytes] = []
        for place, (item, counter) in enumerate(zip(answers[::2], answers[1::2], strict=True)):
            if item is None:
                if counter is not None:  # of a session that has ended or moved; the call has just renewed it
                    ended.append(names[place])
            elif counter is not None:
                there.append((place, item, counter))
            elif full:
                shown[place] = self.read(asked[place])
            elif not lives[place].no_resave:
                key, counter_key = self._keys.sessions + names[place], self._keys.reads + names[place]
                # Each has a time of its own: there may be many.
                reads = self._recount(key, counter_key, lives[place].ttl + 1, self._store.deadline())
                if reads is not None:
                    there.append((place, item, Item(reads, 0, 0)))
        if ended:
            self._run((DeleteMany(self._keys.reads, ended),))
        values = [item.value for _, item, _ in there]
        used = []
        for found, (place, item, counter) in zip(decoded(self._store, values), there, strict=True):
            idle = lives[place].ttl + 1 - item.left
            shown[place] = self._held(Held(asked[place], found, item, counter, idle)).shown()
            if idle > 0:
                used.append((found, names[place], idle))
        self._listings.keep_all(used, deadline)
        return shown, values

    # ----------------------------------------------------------------------------------- ending

    def kill_many(self, tokens: Sequence[str]) -> Iterator[int]:
        """End sessions; says how many, as it goes on. One round trip for each batch."""
        for at in range(0, len(tokens), BATCH_MAX):
            yield self._end(tokens[at : at + BATCH_MAX])

    def _end(self, tokens: Sequence[str], deadline: float | None = None) -> int:
        lives = {hashed(token): token_life(token) for token in tokens}
        names = list(lives)
        # As in `kill`: of a `no_resave` session, only the counter tells whether it has ended.
        fixed = [name for name, life in lives.items() if life.no_resave]
        batch = [*ending(self._keys, names, fixed), DeleteMany(self._keys.reads, names)]
        killed, _, _ = count_ended(names, fixed, self._run(batch, deadline=deadline))
        return killed
