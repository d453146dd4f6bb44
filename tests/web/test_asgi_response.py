"""When the ASGI middleware reads and saves, and what becomes of the response."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import anyio
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from memsessions import ResponseStarted, SessionEnded, SessionTooLarge, StoreUnavailable
from memsessions.asgi import SessionMiddleware
from memsessions.web import Cookie, Session, SessionStorage

from ..conftest import MakeClient
from ..support.memcached import Memcached
from ..test_full_server import fill_up
from .asgi_server import BACKENDS, App, Backend, Message, exchange, scope, serve

APP = "forum"
START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
MORE: Message = {"type": "http.response.body", "body": b"one ", "more_body": True}
END: Message = {"type": "http.response.body", "body": b"two"}


class Boom(Exception):
    """What an application raises."""


@pytest.fixture
def down(own_memcached: Memcached, make_client: MakeClient) -> SessionStorage:
    """A storage that can be asked no more."""
    storage = SessionStorage(make_client(own_memcached.address), APP)
    own_memcached.kill()
    return storage


def data(storage: SessionStorage, cookie: str | None) -> dict[str, Any]:
    """What is stored for a visitor."""
    assert cookie
    return dict(storage.read(cookie))


def page(*steps: Message | Callable[[Session], object]) -> App:
    """An application that sends messages, and does things with its session in between."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive
        for step in steps:
            if callable(step):
                step(scope["session"])
            else:
                await send(step)

    return app


def setting(key: str, value: Any) -> Callable[[Session], object]:
    return lambda session: session.set(key, value)


def raising(session: Session) -> None:
    del session
    raise Boom


# ------------------------------------------------------------------------------------ when it is saved


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_works_on_every_event_loop(storage: SessionStorage, backend: Backend) -> None:
    first = serve(SessionMiddleware(page(setting("seen", 1), START, END), storage), None, backend)
    assert (first.status, first.body, first.error) == (200, b"two", None)
    assert data(storage, first.cookie) == {"seen": 1}
    app = SessionMiddleware(
        page(lambda session: session.set("seen", session["seen"] + 1), START, END), storage
    )
    assert serve(app, first.cookie, backend).error is None
    assert data(storage, first.cookie) == {"seen": 2}


def test_the_lifespan_passes_through(storage: SessionStorage) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope == {"type": "lifespan"}
        assert await receive() == {"type": "lifespan.startup"}
        await send({"type": "lifespan.startup.complete"})

    async def main() -> None:
        received = [{"type": "lifespan.startup"}]
        done = await exchange(SessionMiddleware(app, storage), {"type": "lifespan"}, received)
        assert (done.sent, done.error) == ([{"type": "lifespan.startup.complete"}], None)

    anyio.run(main)


def test_without_a_cookie_no_thread_is_asked(storage: SessionStorage) -> None:
    """Nor for one that cannot be saved differently from how it was: a session that was only read."""
    threads: list[str] = []

    def look(session: Session) -> None:
        session.get("key")
        threads.extend(thread.name for thread in threading.enumerate() if thread not in before)
        threads.append(threading.current_thread().name)

    before = set(threading.enumerate())  # of earlier tests: they may end at any moment
    assert serve(SessionMiddleware(page(look, START, END), storage)).error is None
    assert threads
    assert [name for name in threads if "worker" in name.lower()] == []


def test_what_changes_while_the_body_is_sent_is_stored_before_its_end(
    storage: SessionStorage, cookie: str
) -> None:
    """So that a visitor who has the whole response finds it in the next request."""
    seen: list[Any] = []
    app = page(setting("seen", 2), START, MORE, setting("seen", 3), END)

    async def main() -> None:
        def look(_message: Message) -> None:
            seen.append(data(storage, cookie)["seen"])

        done = await exchange(SessionMiddleware(app, storage), scope("http", cookie), on_send=look)
        assert (done.body, done.error, done.cookie) == (b"one two", None, cookie)

    anyio.run(main)
    assert seen == [2, 2, 3]


