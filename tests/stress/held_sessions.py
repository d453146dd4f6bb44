"""Somebody who makes sessions of his own on a server with little memory, and knows what each one holds."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, NamedTuple

from memsessions import MemsessionsError, Session, SessionsClient, SessionTooLarge, StoreFull
from memsessions.tokens import hashed

from ..support.memcached import Memcached

APP = "forum"
_CALLS = {
    "create": 10,
    "get": 8,
    "set": 8,
    "rotate": 5,
    "kill": 3,
    "soid": 2,
    "killsoid": 0.1,
    "lose_a_counter": 2,
    "get_one_that_is_gone": 2,
}


class Held(NamedTuple):
    """What a session holds."""

    ip: str
    d: dict[str, Any]
    w: int
    fixed: bool

    def is_shown(self, session: Session | None) -> bool:
        return session is not None and (session["ip"], session["d"], session["w"]) == (
            self.ip,
            self.d,
            self.w,
        )


class Holder:
    """One thread and its sessions, all of one user that nobody else uses."""

    def __init__(
        self,
        server: Memcached,
        rs: SessionsClient,
        ns: str,
        user: str,
        sizes: tuple[int, ...],
        evicts: bool,
        dice: random.Random,
    ) -> None:
        self.user = user
        self.problems: list[str] = []
        self.figures: Counter[str] = Counter()
        self._server = server
        self._rs = rs
        self._ns = ns
        self._sizes = sizes
        self._evicts = evicts
        self._dice = dice
        self._held: dict[str, Held] = {}
        self._gone: list[str] = []
        self._made = 0

    def names(self) -> set[bytes]:
        """The names of the sessions that live, as far as is known."""
        return {hashed(token) for token in self._held}

    def work(self, calls: int) -> None:
        """Make so many calls."""
        for _ in range(calls):
            (name,) = self._dice.choices(list(_CALLS), list(_CALLS.values()))
            try:
                getattr(self, f"_{name}")()
            except MemsessionsError as error:
                # A refusal where one may be is met where it comes from.
                self.problems.append(f"{name} raises {type(error).__name__}")
            self.figures["calls"] += 1

    # ------------------------------------------------------------------------------------- the calls

    def _data(self) -> dict[str, Any]:
        return {"n": self._made, "x": "x" * self._dice.choice(self._sizes)}

    def _one(self) -> str | None:
        return self._dice.choice(list(self._held)) if self._held else None

    def _refused(self, name: str, error: MemsessionsError) -> None:
        self.figures[f"{name} refused: {type(error).__name__}"] += 1

    def _create(self) -> None:
        self._made += 1
        held = Held(f"ip{self._made}", self._data(), 1, self._dice.random() < 0.2)
        try:
            created = self._rs.create(APP, self.user, held.ip, 3600, held.d, held.fixed)
        except (StoreFull, SessionTooLarge) as error:
            self._refused("create", error)
            if held.ip in [session["ip"] for session in self._rs.soid(APP, self.user)]:
                self.problems.append("a session that was refused is there")
        else:
            self._held[created["token"]] = held

    def _get(self) -> None:
        if (token := self._one()) is not None:
            self._look_at(token, "a while")

    def _look_at(self, token: str, after: str) -> None:
        """Read a session, which has to be as it is known; on a server that evicts it can be gone."""
        shown = self._rs.get(APP, token)
        if shown is None and self._evicts:
            self.figures[f"sessions evicted, seen after {after}"] += 1
            self._end(token)
        elif shown is None:
            self.problems.append(f"a session is gone after {after}")
            self._end(token)
        elif not self._held[token].is_shown(shown):
            self.problems.append(f"a session is not as it was after {after}")

    def _end(self, token: str) -> None:
        del self._held[token]
        self._gone.append(token)

    def _set(self) -> None:
        if (token := self._one()) is None:
            return
        self._made += 1
        held, changes = self._held[token], self._data()
        try:
            shown = self._rs.set(APP, token, changes)
        except (StoreFull, SessionTooLarge) as error:
            self._refused("set", error)
            self._look_at(token, "a set that was refused")
            return
        self._held[token] = held = held._replace(d={**held.d, **changes}, w=held.w + 1)
        if shown is None:
            self._look_at(token, "a set that found none")
        elif not held.is_shown(shown):
            self.problems.append("a session is not as it was set")

    def _rotate(self) -> None:
        if (token := self._one()) is None:
            return
        try:
            answer = self._rs.rotate(APP, token)
        except StoreFull as error:
            self._refused("rotate", error)
            self._look_at(token, "a rotate that was refused")
            return
        if answer is None:
            self._look_at(token, "a rotate that found none")
            return
        self._held[answer["token"]] = self._held[token]
        self._end(token)
        self._look_at(answer["token"], "a rotate")

    def _kill(self) -> None:
        if (token := self._one()) is None:
            return
        killed = self._rs.kill(APP, token)["kill"]
        if killed != 1 and not self._evicts:
            self.problems.append("a session that lived could not be killed")
        self._end(token)

    def _soid(self) -> None:
        by_ip = {held.ip: held for held in self._held.values()}
        shown = self._rs.soid(APP, self.user)
        ips = [session["ip"] for session in shown]
        if len(ips) != len(set(ips)):
            self.problems.append("soid shows a session twice")
        if set(ips) - set(by_ip) or (set(by_ip) - set(ips) and not self._evicts):
            self.problems.append("soid does not show the sessions that live")
        if not all(by_ip[session["ip"]].is_shown(session) for session in shown if session["ip"] in by_ip):
            self.problems.append("soid does not show a session as it is")

    def _killsoid(self) -> None:
        killed = self._rs.killsoid(APP, self.user)["kill"]
        if killed > len(self._held) or (killed < len(self._held) and not self._evicts):
            self.problems.append(f"killsoid says {killed}, there were {len(self._held)}")
        if self._evicts:  # what was not listed any more lives on
            for token in list(self._held):
                self._rs.kill(APP, token)
        for token in list(self._held):
            self._end(token)

    def _lose_a_counter(self) -> None:
        """As a server does that needs its memory."""
        token = self._one()
        if token is not None and not self._held[token].fixed:  # whose life is that of its counter
            self._server.delete(f"{self._ns}:{APP}:r:{hashed(token).decode()}")
            self.figures["counters lost"] += 1
            self._dice.choice([self._look_at, self._set_one])(token, "its counter was lost")

    def _set_one(self, token: str, after: str) -> None:
        held = self._held[token]
        try:
            shown = self._rs.set(APP, token, {"n": held.d["n"]})
        except StoreFull as error:
            self._refused("set", error)
        else:
            if shown is not None:
                self._held[token] = held._replace(w=held.w + 1)
        self._look_at(token, after)

    def _get_one_that_is_gone(self) -> None:
        if self._gone and self._rs.get(APP, self._dice.choice(self._gone)) is not None:
            self.problems.append("a session lives that had ended")
