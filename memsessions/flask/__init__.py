"""Sessions for Flask, on memcached.

    from flask import Flask, session
    from memsessions.flask import MemSessions

    app = Flask(__name__)
    app.config["MEMSESSIONS_SERVERS"] = "127.0.0.1:11211"
    MemSessions(app)

From then on `flask.session` is kept in the store: only its id is in the cookie. A page that does not use it
costs nothing, one that reads it one round trip, and one that changes it two.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Flask, Request, Response, after_this_request, current_app, has_request_context
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SessionInterface, SessionMixin

from ..client import SessionsClient
from ..errors import ConfigurationError, SessionEnded
from ..handles import handle_of_token
from ..web import Device, SessionStorage
from ..web.cookies import vary_on_cookie
from .errors import ANSWERED, answer_instead, current, ours, register
from .session import FlaskSession, TaggedCodec
from .settings import Settings, client_from

__all__ = [
    "FlaskSession",
    "MemSessionInterface",
    "MemSessions",
    "devices",
    "end_all_devices",
    "end_device",
    "end_other_devices",
]

_NAME = "memsessions"


class MemSessions:
    """Keeps the sessions of Flask applications in memcached.

    Parameters:
        app: an application to set up at once; others, or the only one later, by `init_app`.
        client: where to keep them, which may be shared; without it, each application has a client of its
            own, as its `MEMSESSIONS_*` settings say.
    """

    def __init__(self, app: Flask | None = None, client: SessionsClient | None = None) -> None:
        self._client = client
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set an application up, as its config says now. Nothing is contacted.

        Raises:
            ConfigurationError: a setting is not usable.
        """
        settings = Settings.of(app)
        client = client_from(app.config) if self._client is None else self._client
        interface = MemSessionInterface(client, settings)
        app.session_interface = interface
        app.extensions[_NAME] = interface
        register(app)
        _connect_flask_login(app)


