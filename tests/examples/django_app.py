"""A Django project in one file: people log in, see where they are logged in, and log out of what they choose.

    python tests/examples/django_app.py runserver
    gunicorn --preload --pythonpath tests/examples django_app:application

Alice and Bob can log in; their passwords are "wonderland" and "builder". Their sessions are kept where
`MEMSESSIONS_SERVERS` says, on 127.0.0.1:11211 otherwise, and they themselves in the SQLite file
`EXAMPLE_DATABASE`, or one in the folder for temporary files.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import django
from django.conf import settings

_DATABASE = os.environ.get("EXAMPLE_DATABASE") or Path(tempfile.gettempdir()) / "memsessions-example.sqlite3"
_PEOPLE = {"alice": "wonderland", "bob": "builder"}

_BASE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{% block title %}{% endblock %}</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
  table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
  th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ccc }
  form { display: inline }
</style>
<h1>{% block heading %}{% endblock %}</h1>
{% block content %}{% endblock %}
"""
_LOGIN = """{% extends "base.html" %}
{% block title %}Log in{% endblock %}
{% block heading %}Log in{% endblock %}
{% block content %}
<form method="post">
  {% csrf_token %}
  {{ form.as_p }}
  <p><button id="log-in">Log in</button></p>
</form>
{% endblock %}
"""
_SESSIONS = """{% extends "base.html" %}
{% block title %}Your active sessions{% endblock %}
{% block heading %}Your active sessions{% endblock %}
{% block content %}
<p>You are logged in as <strong id="user">{{ user.get_username }}</strong>.</p>
<table id="sessions">
  <thead><tr><th>Address</th><th>Idle</th><th>Last seen (UTC)</th><th></th></tr></thead>
  <tbody>
  {% for device in devices %}
    <tr class="{% if device.current %}current{% else %}other{% endif %}">
      <td>{{ device.ip }}</td>
      <td>{{ device.idle }} s</td>
      <td><time>{{ device.last_seen }}</time></td>
      <td>
        {% if device.current %}this one{% else %}
        <form method="post" action="{% url 'end' %}">
          {% csrf_token %}
          <button class="end" name="handle" value="{{ device.handle }}">Log out there</button>
        </form>
        {% endif %}
      </td>
    </tr>
  {% endfor %}
  </tbody>
</table>
<form method="post">
  {% csrf_token %}
  <button id="log-out" formaction="{% url 'log_out' %}">Log out</button>
  <button id="end-others" formaction="{% url 'end_others' %}">Log out everywhere else</button>
  <button id="end-all" formaction="{% url 'end_all' %}">Log out everywhere</button>
</form>
{% endblock %}
"""

settings.configure(
    SECRET_KEY="an example's, which is public",
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["memsessions.django", "django.contrib.contenttypes", "django.contrib.auth"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                ],
                "loaders": [
                    (
                        "django.template.loaders.locmem.Loader",
                        {"base.html": _BASE, "login.html": _LOGIN, "sessions.html": _SESSIONS},
                    )
                ],
            },
        }
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": _DATABASE}},
    PASSWORD_HASHERS=["django.contrib.auth.hashers.ScryptPasswordHasher"],
    LOGIN_URL="log_in",
    LOGIN_REDIRECT_URL="sessions",
    LOGOUT_REDIRECT_URL="log_in",
    # All that a project needs:
    SESSION_ENGINE="memsessions.django",
    MEMSESSIONS={"app": "example"},
)
django.setup()

# What follows needs the settings.
from django.contrib.auth import logout  # noqa: E402
from django.contrib.auth.decorators import login_required  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.auth.views import LoginView, LogoutView  # noqa: E402
from django.core.management import call_command, execute_from_command_line  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connections  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.shortcuts import redirect, render  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.cache import never_cache  # noqa: E402
from django.views.decorators.http import require_POST  # noqa: E402

from memsessions.django import devices, end_all, end_device, end_others  # noqa: E402


@login_required
@never_cache  # or "back" shows the page after a log-out
def sessions(request: HttpRequest) -> HttpResponse:
    """Where the user is logged in."""
    return render(request, "sessions.html", {"devices": devices(request.user, request.session)})


@login_required
@require_POST
def end(request: HttpRequest) -> HttpResponse:
    """Log out on another device."""
    end_device(request.user, request.POST.get("handle", ""))
    return redirect("sessions")


@login_required
@require_POST
def end_elsewhere(request: HttpRequest) -> HttpResponse:
    """Log out everywhere else."""
    end_others(request.session)
    return redirect("sessions")


@login_required
@require_POST
def end_every(request: HttpRequest) -> HttpResponse:
    """Log out everywhere, which is here, too."""
    end_all(request.user)
    logout(request)
    return redirect("log_in")


urlpatterns = [
    path("", sessions, name="sessions"),
    path("login", LoginView.as_view(template_name="login.html"), name="log_in"),
    path("logout", LogoutView.as_view(), name="log_out"),
    path("end", end, name="end"),
    path("end-others", end_elsewhere, name="end_others"),
    path("end-all", end_every, name="end_all"),
]


def prepare() -> None:
    """Have the people in the database."""
    call_command("migrate", verbosity=0)
    for name, password in _PEOPLE.items():
        if not User.objects.filter(username=name).exists():
            User.objects.create_user(username=name, password=password)
    connections.close_all()


application = get_wsgi_application()
prepare()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
