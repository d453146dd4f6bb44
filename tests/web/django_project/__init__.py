"""A Django project for tests: set up once in a process, and nothing of it reaches other tests.

It has no database: its users are in a dict. What is configured here is all there is, in a process of its own
(a server) as in that of the tests.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django
from django.conf import settings
from django.test import override_settings

from ...conftest import Where

NAME = __name__

# Errors are answers here; tests look at those.
logging.getLogger("django").addHandler(logging.NullHandler())

if not settings.configured:
    settings.configure(
        SECRET_KEY="only for tests",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=f"{NAME}.views",
        LOGGING_CONFIG=None,
        USE_TZ=True,
        DATABASES={},
        INSTALLED_APPS=[
            "memsessions.django",
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.messages",
            "django.contrib.sessions",
            NAME,
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        MESSAGE_STORAGE="django.contrib.messages.storage.session.SessionStorage",
        AUTH_USER_MODEL="django_project.Person",
        AUTHENTICATION_BACKENDS=[f"{NAME}.backend.PeopleBackend"],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        SESSION_ENGINE="memsessions.django",
        SESSION_COOKIE_NAME="session",
    )
    django.setup()


@contextmanager
def sessions_on(where: Where, **options: Any) -> Iterator[None]:
    """Have the sessions kept there; `options` as in the setting."""
    setting = {"servers": where.address, "ns": where.ns, "wipe": 0, "timeout": 5.0, **options}
    with override_settings(MEMSESSIONS=setting):
        yield
