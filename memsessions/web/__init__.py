"""Sessions of web applications, for whoever adapts a framework; the adapters are built on this."""

from __future__ import annotations

from .cookies import Cookie
from .session import Codec, Session
from .storage import Device, SessionStorage
from .store import SessionStore

__all__ = ["Codec", "Cookie", "Device", "Session", "SessionStorage", "SessionStore"]
