"""A Celery application whose clients are made, and used, before its worker makes processes.

Its broker is a folder, FOLDER of the environment. With CONNECT, the clients are connected to the worker. What
happens is told in files of the folder: a process that begins or ends cannot answer.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import celery.signals
from celery.exceptions import SoftTimeLimitExceeded

import memsessions.celery
from memsessions import MemsessionsError, SessionsClient

from .celery_broker import application
from .forking import sockets

APP = "forum"
IP = "192.0.2.1"

folder = Path(os.environ["FOLDER"])
app = application("tests", folder)

rs = SessionsClient.from_env(timeout=5)
caching = SessionsClient.from_env(timeout=5, cachetime=600)
if os.environ["CONNECT"]:
    memsessions.celery.connect(rs, caching)

_before = rs.create(APP, "before", IP)["token"]
caching.get(APP, _before)


def _ports() -> list[int]:
    return sorted(sockets(int(os.environ["MEMSESSIONS_SERVERS"].rpartition(":")[2])))


def _where() -> dict[str, Any]:
    return {"pid": os.getpid(), "thread": threading.get_ident(), "ports": _ports()}


def _tell(what: str, **more: Any) -> None:
    told = folder / f"{what} {os.getpid()}.json"
    told.with_suffix(".part").write_text(json.dumps(_where() | more))
    told.with_suffix(".part").rename(told)


def _works(user: str) -> None:
    """The life of a session, every answer of which is the right one."""
    token = rs.create(APP, user, IP, d={"name": user})["token"]
    for reads in range(2, 52):  # its creation counts as one
        session = rs.get(APP, token)
        assert session is not None
        assert (session["id"], session["r"], session["d"]) == (user, reads, {"name": user})
    changed = rs.set(APP, token, {"changed": True})
    assert changed is not None
    assert changed["d"] == {"name": user, "changed": True}
    assert [session["id"] for session in rs.soid(APP, user)] == [user]
    assert rs.kill(APP, token) == {"kill": 1}
    before = rs.get(APP, _before)
    assert before is not None
    assert before["id"] == "before"


@app.task  # type: ignore[untyped-decorator]  # Celery has no annotations
def live(group: str, number: int, of: int) -> dict[str, Any]:
    """The life of a session, while all others of the group do the same."""
    (folder / f"{group}.{number}").touch()
    give_up = time.monotonic() + 20
    while len(list(folder.glob(f"{group}.*"))) < of:
        assert time.monotonic() < give_up, "the others are not there"
        time.sleep(0.005)
    _works(f"{group}.{number}")
    return _where()


@app.task(soft_time_limit=0.1)  # type: ignore[untyped-decorator]
def work_for_too_long() -> dict[str, Any]:
    """Calls, in the middle of which the time is over, and more after that."""
    calls = 0
    try:
        while True:
            rs.get(APP, _before)
            calls += 1
    except SoftTimeLimitExceeded:
        _works(f"late.{os.getpid()}")
        return _where() | {"calls": calls}


@app.task(time_limit=0.1)  # type: ignore[untyped-decorator]
def work_for_ever() -> None:
    (folder / f"for ever.{os.getpid()}").touch()
    while True:
        rs.get(APP, _before)


# These come after those that are connected above, and so tell what they have done.


@celery.signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _worker_is_ready(**_: Any) -> None:
    _tell("ready")


@celery.signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def _process_begins(**_: Any) -> None:
    _tell("begins")
    session = caching.get(APP, _before)
    assert session is not None
    _tell("has read", reads=session["r"])


def _state() -> str:
    try:
        return rs.ping()
    except MemsessionsError as error:
        return type(error).__name__


@celery.signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _process_ends(**_: Any) -> None:
    _tell("ends", state=_state())


@celery.signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def _worker_ends(**_: Any) -> None:
    _tell("worker ends", state=_state())
