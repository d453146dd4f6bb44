"""A server that speaks ASGI to an application, without a socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
Backend = Literal["asyncio", "trio"]

BACKENDS: tuple[Backend, ...] = ("asyncio", "trio")


@dataclass
class Exchange:
    """One request or websocket: what the application sent, and what it raised to the server."""

    sent: list[Message] = field(default_factory=list)
    error: Exception | None = None

    @property
    def start(self) -> Message:
        """The one message that begins the response."""
        [start] = [
            message for message in self.sent if "start" in message["type"] or "accept" in message["type"]
        ]
        assert start is self.sent[0]
        return start

    @property
    def status(self) -> int:
        status: int = self.start["status"]
        return status

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    def all(self, name: str) -> list[str]:
        """Every header of this name."""
        return [value.decode() for key, value in self.start.get("headers", ()) if key == name.encode()]

    @property
    def cookie(self) -> str | None:
        """The value of the one cookie that was set."""
        values = [header.partition(";")[0].partition("=")[2] for header in self.all("set-cookie")]
        assert len(values) <= 1, values
        return values[0] if values else None


def scope(kind: str = "http", cookie: str | None = None, **options: Any) -> dict[str, Any]:
    """What a server says of a request."""
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http" if kind == "http" else "ws",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [] if cookie is None else [(b"cookie", f"session={cookie}".encode())],
        "client": ("192.0.2.1", 50000),
        "server": ("site.example", 80),
        **options,
    }


async def exchange(
    app: App,
    given: dict[str, Any],
    received: Iterable[Message] = ({"type": "http.request", "body": b"", "more_body": False},),
    on_send: Callable[[Message], None] = lambda _: None,
) -> Exchange:
    """Serve one request; `on_send` looks at each message at the moment when it comes."""
    done = Exchange()
    messages = iter(received)

    async def receive() -> Message:
        for message in messages:
            return message
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        on_send(message)
        done.sent.append(message)

    try:
        await app(given, receive, send)
    except Exception as error:  # noqa: BLE001  what a server would log
        done.error = error
    return done


def serve(app: App, cookie: str | None = None, backend: Backend = "asyncio", **options: Any) -> Exchange:
    """One http request, on an event loop of its own."""

    async def main() -> Exchange:
        return await exchange(app, scope("http", cookie, **options))

    return anyio.run(main, backend=backend)
