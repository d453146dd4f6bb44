"""What a request does with its session, noted until it is saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, NamedTuple, Protocol

import orjson

from ..changes import KEEP, SCALARS, Changes, applied, differences, same
from ..document import Document, check_user
from ..errors import InvalidValue, StoreUnavailable
from ..plain import STRICT, plain

# What is left for the next request stands under this key.
_FLASHED = "~flash"
_RESERVED = "~"
_EXACT = STRICT | orjson.OPT_PASSTHROUGH_SUBCLASS


class Codec(Protocol):
    """Turns values into JSON and back, one top-level value at a time."""

    def dump(self, value: Any) -> Any:
        """The JSON value that stands for a value."""

    def load(self, value: Any) -> Any:
        """The value again."""


class Loaded(NamedTuple):
    """What the store said when a session was looked at."""

    document: Document | None = None
    outage: StoreUnavailable | None = None
    raises: bool = False  # whether looking at the session raises the outage


class Pending(NamedTuple):
    """What is to be done when a session is saved."""

    document: Document | None  # what it goes over
    changes: Changes
    emptied: bool  # nothing is left in it
    ending: bool  # what the visitor showed is to be ended
    regenerate: bool
    delete_old: bool
    user: Any  # whom it is to belong to: an id, None, or KEEP
    outage: StoreUnavailable | None

    @property
    def moving(self) -> bool:
        """Whether it gets a new token."""
        return self.regenerate or self.user is not KEEP


class Session(MutableMapping[str, Any]):
    """A visitor's session during one request: a dict of JSON values, of any depth.

    It is read from the store at the first look at it, and written by `SessionStorage.save`; in between it
    only notes what is done with it. That nested values have changed is noticed.

    Keys are strings that do not begin with `~`. Values that JSON cannot hold are refused when it is saved.
    """

    # How each begins.
    _loaded: Loaded | None = None
    _destroyed = False
    _ending = False
    _seen = False  # whether anything was asked of it but its data
    _looked_at = False  # whether it has its data
    _regenerate = False
    _delete_old = True
    _user: Any = KEEP
    _cleared = False

    def __init__(
        self,
        load: Callable[[], Loaded],
        *,
        token: str | None = None,
        ip: str | None = None,
        sent: bool = False,
        codec: Codec | None = None,
    ) -> None:
        self._load = load
        self._codec = codec
        #: What the visitor showed: a token, and whether there was a cookie at all; and from where.
        self.shown_token = token
        self.sent = sent
        self.ip = ip
        self._set_data({}, {}, {})

    def _set_data(self, base: dict[str, Any], data: dict[str, Any], flashed: dict[str, Any]) -> None:
        self._base = base  # what this session knows to be stored
        self._data = data
        self._untouched = set(data)  # the keys whose values are as stored: most requests look at few
        self._assigned: set[str] = set()  # the keys that were given a value
        self._saving: Changes = {}
        self._flashed = flashed  # in the last request
        self._flashing: dict[str, Any] = {}  # in this one

    def _forget_moves(self) -> None:
        self._regenerate = False
        self._delete_old = True
        self._user = KEEP
        self._cleared = False

    # ------------------------------------------------------------------------------------- state

    @property
    def id(self) -> str | None:
        """The token under which it is stored, which is secret. A new session has none until it is saved."""
        document = self._asked().document
        return None if document is None else document.token

    @property
    def user_id(self) -> str | None:
        """The user it belongs to, or None."""
        if self._user is not KEEP:
            user: str | None = self._user
            return user
        document = self._asked().document
        return None if document is None else document.id

    @property
    def new(self) -> bool:
        """Whether there is nothing of it in the store."""
        return self._asked().document is None

    @property
    def dirty(self) -> bool:
        """Whether there is something to save."""
        moving = self._regenerate or self._user is not KEEP
        return self._ending or moving or self._lost or bool(self._changes())

    @property
    def needs_cookie(self) -> bool:
        """Whether saving it gives it a new id, of which the visitor must be told."""
        if self._regenerate or self._user is not KEEP:
            return True
        return bool(self._changes()) and self.opened().document is None

    @property
    def accessed(self) -> bool:
        """Whether anything was asked of it, so that the response depends on the visitor."""
        return self._seen or self._noted

    @property
    def destroyed(self) -> bool:
        """Whether `destroy` was called in this request."""
        return self._destroyed

    @property
    def unavailable(self) -> bool:
        """Whether the store could not be asked, and `on_outage="anonymous"` made this an empty session."""
        return self._asked().outage is not None

    # -------------------------------------------------------------------------------------- data

    def __getitem__(self, key: str) -> Any:
        self._look()
        if key not in self._data:
            return self._flashed[key]
        if key in self._untouched:
            self._data[key] = self._own(self._data[key])
            self._untouched.remove(key)
        return self._data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._look()
        _check_key(key)
        self._untouched.discard(key)
        self._assigned.add(key)
        self._data[key] = value

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._untouched.discard(key)
        self._data.pop(key, None)
        self._flashed.pop(key, None)

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter({**self._flashed, **self._data})

    def __len__(self) -> int:
        self._look()
        return len({**self._flashed, **self._data})

    def __contains__(self, key: object) -> bool:
        self._look()
        return key in self._data or key in self._flashed

    def get(self, key: str, default: Any = None) -> Any:
        """As that of a dict."""
        return self[key] if key in self else default  # noqa: SIM401  this is the `get` that is meant

    def clear(self) -> None:
        """Remove all data; its user stays, see `bind` and `destroy`."""
        self._look()
        self._cleared = True  # which is how some log out
        self._data, self._flashed, self._flashing = {}, {}, {}
        self._untouched.clear()

    def set(self, key: str, value: Any) -> None:
        """The same as `session[key] = value`."""
        self[key] = value

    def unset(self, key: str) -> None:
        """Remove a key; nothing happens if it is not there."""
        self.pop(key, None)

    def has(self, key: str) -> bool:
        """The same as `key in session`."""
        return key in self

    def flash(self, key: str, value: Any) -> None:
        """Leave a value for the next request of the visitor that looks at the session, and for that one only.

        There it reads like any other key.
        """
        self._look()
        _check_key(key)
        self._flashing[key] = value

    # ---------------------------------------------------------------------------------- identity

    def regenerate_id(self, delete_old: bool = True) -> None:
        """Give it a new id when it is saved, as for a password that was entered again.

        Parameters:
            delete_old: end the session with the old id. If not, that stays as it was read.
        """
        self._regenerate = True
        self._delete_old = delete_old

    def bind(self, user_id: str | None) -> None:
        """Say which user it belongs to, at log-in, and give it a new id when it is saved.

        From then on it is among the user's sessions, and ends with them.

        Parameters:
            user_id: 1 to 128 characters not beginning with `~`; None for nobody any more.

        Raises:
            InvalidFormat, MissingParameter: it is none.
        """
        if user_id is not None:
            check_user(user_id)
        self._user = user_id

    def destroy(self) -> None:
        """End it when it is saved. What is put into it after this goes into a new session of nobody's."""
        self._loaded = Loaded()
        self._destroyed = self._ending = self._looked_at = True
        self._set_data({}, {}, {})
        self._forget_moves()

    def __repr__(self) -> str:
        if self._loaded is None:
            return f"<{type(self).__name__}, not read>"
        state = "destroyed" if self._destroyed else "new" if self._loaded.document is None else "stored"
        return f"<{type(self).__name__}, {state}>"

    # ----------------------------------------------------------------------------------- storage

    def opened(self) -> Loaded:
        """What the store says of it; asked once. Raises `StoreUnavailable` if it could not be asked then."""
        loaded = self._loaded
        if loaded is None:
            loaded = self._loaded = self._load()
        if loaded.outage is not None and loaded.raises:
            raise loaded.outage
        return loaded

    def pending(self) -> Pending | None:
        """What is to be saved, or None."""
        if not self._noted:
            return None
        document, outage, _ = self.opened()
        changes = self._saving = self._changes()
        emptied = self._looked_at and not self._data and not self._flashing
        move = self._regenerate, self._delete_old, self._user
        pending = Pending(document, changes, emptied, self._ending, *move, outage)
        return pending if changes or self._ending or pending.moving or self._lost else None

    def saved(self, document: Document | None) -> None:
        """It is stored as this document now, or not at all. It can be used and saved again."""
        # Of what others have changed meanwhile this session knows nothing, and will not change it back.
        if document is None:
            self._base = {}
        else:
            for key in self._saving:
                self._base.pop(key, None)
                if key in document.stored:
                    self._base[key] = document.stored[key]
        self._assigned.clear()
        self._loaded = Loaded(document)
        self.shown_token = None if document is None else document.token
        self.sent = self.sent or document is not None  # it is on its way
        self._ending = False
        self._forget_moves()

    def may_be_dropped(self, pending: Pending) -> bool:
        """Whether nobody is told wrongly that they are logged in, or out, if it is not saved."""
        return not (pending.ending or pending.moving or pending.emptied)

    def dropped(self) -> None:
        """What it has changed is lost, and not to be saved again."""
        changes = {**self._saving, **plain(applied({}, self._saving))}
        self._base = applied(self._base, changes)
        self._assigned.clear()
        self._cleared = False

    # ------------------------------------------------------------------------------------ inside

    @property
    def _lost(self) -> bool:
        """Whether it was cleared though it could not be read: that may have been a log-out."""
        return self._cleared and self._loaded is not None and self._loaded.outage is not None

    @property
    def _noted(self) -> bool:
        """Whether there can be anything to save."""
        return self._looked_at or self._regenerate or self._user is not KEEP

    def _asked(self) -> Loaded:
        self._seen = True
        return self.opened()

    def _look(self) -> None:
        """Have its data."""
        if self._looked_at:
            return
        document = self.opened().document
        base = {} if document is None else dict(document.stored)
        data = dict(base)
        flashed = data.pop(_FLASHED, {})
        self._set_data(base, data, {key: self._own(value) for key, value in flashed.items()})
        self._looked_at = True

    def _changes(self) -> Changes:
        if not self._looked_at:
            return {}
        untouched = self._untouched
        before = {key: value for key, value in self._base.items() if key not in untouched}
        after = {key: self._json(key, value) for key, value in self._data.items() if key not in untouched}
        if self._flashing:
            after[_FLASHED] = {key: self._dumped(value) for key, value in self._flashing.items()}
        return differences(before, after)

    def _json(self, key: str, value: Any) -> Any:
        """What stands for a value. That it has not changed is found out faster than by coding it."""
        if self._codec is not None and key in self._base and key not in self._assigned:
            stored = self._base[key]
            if same(stored, value, _EXACT):
                return stored
        return self._dumped(value)

    def _dumped(self, value: Any) -> Any:
        return value if self._codec is None else self._codec.dump(value)

    def _own(self, value: Any) -> Any:
        """A stored value as the application may have it: decoded, and a copy that it may change."""
        copy = value if type(value) in SCALARS else orjson.loads(orjson.dumps(value))
        return copy if self._codec is None else self._codec.load(copy)


def _check_key(key: object) -> None:
    if not isinstance(key, str) or key.startswith(_RESERVED):
        raise InvalidValue(f"a key of a session must be a string that does not begin with {_RESERVED}")
