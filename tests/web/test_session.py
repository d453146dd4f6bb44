"""A session during a request: what it shows, what it notes, and that it asks the store only if it must."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsessions import InvalidFormat, InvalidValue, MissingParameter, SessionsClient, StoreUnavailable
from memsessions.web import Session, SessionStorage

from ..conftest import InMemory, MakeClient
from ..support import json_values
from ..support.sessions import UNKNOWN

APP = "shop"
USER = "user1234"


class Visitor:
    """Keeps the cookie between requests, and counts how often the store was asked."""

    def __init__(self, storage: SessionStorage) -> None:
        self.storage = storage
        self.cookie: str | None = None
        self.reads = 0
        read = storage._documents.read

        def counted(token: object) -> Any:
            self.reads += 1
            return read(token)

        storage._documents.read = counted  # type: ignore[method-assign]

    def open(self) -> Session:
        return self.storage.open(self.cookie)

    def save(self, session: Session) -> str | None:
        value = self.storage.save(session)
        if value is not None:
            self.cookie = value or None
        return value

    def request(self, act: Callable[[Session], object]) -> str | None:
        """A request that does so; the cookie that it is answered with."""
        session = self.open()
        act(session)
        return self.save(session)

    def data(self) -> dict[str, Any]:
        """What the next request finds, without saving."""
        return dict(self.open())


@pytest.fixture
def client(make_client: MakeClient) -> SessionsClient:
    where = InMemory()
    return make_client(where.address, ns=where.ns)


@pytest.fixture
def visitor(client: SessionsClient) -> Visitor:
    return Visitor(SessionStorage(client, APP))


# ------------------------------------------------------------------------------------------ as a dict


def test_it_is_a_dict_of_json(visitor: Visitor) -> None:
    session = visitor.open()
    assert not session
    session["a"] = 1
    session.update({"b": [2], "c": {"d": None}})
    assert session.setdefault("a", 5) == 1
    assert (len(session), "a" in session, "x" in session) == (3, True, False)
    assert list(session) == ["a", "b", "c"]
    assert session == {"a": 1, "b": [2], "c": {"d": None}}
    assert session.pop("b") == [2]
    assert session.get("b", "none") == "none"
    del session["a"]
    assert dict(session) == {"c": {"d": None}}
    for missing in ("a", "b", "x"):
        with pytest.raises(KeyError):
            session[missing]
        with pytest.raises(KeyError):
            del session[missing]


def test_its_verbs_do_what_the_dict_does(visitor: Visitor) -> None:
    session = visitor.open()
    session.set("a", 1)
    assert session.has("a")
    assert session.get("a") == session["a"] == 1
    session.unset("a")
    session.unset("a")
    assert not session.has("a")


@pytest.mark.parametrize("key", ["~", "~flash", "~anything", 5, None, b"bytes", ("a",)])
def test_a_key_that_is_no_text_or_is_reserved_is_refused_at_once(visitor: Visitor, key: Any) -> None:
    session = visitor.open()
    with pytest.raises(InvalidValue, match="does not begin with ~"):
        session[key] = 1
    with pytest.raises(InvalidValue):
        session.flash(key, 1)
    assert not session.dirty


@given(st.lists(st.dictionaries(json_values.keys, st.none() | json_values.values, max_size=4), max_size=5))
def test_what_each_request_leaves_the_next_one_finds(requests: list[dict[str, Any]]) -> None:
    """As a dict that all of them share would; None stands for a key that is removed."""
    visitor = Visitor(SessionStorage(SessionsClient("memory://session-model", wipe=0), APP))
    model: dict[str, Any] = {}
    for changes in requests:
        session = visitor.open()
        assert dict(session) == model
        for key, value in changes.items():
            if value is None:
                assert session.pop(key, None) == model.pop(key, None)
            else:
                session[key] = model[key] = value
        visitor.save(session)
        assert (visitor.cookie is None) == (not model)
    visitor.request(lambda session: session.destroy())


def test_a_change_inside_a_value_is_noticed(visitor: Visitor) -> None:
    visitor.request(lambda session: session.update(cart=[{"n": 1}], other=1))
    session = visitor.open()
    assert session["cart"][0]["n"] == 1
    assert not session.dirty
    session["cart"][0]["n"] = 2
    assert session.dirty
    visitor.save(session)
    assert visitor.data() == {"cart": [{"n": 2}], "other": 1}


def test_a_change_that_is_undone_is_none(visitor: Visitor) -> None:
    visitor.request(lambda session: session.update(a=1, cart=[1]))
    session = visitor.open()
    session["a"] = 2
    session["a"] = 1
    session["cart"].append(2)
    session["cart"].pop()
    session["new"] = 1
    del session["new"]
    assert not session.dirty
    assert visitor.save(session) is None


@pytest.mark.parametrize("value", [object(), b"x", {1: 2}, float("nan"), "\ud800", {1}])
def test_what_json_cannot_hold_is_refused_when_it_is_saved(visitor: Visitor, value: Any) -> None:
    visitor.request(lambda session: session.set("a", None))
    for key in ("a", "b"):
        session = visitor.open()
        session[key] = value
        assert session.dirty
        with pytest.raises(InvalidValue):
            visitor.save(session)
    assert visitor.data() == {"a": None}


def test_what_was_put_in_is_not_shared_with_the_store(visitor: Visitor) -> None:
    cart = [1]
    session = visitor.open()
    session["cart"] = cart
    visitor.save(session)
    cart.append(2)
    assert visitor.data() == {"cart": [1]}


# ---------------------------------------------------------------------------------------- its state


def test_nothing_is_read_before_somebody_looks(visitor: Visitor) -> None:
    visitor.request(lambda session: session.set("a", 1))
    session = visitor.open()
    for idle in (repr(session), session.dirty, session.accessed, session.destroyed, session.needs_cookie):
        del idle
    session.regenerate_id()
    session.bind(USER)
    assert visitor.save(visitor.open()) is None
    assert visitor.reads == 0


@pytest.mark.parametrize(
    "look",
    [
        lambda session: session.id,
        lambda session: session.user_id,
        lambda session: session.new,
        lambda session: session.unavailable,
        len,
        bool,
        list,
        lambda session: session.get("a"),
        lambda session: session.has("a"),
        lambda session: "a" in session,
        lambda session: session.set("a", 2),
        lambda session: session.unset("a"),
        lambda session: session.flash("b", 1),
        lambda session: session.clear(),
    ],
)
def test_the_first_look_reads_it_once_and_is_an_access(
    visitor: Visitor, look: Callable[[Session], object]
) -> None:
    visitor.request(lambda session: session.set("a", 1))
    session = visitor.open()
    assert not session.accessed
    look(session)
    look(session)
    assert session.accessed
    assert visitor.reads == 1


def test_reading_ahead_is_no_access(visitor: Visitor) -> None:
    visitor.request(lambda session: session.set("a", 1))
    session = visitor.storage.read(visitor.cookie)
    assert visitor.reads == 1
    assert not session.accessed
    assert not session.dirty
    assert visitor.storage.save(session) is None
    assert session["a"] == 1
    assert session.accessed
    assert visitor.reads == 1


def test_without_a_cookie_or_with_one_that_is_none_there_is_nothing_to_read(visitor: Visitor) -> None:
    for cookie in (None, "", "made up", "a" * 63 + "-"):
        session = visitor.storage.read(cookie)
        assert (session.new, session.id, session.user_id, dict(session)) == (True, None, None, {})
        assert visitor.storage.save(session) is None


def test_it_is_new_until_it_is_stored_and_then_has_an_id(visitor: Visitor, client: SessionsClient) -> None:
    session = visitor.open()
    assert (session.new, session.id) == (True, None)
    session["a"] = 1
    assert (session.new, session.id, session.dirty, session.needs_cookie) == (True, None, True, True)
    cookie = visitor.save(session)
    assert (session.new, session.id, session.dirty, session.needs_cookie) == (False, cookie, False, False)
    session = visitor.open()
    assert (session.new, session.id, session.dirty) == (False, cookie, False)
    session["a"] = 2
    assert (session.dirty, session.needs_cookie) == (True, False)
    assert len(client.soapp(APP)) == 1


def test_it_can_be_saved_again_and_again(visitor: Visitor, client: SessionsClient) -> None:
    session = visitor.open()
    session["a"] = 1
    visitor.save(session)
    session["b"] = [2]
    assert session.dirty
    assert visitor.save(session) == visitor.cookie
    assert visitor.save(session) is None
    session["b"].append(3)
    del session["a"]
    visitor.save(session)
    assert visitor.data() == {"b": [2, 3]}
    session.destroy()
    assert visitor.save(session) == ""
    session["c"] = 1
    assert visitor.save(session) == visitor.cookie
    assert visitor.data() == {"c": 1}
    assert len(client.soapp(APP)) == 1


def test_of_what_others_wrote_a_second_save_undoes_nothing(visitor: Visitor) -> None:
    visitor.request(lambda session: session.set("a", 1))
    session = visitor.open()
    session["b"] = 2
    visitor.request(lambda other: other.update(a=10, c=3))
    visitor.save(session)
    session["d"] = 4
    visitor.save(session)
    assert visitor.data() == {"a": 10, "b": 2, "c": 3, "d": 4}


def test_its_repr_shows_neither_id_nor_data(visitor: Visitor) -> None:
    session = visitor.open()
    assert repr(session) == "<Session, not read>"
    session["password"] = "rosebud"
    assert repr(session) == "<Session, new>"
    visitor.save(session)
    assert repr(session) == "<Session, stored>"
    session.destroy()
    assert repr(session) == "<Session, destroyed>"


# -------------------------------------------------------------------------------------------- flash


def test_a_flash_is_read_in_the_next_request_that_looks_and_then_gone(visitor: Visitor) -> None:
    session = visitor.open()
    session.flash("notice", {"text": "saved"})
    assert "notice" not in session
    visitor.save(session)
    assert visitor.request(lambda _: None) is None  # does not look
    session = visitor.open()
    assert session["notice"] == {"text": "saved"}
    assert session == {"notice": {"text": "saved"}}
    assert len(session) == 1
    visitor.save(session)
    assert visitor.data() == {}


def test_a_flash_is_there_beside_the_data_and_behind_it(visitor: Visitor) -> None:
    def write(session: Session) -> None:
        session.flash("a", "flashed")
        session.flash("b", "flashed")
        session["b"] = "kept"

    visitor.request(write)
    session = visitor.open()
    assert dict(session) == {"a": "flashed", "b": "kept"}
    assert len(session) == 2
    session["a"] = "kept now"
    visitor.save(session)
    assert visitor.data() == {"a": "kept now", "b": "kept"}


def test_a_flash_can_be_taken_out_and_what_hides_it_goes_with_it(visitor: Visitor) -> None:
    def flash(session: Session) -> None:
        session.flash("a", 1)
        session.flash("b", 2)

    visitor.request(flash)
    session = visitor.open()
    assert session.pop("a") == 1
    assert "a" not in session
    session["b"] = "data"
    del session["b"]
    assert "b" not in session
    with pytest.raises(KeyError):
        del session["b"]


def test_a_flash_can_be_left_again(visitor: Visitor) -> None:
    visitor.request(lambda session: session.flash("n", 1))
    visitor.request(lambda session: session.flash("n", session["n"] + 1))
    assert visitor.data() == {"n": 2}
    visitor.request(len)
    assert visitor.data() == {}


def test_a_session_of_a_flash_alone_ends_with_it(visitor: Visitor, client: SessionsClient) -> None:
    visitor.request(lambda session: session.flash("n", 1))
    assert visitor.request(len) == ""
    assert client.soapp(APP) == []


def test_a_flash_moves_along_to_a_new_id(visitor: Visitor) -> None:
    visitor.request(lambda session: session.flash("n", 1))
    visitor.request(lambda session: session.regenerate_id())  # without a look
    visitor.request(lambda session: session.bind(USER))
    assert visitor.data() == {"n": 1}


# ------------------------------------------------------------------------------------- identity


def test_regenerating_changes_the_id_and_nothing_else(visitor: Visitor, client: SessionsClient) -> None:
    visitor.request(lambda session: session.update(a=1, b=1))
    visitor.request(lambda session: session.bind(USER))
    old = visitor.cookie
    session = visitor.open()
    session.regenerate_id()
    assert session.dirty
    assert session.needs_cookie
    session["b"] = 2
    assert visitor.save(session) == visitor.cookie != old
    assert (session.id, session.user_id) == (visitor.cookie, USER)
    assert visitor.data() == {"a": 1, "b": 2}
    assert visitor.storage.open(old).new
    assert len(client.soid(APP, USER)) == len(client.soapp(APP)) == 1


def test_regenerating_can_leave_the_old_session_as_it_was_read(
    visitor: Visitor, client: SessionsClient
) -> None:
    visitor.request(lambda session: session.update(a=1, b=1))
    visitor.request(lambda session: session.bind(USER))
    old = visitor.cookie
    session = visitor.open()
    session["b"] = 2
    session.regenerate_id(delete_old=False)
    visitor.save(session)
    assert visitor.cookie != old
    assert visitor.data() == {"a": 1, "b": 2}
    assert dict(visitor.storage.open(old)) == {"a": 1, "b": 1}
    assert visitor.storage.open(old).user_id == visitor.open().user_id == USER
    assert len(client.soid(APP, USER)) == 2


def test_a_new_session_without_data_needs_no_new_id(visitor: Visitor, client: SessionsClient) -> None:
    assert visitor.request(lambda session: session.regenerate_id()) is None
    assert visitor.request(lambda session: session.bind(None)) is None
    assert client.soapp(APP) == []


def test_binding_makes_it_the_users_and_changes_the_id(visitor: Visitor, client: SessionsClient) -> None:
    visitor.request(lambda session: session.set("draft", "Hello"))
    old = visitor.cookie
    session = visitor.open()
    session.bind(USER)
    assert session.user_id == USER
    assert visitor.save(session) == visitor.cookie != old
    assert session.user_id == visitor.open().user_id == USER
    assert visitor.storage.open(old).new
    assert visitor.data() == {"draft": "Hello"}
    assert len(client.soid(APP, USER)) == 1
    session = visitor.open()
    session.bind(None)
    assert session.user_id is None
    visitor.save(session)
    assert visitor.open().user_id is None
    assert visitor.data() == {"draft": "Hello"}
    assert client.soid(APP, USER) == []
    assert len(client.soapp(APP)) == 1


def test_a_log_in_is_kept_without_data_and_a_log_out_then_ends_it(
    visitor: Visitor, client: SessionsClient
) -> None:
    assert visitor.request(lambda session: session.bind(USER)) is not None
    assert visitor.request(lambda session: session.clear()) is None
    assert visitor.open().user_id == USER
    session = visitor.open()
    session.clear()
    session.bind(None)
    visitor.save(session)
    assert client.soapp(APP) == []
    assert visitor.cookie is None


@pytest.mark.parametrize(
    ("user", "error"),
    [("", MissingParameter), ("~x", InvalidFormat), ("u" * 129, InvalidFormat), (5, InvalidFormat)],
)
def test_what_can_be_no_user_is_refused_at_once(visitor: Visitor, user: Any, error: type[Exception]) -> None:
    session = visitor.open()
    with pytest.raises(error):
        session.bind(user)
    assert not session.dirty


def test_a_destroyed_session_is_empty_and_what_comes_after_is_nobodys(
    visitor: Visitor, client: SessionsClient
) -> None:
    visitor.request(lambda session: session.update(a=1))
    visitor.request(lambda session: session.bind(USER))
    old = visitor.cookie
    session = visitor.open()
    session["b"] = 1
    session.flash("c", 1)
    session.bind("another")
    session.regenerate_id()
    session.destroy()
    assert (session.destroyed, session.dirty, session.accessed) == (True, True, True)
    assert (session.id, session.user_id, session.new, dict(session)) == (None, None, True, {})
    session["d"] = 1
    visitor.save(session)
    assert visitor.cookie not in (None, old)
    assert visitor.data() == {"d": 1}
    assert visitor.open().user_id is None
    assert visitor.storage.open(old).new
    assert client.soid(APP, USER) == []
    assert len(client.soapp(APP)) == 1


def test_after_a_log_out_somebody_else_can_log_in_in_the_same_request(
    visitor: Visitor, client: SessionsClient
) -> None:
    visitor.request(lambda session: session.bind(USER))
    session = visitor.open()
    session.destroy()
    session.bind("another")
    visitor.save(session)
    assert visitor.open().user_id == "another"
    assert client.soid(APP, USER) == []
    assert len(client.soid(APP, "another")) == 1


def test_a_destroyed_session_is_not_read_first(visitor: Visitor, client: SessionsClient) -> None:
    visitor.request(lambda session: session.set("a", 1))
    assert visitor.request(lambda session: session.destroy()) == ""
    assert visitor.reads == 0
    assert client.soapp(APP) == []


# --------------------------------------------------------------------------------------------- codec


class Sets:
    """Codes sets as lists under a name."""

    def __init__(self) -> None:
        self.dumped = 0

    def dump(self, value: Any) -> Any:
        self.dumped += 1
        return {"set": sorted(value)} if isinstance(value, (set, frozenset)) else value

    def load(self, value: Any) -> Any:
        return set(value["set"]) if isinstance(value, dict) and "set" in value else value


def test_a_codec_keeps_what_json_cannot_hold(client: SessionsClient) -> None:
    visitor = Visitor(SessionStorage(client, APP, codec=Sets()))
    visitor.request(lambda session: session.update(a={1, 2}, b=[1]))
    visitor.request(lambda session: session.flash("c", {3}))
    session = visitor.open()
    assert dict(session) == {"a": {1, 2}, "b": [1], "c": {3}}
    visitor.save(session)
    session = visitor.open()
    assert not session.dirty
    session["a"].add(3)
    assert session.dirty
    visitor.save(session)
    assert visitor.data() == {"a": {1, 2, 3}, "b": [1]}
    [stored] = client.soapp(APP)
    assert stored["d"] == {"a": {"set": [1, 2, 3]}, "b": [1]}


def test_a_value_that_now_is_what_its_code_was_is_a_change(client: SessionsClient) -> None:
    """The set {1} is stored as what is, to the codec, that set; given as it is, it must not be mixed up."""
    visitor = Visitor(SessionStorage(client, APP, codec=Sets()))
    visitor.request(lambda session: session.set("a", {1}))
    session = visitor.open()
    session["a"] = [1]
    visitor.save(session)
    assert visitor.data() == {"a": [1]}


# ------------------------------------------------------------------------------------------- outages


@pytest.fixture
def away(make_client: MakeClient) -> SessionsClient:
    return make_client("127.0.0.1:1")


def test_an_outage_is_found_out_once_and_told_at_each_look(away: SessionsClient) -> None:
    visitor = Visitor(SessionStorage(away, APP))
    session = visitor.storage.open(UNKNOWN)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            len(session)
        with pytest.raises(StoreUnavailable):
            session.set("a", 1)
        with pytest.raises(StoreUnavailable):
            _ = session.user_id
    assert visitor.reads == 1
    assert not session.dirty
    with pytest.raises(StoreUnavailable):
        visitor.storage.read(UNKNOWN)


def test_by_the_anonymous_policy_it_is_empty_and_says_so(away: SessionsClient) -> None:
    visitor = Visitor(SessionStorage(away, APP, on_outage="anonymous"))
    session = visitor.storage.read(UNKNOWN)
    assert session.unavailable
    assert (dict(session), session.id, session.user_id, session.new) == ({}, None, None, True)
    assert visitor.reads == 1
    assert not visitor.storage.open(None).unavailable
