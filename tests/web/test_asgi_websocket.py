"""Sessions of websockets: read when the visitor connects, saved at the handshake and at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect

from memsessions import ResponseStarted, SessionEnded
from memsessions.asgi import SessionMiddleware
from memsessions.web import Session, SessionStorage

from ..conftest import MakeClient, OnMemcached
from ..support.memcached import Memcached
from .asgi_server import App, Exchange, Message, exchange, scope
from .servers import ServerProcess
from .site import Setup, Traits
from .test_asgi import AsgiAdapter

APP = "forum"
CONNECT: Message = {"type": "websocket.connect"}
ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close", "code": 1000}
LEFT: Message = {"type": "websocket.disconnect", "code": 1001}
DENIAL: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}


class Boom(Exception):
    """What an application raises."""


def data(storage: SessionStorage, cookie: str | None) -> dict[str, Any]:
    """What is stored for a visitor."""
    assert cookie
    return dict(storage.read(cookie))


def talk(*steps: Message | Callable[[Session], object]) -> App:
    """An application that takes the connection, sends messages, and does things with its session."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        for step in steps:
            if callable(step):
                step(scope["session"])
            elif step is LEFT:
                assert (await receive())["type"] == "websocket.disconnect"
            else:
                await send(step)

    return app


def setting(value: int) -> Callable[[Session], object]:
    return lambda session: session.set("seen", value)


def raising(session: Session) -> None:
    del session
    raise Boom


def serve(
    storage: SessionStorage, app: App, cookie: str | None = None, on_send: Any = None, **options: Any
) -> Exchange:
    """One websocket; the visitor leaves when they are waited for."""
    given = scope("websocket", cookie, **options)

    async def main() -> Exchange:
        return await exchange(
            SessionMiddleware(app, storage), given, [CONNECT, LEFT], on_send or (lambda _: None)
        )

    return anyio.run(main)


# ------------------------------------------------------------------------------------ when it is saved


def test_a_session_that_begins_at_the_handshake_sends_its_cookie_along(storage: SessionStorage) -> None:
    accept = {**ACCEPT, "subprotocol": "chat", "headers": [(b"x-a", b"1")]}
    done = serve(storage, talk(setting(1), accept, setting(2), CLOSE), scheme="wss")
    assert done.error is None
    assert done.start["subprotocol"] == "chat"
    assert done.all("x-a") == ["1"]
    assert done.all("vary") == []
    assert "Secure" in done.all("set-cookie")[0]
    assert data(storage, done.cookie) == {"seen": 2}


def test_a_handshake_that_changes_nothing_is_passed_on_as_it_is(storage: SessionStorage, cookie: str) -> None:
    """To servers that know no headers there."""
    done = serve(storage, talk(lambda session: session["seen"], ACCEPT, CLOSE), cookie)
    assert done.sent == [ACCEPT, CLOSE]


def test_it_is_saved_again_before_it_is_closed_and_at_the_end(storage: SessionStorage, cookie: str) -> None:
    seen: list[int] = []
    serve(
        storage,
        talk(setting(2), ACCEPT, setting(3), {"type": "websocket.send", "text": "x"}, CLOSE, setting(4)),
        cookie,
        on_send=lambda _: seen.append(data(storage, cookie)["seen"]),
    )
    assert seen == [2, 2, 3]
    assert data(storage, cookie) == {"seen": 4}


def test_an_application_can_save_in_between(storage: SessionStorage, cookie: str) -> None:
    """What has to be safe earlier than at the end of a long connection."""
    seen: list[int] = []
    text: Message = {"type": "websocket.send", "text": "x"}
    done = serve(
        storage,
        talk(ACCEPT, setting(2), storage.save, text, setting(3), CLOSE),
        cookie,
        on_send=lambda _: seen.append(data(storage, cookie)["seen"]),
    )
    assert (done.error, seen) == (None, [1, 2, 3])


