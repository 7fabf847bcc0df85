"""F1, F4: which domains a list means, whatever way it or the address is written."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flask_invitations.addresses import parse
from flask_invitations.config import Config, read
from flask_invitations.errors import ConfigurationError

OPEN, CLOSED, THROWN = None, "may not be invited", "disposable"

#: settings -> addresses, and what is said of each.
VECTORS: list[tuple[dict[str, object], dict[str, str | None]]] = [
    ({}, {"ann@example.com": OPEN, "ann@mailinator.com": OPEN}),
    (
        {"ALLOWED_DOMAINS": ["example.com"]},
        {
            "ann@example.com": OPEN,
            "ANN@Example.COM": OPEN,
            "ann@mail.example.com": CLOSED,
            "ann@example.com.evil.org": CLOSED,
            "ann@notexample.com": CLOSED,
            "ann@example.org": CLOSED,
        },
    ),
    (
        {"ALLOWED_DOMAINS": ["*.Example.com"]},
        {
            "ann@mail.example.com": OPEN,
            "ann@a.b.example.com": OPEN,
            "ann@example.com": CLOSED,
            "ann@notexample.com": CLOSED,
        },
    ),
    (
        {"ALLOWED_DOMAINS": ["*.bücher.example", "XN--BCHER-KVA.example"]},
        {
            "ann@BÜCHER.example": OPEN,
            "ann@bu\u0308cher.example": OPEN,
            "ann@laden.bücher.example": OPEN,
            "ann@laden.xn--bcher-kva.example": OPEN,
            "ann@bucher.example": CLOSED,
        },
    ),
    (
        {
            "ALLOWED_DOMAINS": ["example.com", "*.example.com"],
            "DENIED_DOMAINS": ["mail.example.com", "*.test.example.com"],
        },
        {
            "ann@example.com": OPEN,
            "ann@mail.example.com": CLOSED,
            "ann@a.mail.example.com": OPEN,
            "ann@test.example.com": OPEN,
            "ann@a.test.example.com": CLOSED,
        },
    ),
    ({"DENIED_DOMAINS": ["*.com"]}, {"ann@example.com": CLOSED, "ann@example.org": OPEN}),
    (
        {"BLOCK_DISPOSABLE": True},
        {
            "ann@mailinator.com": THROWN,
            "ann@Mailinator.com": THROWN,
            "ann@any.mailinator.com": THROWN,
            "ann@mailinator.com.example.org": OPEN,
            "ann@example.com": OPEN,
        },
    ),
    (
        {"BLOCK_DISPOSABLE": True, "ALLOWED_DOMAINS": ["mailinator.com"], "DENIED_DOMAINS": ["yopmail.com"]},
        {"ann@mailinator.com": THROWN, "ann@yopmail.com": CLOSED},
    ),
]


def config(**settings: object) -> Config:
    url = "https://app.example.com/accept#{token}"
    ours = {f"INVITATIONS_{key}": value for key, value in {"ACCEPT_URL": url, **settings}.items()}
    return read({"SECRET_KEY": "the key", **ours}, "app")


@pytest.mark.parametrize(("settings", "told"), VECTORS, ids=str)
def test_vectors(settings: dict[str, object], told: dict[str, str | None]) -> None:
    """A name means itself alone, ``*.`` all below it and not itself; denied wins; a disposable one takes in all below
    it; and the refusal says which it was."""
    domains = config(**settings).domains
    for typed, wanted in told.items():
        refusal = domains.refusal(parse(typed).key.rpartition("@")[2])
        assert (refusal is None) == (wanted is None), typed
        assert wanted is None or wanted in str(refusal)


def test_the_list_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the setting is refused, with the line that installs it."""
    from flask_invitations.domains import disposable

    disposable.cache_clear()
    monkeypatch.setitem(sys.modules, "disposable_email_domains", None)
    with pytest.raises(ConfigurationError, match=r"BLOCK_DISPOSABLE .*pip install 'flask-invitations\[disposable\]'"):
        config(BLOCK_DISPOSABLE=True)
    assert config(BLOCK_DISPOSABLE=False).domains.refusal("mailinator.com") is None


def test_the_list_is_read_once_and_only_where_it_is_wanted() -> None:
    """An app that does not block disposable addresses does not read the list, and two that do have the same."""
    assert config(BLOCK_DISPOSABLE=True).domains.disposable is config(BLOCK_DISPOSABLE=True).domains.disposable
    code = "import sys; from tests.unit.test_domains import config; config().domains; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "flask_invitations.domains" in told
    assert "disposable_email_domains" not in told
