"""The pages of a tiny web application, written once: each adapter's test application serves them.

    body = await request.body()
    visit = Visit(body)
    visit.look(hands)
    await to_thread(visit.pause)     # where there is an event loop that must not wait; else visit.pause()
    answer = visit.act(hands)        # `{"value": ...}`, to be sent as JSON: all at once, or
    visit.chunks(answer)             # in these pieces, as a streaming response, where `visit.streams`

`hands` are the framework's own words for what can be done with a session: see `Hands`.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol

_names = itertools.count()


class Gate:
    """A place between a request's reading its session and saving it, where the request stops."""

    #: The open and closed gates of this process, by name.
    all: dict[str, Gate] = {}  # noqa: RUF012  shared by purpose

    def __init__(self) -> None:
        self.name = f"gate-{next(_names)}"
        self.arrived = threading.Event()
        self._open = threading.Event()
        Gate.all[self.name] = self

    def await_arrival(self) -> None:
        assert self.arrived.wait(20), "no request came to the gate"

    def open(self) -> None:
        self._open.set()

    def pass_through(self) -> None:
        """What a page calls."""
        self.arrived.set()
        assert self._open.wait(20), "nobody opened the gate"

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()
        del Gate.all[self.name]


class PageFailed(Exception):
    """What the page `fail` raises."""


class Hands(Protocol):
    """What a framework's pages do with a session, each as the framework's (or adapter's) manual has it."""

    @property
    def session(self) -> Any:
        """The framework's own session object, with `get`, `[key] = value` and `pop`."""

    def flash(self, key: str, value: str) -> None:
        """Leave something for the next request."""

    def flashed(self, key: str) -> str | None:
        """What the request before has left."""

    def regenerate(self) -> None:
        """Give the session a new id."""

    def destroy(self) -> None:
        """Log out here."""

    def bind(self, user: str | None) -> None:
        """Log in; None: the session goes on as an anonymous one."""

    def devices(self) -> list[dict[str, Any]]:
        """Where the user of this session is logged in."""

    def end_device(self, handle: str) -> bool:
        """Log the user of this session out on one of these."""


class SessionHands:
    """The hands where the framework's session is a `memsessions.web` Session, or is used like one."""

    def __init__(self, session: Any, storage: Any) -> None:
        self.session = session
        self._storage = storage

    def flash(self, key: str, value: str) -> None:
        self.session.flash(key, value)

    def flashed(self, key: str) -> str | None:
        found: str | None = self.session.get(key)
        return found

    def regenerate(self) -> None:
        self.session.regenerate_id()

    def destroy(self) -> None:
        self.session.destroy()

    def bind(self, user: str | None) -> None:
        self.session.bind(user)

    def devices(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._storage.devices(self.session.user_id, self.session)
        return found

    def end_device(self, handle: str) -> bool:
        ended: bool = self._storage.end_device(self.session.user_id, handle)
        return ended


class Visit:
    """One request for a page; its body says what to do.

    nothing                     does not look at the session
    read {key}                  a value, None where there is none
    write {items}               some keys
    remove {key}                one key
    append {key, value}         into the list under a key: a change inside a value
    flash {key, value}, flashed {key}
    regenerate, destroy
    destroy_and_write {items}   what comes after the log-out is another session's
    bind {user}
    devices, end_device {handle}
    stream {items}              writes, and streams its answer
    fail {items}                writes, and raises
    """

    def __init__(self, body: bytes) -> None:
        self._arguments: dict[str, Any] = json.loads(body)
        self._action: str = self._arguments.pop("action")
        self._gate: str | None = self._arguments.pop("gate")
        self.streams = self._action == "stream"

    def look(self, hands: Hands) -> None:
        """Read the session, where the request is to stop between read and save."""
        if self._gate is not None:
            hands.session.get("anything")

    def pause(self) -> None:
        """Stop there."""
        if self._gate is not None:
            Gate.all[self._gate].pass_through()

    def act(self, hands: Hands) -> dict[str, Any]:
        """Do what is to be done, and answer."""
        return {"value": getattr(self, f"_{self._action}")(hands, **self._arguments)}

    def perform(self, hands: Hands) -> dict[str, Any]:
        """All of it, for pages that may wait."""
        self.look(hands)
        self.pause()
        return self.act(hands)

    @staticmethod
    def chunks(answer: dict[str, Any]) -> Iterator[bytes]:
        """An answer in several pieces."""
        text = json.dumps(answer).encode()
        yield from (text[at : at + 5] for at in range(0, len(text), 5))

    def _nothing(self, hands: Hands) -> None:
        del hands

    def _read(self, hands: Hands, key: str) -> Any:
        return hands.session.get(key)

    def _write(self, hands: Hands, items: dict[str, Any]) -> None:
        for key, value in items.items():
            hands.session[key] = value

    _stream = _write

    def _remove(self, hands: Hands, key: str) -> None:
        hands.session.pop(key, None)

    def _append(self, hands: Hands, key: str, value: Any) -> None:
        hands.session[key].append(value)

    def _flash(self, hands: Hands, key: str, value: str) -> None:
        hands.flash(key, value)

    def _flashed(self, hands: Hands, key: str) -> str | None:
        return hands.flashed(key)

    def _regenerate(self, hands: Hands) -> None:
        hands.regenerate()

    def _destroy(self, hands: Hands) -> None:
        hands.destroy()

    def _destroy_and_write(self, hands: Hands, items: dict[str, Any]) -> None:
        hands.destroy()
        self._write(hands, items)

    def _bind(self, hands: Hands, user: str | None) -> None:
        hands.bind(user)

    def _devices(self, hands: Hands) -> list[dict[str, Any]]:
        return hands.devices()

    def _end_device(self, hands: Hands, handle: str) -> bool:
        return hands.end_device(handle)

    def _fail(self, hands: Hands, items: dict[str, Any]) -> None:
        self._write(hands, items)
        raise PageFailed
