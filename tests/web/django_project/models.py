"""The users of the project, who are called by their primary keys and known to this process only."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models

_people: dict[str, Person] = {}


class People(BaseUserManager["Person"]):
    """Everybody is known but nobody."""

    def forget(self) -> None:
        """Everybody has their first password again."""
        _people.clear()

    def db_manager(self, using: str | None = None, hints: Any = None) -> People:
        del using, hints
        return self

    def get_by_natural_key(self, username: str | None) -> Person:
        if username is None or username == "nobody":
            raise Person.DoesNotExist
        if username not in _people:
            person = _people[username] = Person(name=username)
            # The same in each process, as sessions are tied to its hash.
            person.password = make_password(f"password of {username}", salt="thesaltofallofthepeople")
        return _people[username]


class Person(AbstractBaseUser):
    """A user."""

    name: models.CharField[str, str] = models.CharField(max_length=200, primary_key=True)
    last_login = None  # so that a log-in asks no database
    is_active = True

    objects = People()

    USERNAME_FIELD = "name"
