"""`flask.session`: a memsessions session that keeps Flask's conventions, and its types."""

from __future__ import annotations

import json
from typing import Any

import orjson
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SessionMixin

from ..errors import StoreUnavailable
from ..web.session import Loaded, Pending, Session

_PERMANENT = "_permanent"
# Where Flask keeps the messages of `flash`, and from where it removes them.
_FLASHES = "_flashes"
# Under keys that begin so, the session itself keeps something.
_RESERVED = "~"
_TAGGED = b'{" '
_AS_THEY_ARE = (str, int, bool, type(None))
_NOTHING = object()


class TaggedCodec:
    """Flask's JSON for sessions, value by value: keeps `datetime`, `UUID`, `Markup`, `bytes`, `tuple`."""

    def __init__(self, serializer: TaggedJSONSerializer) -> None:
        self._serializer = serializer

    def dump(self, value: Any) -> Any:
        """The JSON value for it. What Flask would make text of (a `date`, a `Decimal`) becomes text."""
        if type(value) in _AS_THEY_ARE:
            return value
        return json.loads(self._serializer.dumps(value))

    def load(self, value: Any) -> Any:
        """The value again."""
        if type(value) in _AS_THEY_ARE:
            return value
        # Most values hold no tag, which is seen at once: the key of a tag begins with a space.
        may_be_tagged = _TAGGED in orjson.dumps(value) or self._has_other_tags()
        return self._untagged(value) if may_be_tagged else value

    def _has_other_tags(self) -> bool:
        """Whether the application has registered tags that do not begin as Flask's own do."""
        return not all(key.startswith(" ") for key in self._serializer.tags)

    def _untagged(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._serializer.untag({key: self._untagged(item) for key, item in value.items()})
        if isinstance(value, list):
            return [self._untagged(item) for item in value]
        return value


class FlaskSession(Session, SessionMixin):
    """What `flask.session` is: a dict that is read from the store when it is first used.

    `modified`, `new`, `accessed` and `permanent` are as Flask has them; that a value has changed inside is
    noticed without `modified = True`. Beyond Flask: `user_id`, `bind(user_id)`, `destroy()`,
    `regenerate_id()`, `id` and `unavailable`, see `memsessions.web.Session`. A session of nobody's that holds
    nothing but `permanent` counts as empty.
    """

    #: The cookie as the visitor sent it, and whether it may have to last longer or shorter from now on.
    cookie: str | None = None
    cookie_life_changed = False
    #: Under which key the user is found that it belongs to.
    user_key: str | None = None
    #: Whether nobody has said which key that is: then whatever is removed may be a log-out.
    wary = False
    #: Whether the response is being made: what cannot be read then, is told when it is saved.
    answering = False
    #: The outage that kept it from being read, and whether the view was told.
    failure: StoreUnavailable | None = None
    told = False
    #: Whether saving it has failed, and an error is being answered.
    given_up = False
    #: Whether this request logs out, as far as one can know.
    left = False

    _modified: bool | None = None
    _bound_by_hand = False
    _followed = False

    # ------------------------------------------------------------------------------ as Flask has it

    @property
    def accessed(self) -> bool:
        """Whether it was used at all, so that the response depends on the visitor."""
        return self._seen or self.touched

    @accessed.setter
    def accessed(self, value: bool) -> None:
        self._seen = value

    @property
    def modified(self) -> bool:
        """Whether something has changed. Set it to False to have nothing saved of what was done so far."""
        if self._modified is not None:
            return self._modified
        try:
            return self.dirty
        except (TypeError, ValueError):
            return True  # by something that cannot be saved, as will be told then

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = bool(value)

    @property
    def new(self) -> bool:
        """Whether there is nothing of it in the store."""
        return super().new

    @new.setter
    def new(self, _value: bool) -> None:
        raise AttributeError("new is for reading")

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.cookie_life_changed |= key == _PERMANENT
        self._changed()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._removing(key)
        self._changed()

    def clear(self) -> None:
        """Remove all data. A session that is empty ends when it is saved, unless `bind` was called."""
        super().clear()
        self._changed()
        self.left = True

    def pop(self, key: str, default: Any = _NOTHING) -> Any:
        """As that of a dict."""
        self._removing(key)
        return super().pop(key) if default is _NOTHING else super().pop(key, default)

    def bind(self, user_id: str | None) -> None:
        """Say whose it is, where no key of it tells: see `Session.bind`."""
        super().bind(user_id)
        self._bound_by_hand = True
        self._changed()

    def destroy(self) -> None:
        """End it when it is saved: see `Session.destroy`."""
        super().destroy()
        self._bound_by_hand = self._followed = False
        self._changed()

    # ------------------------------------------------------------------------ for the interface

    def opened(self) -> Loaded:
        """What the store says of it; while the response is being made, an outage is an empty session."""
        try:
            return super().opened()
        except StoreUnavailable as error:
            self.failure = error
            if not self.answering:
                self.told = True
                raise
            return Loaded(outage=error)

    @property
    def touched(self) -> bool:
        """Whether the store was asked for it, or has to be when it is saved."""
        return self._loaded is not None or super().accessed

    @property
    def user(self) -> str | None:
        """The user that its data says it belongs to."""
        value = None if self.user_key is None else self.get(self.user_key)
        return None if value is None or value == "" else str(value)

    def follow_user(self) -> None:
        """Let it belong to the user that its data names."""
        document = self.opened().document
        before = {} if document is None else document.stored
        user = self.user
        told = user is not None or self._followed or self.user_key in before
        if told and not self._bound_by_hand and user != self.user_id:
            self._followed = True
            super().bind(user)

    def settle(self) -> None:
        """Do what follows from its data, before it is saved: it moves to its user, or ends.

        Raises:
            StoreUnavailable: a log-out cannot be known to have happened.
        """
        document, outage, _ = self.opened()
        if outage is not None and self.left:
            raise outage
        self.follow_user()
        if not _content(self):
            had_some = document is not None and _content(document.stored)
            if self.user_id is not None and had_some and not self._bound_by_hand:
                super().bind(None)  # nothing of it is left, and nobody has said that it should stay
            if self.user_id is None:
                super().pop(_PERMANENT, None)

    @property
    def forced(self) -> bool | None:
        """What `modified` was set to since the last change, if it was."""
        return self._modified

    @property
    def emptied(self) -> bool:
        """Whether nothing of it is to be kept."""
        pending = self.pending()
        return pending is not None and pending.emptied and self.user_id is None

    def begin_anew(self) -> None:
        """It has ended: go on with an empty one."""
        super().clear()
        self.saved(None)
        self._bound_by_hand = self._followed = False
        self._modified = None

    def give_up(self) -> None:
        """Have nothing saved any more."""
        self.given_up = self.answering = True

    def may_be_dropped(self, pending: Pending) -> bool:
        """Whether nobody is told wrongly that they are logged in, or out, if it is not saved."""
        return not self.left and super().may_be_dropped(pending)

    # ------------------------------------------------------------------------------------ inside

    def _removing(self, key: str) -> None:
        if key == self.user_key or (self.wary and key != _FLASHES):
            self.left = True

    def _changed(self) -> None:
        if self._modified is False:
            self._modified = None


def _content(data: Any) -> bool:
    """Whether there is data of the application's."""
    return any(key != _PERMANENT and not key.startswith(_RESERVED) for key in data)
