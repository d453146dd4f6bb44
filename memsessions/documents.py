"""Sessions as documents: JSON of any depth, written by compare-and-swap over what was read.

What frameworks' sessions are built on. A framework reads a session at the beginning of a request and
writes what has changed at its end. Other requests of the same visitor may write in between: a document is
written if it is still what was read; if not, only the keys that the request has changed are merged into
what is there now. A document that has ended meanwhile stays ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from . import validation as check
from .changes import KEEP, Changes, Marker
from .document import (
    IP_MAX,
    NO_IP,
    Coder,
    Device,
    Document,
    Merging,
    Sealing,
    Unreadable,
    plain_data,
    user_of,
)
from .errors import InvalidValue
from .handles import handle_of, name_of
from .logs import Seldom
from .reading import Held
from .record import new_record
from .sessions import Making, counter_life
from .store.operations import Item
from .tokens import TAG, Life, token_life

if TYPE_CHECKING:
    from .cache import NoCache
    from .fleet import Fleet
    from .nodes import ByTag, Node
    from .types import Session

_log = logging.getLogger(__name__)


class Documents:
    """The sessions of one app as documents; made by `SessionsClient.documents`.

    A token that cannot be one is unknown, without asking the store. Every call that asks can raise
    `StoreUnavailable`; those that write, `StoreFull`, `SessionTooLarge`, and `InvalidValue` for what JSON
    cannot hold, before any I/O: nothing is changed then.
    """

    def __init__(
        self,
        app: str,
        sessions: Callable[[], ByTag],
        fleet: Fleet,
        cache: NoCache,
        sealing: Sealing | None = None,
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._fleet = fleet
        self._cache = cache
        self._coder = Coder(sealing)
        self._sealed = Seldom()

    # ------------------------------------------------------------------------------ one document

    def create(
        self,
        data: Mapping[str, Any],
        *,
        id: str | None = None,
        ip: str | None = None,
        ttl: int,
        no_resave: bool = False,
        ends_in: int | None = None,
    ) -> Document:
        """Make a session. One round trip; one more at the first use of the app by its client.

        Parameters:
            data: JSON of any depth. Tuples become lists.
            id: the user, 1 to 128 characters not beginning with `~`; None for a visitor who is nobody yet.
            ip: the visitor's address; what is over 39 characters is cut off.
            ttl: seconds it lives without an access, from 10 to 10 years.
            no_resave: let it end at a fixed time, whether it is used or not: in `ttl` seconds or, if that is
                given, in `ends_in` seconds, which are at most `ttl`.
        """
        life = _life(ttl, no_resave)
        stored = plain_data(data)
        making = self._making(stored, user_of(id), ip, life, ends_in)
        self._sessions()
        return _made(self._fleet.create(self._app, making, "documents.create"), making, stored)

    def adopt(
        self, token: str, data: Mapping[str, Any], *, id: str | None = None, ip: str | None = None
    ) -> Document | None:
        """As `create`, but with a token that is given, which says how long it lives. One round trip.

        Returns:
            The document, or None if there is such a session, or the token's server is not listed.
        """
        check.check_token(token)
        stored = plain_data(data)
        # Whoever is too late has listed the session, too: it must be for the same visitor.
        user = user_of(id, token)
        making = self._making(stored, user, ip, token_life(token), None)
        self._sessions()
        adopted = self._fleet.adopt(self._app, token, making, "documents.adopt")
        return _made(token, making, stored) if adopted else None

    def read(self, token: object) -> Document | None:
        """Read a session, which counts as an access and renews its life. One round trip.

        Returns:
            The document, or None if it is unknown, expired or ended. So is one that is encrypted with a key
            that is not known, or not encrypted at all though there is a key.
        """
        if not check.is_token(token):
            return None
        on_server = self._sessions()[token[TAG]]
        held = on_server.meter.call("documents.read", on_server.hold, token)
        if held is None:
            return None
        stored = self._coder.decoded(held.found)
        if stored is None:
            self._undecryptable()
            return None
        return Document(held, stored)

    def exists(self, token: object) -> bool:
        """Whether there is such a session, which does not count as an access. One round trip."""
        if not check.is_token(token):
            return False
        on_server = self._sessions()[token[TAG]]
        return on_server.meter.call("documents.exists", on_server.exists, token)

    def save(self, document: Document, changes: Changes, *, ends_in: int | None = None) -> Document | None:
        """Merge changes into a session. One round trip, two more for each other writer in between.

        Parameters:
            changes: see `differences`.
            ends_in: let a session with a fixed end live for so many seconds from now, at most its `ttl`.

        Returns:
            The document as it is now, or None if it has ended since it was read.
        """
        _check_end(ends_in, document.ttl)
        merging = Merging(self._coder, document, changes)
        token = document.token
        on_server = self._sessions()[token[TAG]]
        try:
            held = on_server.meter.call(
                "documents.save", on_server.rewrite, token, merging, held=document.held, ends_in=ends_in
            )
        except Unreadable:
            return None
        finally:
            self._cache.drop(self._app, token)
        return held and Document(held, merging.data)

    def move(
        self,
        document: Document,
        changes: Changes,
        *,
        id: str | Marker | None = KEEP,
        ip: str | None = None,
        ttl: int | None = None,
        ends_in: int | None = None,
    ) -> Document | None:
        """Give a session a new token and end the old one, and on the way change it.

        One round trip; two if memcached runs with `-M` or the session is larger than 4 kB; two more for
        each other writer in between.

        Parameters:
            changes: as in `save`.
            id: the user it belongs to from now on, None for nobody.
            ip: the address that it is listed with from now on; None keeps the old one.
            ttl: seconds it lives from now on without an access.
            ends_in: as in `save`.

        Returns:
            The document as it is now, or None if it has ended since it was read.
        """
        token = document.token
        user = document.held.found[1] if isinstance(id, Marker) else user_of(id)
        life = _life(document.ttl if ttl is None else ttl, bool(document.held.found[4]))
        _check_end(ends_in, life.ttl)
        merging = Merging(self._coder, document, changes, user, life.ttl, ip)
        on_server = self._sessions()[token[TAG]]
        try:
            held = on_server.meter.call(
                "documents.move",
                on_server.rotate,
                token,
                rewrite=merging,
                held=document.held,
                life=life,
                ends_in=ends_in,
            )
        except Unreadable:
            return None
        finally:
            self._cache.drop(self._app, token)
        return held and Document(held, merging.data)

    def end(self, token: object) -> bool:
        """End a session. One round trip.

        Returns:
            Whether there was one.
        """
        if not check.is_token(token):
            return False
        on_server = self._sessions()[token[TAG]]
        try:
            return on_server.meter.call("documents.end", on_server.kill, token)
        finally:
            self._cache.drop(self._app, token)

    def end_unchanged(self, document: Document) -> bool:
        """End a session if nobody has written to it since it was read. Two round trips.

        Returns:
            Whether it was ended by this.
        """
        token = document.token
        on_server = self._sessions()[token[TAG]]
        try:
            return on_server.meter.call("documents.end_unchanged", on_server.kill_held, document.held)
        finally:
            self._cache.drop(self._app, token)

    # ------------------------------------------------------------------------- a user's documents

    def devices(self, id: str) -> list[Device]:
        """A user's sessions, the last used first. Changes nothing. Two round trips."""
        check.check_id(id)
        self._sessions()

        def on_node(node: Node) -> list[tuple[bytes, Session]]:
            return node.app(self._app).scans.named_of_user(id)

        named = [pair for pairs in self._fleet.on_each(on_node, "documents.devices") for pair in pairs]
        return [
            Device(handle_of(name), session)
            for name, session in sorted(named, key=lambda pair: pair[1]["idle"])
        ]

    def end_device(self, id: str, handle: object) -> bool:
        """End one of a user's sessions by its handle. Two round trips.

        Returns:
            Whether there was one of this handle that belongs to this user.

        Raises:
            StoreUnavailable: a server is away, and no other one had the session.
        """
        check.check_id(id)
        name = name_of(handle)
        if name is None:
            return False
        self._sessions()

        def kill(node: Node) -> bool:
            return node.app(self._app).sessions.kill_named(name, id)

        try:
            return bool(
                self._fleet.find(
                    lambda node: node.meter.call("documents.end_device", kill, node) or None,
                )
            )
        finally:
            self._cache.drop_app(self._app, id)

    # ------------------------------------------------------------------------------------ inside

    def _undecryptable(self) -> None:
        """Say now and then that there was such a session: whoever has its cookie can send it all the time."""
        if times := self._sealed.due():
            said = {"app": self._app, "operation": "documents.read", "times": times}
            _log.warning(
                "a session of %s could not be decrypted: it counts as unknown", self._app, extra=said
            )

    def _making(
        self, stored: dict[str, Any], user: str, ip: str | None, life: Life, ends_in: int | None
    ) -> Making:
        _check_end(ends_in, life.ttl)
        address = (ip or NO_IP)[:IP_MAX]
        found = new_record(user, address, life.ttl, life.no_resave, self._coder.coded(user, stored))
        return Making(found, life, counter_life(life) if ends_in is None else ends_in + 1)


def _made(token: str, making: Making, stored: dict[str, Any]) -> Document:
    # What a later write goes over has to be read then: its unique is not known.
    item, counter = Item(b"", making.life.ttl + 1, 0), Item(b"1", making.counter_left, 0)
    return Document(Held(token, making.record, item, counter, 0), stored)


def _check_end(ends_in: object, ttl: int) -> None:
    """None, or 1 to `ttl` seconds: memcached takes less for no end at all."""
    if ends_in is None:
        return
    if isinstance(ends_in, bool) or not isinstance(ends_in, int) or not 1 <= ends_in <= ttl:
        raise InvalidValue("ends_in must be an integer from 1 to ttl")


def _life(ttl: int, no_resave: bool) -> Life:
    check.check_ttl(ttl)
    return Life(ttl, no_resave)