@pytest.mark.parametrize("kind", ["pathsend", "zerocopysend"])
def test_a_file_that_the_server_sends_by_itself_is_the_end_of_a_response(
    storage: SessionStorage, cookie: str, kind: str
) -> None:
    """As Starlette's `FileResponse` has it sent, where the server can do so."""
    seen: list[Any] = []
    app = page(START, setting("seen", 2), {"type": f"http.response.{kind}", "path": "/page", "file": 3})

    async def main() -> None:
        def look(_message: Message) -> None:
            seen.append(data(storage, cookie)["seen"])

        done = await exchange(SessionMiddleware(app, storage), scope("http", cookie), on_send=look)
        assert done.error is None

    anyio.run(main)
    assert seen == [1, 2]


def test_what_comes_before_the_response_is_passed_on_and_the_cookie_goes_with_the_response(
    storage: SessionStorage,
) -> None:
    hint: Message = {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]}
    done = serve(SessionMiddleware(page(hint, setting("seen", 1), START, END), storage))
    assert done.sent.pop(0) == hint
    assert data(storage, done.cookie) == {"seen": 1}


def test_what_was_saved_once_is_not_saved_again(storage: SessionStorage) -> None:
    """Though a tuple has become a list in the store."""
    done = serve(SessionMiddleware(page(setting("pair", (1, 2)), START, MORE, END), storage))
    assert data(storage, done.cookie) == {"pair": [1, 2]}
    assert [session["w"] for session in storage.client.soapp(APP)] == [1]


def test_what_changes_after_the_response_is_saved(storage: SessionStorage, cookie: str) -> None:
    done = serve(SessionMiddleware(page(START, END, setting("seen", 2)), storage), cookie)
    assert (done.error, done.cookie) == (None, None)
    assert data(storage, cookie) == {"seen": 2}


@pytest.mark.parametrize("steps", [(START, MORE, setting("late", 1), END), (START, END, setting("late", 1))])
def test_a_session_that_begins_too_late_is_an_error(storage: SessionStorage, steps: tuple[Any, ...]) -> None:
    """Its cookie could not be sent, and silence would lose it."""
    done = serve(SessionMiddleware(page(*steps), storage))
    assert isinstance(done.error, ResponseStarted)
    assert done.cookie is None
    assert storage.client.soapp(APP) == []


@pytest.mark.parametrize("change", [Session.regenerate_id, lambda session: session.bind("user1234")])
def test_a_new_id_that_comes_too_late_is_an_error_and_the_old_one_stays(
    storage: SessionStorage, cookie: str, change: Callable[[Session], object]
) -> None:
    app = page(START, MORE, change, setting("admin", True), END)
    assert isinstance(serve(SessionMiddleware(app, storage), cookie).error, ResponseStarted)
    assert data(storage, cookie) == {"seen": 1}


@pytest.mark.parametrize("more", [(), (setting("language", "de"),)])
def test_a_log_out_is_never_too_late(storage: SessionStorage, cookie: str, more: tuple[Any, ...]) -> None:
    """Though what comes after it is."""
    done = serve(SessionMiddleware(page(START, MORE, Session.destroy, *more, END), storage), cookie)
    assert isinstance(done.error, ResponseStarted if more else type(None))
    assert storage.client.soapp(APP) == []


def test_nothing_is_saved_of_an_application_that_raises(storage: SessionStorage, cookie: str) -> None:
    for steps, kept in (
        ((setting("seen", 2), raising), 1),
        ((setting("seen", 3), START, MORE, setting("seen", 4), raising), 3),
        ((START, END, setting("seen", 5), raising), 3),
    ):
        done = serve(SessionMiddleware(page(*steps), storage), cookie)
        assert isinstance(done.error, Boom)
        assert data(storage, cookie) == {"seen": kept}
    done = serve(SessionMiddleware(page(setting("seen", 2), raising), storage))
    assert (done.sent, len(storage.client.soapp(APP))) == ([], 1)


