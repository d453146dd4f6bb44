"""When the WSGI middleware saves, and what becomes of the response: everything that PEP 3333 allows."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from memsessions import ResponseStarted, SessionEnded, SessionTooLarge, StoreUnavailable
from memsessions.web import Cookie, Session, SessionStorage
from memsessions.wsgi import SessionMiddleware

from ..conftest import MakeClient
from ..support.memcached import Memcached
from .wsgi_server import Served, serve

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

APP = "forum"
TEXT = [("Content-Type", "text/plain")]


class Boom(Exception):
    """What an application raises."""


def visitor(storage: SessionStorage, **items: Any) -> str:
    session = storage.open(None)
    session.update(items)
    value = storage.save(session)
    assert value
    return value


def data(storage: SessionStorage, cookie: str | None) -> dict[str, Any]:
    """What is stored for a visitor."""
    assert cookie
    return dict(storage.read(cookie))


def writes(storage: SessionStorage) -> list[int]:
    """How often each session there is was written."""
    return [session["w"] for session in storage.client.soapp(APP)]


def session_of(environ: WSGIEnvironment) -> Session:
    session = environ["memsessions.session"]
    assert isinstance(session, Session)
    return session


def drive(app: WSGIApplication, told: list[Any], cookie: str | None = None) -> Any:
    """Call an application as a server does, and note what `start_response` is told; its body."""

    def start_response(*arguments: Any) -> Callable[[bytes], object]:
        told.append(arguments)
        return told.append

    cookies = {} if cookie is None else {"HTTP_COOKIE": f"session={cookie}"}
    return app({"wsgi.file_wrapper": FileWrapper, **cookies}, start_response)


Run = Callable[..., Served]


@pytest.fixture
def run(storage: SessionStorage) -> Run:
    """Serve an application with sessions; both sides of the middleware are checked against PEP 3333."""

    def run(app: WSGIApplication, cookie: str | None = None, **environ: str) -> Served:
        return serve(validator(SessionMiddleware(validator(app), storage)), cookie, **environ)

    return run


# ------------------------------------------------------------------------------------ when it is saved


def test_what_is_done_after_start_response_is_in_time_for_the_cookie(
    run: Run, storage: SessionStorage
) -> None:
    """Nothing is sent before the body, so nothing has to be saved before it."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        session_of(environ)["visits"] = 1
        return [b"hello"]

    served = run(app)
    assert (served.status, served.body) == (200, b"hello")
    assert data(storage, served.cookie) == {"visits": 1}
    assert served.all("Vary") == ["Cookie"]


def test_a_generator_saves_with_its_first_piece(run: Run, storage: SessionStorage) -> None:
    """It runs, and so calls start_response, when the server wants that piece."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        session_of(environ)["visits"] = 1
        start_response("200 OK", TEXT)
        session_of(environ)["late"] = 2
        yield b"one "
        yield b"two"

    served = run(app)
    assert (served.status, served.body) == (200, b"one two")
    assert data(storage, served.cookie) == {"visits": 1, "late": 2}
    assert writes(storage) == [1]


def test_a_body_without_pieces_saves_at_its_end(run: Run, storage: SessionStorage) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        session_of(environ)["visits"] = 1
        start_response("204 No Content", [])
        yield from ()

    served = run(app)
    assert served.status == 204
    assert data(storage, served.cookie) == {"visits": 1}


def test_write_saves_before_its_first_bytes(run: Run, storage: SessionStorage) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", TEXT)
        session_of(environ)["visits"] = 1
        write(b"one ")
        session_of(environ)["late"] = 2
        write(b"two ")
        return [b"three"]

    served = run(app)
    assert served.body == b"one two three"
    assert data(storage, served.cookie) == {"visits": 1, "late": 2}


def test_what_changes_while_the_body_is_sent_is_saved_at_its_end(
    run: Run, storage: SessionStorage, cookie: str
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        session = session_of(environ)
        basket = session["basket"] = ["apple"]
        start_response("200 OK", TEXT)
        yield b"one "
        basket.append("pear")
        yield b"two"
        session["seen"] += 1

    served = run(app, cookie)
    assert (served.body, served.error) == (b"one two", None)
    assert served.cookie == cookie
    assert data(storage, cookie) == {"seen": 2, "basket": ["apple", "pear"]}
    assert writes(storage) == [3]


def test_what_changes_when_the_body_is_closed_is_saved(
    run: Run, storage: SessionStorage, cookie: str
) -> None:
    class Body:
        def __init__(self, session: Session) -> None:
            self.session = session

        def __iter__(self) -> Iterator[bytes]:
            yield b"hello"

        def close(self) -> None:
            self.session["closed"] = True

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return Body(session_of(environ))

    assert run(app, cookie).error is None
    assert data(storage, cookie) == {"seen": 1, "closed": True}


def test_what_changed_before_a_visitor_left_in_the_middle_is_saved(
    storage: SessionStorage, cookie: str
) -> None:
    """A server then closes the body, and asks for no more of it."""
    closed = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        try:
            yield b"one"
            session_of(environ)["pieces"] = 1
            yield b"two"
            session_of(environ)["pieces"] = 2
        finally:
            closed.append(True)

    body = drive(SessionMiddleware(app, storage), [], cookie)
    assert [next(body), next(body)] == [b"one", b"two"]
    body.close()
    assert closed == [True]
    assert data(storage, cookie) == {"seen": 1, "pieces": 1}


@pytest.mark.parametrize("first_visit", [False, True])
def test_a_response_that_was_never_asked_for_saves_what_it_can(
    storage: SessionStorage, cookie: str, first_visit: bool
) -> None:
    """A server that closes the body without having looked at it: a visitor who is known loses nothing."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        session_of(environ)["seen"] = 2
        return iter([b"hello"])

    told: list[Any] = []
    body = drive(SessionMiddleware(app, storage), told, None if first_visit else cookie)
    with pytest.raises(ResponseStarted) if first_visit else contextlib.nullcontext():
        body.close()
    assert told == []
    assert len(storage.client.soapp(APP)) == 1
    assert data(storage, cookie) == {"seen": 1 if first_visit else 2}


