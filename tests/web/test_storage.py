"""SessionStorage: its options, the cookie that each save is answered with, and what never comes back."""

from __future__ import annotations

import json
import logging
import secrets as random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.fernet import Fernet

from memsessions import (
    ConfigurationError,
    InvalidValue,
    MemsessionsError,
    SessionEnded,
    SessionsClient,
    SessionTooLarge,
    StoreUnavailable,
)
from memsessions.tokens import TAG, Life, new_token, server_tag
from memsessions.web import Session, SessionStorage

from ..conftest import MakeClient, OnMemcached, Where
from ..support.memcached import Memcached
from ..support.sessions import UNKNOWN, Ticks, contents, since

APP = "shop"
USER = "user1234"
IP = "192.0.2.1"
SECRET, OTHER_SECRET = "the secret of this site", "a secret of somebody else"

Act = Callable[[Session], object]


@pytest.fixture
def storage(client: SessionsClient) -> SessionStorage:
    return SessionStorage(client, APP)


def request(storage: SessionStorage, cookie: str | None, *acts: Act) -> str | None:
    """A request that does so; what `save` answers."""
    session = storage.open(cookie, IP)
    for act in acts:
        act(session)
    return storage.save(session)


def stored(storage: SessionStorage, user: str | None = None, **data: Any) -> str:
    """The cookie of a session that is there."""
    cookie = request(storage, None, lambda s: s.update(data or {"key": "value"}))
    if user is not None:
        cookie = request(storage, cookie, bind(user))
    assert cookie
    return cookie


def write(session: Session) -> None:
    session["new"] = 1


def remove(session: Session) -> None:
    session.unset("key")


def clear(session: Session) -> None:
    session.clear()


def destroy(session: Session) -> None:
    session.destroy()


def regenerate(session: Session) -> None:
    session.regenerate_id()


def copy(session: Session) -> None:
    session.regenerate_id(delete_old=False)


def bind(user: str | None = USER) -> Act:
    return lambda session: session.bind(user)


def flash(session: Session) -> None:
    session.flash("notice", "saved")


# ------------------------------------------------------------------------------------------ its making


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"app": "x"}, "app"),
        ({"app": "a b c"}, "app"),
        ({"ttl": 9}, "ttl"),
        ({"ttl": "3600"}, "ttl"),
        ({"use_unknown_ids": 1}, "use_unknown_ids"),
        ({"on_outage": "ignore"}, 'on_outage must be "raise" or "anonymous"'),
        ({"secrets": ""}, "a secret"),
        ({"secrets": []}, "secrets"),
        ({"encryption_key": "rosebud"}, "encryption_key"),
        ({"encryption_key": ""}, "encryption_key"),
        ({"prefix": "my"}, "prefix is for a client that is made here"),
    ],
)
def test_an_option_that_is_not_usable_is_refused_and_named(
    client: SessionsClient, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MemsessionsError, match=message) as caught:
        SessionStorage(client, **{"app": APP, **options})
    assert isinstance(caught.value, ValueError)
    assert "rosebud" not in str(caught.value)


def test_a_client_that_is_made_here_is_closed_here(where: Where) -> None:
    storage = SessionStorage(where.address, APP, prefix=where.ns)
    cookie = stored(storage)
    assert all(key.startswith(f"{where.ns}:") for key in contents(where))
    storage.close()
    with pytest.raises(MemsessionsError):
        storage.read(cookie)
    with pytest.raises(ConfigurationError):
        SessionStorage(where.address, APP, prefix="a b")


def test_a_client_that_is_shared_is_not_closed(client: SessionsClient, storage: SessionStorage) -> None:
    storage.close()
    assert storage.client is client
    assert storage.app == APP
    assert stored(storage)


def test_two_apps_on_one_client_do_not_see_each_other(client: SessionsClient) -> None:
    one, two = SessionStorage(client, "app-one"), SessionStorage(client, "app-two")
    cookie = stored(one)
    assert two.read(cookie).new
    assert request(two, cookie, destroy) == ""
    assert not one.read(cookie).new


def test_sessions_live_on_several_servers(make_client: MakeClient) -> None:
    name = random.token_hex(6)
    servers = {f"cache-{letter}": f"memory://{name}-{letter}" for letter in "abc"}
    storage = SessionStorage(make_client(servers), APP)
    cookies = [stored(storage, number=number) for number in range(30)]
    assert len({cookie[TAG] for cookie in cookies}) == 3
    assert [storage.read(cookie)["number"] for cookie in cookies] == list(range(30))


