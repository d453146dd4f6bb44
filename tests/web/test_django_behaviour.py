"""The behaviour suite on Django, with its own middleware, log-in and messages."""

from __future__ import annotations

from .behaviour import Behaviour
from .django_project.site import DjangoAdapter


class TestDjango(Behaviour):
    adapter = DjangoAdapter()