def test_a_body_that_cannot_be_closed_is_not_saved_after(storage: SessionStorage, cookie: str) -> None:
    class Body(list[bytes]):
        def close(self) -> None:
            raise Boom

    sessions = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        sessions.append(session_of(environ))
        return Body([b"hello"])

    body = drive(SessionMiddleware(app, storage), [], cookie)
    assert next(body) == b"hello"
    sessions[0]["seen"] = 2
    with pytest.raises(Boom):
        body.close()
    assert data(storage, cookie) == {"seen": 1}


# ---------------------------------------------------------------------------------------- too late


def late(change: Callable[[Session], object]) -> WSGIApplication:
    """An application that does something with its session in the middle of its body."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"one "
        change(session_of(environ))
        yield b"two"

    return app


def test_a_session_that_begins_too_late_is_an_error(run: Run, storage: SessionStorage) -> None:
    """Its cookie could not be sent, and silence would lose it."""
    served = run(late(lambda session: session.set("visits", 1)))
    assert isinstance(served.error, ResponseStarted)
    assert served.cookie is None
    assert storage.client.soapp(APP) == []


@pytest.mark.parametrize("change", [Session.regenerate_id, lambda session: session.bind("user1234")])
def test_a_new_id_that_comes_too_late_is_an_error_and_the_old_one_stays(
    run: Run, storage: SessionStorage, cookie: str, change: Callable[[Session], object]
) -> None:
    def both(session: Session) -> None:
        change(session)
        session["admin"] = True

    served = run(late(both), cookie)
    assert isinstance(served.error, ResponseStarted)
    assert data(storage, cookie) == {"seen": 1}
    assert len(storage.client.soapp(APP)) == 1


def test_a_log_out_is_never_too_late(run: Run, storage: SessionStorage, cookie: str) -> None:
    """The cookie stays with the visitor, and is worth nothing."""
    served = run(late(Session.destroy), cookie)
    assert (served.body, served.error) == (b"one two", None)
    assert storage.client.soapp(APP) == []


def test_a_log_out_is_done_though_what_comes_after_it_is_too_late(
    run: Run, storage: SessionStorage, cookie: str
) -> None:
    def change(session: Session) -> None:
        session.destroy()
        session["language"] = "de"

    assert isinstance(run(late(change), cookie).error, ResponseStarted)
    assert storage.client.soapp(APP) == []


# -------------------------------------------------------------------------------- applications that raise


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("generator", [False, True])
def test_nothing_is_saved_of_an_application_that_raises_before_its_body(
    run: Run, storage: SessionStorage, cookie: str, started: bool, generator: bool
) -> None:
    def work(environ: WSGIEnvironment, start_response: StartResponse) -> None:
        session_of(environ)["seen"] = 2
        if started:
            start_response("200 OK", TEXT)
        raise Boom

    def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        work(environ, start_response)
        return []

    def lazy(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        work(environ, start_response)
        yield b""

    for visitors_cookie in (cookie, None):
        served = run(lazy if generator else plain, visitors_cookie)
        assert served.status == 500
        assert isinstance(served.error, Boom)
        assert served.cookie is None
    assert data(storage, cookie) == {"seen": 1}
    assert len(storage.client.soapp(APP)) == 1


def test_of_an_application_that_raises_in_the_middle_what_came_before_its_response_is_saved(
    run: Run, storage: SessionStorage
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        session_of(environ)["before"] = 1
        start_response("200 OK", TEXT)
        yield b"one"
        session_of(environ)["after"] = 1
        raise Boom

    served = run(app)
    assert isinstance(served.error, Boom)
    assert data(storage, served.cookie) == {"before": 1}


@pytest.mark.parametrize("when", ["call", "iteration", "first piece", "second piece", "never"])
def test_the_body_is_closed_whatever_happens(storage: SessionStorage, cookie: str, when: str) -> None:
    closed = []

    class Body:
        def __init__(self, session: Session) -> None:
            self.session = session
            self.pieces = iter(["first piece", "second piece", "third piece"])

        def __iter__(self) -> Body:
            if when == "iteration":
                raise Boom
            return self

        def __next__(self) -> bytes:
            piece = next(self.pieces)
            self.session["seen"] = piece
            if when == piece:
                raise Boom
            return piece.encode()

        def close(self) -> None:
            closed.append(True)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        if when == "call":
            raise Boom
        return Body(session_of(environ))

    served = serve(SessionMiddleware(app, storage), cookie)
    assert closed == ([] if when == "call" else [True])
    assert isinstance(served.error, type(None) if when == "never" else Boom)
    saved = {"second piece": "first piece", "never": "third piece"}
    assert data(storage, cookie) == {"seen": saved.get(when, 1)}


# ------------------------------------------------------------------------------ start_response once more


def test_an_error_page_in_place_of_a_response_that_has_not_begun(run: Run, storage: SessionStorage) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [*TEXT, ("X-Page", "right")])
        session_of(environ)["visits"] = 1
        try:
            raise Boom
        except Boom:
            start_response("500 Oh", TEXT, sys.exc_info())
        return [b"sorry"]

    served = run(app)
    assert (served.status, served.body, served.error) == (500, b"sorry", None)
    assert served.all("X-Page") == []
    assert data(storage, served.cookie) == {"visits": 1}
    assert writes(storage) == [1]


def test_an_error_page_after_the_save_gets_the_same_cookie(storage: SessionStorage) -> None:
    """The session is saved with the first piece; where that is empty, headers are replaced after it."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        session_of(environ)["visits"] = 1
        start_response("200 OK", TEXT)
        yield b""
        try:
            raise Boom
        except Boom:
            start_response("500 Oh", [*TEXT, ("Vary", "Accept")], sys.exc_info())
        yield b"sorry"

    told: list[Any] = []
    body = drive(SessionMiddleware(app, storage), told)
    assert list(body) == [b"", b"sorry"]
    (first_status, first, *none), (status, headers, exc_info) = told
    assert (first_status, none, status) == ("200 OK", [], "500 Oh")
    assert isinstance(exc_info[1], Boom)
    assert headers[-1] == first[-1]
    assert headers[-1][0] == "Set-Cookie"
    assert headers[:-1] == [*TEXT, ("Vary", "Accept, Cookie")]
    assert writes(storage) == [1]


