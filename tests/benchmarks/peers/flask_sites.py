"""Sites of Flask: sessions of ours, and Flask-Session with pymemcache's thread-safe client.

That client sends writes without waiting for a reply, unless it is told to wait, as Django tells it, and as
memsessions does. It is given `no_delay`, without which its requests wait for 40 ms behind such a write.

All are as they come but for that. So Flask-Session stores the session and sets its cookie anew at every
request: that is how it renews them. What memsessions takes if it sets the cookie as often is a site, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from flask import Flask, request, session
from flask_session import Session as FlaskSession
from pymemcache import PooledClient

from memsessions.flask import MemSessions

from .web_sites import DATA, OURS, Ask

OURS_PERMANENT = "memsessions, every session permanent"
UNACKNOWLEDGED = "Flask-Session, writes not acknowledged"
ACKNOWLEDGED = "Flask-Session, writes acknowledged"


@contextmanager
def sites(address: str) -> Iterator[dict[str, Ask]]:
    """By name, on this memcached."""
    ours = Flask("ours")
    ours.config.update(MEMSESSIONS_SERVERS=address, MEMSESSIONS_NS="web", MEMSESSIONS_WIPE=0)
    MemSessions(ours)
    permanent = Flask("permanent")
    permanent.config.update(ours.config)
    MemSessions(permanent, client=ours.extensions["memsessions"].storage.client)
    permanent.before_request(_be_permanent)
    found = {OURS: _site(ours), OURS_PERMANENT: _site(permanent)}
    with ExitStack() as stack:
        for name, noreply in ((UNACKNOWLEDGED, True), (ACKNOWLEDGED, False)):
            client: Any = PooledClient(address, no_delay=True, default_noreply=noreply)
            stack.callback(client.close)
            app = Flask(name)
            app.config.update(SESSION_TYPE="memcached", SESSION_MEMCACHED=client)
            FlaskSession(app)
            found[name] = _site(app)
        yield found


def _site(app: Flask) -> Ask:
    @app.get("/<page>")
    def answer(page: str) -> str:
        if page == "fill":
            session.update(DATA)
        elif page == "read":
            return str(session["theme"])
        elif page == "write":
            session["number"] = request.args["number"]
            return "written"
        elif page == "number":
            return str(session["number"])
        return "bare"

    client = app.test_client()
    return lambda page: client.get(f"/{page}").data


def _be_permanent() -> None:
    session.permanent = True
