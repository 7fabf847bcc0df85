"""The settings: read once, checked, frozen; every bad value is refused by name."""

from __future__ import annotations

import dataclasses
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_invitations.config import _READERS, PREFIX, RATELIMITS, Config, read
from flask_invitations.errors import ConfigurationError
from flask_invitations.origins import Origin

URL = "https://app.example.com/invitations/accept#{token}"
KEY = "the key"


def _read(**settings: Any) -> Config:
    given = {"SECRET_KEY": KEY, "ACCEPT_URL": URL, **settings}
    flask = ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "TESTING", "DEBUG")
    return read({key if key in flask else PREFIX + key: value for key, value in given.items()}, "app")


NO_TEXT = (None, "", 7, b"text", ["text"])
NO_FLAG = (None, 1, 0, "yes", "")
NO_SPAN = (None, "3600", True, float("nan"), float("inf"), 10**12, [3600])
NO_NAMES: tuple[Any, ...] = (
    None,
    "admin",
    (),
    [],
    ("admin", "admin"),
    ("",),
    (None,),
    (7,),
    ("x" * 65,),
    {"admin"},
    {"admin": 1},
)
NO_DOMAINS: tuple[Any, ...] = (
    None,
    "example.com",
    {"example.com"},
    [None],
    [b"example.com"],
    [""],
    ["*"],
    ["*."],
    ["*.*"],
    ["**.example.com"],
    ["mail.*.example.com"],
    ["*example.com"],
    ["com"],
    ["localhost"],
    ["example.com."],
    ["@example.com"],
    ["ann@example.com"],
    ["https://example.com"],
    ["example.com, example.org"],
    ["x" * 64 + ".com"],
)
BAD: dict[str, tuple[Any, ...]] = {
    "ACCEPT_URL": (
        *NO_TEXT,
        "https://app.example.com/accept",
        "https://app.example.com/{token}#{token}",
        "/accept#{token}",
        "//app.example.com/accept#{token}",
        "app.example.com/accept#{token}",
        "http://app.example.com/accept#{token}",
        "http://localhost.example.com/accept#{token}",
        "http://localhost@app.example.com/accept#{token}",
        "ftp://app.example.com/accept#{token}",
        "javascript:alert(1)//#{token}",
        "https://{token}.example.com/accept",
        "https://{token}@app.example.com/accept",
        "https:///accept#{token}",
        "https://[::1/accept#{token}",
        "{token}",
    ),
    "API_PREFIX": (*NO_TEXT, "api", "/api/", "/", "https://api.example.com"),
    "PAGES_PREFIX": (*NO_TEXT[1:], "pages", "/pages/", "/"),
    "TTL": (*NO_SPAN, 0, -1, 3599, timedelta(minutes=59), timedelta(days=30, seconds=1), 30 * 86400 + 1),
    "ROLES": NO_NAMES,
    "ADMIN_ROLES": (*NO_NAMES, ("root",)),
    "DEFAULT_ROLE": (*NO_TEXT, "root"),
    "APP_NAME": (*NO_TEXT, "  "),
    "PASSWORD_MIN_LENGTH": (None, "15", True, 15.0, 7, 0, -1),
    "PASSWORD_MAX_LENGTH": (None, "128", True, 128.0, 7, 0, -1, 14, 10**6),
    "PASSWORD_REQUIRED": NO_FLAG,
    "REVEAL_ACCOUNTS": NO_FLAG,
    "RETURN_LINK": NO_FLAG,
    "TRUSTED_ORIGINS": (
        None,
        "https://app.example.com",
        {"https://app.example.com"},
        [None],
        [""],
        ["*"],
        ["null"],
        ["app.example.com"],
        ["https://*.example.com"],
        ["https://app.example.com/"],
        ["https://app.example.com/path"],
        ["https://me@app.example.com"],
        ["http://app.example.com"],
        ["https://app.example.com, https://b.example.com"],
        ["https://[::1"],
        ["https://app.example.com:99999"],
    ),
    "BULK_MAX": (None, "8", True, 8.0, 0, -1, 10_001),
    "DELIVERY_ATTEMPTS": (None, "8", True, 8.0, 0, -1, 1000),
    "DELIVERY_LEASE": (*NO_SPAN, 0, -1, 0.5, 3601),
    "DELIVERY": (None, "", "later", "INLINE", True, ["inline"]),
    "REMIND_BEFORE": (*NO_SPAN[1:], 0, -1, 59, timedelta(days=29, seconds=1)),
    "NOTIFY_INVITER": NO_FLAG,
    "NOTIFY_REVOKED": NO_FLAG,
    "FRESH_LINK": ("", "resend", True, False, 1, ["send"]),
    "LIST_UNSUBSCRIBE": NO_FLAG,
    "PAGES_URL": (
        *NO_TEXT,
        "/invitations",
        "app.example.com/invitations",
        "http://app.example.com/invitations",
        "https://app.example.com/",
        "https://app.example.com/invitations/",
        "https://app.example.com/invitations?a=1",
        "https://app.example.com/#a",
        "https://app.example.com/<a>",
        "https://me@app.example.com/invitations",
        "https://[::1",
    ),
    "RECHECK_INVITER": NO_FLAG,
    "ALLOWED_DOMAINS": (*NO_DOMAINS[1:], (), []),
    "DENIED_DOMAINS": NO_DOMAINS,
    "BLOCK_DISPOSABLE": NO_FLAG,
    "PENDING_MAX": ("1000", True, False, 10.0, 0, -1, 10**9, [10]),
    "RATELIMIT_STORAGE": NO_TEXT,
    **dict.fromkeys(
        RATELIMITS,
        (
            *NO_TEXT[1:],
            0,
            "10",
            "many/day",
            "10/fortnight",
            "0/day",
            "9223372036854775807/day",
            "-1/day",
            "10/31 days",
            "1/year",
            "1/day;",
            "1/day 5",
        ),
    ),
    "RETENTION": (*NO_SPAN, -1, timedelta(seconds=-1)),
}
GOOD: dict[str, tuple[tuple[Any, Any], ...]] = {
    "ACCEPT_URL": tuple(
        (url, url)
        for url in (
            URL,
            "https://app.example.com/accept/{token}",
            "https://app.example.com/accept?t={token}&x=1",
            "http://localhost:5000/accept#{token}",
            "http://127.0.0.1/accept#{token}",
            "http://[::1]:5000/accept#{token}",
        )
    ),
    "API_PREFIX": (("/api", "/api"),),
    "PAGES_PREFIX": (("/join", "/join"), (None, None)),
    "TTL": (
        (3600, timedelta(hours=1)),
        (timedelta(hours=1), timedelta(hours=1)),
        (timedelta(days=30), timedelta(days=30)),
        (5400.5, timedelta(seconds=5400.5)),
    ),
    "ROLES": ((["user", "admin", "owner", "x" * 64], ("user", "admin", "owner", "x" * 64)),),
    "ADMIN_ROLES": ((["manager"], ("manager",)),),
    "DEFAULT_ROLE": (("viewer", "viewer"),),
    "APP_NAME": (("Acme", "Acme"),),
    "PASSWORD_MIN_LENGTH": ((8, 8), (128, 128)),
    "PASSWORD_MAX_LENGTH": ((15, 15), (4096, 4096)),
    "PASSWORD_REQUIRED": ((False, False),),
    "REVEAL_ACCOUNTS": ((False, False),),
    "RETURN_LINK": ((True, True),),
    "TRUSTED_ORIGINS": (
        ((), ()),
        (["https://App.Example.com:443"], (Origin("https", "app.example.com"),)),
        (
            ("http://localhost:3000", "https://bücher.example"),
            (Origin("http", "localhost", 3000), Origin("https", "xn--bcher-kva.example")),
        ),
    ),
    "BULK_MAX": ((1, 1), (10_000, 10_000)),
    "DELIVERY_ATTEMPTS": ((1, 1), (50, 50)),
    "DELIVERY_LEASE": ((1, timedelta(seconds=1)), (timedelta(hours=1), timedelta(hours=1))),
    "DELIVERY": (("queue", "queue"), ("inline", "inline")),
    "REMIND_BEFORE": ((60, timedelta(minutes=1)), (timedelta(days=29), timedelta(days=29)), (None, None)),
    "NOTIFY_INVITER": ((True, True),),
    "NOTIFY_REVOKED": ((True, True),),
    "FRESH_LINK": (("send", "send"), ("ask", "ask"), (None, None)),
    "LIST_UNSUBSCRIBE": ((True, True),),
    "PAGES_URL": (
        ("https://Invite.Example.com:443", "https://invite.example.com"),
        ("https://app.example.com/a/b", "https://app.example.com/a/b"),
        ("http://localhost:5000/invitations", "http://localhost:5000/invitations"),
    ),
    "RECHECK_INVITER": ((False, False),),
    "ALLOWED_DOMAINS": (
        (None, None),
        (["Example.com", "*.Example.com"], ("example.com", "*.example.com")),
        (("*.bücher.example", "FAß.de"), ("*.xn--bcher-kva.example", "xn--fa-hia.de")),
    ),
    "DENIED_DOMAINS": (((), ()), (["*.com"], ("*.com",)), (["XN--Bcher-KVA.example"], ("xn--bcher-kva.example",))),
    "BLOCK_DISPOSABLE": ((True, True), (False, False)),
    "PENDING_MAX": ((1, 1), (1_000_000, 1_000_000), (None, None)),
    "RATELIMIT_STORAGE": (("redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379/1"),),
    **dict.fromkeys(
        RATELIMITS,
        ((None, None), ("5/15 minutes", "5/15 minutes"), ("1 per second, 9/30 days", "1 per second, 9/30 days")),
    ),
    "RETENTION": ((0, timedelta(0)), (timedelta(days=3650), timedelta(days=3650))),
}


