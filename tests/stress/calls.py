"""Calls at random whose answers show whether they belong to the session that was asked for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from memsessions import MemsessionsError, NewSession, Session, SessionsClient, StoreUnavailable

T = TypeVar("T")

APP = "forum"
#: Where each caller makes sessions of its own, and ends them.
OWN_APP = "another"
IP = "192.0.2.1"


class Known:
    """Sessions that all share. Each stores its own number, twice; their counters only grow."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tokens
        self.reads = [1] * len(tokens)  # the most that an answer to this process showed

    @classmethod
    def make(cls, rs: SessionsClient, number: int) -> Known:
        return cls([rs.create(APP, _user(n), IP, d={"n": n})["token"] for n in range(number)])


class Caller:
    """Makes calls, one after the other, and looks at every answer; for one thread at a time.

    `violations` gets what was answered wrongly, and every error that is not an outage. An interrupt at any
    place leaves it usable, and may leave a call out of `figures`.
    """

    def __init__(
        self, rs: SessionsClient, known: Known, dice: random.Random, name: str, violations: list[str]
    ) -> None:
        self.figures: Counter[str] = Counter()
        self._rs = rs
        self._known = known
        self._dice = dice
        self._name = name
        self._violations = violations
        self._made = 0
        # Reads are what there is most of; what goes through the whole app takes far longer than the rest.
        self._of_all: list[Callable[[int], None]] = [
            *[self._get] * 60,
            *[self._set] * 20,
            *[self._get_many] * 10,
            *[self._soid] * 10,
            *[self._unknown] * 5,
            self._soapp,
            self._activity,
        ]
        self._of_anybody = [*self._of_all, *[self._own] * 5]

    def call(self, own: bool = True) -> None:
        """Do one thing at random, mostly one call; with sessions of its own, or only with those of all."""
        act = self._dice.choice(self._of_anybody if own else self._of_all)
        try:
            act(self._dice.randrange(len(self._known.tokens)))
        except StoreUnavailable as error:
            self.figures[f"error: {error.reason}"] += 1
        except MemsessionsError as error:
            self._violations.append(f"{act.__name__[1:]} raised {type(error).__name__}: {error}")

    def _answer(self, call: Callable[[], T]) -> T:
        self.figures["calls"] += 1
        answer = call()
        self.figures["answers"] += 1
        return answer

    # ------------------------------------------------------------------------------ shared sessions

    def _get(self, number: int) -> None:
        before = self._known.reads[number]
        session = self._answer(lambda: self._rs.get(APP, self._known.tokens[number]))
        self._check("get", number, session, before + 1)

    def _get_many(self, number: int) -> None:
        """That session, some others and itself once more."""
        some = [number, *self._dice.choices(range(len(self._known.tokens)), k=5), number]
        before = [self._known.reads[each] for each in some]
        tokens = [self._known.tokens[each] for each in some]
        sessions = self._answer(lambda: self._rs.get_many(APP, tokens))
        self._expect("get_many", "number of answers", len(sessions), len(some))
        for each, session, reads in zip(some, sessions, before, strict=False):
            self._check("get_many", each, session, reads + 1)

    def _set(self, number: int) -> None:
        turn = self._dice.getrandbits(40)
        before = self._known.reads[number]
        session = self._answer(lambda: self._rs.set(APP, self._known.tokens[number], {"turn": turn}))
        self._check("set", number, session, before)
        self._expect("set", "turn", session and session["d"], {"n": number, "turn": turn})

    def _soid(self, number: int) -> None:
        before = self._known.reads[number]
        sessions = self._answer(lambda: self._rs.soid(APP, _user(number)))
        self._expect("soid", "number of sessions", len(sessions), 1)
        for session in sessions:
            self._check("soid", number, session, before)

    def _soapp(self, _number: int) -> None:
        before = list(self._known.reads)
        sessions = self._answer(lambda: self._rs.soapp(APP))
        users = sorted(session["id"] for session in sessions)
        self._expect("soapp", "users", users, sorted(map(_user, range(len(before)))))
        for session in sessions:
            number = int(session["id"].removeprefix("user"))
            self._check("soapp", number, session, before[number])

    def _activity(self, _number: int) -> None:
        answer = self._answer(lambda: self._rs.activity(APP))
        self._expect("activity", "answer", answer, {"activity": len(self._known.tokens)})

    def _unknown(self, number: int) -> None:
        """Asking for a session that there never was, on the server of one that there is."""
        token = "0" * 51 + self._known.tokens[number][51:]
        self._expect("get of nothing", "answer", self._answer(lambda: self._rs.get(APP, token)), None)
        answer = self._answer(lambda: self._rs.kill(APP, token))
        self._expect("kill of nothing", "answer", answer, {"kill": 0})

    def _check(self, call: str, number: int, session: Session | None, least_reads: int) -> None:
        if session is None:
            self._violations.append(f"{call} of session {number} was answered None")
            return
        stored = (session["id"], session["ip"], (session["d"] or {}).get("n"))
        self._expect(call, "session", stored, (_user(number), IP, number))
        if session["r"] < least_reads:
            self._violations.append(
                f"{call} of session {number} was answered {session['r']} reads, not {least_reads} at least"
            )
        self._known.reads[number] = max(self._known.reads[number], session["r"])

    # ---------------------------------------------------------------------------------- own sessions

    def _own(self, _number: int) -> None:
        """The whole life of a session that nobody else knows."""
        self._made += 1
        user = f"{self._name} {self._made}"
        token = self._answer(lambda: self._rs.create(OWN_APP, user, IP, d={"n": user}))["token"]
        self._expect("get", "own", _own(self._answer(lambda: self._rs.get(OWN_APP, token))), (user, user, 1))
        session = self._answer(lambda: self._rs.set(OWN_APP, token, {"more": 1}))
        self._expect("set", "own", _own(session), (user, user, 2))
        answer = self._answer(lambda: self._rs.kill(OWN_APP, token))
        self._expect("kill", "own", answer, {"kill": 1})
        self._expect("get", "own after its end", self._answer(lambda: self._rs.get(OWN_APP, token)), None)
        new: list[NewSession] = [{"id": f"{user}.{n}", "ip": IP, "d": {"n": f"{user}.{n}"}} for n in range(5)]
        tokens = [made["token"] for made in self._answer(lambda: self._rs.create_many(OWN_APP, new))]
        shown = [_own(each) for each in self._answer(lambda: self._rs.get_many(OWN_APP, tokens))]
        self._expect("get_many", "own", shown, [(each["id"], each["id"], 1) for each in new])
        answer = self._answer(lambda: self._rs.kill_many(OWN_APP, tokens))
        self._expect("kill_many", "own", answer, {"kill": 5})

    def _expect(self, call: str, what: str, found: Any, expected: Any) -> None:
        if found != expected:
            self._violations.append(f"{call}: {what} was {found!r:.200}, not {expected!r:.200}")


def _user(number: int) -> str:
    return f"user{number}"


def _own(session: Session | None) -> tuple[Any, ...] | None:
    """What an own session shows of itself."""
    return None if session is None else (session["id"], (session["d"] or {}).get("n"), session["w"])