class MemSessionInterface(SessionInterface):
    """Opens and saves sessions for Flask; `app.session_interface`, and `app.extensions["memsessions"]`."""

    session_class = FlaskSession

    def __init__(self, client: SessionsClient, settings: Settings) -> None:
        #: What becomes JSON of other types; register tags of your own with it, as Flask's manual has it.
        self.serializer = TaggedJSONSerializer()
        #: The sessions; `storage.client` and `storage.app` are what to call `soid` and `activity` with.
        self.storage = SessionStorage(
            client,
            settings.name,
            settings.ttl,
            secrets=settings.secrets,
            encryption_key=settings.encryption_key,
            on_outage=settings.on_outage,
            codec=TaggedCodec(self.serializer),
            session_type=self.session_class,
        )
        self._user_key = settings.user_key
        self._user_key_given = settings.user_key_given

    def regenerate(self, session: SessionMixin) -> None:
        """Give a session a new id when this request ends, and end the old one.

        Not needed for a log-in with Flask-Login, or whatever sets the key that `MEMSESSIONS_USER_KEY` names.
        """
        ours(session).regenerate_id()

    def open_session(self, app: Flask, request: Request) -> FlaskSession:
        """The visitor's session, not read from the store before it is used."""
        value = request.cookies.get(self.get_cookie_name(app))
        session = ours(self.storage.open(value, request.remote_addr))
        session.cookie = value
        session.user_key = self._user_key
        session.wary = not (self._user_key_given or hasattr(app, "login_manager"))
        if has_request_context():

            def begin(response: Response) -> Response:
                session.answering = True
                return response

            after_this_request(begin)  # the first of all that see the response
        return session

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Write what has changed, and set, renew or delete the cookie.

        Where that cannot be done, the response becomes that of the application's error handler for what went
        wrong: `StoreUnavailable`, `StoreFull` (503 by default) or `SessionEnded` (409).
        """
        session = ours(session)
        session.answering = False
        if session.accessed:
            headers = response.headers
            headers["Vary"] = vary_on_cookie(headers.get("Vary"))
        try:
            cookie = self._save(app, session)
        except ANSWERED as error:
            if not (has_request_context() and current() is session):
                raise  # as of a test's session_transaction()
            answer_instead(app, session, error, response)
        else:
            if cookie is not None:
                self._set_cookie(app, response, *cookie)

    def _save(self, app: Flask, session: FlaskSession) -> tuple[str, datetime | None] | None:
        """Save it; the cookie to set and its end, or None."""
        if session.given_up:
            return None
        if session.failure is not None:
            if session.told and not session.dirty:
                return None
            raise session.failure
        if not session.touched or session.forced is False:
            return None
        session.settle()
        expires = self.get_expiration_time(app, session)
        renewing = session.forced or (session.permanent and app.config["SESSION_REFRESH_EACH_REQUEST"])
        try:
            value = self.storage.save(session)
        except SessionEnded:
            if not session.emptied:
                raise
            session.begin_anew()  # it has ended, as it was to
            return None
        if value is None and renewing:
            value = self.storage.cookie_value(session)
        same = value == session.cookie and expires is None and not session.cookie_life_changed
        if same and not renewing:
            return None  # it is the one that the browser keeps until it is closed
        return None if value is None else (value, expires)

    def _set_cookie(self, app: Flask, response: Response, value: str, expires: datetime | None) -> None:
        attributes: dict[str, Any] = {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
        }
        if app.config.get("SESSION_COOKIE_PARTITIONED"):  # Flask 3.1
            attributes["partitioned"] = self.get_cookie_partitioned(app)
        name = self.get_cookie_name(app)
        if value:
            response.set_cookie(name, value, expires=expires, **attributes)
        else:
            response.delete_cookie(name, **attributes)


# ------------------------------------------------------------------------------------ for views


def devices() -> list[Device]:
    """Where the user of this request is logged in, the last used first. Two round trips.

    Returns:
        A list of dicts that can be written as JSON, empty if nobody is logged in: `handle` (what `end_device`
        takes; nobody can log in with it), `ip`, `idle` (seconds), `last_seen` (ISO 8601, UTC) and `current`
        (whether it is the session of this request). A log-in is listed from the next request on.
    """
    interface, session, user_id = _here()
    return [] if user_id is None else interface.storage.devices(user_id, session)


def end_device(handle: str) -> bool:
    """Log the user of this request out on one device. Two round trips.

    Parameters:
        handle: from `devices`. One that is none, or another user's, ends nothing.

    Returns:
        Whether it was ended. The session of this request ends with the request, and its cookie is deleted.
    """
    interface, session, user_id = _here(to_end=True)
    if user_id is None:
        return False
    if session.id is not None and handle == handle_of_token(session.id):
        session.destroy()
        return True
    return interface.storage.end_device(user_id, handle)


def end_other_devices() -> int:
    """Log the user of this request out everywhere else. Two round trips, and two for each session.

    Flask-Login's "remember me" cookies are not sessions: whoever has one is logged in again.

    Returns:
        How many sessions were ended.
    """
    interface, session, user_id = _here(to_end=True)
    return 0 if user_id is None else interface.storage.end_others(session)


def end_all_devices(user_id: object = None) -> int:
    """Log a user out everywhere, as after a change of the password. Three round trips.

    Parameters:
        user_id: by default the user of this request, whose session here ends, too. For another one, no
            request is needed, only an application context.

    Returns:
        How many sessions were ended.

    Raises:
        LogoutIncomplete: a server could not be reached, and some sessions may live; call it again.
    """
    interface = _interface()
    here = _here(to_end=user_id is None)[1:] if has_request_context() else None
    if user_id is None:
        user_id = None if here is None else here[1]
        if user_id is None:
            return 0
    ended = interface.storage.end_all(str(user_id))
    if here is not None and here[1] == str(user_id):
        here[0].destroy()
    return ended


# --------------------------------------------------------------------------------------- inside


def _interface() -> MemSessionInterface:
    interface = current_app.extensions.get(_NAME)
    if not isinstance(interface, MemSessionInterface):
        raise ConfigurationError("this application's sessions are not memsessions': see MemSessions.init_app")
    return interface


def _here(to_end: bool = False) -> tuple[MemSessionInterface, FlaskSession, str | None]:
    """The interface, the session and the user of this request; to end one, an empty stand-in will not do."""
    interface, session = _interface(), ours(current())
    session.follow_user()
    outage = session.opened().outage
    if to_end and outage is not None:
        raise outage  # nobody knows whose session it is
    return interface, session, session.user_id


def _connect_flask_login(app: Flask) -> None:
    """Learn of Flask-Login's log-ins and log-outs where it is installed; it says them by signals."""
    try:
        from flask_login import user_logged_in, user_logged_out, user_login_confirmed
    except ImportError:
        return
    user_logged_in.connect(_logged_in, app)
    user_login_confirmed.connect(_logged_in, app)
    user_logged_out.connect(_logged_out, app)


def _logged_in(_app: Flask, **_about: Any) -> None:
    # Of the user who was there already, too: no key changes then.
    session = current()
    if isinstance(session, FlaskSession):
        session.regenerate_id()


def _logged_out(_app: Flask, **_about: Any) -> None:
    session = current()
    if isinstance(session, FlaskSession):
        session.left = True
