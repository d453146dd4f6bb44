"""Encrypted data: only the keys open it, and only as it was sealed."""

from __future__ import annotations

import sys
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsessions import ConfigurationError
from memsessions.web.encryption import Encryption

# The same in every process of the tests: cases are named by them.
OLD, NEW, OTHER = (urlsafe_b64encode(bytes([number]) * 32) for number in range(3))


@given(st.binary(max_size=2000))
def test_what_was_sealed_is_opened(data: bytes) -> None:
    encryption = Encryption(NEW)
    sealed = encryption.seal(data)
    assert encryption.open(sealed) == data
    assert sealed.isascii()
    assert len(sealed) <= 100 + len(data) * 4 / 3


def test_nothing_of_it_shows_and_no_two_are_the_same() -> None:
    encryption = Encryption(NEW)
    sealed = {encryption.seal(b"theme: dark") for _ in range(50)}
    assert len(sealed) == 50
    assert not any("dark" in each for each in sealed)


def test_the_first_key_seals_and_all_open() -> None:
    both = Encryption([NEW, OLD])
    assert both.open(Encryption(OLD).seal(b"data")) == b"data"
    assert Encryption(NEW).open(both.seal(b"data")) == b"data"
    assert Encryption(OLD).open(both.seal(b"data")) is None
    assert both.open(Encryption(OTHER).seal(b"data")) is None


def test_a_key_is_the_same_as_text_and_as_bytes() -> None:
    assert Encryption(NEW.decode()).open(Encryption(NEW).seal(b"data")) == b"data"
    assert Encryption(key for key in (OLD, NEW.decode())).open(Encryption(NEW).seal(b"data")) == b"data"


def test_what_was_changed_is_not_opened() -> None:
    encryption = Encryption(NEW)
    sealed = encryption.seal(b"theme: dark")
    text = sealed.rstrip("=")
    # Not the last character: base64 ignores some bits of it.
    for at in range(len(text) - 1):
        other = "A" if sealed[at] != "A" else "B"
        assert encryption.open(sealed[:at] + other + sealed[at + 1 :]) is None
        assert encryption.open(sealed[:at]) is None


@given(st.text())
def test_what_was_never_sealed_is_not_opened(sealed: str) -> None:
    assert Encryption([NEW, OLD]).open(sealed) is None


@pytest.mark.parametrize("sealed", ["", "é", "\udcff", "=", "gAAAAA", "A" * 100_000])
def test_odd_texts_are_not_opened(sealed: str) -> None:
    assert Encryption(NEW).open(sealed) is None


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("", "number 1 is no key"),
        ("a password is no key", "number 1 is no key.*Fernet.generate_key"),
        (b"a password is no key", "number 1 is no key"),
        (b"\xff" * 44, "number 1 is no key"),
        (NEW.decode()[:-2], "number 1 is no key"),
        ([NEW, "a password is no key"], "number 2 is no key"),
        ([NEW, None], "number 2 is no key"),
        ([NEW, 5], "number 2 is no key"),
        ([], "must not be empty"),
        (None, "encryption_key must be text, bytes or several of these, not NoneType"),
        (5, "not int"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(keys: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        Encryption(keys)
    error: BaseException | None = caught.value
    assert error is not None
    assert error.__suppress_context__ or error.__context__ is None
    assert "password" not in str(error)
    assert NEW.decode()[:10] not in str(error)


def test_without_cryptography_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("cryptography", "cryptography.fernet"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'memsessions\[encryption\]'"):
        Encryption(NEW)


def test_its_repr_shows_no_key() -> None:
    assert NEW.decode() not in repr(Encryption(NEW))
