"""What must hold for every adapter, written once.

An adapter's test module collects it by a class of its own:

    class TestFlask(Behaviour):
        adapter = FlaskAdapter()        # see `site.Adapter`

Whatever a site answers, the store is looked at, too: by a second client, by memcached's own numbers and at
the socket.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest
from cryptography.fernet import Fernet

from memsessions.tokens import LENGTH, Life, new_token, server_tag

from ..conftest import MakeClient, OnMemcached, Where
from ..support.memcached import Memcached
from ..support.proxy import Proxy
from ..support.sessions import contents
from .pages import Gate
from .servers import ServerProcess
from .site import Adapter, Answer, Browser, Setup, parts
from .world import World

OLD_SECRET, NEW_SECRET = "the old secret of this site", "its new secret, for a year"
NESTED: dict[str, Any] = {"list": [1, 2.5, None, True, {"deep": [[]]}], "empty": {}, "text": "x"}
TIMEOUT_S = 0.4  # where it is waited for
UNICODE = "Grüße, 你好, שלום, 👩‍👩‍👧 \u0000 \u2028 \ufffe \U0010ffff \"'<>;,\\ %00"
USER = "user1234"

MALFORMED = {
    "empty": "",
    "short": "x",
    "one character less": "a" * (LENGTH - 1),
    "one more": "a" * (LENGTH + 1),
    "other characters": "a" * (LENGTH - 1) + "-",
    "a path": "../../" + "a" * (LENGTH - 6),
    "percent": "%00%0d%0aflush_all%0d%0a" + "a" * (LENGTH - 24),
    "spaces": "a b " * (LENGTH // 4),
    "quotes": '"' + "a" * (LENGTH - 2) + '"',
    "half a quote": '"' + "a" * (LENGTH - 1),
    "equals": "=" * LENGTH,
    "latin-1": "\xe9\xff" * (LENGTH // 2),
    "long": "a" * 50_000,
    "json": '{"a":1}',
    "dots": "." * LENGTH,
}


class Serve(Protocol):
    """Opens the site of a test, in place of one that it may have opened before."""

    def __call__(self, where: Where | None = None, **options: Any) -> World: ...


def trips(proxy: Proxy, browser: Browser, action: str, **arguments: Any) -> int:
    """How often the site waited for the store during one visit."""
    before = proxy.round_trips
    answer = browser.visit(action, **arguments)
    assert answer.status == 200, answer
    return proxy.round_trips - before


def recovered(visitor: Browser) -> Browser:
    """A visitor whose session can be read again, as the server goes on."""
    give_up = time.monotonic() + 10
    while (answer := visitor.visit("read", key="key")).json != {"value": "value"}:
        assert time.monotonic() < give_up, f"the session does not come back: {answer}, {answer.error!r}"
    return visitor


def impatient(serve: Serve, where: Where, **options: Any) -> Browser:
    """A visitor who is logged in at a site that waits for its store for a short time only.

    The log-in is done by a site that waits: on a busy machine it can take longer than that.
    """
    cookie = serve(where, **options).visitor(user=USER, key="value").cookie
    return recovered(serve(where, timeout=TIMEOUT_S, **options).browser(cookie))


def left_alone(answer: Answer, browser: Browser, cookie: str | None) -> bool:
    """Whether an answer says nothing of the cookie."""
    return answer.set_cookie == [] and browser.cookie == cookie


class Behaviour:
    """The suite; a subclass names the adapter."""

    adapter: Adapter

    @pytest.fixture
    def serve(self, on_memcached: OnMemcached, make_client: MakeClient) -> Iterator[Serve]:
        worlds: list[World] = []

        def serve(where: Where | None = None, **options: Any) -> World:
            for old in worlds:
                old.close()
            where = where or on_memcached
            setup = Setup(**{"servers": where.address, "ns": where.ns, **options})
            worlds.append(World(self.adapter, setup, where, make_client(where.address, ns=where.ns)))
            return worlds[-1]

        yield serve
        for world in worlds:
            world.close()

    @pytest.fixture
    def world(self, serve: Serve) -> World:
        return serve()

    def needs(self, trait: str) -> None:
        if not getattr(self.adapter.traits, trait):
            pytest.skip(f"not promised by this adapter: {trait}")

    # ------------------------------------------------------------------------------- first visits

    @pytest.mark.parametrize("action", ["nothing", "read", "flashed", "remove"])
    def test_a_visitor_without_data_gets_no_cookie_and_leaves_no_trace(
        self, world: World, action: str
    ) -> None:
        """As bots and health checks are."""
        browser = world.browser()
        answer = browser.visit(action, **_arguments(action))
        assert (answer.status, answer.value) == (200, None)
        assert left_alone(answer, browser, None)
        assert contents(world.where) == {}

    def test_the_first_write_makes_a_session_and_a_cookie(self, world: World) -> None:
        browser = world.browser(ip="192.0.2.7")
        answer = browser.visit("write", items={"theme": "dark"})
        assert answer.status == 200
        [header] = answer.set_cookie
        value, attributes = parts(header)
        assert value == browser.cookie
        assert attributes["path"] == "/"
        assert "httponly" in attributes
        assert attributes["samesite"] == "Lax"
        [session] = world.stored()
        if self.adapter.traits.knows_ip:
            assert session["ip"] == "192.0.2.7"

    def test_the_cookie_is_as_long_whatever_the_session_holds(self, world: World) -> None:
        cookies = [world.visitor(data=data).cookie for data in ("", "x" * 100_000)]
        assert None not in cookies
        assert len({len(str(cookie)) for cookie in cookies}) == 1
        assert len(str(cookies[0])) < 200

    def test_every_visitor_has_data_of_their_own(self, world: World) -> None:
        visitors = [world.visitor(number=number) for number in range(3)]
        assert [visitor.visit("read", key="number").value for visitor in visitors] == [0, 1, 2]
        assert len({visitor.cookie for visitor in visitors}) == len(world.stored()) == 3
        assert world.browser().visit("read", key="number").value is None

    # --------------------------------------------------------------------------------- later visits

    @pytest.mark.parametrize("action", ["nothing", "read", "flashed", "remove"])
    def test_a_visit_that_changes_nothing_writes_nothing_and_sends_no_cookie(
        self, world: World, action: str
    ) -> None:
        visitor = world.visitor(there="value")
        cookie = visitor.cookie
        before = world.snapshot()
        answer = visitor.visit(action, **_arguments(action))
        assert answer.status == 200
        assert left_alone(answer, visitor, cookie)
        assert world.snapshot() == before

    def test_writing_what_is_there_already_writes_nothing(self, world: World) -> None:
        self.needs("sees_nested_changes")  # only who compares can know
        visitor = world.visitor(nested=NESTED)
        cookie = visitor.cookie
        before = world.snapshot()
        assert left_alone(visitor.visit("write", items={"nested": NESTED}), visitor, cookie)
        assert world.snapshot() == before

    def test_data_survives(self, world: World) -> None:
        visitor = world.visitor(nested=NESTED, number=-(2**53), fraction=0.1, nothing=None, yes=True)
        for key, value in (
            ("nested", NESTED),
            ("number", -(2**53)),
            ("fraction", 0.1),
            ("nothing", None),
            ("yes", True),
        ):
            found = visitor.visit("read", key=key).value
            assert (found, type(found)) == (value, type(value))

    def test_data_in_every_script_survives(self, world: World) -> None:
        visitor = world.browser()
        visitor.visit("write", items={UNICODE: UNICODE, "nested": {UNICODE: [UNICODE]}})
        assert visitor.visit("read", key=UNICODE).value == UNICODE
        assert visitor.visit("read", key="nested").value == {UNICODE: [UNICODE]}

    def test_later_writes_go_beside_earlier_ones_and_over_them(self, world: World) -> None:
        visitor = world.visitor(kept=1, changed=1)
        visitor.visit("write", items={"changed": 2, "new": 2})
        visitor.visit("remove", key="new")
        values = [visitor.visit("read", key=key).value for key in ("kept", "changed", "new")]
        assert values == [1, 2, None]
        assert len(world.stored()) == 1

    def test_a_change_inside_a_value_is_kept(self, world: World) -> None:
        self.needs("sees_nested_changes")
        visitor = world.visitor(cart=["apple"])
        assert visitor.visit("append", key="cart", value={"pears": 2}).status == 200
        assert visitor.visit("read", key="cart").value == ["apple", {"pears": 2}]

    def test_a_flash_is_there_in_the_next_request_only(self, world: World) -> None:
        self.needs("flashes")
        visitor = world.browser()
        visitor.visit("flash", key="notice", value="saved")
        visitor.visit("nothing")  # which does not look at the session
        assert visitor.visit("flashed", key="notice").value == "saved"
        assert visitor.visit("flashed", key="notice").value is None

    def test_a_streamed_page_keeps_what_it_wrote_before(self, world: World) -> None:
        visitor = world.browser()
        answer = visitor.visit("stream", items={"from": "a stream"})
        assert answer.status == 200
        assert answer.json == {"value": None}
        assert visitor.visit("read", key="from").value == "a stream"
        visitor.visit("stream", items={"from": "another"})
        assert visitor.visit("read", key="from").value == "another"

    def test_a_page_that_fails_changes_nothing_else(self, world: World) -> None:
        """What it wrote is kept where the framework saves after an error, and is not where it does not."""
        kept = self.adapter.traits.keeps_what_failed
        visitor = world.visitor(key="before")
        assert visitor.visit("fail", items={"key": "after"}).status == self.adapter.traits.status_when_failed
        assert visitor.visit("read", key="key").value == ("after" if kept else "before")
        stranger = world.browser()
        assert stranger.visit("fail", items={"key": "first"}).status >= 400
        assert (stranger.cookie is not None) is kept
        assert len(world.stored()) == 1 + kept

    def test_caches_are_told_of_the_cookie_if_the_page_looked_at_the_session(self, world: World) -> None:
        for browser in (world.browser(), world.visitor()):
            assert "cookie" not in browser.visit("nothing").vary
            assert "cookie" in browser.visit("read", key="key").vary
            assert "cookie" in browser.visit("write", items={"key": "other"}).vary
        assert "cookie" in browser.visit("destroy").vary

    # ------------------------------------------------------------------------------ another id, an end

    def test_a_regenerated_session_has_a_new_id_and_the_old_one_is_dead(self, world: World) -> None:
        visitor = world.visitor(theme="dark")
        old = visitor.cookie
        answer = visitor.visit("regenerate")
        assert answer.status == 200
        assert len(answer.set_cookie) == 1
        assert visitor.cookie not in (None, old)
        assert visitor.visit("read", key="theme").value == "dark"
        assert world.browser(old).visit("read", key="theme").value is None
        assert len(world.stored()) == 1

    def test_a_destroyed_session_is_gone_and_its_cookie_deleted(self, world: World) -> None:
        visitor = world.visitor(theme="dark")
        old = visitor.cookie
        set_with = parts(world.browser().visit("write", items={"a": 1}).set_cookie[0])[1]
        assert len(world.stored()) == 2
        answer = visitor.visit("destroy")
        assert answer.status == 200
        [header] = answer.set_cookie
        value, attributes = parts(header)
        assert value == ""
        assert attributes["max-age"] == "0"
        for name in ("path", "domain", "secure", "samesite"):
            assert attributes.get(name) == set_with.get(name)
        assert visitor.cookie is None
        assert len(world.stored()) == 1
        assert world.browser(old).visit("read", key="theme").value is None

    def test_a_visitor_without_session_can_log_out(self, world: World) -> None:
        browser = world.browser()
        answer = browser.visit("destroy")
        assert answer.status == 200
        assert browser.cookie is None
        assert contents(world.where) == {}

    def test_what_is_written_after_a_log_out_is_in_a_new_session(self, world: World) -> None:
        visitor = world.visitor(theme="dark")
        old = visitor.cookie
        assert visitor.visit("destroy_and_write", items={"language": "de"}).status == 200
        assert visitor.cookie not in (None, old)
        values = [visitor.visit("read", key=key).value for key in ("theme", "language")]
        assert values == [None, "de"]
        assert world.browser(old).visit("read", key="theme").value is None
        assert len(world.stored()) == 1

    def test_a_log_in_changes_the_id_and_the_session_is_the_users(self, world: World) -> None:
        visitor = world.visitor(draft="Hello")
        old = visitor.cookie
        assert visitor.visit("bind", user=USER).status == 200
        assert visitor.cookie not in (None, old)
        assert world.browser(old).visit("read", key="draft").value is None
        assert visitor.visit("read", key="draft").value == "Hello"
        assert [session["id"] for session in world.client.soid(world.setup.app, USER)] == [USER]
        assert len(world.stored()) == 1

    def test_a_log_in_is_a_first_write_too(self, world: World) -> None:
        browser = world.browser()
        answer = browser.visit("bind", user=USER)
        assert answer.status == 200
        assert len(answer.set_cookie) == 1
        assert len(world.client.soid(world.setup.app, USER)) == 1

    def test_killsoid_logs_a_user_out_on_every_device_and_nobody_else(self, world: World) -> None:
        phone, laptop = (world.visitor(user=USER, key=1) for _ in range(2))
        other = world.visitor(user="another", key=1)
        assert world.client.activity(world.setup.app) == {"activity": 2}
        assert world.client.killsoid(world.setup.app, USER) == {"kill": 2}
        values = [browser.visit("read", key="key").value for browser in (phone, laptop, other)]
        assert values == [None, None, 1]

    def test_a_user_sees_their_devices_and_ends_another(self, world: World) -> None:
        phone, laptop = (world.visitor(user=USER, key=1) for _ in range(2))
        world.visitor(user="another")
        shown = phone.visit("devices").value
        assert len(shown) == 2
        for device in shown:
            assert set(device) == {"handle", "ip", "idle", "last_seen", "current"}
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\+00:00)", device["last_seen"])
            assert str(phone.cookie) not in str(device)
            assert str(laptop.cookie) not in str(device)
        [other] = [device["handle"] for device in shown if not device["current"]]
        assert phone.visit("end_device", handle=other).value is True
        assert phone.visit("end_device", handle=other).value is False
        assert laptop.visit("read", key="key").value is None
        assert phone.visit("read", key="key").value == 1
        assert [device["current"] for device in phone.visit("devices").value] == [True]

    def test_nobody_ends_the_device_of_another_user(self, world: World) -> None:
        mine, theirs = world.visitor(user=USER, key=1), world.visitor(user="another", key=1)
        [handle] = [device["handle"] for device in theirs.visit("devices").value]
        for made_up in (handle, "", "x", UNICODE, theirs.cookie):
            assert mine.visit("end_device", handle=made_up).value is False
        assert theirs.visit("read", key="key").value == 1

    # ------------------------------------------------------------------------------------- expiry

    def test_a_session_that_is_not_used_ends_after_its_ttl(self, serve: Serve) -> None:
        world = serve(ttl=600)
        visitor = world.visitor(theme="dark")
        world.where.advance(590)
        visitor.visit("write", items={"key": 1})  # renews it, whatever else does
        world.where.advance(590)
        assert visitor.visit("read", key="theme").value == "dark"
        world.where.advance(602)
        assert visitor.visit("read", key="theme").value is None
        old = visitor.cookie
        assert visitor.visit("write", items={"key": 1}).status == 200
        assert visitor.cookie != old
        assert visitor.visit("read", key="theme").value is None

    def test_a_visit_that_reads_renews_a_session_unless_the_framework_says_otherwise(
        self, serve: Serve
    ) -> None:
        world = serve(ttl=600)
        visitor = world.visitor(theme="dark")
        for _ in range(3):
            world.where.advance(400)
            found = visitor.visit("read", key="theme").value
        assert found == ("dark" if self.adapter.traits.renews_by_reading else None)

    # --------------------------------------------------------------------------------- odd cookies

    def test_an_id_that_the_store_does_not_know_is_never_adopted(self, world: World) -> None:
        """Or somebody could give another an id that they know."""
        chosen = new_token(server_tag(str(world.where.address)), Life(world.setup.ttl, no_resave=False))
        browser = world.browser(chosen)
        answer = browser.visit("read", key="key")
        assert (answer.status, answer.value) == (200, None)
        assert contents(world.where) == {}
        if not self.adapter.traits.deletes_unknown:
            assert left_alone(answer, browser, chosen)
        browser.cookie = chosen
        assert browser.visit("write", items={"key": "mine"}).status == 200
        assert browser.cookie not in (None, chosen)
        assert browser.visit("read", key="key").value == "mine"
        assert world.browser(chosen).visit("read", key="key").value is None

    @pytest.mark.parametrize("name", MALFORMED)
    def test_a_malformed_cookie_is_no_session_and_costs_no_trip(
        self, serve: Serve, proxy: Proxy, name: str
    ) -> None:
        world = serve(servers=proxy.address)
        browser = world.browser(MALFORMED[name])
        assert trips(proxy, browser, "read", key="key") == 0
        assert contents(world.where) == {}
        browser.cookie = MALFORMED[name]
        assert browser.visit("write", items={"key": "mine"}).status == 200
        assert browser.cookie != MALFORMED[name]
        assert browser.visit("read", key="key").value == "mine"

    def test_a_tampered_signature_is_no_session_and_costs_no_trip(self, serve: Serve, proxy: Proxy) -> None:
        self.needs("signs")
        world = serve(servers=proxy.address, secrets=(NEW_SECRET,))
        visitor = world.visitor(theme="dark")
        signed = str(visitor.cookie)
        token = re.split(r"[^A-Za-z0-9]", signed)[0]
        assert len(token) == LENGTH
        assert world.client.get(world.setup.app, token) is not None
        forged = [token, signed[:-1], signed + "A", "x" + signed, token + "." * 44]
        forged += [
            signed[:at] + ("b" if signed[at] == "a" else "a") + signed[at + 1 :]
            for at in (0, LENGTH - 1, LENGTH + 1, len(signed) - 1)
        ]
        for cookie in forged:
            forger = world.browser(cookie)
            assert trips(proxy, forger, "read", key="theme") == 0
            assert forger.visit("read", key="theme").value is None
        assert len(world.stored()) == 1
        assert visitor.visit("read", key="theme").value == "dark"

    def test_secrets_rotate_without_logging_anybody_out(self, serve: Serve) -> None:
        self.needs("signs")
        early = serve(secrets=(OLD_SECRET,)).visitor(theme="dark").cookie
        world = serve(secrets=(NEW_SECRET, OLD_SECRET))
        assert world.browser(early).visit("read", key="theme").value == "dark"
        late = world.visitor(theme="light").cookie
        world = serve(secrets=(NEW_SECRET,))
        values = [world.browser(cookie).visit("read", key="theme").value for cookie in (early, late)]
        assert values == [None, "light"]

    # ----------------------------------------------------------------------- requests at the same time

    def test_two_requests_that_both_read_before_either_saves_keep_each_others_keys(
        self, world: World
    ) -> None:
        visitor = world.visitor(cart=["apple"], seen=1, gone=1)
        with Gate() as first_gate, Gate() as second_gate, Gate() as third_gate:
            first = visitor.start("write", gate=first_gate, items={"first": 1, "both": 1})
            second = visitor.start("write", gate=second_gate, items={"second": 2, "both": 2})
            third = visitor.start("remove", gate=third_gate, key="gone")
            for gate, running in ((second_gate, second), (first_gate, first), (third_gate, third)):
                gate.open()
                assert running.result().status == 200
        keys = ("cart", "seen", "first", "second", "both", "gone")
        values = [visitor.visit("read", key=key).value for key in keys]
        assert values == [["apple"], 1, 1, 2, 1, None]
        assert len(world.stored()) == 1

    def test_a_slow_request_that_only_reads_undoes_nothing(self, world: World) -> None:
        visitor = world.visitor(key="before")
        with Gate() as gate:
            slow = visitor.start("read", gate=gate, key="key")
            visitor.visit("write", items={"key": "after"})
            gate.open()
            assert slow.result().status == 200
        assert visitor.visit("read", key="key").value == "after"

    @pytest.mark.parametrize(
        ("how", "action"),
        [
            *(("kill", action) for action in ("write", "remove", "append", "regenerate", "bind", "flash")),
            *((how, "write") for how in ("killsoid", "killall", "another tab")),
        ],
    )
    def test_a_session_that_was_ended_elsewhere_meanwhile_is_not_brought_back(
        self, world: World, how: str, action: str
    ) -> None:
        traits = self.adapter.traits
        for trait, concerned in (("flashes", "flash"), ("sees_nested_changes", "append")):
            if action == concerned:
                self.needs(trait)
        visitor = world.visitor(user=USER, cart=["apple"], key="old")
        cookie = visitor.cookie
        with Gate() as gate:
            running = visitor.start(action, gate=gate, **_arguments(action))
            if how == "kill":
                world.end(visitor)
            elif how == "killsoid":
                assert world.client.killsoid(world.setup.app, USER) == {"kill": 1}
            elif how == "killall":
                assert world.client.killall(world.setup.app) == {"kill": 1}
            else:
                assert world.browser(cookie).visit("destroy").status == 200
            gate.open()
            answer = running.result()
        assert answer.status == traits.status_when_ended >= 400
        assert left_alone(answer, visitor, cookie)
        assert world.stored() == []
        assert world.browser(cookie).visit("read", key="key").value is None

    def test_a_request_that_only_reads_does_not_mind_that_the_session_is_ended_meanwhile(
        self, world: World
    ) -> None:
        visitor = world.visitor(key="old")
        with Gate() as gate:
            running = visitor.start("read", gate=gate, key="key")
            world.end(visitor)
            gate.open()
            assert running.result().value == "old"
        assert world.stored() == []

    def test_two_tabs_can_log_out_at_the_same_time(self, world: World) -> None:
        visitor = world.visitor(key="old")
        with Gate() as gate:
            running = visitor.start("destroy", gate=gate)
            assert world.browser(visitor.cookie).visit("destroy").status == 200
            gate.open()
            assert running.result().status == 200
        assert visitor.cookie is None
        assert world.stored() == []

    def test_a_write_does_not_bring_back_the_id_that_another_tab_gave_up(self, world: World) -> None:
        visitor = world.visitor(key="old")
        cookie = visitor.cookie
        tab = world.browser(cookie)
        with Gate() as gate:
            running = visitor.start("write", gate=gate, items={"key": "lost"})
            tab.visit("regenerate")
            gate.open()
            answer = running.result()
        assert answer.status == self.adapter.traits.status_when_ended
        assert left_alone(answer, visitor, cookie)
        assert tab.visit("read", key="key").value == "old"
        assert world.browser(cookie).visit("read", key="key").value is None
        assert len(world.stored()) == 1

    def test_what_another_request_writes_meanwhile_moves_along_to_the_new_id(self, world: World) -> None:
        visitor = world.visitor(key="old")
        tab = world.browser(visitor.cookie)
        with Gate() as gate:
            running = visitor.start("regenerate", gate=gate)
            assert tab.visit("write", items={"late": 1}).status == 200
            gate.open()
            assert running.result().status == 200
        assert visitor.cookie != tab.cookie
        values = [visitor.visit("read", key=key).value for key in ("key", "late")]
        assert values == ["old", 1]
        assert tab.visit("read", key="key").value is None
        assert len(world.stored()) == 1

    # -------------------------------------------------------------------------------------- outages

    @pytest.mark.parametrize("action", ["read", "write", "regenerate", "destroy", "bind", "devices"])
    @pytest.mark.parametrize("how", ["refused", "frozen"])
    def test_an_outage_is_an_error_and_never_a_log_out(
        self, serve: Serve, own_memcached: Memcached, how: str, action: str
    ) -> None:
        visitor = impatient(serve, OnMemcached(own_memcached))
        cookie = visitor.cookie
        _stop(own_memcached, how)
        answer = visitor.visit(action, **_arguments(action))
        assert answer.status == self.adapter.traits.status_when_down >= 500
        assert left_alone(answer, visitor, cookie)
        assert visitor.visit("nothing").status == 200
        # What was sent to end it may wait in the server's buffers, to be done when it goes on.
        if how == "frozen" and action != "destroy":
            own_memcached.thaw()
            assert recovered(visitor).cookie == cookie

    @pytest.mark.parametrize("action", ["write", "regenerate", "destroy", "bind"])
    def test_an_outage_between_read_and_save_is_an_error(
        self, serve: Serve, own_memcached: Memcached, action: str
    ) -> None:
        world = serve(OnMemcached(own_memcached))
        visitor = world.visitor(key="value")
        cookie = visitor.cookie
        with Gate() as gate:
            running = visitor.start(action, gate=gate, **_arguments(action))
            own_memcached.kill()
            gate.open()
            answer = running.result()
        assert answer.status == self.adapter.traits.status_when_down
        assert left_alone(answer, visitor, cookie)

    def test_during_an_outage_a_visitor_without_cookie_can_read_and_cannot_write(
        self, serve: Serve, own_memcached: Memcached
    ) -> None:
        world = serve(OnMemcached(own_memcached))
        own_memcached.kill()
        browser = world.browser()
        assert browser.visit("nothing").status == 200
        assert browser.visit("read", key="key").value is None
        answer = browser.visit("write", items={"key": "value"})
        assert answer.status == self.adapter.traits.status_when_down
        assert left_alone(answer, browser, None)

    @pytest.mark.parametrize("how", ["refused", "frozen"])
    def test_by_the_anonymous_policy_pages_render_and_a_log_out_never_reports_success(
        self, serve: Serve, own_memcached: Memcached, how: str
    ) -> None:
        self.needs("has_anonymous_policy")
        visitor = impatient(serve, OnMemcached(own_memcached), on_outage="anonymous")
        cookie = visitor.cookie
        _stop(own_memcached, how)
        for action in ("nothing", "read", "write"):
            answer = visitor.visit(action, **_arguments(action))
            assert (answer.status, answer.value) == (200, None)
            assert left_alone(answer, visitor, cookie)
        stranger = visitor.another()
        answer = stranger.visit("write", items={"key": 1})
        assert answer.status == 200
        assert left_alone(answer, stranger, None) or self.adapter.traits.resends_cookie
        for action in ("destroy", "regenerate", "bind"):
            answer = visitor.visit(action, **_arguments(action))
            assert answer.status == self.adapter.traits.status_when_down >= 500
            assert left_alone(answer, visitor, cookie)
        if how == "frozen":
            own_memcached.thaw()
            assert recovered(visitor).cookie == cookie

    @pytest.mark.parametrize("action", ["write", "destroy"])
    def test_by_the_anonymous_policy_an_outage_between_read_and_save_loses_the_write_and_no_log_out(
        self, serve: Serve, own_memcached: Memcached, action: str
    ) -> None:
        self.needs("has_anonymous_policy")
        world = serve(OnMemcached(own_memcached), on_outage="anonymous")
        visitor = world.visitor(key="value")
        cookie = visitor.cookie
        with Gate() as gate:
            running = visitor.start(action, gate=gate, **_arguments(action))
            own_memcached.kill()
            gate.open()
            answer = running.result()
        assert answer.status == (200 if action == "write" else self.adapter.traits.status_when_down)
        assert left_alone(answer, visitor, cookie) or self.adapter.traits.resends_cookie
        assert visitor.cookie == cookie

    def test_after_a_restart_of_memcached_everybody_begins_anew(self, serve: Serve) -> None:
        with Memcached("-t", "1") as server:
            world = serve(OnMemcached(server))
            visitor = world.visitor(key="value")
            cookie = visitor.cookie
            server.kill()
            server.start()
            answer = visitor.visit("read", key="key")
            assert (answer.status, answer.value) == (200, None)
            if not self.adapter.traits.deletes_unknown:
                assert left_alone(answer, visitor, cookie)
            assert visitor.visit("write", items={"key": "again"}).status == 200
            assert visitor.cookie not in (None, cookie)
            assert visitor.visit("read", key="key").value == "again"

    # ----------------------------------------------------------------------------- much, and secret

    def test_data_near_the_limit_of_an_item_is_kept_and_beyond_it_refused(self, world: World) -> None:
        data = "0123456789" * 100_000
        visitor = world.visitor(large=data)
        assert visitor.visit("read", key="large").value == data
        cookie = visitor.cookie
        answer = visitor.visit("write", items={"more": data})
        assert answer.status == self.adapter.traits.status_when_too_large >= 400
        assert left_alone(answer, visitor, cookie)
        assert visitor.visit("read", key="more").value is None
        assert visitor.visit("read", key="large").value == data
        stranger = visitor.another()
        answer = stranger.visit("write", items={"large": data + data})
        assert answer.status == self.adapter.traits.status_when_too_large
        assert left_alone(answer, stranger, None)
        assert len(world.stored()) == 1

    def test_encrypted_data_shows_neither_in_the_store_nor_on_the_way(
        self, serve: Serve, proxy: Proxy
    ) -> None:
        self.needs("encrypts")
        key = Fernet.generate_key().decode()
        world = serve(servers=proxy.address, encryption_key=key)
        visitor = world.visitor(rosebud="sledge", nested={"rosebud": ["sledge"]})
        visitor.visit("write", items={"more rosebuds": "more sledges"})
        assert visitor.visit("read", key="more rosebuds").value == "more sledges"
        assert visitor.visit("read", key="nested").value == {"rosebud": ["sledge"]}
        for seen in (bytes(proxy.sent), *contents(world.where).values()):
            assert b"rosebud" not in seen
            assert b"sledge" not in seen
        world = serve(encryption_key=Fernet.generate_key().decode())
        assert world.browser(visitor.cookie).visit("read", key="rosebud").value is None

    # ----------------------------------------------------------------------------------------- cost

    def test_each_visit_costs_as_many_round_trips_as_is_said(self, serve: Serve, proxy: Proxy) -> None:
        world = serve(servers=proxy.address)
        world.visitor()  # connects, and makes the app known
        visitor = world.browser()
        assert trips(proxy, visitor, "nothing") == 0
        assert trips(proxy, visitor, "read", key="key") == 0
        assert trips(proxy, visitor, "write", items={"key": 1}) == 1
        assert trips(proxy, visitor, "nothing") == self.adapter.traits.trips_of_nothing
        assert trips(proxy, visitor, "read", key="key") == 1
        assert trips(proxy, visitor, "write", items={"key": 2}) == 2
        assert trips(proxy, visitor, "regenerate") == 2
        assert trips(proxy, visitor, "bind", user=USER) == self.adapter.traits.trips_of_a_log_in
        assert trips(proxy, visitor, "destroy") <= 2
        assert proxy.connections == 1

    # -------------------------------------------------------------------------------- a real server

    def test_a_real_server_process_serves_it(
        self, on_memcached: OnMemcached, make_client: MakeClient, tmp_path: Path
    ) -> None:
        setup = Setup(on_memcached.address, on_memcached.ns)
        client = make_client(on_memcached.address, ns=on_memcached.ns)
        with ServerProcess(self.adapter, setup, tmp_path) as server:

            def browser(cookie: str | None = None) -> Browser:
                made = Browser(server.request, self.adapter.traits.cookie)
                made.cookie = cookie
                return made

            visitor = browser()
            assert left_alone(visitor.visit("read", key="key"), visitor, None)
            visitor.visit("stream", items={"key": UNICODE})
            assert visitor.visit("read", key="key").value == UNICODE
            names = [f"key {number}" for number in range(12)]
            with ThreadPoolExecutor(4) as threads:
                tab = browser(visitor.cookie)
                writes = [threads.submit(tab.visit, "write", items={name: name}) for name in names]
                assert [write.result().status for write in writes] == [200] * len(names)
            assert [visitor.visit("read", key=name).value for name in names] == names
            early = visitor.cookie
            visitor.visit("bind", user=USER)
            other = browser()
            other.visit("write", items={"key": 1})
            other.visit("bind", user=USER)
            assert browser(early).visit("read", key="key").value is None
            [handle] = [
                device["handle"] for device in visitor.visit("devices").value if not device["current"]
            ]
            assert visitor.visit("end_device", handle=handle).value is True
            assert other.visit("read", key="key").value is None
            assert len(client.soid(setup.app, USER)) == 1
            assert visitor.visit("fail", items={}).status == 500
            assert visitor.visit("destroy").status == 200
            assert visitor.cookie is None
            assert client.soid(setup.app, USER) == []


def _stop(server: Memcached, how: str) -> None:
    if how == "frozen":
        server.freeze()
    else:
        server.kill()


def _arguments(action: str) -> dict[str, Any]:
    """What the page is told, where it does not matter."""
    arguments: dict[str, dict[str, Any]] = {
        "read": {"key": "key"},
        "write": {"items": {"key": "new"}},
        "remove": {"key": "key"},
        "append": {"key": "cart", "value": "pear"},
        "flash": {"key": "notice", "value": "saved"},
        "flashed": {"key": "notice"},
        "bind": {"user": USER},
    }
    return arguments.get(action, {})
