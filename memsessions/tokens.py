"""Session tokens: 64 characters that are random, and say how long the session lives and on which server.

    51 characters   random, over 300 bits: what nobody can guess
     8 characters   a tag made of the server's name: where the session lives
     5 characters   its life: time to live and whether that is fixed

Because a token brings its session's life along, one packet can read the session and renew its time to
live. Nobody can change it: the store knows a session only by a hash of the whole token.
"""

from __future__ import annotations

import functools
import os
import string
from binascii import b2a_base64
from hashlib import blake2b
from typing import NamedTuple

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
LENGTH = 64
#: Characters in the name of a session, and of a user, on the server: 128 bits of hash.
NAME_LENGTH = 22
#: Characters in the text of a `Life`.
LIFE_LENGTH = 5
TTL_MIN_S = 10
TTL_MAX_S = 10 * 366 * 24 * 3600

_TAG_LENGTH = 8
_RANDOM_LENGTH = LENGTH - _TAG_LENGTH - LIFE_LENGTH
#: Where the tag is in a token.
TAG = slice(_RANDOM_LENGTH, _RANDOM_LENGTH + _TAG_LENGTH)
# Each byte below 248 stands for one of the 62 characters, equally often; the rest is thrown away.
_TO_ALPHABET = (ALPHABET * 5).encode()[:256]
_UNEVEN = bytes(range(248, 256))


class Life(NamedTuple):
    """How long a session lives."""

    ttl: int
    no_resave: bool


def _to_text(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


@functools.lru_cache(maxsize=1024)
def life_text(life: Life) -> str:
    """A life as 5 characters."""
    return _to_text(life.ttl * 2 + life.no_resave, LIFE_LENGTH)


@functools.lru_cache(maxsize=1024)
def parse_life(text: str | bytes) -> Life:
    """The life that 5 characters stand for; what cannot be one is made the nearest that can.

    Such a text comes from a token that nobody issued, which the store does not know in any case.
    """
    number = 0
    for character in text if isinstance(text, str) else text.decode():
        number = number * 62 + ALPHABET.find(character)
    return Life(min(max(number // 2, TTL_MIN_S), TTL_MAX_S), bool(number % 2))


def server_tag(name: str) -> str:
    """What a token remembers of its server."""
    return _to_text(int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big"), _TAG_LENGTH)


def new_token(tag: str, life: Life) -> str:
    """A token that nobody has."""
    characters = b""
    while len(characters) < _RANDOM_LENGTH:
        characters += os.urandom(LENGTH).translate(_TO_ALPHABET, _UNEVEN)
    return characters[:_RANDOM_LENGTH].decode() + tag + life_text(life)


def token_life(token: str) -> Life:
    """The life of the session that a token belongs to."""
    return parse_life(token[-LIFE_LENGTH:])


def hashed(text: str) -> bytes:
    """The name under which the store knows a token or a user: one-way, of fixed width, fit for a key."""
    return b2a_base64(blake2b(text.encode(), digest_size=16).digest())[:NAME_LENGTH]