def test_an_error_page_that_comes_too_late_raises_what_happened(run: Run, storage: SessionStorage) -> None:
    """The server raises it, as PEP 3333 asks of it, where the application calls start_response."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        session_of(environ)["visits"] = 1
        start_response("200 OK", TEXT)
        yield b"one"
        session_of(environ)["visits"] = 2
        try:
            raise Boom
        except Boom:
            start_response("500 Oh", TEXT, sys.exc_info())
        yield b"never"

    served = run(app)
    assert (served.status, served.body) == (200, b"one")
    assert isinstance(served.error, Boom)
    assert data(storage, served.cookie) == {"visits": 1}


@pytest.mark.parametrize("begun", [False, True])
def test_start_response_is_called_again_only_for_an_error(
    run: Run, storage: SessionStorage, begun: bool
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        session_of(environ)["visits"] = 1
        start_response("200 OK", TEXT)
        if begun:
            yield b"one"
        start_response("200 OK", TEXT)
        yield b"two"

    served = run(app)
    assert isinstance(served.error, AssertionError)
    assert len(storage.client.soapp(APP)) == begun


def test_an_application_that_never_calls_start_response_is_the_servers_to_refuse(
    storage: SessionStorage,
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        del start_response
        session_of(environ)["visits"] = 1
        return [b"hello"]

    served = serve(SessionMiddleware(app, storage))
    assert served.status == 500
    assert isinstance(served.error, AssertionError)
    assert storage.client.soapp(APP) == []


# --------------------------------------------------------------------------------- what servers look at


def test_a_list_reaches_the_server_as_it_is(storage: SessionStorage) -> None:
    """So that the server can tell its length."""
    body = [b"hello"]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session_of(environ)["visits"] = 1
        start_response("200 OK", TEXT)
        return body

    assert serve(SessionMiddleware(app, storage)).all("Content-Length") == ["5"]
    assert drive(SessionMiddleware(app, storage), []) is body


def test_a_file_reaches_the_server_as_it_is(storage: SessionStorage, cookie: str) -> None:
    """So that the server can send it by itself."""
    made: list[FileWrapper] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session_of(environ)["downloads"] = 1
        start_response("200 OK", TEXT)
        made.append(FileWrapper(io.BytesIO(b"file")))
        return made[-1]

    assert serve(SessionMiddleware(app, storage), cookie).body == b"file"
    assert drive(SessionMiddleware(app, storage), []) is made[1]
    assert data(storage, cookie) == {"seen": 1, "downloads": 1}


def test_a_file_is_closed_when_the_session_cannot_be_saved(storage: SessionStorage) -> None:
    file = io.BytesIO(b"file")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session_of(environ)["large"] = "x" * 2_000_000
        start_response("200 OK", TEXT)
        return FileWrapper(file)

    assert isinstance(serve(SessionMiddleware(app, storage)).error, SessionTooLarge)
    assert file.closed


def test_nothing_is_written_to_a_server_that_refused_the_headers(storage: SessionStorage) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        del environ
        write = start_response("200 OK", TEXT)
        with pytest.raises(Boom):
            write(b"one")
        write(b"two")
        return []

    def refuse(*_: Any) -> Any:
        raise Boom

    with pytest.raises(AssertionError):
        SessionMiddleware(app, storage)({}, refuse)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([], ["Cookie"]),
        (["Accept"], ["Accept, Cookie"]),
        (["Accept", "Accept-Encoding"], ["Accept, Accept-Encoding, Cookie"]),
        (["Accept, COOKIE"], ["Accept, COOKIE"]),
        (["Accept", "cookie"], ["Accept, cookie"]),
        (["*"], ["*"]),
        ([""], ["Cookie"]),
    ],
)
def test_vary_names_the_cookie_once(run: Run, there: list[str], expected: list[str]) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert "visits" not in session_of(environ)
        start_response("200 OK", [*TEXT, *(("vary", value) for value in there)])
        return [b"hello"]

    served = run(app)
    assert served.all("Vary") == expected
    assert served.all("Content-Type") == ["text/plain"]


@pytest.mark.parametrize("asked", ["id", "user_id", "new", "unavailable"])
def test_a_page_that_says_whose_session_it_is_depends_on_the_cookie(
    run: Run, storage: SessionStorage, cookie: str, asked: str
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        getattr(session_of(environ), asked)
        start_response("200 OK", TEXT)
        return [b"hello"]

    assert run(app, cookie).all("Vary") == ["Cookie"]
    assert writes(storage) == [1]


@pytest.mark.parametrize(("https", "expected"), [("off", False), ("on", True)])
def test_the_cookie_is_secure_by_https(storage: SessionStorage, https: str, expected: bool) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session_of(environ)["visits"] = 1
        start_response("200 OK", TEXT)
        return [b"hello"]

    [header] = serve(SessionMiddleware(app, storage), HTTPS=https).all("Set-Cookie")
    assert ("Secure" in header.split("; ")) is expected
    named = SessionMiddleware(app, storage, cookie=Cookie("sid", path="/forum", secure=True))
    [header] = serve(named, HTTPS=https).all("Set-Cookie")
    assert header.startswith("sid=")
    assert "Path=/forum" in header
    assert "Secure" in header.split("; ")


@pytest.mark.parametrize(("address", "kept"), [("192.0.2.9", "192.0.2.9"), ("", "unknown")])
def test_the_visitors_address_is_kept(run: Run, storage: SessionStorage, address: str, kept: str) -> None:
    """A server on a Unix socket says that it is empty."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session_of(environ).bind("user1234")
        start_response("200 OK", TEXT)
        return [b"hello"]

    run(app, REMOTE_ADDR=address)
    assert [device["ip"] for device in storage.devices("user1234")] == [kept]


