"""Data that is encrypted before it leaves the process: neither memcached nor its traffic shows it."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ConfigurationError

Keys = str | bytes | Iterable[str | bytes]


class Encryption:
    """Seals data with cryptography's Fernet (extra `encryption`): AES-128 in CBC mode, and HMAC with SHA-256.

    Sealed data is a third longer, and some 100 characters. It shows when it was sealed.

    Parameters:
        keys: one, or several to change them with time: the first seals, all open. Each as
            `Fernet.generate_key()` gives it, 44 characters.

    Raises:
        ConfigurationError: a key is none (it is not shown), or cryptography is not installed.
    """

    __slots__ = ("_fernet", "_refused")

    def __init__(self, keys: Keys) -> None:
        each = [keys] if isinstance(keys, (str, bytes)) else keys
        if not isinstance(each, Iterable):
            raise ConfigurationError(
                f"encryption_key must be text, bytes or several of these, not {type(each).__name__}"
            )
        try:
            from cryptography.fernet import Fernet, InvalidToken, MultiFernet
        except ImportError:
            raise ConfigurationError(
                "encrypted data needs cryptography: pip install 'memsessions[encryption]'"
            ) from None
        fernets = []
        for number, key in enumerate(each, 1):
            try:
                fernets.append(Fernet(key))
            except (ValueError, TypeError):
                raise ConfigurationError(
                    f"encryption_key: number {number} is no key. Fernet.generate_key() of cryptography makes"
                    " them: 32 random bytes, as 44 characters of URL-safe base64"
                ) from None
        if not fernets:
            raise ConfigurationError(
                "encryption_key must not be empty: give one, or None for data that is not encrypted"
            )
        self._fernet = MultiFernet(fernets)
        self._refused = (InvalidToken, ValueError)

    def seal(self, data: bytes) -> str:
        """Data as ASCII text that only the keys open."""
        return self._fernet.encrypt(data).decode()

    def open(self, sealed: str) -> bytes | None:
        """What was sealed; None if no key opens it, as it was changed or sealed with another."""
        try:
            return self._fernet.decrypt(sealed)
        except self._refused:
            return None
