"""A gunicorn that serves `forking_app`, and visitors who know what it has to answer."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from .memcached import free_port

_ROOT = Path(__file__).parents[2]
#: A request that takes longer hangs: each call of the application is over within 5 s, whatever happens.
_HANG_S = 20.0
_LOST = (http.client.HTTPException, ConnectionError)


class Gunicorn:
    """Four workers that are forked from a master which has loaded the application, with threads each."""

    def __init__(self, store: str, folder: Path, app: str = "tests.support.forking_app:app") -> None:
        self.port = free_port()
        self._log = folder / "gunicorn.log"
        options = {"bind": f"127.0.0.1:{self.port}", "workers": 4, "threads": 3, "worker-tmp-dir": folder}
        # Workers are replaced after some requests; one that does not answer the master is ended, and logged.
        options |= {"max-requests": 60, "max-requests-jitter": 30, "timeout": 30, "graceful-timeout": 10}
        command = [sys.executable, "-m", "gunicorn", "--preload", "--pythonpath", f"{_ROOT},{folder}", app]
        self._command = [*command, *(f"--{name}={value}" for name, value in options.items())]
        self._environment = {**os.environ, "MEMSESSIONS_SERVERS": store, "HOME": str(folder)}

    def __enter__(self) -> Gunicorn:
        with self._log.open("wb") as log:
            self._master = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=_ROOT, env=self._environment
            )
        give_up = time.monotonic() + 20
        while True:
            try:
                self.ask("before")
                return self
            except OSError:
                if self._master.poll() is not None or time.monotonic() > give_up:
                    self._master.kill()
                    raise RuntimeError(f"gunicorn does not answer: {self.log()}") from None
                time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        workers = self.workers()
        self._master.kill()
        for worker in workers:  # those that hang would outlive it for a while
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        self._master.wait()

    def stop(self) -> bool:
        """Have it end as it should; whether it did."""
        self._master.terminate()
        try:
            return self._master.wait(_HANG_S) == 0
        except subprocess.TimeoutExpired:
            return False

    def ask(self, *path: str) -> dict[str, Any]:
        """One request; its answer, or what `http.client` raises."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_HANG_S)
        try:
            connection.request("GET", "/" + "/".join(path), headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                return {"status": response.status}
            answer: dict[str, Any] = json.loads(body)
            return answer
        finally:
            connection.close()

    def reload(self) -> None:
        """Have all workers replaced, one after the other."""
        self._master.send_signal(signal.SIGHUP)

    def workers(self) -> list[int]:
        pid = self._master.pid
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def log(self) -> str:
        return self._log.read_text()


class Visitor(threading.Thread):
    """Has one session after the other, and looks at every answer."""

    def __init__(self, number: int, server: Gunicorn, stop: threading.Event, seed: int) -> None:
        super().__init__()
        self.answers: Counter[int] = Counter()  # by process
        self.lost = 0
        self.violations: list[str] = []
        self._name = f"visitor-{number}"
        self._server = server
        self._stop_it = stop
        self._dice = random.Random(seed)
        self._visits = 0

    def run(self) -> None:
        while not self._stop_it.is_set():
            self._visits += 1
            try:
                self._visit(f"{self._name}-{self._visits}")
            except Exception as error:  # noqa: BLE001  an answer that makes no sense at all
                self.violations.append(f"{type(error).__name__}: {error}")

    def _ask(self, *path: str) -> Any:
        """What the application answered, or `_LOST` where its worker was ended meanwhile."""
        try:
            answer = self._server.ask(*path)
        except TimeoutError:
            self.violations.append(f"{path[0]} hangs")
        except _LOST:
            self.lost += 1
        else:
            if "pid" in answer:
                self.answers[answer["pid"]] += 1
                return answer["answer"]
            self.violations.append(f"{path[0]} was answered with status {answer['status']}")
        return _LOST

    def _visit(self, user: str) -> None:
        token = self._ask("enter", user)
        if token is _LOST:
            return
        possible = {0}  # what may stand in the session: a request that was lost may have been served
        for number in range(1, 20):
            if self._stop_it.is_set():
                break
            what = self._dice.choice(("see", "see", "set", "before"))
            if what == "before":
                self._check("before", self._ask("before"), "before the fork", None)
                continue
            if what == "set":
                possible.add(number)
            session = self._ask(what, token, *([str(number)] if what == "set" else []))
            if what == "set" and session is not _LOST:
                possible = {number}
            self._check(what, session, user, possible)
        ended = self._ask("leave", token)
        if ended is not _LOST:
            if ended != {"kill": 1}:
                self.violations.append(f"leave answered {ended} for {user}")
            if self._ask("see", token) not in (None, _LOST):
                self.violations.append(f"the session of {user} lives on")

    def _check(self, what: str, session: Any, user: str, values: set[int] | None) -> None:
        if session is _LOST:
            return
        if session is None:
            self.violations.append(f"{what} did not find the session of {user}")
        elif (session["id"], session["d"]["name"]) != (user, user):
            self.violations.append(f"{what} answered the session of {session['id']} for {user}")
        elif values is not None and session["d"]["value"] not in values:
            self.violations.append(f"{what} answered {session['d']['value']} for {user}, not {values}")