def test_what_changed_before_a_visitor_left_in_the_middle_is_saved(
    storage: SessionStorage, cookie: str
) -> None:
    """The application is told by an exception where it sends; Starlette raises another one then."""

    def gone(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        await send(START)
        scope["session"]["seen"] = 2
        try:
            await send(MORE)
        except OSError:
            raise Boom from None

    async def main() -> None:
        done = await exchange(SessionMiddleware(app, storage), scope("http", cookie), on_send=gone)
        assert isinstance(done.error, Boom)

    anyio.run(main)
    assert data(storage, cookie) == {"seen": 2}


# --------------------------------------------------------------------------------------- the headers


@pytest.mark.parametrize("headers", [[], (), [[b"x-a", b"1"]], ((b"x-a", b"1"),), None, "generator"])
def test_headers_may_be_of_any_kind(storage: SessionStorage, headers: Any) -> None:
    start: Message = {"type": "http.response.start", "status": 200, "trailers": False}
    there = [] if not headers else [(b"x-a", b"1")]
    if headers is not None:
        start["headers"] = iter(there) if headers == "generator" else headers
    before = dict(start)
    done = serve(SessionMiddleware(page(setting("seen", 1), start, END), storage))
    assert start == before, "what the application sent is its own"
    assert done.error is None
    assert list(done.start["headers"])[:-2] == ([] if headers is None else there)
    assert [name for name, _ in done.start["headers"]][-2:] == [b"vary", b"set-cookie"]
    assert done.start["trailers"] is False


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([], ["Cookie"]),
        ([b"Accept", b"Accept-Encoding"], ["Accept, Accept-Encoding, Cookie"]),
        ([b"accept, cookie"], ["accept, cookie"]),
        ([b"*"], ["*"]),
    ],
)
def test_vary_names_the_cookie_once(storage: SessionStorage, there: list[bytes], expected: list[str]) -> None:
    start = {**START, "headers": [(b"vary", value) for value in there]}
    looking = SessionMiddleware(page(lambda session: session.get("key"), start, END), storage)
    assert serve(looking).all("vary") == expected
    not_looking = serve(SessionMiddleware(page(start, END), storage))
    assert not_looking.all("vary") == [value.decode() for value in there]


@pytest.mark.parametrize(("scheme", "expected"), [("http", False), ("https", True)])
def test_the_cookie_is_secure_by_https(storage: SessionStorage, scheme: str, expected: bool) -> None:
    app = page(setting("seen", 1), START, END)
    [header] = serve(SessionMiddleware(app, storage), scheme=scheme).all("set-cookie")
    assert ("Secure" in header.split("; ")) is expected
    named = SessionMiddleware(app, storage, cookie=Cookie("sid", path="/forum"))
    [header] = serve(named, scheme=scheme).all("set-cookie")
    assert header.startswith("sid=")
    assert "Path=/forum" in header


@pytest.mark.parametrize(
    ("client", "kept"), [(("192.0.2.9", 1), "192.0.2.9"), (["192.0.2.9", 1], "192.0.2.9"), (None, "unknown")]
)
def test_the_visitors_address_is_kept(storage: SessionStorage, client: Any, kept: str) -> None:
    app = page(lambda session: session.bind("user1234"), START, END)
    serve(SessionMiddleware(app, storage), client=client)
    assert [device["ip"] for device in storage.devices("user1234")] == [kept]


def test_a_cookie_header_that_was_divided_is_found(storage: SessionStorage, cookie: str) -> None:
    """HTTP/2 may send each cookie by itself."""
    seen: list[Any] = []
    headers = [
        (b"cookie", b"a=1"),
        (b"host", b"x"),
        (b"cookie", f"session={cookie}".encode()),
        (b"cookie", b"b=2"),
    ]
    app = page(lambda session: seen.append(session["seen"]), START, END)
    serve(SessionMiddleware(app, storage), headers=headers)
    assert seen == [1]


# ---------------------------------------------------------------------------------------- refusals


def test_without_a_store_the_answer_is_503_and_the_log_says_why(
    down: SessionStorage, caplog: pytest.LogCaptureFixture
) -> None:
    cookie = "0" * 64
    reading = serve(SessionMiddleware(page(lambda session: session.get("key"), START, END), down), cookie)
    writing = serve(SessionMiddleware(page(setting("key", 1), START, END), down))
    for done in (reading, writing):
        assert (done.status, done.error) == (503, None)
        assert done.all("retry-after") == ["1"]
        assert done.all("content-type") == ["text/plain; charset=utf-8"]
        assert done.all("content-length") == [str(len(done.body))]
        assert done.cookie is None
        assert b"two" not in done.body
    ours = [record for record in caplog.records if record.name == "memsessions.web"]
    assert [record.levelno for record in ours] == [logging.ERROR] * 2
    assert cookie not in caplog.text


def test_a_refusal_of_head_has_no_body(down: SessionStorage) -> None:
    """Not every server leaves it out."""
    app = SessionMiddleware(page(setting("key", 1), START, END), down)
    head, get = serve(app, method="HEAD"), serve(app)
    assert (head.status, head.body, head.start) == (503, b"", get.start)


