"""Handles: what sessions are called where they are shown."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsessions.handles import handle_of, handle_of_token, name_of
from memsessions.tokens import Life, hashed, new_token, server_tag


@given(st.text(min_size=1))
def test_a_handle_stands_for_one_name_and_fits_everywhere(text: str) -> None:
    """Into a path, a form and a command line, as it is."""
    handle = handle_of(hashed(text))
    assert re.fullmatch("[0-9a-f]{32}", handle)
    assert name_of(handle) == hashed(text)


def test_the_handle_of_a_token_is_that_of_its_session() -> None:
    token = new_token(server_tag("cache-a"), Life(100, no_resave=False))
    assert name_of(handle_of_token(token)) == hashed(token)
    assert handle_of_token(token)[:8] not in token


@pytest.mark.parametrize(
    "handle", [None, 5, b"0" * 32, "", "0" * 31, "0" * 33, "0" * 32 + "\n", "A" * 32, "g" * 32, "\u0660" * 32]
)
def test_anything_else_is_no_handle(handle: Any) -> None:
    assert name_of(handle) is None
