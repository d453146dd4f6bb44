"""The servers of a client: what of an app is on each, and on which a session is or will be."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .batches import BatchedSessions, Ready
from .errors import StoreDamaged
from .index import GoOn, Index, always
from .keys import AppKeys
from .listings import Listings
from .meters import Meter
from .reading import Held
from .registry import Registry
from .scans import Scans
from .sessions import AppSessions, Making, Rewrite
from .store.operations import Add, Store
from .tokens import server_tag
from .wiping import wipe_app

if TYPE_CHECKING:
    from .breaker import Breaker
    from .servers import Listed
    from .types import Scalar, Session

_wipe_log = logging.getLogger("memsessions.wipe")

# A call that tries a server again after a failure may take this much longer than its deadline.
_PROBE_MARGIN_S = 0.5


class AppOnNode:
    """What serves one app on one server."""

    def __init__(self, node: Node, app: str, item_bytes: int) -> None:
        store, meter = node.store, node.meter
        self.keys = AppKeys(node.root, app)
        self.listing = Index(store, self.keys)
        self.listings = Listings(store, self.keys, self.listing, meter)
        self.sessions = BatchedSessions(store, self.keys, self.listings, meter, item_bytes, node.tag)
        self.scans = Scans(store, self.keys, self.listing)


class Node:
    """One server, with the apps that are used on it."""

    def __init__(
        self, server: Listed, store: Store, ns: str, item_bytes: int, breaker: Breaker | None = None
    ) -> None:
        self.name = server.name
        self.address = server.address
        self.tag = server_tag(server.name)
        self.weight = 0.0 if server.drain else server.weight
        self.store = store
        self.breaker = breaker
        self.meter = Meter(store.server)
        self.root = store.key_prefix + ns.encode()
        self.registry = Registry(store, self.root)
        self.registered: set[str] = set()
        self._item_bytes = item_bytes
        self._apps: dict[str, AppOnNode] = {}

    def app(self, name: str) -> AppOnNode:
        """What serves an app here."""
        try:
            return self._apps[name]
        except KeyError:
            return self._apps.setdefault(name, AppOnNode(self, name, self._item_bytes))

    def create(self, app: str, making: Making, deadline: float) -> str:
        """Make a session here and return its token. One round trip; one more at the first use of an app."""
        first = [] if app in self.registered else self.registry.entering(app, deadline)
        token = self.app(app).sessions.create(making, first, deadline)
        self.registered.add(app)
        return token

    def create_many(
        self, app: str, ready: Sequence[Ready], deadline: float, left: list[str]
    ) -> dict[int, str]:
        """Make a batch of sessions here and return their tokens by number; round trips as for one.

        Where that fails, the tokens of those that may be there yet are added to `left`.
        """
        first = [] if app in self.registered else self.registry.entering(app, deadline)
        made = self.app(app).sessions.make_many(ready, first, deadline, left)
        self.registered.add(app)
        return made

    def adopt(self, app: str, token: str, making: Making, deadline: float) -> bool:
        """Make a session of this token here, unless there is one; whether it was made."""
        first = [] if app in self.registered else self.registry.entering(app, deadline)
        made = self.app(app).sessions.make(token, making, first, deadline)
        self.registered.add(app)
        return made

    def register(self, app: str) -> None:
        """Enter an app into the list of those that wipes go through. One round trip, at its first use."""
        if app not in self.registered:
            if missing := self.registry.entering(app):
                self.store.run(missing)
            self.registered.add(app)

    def ping(self) -> None:
        """One round trip."""
        self.store.ping()

    def wipe(self, go_on: GoOn = always) -> int:
        """Remove the dead records of every app; return how many sessions' they were."""
        wiped = 0
        damaged: StoreDamaged | None = None
        compacted = self.meter.compactions
        self.meter.wipes += 1
        for app in dict.fromkeys([*self.registry.names(), *list(self.registered)]):
            if not go_on(0):
                break
            on_node = self.app(app)
            try:
                wiped += wipe_app(self.store, on_node.keys, on_node.listing, self.meter, go_on)
            except StoreDamaged as error:
                damaged = error
        said = {
            "server": self.store.server,
            "operation": "wipe",
            "wiped": wiped,
            "compactions": self.meter.compactions - compacted,
        }
        level = logging.INFO if wiped else logging.DEBUG
        _wipe_log.log(level, "wiped %s: %d dead sessions", self.store.server, wiped, extra=said)
        if damaged is not None:
            raise damaged
        return wiped

    def wipe_in_turn(self, interval_s: float) -> None:
        """Wipe unless another process holds the lease for this interval."""
        # Also puts right the list of apps after a restart of the server.
        for app in list(self.registered):
            if missing := self.registry.entering(app):
                self.store.run(missing)
        (elected,) = self.store.run((Add(self.root + b":wipe", b"", max(1, int(interval_s) - 1)),))
        if elected:
            self.wipe()


class _Nowhere:
    """The sessions of a server that is not listed: there are none."""

    def __init__(self) -> None:
        self.meter = Meter("")  # nobody looks at it

    def read(self, _token: str) -> Session | None:
        return None

    def write(self, _token: str, _changes: Mapping[str, Scalar]) -> Session | None:
        return None

    def kill(self, _token: str) -> bool:
        return False

    def hold(self, _token: str) -> Held | None:
        return None

    def exists(self, _token: str) -> bool:
        return False

    def rewrite(self, _token: str, _rewrite: Rewrite, **_options: Any) -> Held | None:
        return None

    def kill_held(self, _held: Held) -> bool:
        return False

    def rotate(self, _token: str, **_options: Any) -> Held | None:
        return None


class ByTag(dict[str, AppSessions]):
    """The sessions of an app, by what a token remembers of its server.

    A client of one server asks that one for any token: it may have been told its address in another form.
    """

    def __init__(self, nodes: list[Node], app: str) -> None:
        super().__init__({node.tag: node.app(app).sessions for node in nodes})
        self._other: Any = nodes[0].app(app).sessions if len(nodes) == 1 else _Nowhere()

    def __missing__(self, _tag: str) -> AppSessions:
        other: AppSessions = self._other
        return other


def nodes(opened: list[tuple[Listed, Store]], ns: str, timeout_s: float, item_bytes: int) -> list[Node]:
    """The servers that were opened; of several, each is left alone for a moment when it fails."""
    if len(opened) == 1:
        return [Node(server, store, ns, item_bytes) for server, store in opened]
    from .breaker import Breaker, GuardedStore  # only who has several servers pays for this import

    probe_s = timeout_s + _PROBE_MARGIN_S
    guarded = [(server, store, Breaker(store.server, probe_s)) for server, store in opened]
    return [
        Node(server, GuardedStore(store, breaker), ns, item_bytes, breaker)
        for server, store, breaker in guarded
    ]