def test_a_store_that_is_full_is_503_too(make_client: MakeClient) -> None:
    with Memcached("-M", "-m", "2", "-t", "1") as server:
        storage = SessionStorage(make_client(server.address, timeout=5), APP)
        cookie = serve(SessionMiddleware(page(setting("seen", 1), START, END), storage)).cookie
        fill_up(storage.client)
        app = SessionMiddleware(page(setting("seen", "x" * 5000), START, END), storage)
        for done in (serve(app), serve(app, cookie)):
            assert (done.status, done.cookie) == (503, None)
        assert data(storage, cookie) == {"seen": 1}


def test_who_does_not_look_at_the_session_does_not_need_the_store(down: SessionStorage) -> None:
    done = serve(SessionMiddleware(page(START, END), down), "0" * 64)
    assert (done.status, done.body, done.error) == (200, b"two", None)


def test_an_application_can_do_without_its_session(down: SessionStorage) -> None:
    def look(session: Session) -> None:
        with pytest.raises(StoreUnavailable):
            session.get("key")

    done = serve(SessionMiddleware(page(look, START, END), down), "0" * 64)
    assert (done.status, done.error) == (200, None)


def test_a_store_that_fails_in_the_middle_of_a_response_is_the_servers_to_see(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    storage = SessionStorage(make_client(own_memcached.address), APP)
    app = page(setting("key", 1), START, MORE, setting("key", 2), lambda _: own_memcached.kill(), END)
    done = serve(SessionMiddleware(app, storage))
    assert (done.status, done.body) == (200, b"one ")
    assert isinstance(done.error, StoreUnavailable)


def ended_meanwhile(storage: SessionStorage, cookie: str) -> tuple[Callable[[Session], object], ...]:
    return setting("key", 1), lambda _: storage.client.kill(APP, cookie)


def test_a_session_that_was_ended_meanwhile_is_409_and_not_the_page_that_says_done(
    storage: SessionStorage, cookie: str
) -> None:
    app = page(*ended_meanwhile(storage, cookie), START, END)
    done = serve(SessionMiddleware(app, storage), cookie)
    assert (done.status, done.error, done.cookie) == (409, None, None)
    assert b"two" not in done.body


def test_an_application_can_answer_a_failure_by_itself(storage: SessionStorage, cookie: str) -> None:
    """It is told where its response starts; the one it sends then is not held up by another attempt."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(SessionEnded):
            await page(*ended_meanwhile(storage, cookie), START, END)(scope, receive, send)
        await page({**START, "status": 410}, END)(scope, receive, send)

    done = serve(SessionMiddleware(app, storage), cookie)
    assert (done.status, done.body, done.error, done.cookie) == (410, b"two", None, None)


def test_an_application_that_swallows_the_failure_and_answers_nothing_is_answered_for(
    storage: SessionStorage, cookie: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(SessionEnded):
            await page(*ended_meanwhile(storage, cookie), START)(scope, receive, send)

    assert serve(SessionMiddleware(app, storage), cookie).status == 409


def test_what_cannot_be_stored_is_raised_where_the_response_starts(storage: SessionStorage) -> None:
    app = SessionMiddleware(page(setting("key", "x" * 2_000_000), START, END), storage)
    assert isinstance(serve(app).error, SessionTooLarge)
    app = SessionMiddleware(page(setting("key", object()), START, END), storage)
    done = serve(app)
    assert isinstance(done.error, ValueError)
    assert done.sent == []


# --------------------------------------------------------------------------------------- in Starlette


def starlette(storage: SessionStorage, view: Any, **options: Any) -> TestClient:
    app = Starlette(routes=[Route("/", view)], **options)
    app.add_middleware(SessionMiddleware, storage=storage)
    return TestClient(app, raise_server_exceptions=False)


def test_streaming_background_tasks_and_http_exceptions_of_starlette(
    storage: SessionStorage, cookie: str
) -> None:
    async def stream(request: StarletteRequest) -> Response:
        async def pieces() -> AsyncIterator[str]:
            yield "one "
            request.session["streamed"] = True
            yield "two"

        return StreamingResponse(pieces(), background=BackgroundTask(request.session.update, tasks=1))

    client = starlette(storage, stream)
    client.cookies["session"] = cookie
    assert client.get("/").text == "one two"
    assert data(storage, cookie) == {"seen": 1, "streamed": True, "tasks": 1}

    async def refuse(request: StarletteRequest) -> Response:
        request.session["refused"] = True
        raise HTTPException(418)

    client = starlette(storage, refuse)
    client.cookies["session"] = cookie
    assert client.get("/").status_code == 418
    assert data(storage, cookie)["refused"] is True


@pytest.mark.parametrize("kind", [StoreUnavailable, SessionEnded])
def test_an_exception_handler_of_starlettes_does_not_hide_that_the_save_failed(
    down: SessionStorage, storage: SessionStorage, cookie: str, kind: type[Exception]
) -> None:
    """Starlette calls no handler when a response was about to start, and raises another error."""

    async def view(request: StarletteRequest) -> Response:
        request.session["key"] = 1
        if kind is SessionEnded:
            storage.client.kill(APP, cookie)
        return PlainTextResponse("done")

    async def handler(request: StarletteRequest, error: Exception) -> Response:
        del request, error
        return PlainTextResponse("handled", 500)

    is_down = kind is StoreUnavailable
    client = starlette(down if is_down else storage, view, exception_handlers={kind: handler})
    if not is_down:
        client.cookies["session"] = cookie
    assert client.get("/").status_code == (503 if is_down else 409)


def test_an_exception_handler_of_starlettes_can_answer_that_the_session_cannot_be_read(
    down: SessionStorage,
) -> None:
    async def view(request: StarletteRequest) -> Response:
        return JSONResponse(dict(request.session))

    async def handler(request: StarletteRequest, error: Exception) -> Response:
        del request, error
        return PlainTextResponse("come back later", 503)

    client = starlette(down, view, exception_handlers={StoreUnavailable: handler})
    client.cookies["session"] = "0" * 64
    assert client.get("/").text == "come back later"


def test_it_stands_among_other_middleware_and_mounted_applications(storage: SessionStorage) -> None:
    """Two of it with cookies of their own, around a middleware that runs the application in a task."""

    async def dispatch(request: StarletteRequest, call_next: RequestResponseEndpoint) -> Response:
        request.session["before"] = 1
        response = await call_next(request)
        request.session["after"] = 1  # before the response starts
        return response

    async def view(request: StarletteRequest) -> Response:
        request.session["view"] = 1
        return PlainTextResponse("hello")

    inner = Starlette(routes=[Route("/", view)])
    inner.add_middleware(SessionMiddleware, storage=storage, cookie=Cookie("inner"))
    app = Starlette(routes=[Mount("/mounted", inner), Route("/", view)])
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    app.add_middleware(SessionMiddleware, storage=storage)
    client = TestClient(app)
    client.get("/")
    assert data(storage, client.cookies["session"]) == {"before": 1, "view": 1, "after": 1}
    client.get("/mounted/")
    assert data(storage, client.cookies["inner"])["view"] == 1


def user_of(request: Request) -> str | None:
    session: Session = request.scope["session"]
    return session.user_id


def test_in_fastapi_it_is_the_session_of_requests_in_async_and_plain_functions(
    storage: SessionStorage,
) -> None:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, storage=storage)

    @app.post("/log-in/{name}")
    def log_in(request: Request, name: str) -> None:
        session: Session = request.scope["session"]
        session.bind(name)
        session["basket"] = []

    @app.post("/basket/{thing}")
    async def put(request: Request, thing: str, tasks: BackgroundTasks) -> list[str]:
        basket: list[str] = request.session["basket"]
        basket.append(thing)
        tasks.add_task(request.session.update, noted=True)
        return basket

    @app.get("/")
    async def home(request: Request, name: Annotated[str | None, Depends(user_of)]) -> dict[str, Any]:
        return {"user": name, **request.session}

    client = TestClient(app)
    assert client.get("/").json() == {"user": None}
    assert dict(client.cookies) == {}
    client.post("/log-in/user1234")
    client.post("/basket/apple")
    assert client.post("/basket/pear").json() == ["apple", "pear"]
    assert client.get("/").json() == {"user": "user1234", "basket": ["apple", "pear"], "noted": True}
    assert len(storage.client.soid(APP, "user1234")) == 1
