"""Random calls, on both stores, against a model in plain Python whose time the test controls.

The model knows nothing of items, indexes or packets: a session is an object with a few numbers. Whatever
order calls come in, from whichever of two clients, every answer has to be the one that the model gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, rule, run_state_machine_as_test

from memsessions import NewSession, Scalar, Session, SessionsClient

from .conftest import InMemory, OnMemcached, OnSeveral, Where
from .support.memcached import Memcached
from .support.sessions import UNKNOWN, Ticks, difference

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover

APPS = ["forum", "FORUM", "blog"]
# How long a wipe may leave the old place of a `no_resave` session alone after it moved.
MOVED_S = 5
USERS = ["alice", "bob", "a:b\n", "앨리스"]


class Scale(NamedTuple):
    """The times that are tried.

    In memory they are exact, so each may be another's limit. A memcached has a clock of its own, which
    ticks while the test runs: there every limit is half a step away from every age that can come up.
    """

    ttls: list[int]
    advances: list[int]
    dts: list[int]


EXACT = Scale([10, 11, 20, 45], [1, 5, 9, 10, 11, 20], [10, 11, 20, 10**6])
DAY = 24 * 3600
COARSE = Scale([150, 350, 30 * DAY + 50], [100, 200, 300, 30 * DAY], [50, 150, 350, 10**8])


# ---------------------------------------------------------------------------------------------- model


@dataclass
class Known:
    """A session as the model knows it."""

    app: str
    user: str
    ip: str
    ttl: int
    no_resave: bool
    made: int
    used: int
    token: str
    d: dict[str, Scalar] = field(default_factory=dict)
    r: int = 1
    w: int = 1
    moves: int = 0
    killed: bool = False

    def lives(self, now: int) -> bool:
        age = now - self.made if self.no_resave else now - self.used
        return not self.killed and age <= self.ttl

    def shown(self, now: int) -> dict[str, object]:
        session: dict[str, object] = {
            "id": self.user,
            "r": self.r,
            "w": self.w,
            "idle": now - self.used,
            "ttl": self.ttl - (now - self.made) if self.no_resave else self.ttl,
            "ip": self.ip,
            "d": dict(self.d) or None,
        }
        if self.no_resave:
            session["no_resave"] = True
        return session


@dataclass
class Listed:
    """What the index holds for one token, until it is wiped."""

    session: Known
    token: str
    #: `killall` removes entries too, those that share an item with one that was dead before excepted.
    maybe_gone: bool = False
    #: When the session moved away from this token.
    left: int | None = None

    def is_dead(self, now: int) -> bool:
        return not self.session.lives(now) or self.session.token != self.token

    def may_stay(self, now: int) -> bool:
        """For some seconds the old place of a `no_resave` session looks like one that is being made."""
        return self.session.no_resave and self.left is not None and now - self.left <= MOVED_S


class Model:
    """What the store should hold."""

    def __init__(self) -> None:
        self.now = 0
        self.sessions: list[Known] = []
        self.index: list[Listed] = []

    def add(self, session: Known) -> None:
        self.sessions.append(session)
        self.index.append(Listed(session, session.token))

    def rename(self, session: Known, token: str) -> None:
        for entry in self.index:
            if entry.token == session.token:
                entry.left = self.now
        session.token = token
        session.moves += 1
        self.index.append(Listed(session, token))

    def living(self, app: str) -> list[Known]:
        return [session for session in self.sessions if session.app == app and session.lives(self.now)]

    def find(self, app: str, token: str) -> Known | None:
        return next((session for session in self.living(app) if session.token == token), None)

    def active(self, app: str, dt: int) -> list[Known]:
        return [session for session in self.living(app) if self.now - session.used <= dt]

    def kill(self, sessions: Sequence[Known]) -> int:
        for session in sessions:
            session.killed = True
        return len(sessions)

    def kill_app(self, app: str) -> int:
        """End all sessions of an app; their index entries go with them where no dead one was among them."""
        listed = [entry for entry in self.index if entry.session.app == app]
        dead = [entry for entry in listed if entry.is_dead(self.now)]
        killed = self.kill(self.living(app))
        if not dead:
            self.index = [entry for entry in self.index if entry.session.app != app]
        for entry in listed:
            # What is over by `no_resave` may have an item still, and that is ended like any other.
            entry.maybe_gone |= entry not in dead or entry.session.no_resave
        return killed

    def wipe(self) -> tuple[int, int]:
        """The least and the most that a wipe can find."""
        dead = [entry for entry in self.index if entry.is_dead(self.now)]
        for entry in dead:
            entry.maybe_gone |= entry.may_stay(self.now)
        self.index = [entry for entry in self.index if entry not in dead or entry.may_stay(self.now)]
        return sum(not entry.maybe_gone for entry in dead), len(dead)


# -------------------------------------------------------------------------------------------- machine

apps = st.sampled_from(APPS)
users = st.sampled_from(USERS)
which = st.integers(0, 1)
keys = st.sampled_from(["a", "b", "k\r\n"])
values = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.floats(-9, 9)
data = st.dictionaries(keys, values, min_size=1)


class Token(NamedTuple):
    """A token that was given out once, dead or alive."""

    app: str
    text: str


class Machine(RuleBasedStateMachine):
    """Every call of the client, through one of two clients of the same store."""

    tokens: Bundle[Token] = Bundle("tokens")

    def __init__(self, where: Where, scale: Scale) -> None:
        super().__init__()
        self.where = where
        self.scale = scale
        self.clients = [SessionsClient(where.address, ns=where.ns, wipe=0, timeout=20) for _ in range(2)]
        self.model = Model()
        self.ticks = Ticks(where)
        self.made = 0

    def teardown(self) -> None:
        for client in self.clients:
            client.close()
        # What moves the server's clock looks at everything that it holds, which must not grow.
        for server in self.where.servers:
            for key in server.keys(self.where.ns):
                server.delete(key)

    # ------------------------------------------------------------------------------- one session

    @rule(
        target=tokens,
        who=which,
        app=apps,
        user=users,
        pick=st.integers(0, 5),
        no_resave=st.booleans(),
        d=st.none() | data,
    )
    def create(
        self, who: int, app: str, user: str, pick: int, no_resave: bool, d: dict[str, Scalar] | None
    ) -> Token:
        ttl = self.scale.ttls[pick % len(self.scale.ttls)]
        self.made += 1
        ip = f"ip{self.made}"  # another one for each session, to tell them apart in lists
        token = self.clients[who].create(app, user, ip, ttl, d, no_resave)["token"]
        now = self.model.now
        session = Known(app, user, ip, ttl, no_resave, made=now, used=now, token=token)
        session.d = {key: value for key, value in (d or {}).items() if value is not None}
        self.model.add(session)
        return Token(app, token)

    @rule(who=which, token=tokens)
    def get(self, who: int, token: Token) -> None:
        session = self.model.find(*token)
        expected = None
        if session is not None:
            session.r += 1
            expected = session.shown(self.model.now)
            session.used = self.model.now
        self.check(self.clients[who].get(*token), session, expected)

    @rule(who=which, token=tokens, d=data)
    def set(self, who: int, token: Token, d: dict[str, Scalar]) -> None:
        session = self.model.find(*token)
        expected = None
        if session is not None:
            session.w += 1
            merged = {**session.d, **d}
            session.d = {key: value for key, value in merged.items() if value is not None}
            expected = session.shown(self.model.now)
            session.used = self.model.now
        self.check(self.clients[who].set(*token, d), session, expected)

    @rule(who=which, token=tokens)
    def kill(self, who: int, token: Token) -> None:
        session = self.model.find(*token)
        killed = self.model.kill([] if session is None else [session])
        assert self.clients[who].kill(*token) == {"kill": killed}

    # -------------------------------------------------------------------- many of these at once

    @rule(
        target=tokens,
        who=which,
        app=apps,
        given=st.lists(st.tuples(users, st.integers(0, 5), st.booleans(), st.none() | data), max_size=4),
    )
    def create_many(
        self, who: int, app: str, given: list[tuple[str, int, bool, dict[str, Scalar] | None]]
    ) -> Any:
        now = self.model.now
        sessions = []
        for user, pick, no_resave, d in given:
            ttl = self.scale.ttls[pick % len(self.scale.ttls)]
            self.made += 1
            session = Known(app, user, f"ip{self.made}", ttl, no_resave, made=now, used=now, token="")
            session.d = {key: value for key, value in (d or {}).items() if value is not None}
            sessions.append((session, d))
        new: list[NewSession] = [
            {"id": known.user, "ip": known.ip, "ttl": known.ttl, "no_resave": known.no_resave, "d": d}
            for known, d in sessions
        ]
        answers = self.clients[who].create_many(app, new)
        for (session, _), answer in zip(sessions, answers, strict=True):
            session.token = answer["token"]
            self.model.add(session)
        return multiple(*(Token(app, answer["token"]) for answer in answers))

    @rule(who=which, some=st.lists(tokens, min_size=1, max_size=6))
    def get_many(self, who: int, some: list[Token]) -> None:
        app, asked = some[0].app, [token.text for token in some]
        expected: list[tuple[Known | None, dict[str, object] | None]] = []
        for text in asked:
            session = self.model.find(app, text)
            if session is None:
                expected.append((None, None))
                continue
            session.r += 1
            expected.append((session, session.shown(self.model.now)))
            session.used = self.model.now
        answers = self.clients[who].get_many(app, asked)
        for answer, (session, shown) in zip(answers, expected, strict=True):
            self.check(answer, session, shown)

    @rule(who=which, some=st.lists(tokens, min_size=1, max_size=6))
    def kill_many(self, who: int, some: list[Token]) -> None:
        app, asked = some[0].app, [token.text for token in some]
        found = {text: self.model.find(app, text) for text in asked}
        killed = self.model.kill([session for session in found.values() if session is not None])
        assert self.clients[who].kill_many(app, asked) == {"kill": killed}

    @rule(target=tokens, who=which, token=tokens)
    def rotate(self, who: int, token: Token) -> Any:
        session = self.model.find(*token)
        answer = self.clients[who].rotate(*token)
        assert (answer is None) == (session is None)
        if session is None or answer is None:
            return multiple()
        assert answer["token"] != token.text
        self.model.rename(session, answer["token"])
        return Token(token.app, answer["token"])

    @rule(who=which, token=tokens, other=apps)
    def a_token_of_another_app_or_of_nobody(self, who: int, token: Token, other: str) -> None:
        texts = [UNKNOWN] if other == token.app else [UNKNOWN, token.text]
        for text in texts:
            assert self.clients[who].get(other, text) is None
            assert self.clients[who].kill(other, text) == {"kill": 0}

    # ----------------------------------------------------------------------------- many sessions

    @rule(who=which, app=apps, user=users)
    def soid(self, who: int, app: str, user: str) -> None:
        expected = [session for session in self.model.living(app) if session.user == user]
        self.check_list(self.clients[who].soid(app, user), expected)

    @rule(who=which, app=apps, pick=st.integers(0, 5))
    def soapp_and_activity(self, who: int, app: str, pick: int) -> None:
        dt = self.scale.dts[pick % len(self.scale.dts)]
        expected = self.model.active(app, dt)
        self.check_list(self.clients[who].soapp(app, dt), expected)
        distinct = {session.user for session in expected}
        assert self.clients[who].activity(app, dt) == {"activity": len(distinct)}

    @rule(who=which, app=apps, user=users)
    def killsoid(self, who: int, app: str, user: str) -> None:
        killed = self.model.kill([session for session in self.model.living(app) if session.user == user])
        assert self.clients[who].killsoid(app, user) == {"kill": killed}

    @rule(who=which, app=apps)
    def killall(self, who: int, app: str) -> None:
        killed = self.model.kill_app(app)
        assert self.clients[who].killall(app) == {"kill": killed}

    @rule(who=which)
    def wipe(self, who: int) -> None:
        least, most = self.model.wipe()
        assert least <= self.clients[who].wipe()["wiped"] <= most
        staying = sum(entry.is_dead(self.model.now) for entry in self.model.index)
        assert self.clients[who].wipe()["wiped"] <= staying

    @rule(pick=st.integers(0, 5))
    def advance(self, pick: int) -> None:
        seconds = self.scale.advances[pick % len(self.scale.advances)]
        self.where.advance(seconds)
        self.model.now += seconds

    # ---------------------------------------------------------------------------------- checking

    def check(
        self, actual: Session | None, known: Known | None, expected: Mapping[str, object] | None
    ) -> None:
        late = self.ticks.passed()
        if known is not None and known.ttl >= 30 * DAY:
            # A life of this length goes to memcached as a date, and a client's idea of the server's clock
            # may be a second behind: at the last access, and at each move.
            late += 1 + known.moves
        problem = difference(actual, expected, late)
        assert problem is None, problem

    def check_list(self, actual: list[Session], expected: list[Known]) -> None:
        idles = [session["idle"] for session in actual]
        assert idles == sorted(idles), "the last used come first"
        by_ip = {session["ip"]: session for session in actual}
        assert len(by_ip) == len(actual), "no session is listed twice"
        assert by_ip.keys() == {session.ip for session in expected}
        for session in expected:
            self.check(by_ip[session.ip], session, session.shown(self.model.now))


def run(make: Callable[[], Where], scale: Scale, examples: int, steps: int) -> None:
    run_machine: Any = run_state_machine_as_test  # typed in one version of hypothesis and not in another
    run_machine(
        lambda: Machine(make(), scale),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_the_in_process_store_does_what_the_model_does() -> None:
    run(InMemory, EXACT, examples=80, steps=40)


def test_memcached_does_what_the_model_does() -> None:
    with Memcached("-m", "512", "-t", "2") as server:
        run(lambda: OnMemcached(server), COARSE, examples=30, steps=40)


def test_three_memcacheds_as_one_do_what_the_model_does() -> None:
    with (
        Memcached("-m", "64", "-t", "1") as one,
        Memcached("-m", "64", "-t", "1") as two,
        Memcached("-m", "64", "-t", "1") as three,
    ):
        each = (one, two, three)
        run(lambda: OnSeveral([OnMemcached(server) for server in each]), COARSE, examples=12, steps=40)
