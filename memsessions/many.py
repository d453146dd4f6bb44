"""Calls for many sessions at once: what is given is checked, spread over the servers, and sent in batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from . import record
from . import validation as check
from .batches import Ready, cut
from .cache import NoCache, SessionCache
from .errors import (
    InvalidValue,
    SessionTooLarge,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UnsupportedServer,
    ValidationError,
)
from .fleet import Fleet, passed_over
from .tokens import TAG, Life, hashed

if TYPE_CHECKING:
    from .nodes import Node
    from .types import Session

_TTL_S = 7200  # as `create` has it
_KEYS = frozenset(("id", "ip", "ttl", "d", "no_resave"))


class Many:
    """The calls of a client that are given many sessions or tokens."""

    def __init__(self, fleet: Fleet, cache: NoCache, item_bytes: int) -> None:
        self._fleet = fleet
        self._cache = cache
        self._item_bytes = item_bytes

    def create(self, app: str, sessions: Iterable[Mapping[str, Any]]) -> list[str]:
        """The tokens of new sessions."""
        return _Creation(self._fleet, app, checked_sessions(sessions, self._item_bytes)).run()

    def get(self, app: str, tokens: Iterable[str]) -> list[Session | None]:
        """What reads of these tokens answer."""
        asked = checked_tokens(tokens)
        if not isinstance(self._cache, SessionCache):
            return self._read(app, asked)
        # Each token is looked up, or asked for, once: a read that comes after it finds what it left there.
        found = {token: self._cache.get(app, token) for token in asked}
        missing = [token for token, session in found.items() if session is None]
        moment = self._cache.moment()
        for token, session in zip(missing, self._read(app, missing), strict=True):
            found[token] = session
            if session is not None:
                self._cache.put(app, token, session, moment)
        answers: list[Session | None] = []
        shown: set[str] = set()
        for token in asked:
            answers.append(deepcopy(found[token]) if token in shown else found[token])
            shown.add(token)
        return answers

    def kill(self, app: str, tokens: Iterable[str]) -> int:
        """How many sessions of these tokens were ended."""
        asked = checked_tokens(tokens)
        by_node = places_by_node(self._fleet.nodes, asked)
        try:
            return self._fleet.end(
                lambda node: node.app(app).sessions.kill_many([asked[place] for place in by_node[node]]),
                "kill_many",
                list(by_node),
            )
        finally:
            for token in asked:
                self._cache.drop(app, token)

    def _read(self, app: str, tokens: list[str]) -> list[Session | None]:
        by_node = places_by_node(self._fleet.nodes, tokens)
        lists = self._fleet.on_each(
            lambda node: node.app(app).sessions.read_many([tokens[place] for place in by_node[node]]),
            "get_many",
            list(by_node),
        )
        answers: list[Session | None] = [None] * len(tokens)
        for places, shown in zip(by_node.values(), lists, strict=True):
            for place, session in zip(places, shown, strict=True):
                answers[place] = session
        return answers


def places_by_node(nodes: list[Node], tokens: list[str]) -> dict[Node, list[int]]:
    """Where the tokens of each server stand. A server that is not listed has no sessions."""
    if len(nodes) == 1:  # it may have been told its address in another form
        return {nodes[0]: list(range(len(tokens)))} if tokens else {}
    by_tag = {node.tag: node for node in nodes}
    by_node: dict[Node, list[int]] = {}
    for place, token in enumerate(tokens):
        node = by_tag.get(token[TAG])
        if node is not None:
            by_node.setdefault(node, []).append(place)
    return by_node


class _Creation:
    """One `create_many`: what is to be made, and what was made where."""

    def __init__(self, fleet: Fleet, app: str, ready: list[Ready]) -> None:
        self._fleet = fleet
        self._app = app
        self._ready = ready
        self._made: dict[int, str] = {}  # tokens, by the sessions' numbers
        self._left: list[str] = []  # tokens of what a batch that failed may have made
        self._over = False

    def run(self) -> list[str]:
        try:
            self._make()
        except (StoreError, SessionTooLarge):
            self._take_back()
            raise
        finally:
            self._over = True  # also for threads, when this one was interrupted
        return [self._made[each.number] for each in self._ready]

    def _make(self) -> None:
        """As one `create` does it: each session has an order of servers, of which one after another is tried.

        Of the time that it may take, the first server has a half, the next a quarter, and the last the rest.
        """
        orders = {each.number: self._fleet.in_random_order() for each in self._ready}
        waiting = self._ready
        share = 1.0
        turn = 0
        while waiting:
            last = turn + 1 == len(orders[waiting[0].number])
            share = share if last else share / 2
            by_node: dict[Node, list[Ready]] = {}
            for each in waiting:
                by_node.setdefault(orders[each.number][turn], []).append(each)
            for node, error in self._make_on_each(by_node, share):
                if last or not isinstance(error, (StoreUnavailable, UnsupportedServer, StoreFull)):
                    raise error
                passed_over(node, self._app, "create_many", error)
            waiting = [each for each in waiting if each.number not in self._made]
            turn += 1

    def _make_on_each(
        self, by_node: dict[Node, list[Ready]], share: float
    ) -> list[tuple[Node, StoreError | SessionTooLarge]]:
        """Make sessions on their servers at the same time; the servers that did not make all, and why."""
        nodes = list(by_node)
        errors = self._fleet.outcome_on_each(lambda node: self._make_on(node, by_node[node], share), nodes)
        return [(node, error) for node, error in zip(nodes, errors, strict=True) if error is not None]

    def _make_on(self, node: Node, ready: list[Ready], share: float) -> StoreError | SessionTooLarge | None:
        """Make sessions on a server, batch by batch; what kept it from making all of them."""

        def make() -> None:
            for some in cut(ready):
                if self._over:
                    return
                now = time.monotonic()
                deadline = now + (node.store.deadline() - now) * share
                self._made.update(node.create_many(self._app, some, deadline, self._left))

        try:
            node.meter.call("create_many", make)
        except (StoreError, SessionTooLarge) as error:
            return error
        return None

    def _take_back(self) -> None:
        """End what was made: nobody will be given its tokens."""
        if not self._made:
            return  # a call of one batch ends in the time of one, as `create` does
        tokens = [*self._made.values(), *self._left]
        by_node = places_by_node(self._fleet.nodes, tokens)
        self._fleet.outcome_on_each(
            lambda node: node.app(self._app).sessions.take_back([tokens[place] for place in by_node[node]]),
            list(by_node),
        )


# ------------------------------------------------------------------------------------ what is given


def checked_tokens(tokens: Iterable[str]) -> list[str]:
    """Tokens, as a list; an error says which of them is wrong, and does not show it."""
    check.check_listed("tokens", tokens)
    checked = list(tokens)
    for number, token in enumerate(checked, 1):
        try:
            check.check_token(token)
        except ValidationError as error:
            raise type(error)(f"token {number}: {error}") from None
    return checked


def checked_sessions(sessions: Iterable[Mapping[str, Any]], item_bytes: int) -> list[Ready]:
    """Sessions, as they will be stored; an error says which of them is wrong."""
    check.check_listed("sessions", sessions)
    ready = []
    for number, session in enumerate(sessions, 1):
        try:
            ready.append(_checked(session, number, item_bytes))
        except ValidationError as error:
            raise type(error)(f"session {number}: {error}") from None
    return ready


def _checked(session: Mapping[str, Any], number: int, item_bytes: int) -> Ready:
    """As the arguments of `create`."""
    if not isinstance(session, Mapping):
        raise InvalidValue("it must be a mapping")
    for key in session:
        if key not in _KEYS:
            raise InvalidValue(f"it can have id, ip, ttl, d and no_resave, and not {key!a}")
    user: Any = session.get("id")
    ip: Any = session.get("ip")
    d = session.get("d")
    ttl, no_resave = session.get("ttl", _TTL_S), session.get("no_resave", False)
    check.check_id(user)
    check.check_ip(ip)
    check.check_ttl(ttl)
    check.check_flag("no_resave", no_resave)
    data = None if d is None else record.without_none(check.checked_data(d, item_bytes))
    value = record.encode(record.new_record(user, ip, ttl, no_resave, data or None))
    return Ready(number, hashed(user), Life(ttl, no_resave), value)
