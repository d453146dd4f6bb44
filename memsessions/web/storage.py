"""The sessions of a web application: read at the beginning of a request, saved at its end."""

from __future__ import annotations

import logging
from typing import Literal

from .. import validation as check
from ..changes import KEEP, Changes, applied
from ..client import SessionsClient
from ..document import Document
from ..errors import ConfigurationError, InvalidValue, SessionEnded, StoreUnavailable
from ..logs import about
from ..servers import Addresses
from .devices import Device, devices, end_others
from .encryption import Encryption, Keys
from .session import Codec, Loaded, Pending, Session
from .signing import Secrets, Signer

#: A week, in seconds.
DEFAULT_TTL = 604_800

_ENDED = "the session was ended while this request was changing it"

_log = logging.getLogger(__name__)


class SessionStorage:
    """Keeps the sessions of a web application in a `SessionsClient`.

    Only a session's id, signed if there are `secrets`, goes into the visitor's cookie. What is kept is what
    has data, or belongs to a user: a visitor without either costs nothing and gets no cookie.

    Parameters:
        client: a `SessionsClient`, which may be shared; or servers, as it takes them, to make one.
        app: under which app they are listed: 3 to 20 of `A-Z a-z 0-9 _ -`.
        ttl: seconds a session lives without a request that looks at it, from 10 to 10 years.
        prefix: of the keys in the store (the client's `ns`), where a client is made.
        use_unknown_ids: let a visitor choose the id of a new session, by a cookie whose session is not
            there. Whoever can plant a cookie can then take over what it becomes: for moving sessions only.
        secrets: one or several to sign cookies with: the first signs, all are good. A forged cookie then
            costs no round trip. Needs `memsessions[web]`.
        encryption_key: one or several, each as `cryptography.fernet.Fernet.generate_key()` makes them: the
            first encrypts, all decrypt. Sessions that were not encrypted, or with another key, count as
            unknown. Needs `memsessions[encryption]`.
        on_outage: `"raise"`: looking at a session raises `StoreUnavailable` when the store cannot be
            reached. `"anonymous"`: it is empty then (`session.unavailable`), and what is put into it is
            lost, with a warning in the log; but a log-in or log-out (`clear` too) still raises.
        codec: turns values that JSON cannot hold into some that it can, and back.
        session_type: a subclass of `Session` to make.

    Raises:
        ConfigurationError, ValidationError: an argument is not usable.
    """

    def __init__(
        self,
        client: SessionsClient | Addresses,
        app: str,
        ttl: int = DEFAULT_TTL,
        *,
        prefix: str | None = None,
        use_unknown_ids: bool = False,
        secrets: Secrets | None = None,
        encryption_key: Keys | None = None,
        on_outage: Literal["raise", "anonymous"] = "raise",
        codec: Codec | None = None,
        session_type: type[Session] = Session,
    ) -> None:
        check.check_app(app)
        check.check_ttl(ttl)
        check.check_flag("use_unknown_ids", use_unknown_ids)
        if on_outage not in ("raise", "anonymous"):
            raise ConfigurationError(f'on_outage must be "raise" or "anonymous", not {on_outage!r}')
        self._signer = None if secrets is None else Signer(secrets)
        sealing = None if encryption_key is None else Encryption(encryption_key)
        self._owned: SessionsClient | None = None
        if not isinstance(client, SessionsClient):
            client = SessionsClient(client) if prefix is None else SessionsClient(client, ns=prefix)
            self._owned = client
        elif prefix is not None:
            raise ConfigurationError("prefix is for a client that is made here; a SessionsClient has its ns")
        self._client = client
        self._documents = client.documents(app, sealing)
        self._app = app
        self._ttl = ttl
        self._use_unknown_ids = use_unknown_ids
        self._anonymous = on_outage == "anonymous"
        self._codec = codec
        self._session_type = session_type

    @property
    def client(self) -> SessionsClient:
        """The client that the sessions are in, for `soid`, `activity` and whatever else it can do."""
        return self._client

    @property
    def app(self) -> str:
        """The app that they are listed under."""
        return self._app

    # ----------------------------------------------------------------------------------- a request

    def open(self, cookie_value: str | None, ip: str | None = None) -> Session:
        """The session that a cookie stands for, not read until something is asked of it.

        Parameters:
            cookie_value: as the visitor sent it, None for no cookie. A value that `save` never made is that
                of a new session, without asking the store.
            ip: the visitor's address; a session that begins in this request keeps it.

        Returns:
            A session. Asking something of it takes one round trip where there is an id, and can raise
            `StoreUnavailable`.
        """
        token = self._token(cookie_value)
        return self._session_type(
            lambda: self._load(token), token=token, ip=ip, sent=cookie_value is not None, codec=self._codec
        )

    def read(self, cookie_value: str | None, ip: str | None = None) -> Session:
        """As `open`, and read it at once. One round trip where there is an id, which renews its life.

        Raises:
            StoreUnavailable: unless `on_outage="anonymous"`.
        """
        session = self.open(cookie_value, ip)
        session.opened()
        return session

    def save(self, session: Session) -> str | None:
        """Write what a request has changed. One round trip if it has; see `Documents.save` and `move`.

        Returns:
            The value of the cookie to set; `""` if the visitor's cookie is to be deleted; None for no cookie.
            A cookie whose session is not known is not deleted: it may have just been replaced by a response
            to another request of this visitor.

        Raises:
            SessionEnded: the session was ended since it was read; it stays ended, and the changes are lost.
            InvalidValue, SessionTooLarge, StoreFull: it cannot be kept, and is as it was.
            StoreUnavailable: whether it was written is not known. A log-out that raises this may not have
                happened.
        """
        pending = session.pending()
        if pending is None:
            return None
        try:
            if pending.ending:
                self._documents.end(session.shown_token)
            elif pending.outage is not None:
                raise pending.outage
            document = self._stored(session, pending)
        except StoreUnavailable as error:
            if not (self._anonymous and session.may_be_dropped(pending)):
                raise
            message = "what a request put into its session is lost: %s"
            _log.warning(message, error, extra=about(error, operation="documents.save"))
            session.dropped()
            return None
        session.saved(document)
        if document is not None:
            return self.cookie_value(session)
        known = pending.document is not None or pending.ending
        return "" if session.sent and known else None

    def cookie_value(self, session: Session) -> str | None:
        """The cookie of a session as it is stored, to send it once more; None if there is none of it."""
        token = session.id
        return token if token is None or self._signer is None else self._signer.sign(token)

    # ------------------------------------------------------------------------------ a user's devices

    def devices(self, user_id: str, session: Session | None = None) -> list[Device]:
        """A user's sessions, the last used first. Two round trips, and none of them counts as used.

        Parameters:
            session: that of the request, to say which one is this.

        Returns:
            A list of dicts that can be written as JSON: `handle`, `ip`, `idle`, `last_seen`, `current`.
        """
        return devices(self._documents, user_id, None if session is None else session.id)

    def end_device(self, user_id: str, handle: str) -> bool:
        """End one of a user's sessions. Two round trips.

        Parameters:
            handle: from `devices`. One that is none, or another user's, ends nothing.

        Returns:
            Whether it was ended by this.
        """
        return self._documents.end_device(user_id, handle)

    def end_others(self, session: Session) -> int:
        """Log the user of a session out everywhere else. Two round trips, and two for each session.

        Returns:
            How many sessions were ended.

        Raises:
            InvalidValue: the session belongs to no user.
            StoreUnavailable: also where `on_outage="anonymous"` has made it an empty one.
        """
        user_id, outage = session.user_id, session.opened().outage
        if outage is not None:
            raise outage  # nobody knows whose session it is
        if user_id is None:
            raise InvalidValue("this session belongs to no user")
        return end_others(self._documents, user_id, session.id)

    def end_all(self, user_id: str) -> int:
        """Log a user out everywhere. Three round trips.

        Returns:
            How many sessions were ended.

        Raises:
            LogoutIncomplete: a server could not be reached; some sessions may live.
        """
        return self._client.killsoid(self._app, user_id)["kill"]

    def close(self) -> None:
        """Close the client, if it was made here."""
        if self._owned is not None:
            self._owned.close()

    # ------------------------------------------------------------------------------------ inside

    def _token(self, cookie_value: str | None) -> str | None:
        if cookie_value is None:
            return None
        token = cookie_value if self._signer is None else self._signer.unsign(cookie_value)
        return token if check.is_token(token) else None

    def _load(self, token: str | None) -> Loaded:
        if token is None:
            return Loaded()
        try:
            return Loaded(self._documents.read(token))
        except StoreUnavailable as error:
            return Loaded(outage=error, raises=not self._anonymous)

    def _stored(self, session: Session, pending: Pending) -> Document | None:
        """What the session is stored as now, if it is."""
        document, changes = pending.document, pending.changes
        user = (None if document is None else document.id) if pending.user is KEEP else pending.user
        if document is None:
            return self._created(session, pending, user)
        if pending.regenerate and not pending.delete_old:
            saved = self._copied(document, changes, user)
        elif pending.emptied and user is None and self._documents.end_unchanged(document):
            return None
        elif pending.moving:
            # Who logs in is listed with the address of the log-in.
            ip = None if pending.user is KEEP else session.ip
            saved = self._documents.move(document, changes, id=pending.user, ip=ip)
        else:
            saved = self._documents.save(document, changes)
        if saved is None and not (pending.emptied and user is None):
            raise SessionEnded(_ENDED)
        return saved

    def _copied(self, document: Document, changes: Changes, user: str | None) -> Document | None:
        """Another session with its data; None if it has ended."""
        data = applied(document.stored, changes)
        copy = self._documents.create(data, id=user, ip=document.ip, ttl=self._ttl)
        # Only now: a log-out that comes after this look finds the copy, too.
        if self._documents.exists(document.token):
            return copy
        self._documents.end(copy.token)
        return None

    def _created(self, session: Session, pending: Pending, user: str | None) -> Document | None:
        changes = pending.changes
        if not changes and user is None:
            return None
        wanted = session.shown_token if self._use_unknown_ids and not pending.ending else None
        if wanted is not None and not pending.moving:
            if made := self._documents.adopt(wanted, changes, id=user, ip=session.ip):
                return made
            # Another request of this visitor was first.
            if there := self._documents.read(wanted):
                if saved := self._documents.save(there, changes):
                    return saved
                raise SessionEnded(_ENDED)
        return self._documents.create(changes, id=user, ip=session.ip, ttl=self._ttl)
