"""Nonce -> token -> hash."""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_invitations.pasted import candidates
from flask_invitations.testing import token_in
from flask_invitations.tokens import Mint, Pseudonyms, RedactFilter, Token, parse, redact

OLD, NEW = "the old key", "the new key"
URL_SAFE = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", min_size=43, max_size=43)


def test_shape() -> None:
    """D7: a token is 43 URL-safe characters, 256 bits, and each is another one."""
    made = [Mint([NEW]).new()[1].reveal() for _ in range(200)]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", text) for text in made)
    assert len(set(made)) == 200


def test_hash() -> None:
    """D7: what rests in the row is the SHA-256 of the token, and neither nonce nor hash is or contains the token."""
    nonce, token = Mint([NEW]).new()
    assert token.hash == hashlib.sha256(token.reveal().encode()).hexdigest()
    assert re.fullmatch(r"[0-9a-f]{64}", nonce)
    assert token.reveal() not in nonce + token.hash


def test_key_and_nonce_are_both_needed() -> None:
    """D6, D7: the stored nonce under another key, or the key with another nonce, gives another token."""
    nonce, token = Mint([NEW]).new()
    assert Mint([OLD]).recover(nonce, token.hash) is None
    assert Mint([NEW]).recover("00" * 32, token.hash) is None


def test_recover() -> None:
    """D6: a mail that is tried again carries the same link although no token was stored."""
    mint = Mint([NEW])
    nonce, token = mint.new()
    assert mint.recover(nonce, token.hash) == token


def test_rotation() -> None:
    """I5: the newest key makes tokens, every fallback still recovers those that it made."""
    nonce, token = Mint([OLD]).new()
    rotated = Mint([NEW, OLD])
    assert rotated.recover(nonce, token.hash) == token
    fresh_nonce, fresh = rotated.new()
    assert Mint([NEW]).recover(fresh_nonce, fresh.hash) == fresh
    assert Mint([OLD]).recover(fresh_nonce, fresh.hash) is None


def test_retired_key() -> None:
    """I5: with its key gone a token cannot be recovered, and nothing is guessed instead."""
    nonce, token = Mint([OLD]).new()
    assert Mint([NEW]).recover(nonce, token.hash) is None


def test_bytes_key() -> None:
    """A host's key may be bytes, as Flask allows, and text and bytes of the same key are one key."""
    nonce, token = Mint([NEW.encode()]).new()
    assert Mint([NEW]).recover(nonce, token.hash) == token


@pytest.mark.parametrize("show", [str, repr, "{}".format, "{!r}".format, "%s".__mod__, lambda token: f"{[token]}"])
def test_masks(show: object) -> None:
    """D2: printing, formatting or nesting a token never shows it."""
    _, token = Mint([NEW]).new()
    assert callable(show)
    assert token.reveal() not in show(token)


def test_mint_shows_no_key() -> None:
    """D2: neither does printing the mint show the key."""
    assert NEW not in repr(Mint([NEW])) + str(vars(Mint([NEW])))


@given(URL_SAFE)
def test_parse(text: str) -> None:
    """A11: a well-shaped token is read as it is."""
    token = parse(text)
    assert token is not None
    assert token.reveal() == text


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.binary(), st.lists(URL_SAFE, max_size=2), st.text()))
def test_parse_refuses(value: object) -> None:
    """A11: nothing else is a token, whatever its type."""
    assert parse(value) is None or (isinstance(value, str) and len(value) == 43)


@pytest.mark.parametrize("tail", ["\n", " ", "\0", "=", "A", "é", "\u0661"])
@given(URL_SAFE)
def test_parse_is_exact(tail: str, text: str) -> None:
    """A11: a token with anything before or after it, or with a character less, is none."""
    assert parse(text + tail) is parse(tail + text) is parse(text[:-1]) is None
    assert parse(text[:-1] + tail) is None or tail == "A"


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "https://app.example.com/invitations/accept#{}",
        "https://app.example.com/invitations/accept/{}",
        "https://app.example.com/accept?token={}",
        "<https://app.example.com/accept#{}>",
        "  https://app.example.com/accept#{}  \r\n",
        "https://app.example.com/accept#{}.",
    ],
)
@given(URL_SAFE)
def test_find(around: str, text: str) -> None:
    """The likeliest token in a pasted link is its own, whatever the mail program put around it."""
    assert candidates(around.format(text))[0] == Token(text)
    assert token_in(around.format(text)) == text


@pytest.mark.parametrize("text", ["", "https://app.example.com/accept", "A" * 42, "A" * 44, "A" * 86])
def test_find_nothing(text: str) -> None:
    """Where there is no token the kit finds none: a longer run of such characters is not cut to size."""
    with pytest.raises(LookupError):
        token_in(text)


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "GET /invitations/accept/{} HTTP/1.1",
        "https://app.example.com/accept?token={}&x=1",
        "{{'token': '{}'}}",
        "?next=" + quote("/invitations/accept/{}", safe="{}"),
        "?url=" + quote("https://app.example.com/accept#{}", safe="{}"),
        "a-{}-b",
    ],
)
@given(URL_SAFE)
def test_redact(around: str, text: str) -> None:
    """D2, D3: no token survives redaction, in a path, a query, or percent-encoded inside another link."""
    assert text not in redact(around.format(text))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=42))
def test_redact_keeps_the_rest(text: str) -> None:
    """D2: what is too short to hold a token stays as it is."""
    assert redact(text) == text


def test_redact_filter(caplog: pytest.LogCaptureFixture) -> None:
    """D2: a log record's message and its arguments are both masked."""
    text = "Zm9v-_" + "aB3xY" * 7 + "zz"  # one that begins with "2D" would read as a code, and take "x=" along
    caplog.handler.addFilter(RedactFilter())
    logging.getLogger("host").warning("GET %s?%s=" + text, f"/accept/{text}", "x")
    assert caplog.messages == ["GET /accept/***?x=***"]
    try:
        raise RuntimeError(f"could not open /accept/{text}")
    except RuntimeError:
        logging.getLogger("host").exception("failed")
    assert text not in caplog.text
    assert "could not open /accept/***" in caplog.text


def test_stop_tokens_are_of_the_newest_key() -> None:
    """I5: what stops emails is signed with the present key, so that it stops them when the old one is gone too."""
    whose = uuid.uuid4(), "ab" * 32
    made = {key: Pseudonyms([key, OLD]).stop_token(*whose) for key in (NEW, OLD)}
    assert Pseudonyms([NEW]).read_stop_token(made[NEW]) == whose
    assert Pseudonyms([NEW, OLD]).read_stop_token(made[OLD]) == whose
    assert Pseudonyms([NEW]).read_stop_token(made[OLD]) is None