def test_a_session_that_begins_after_the_handshake_is_an_error(storage: SessionStorage) -> None:
    for steps in ((ACCEPT, setting(1), CLOSE), (ACCEPT, setting(1)), (setting(1), CLOSE)):
        assert isinstance(serve(storage, talk(*steps)).error, ResponseStarted)
    assert storage.client.soapp(APP) == []


def test_who_is_known_loses_nothing_by_a_refusal(storage: SessionStorage, cookie: str) -> None:
    """A connection that is closed and was never accepted."""
    assert serve(storage, talk(setting(2), CLOSE), cookie).error is None
    assert data(storage, cookie) == {"seen": 2}


def test_a_refusal_by_a_response_has_the_cookie(storage: SessionStorage) -> None:
    start: Message = {"type": "websocket.http.response.start", "status": 403, "headers": []}
    end: Message = {"type": "websocket.http.response.body", "body": b"no"}
    done = serve(storage, talk(setting(1), start, end), **DENIAL)
    assert (done.status, done.body, done.error) == (403, b"no", None)
    assert done.all("vary") == ["Cookie"]
    assert data(storage, done.cookie) == {"seen": 1}


def test_what_an_application_has_done_is_saved_when_it_raises_that_the_visitor_left(
    storage: SessionStorage, cookie: str
) -> None:
    """As many do that wait for messages in a loop; Starlette's `receive_text` raises it, say."""
    done = serve(storage, talk(ACCEPT, setting(2), LEFT, raising), cookie)
    assert isinstance(done.error, Boom)
    assert data(storage, cookie) == {"seen": 2}


def test_so_it_is_when_sending_to_a_visitor_who_left_raises(storage: SessionStorage, cookie: str) -> None:
    def gone(message: Message) -> None:
        if message["type"] == "websocket.send":
            raise OSError

    steps = (ACCEPT, setting(2), {"type": "websocket.send", "text": "x"})
    done = serve(storage, talk(*steps), cookie, on_send=gone)
    assert isinstance(done.error, OSError)
    assert data(storage, cookie) == {"seen": 2}


def test_nothing_is_saved_when_it_raises_while_the_visitor_is_there(
    storage: SessionStorage, cookie: str
) -> None:
    assert isinstance(serve(storage, talk(setting(2), raising), cookie).error, Boom)
    assert isinstance(serve(storage, talk(ACCEPT, setting(2), raising), cookie).error, Boom)
    assert isinstance(serve(storage, talk(setting(2), LEFT, raising), cookie).error, Boom)
    assert data(storage, cookie) == {"seen": 1}


def test_what_others_do_meanwhile_is_kept_and_a_session_that_they_end_is_not_brought_back(
    storage: SessionStorage, cookie: str
) -> None:
    def write_elsewhere(_: Session) -> None:
        other = storage.read(cookie)
        other["elsewhere"] = True
        storage.save(other)

    assert serve(storage, talk(ACCEPT, write_elsewhere, setting(2), CLOSE), cookie).error is None
    assert data(storage, cookie) == {"seen": 2, "elsewhere": True}
    steps = (ACCEPT, setting(3), lambda _: storage.client.kill(APP, cookie), CLOSE)
    assert isinstance(serve(storage, talk(*steps), cookie).error, SessionEnded)
    assert storage.client.soapp(APP) == []


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("denial", [False, True])
def test_without_a_store_the_connection_is_refused(
    own_memcached: Memcached, make_client: MakeClient, denial: bool
) -> None:
    """By a response, or, where the server knows none there, by a close: try again later."""
    storage = SessionStorage(make_client(own_memcached.address), APP)
    own_memcached.kill()
    app = talk(lambda session: session.get("key"), ACCEPT)
    done = serve(storage, app, "0" * 64, **(DENIAL if denial else {}))
    assert done.error is None
    if denial:
        assert done.status == 503
        assert done.all("retry-after") == ["1"]
    else:
        assert done.sent == [{"type": "websocket.close", "code": 1013, "reason": ""}]