# ---------------------------------------------------------------------------------------- refusals


@pytest.fixture
def down(own_memcached: Memcached, make_client: MakeClient) -> SessionStorage:
    """A storage that can be asked no more."""
    storage = SessionStorage(make_client(own_memcached.address), APP)
    own_memcached.kill()
    return storage


def reading(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    session_of(environ).get("key")
    start_response("200 OK", TEXT)
    return [b"hello"]


def writing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    session_of(environ)["key"] = 1
    yield b"hello"


@pytest.mark.parametrize("app", [reading, writing])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_without_a_store_the_answer_is_503_and_the_log_says_why(
    down: SessionStorage, caplog: pytest.LogCaptureFixture, app: WSGIApplication, method: str
) -> None:
    cookie = "0" * 64
    served = serve(
        validator(SessionMiddleware(validator(app), down)),
        cookie if app is reading else None,
        REQUEST_METHOD=method,
    )
    assert (served.status, served.error) == (503, None)
    assert served.all("Retry-After") == ["1"]
    assert served.all("Content-Type") == ["text/plain; charset=utf-8"]
    assert served.all("Cache-Control") == ["no-store"]
    assert served.cookie is None
    assert (served.body == b"") is (method == "HEAD")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("memsessions.web", logging.ERROR)
    assert "Connection refused" in record.getMessage()
    assert cookie not in record.getMessage()


def test_a_store_that_fails_in_the_middle_of_a_response_is_the_servers_to_see(down: SessionStorage) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"one"
        session_of(environ).get("key")
        yield b"never"

    served = serve(SessionMiddleware(app, down), "0" * 64)
    assert (served.status, served.body) == (200, b"one")
    assert isinstance(served.error, StoreUnavailable)


@pytest.mark.parametrize("look", [lambda session: session.user_id, lambda session: session.get("key")])
def test_an_application_can_do_without_its_session(
    down: SessionStorage, look: Callable[[Session], object]
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        try:
            look(session_of(environ))
        except StoreUnavailable:
            return [b"no session today"]
        return []

    served = serve(validator(SessionMiddleware(validator(app), down)), "0" * 64)
    assert (served.status, served.body) == (200, b"no session today")


def ended_meanwhile(storage: SessionStorage, cookie: str, body: str) -> WSGIApplication:
    """An application that changes a session which is ended while it works."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", TEXT)
        session_of(environ)["key"] = 1
        assert storage.client.kill(APP, cookie) == {"kill": 1}
        if body == "write":
            write(b"it is saved")
        if body == "file":
            return FileWrapper(io.BytesIO(b"it is saved"))
        return [b"it is saved"] if body == "list" else iter([b"it is saved"])

    return app


@pytest.mark.parametrize("body", ["list", "iterator", "write", "file"])
def test_a_session_that_was_ended_meanwhile_is_409_and_not_the_page_that_says_done(
    storage: SessionStorage, cookie: str, body: str
) -> None:
    served = serve(SessionMiddleware(ended_meanwhile(storage, cookie, body), storage), cookie)
    assert (served.status, served.error) == (409, None)
    assert served.cookie is None
    assert b"it is saved" not in served.body
    assert storage.client.soapp(APP) == []


def test_an_application_that_writes_can_answer_a_failure_by_itself(
    storage: SessionStorage, cookie: str
) -> None:
    """It is told where it begins to write, and what it says then is sent without another attempt."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            ended_meanwhile(storage, cookie, "write")(environ, start_response)
        except SessionEnded:
            start_response("410 Gone", TEXT, sys.exc_info())
        return [b"log in again"]

    served = serve(SessionMiddleware(app, storage), cookie)
    assert (served.status, served.body, served.error) == (410, b"log in again", None)
    assert served.cookie is None
