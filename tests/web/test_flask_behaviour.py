"""The behaviour suite on Flask."""

from __future__ import annotations

import sys

from .behaviour import Behaviour
from .flask_site import FlaskSite
from .site import Setup, Site, Traits


class FlaskAdapter:
    traits = Traits(status_when_ended=409, keeps_what_failed=True)

    def serve(self, setup: Setup) -> Site:
        return FlaskSite(setup)

    def command(self, port: int) -> list[str]:
        app = "tests.web.flask_site:application()"
        options = ["--workers=2", "--threads=4", f"--bind=127.0.0.1:{port}"]
        return [sys.executable, "-m", "gunicorn", *options, app]


class TestFlask(Behaviour):
    adapter = FlaskAdapter()
