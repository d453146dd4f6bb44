"""Handles: how a session is called where it is shown, in lists and in addresses of pages.

A session's name in the store, in hexadecimal digits: it fits into a path, a form and a command line as it is.
Nobody can log in with it.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64

from .tokens import NAME_LENGTH, hashed

_HANDLE = re.compile(r"[0-9a-f]{32}")


def handle_of(name: bytes) -> str:
    """The handle of the session that has this name in the store."""
    return a2b_base64(name + b"==").hex()


def handle_of_token(token: str) -> str:
    """The handle of the session that a token belongs to."""
    return handle_of(hashed(token))


def name_of(handle: object) -> bytes | None:
    """The name that a handle stands for; None for what is no handle."""
    if not (isinstance(handle, str) and _HANDLE.fullmatch(handle)):
        return None
    return b2a_base64(bytes.fromhex(handle))[:NAME_LENGTH]
