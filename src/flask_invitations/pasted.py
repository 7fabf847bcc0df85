"""What a pasted link may hold, whatever mail programs and link scanners have made of it.

Nobody can tell from a text which 43 characters of it are the token: the link may be encoded, broken into lines, quoted,
or wrapped into another one with parameters of the same shape. So every candidate is gathered, and the hash decides.
The pages' script asks only whether there is one, by the same rule (``holds`` in ``static/invitations.js``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
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
_MARKS = re.compile(r"[=>\\]+")
_SOFT_BREAK = re.compile(r"=[ \t]*\r?\n")
_QUOTED = re.compile(r"=([0-7][0-9A-F])")
#: Proofpoint writes - for % and _ for / (URL Defense, version 2).
_DEFENDED = re.compile(r"-([0-7][0-9A-F])")


def candidates(text: str) -> Sequence[Token]:
    """Everything in ``text`` that may be a link token, the likeliest first; at most ``MAX_CANDIDATES``."""
    runs = dict.fromkeys(run for reading in _readings(text[:MAX_TEXT]) for run in _RUN.findall(reading))
    exact = [run for run in runs if len(run) == LENGTH]
    inside = (part for run in runs for part in _parts(run, exact))
    return [Token(each) for each in list(dict.fromkeys(chain(exact, inside)))[:MAX_CANDIDATES]]


def _readings(text: str) -> Iterator[str]:
    """The text as it is, and what it may have been before it was encoded, broken or quoted."""
    for _ in range(_LAYERS + 1):
        joined = _BLANKS.sub("", text)
        yield from (text, joined, _MARKS.sub("", joined), _BLANKS.sub("", _unquoted(text)), _undefended(text))
        text = unquote(text)


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
