"""Signed cookies: one that was forged is found out without asking the store."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from ..errors import ConfigurationError

#: Characters of a secret, at least: who has one signed cookie can try all short ones, at home and in peace.
SECRET_LEAST = 16

_SEPARATOR = "."

Secrets = str | bytes | Iterable[str | bytes]


class Signer:
    """Signs tokens by HMAC with SHA-256, as itsdangerous does it (extra `web`).

    A token is not a secret of the cookie's: what is signed can be read. It is for random tokens, whose
    forgeries would otherwise cost a trip to the store each.

    Parameters:
        secrets: one, or several to change them with time: the first signs, all verify. Put a new one before
            the old, and take the old one away when its cookies may end. Each has 16 characters at least;
            `secrets.token_urlsafe(32)` makes a good one.
        salt: keeps the signatures apart from others that are made with the same secret.

    Raises:
        ConfigurationError: a secret is none or too short, or itsdangerous is not installed.
    """

    __slots__ = ("_signers",)

    def __init__(self, secrets: Secrets, *, salt: str = "memsessions.web.cookie") -> None:
        checked = _checked(secrets)
        try:
            from itsdangerous import Signer as Signing
        except ImportError:
            raise ConfigurationError(
                "signed cookies need itsdangerous: pip install 'memsessions[web]'"
            ) from None
        self._signers = [
            Signing(secret, salt, sep=_SEPARATOR, key_derivation="hmac", digest_method=hashlib.sha256)
            for secret in checked
        ]

    def sign(self, token: str) -> str:
        """A token as the cookie's value: 44 characters longer, whatever it is."""
        return self._signers[0].sign(token).decode()

    def unsign(self, value: str) -> str | None:
        """The token in a cookie's value; None if no secret has signed it as it stands there."""
        if not value.isascii():
            return None
        token, separator, signature = value.rpartition(_SEPARATOR)
        if not separator:
            return None
        # The whole text is compared: base64 has several spellings for the same signature.
        given = signature.encode()
        signed = any(hmac.compare_digest(each.get_signature(token), given) for each in self._signers)
        return token if signed else None


def _checked(secrets: object) -> list[str | bytes]:
    each = [secrets] if isinstance(secrets, (str, bytes)) else secrets
    if not isinstance(each, Iterable):
        raise ConfigurationError(
            f"secrets must be text, bytes or several of these, not {type(each).__name__}"
        )
    found = list(each)
    if not found:
        raise ConfigurationError("secrets must not be empty: give one, or None for cookies without signature")
    for secret in found:
        if not isinstance(secret, (str, bytes)):
            kind = type(secret).__name__
            raise ConfigurationError(f"a secret must be text or bytes, not {kind}")
        if len(secret) < SECRET_LEAST:
            raise ConfigurationError(
                f"a secret must have {SECRET_LEAST} characters at least, or it can be guessed from a cookie:"
                " secrets.token_urlsafe(32) makes a good one"
            )
    return found