def test_tables_are_complete() -> None:
    """Every setting has a field of its own, bad values and good values here, and is read by one reader."""
    fields = {field.name.upper() for field in dataclasses.fields(Config)} - {"SECRET_KEYS", "SESSION_COOKIE"}
    assert fields == set(_READERS) == set(BAD) == set(GOOD)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values], ids=repr)
def test_bad_value(key: str, value: Any) -> None:
    """E1: a value that cannot work is refused at once, naming its key and, in one sentence, the mend."""
    with pytest.raises(ConfigurationError, match=rf"^INVITATIONS_{key} .+\.$"):
        _read(**{key: value})


@pytest.mark.parametrize(
    ("key", "value", "expected"), [(key, *pair) for key, pairs in GOOD.items() for pair in pairs], ids=repr
)
def test_good_value(key: str, value: Any, expected: Any) -> None:
    """A value that can work is taken, in its one type."""
    assert getattr(_read(**{key: value}), key.lower()) == expected


@given(
    st.sampled_from(sorted(_READERS)),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.text())),
)
def test_anything(key: str, value: Any) -> None:
    """Whatever a setting is set to, the answer is a config or a ConfigurationError that names a setting."""
    try:
        answer = repr(_read(**{key: value}))
    except ConfigurationError as error:
        answer = str(error)
    assert re.match(r"Config\(|INVITATIONS_[A-Z_]+ ", answer)


