"""What an adapter's test module gives to the behaviour suite, and the visitors who come to look at it.

An adapter's module defines an `Adapter`, of which the suite (`behaviour.py`) makes a `Site` for each test:
the adapter, set up as `Setup` says, in front of the pages of `pages.py`. A site answers one `Request`,
through the framework's own test client and without cookies of that client's own: the jar is the `Browser`'s.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from memsessions import SessionsClient
from memsessions.web import SessionStorage

from .pages import Gate

#: Where every site serves its pages, by POST.
PATH = "/visit"
HOST = "site.example"


@dataclass(frozen=True)
class Setup:
    """How an adapter has to be set up, in its framework's own words; `servers`, `ns`, ... as the client's."""

    servers: str
    ns: str
    app: str = "website"
    ttl: int = 3600
    timeout: float = 5.0
    wipe: int = 0
    on_outage: Literal["raise", "anonymous"] = "raise"
    secrets: tuple[str, ...] = ()  # none: cookies are not signed
    encryption_key: str | None = None

    #: Where a server process finds it.
    VARIABLE = "TESTS_WEB_SETUP"

    def environment(self) -> dict[str, str]:
        """What makes it known to a server process."""
        return {self.VARIABLE: json.dumps(asdict(self))}

    def storage(self) -> SessionStorage:
        """Where an adapter is given a storage: one of a client of its own, which is `storage.client`."""
        client = SessionsClient(self.servers, ns=self.ns, timeout=self.timeout, wipe=self.wipe)
        return SessionStorage(
            client,
            self.app,
            self.ttl,
            secrets=self.secrets or None,
            encryption_key=self.encryption_key,
            on_outage=self.on_outage,
        )

    @classmethod
    def from_environment(cls) -> Setup:
        """The one that a server process was started with."""
        given = json.loads(os.environ[cls.VARIABLE])
        return cls(**{**given, "secrets": tuple(given["secrets"])})


@dataclass(frozen=True)
class Traits:
    """Where frameworks differ, so that the suite expects of each what it promises; name what differs only.

    None of it may be weaker than this: a status is an error (400 or more), never a page.
    """

    cookie: str = "session"  # its name
    #: The answer when a session was ended elsewhere while the request changed it.
    status_when_ended: int = 500
    #: The answer when the store cannot be reached.
    status_when_down: int = 503
    #: The answer when the data does not fit into an item of the store.
    status_when_too_large: int = 500
    #: A page that raises.
    status_when_failed: int = 500
    #: What such a page wrote is kept, as the framework makes a response of the error and saves then.
    keeps_what_failed: bool = False
    #: A change inside a value is noticed without being told.
    sees_nested_changes: bool = True
    #: Reading renews a session's life.
    renews_by_reading: bool = True
    #: A cookie whose session is unknown is deleted by the first page that looks at the session.
    deletes_unknown: bool = False
    #: Round trips of a page that does not look at its session, by a visitor who has one.
    trips_of_nothing: int = 0
    #: Round trips of a page that logs in a visitor who has a session.
    trips_of_a_log_in: int = 2
    #: A page that writes sends the cookie again, whether it could be saved or not.
    resends_cookie: bool = False
    #: The visitor's address is kept with a new session.
    knows_ip: bool = True
    signs: bool = True
    encrypts: bool = True
    flashes: bool = True
    has_anonymous_policy: bool = True


@dataclass(frozen=True)
class Request:
    """One POST to `PATH` on `HOST`: its body, and a `Cookie` header where there is one."""

    body: bytes
    cookie: str | None = None
    ip: str = "192.0.2.1"  # the peer's address: REMOTE_ADDR
    https: bool = False


@dataclass(frozen=True)
class Response:
    """What came back; a page that raised is a status of 500 where the test client passes the error on."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    error: BaseException | None = None  # for the message of a test that fails


class Site(Protocol):
    """A running application. The suite has one at a time, and closes it."""

    def request(self, request: Request) -> Response:
        """Answer one request; several threads may ask at the same time."""

    def close(self) -> None:
        """Close its client, and put back what was changed to set it up."""


class Adapter(Protocol):
    """What the suite has to know of an adapter."""

    traits: Traits

    def serve(self, setup: Setup) -> Site:
        """The pages behind this adapter, in this process."""

    def command(self, port: int) -> list[str]:
        """A real server, on this port of 127.0.0.1, whose setup is `Setup.from_environment()`.

        It is started with the project's root as working directory.
        """


@dataclass(frozen=True)
class Answer:
    """A response, as the suite looks at it."""

    status: int
    json: Any  # None where the body is none
    set_cookie: list[str]  # every `Set-Cookie` that names the session's cookie
    vary: set[str]  # in lower case
    headers: list[tuple[str, str]] = field(repr=False)
    error: BaseException | None = None

    @property
    def value(self) -> Any:
        """Of a page that answers `{"value": ...}`."""
        assert self.status == 200, self
        return self.json["value"]


class Browser:
    """A visitor with a jar that has room for one cookie: that of the session.

    `cookie` is its raw value, None for none; set it to send another.
    """

    def __init__(
        self,
        request: Callable[[Request], Response],
        name: str = Traits.cookie,
        *,
        ip: str = "192.0.2.1",
        https: bool = False,
    ) -> None:
        self.cookie: str | None = None
        self._request = request
        self._name = name
        self._ip = ip
        self._https = https

    def another(self) -> Browser:
        """A visitor of the same site without a cookie."""
        return Browser(self._request, self._name, ip=self._ip, https=self._https)

    def visit(self, action: str, *, gate: Gate | None = None, **arguments: Any) -> Answer:
        """Have a page do something: see `pages.Visit`. At a gate it stops between read and save."""
        body = json.dumps({"action": action, "gate": gate and gate.name, **arguments}).encode()
        cookie = None if self.cookie is None else f"other=1; {self._name}={self.cookie}; another=2"
        answer = self._answer(self._request(Request(body, cookie, self._ip, self._https)))
        for header in answer.set_cookie:
            self._keep(header)
        return answer

    def start(self, action: str, *, gate: Gate, **arguments: Any) -> Future[Answer]:
        """`visit` in a thread of its own; returns when its page has read the session and is at the gate."""
        future: Future[Answer] = Future()

        def run() -> None:
            try:
                future.set_result(self.visit(action, gate=gate, **arguments))
            except BaseException as error:  # noqa: BLE001  raised by `result`
                future.set_exception(error)
            gate.arrived.set()  # so that nobody waits for a page that never came there

        threading.Thread(target=run, daemon=True).start()
        gate.await_arrival()
        return future

    def _answer(self, response: Response) -> Answer:
        def named(name: str) -> list[str]:
            return [value for key, value in response.headers if key.lower() == name]

        try:
            body = json.loads(response.body)
        except ValueError:
            body = None
        return Answer(
            response.status,
            body,
            [header for header in named("set-cookie") if header.startswith(f"{self._name}=")],
            {each.strip().lower() for value in named("vary") for each in value.split(",")},
            response.headers,
            response.error,
        )

    def _keep(self, header: str) -> None:
        value, attributes = parts(header)
        if "secure" in attributes and not self._https:
            return
        self.cookie = None if attributes.get("max-age") == "0" or not value else value


def parts(set_cookie: str) -> tuple[str, dict[str, str]]:
    """The value in a `Set-Cookie` header, and its attributes by their names in lower case."""
    (_, value), *attributes = (
        (part.partition("=")[0].strip().lower(), part.partition("=")[2].strip())
        for part in set_cookie.split(";")
    )
    return value.strip('"'), dict(attributes)
