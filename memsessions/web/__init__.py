"""Sessions of web applications, for whoever adapts a framework; the adapters are built on this."""

from __future__ import annotations

from .cookies import Cookie
from .devices import Device
from .session import Codec, Session
from .storage import SessionStorage
from .store import SessionStore

__all__ = ["Codec", "Cookie", "Device", "Session", "SessionStorage", "SessionStore"]
