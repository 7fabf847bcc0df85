"""What a pasted link may hold, whatever mail programs and link scanners have made of it.

Nobody can tell from a text which 43 characters of it are the token: the link may be encoded, broken into lines, quoted,
or wrapped into another one with parameters of the same shape. So every candidate is gathered, and the hash decides.
The pages' script asks only whether there is one, by the same rule (``holds`` in ``static/invitations.js``).
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from html import unescape
from itertools import chain, islice
from urllib.parse import unquote

from .tokens import Token

#: Of a longer text only so many characters are looked at, and of its candidates only so many.
MAX_TEXT, MAX_CANDIDATES = 4096, 64
LENGTH = 43
#: How often a link may have been encoded: each service that wraps it does so once more.
_LAYERS = 3
#: In a run that is longer than a token, the token begins among the first or the last so many places.
_PLACES = 8

_RUN = re.compile(rf"[A-Za-z0-9_-]{{{LENGTH},}}")
#: What mail programs add between two characters: blanks, line ends, and characters that nobody sees.
_BLANKS = re.compile(
    "[\0-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]+"
)
#: And what may be left of a line end: quoted-printable's, a quotation's, and Markdown's.
_MARKS = re.compile(r"[=>|\\]+")
#: What typesetters write for a hyphen, and full-width forms.
_DASHES = {**dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"), "-"), 0xFF3F: "_"}
#: A word that was divided at the end of a line.
_HYPHENATED = re.compile(r"-[ \t]*\r?\n")
_TAG = re.compile(r"<[^<>]{0,200}>")
_ESCAPED = re.compile(r"\\u00([0-7][0-9A-Fa-f])")
_BASE64, _URL_SAFE, _WRAPPED = re.compile(r"[A-Za-z0-9+/_-]{60,}"), str.maketrans("+/", "-_"), 8
_SOFT_BREAK = re.compile(r"=[ \t]*\r?\n")
_QUOTED = re.compile(r"=([0-7][0-9A-Fa-f])")
#: Proofpoint writes - for % and _ for / (URL Defense, version 2).
_DEFENDED = re.compile(r"-([0-7][0-9A-F])")


def candidates(text: str) -> Sequence[Token]:
    """Everything in ``text`` that may be a link token, the likeliest first; at most ``MAX_CANDIDATES``."""
    runs = dict.fromkeys(run for part in _ends(text) for reading in _readings(part) for run in _RUN.findall(reading))
    exact = [run for run in runs if len(run) == LENGTH]
    inside = (part for run in runs for part in _parts(run, exact))
    return [Token(each) for each in list(dict.fromkeys(chain(exact, inside)))[:MAX_CANDIDATES]]


def _ends(text: str) -> Iterator[str]:
    """Of a long text its beginning and its end: the link in an email that was pasted whole is often the last thing."""
    yield text[:MAX_TEXT]
    if len(text) > MAX_TEXT:
        yield text[-MAX_TEXT:]


def _readings(text: str) -> Iterator[str]:
    """The text as it is, and what it may have been before it was encoded, broken or quoted."""
    text = text.translate(_DASHES)
    yield from map(_joined, (_marked_up(text), _HYPHENATED.sub("", text), *_decoded(text)))
    for _ in range(_LAYERS + 1):
        joined = _joined(text)
        yield from (text, joined, _MARKS.sub("", joined), _joined(_unquoted(text)), _undefended(text))
        text = unquote(text)


def _joined(text: str) -> str:
    return _BLANKS.sub("", text)


def _marked_up(text: str) -> str:
    """The text of HTML or of JSON."""
    return _TAG.sub("", unescape(_ESCAPED.sub(_character, text)))


def _decoded(text: str) -> Iterator[str]:
    """What stands in base64, in which some services write the whole link."""
    for run in islice(_BASE64.findall(unquote(text)), _WRAPPED):
        with suppress(ValueError):
            yield urlsafe_b64decode(f"{run.translate(_URL_SAFE)}===").decode("latin-1")


def _unquoted(text: str) -> str:
    """Quoted-printable, RFC 2045, section 6.7."""
    return _QUOTED.sub(_character, _SOFT_BREAK.sub("", text))


def _undefended(text: str) -> str:
    return _DEFENDED.sub(_character, text.replace("_", "/"))


def _character(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))


def _parts(run: str, exact: Sequence[str]) -> Iterator[str]:
    """What may be a token in a longer run; nothing in one that is an exact one and too little besides."""
    last = len(run) - LENGTH
    if last < LENGTH and any(each in run for each in exact):
        return
    for place in range(min(_PLACES, last + 1)):
        yield run[place : place + LENGTH]
        yield run[last - place : last - place + LENGTH]
