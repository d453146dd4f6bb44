"""A session as a document, and how it stands in a record: its data as it is, or encrypted."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from . import validation as check
from .changes import Changes, applied
from .errors import InvalidFormat, InvalidValue
from .plain import plain
from .reading import Held
from .record import Record
from .tokens import hashed

if TYPE_CHECKING:
    from .types import Session

#: Where no address is known.
NO_IP = "unknown"
IP_MAX = 39
# A visitor that belongs to no user is a user of its own, so that each counts as one, and the index, which
# is divided by users, stays even.
_ANONYMOUS = "~"
_ANONYMOUS_LENGTH = 16
#: Under this key stands data that is encrypted.
SEALED = "~"


class Sealing(Protocol):
    """Encrypts data."""

    def seal(self, data: bytes) -> str:
        """The data, encrypted, as ASCII text."""

    def open(self, sealed: str) -> bytes | None:
        """The data again, or None if none of the keys opens it."""


class Document:
    """A session as it was read: what it says, and what a write that goes over it has to know."""

    __slots__ = ("held", "stored")

    def __init__(self, held: Held, stored: Mapping[str, Any]) -> None:
        self.held = held
        self.stored = stored  # its data as it is stored, which nobody may change

    @property
    def token(self) -> str:
        """What the visitor shows."""
        return self.held.token

    @property
    def id(self) -> str | None:
        """The user it belongs to, or None."""
        user = self.held.found[1]
        return None if user.startswith(_ANONYMOUS) else user

    @property
    def ip(self) -> str:
        """The address that was given when it was made."""
        return self.held.found[2]

    @property
    def ttl(self) -> int:
        """Seconds it lives without an access; of one with a fixed end, that it was made for."""
        return self.held.found[3]

    @property
    def left(self) -> int:
        """Seconds until it ends if it is not used any more."""
        fixed_left = self.held.fixed_left
        return self.ttl if fixed_left is None else fixed_left

    @property
    def r(self) -> int:
        """How often it was read."""
        return int(self.held.counter.value)

    @property
    def w(self) -> int:
        """How often it was written."""
        return self.held.found[5]

    @property
    def idle(self) -> int:
        """Seconds between this access and the one before."""
        return max(0, self.held.idle)

    @property
    def data(self) -> dict[str, Any]:
        """A deep copy of its data."""
        data: dict[str, Any] = orjson.loads(orjson.dumps(self.stored))
        return data

    def __repr__(self) -> str:
        return f"<Document r={self.r} w={self.w} idle={self.idle}>"


class Device(NamedTuple):
    """One of a user's sessions, and its handle."""

    handle: str
    session: Session


class Coder:
    """How data stands in a record: as it is, or encrypted."""

    def __init__(self, sealing: Sealing | None) -> None:
        self._sealing = sealing

    def coded(self, user: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """What stands in a record for data."""
        if not data or self._sealing is None:
            return data or None
        # With its user, so that nobody can give one user's data to another.
        return {SEALED: self._sealing.seal(orjson.dumps([user, data]))}

    def decoded(self, found: Record) -> dict[str, Any] | None:
        """The data of a record, or None if it cannot be read."""
        _, user, _, _, _, _, d = found
        if d is None:
            return {}
        sealed = d.get(SEALED) if len(d) == 1 else None
        if self._sealing is None:
            return d if sealed is None else None
        opened = self._sealing.open(sealed) if isinstance(sealed, str) else None
        if opened is None:
            return None
        sealed_user, data = orjson.loads(opened)
        return data if sealed_user == user else None


class Unreadable(Exception):
    """Somebody has encrypted a session anew, with a key that is not known here."""


class Merging:
    """What a write makes of a session that it finds: changes are merged into its data."""

    def __init__(
        self,
        coder: Coder,
        document: Document,
        changes: Changes,
        user: str | None = None,
        ttl: int | None = None,
        ip: str | None = None,
    ) -> None:
        self._coder = coder
        self._document = document
        self._changes = {**changes, **plain_data(applied({}, changes))}
        self._user = user
        self._ttl = ttl
        self._ip = ip
        self.data = document.stored  # as it is after the last write

    def __call__(self, found: Record) -> Record:
        schema, user, ip, ttl, no_resave, w, _ = found
        # Unless there was another writer, it is what was opened when the document was read.
        read = self._document
        old = read.stored if found is read.held.found else self._coder.decoded(found)
        if old is None:
            raise Unreadable
        self.data = data = applied(old, self._changes)
        user = self._user or user
        ip = (self._ip or ip)[:IP_MAX]
        return schema, user, ip, self._ttl or ttl, no_resave, w + 1, self._coder.coded(user, data)


def check_user(id: str) -> None:
    """1 to 128 characters, not beginning with `~`."""
    check.check_id(id)
    if id.startswith(_ANONYMOUS):
        raise InvalidFormat(
            f"Invalid id format: it must not begin with {_ANONYMOUS}, as those of visitors do"
        )


def user_of(id: str | None, token: str | None = None) -> str:
    """What stands for the user in the store; of nobody, always the same for a token that is known already."""
    if id is not None:
        check_user(id)
        return id
    random = secrets.token_hex() if token is None else token
    return _ANONYMOUS + hashed(random).decode()[:_ANONYMOUS_LENGTH]


def plain_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data as it will be read again, and a copy. Raises `InvalidValue` for what cannot be kept."""
    if SEALED in data:
        raise InvalidValue(f"the key {SEALED} is reserved")
    return plain(data)
