"""Signed cookies: what was changed, or signed by somebody else, is no token."""

from __future__ import annotations

import string
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer as Signing

from memsessions import ConfigurationError
from memsessions.web.cookies import Cookie
from memsessions.web.signing import Signer

OLD, NEW, OTHER = "the old secret of this site", "its new secret, for a year", "a secret of somebody else"
# The same in every process of the tests: cases are named by it.
TOKEN = "Zf5" * 21 + "Z"

tokens = st.text(string.ascii_letters + string.digits, min_size=64, max_size=64)


@given(tokens)
def test_what_was_signed_is_verified(token: str) -> None:
    signer = Signer(NEW)
    assert signer.unsign(signer.sign(token)) == token


@given(tokens)
def test_a_signed_token_fits_into_a_cookie_and_is_always_as_long(token: str) -> None:
    value = Signer(NEW).sign(token)
    cookie = Cookie()
    assert len(value) == 108
    assert cookie.find(cookie.header(value, https=True).partition(";")[0]) == value


def test_the_first_secret_signs_and_all_verify() -> None:
    both = Signer([NEW, OLD])
    assert both.sign(TOKEN) == Signer(NEW).sign(TOKEN)
    assert both.unsign(Signer(OLD).sign(TOKEN)) == TOKEN
    assert Signer(OLD).unsign(both.sign(TOKEN)) is None
    assert both.unsign(Signer(OTHER).sign(TOKEN)) is None


def test_a_secret_is_the_same_as_text_and_as_bytes() -> None:
    assert Signer(NEW.encode()).unsign(Signer(NEW).sign(TOKEN)) == TOKEN
    assert Signer(secret for secret in (OLD, NEW.encode())).unsign(Signer(NEW).sign(TOKEN)) == TOKEN


def test_another_use_of_the_same_secret_signs_otherwise() -> None:
    signer = Signer(NEW)
    assert signer.unsign(Signing(NEW).sign(TOKEN).decode()) is None
    assert signer.unsign(Signer(NEW, salt="another").sign(TOKEN)) is None


def test_no_character_can_be_changed_left_out_or_added() -> None:
    """The last of the signature neither, of which base64 ignores some bits."""
    signer = Signer(NEW)
    value = signer.sign(TOKEN)
    alphabet = string.ascii_letters + string.digits + "-_.="
    for at in range(len(value)):
        assert signer.unsign(value[:at] + value[at + 1 :]) is None
        for character in alphabet:
            if character != value[at]:
                assert signer.unsign(value[:at] + character + value[at + 1 :]) is None
    for character in alphabet:
        assert signer.unsign(value + character) is None
        assert signer.unsign(character + value) is None


@given(st.text())
def test_what_a_client_makes_up_is_no_token(value: str) -> None:
    assert Signer([NEW, OLD]).unsign(value) is None


@pytest.mark.parametrize(
    "value", ["", ".", "..", TOKEN, TOKEN + ".", "." + TOKEN, "é.é", "\udcff", "a" * 100_000]
)
def test_what_has_no_signature_is_no_token(value: str) -> None:
    assert Signer(NEW).unsign(value) is None


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        ("", "16 characters at least"),
        ("fifteen letters", "16 characters at least, or it can be guessed"),
        (b"short", "secrets.token_urlsafe"),
        ([NEW, "short"], "16 characters at least"),
        ([], "must not be empty"),
        (iter(()), "must not be empty"),
        (None, "secrets must be text, bytes or several of these, not NoneType"),
        (5, "not int"),
        ([NEW, None], "a secret must be text or bytes, not NoneType"),
        ([[NEW]], "a secret must be text or bytes, not list"),
    ],
)
def test_a_secret_that_is_none_or_too_short_is_refused(secrets: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        Signer(secrets)
    assert NEW not in str(caught.value)
    assert "fifteen" not in str(caught.value)


def test_without_itsdangerous_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'memsessions\[web\]'"):
        Signer(NEW)


def test_its_repr_shows_no_secret() -> None:
    assert NEW not in repr(Signer(NEW))
