"""A site in front of a store, and eyes for what the site does there."""

from __future__ import annotations

from typing import Any, NamedTuple

from memsessions import Session, SessionsClient

from ..conftest import Where
from ..support.sessions import contents
from .site import Adapter, Browser, Setup

# Of all times, as sessions may have been idle for long.
_EVER_S = 10**9


class Snapshot(NamedTuple):
    """What was written so far. Reading counts, which is no write: counters are left out."""

    values: dict[str, bytes]
    sets: list[int]


class World:
    """An adapter's site, a client of the tests' own on the same store, and the hands of its clock."""

    def __init__(self, adapter: Adapter, setup: Setup, where: Where, client: SessionsClient) -> None:
        self.traits = adapter.traits
        self.setup = setup
        self.where = where
        self.client = client
        self.site = adapter.serve(setup)
        self._open = True

    def close(self) -> None:
        if self._open:
            self._open = False
            self.site.close()

    def browser(self, cookie: str | None = None, *, ip: str = "192.0.2.1", https: bool = False) -> Browser:
        """A new visitor, who may bring a cookie along."""
        browser = Browser(self.site.request, self.traits.cookie, ip=ip, https=https)
        browser.cookie = cookie
        return browser

    def visitor(self, *, user: str | None = None, **items: Any) -> Browser:
        """A visitor who has a session with this data, and is logged in if there is a user."""
        browser = self.browser()
        assert browser.visit("write", items=items or {"key": "value"}).status == 200
        if user is not None:
            assert browser.visit("bind", user=user).status == 200
        assert browser.cookie is not None
        return browser

    def stored(self) -> list[Session]:
        """The sessions that there are."""
        return self.client.soapp(self.setup.app, _EVER_S)

    def end(self, browser: Browser) -> None:
        """End a visitor's session from elsewhere."""
        assert browser.cookie is not None
        assert self.client.kill(self.setup.app, browser.cookie) == {"kill": 1}

    def snapshot(self) -> Snapshot:
        values = {key: value for key, value in contents(self.where).items() if ":r:" not in key}
        return Snapshot(values, [int(server.stats()["cmd_set"]) for server in self.where.servers])
