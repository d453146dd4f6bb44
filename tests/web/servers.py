"""A real server process with an adapter's pages, asked over HTTP."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from ..support.memcached import free_port
from .site import HOST, PATH, Adapter, Request, Response, Setup

_ROOT = Path(__file__).parents[2]
_PATIENCE_S = 30.0


class ServerProcess:
    """Runs as long as the `with`, and then has to end by itself when it is told to."""

    def __init__(self, adapter: Adapter, setup: Setup, folder: Path) -> None:
        self._port = free_port()
        self._log = folder / "server.log"
        self._command = adapter.command(self._port)
        self._environment = {**os.environ, **setup.environment(), "HOME": str(folder)}

    def __enter__(self) -> ServerProcess:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=_ROOT, env=self._environment
            )
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 5).close()
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    self._process.kill()
                    raise RuntimeError(f"the server does not answer: {self._log.read_text()}") from None
                time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            status = self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError("the server does not end") from error
        if error is not None:
            error.add_note(self._log.read_text()) if hasattr(error, "add_note") else None
        assert status in (0, -15), self._log.read_text()

    def request(self, request: Request) -> Response:
        """One request, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE_S)
        headers = {"Host": HOST, "Content-Type": "application/json", "Connection": "close"}
        if request.cookie is not None:
            headers["Cookie"] = request.cookie
        try:
            connection.request("POST", PATH, request.body, headers)
            response = connection.getresponse()
            return Response(response.status, response.getheaders(), response.read())
        finally:
            connection.close()
