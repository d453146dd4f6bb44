"""What is asked of a server before it is judged. Nothing here changes anything, or counts as a use."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ..errors import DumpForbidden, StoreDamaged, StoreUnavailable
from ..nodes import Node
from ..repairing import compare
from ..servers import is_memory
from ..store.operations import LeftMany, Protection, Store
from ..types import Repaired

# So many pings, or as many as there is time for.
_PINGS, _PINGING_S = 50, 1.0
# One of several servers is left alone for a moment when it does not answer.
_PAUSE_S = 0.06
# A scan for activity counts nobody as active here: what is wanted is how many sessions there are.
_ANY_DT = 600

#: Told how many records or keys were looked at, and how many there are.
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Contents:
    """What a server holds of the sessions of one `ns`.

    `apps` is as a repair would report it. `unlisted` is 0 there unless all keys were `compared`; `why_not`
    says what kept them from being, or from being seen to the end.
    """

    apps: Mapping[str, Repaired]
    compared: bool
    why_not: str = ""
    damaged: str = ""
    #: Apps that have sessions, but are not in the list of apps.
    unregistered: tuple[str, ...] = ()
    #: Whether a client has wiped, or begun to, within its interval.
    wiping: bool = False

    def total(self, what: str) -> int:
        """Of all apps."""
        return sum(report[what] for report in self.apps.values())  # type: ignore[literal-required]

    @property
    def sessions(self) -> int:
        """Those that are living."""
        return self.total("listed") + self.total("unlisted")


@dataclass(frozen=True)
class Facts:
    """One server, as it was found. Texts are as memcached gives them; one it does not give is missing."""

    server: str
    address: str | tuple[str, int]
    protection: Protection
    item_bytes: int  # of the client
    timeout_s: float  # of the client
    stats: Mapping[str, str]
    settings: Mapping[str, str]
    slabs: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()  # the IP addresses that its name has
    asked_at: float = 0.0  # on this machine's clock, when its own clock was asked for
    pings_s: tuple[float, ...] = ()  # the shortest first
    contents: Contents | None = None  # None if it was not looked at

    @property
    def in_memory(self) -> bool:
        """Whether it is a store of this process."""
        return is_memory(self.address)

    def stat(self, name: str) -> int | None:
        """A number that the server gives; None for one that it does not."""
        text = self.stats.get(name, "")
        return int(text) if text.isdecimal() else None

    @property
    def evicts(self) -> bool:
        """Whether it throws out items for want of memory, where others refuse new ones (`-M`)."""
        return self.settings.get("evictions") != "off"

    @property
    def dumps(self) -> bool:
        """Whether it shows its keys."""
        return self.settings.get("dump_enabled") != "no" and self.settings.get("lru_crawler") != "no"


def ask(node: Node, item_bytes: int) -> Facts:
    """What a server says of itself, and how fast: some round trips. Raises as every call does."""
    store = node.store
    stats, asked_at = store.stats(), time.time()
    settings, slabs = store.stats("settings"), store.stats("slabs")
    return Facts(
        server=store.server,
        address=node.address,
        protection=store.protection,
        item_bytes=item_bytes,
        timeout_s=store.deadline() - time.monotonic(),
        stats=stats,
        settings=settings,
        slabs=slabs,
        hosts=_hosts(node.address),
        asked_at=asked_at,
        pings_s=_pings(store),
    )


def look_into(node: Node, facts: Facts, tell: Tell) -> Facts:
    """The same with what is on the server: takes some seconds and 100 MB for each million sessions.

    Raises as every call does.
    """
    (wipe_left,) = node.store.run((LeftMany(node.root + b":", [b"wipe"]),))[0]
    why_not = "" if facts.dumps else "the server does not show its keys"
    found: tuple[dict[str, Repaired], StoreDamaged | None] | None = None
    if not why_not:
        try:
            found = compare(node, tell)
        except DumpForbidden:
            why_not = "the server does not show its keys"
        except StoreUnavailable as error:  # it is busy with another dump; or gone, which is seen below
            why_not = error.reason
            time.sleep(_PAUSE_S)
    # After the dump: an app is registered before it has its first session.
    registered = node.registry.names()
    apps, damage = _counted(node, registered, tell) if found is None else found
    contents = Contents(
        apps,
        compared=found is not None,
        why_not=why_not,
        damaged="" if damage is None else damage.reason,
        unregistered=tuple(name for name in apps if name not in registered),
        wiping=wipe_left is not None,
    )
    return replace(facts, contents=contents)


def _counted(node: Node, names: list[str], tell: Tell) -> tuple[dict[str, Repaired], StoreDamaged | None]:
    """What the indexes alone say, with one group of their records held at a time."""
    total = sum(node.app(name).listing.size() for name in names)
    seen = 0
    apps: dict[str, Repaired] = {}
    damage: StoreDamaged | None = None

    def go_on(records: int) -> bool:
        nonlocal seen
        seen += records
        tell(min(seen, total), total)
        return True

    for name in sorted(names):
        before = seen
        try:
            living = sum(part.sessions for part in node.app(name).scans.counted(_ANY_DT, go_on))
        except StoreDamaged as error:
            damage = error
            continue
        apps[name] = {"listed": living, "dead": seen - before - living, "unlisted": 0, "relisted": 0}
    return apps, damage


def _pings(store: Store) -> tuple[float, ...]:
    took: list[float] = []
    until = time.monotonic() + _PINGING_S
    while len(took) < _PINGS and time.monotonic() < until:
        started = time.perf_counter()
        store.ping()
        took.append(time.perf_counter() - started)
    return tuple(sorted(took))


def _hosts(address: str | tuple[str, int]) -> tuple[str, ...]:
    """The IP addresses that an address stands for; none for a socket file, or what cannot be found out."""
    if isinstance(address, str):
        return ()
    host, port = address
    with contextlib.suppress(ValueError):
        return (str(ipaddress.ip_address(host.partition("%")[0])),)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))
