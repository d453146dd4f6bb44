"""A WSGI application whose client is made, and used, before gunicorn forks: `--preload`.

    GET /enter/USER    makes a session, whose token comes back
    GET /see/TOKEN     reads it
    GET /set/TOKEN/N   writes N into it
    GET /before        reads a session that was made before the fork, and that a thread of the master writes
    GET /leave/TOKEN   ends it

Answers are JSON: the process, and the session or the token.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from memsessions import SessionsClient

APP = "forum"
IP = "192.0.2.1"
BEFORE = "before the fork"

rs = SessionsClient.from_env(wipe=10, timeout=5)


def _busy(token: str, name: str) -> None:
    """Be in the middle of a call whenever the master forks; what is wrong ends up in its log."""
    for number in count(1):
        session = rs.set(APP, token, {"value": number})
        assert session is not None
        assert session["d"] == {"name": name, "value": number}
        time.sleep(0.001)


# Several, so that connections wait in the pool, too, when it forks.
for _name in (*"1234", BEFORE):
    _before = rs.create(APP, _name, IP, d={"name": _name, "value": 0})["token"]
    threading.Thread(target=_busy, args=(_before, _name), daemon=True).start()


def _answer(what: str, *arguments: str) -> Any:
    if what == "enter":
        (user,) = arguments
        return rs.create(APP, user, IP, d={"name": user, "value": 0})["token"]
    if what == "see":
        return rs.get(APP, arguments[0])
    if what == "set":
        return rs.set(APP, arguments[0], {"value": int(arguments[1])})
    if what == "before":
        return rs.get(APP, _before)
    return rs.kill(APP, arguments[0])


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    _, what, *arguments = environ["PATH_INFO"].split("/")
    body = json.dumps({"pid": os.getpid(), "answer": _answer(what, *arguments)})
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body.encode()]
