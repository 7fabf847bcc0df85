"""Names and addresses as people write them: a line of text in, who is meant by it out.

Nothing is judged here: whether what looks like an address is one, :mod:`.addresses` says. What does not look like one
is handed on as text, so that nobody is left out without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from urllib.parse import unquote

_PART = re.compile(
    r'"(?P<quoted>[^"]*)"|<(?P<angle>[^<>]*)>|\((?P<comment>[^()]*)\)'
    r'|(?P<comma>[,;|，、；،؛])|(?P<tab>\t)|(?P<word>[^\s,;|，、；،؛<>()"]+)'
)
#: What nobody sees, and what stands around an address or a name and belongs to neither.
_UNSEEN = "\0\xad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
_AROUND = _UNSEEN + " \t\xa0'‘’‚‹›“”„«»`.:!?[]{}*•·,;|，、；،؛\"<>()"
#: What a list has before each of its items.
_BULLET = re.compile(r"\A\s*(?:[-–—*•·]|\d{1,4}[.)])\s+")
_MAILTO = re.compile(r"mailto:", re.IGNORECASE)


@dataclass(frozen=True)
class Mailbox:
    """Somebody who is meant.

    :param email: what looks like an address; ``""``: nothing does, and ``name`` is what was written.
    """

    email: str
    name: str = ""


def in_line(line: str) -> list[Mailbox]:
    """Whoever is meant by one line. The name of somebody is before the address, or in parentheses after it; if there is
    but one address, the rest of the line is the name."""
    boxes, words, parts = list[Mailbox](), list[str](), list(_parts(_BULLET.sub("", line, count=1)))
    for (kind, text), (following, _) in pairwise([*parts, ("end", "")]):
        if kind == "address" or (kind == "email" and following != "address"):
            boxes.append(Mailbox(text, _name(words)))
            words = []
        elif kind == "comment" and boxes and not boxes[-1].name and not words:
            boxes[-1] = replace(boxes[-1], name=_name([text]))
        else:
            words.append(text)
    return [*_with_rest(boxes, " ".join(words), in_cells="\t" in line)]


def _parts(line: str) -> Iterator[tuple[str, str]]:
    """What a line is made of: an ``address`` (in angle brackets), an ``email`` (an address that may be the name of the
    one that follows), a ``comment`` or ``text``."""
    for found in _PART.finditer(line):
        kind, text = found.lastgroup or "", found[found.lastgroup or 0]
        if kind == "angle" and text.strip():
            yield "address", _bare(text)
        elif kind == "word" and ("@" in text or _MAILTO.match(text)):
            yield "email", _bare(text)
        elif kind in ("quoted", "comment") and "@" in text:
            yield from _parts(text)
        elif kind == "comment":
            yield kind, text
        elif kind != "tab":
            yield "text", text.replace("\\", "")


def _with_rest(boxes: list[Mailbox], rest: str, *, in_cells: bool) -> Iterator[Mailbox]:
    """:param rest: what is left once every address has its name.
    :param in_cells: the line comes from a spreadsheet, and the rest of it is about the same person.
    """
    rest = _tidy(rest)
    if len(boxes) == 1 and (in_cells or not boxes[0].name):
        yield replace(boxes[0], name=", ".join(filter(None, (boxes[0].name, rest))))
        return
    yield from boxes
    if any(map(str.isalnum, rest)):
        yield Mailbox("", rest)


def _bare(text: str) -> str:
    """An address without what stands around it."""
    found = _MAILTO.search(text)
    if found:
        text = unquote(text[found.end() :].partition("?")[0])
    return text.rpartition(":")[2].strip(_AROUND) or text.strip()


def _name(words: list[str]) -> str:
    """A name without what stands around it, and without a label such as "To:"."""
    return _tidy(" ".join(words).rpartition(":")[2])


def _tidy(text: str) -> str:
    return re.sub(r"\s+([,;])", r"\1", " ".join(text.strip(_AROUND).split()))
