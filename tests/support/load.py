"""A mixed load of everything a client can do, by workers that know what each answer has to be.

A call that raises `StoreUnavailable`, or is interrupted, may have happened: what it could have changed is
then doubtful, and is not looked at so closely any more.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

from memsessions import Scalar, Session, SessionsClient, StoreUnavailable

from .sessions import UNKNOWN

APP = "forum"
#: Sessions here are left to expire, or ended by anybody's `killall`.
BRIEF_APP = "brief"
IP = "192.0.2.1"
#: So long that no session which is used expires, and so short that those in doubt do not pile up.
TTL_S = 120
_USERS = 8  # of each worker
_MOST_SESSIONS = 50


@dataclass
class _Held:
    """A living session, and what it has to be."""

    user: str
    name: str
    token: str
    values: set[int]  # what may stand in its data: more than one after a `set` that may have happened


class Worker:
    """Makes calls in turn, one each time `step` is called, on users and sessions of its own."""

    def __init__(
        self, number: int, rs: SessionsClient, cached: SessionsClient, seed: int, ghosts: bool = False
    ) -> None:
        """`ghosts` if one of several servers may time out: a session may be made there and elsewhere then."""
        self.calls: Counter[str] = Counter()
        self.unavailable = 0
        self.violations: list[str] = []
        self.ghosts = 0
        self._ghosts_may_be = ghosts
        self._number = number
        self._rs = rs
        self._cached = cached
        self._dice = random.Random(seed)
        self._serial = 0
        self._held: list[_Held] = []
        self._ended: deque[str] = deque(maxlen=50)
        self._doubtful: dict[str, float] = {}  # names of sessions that may live, and since when that is so
        self._open: Callable[[], SessionsClient] | None = None

    def open_clients_by(self, open_client: Callable[[], SessionsClient]) -> None:
        """Also make clients of its own now and then, by this."""
        self._open = open_client

    def step(self) -> None:
        """One call of a kind that the dice choose; what is wrong with its answer goes to `violations`."""
        weights = _WEIGHTS if self._open is not None else _WEIGHTS[:-1]
        (call,) = self._dice.choices(list(_CALLS)[: len(weights)], weights)
        self.calls[call] += 1
        try:
            _CALLS[call](self)
        except StoreUnavailable:
            self.unavailable += 1
        except Exception as error:  # noqa: BLE001  whatever it is, it should not have come out
            self.violations.append(f"{call} raised {type(error).__name__}: {error}")

    # ---------------------------------------------------------------------------------- one session

    def _create(self) -> None:
        if len(self._held) >= _MOST_SESSIONS:
            self._kill()
            return
        self._serial += 1
        user = self._user()
        name = f"{self._number}/{self._serial}"
        self._doubt(name)
        data: dict[str, Scalar] = {"name": name, "value": self._serial}
        token = self._rs.create(APP, user, IP, TTL_S, data)["token"]
        self._held.append(_Held(user, name, token, {self._serial}))
        del self._doubtful[name]

    def _get(self) -> None:
        if held := self._any():
            self._check("get", held, self._rs.get(APP, held.token))

    def _get_cached(self) -> None:
        """What the cache answers may be older than the last `set`."""
        if held := self._any():
            self._check("cached get", held, self._cached.get(APP, held.token), data_too=False)

    def _set(self) -> None:
        if held := self._any():
            self._serial += 1
            held.values.add(self._serial)
            session = self._rs.set(APP, held.token, {"value": self._serial})
            held.values = {self._serial}
            self._check("set", held, session)

    def _kill(self) -> None:
        if held := self._let_go():
            if self._rs.kill(APP, held.token) != {"kill": 1}:
                self.violations.append(f"kill did not find session {held.name}")
            self._has_ended(held)

    def _rotate(self) -> None:
        if held := self._let_go():
            rotated = self._rs.rotate(APP, held.token)
            self._has_ended(held)
            if rotated is None:
                self.violations.append(f"rotate did not find session {held.name}")
            else:
                self._held.append(_Held(held.user, held.name, rotated["token"], held.values))

    def _get_ended(self) -> None:
        if self._ended:
            if self._rs.get(APP, self._dice.choice(self._ended)) is not None:
                self.violations.append("get found a session that had ended")
        elif self._rs.get(APP, UNKNOWN) is not None:
            self.violations.append("get found a session of an unknown token")

    # -------------------------------------------------------------------------------- many sessions

    def _soid(self) -> None:
        user = self._user()
        found = self._rs.soid(APP, user)
        held = {held.name: held for held in self._held if held.user == user}
        # Nobody has the token of a ghost, so it was used less than the session that it is one of.
        for session in sorted(found, key=itemgetter("r", "w"), reverse=True):
            name = (session["d"] or {}).get("name")
            if name in held:
                self._check("soid", held.pop(str(name)), session)
            elif name in self._doubtful:
                continue
            elif self._ghosts_may_be and (session["r"], session["w"]) == (1, 1):
                self.ghosts += 1
            else:
                self.violations.append(f"soid found {name}, which is not one of the living of {user}")
        self.violations += [f"soid did not find session {name}" for name in held]

    def leave(self) -> None:
        """Have all sessions of its users ended; raises where that is not certain."""
        for number in range(_USERS):
            self._killsoid(f"user {self._number}-{number}")

    def _killsoid(self, user: str | None = None) -> None:
        user = user or self._user()
        ended = [held for held in self._held if held.user == user]
        self._held = [held for held in self._held if held.user != user]
        for held in ended:
            self._doubt(held.name)
        killed = self._rs.killsoid(APP, user)["kill"]
        for held in ended:
            self._has_ended(held)
        if killed < len(ended):
            self.violations.append(f"killsoid ended {killed} sessions of {len(ended)}")

    def _soapp(self) -> None:
        for session in self._rs.soapp(APP):
            owner = str((session["d"] or {}).get("name")).partition("/")[0]
            if not session["id"].startswith(f"user {owner}-"):
                self.violations.append(f"soapp showed data of worker {owner} for {session['id']}")

    def _activity(self) -> None:
        users = {held.user for held in self._held}
        active = self._rs.activity(APP, TTL_S)["activity"]
        if active < len(users):
            self.violations.append(f"activity counted {active} users, and {len(users)} are here")

    def _wipe(self) -> None:
        self._rs.wipe()

    def _killall(self) -> None:
        self._rs.killall(BRIEF_APP)

    def _brief(self) -> None:
        """A session that nobody ends."""
        self._use_brief(self._rs)

    def _own_client(self) -> None:
        """A client that is closed, or forgotten, after a call or two."""
        assert self._open is not None
        rs = self._open()
        try:
            self._use_brief(rs)
        finally:
            if self._dice.random() < 0.8:
                rs.quit()

    def _use_brief(self, rs: SessionsClient) -> None:
        self._serial += 1
        user = f"brief {self._number}-{self._serial}"
        token = rs.create(BRIEF_APP, user, IP, ttl=10, no_resave=self._dice.random() < 0.5)["token"]
        session = rs.get(BRIEF_APP, token)
        if session is not None and session["id"] != user:
            self.violations.append(f"get answered {session['id']} for {user}")

    # --------------------------------------------------------------------------------- what is right

    def _user(self) -> str:
        return f"user {self._number}-{self._dice.randrange(_USERS)}"

    def _any(self) -> _Held | None:
        return self._dice.choice(self._held) if self._held else None

    def _let_go(self) -> _Held | None:
        """One that is about to end: until that is certain it is doubtful."""
        if not self._held:
            return None
        held = self._held.pop(self._dice.randrange(len(self._held)))
        self._doubt(held.name)
        return held

    def _doubt(self, name: str) -> None:
        """Until it is certain, or whoever it is has expired for lack of use."""
        now = time.monotonic()
        oldest = next(iter(self._doubtful), name)
        if self._doubtful.get(oldest, now) < now - 2 * TTL_S:
            del self._doubtful[oldest]
        self._doubtful[name] = now

    def _has_ended(self, held: _Held) -> None:
        del self._doubtful[held.name]
        self._ended.append(held.token)

    def _check(self, call: str, held: _Held, session: Session | None, data_too: bool = True) -> None:
        if session is None:
            self.violations.append(f"{call} did not find session {held.name}")
            return
        data = session["d"] or {}
        if (session["id"], data.get("name")) != (held.user, held.name):
            self.violations.append(f"{call} answered {data.get('name')} for {held.name}")
        elif data_too and data.get("value") not in held.values:
            self.violations.append(f"{call} of {held.name} answered {data.get('value')}, not {held.values}")


# How often each is called; the last needs `open_clients_by`.
_CALLS: dict[str, Callable[[Worker], None]] = {
    "create": Worker._create,
    "get": Worker._get,
    "get, cached": Worker._get_cached,
    "get, ended": Worker._get_ended,
    "set": Worker._set,
    "kill": Worker._kill,
    "rotate": Worker._rotate,
    "soid": Worker._soid,
    "killsoid": Worker._killsoid,
    "soapp": Worker._soapp,
    "activity": Worker._activity,
    "wipe": Worker._wipe,
    "killall": Worker._killall,
    "expire": Worker._brief,
    "client": Worker._own_client,
}
_WEIGHTS = [16, 30, 15, 5, 12, 3, 5, 6, 1, 1, 1, 1, 1, 3, 4]
