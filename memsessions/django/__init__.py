"""Django's sessions: `SESSION_ENGINE = "memsessions.django"`.

The setting `MEMSESSIONS` says where they are kept; see `memsessions.django.configured`. To have the command
`manage.py memsessions`, and the setting checked by `manage.py check`, add `"memsessions.django"` to
`INSTALLED_APPS`.
"""

from __future__ import annotations

from .configured import app_name, client
from .devices import Device, devices, end_all, end_device, end_others
from .engine import SessionEnded, SessionStore

__all__ = [
    "Device",
    "SessionEnded",
    "SessionStore",
    "app_name",
    "client",
    "devices",
    "end_all",
    "end_device",
    "end_others",
]
