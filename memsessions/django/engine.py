"""The session engine: Django's rules, kept by documents.

What differs from Django's own engines, and why:

- What a request has changed is merged into what is stored, key by key.
- A session belongs to the user who is logged in by it, so that it can be listed and ended with the user's
  others. It gets a new key when that changes: the one that was known before is dead.
- A key tells how long its session lives at most. One that is to live longer gets a new key.
- An outage is never an empty session.

A session ends as long after it was *saved* as it is to live: that is Django's rule. Reading one is noticed as
its being used, and does not postpone its end.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

from django.apps import apps
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.dispatch import receiver
from django.utils.crypto import get_random_string

from .. import errors
from ..changes import KEEP
from ..document import Document
from ..documents import Documents
from ..logs import about
from ..tokens import TTL_MAX_S, TTL_MIN_S
from .asynchronous import AsyncMethods, waits
from .coding import Coding, coding_of
from .configured import configured

_ENDED = "the session was ended while this request was changing it"
# The middleware saves at the end of a request what `cycle_key` and a log-in have just stored.
_A_MOMENT_S = 1.0

# Django's own, whose removal is no log-out, wherever users are kept.
_NO_LOG_OUT = ("_session_expiry", "_messages")

_log = logging.getLogger("memsessions.web")


class SessionEnded(errors.SessionEnded, UpdateError, SessionInterrupted):
    """The session was ended, elsewhere, since this request read it. It is not brought back.

    Where a view lets it go, Django answers 400, as it does for an `UpdateError` at the end of a request.
    """


class SessionStore(AsyncMethods):
    """A session, as `django.contrib.sessions` describes it.

    Methods that ask the store can raise `StoreUnavailable`; those that write, `StoreFull`, `SessionTooLarge`
    and what the serializer raises: nothing is changed then. In an event loop those that are not async raise
    `SynchronousOnlyOperation` instead of waiting.
    """

    def __init__(self, session_key: str | None = None) -> None:
        self._document: Document | None = None  # what was read or written last
        self._stored: Mapping[str, Any] = {}  # what was stored then, as far as this request knows
        self._written: tuple[float, int] | None = None  # when this object did, and for how long
        #: Why it is empty though it may not be.
        self.outage: errors.StoreUnavailable | None = None
        self._over = False  # it was saved with an age that is over
        self._removed = False  # something was, or was tried to be
        super().__init__(session_key)

    @property
    def modified(self) -> bool:
        """Whether there is something to save. What is going to be lost is not: it needs no cookie."""
        return self._modified and (self.outage is None or not self._can_be_lost())

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value

    # --------------------------------------------------------------------------- Django's methods

    def exists(self, session_key: str | None) -> bool:
        """Whether there is such a session. One round trip, none for what cannot be a key."""
        return self._documents().exists(session_key)

    def load(self) -> dict[str, Any]:
        """Read the session. One round trip, none for what cannot be a key."""
        # Who calls it by hand changes nothing of what the data that is there was read from.
        first = not hasattr(self, "_session_cache")
        try:
            document = self._documents().read(self.session_key)
        except errors.StoreUnavailable as error:
            if not configured().anonymous_on_outage:
                raise
            message = "a session is empty for this request, and what is put into it is lost: %s"
            _log.warning(message, error, extra=about(error, operation="documents.read"))
            self.outage = error if first else self.outage
            return {}  # and keeps its key: the visitor may be logged in
        if document is None:
            self._document = self._session_key = None
            return {}
        if first:
            self._document, self._stored, self._written = document, document.stored, None
            self.outage = None
        return self._coding().decode(document.data) or {}

    def create(self) -> None:
        """Store it under a new key. One round trip."""
        self._make(None)
        self.modified = True

    def save(self, must_create: bool = False) -> None:
        """Store what was changed, and let it live for its age from now on. One round trip.

        Two more for each other writer in between; none if this object has stored the same a moment ago, as
        after `cycle_key`. The key may be a new one then: see the module's text.

        Parameters:
            must_create: store it as a new session. It gets a new key in any case: a key says where its
                session is and how long it lives, so none is taken over.

        Raises:
            CreateError: it was to be new, and is there already.
            UpdateError: it has ended since it was read (see `SessionEnded`).
        """
        try:
            if self.session_key is None or self._over:
                self.create()
            elif must_create:
                self._make(self.session_key)
            else:
                self._write()
        except errors.StoreUnavailable as error:
            if must_create or not self._can_be_lost():
                raise
            message = "what was put into a session is lost: %s"
            _log.warning(message, error, extra=about(error, operation="documents.save"))
            if self.session_key is None:
                self._session_key = _key_of_nothing()

    def delete(self, session_key: str | None = None) -> None:
        """End this session or another. One round trip, none for what cannot be a key."""
        key = self.session_key if session_key is None else session_key
        if key is None:
            return
        if key == self.session_key:
            self._document = None
        self._documents().end(key)

    def __delitem__(self, key: str) -> None:
        self._removes(key)
        super().__delitem__(key)

    def pop(self, key: str, *default: Any, **named: Any) -> Any:
        """As that of a dict."""
        self._removes(key)
        return super().pop(key, *default, **named)

    def clear(self) -> None:
        """Remove all data."""
        super().clear()
        self.outage = None  # whoever removes data must hear whether it worked

    def cycle_key(self) -> None:
        """Give it a new key; the old one is dead. One round trip, and one to read what was not read yet."""
        self._data()
        if self.session_key is None or self._over:
            self.create()
        else:
            self._write(move=True)
            self.modified = True

    def belong(self, ip: str | None = None) -> None:
        """Give it to the user who is logged in by it, with a new key. One round trip, none if it is so.

        This is done when it is saved; earlier, so that others see the key that is going to be the session's.

        Parameters:
            ip: the address that it is listed with from now on.
        """
        user = _user_of(self._data())
        if self.session_key is None or self._over:
            self._make(None, ip)
        elif user != self._found().id:
            self._write(ip=ip)

    @classmethod
    def clear_expired(cls) -> None:
        """Tidy the store's indexes, as `client().wipe()`; sessions that are over it forgets by itself."""
        _wipe()

    # ------------------------------------------------------------------------------------- inside

    @waits
    def _documents(self) -> Documents:
        return configured().documents

    def _coding(self) -> Coding:
        coding: Coding = coding_of(self.serializer)
        return coding

    def _data(self, load: bool = True) -> dict[str, Any]:
        """Its data, which this call may read; if not, and nobody else did, it is empty from now on."""
        data: dict[str, Any] = self._get_session(no_load=not load)  # type: ignore[attr-defined]
        return data

    def _removes(self, key: str) -> None:
        self._data()
        if key not in _NO_LOG_OUT:
            self._removed = True
            # So that the middleware saves it, and finds out, though there was nothing to remove.
            self._modified |= self.outage is not None

    def _make(self, key: str | None, ip: str | None = None) -> None:
        data = self._data(load=False)
        age = self.get_expiry_age()
        self._document = None
        self._over = age <= 0
        if self._over:
            self._session_key = key or _key_of_nothing()
            return
        if key is not None and self._documents().exists(key):
            raise CreateError
        ttl, ends_in = _life(age)
        after, user = self._coding().encode(data), _user_of(data)
        made = self._documents().create(after, id=user, ip=ip, ttl=ttl, no_resave=True, ends_in=ends_in)
        self._is_stored(made, after, ends_in)

    def _write(self, *, move: bool = False, ip: str | None = None) -> None:
        data = self._data()
        if self.outage is not None:
            raise self.outage
        document = self._found()
        age = self.get_expiry_age()
        if age <= 0:
            self._documents().end(document.token)
            self._over = True
            return
        ttl, ends_in = _life(age)
        after, user = self._coding().encode(data), _user_of(data)
        changes = self._coding().changes(self._stored, after)
        if not (changes or move) and user == document.id and self._was_just_written(ends_in):
            return
        if move or user != document.id or ends_in > document.ttl:
            owner = KEEP if user == document.id else user
            written = self._documents().move(document, changes, id=owner, ip=ip, ttl=ttl, ends_in=ends_in)
        else:
            written = self._documents().save(document, changes, ends_in=ends_in)
        if written is None:
            raise SessionEnded(_ENDED)
        self._is_stored(written, after, ends_in)

    def _found(self) -> Document:
        """What a write goes over; read now, where the session was cleared without looking at it."""
        if self._document is None or self._document.token != self.session_key:
            self._document = self._documents().read(self.session_key)
            if self._document is None:
                raise SessionEnded(_ENDED)
            self._stored, self._written = self._document.stored, None
        return self._document

    def _is_stored(self, document: Document, data: Mapping[str, Any], ends_in: int) -> None:
        # Of what others have merged in this request knows nothing, so it must not remove that either.
        self._document, self._stored, self._session_key = document, data, document.token
        self._written = time.monotonic(), ends_in
        self._over = self._removed = False

    def _was_just_written(self, ends_in: int) -> bool:
        """Whether the store would count the same second of its end."""
        if self._written is None:
            return False
        moment, until = self._written
        return until == ends_in and time.monotonic() - moment < _A_MOMENT_S

    def _can_be_lost(self) -> bool:
        """Whether nobody is told that it could not be saved: pages are shown, but no log-out is claimed."""
        if not configured().anonymous_on_outage:
            return False
        if self._removed and not apps.is_installed("django.contrib.auth"):
            return False  # that may be how people log out here
        data = self._data(load=False)
        known = None if self._document is None else self._document.id
        cleared = self._document is None and self.outage is None and self.session_key is not None
        return not cleared and _user_of(data) == known and self.get_expiry_age() > 0


@waits
def _wipe() -> None:
    configured().client.wipe()


def _life(age: float) -> tuple[int, int]:
    """The time to live, and the end, of a session of such an age."""
    ends_in = min(math.ceil(age), TTL_MAX_S)
    return max(ends_in, TTL_MIN_S), ends_in


def _user_of(data: Mapping[str, Any]) -> str | None:
    """Who is logged in by a session."""
    user = data.get(SESSION_KEY)
    return None if user is None or user == "" else str(user)


def _key_of_nothing() -> str:
    """A key for a session that is not stored: there has to be one, as Django puts it into the cookie.

    It cannot be one of the store's, so nobody asks for it.
    """
    return get_random_string(32)


@receiver(user_logged_in, dispatch_uid="memsessions.django.engine")
def _logged_in(*, request: Any, **_: object) -> None:
    session = getattr(request, "session", None)
    if isinstance(session, SessionStore):
        session.belong(request.META.get("REMOTE_ADDR") or None)