def test_defaults() -> None:
    """One setting is required; every other has the documented default."""
    config = _read()
    assert dataclasses.asdict(config) == {
        **{field.name: field.default for field in dataclasses.fields(Config) if field.name != "secret_keys"},
        "accept_url": URL,
        "app_name": "app",
        "pages_url": "https://app.example.com/invitations",
        "secret_keys": (KEY,),
        **({"testing": False} if hasattr(config, "testing") else {}),
    }
    assert (config.ttl, config.retention) == (timedelta(hours=48), timedelta(days=90))
    assert (config.password_min_length, config.password_max_length) == (15, 128)


def test_where_the_pages_are() -> None:
    """The pages are reached from outside where the link leads, under their prefix; without pages no email can be
    stopped."""
    link = {"ACCEPT_URL": "https://App.example.com:443/join#{token}", "PAGES_PREFIX": "/join"}
    assert _read(**link).stop_link("x") == "https://app.example.com/join/stop/x"
    with pytest.raises(ConfigurationError, match=r"^INVITATIONS_LIST_UNSUBSCRIBE needs the pages"):
        _read(PAGES_PREFIX=None, LIST_UNSUBSCRIBE=True)


def test_accept_url_is_required() -> None:
    """E1: there is no fallback for the link's host: without the setting the app does not start."""
    with pytest.raises(ConfigurationError, match="INVITATIONS_ACCEPT_URL"):
        read({"SECRET_KEY": KEY}, "app")


@pytest.mark.parametrize("secret", [None, "", b""])
def test_secret_key_is_required(secret: Any) -> None:
    """Without a key no link can be made: the app does not start."""
    with pytest.raises(ConfigurationError, match="SECRET_KEY"):
        _read(SECRET_KEY=secret)


@pytest.mark.parametrize("fallbacks", [None, [], ["old", b"older"]])
def test_secret_keys(fallbacks: Any) -> None:
    """I5: the present key stands first, its fallbacks behind it in their order."""
    assert _read(SECRET_KEY_FALLBACKS=fallbacks).secret_keys == (KEY, *(fallbacks or ()))


def test_unknown_setting() -> None:
    """A misspelt setting is refused, not ignored."""
    with pytest.raises(ConfigurationError, match="INVITATIONS_TLL"):
        _read(TLL=3600)


def test_other_peoples_settings() -> None:
    """Settings of others are none of ours."""
    assert read({"SECRET_KEY": KEY, "INVITATIONS_ACCEPT_URL": URL, "INVITE_TTL": 1, "TTL": "x"}, "app") == _read()


def test_frozen() -> None:
    """Settings are read once: nobody changes them afterwards."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        _read().ttl = timedelta(0)  # type: ignore[misc]


def test_repr_keeps_the_key() -> None:
    """D2: printing the settings does not print the key."""
    assert KEY not in repr(_read(SECRET_KEY_FALLBACKS=["old " + KEY]))


@pytest.mark.parametrize(
    ("url", "origin"), [(URL, "https://app.example.com"), ("http://[::1]:5000/#{token}", "http://[::1]:5000")]
)
def test_link(url: str, origin: str) -> None:
    """The mailed link is the template with the token in its place, and its origin is known."""
    config = _read(ACCEPT_URL=url)
    assert config.link("T") == url.replace("{token}", "T")
    assert str(config.accept_origin) == origin
