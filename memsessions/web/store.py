"""A session store as plugs and small frameworks want it: get, put and delete by an id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import validation as check
from ..changes import differences
from ..client import SessionsClient
from ..document import Document
from ..errors import SessionEnded
from ..plain import plain
from .encryption import Encryption, Keys
from .storage import DEFAULT_TTL


class Data(dict[str, Any]):
    """What `SessionStore.get` answers: a dict that knows what was read, so that `put` can merge."""

    def __init__(self, document: Document | None = None) -> None:
        super().__init__({} if document is None else document.data)
        self.document = document
        # What of the document this is made of: others may have put more into it since.
        self.known: Mapping[str, Any] = {} if document is None else document.stored


class SessionStore:
    """Sessions by their ids, as Elixir's Plug.Session.MEMCACHED and Plug.Session.ETS offer them.

    Only the id goes into the cookie. For what the latter is, give a client of `memory://`.

    Parameters:
        client: the `SessionsClient` to keep them in.
        app: under which app they are listed.
        ttl: seconds a session lives without an access, from 10 to 10 years.
        encryption_key: as for `SessionStorage`.

    Every call can raise `StoreUnavailable`: an outage is no empty session.
    """

    def __init__(
        self, client: SessionsClient, app: str, ttl: int = DEFAULT_TTL, *, encryption_key: Keys | None = None
    ) -> None:
        check.check_ttl(ttl)
        sealing = None if encryption_key is None else Encryption(encryption_key)
        self._documents = client.documents(app, sealing)
        self._ttl = ttl

    def get(self, sid: str | None) -> tuple[str | None, dict[str, Any]]:
        """Read a session, which renews its life. One round trip; none for what cannot be an id.

        Returns:
            The id and a dict of its data; `(None, {})` if there is no such session.
        """
        document = self._documents.read(sid)
        if document is None:
            return None, Data()
        return document.token, Data(document)

    def put(self, sid: str | None, data: Mapping[str, Any]) -> str:
        """Store a session's data. One round trip; two if `data` is not the dict that `get` answered.

        Parameters:
            sid: the id; None makes a new session, and an id.
            data: JSON of any depth. Of the dict that `get` answered, what has changed is merged into what is
                stored, so that requests which run side by side keep each other's keys. Any other mapping
                takes the place of all that is stored.

        Returns:
            The id.

        Raises:
            SessionEnded: there is no session of this id any more; it is not brought back.
            InvalidFormat: it can be no id.
            InvalidValue, SessionTooLarge, StoreFull: the data cannot be kept; what was stored is unchanged.
        """
        if sid is None:
            return self._documents.create(data, ttl=self._ttl).token
        check.check_token(sid)
        own = isinstance(data, Data) and data.document is not None and data.document.token == sid
        got = data if isinstance(data, Data) and own else Data(self._documents.read(sid))
        if got.document is None:
            raise _ended()
        after = plain(data)
        changes = differences(got.known, after)
        if changes:
            got.document = self._documents.save(got.document, changes)
            if got.document is None:
                raise _ended()
            got.known = after
        return sid

    def delete(self, sid: str | None) -> bool:
        """End a session. One round trip.

        Returns:
            Whether there was one.
        """
        return self._documents.end(sid)


def _ended() -> SessionEnded:
    return SessionEnded("there is no session of this id any more")