def test_a_session_can_be_of_a_type_of_ones_own(client: SessionsClient) -> None:
    class Cart(Session):
        @property
        def total(self) -> int:
            return sum(self.values())

    storage = SessionStorage(client, APP, session_type=Cart)
    session = storage.read(stored(storage, apples=2, pears=3))
    assert isinstance(session, Cart)
    assert session.total == 5


def test_a_session_ends_after_its_ttl_and_each_look_renews_it(where: Where, client: SessionsClient) -> None:
    storage = SessionStorage(client, APP, ttl=600)
    cookie = stored(storage)
    for _ in range(3):
        where.advance(590)
        assert not storage.open(cookie).new
    storage.open(cookie)  # nobody looks
    where.advance(602)
    assert storage.open(cookie).new


# ----------------------------------------------------------------------------------- cookies of a save


@pytest.mark.parametrize("cookie", [None, "", "made up", UNKNOWN])
@pytest.mark.parametrize("acts", [(), (dict,), (remove,), (clear,), (regenerate,), (copy,), (bind(None),)])
def test_without_data_and_user_nothing_is_stored_and_no_cookie_touched(
    where: Where, storage: SessionStorage, cookie: str | None, acts: tuple[Act, ...]
) -> None:
    """That of an unknown id neither: the response to a parallel request may just have set another."""
    assert request(storage, cookie, *acts) is None
    assert contents(where) == {}


@pytest.mark.parametrize("cookie", [None, "made up", UNKNOWN])
def test_a_log_out_deletes_the_cookie_that_was_sent(storage: SessionStorage, cookie: str | None) -> None:
    assert request(storage, cookie, destroy) == (None if cookie is None else "")


@pytest.mark.parametrize("acts", [(write,), (flash,), (bind(),), (write, regenerate), (write, bind())])
@pytest.mark.parametrize("cookie", [None, "made up", UNKNOWN])
def test_data_or_a_user_make_a_session_with_an_id_of_its_own(
    storage: SessionStorage, client: SessionsClient, cookie: str | None, acts: tuple[Act, ...]
) -> None:
    value = request(storage, cookie, *acts)
    assert value not in (None, "", cookie)
    [session] = client.soapp(APP)
    assert session["ip"] == IP
    assert not storage.read(value).new


def test_a_write_answers_the_same_cookie_and_a_move_another(storage: SessionStorage) -> None:
    cookie = stored(storage)
    assert request(storage, cookie, dict) is None
    assert request(storage, cookie, write) == cookie
    assert request(storage, cookie, flash) == cookie
    moved = request(storage, cookie, regenerate)
    assert moved not in (None, "", cookie)
    bound = request(storage, moved, bind())
    assert bound not in (None, "", cookie, moved)


@pytest.mark.parametrize("act", [remove, clear, destroy])
def test_a_session_that_is_left_empty_ends_with_its_cookie(
    storage: SessionStorage, client: SessionsClient, act: Act
) -> None:
    cookie = stored(storage)
    assert request(storage, cookie, act) == ""
    assert client.soapp(APP) == []
    assert storage.read(cookie).new


@pytest.mark.parametrize("act", [remove, clear])
def test_a_user_stays_logged_in_without_data(storage: SessionStorage, act: Act) -> None:
    cookie = stored(storage, USER)
    assert request(storage, cookie, act) == cookie
    assert storage.read(cookie).user_id == USER


def test_the_cookie_can_be_told_once_more(client: SessionsClient) -> None:
    for storage in (SessionStorage(client, APP), SessionStorage(client, APP, secrets=SECRET)):
        cookie = stored(storage)
        assert storage.cookie_value(storage.open(cookie)) == cookie
        assert storage.cookie_value(storage.open(None)) is None


def test_the_address_is_that_of_the_log_in(storage: SessionStorage, client: SessionsClient) -> None:
    session = storage.open(None, "192.0.2.7")
    session["a"] = 1
    cookie = storage.save(session)
    request(storage, cookie, write)
    assert [listed["ip"] for listed in client.soapp(APP)] == ["192.0.2.7"]
    request(storage, request(storage, cookie, regenerate), bind())
    assert [listed["ip"] for listed in client.soapp(APP)] == [IP]


# ------------------------------------------------------------------------------------------ signing


def test_a_cookie_that_was_not_signed_here_costs_no_trip(
    client: SessionsClient, make_client: MakeClient
) -> None:
    signing = SessionStorage(client, APP, secrets=SECRET)
    cookie = stored(signing)
    token = cookie.partition(".")[0]
    assert signing.read(cookie).id == token
    away = SessionStorage(make_client("127.0.0.1:1"), APP, secrets=SECRET)
    forged = stored(SessionStorage(client, APP, secrets=OTHER_SECRET))
    for value in (forged, token, cookie[:-1], cookie + "A", "." + cookie, cookie.upper(), "", "é", "\udcff"):
        assert away.read(value).new
    with pytest.raises(StoreUnavailable):
        away.read(cookie)


