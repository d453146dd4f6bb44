"""What the README shows of Django is a site that works, in a process of its own with its own settings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from ..conftest import OnMemcached

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = README.partition("\n### Django\n")[2].partition("\n### ")[0]
SETTINGS, VIEWS = re.findall(r"^```python\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)

# What every project has before.
APPS = '"django.contrib.contenttypes", "django.contrib.auth"'
PROJECT = """
SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "urls"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
"""
URLS = """
import views
from django.urls import path

urlpatterns = [path(name, getattr(views, name)) for name in ("where", "log_out_there", "log_out_elsewhere")]
"""
VISITS = """
import io, json, os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from memsessions.django import app_name, client
call_command("migrate", verbosity=0)
alice = User.objects.create_user("alice")
laptop, phone, tablet = (Client() for _ in range(3))
for browser in (laptop, phone, tablet):
    browser.force_login(alice)
shown = laptop.get("/where").json()
handle = next(device["handle"] for device in shown if not device["current"])
out = io.StringIO()
call_command("memsessions", "list", "alice", "--json", stdout=out)
print(json.dumps({
    "shown": sorted(shown[0]),
    "current": [device["current"] for device in shown].count(True),
    "there": laptop.post("/log_out_there", {"handle": handle}).json(),
    "elsewhere": laptop.post("/log_out_elsewhere").json(),
    "statuses": sorted(browser.get("/where").status_code for browser in (laptop, phone, tablet)),
    "command": len(json.loads(out.getvalue())),
    "killed": client().killsoid(app_name(), str(alice.pk)),
}))
"""


def test_the_site_of_the_readme_works(on_memcached: OnMemcached, tmp_path: Path) -> None:
    """Its settings and views, as they are pasted into a project; only the server's port is the tests' own."""
    files = {
        "settings": PROJECT + SETTINGS.replace("[...,", f"[{APPS},"),
        "views": VIEWS,
        "urls": URLS,
        "visits": VISITS,
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text.replace("11211", str(on_memcached.server.port)))
    command = [sys.executable, "-W", "error", "visits.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "shown": ["current", "handle", "idle", "ip", "last_seen"],
        "current": 1,
        "there": {"ended": True},
        "elsewhere": {"ended": 1},
        "statuses": [200, 302, 302],
        "command": 3,
        "killed": {"kill": 1},
    }
