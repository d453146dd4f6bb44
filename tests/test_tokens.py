"""Tokens: unguessable, evenly spread, and carrying the life of their session unchanged."""

from __future__ import annotations

import math
import os
import re
import string
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memsessions import SessionsClient, tokens
from memsessions.tokens import (
    ALPHABET,
    LENGTH,
    TTL_MAX_S,
    TTL_MIN_S,
    Life,
    hashed,
    life_text,
    new_token,
    parse_life,
    server_tag,
    token_life,
)

from .support.sessions import UNKNOWN

LIVES = st.builds(Life, st.integers(TTL_MIN_S, TTL_MAX_S), st.booleans())
TAG = server_tag("127.0.0.1:11211")


def random_part(token: str) -> str:
    return token[: tokens._RANDOM_LENGTH]


def test_the_alphabet_is_all_letters_and_digits() -> None:
    assert sorted(ALPHABET) == sorted(string.ascii_letters + string.digits)


def test_a_token_has_more_than_256_random_bits() -> None:
    assert tokens._RANDOM_LENGTH * math.log2(len(ALPHABET)) > 300


def test_every_character_is_equally_likely_at_every_place() -> None:
    """Chi-square over 5,000 tokens, with a bound that chance exceeds less than once in a billion runs."""
    number = 5_000
    parts = [random_part(new_token(TAG, Life(3600, False))) for _ in range(number)]
    freedom = len(ALPHABET) - 1
    counts = [Counter("".join(parts)), *(Counter(part[at] for part in parts) for at in range(0, 51, 10))]
    for count in counts:
        expected = count.total() / len(ALPHABET)
        chi_square = sum((count[character] - expected) ** 2 / expected for character in ALPHABET)
        # Of a chi-square distribution: its mean, and eight of its standard deviations.
        assert chi_square < freedom + 8 * math.sqrt(2 * freedom)


def test_the_table_of_characters_gives_each_of_them_four_bytes() -> None:
    """The rest of the 256 is thrown away, so that no character is favoured."""
    counts = Counter(bytes(range(256)).translate(tokens._TO_ALPHABET, tokens._UNEVEN).decode())
    assert counts == dict.fromkeys(ALPHABET, 4)


def test_unlucky_random_bytes_are_thrown_away_and_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([b"\xff" * LENGTH, b"\xf8\x00" * (LENGTH // 2), b"\x01" * LENGTH])
    monkeypatch.setattr(os, "urandom", lambda _number: next(drawn))
    token = new_token(TAG, Life(3600, False))
    assert random_part(token) == ALPHABET[0] * 32 + ALPHABET[1] * 19


def test_no_two_tokens_are_alike() -> None:
    assert len({random_part(new_token(TAG, Life(3600, False))) for _ in range(20_000)}) == 20_000


def test_tokens_come_from_the_operating_systems_randomness(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not from a generator that can be seeded."""
    monkeypatch.setattr(os, "urandom", lambda number: b"\x02" * number)
    assert random_part(new_token(TAG, Life(60, False))) == ALPHABET[2] * tokens._RANDOM_LENGTH


@given(LIVES)
@example(Life(TTL_MIN_S, False))
@example(Life(TTL_MIN_S, True))
@example(Life(TTL_MAX_S, False))
@example(Life(TTL_MAX_S, True))
def test_a_token_brings_its_sessions_life_along(life: Life) -> None:
    """Whatever the life is, in 64 letters and digits that end with the text of the index."""
    token = new_token(TAG, life)
    assert re.fullmatch(r"[A-Za-z0-9]{64}", token)
    assert token_life(token) == life
    assert type(token_life(token).no_resave) is bool
    assert token.endswith(TAG + life_text(life))
    assert parse_life(life_text(life).encode()) == life


@given(LIVES, LIVES)
def test_different_lives_have_different_texts(one: Life, other: Life) -> None:
    assert (life_text(one) == life_text(other)) == (one == other)


@given(st.text(ALPHABET, min_size=LENGTH, max_size=LENGTH))
@example("0" * LENGTH)
@example("z" * LENGTH)
@example("f" * LENGTH)
def test_a_token_that_nobody_issued_still_means_a_life_that_can_be(token: str) -> None:
    """So it is asked for as any other, and found to be unknown."""
    life = token_life(token)
    assert TTL_MIN_S <= life.ttl <= TTL_MAX_S


@pytest.mark.parametrize("token", ["0" * LENGTH, "z" * LENGTH, "A" * LENGTH, UNKNOWN, "f" * LENGTH])
def test_a_token_that_nobody_issued_is_unknown(client: SessionsClient, token: str) -> None:
    client.create("forum", "user", "192.0.2.1")
    assert client.get("forum", token) is None
    assert client.set("forum", token, {"a": 1}) is None
    assert client.rotate("forum", token) is None
    assert client.kill("forum", token) == {"kill": 0}
    assert len(client.soapp("forum")) == 1


@pytest.mark.parametrize("no_resave", [False, True])
def test_a_token_with_another_life_is_another_token(client: SessionsClient, no_resave: bool) -> None:
    """Who changes the end of a token cannot make the session live longer: nobody knows that token."""
    token = client.create("forum", "user", "192.0.2.1", ttl=60, no_resave=no_resave)["token"]
    for life in (Life(TTL_MAX_S, no_resave), Life(60, not no_resave)):
        forged = token[: -tokens.LIFE_LENGTH] + life_text(life)
        assert client.get("forum", forged) is None
        assert client.set("forum", forged, {"a": 1}) is None
    session = client.get("forum", token)
    assert session is not None
    assert (session["ttl"], session["w"], session["r"]) == (60, 1, 2)


def test_a_server_has_a_tag_of_its_own() -> None:
    """The same in every process, of 8 letters and digits."""
    names = ["127.0.0.1:11211", "127.0.0.1:11212", "unix:/run/memcached.sock", "memory://", "[::1]:11211"]
    tags = [server_tag(name) for name in names]
    assert tags == [server_tag(name) for name in names]
    assert len(set(tags)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9]{8}", tag) for tag in tags)
    assert TAG == "KnQtD8oq"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_name_is_a_hash_of_22_characters_that_a_key_can_hold(text: str) -> None:
    """No space, no line end; the same text gives the same name, and the name nothing of the text."""
    name = hashed(text)
    assert re.fullmatch(rb"[A-Za-z0-9+/]{22}", name)
    assert hashed(text) == name
    assert hashed(text + "x") != name