def test_the_first_secret_signs_and_all_verify(client: SessionsClient) -> None:
    both = SessionStorage(client, APP, secrets=[SECRET, OTHER_SECRET])
    assert not both.read(stored(SessionStorage(client, APP, secrets=OTHER_SECRET))).new
    assert not SessionStorage(client, APP, secrets=SECRET).read(stored(both)).new


# ------------------------------------------------------------------------------- ended in the meantime

ENDS: dict[str, Callable[[SessionsClient, str], object]] = {
    "kill": lambda client, token: client.kill(APP, token),
    "killsoid": lambda client, _: client.killsoid(APP, USER),
    "moved": lambda client, token: client.rotate(APP, token),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("acts", [(write,), (remove,), (flash,), (regenerate,), (copy,), (bind("another"),)])
def test_a_session_that_was_ended_meanwhile_is_not_brought_back(
    storage: SessionStorage, client: SessionsClient, acts: tuple[Act, ...], how: str
) -> None:
    cookie = stored(storage, USER)
    session = storage.read(cookie)
    for act in acts:
        act(session)
    ENDS[how](client, cookie)
    left = len(client.soapp(APP))
    with pytest.raises(SessionEnded, match="ended while this request"):
        storage.save(session)
    assert len(client.soapp(APP)) == left
    assert client.soid(APP, "another") == []
    assert storage.read(cookie).new


def test_a_log_out_of_a_session_that_has_ended_is_one(
    storage: SessionStorage, client: SessionsClient
) -> None:
    cookie = stored(storage, USER)
    session = storage.read(cookie)
    client.kill(APP, cookie)
    session.destroy()
    assert storage.save(session) == ""


def test_what_was_only_read_can_have_ended(storage: SessionStorage, client: SessionsClient) -> None:
    cookie = stored(storage)
    session = storage.read(cookie)
    assert session["key"] == "value"
    client.kill(APP, cookie)
    assert storage.save(session) is None


@pytest.mark.parametrize("step", ["create", "exists"])
def test_a_copy_is_logged_out_with_its_user_whenever_that_happens(
    storage: SessionStorage, client: SessionsClient, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """`killsoid` runs just before each of the calls that make the copy."""
    session = storage.read(stored(storage, USER))
    session.regenerate_id(delete_old=False)
    call = getattr(storage._documents, step)

    def after_a_log_out(*args: Any, **options: Any) -> Any:
        client.killsoid(APP, USER)
        return call(*args, **options)

    monkeypatch.setattr(storage._documents, step, after_a_log_out)
    with pytest.raises(SessionEnded):
        storage.save(session)
    assert client.soapp(APP) == []


def test_a_session_that_one_request_empties_and_another_fills_goes_on(storage: SessionStorage) -> None:
    cookie = stored(storage)
    session = storage.read(cookie)
    session.clear()
    request(storage, cookie, write)
    assert storage.save(session) == cookie
    assert dict(storage.read(cookie)) == {"new": 1}


# --------------------------------------------------------------------------------------- unknown ids


def free_token(where: Where) -> str:
    return new_token(server_tag(str(where.address)), Life(600, no_resave=False))


def test_an_unknown_id_is_adopted_only_if_that_is_asked_for(where: Where, client: SessionsClient) -> None:
    chosen = free_token(where)
    assert request(SessionStorage(client, APP), chosen, write) != chosen
    adopting = SessionStorage(client, APP, use_unknown_ids=True)
    assert request(adopting, chosen, write) == chosen
    assert dict(adopting.read(chosen)) == {"new": 1}


def test_what_cannot_be_an_id_or_belongs_to_nobody_here_is_not_adopted(
    where: Where, client: SessionsClient
) -> None:
    adopting = SessionStorage(client, APP, use_unknown_ids=True)
    for value in ("made up", "a" * 65, None):
        assert request(adopting, value, write) not in (None, value)
    signing = SessionStorage(client, APP, use_unknown_ids=True, secrets=SECRET)
    assert str(request(signing, free_token(where), write)).partition(".")[0] != free_token(where)


@pytest.mark.parametrize("acts", [(write, regenerate), (write, bind()), (destroy, write)])
def test_who_logs_in_or_asks_for_a_new_id_does_not_adopt(
    where: Where, client: SessionsClient, acts: tuple[Act, ...]
) -> None:
    adopting = SessionStorage(client, APP, use_unknown_ids=True)
    chosen = free_token(where)
    assert request(adopting, chosen, *acts) not in (None, chosen)
    assert adopting.read(chosen).new


def test_requests_that_adopt_the_same_id_share_the_session(where: Where, client: SessionsClient) -> None:
    adopting = SessionStorage(client, APP, use_unknown_ids=True)
    chosen = free_token(where)
    sessions = [adopting.read(chosen) for _ in range(8)]
    for number, session in enumerate(sessions):
        session[str(number)] = number
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(adopting.save, sessions)) == {chosen}
    assert dict(adopting.read(chosen)) == {str(number): number for number in range(8)}
    assert len(client.soapp(APP)) == 1
    assert client.activity(APP) == {"activity": 1}


def test_an_id_that_was_adopted_and_ended_by_others_is_not_brought_back(
    where: Where, client: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopting = SessionStorage(client, APP, use_unknown_ids=True)
    chosen = free_token(where)
    session = adopting.read(chosen)
    write(session)
    request(adopting, chosen, write)
    read = adopting._documents.read

    def and_end(token: object) -> Any:
        document = read(token)
        client.kill(APP, chosen)
        return document

    monkeypatch.setattr(adopting._documents, "read", and_end)
    with pytest.raises(SessionEnded):
        adopting.save(session)
    assert client.soapp(APP) == []


# ------------------------------------------------------------------------------------------ outages


@pytest.mark.parametrize("acts", [(write,), (remove,), (regenerate,), (bind(),), (destroy,), (clear,)])
@pytest.mark.parametrize("read", [False, True], ids=["before", "after the read"])
def test_an_outage_is_raised(
    own_memcached: Memcached, make_client: MakeClient, acts: tuple[Act, ...], read: bool
) -> None:
    storage = SessionStorage(make_client(own_memcached.address), APP)
    cookie = stored(storage, USER)
    session = storage.read(cookie) if read else storage.open(cookie)
    own_memcached.kill()
    with pytest.raises(StoreUnavailable):  # noqa: PT012  looking at it raises, or saving it
        for act in acts:
            act(session)
        storage.save(session)


@pytest.mark.parametrize("read", [False, True], ids=["before", "after the read"])
def test_by_the_anonymous_policy_writes_are_lost_with_a_warning(
    own_memcached: Memcached, make_client: MakeClient, caplog: pytest.LogCaptureFixture, read: bool
) -> None:
    storage = SessionStorage(make_client(own_memcached.address), APP, on_outage="anonymous")
    cookie = stored(storage)
    session, stranger = storage.open(cookie), storage.open(None)
    if read:
        assert session["key"] == "value"
    own_memcached.kill()
    for each in (session, stranger):
        each["rosebud"] = "sledge"
        each.flash("notice", "sledge")
        caplog.clear()
        with caplog.at_level(logging.WARNING, "memsessions.web"):
            assert storage.save(each) is None
        assert len(caplog.records) == 1
        assert "lost" in caplog.text
        for secret in (cookie, "rosebud", "sledge"):
            assert secret not in caplog.text


@pytest.mark.parametrize(
    "acts", [(destroy,), (bind(),), (bind(None),), (regenerate,), (copy,), (clear,), (write, destroy, write)]
)
@pytest.mark.parametrize("read", [False, True], ids=["before", "after the read"])
def test_by_the_anonymous_policy_no_log_in_or_out_seems_to_work(
    own_memcached: Memcached, make_client: MakeClient, acts: tuple[Act, ...], read: bool
) -> None:
    storage = SessionStorage(make_client(own_memcached.address), APP, on_outage="anonymous")
    session = storage.open(stored(storage))
    if read:
        assert session["key"] == "value"
    own_memcached.kill()
    for act in acts:
        act(session)
    with pytest.raises(StoreUnavailable):
        storage.save(session)


def test_by_the_anonymous_policy_reading_needs_no_save(make_client: MakeClient) -> None:
    storage = SessionStorage(make_client("127.0.0.1:1"), APP, on_outage="anonymous")
    session = storage.open(UNKNOWN)
    assert dict(session) == {}
    assert session.unavailable
    assert storage.save(session) is None


def test_a_log_out_everywhere_is_never_anonymous(make_client: MakeClient) -> None:
    storage = SessionStorage(make_client("127.0.0.1:1"), APP, on_outage="anonymous")
    for call in (
        lambda: storage.devices(USER),
        lambda: storage.end_device(USER, "a" * 32),
        lambda: storage.end_all(USER),
        lambda: storage.end_others(storage.open(new_token(server_tag("x"), Life(100, no_resave=False)))),
    ):
        with pytest.raises(StoreUnavailable):
            call()


# --------------------------------------------------------------------------------------------- size


@pytest.mark.parametrize("acts", [(write,), (regenerate,), (bind(),), (copy,)])
def test_what_does_not_fit_is_refused_and_leaves_what_is_there(
    storage: SessionStorage, client: SessionsClient, acts: tuple[Act, ...]
) -> None:
    cookie = stored(storage)
    session = storage.read(cookie)
    session["large"] = "x" * 1_100_000
    for act in acts:
        act(session)
    with pytest.raises(SessionTooLarge):
        storage.save(session)
    assert dict(storage.read(cookie)) == {"key": "value"}
    assert len(client.soapp(APP)) == 1


def test_encrypted_data_is_larger_and_refused_when_it_does_not_fit(
    storage: SessionStorage, client: SessionsClient
) -> None:
    encrypting = SessionStorage(client, APP, encryption_key=Fernet.generate_key())
    large = "x" * 900_000
    stored(storage, large=large)
    with pytest.raises(SessionTooLarge):
        stored(encrypting, large=large)
    assert encrypting.read(stored(encrypting, large=large[:700_000]))["large"] == large[:700_000]


# ------------------------------------------------------------------------------------------ devices


def test_devices_are_ready_for_json_and_say_which_one_asks(where: Where, storage: SessionStorage) -> None:
    ticks = Ticks(where)
    phone = stored(storage, USER)
    where.advance(100)
    laptop = stored(storage, USER)
    stored(storage, "another")
    session = storage.open(laptop)
    shown = json.loads(json.dumps(storage.devices(USER, session)))
    assert [device["current"] for device in shown] == [True, False]
    assert [device["ip"] for device in shown] == [IP, IP]
    assert shown[0]["idle"] in since(ticks, 0)
    assert shown[1]["idle"] in since(ticks, 100)
    for device in shown:
        seen = datetime.fromisoformat(device["last_seen"])
        late = datetime.now(timezone.utc) - timedelta(seconds=device["idle"]) - seen
        assert seen.utcoffset() == timedelta(0)
        assert abs(late) < timedelta(seconds=5)
        assert phone not in device.values()
        assert laptop not in device.values()
    assert not any(device["current"] for device in storage.devices(USER))
    assert not any(device["current"] for device in storage.devices(USER, storage.open(None)))


def test_a_handle_ends_its_device_for_its_user_and_logs_nobody_in(storage: SessionStorage) -> None:
    cookie = stored(storage, USER)
    [handle] = [device["handle"] for device in storage.devices(USER)]
    assert storage.read(handle).new
    assert storage.end_device("another", handle) is False
    assert storage.end_device(USER, cookie) is False
    assert storage.end_device(USER, handle) is True
    assert storage.end_device(USER, handle) is False
    assert storage.read(cookie).new


def test_everywhere_else_is_all_but_this_one(storage: SessionStorage) -> None:
    here, *elsewhere = [stored(storage, USER) for _ in range(4)]
    other = stored(storage, "another")
    assert storage.end_others(storage.open(here)) == 3
    assert storage.end_others(storage.open(here)) == 0
    assert not storage.read(here).new
    assert not storage.read(other).new
    assert all(storage.read(cookie).new for cookie in elsewhere)


@pytest.mark.parametrize("cookie", ["nobodys", None, UNKNOWN])
def test_a_session_without_user_has_no_elsewhere(storage: SessionStorage, cookie: str | None) -> None:
    session = storage.open(stored(storage) if cookie == "nobodys" else cookie)
    with pytest.raises(InvalidValue, match="belongs to no user"):
        storage.end_others(session)


def test_all_sessions_of_a_user_can_be_ended(storage: SessionStorage) -> None:
    cookies = [stored(storage, USER) for _ in range(3)]
    other = stored(storage, "another")
    assert storage.end_all(USER) == 3
    assert storage.end_all(USER) == 0
    assert all(storage.read(cookie).new for cookie in cookies)
    assert not storage.read(other).new


def test_the_options_of_a_storage_are_those_of_its_sessions(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    """A process with one storage of each kind on the same client mixes none of them up."""
    client = make_client(on_memcached.address, ns=on_memcached.ns)
    plain = SessionStorage(client, APP, ttl=60)
    sealed = SessionStorage(client, APP, ttl=6000, encryption_key=Fernet.generate_key(), secrets=SECRET)
    cookies = stored(plain), stored(sealed)
    assert sorted(session["ttl"] for session in client.soapp(APP)) == [60, 6000]
    assert plain.read(cookies[1]).new
    assert sealed.read(cookies[0]).new
