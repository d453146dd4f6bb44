"""How the project's users log in."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from .models import Person


class PeopleBackend(BaseBackend):
    """Knows them by their passwords."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **_: Any
    ) -> Person | None:
        del request
        person = Person.objects.get_by_natural_key(username)
        return person if password is not None and person.check_password(password) else None

    def get_user(self, user_id: Any) -> Person | None:
        return Person.objects.get_by_natural_key(user_id)
