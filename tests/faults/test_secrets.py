"""A secret shows itself to nobody who did not ask; a log line shows no token, however it carries one."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from flask_invitations import RedactFilter, redact
from flask_invitations.shapes import ACCEPT, load, load_accept
from flask_invitations.tokens import Secret, Token, parse

TOKEN = "aB3_" * 10 + "x-Z"


@dataclasses.dataclass
class Holder:
    it: Secret


SHOWS: dict[str, Callable[[Secret], Any]] = {
    "repr": repr,
    "str": str,
    "format": lambda it: f"{it} {it!r:>60} {it!a} {it:>60}",
    "percent": lambda it: "%s %r" % (it, it),  # noqa: UP031
    "bytes": bytes,
    "json": lambda it: json.dumps({"it": it}, default=str),
    "pickle": pickle.dumps,
    "unpickled": lambda it: pickle.loads(pickle.dumps(it)).reveal(),
    "in a list": lambda it: str([it, (it,), {it}, {it: it}]),
    "in a dataclass": lambda it: f"{Holder(it)} {dataclasses.asdict(Holder(it))}",
    "copies": lambda it: f"{copy.copy(it)} {copy.deepcopy([it])}",
}


@pytest.mark.parametrize("kind", [Secret, Token])
@pytest.mark.parametrize("how", SHOWS)
def test_a_secret_is_a_mask(how: str, kind: type[Secret]) -> None:
    """S3: printing, formatting, copying, storing or walking a secret shows a mask."""
    shown = SHOWS[how](kind(TOKEN))
    assert TOKEN not in (shown.decode("latin-1") if isinstance(shown, bytes) else shown)
    assert kind(TOKEN).reveal() == TOKEN


def test_secrets_are_compared_by_what_they_hold() -> None:
    """S3: equal text, equal secret; no secret is equal to a text."""
    assert Secret("é\ud800") == Secret("é\ud800")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert copy.deepcopy(Secret("a")) == Secret("a")


def test_a_body_is_loaded_into_secrets() -> None:
    """S3: what the schema gives on is masked already; a secret that comes in stays one."""
    given = load_accept({"token": TOKEN, "password": "correct horse"}, ())
    assert (given["token"], given["password"]) == (Secret(TOKEN), Secret("correct horse"))
    assert load(ACCEPT, {"token": Secret(TOKEN)}) == {"token": Secret(TOKEN), "password": None}
    assert parse(Secret(TOKEN)) == Token(TOKEN)


class Url:
    """An argument whose text holds the token."""

    def __str__(self) -> str:
        return f"https://x.example/accept/{TOKEN}"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError(TOKEN)

    __repr__ = __str__


class Atoms(dict[str, Any]):
    """What Gunicorn gives to its access log: never short of a key."""

    def __missing__(self, key: str) -> str:
        return "-"


class JsonLines(logging.Formatter):
    """A formatter as those that write JSON: it takes the record apart, and formats the exception on its own."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name != "exc_info"}
        if record.exc_info:
            fields["error"] = traceback.format_exception(*record.exc_info)
        return json.dumps(fields, default=repr)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What a filtered handler writes, as text and as JSON."""
    written: list[str] = []

    class Writer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            formatters = (logging.Formatter("%(message)s"), JsonLines())
            written.extend(formatter.format(record) for formatter in formatters)

    logger, writer = logging.getLogger("tests.host"), Writer()
    writer.addFilter(RedactFilter())
    logger.addHandler(writer)
    logger.propagate = False
    try:
        yield written
    finally:
        logger.removeHandler(writer)
        logger.propagate = True


RECORDS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "text": (f"open {TOKEN}", (), {}),
    "an argument": ("open %s %d", (TOKEN, 7), {}),
    "a mapping": ("open %(url)s %(left)d", ({"url": {"deep": [TOKEN]}, "left": 1},), {}),
    "an object": ("open %s", (Url(),), {}),
    "bytes": ("open %s", (TOKEN.encode(),), {}),
    "an access log": ('%(r)s "%(f)s" %({x-id}i)s', (Atoms(r=f"GET /accept/{TOKEN}"),), {}),
    "an object for a message": ({"url": Url(), "list": (TOKEN,)}, (), {}),
    "extra": ("open", (), {"extra": {"url": [Url()], "request": {"token": TOKEN}}}),
    "the wrong type": ("open %d", (TOKEN,), {}),
    "too few": ("open %s %s", (TOKEN,), {}),
    "too many": ("open", (TOKEN, TOKEN), {}),
    "none of its keys": ("open %(missing)s", ({"url": TOKEN},), {}),
    "an unprintable": (f"open {TOKEN} %s", (Unprintable(),), {}),
    "an unprintable extra": ("open", (), {"extra": {"url": Unprintable()}}),
    "a stack": (f"open {TOKEN}", (), {"stack_info": True}),
    "percent-encoded": ("open %s", (quote(quote(f"#{TOKEN}").replace("_", "%5F").replace("-", "%2D")),), {}),
    "quoted-printable": ("open %s", (f"#{TOKEN[:20]}=\r\n{TOKEN[20:]}".replace("_", "=5F"),), {}),
}


@pytest.mark.parametrize("what", RECORDS)
def test_no_record_shows_a_token(lines: list[str], what: str) -> None:
    """S4: whatever a log call is given, wrong arguments too, it raises nothing, and no formatter sees the token."""
    message, arguments, how = RECORDS[what]
    logging.getLogger("tests.host").warning(message, *arguments, **how)
    assert lines
    for part in (TOKEN, TOKEN[:20], TOKEN.replace("_", "%5F"), TOKEN[-12:]):
        assert [line for line in lines if part in line] == []


@dataclasses.dataclass
class Mail:
    """What prints as a mask, and is taken apart by some formatters."""

    link: str = dataclasses.field(repr=False)
    inner: Any = None


def test_a_dataclass_that_is_taken_apart() -> None:
    """S4: a formatter that turns dataclasses into mappings finds no token in them, however deep; others stay."""
    for given, left in ((Mail(TOKEN), False), (Mail("", Mail(f"#{TOKEN}")), False), (Mail("", Mail("x")), True)):
        record = logging.LogRecord("x", 30, "", 0, "sent", (), None)
        record.email = given
        assert RedactFilter().filter(record)
        assert (vars(record)["email"] is given) is left


def test_what_holds_no_token_is_left_alone(lines: list[str]) -> None:
    """S4: the filter changes nothing but tokens: arguments stay what they are, and an access log finds its atoms."""
    given = Atoms(r="GET /", s=200)
    logging.getLogger("tests.host").warning('"%(r)s" %(s)d %({x-id}i)s', given)
    assert lines[0] == '"GET /" 200 -'
    assert json.loads(lines[1])["args"] == given


@pytest.mark.parametrize("chained", [False, True])
def test_no_exception_shows_a_token(lines: list[str], chained: bool) -> None:
    """S4: nor does what a formatter makes of an exception, or of the one before it; where it was raised stays."""
    try:
        try:
            raise LookupError(f"no {TOKEN}")
        except LookupError as error:
            raise (RuntimeError("failed") if chained else RuntimeError(f"failed for {TOKEN}")) from error
    except RuntimeError:
        logging.getLogger("tests.host").exception("failed")
    assert [line for line in lines if TOKEN in line] == []
    assert all("test_no_exception_shows_a_token" in line or "***" in line for line in lines)
    assert all("RuntimeError" in line and "LookupError" in line for line in lines)


@pytest.mark.parametrize("length", [43, 64])
@pytest.mark.parametrize("code", ["%{:02X}", "%{:02x}", "%25{:02X}", "={:02X}"])
def test_a_token_in_code_is_found(length: int, code: str) -> None:
    """S4: a token whose letters are encoded, all or some, is found as one that is not; so is a nonce or a hash."""
    text = (TOKEN * 2)[:length]
    coded = "".join(code.format(ord(letter)) if place % 3 else letter for place, letter in enumerate(text))
    assert redact(f"?next=%2F{coded}&x=1") in ("?next=%2F***&x=1", "?next=%***&x=1")
    whole = "".join(code.format(ord(letter)) for letter in text)
    assert redact(f"token: {whole}.") == "token: ***."