@pytest.mark.parametrize("denial", [False, True])
def test_a_session_that_was_ended_meanwhile_is_no_connection(
    storage: SessionStorage, cookie: str, denial: bool
) -> None:
    app = talk(setting(2), lambda _: storage.client.kill(APP, cookie), ACCEPT)
    done = serve(storage, app, cookie, **(DENIAL if denial else {}))
    assert done.error is None
    if denial:
        assert done.status == 409
    else:
        assert done.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


# ------------------------------------------------------------------------- in Starlette, and for real


def application(storage: SessionStorage | None = None) -> Starlette:
    """Keeps what it is told in `websocket.session`. A server process has its setup from the environment."""
    kept = storage or Setup.from_environment().storage()

    async def count(websocket: WebSocket) -> None:
        session: Session = websocket.scope["session"]
        session["visits"] = websocket.session.get("visits", 0) + 1
        await websocket.accept()
        while True:
            text = await websocket.receive_text()  # raises when the visitor leaves
            session["said"] = [*session.get("said", []), text]
            if text == "bye":
                await websocket.close()
                break
            await websocket.send_json(dict(session))

    async def refuse(websocket: WebSocket) -> None:
        websocket.session["refused"] = True
        await websocket.send_denial_response(PlainTextResponse("no", 403))

    app = Starlette(routes=[WebSocketRoute("/count", count), WebSocketRoute("/refuse", refuse)])
    app.add_middleware(SessionMiddleware, storage=kept)
    return app


def cookie_in(set_cookie: str) -> str:
    return set_cookie.partition(";")[0].removeprefix("session=")


def test_websocket_session_of_starlette(storage: SessionStorage) -> None:
    client = TestClient(application(storage))
    with client.websocket_connect("/count") as websocket:
        headers: dict[bytes, bytes] = dict(websocket.extra_headers or ())
        websocket.send_text("hello")
        assert websocket.receive_json() == {"visits": 1, "said": ["hello"]}
        websocket.send_text("bye")
        assert websocket.receive()["type"] == "websocket.close"
        value = cookie_in(headers[b"set-cookie"].decode())
        assert data(storage, value) == {"visits": 1, "said": ["hello", "bye"]}
    with pytest.raises(WebSocketDenialResponse) as refused:
        client.websocket_connect("/refuse").__enter__()
    assert refused.value.status_code == 403
    assert data(storage, cookie_in(refused.value.headers["set-cookie"])) == {"refused": True}


class _Uvicorn:
    """As a server process that is started for the behaviour suite."""

    traits = Traits()
    serve = AsgiAdapter.serve

    def command(self, port: int) -> list[str]:
        app = f"{__name__}:application"
        return [sys.executable, "-m", "uvicorn", f"--port={port}", "--factory", app]


def test_a_real_server_and_a_real_client(
    on_memcached: OnMemcached, storage: SessionStorage, tmp_path: Path
) -> None:
    """uvicorn, and the `websockets` package."""
    with ServerProcess(_Uvicorn(), Setup(on_memcached.address, on_memcached.ns, APP), tmp_path) as server:
        url = f"ws://127.0.0.1:{server._port}/count"
        with connect(url, proxy=None) as websocket:
            assert websocket.response
            value = cookie_in(websocket.response.headers["Set-Cookie"])
            websocket.send("one")
            assert '["one"]' in str(websocket.recv())
            websocket.send("bye")
            with pytest.raises(ConnectionClosedOK):
                websocket.recv()
        with connect(url, proxy=None, additional_headers={"Cookie": f"session={value}"}) as websocket:
            assert websocket.response
            assert "Set-Cookie" in websocket.response.headers
            websocket.send("two")
            assert '["one","bye","two"]' in str(websocket.recv())
        # Who leaves without a word is noticed by the server, which ends when all has been saved.
    assert data(storage, value) == {"visits": 2, "said": ["one", "bye", "two"]}
