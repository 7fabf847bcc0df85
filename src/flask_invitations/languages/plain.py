"""Text of somebody's making as harmless text."""

from __future__ import annotations

import re
import unicodedata

WORD_JOINER = "\u2060"
#: In characters: a name; a text of several lines, which all shapes bound far lower.
NAME, TEXT = 200, 10_000
#: What a mail program may take for the middle of a link; the dots, colons and slashes of other scripts before a letter
#: or digit only, since there they end a sentence.
_JOINT = re.compile(
    r"(?<=\S)([.:/@])(?=\S)|(?<=[0-9A-Za-z])([\u2024\u3002\uff0e\uff0f\uff1a\uff20\uff61])(?=[0-9A-Za-z])"
)
#: Marks that stand above and below a letter. No language needs more than three; a pile of them covers other lines.
_MARK = (
    r"[\u0300-\u036f\u0483-\u0489\u0610-\u061a\u064b-\u065f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
    r"\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
_PILE = re.compile(rf"({_MARK}{{3}}){_MARK}+")


def plain(text: str) -> str:
    """``text`` of somebody's making as one harmless run of words: no control or invisible characters, nothing
    that a mail program turns into a link, no start of an encoded word, no pile of marks, no endless length (E2, E8,
    K4)."""
    return _linkless(_seen(shortened(text, TEXT)))


def one_line(text: str, length: int = NAME) -> str:
    """:func:`plain` for a name or a header: without line breaks, and shortened.

    :param length: in characters, without the invisible ones that keep a mail program from making links.
    """
    return _linkless(shortened(" ".join(_seen(text[:TEXT]).split()), length))


def _seen(text: str) -> str:
    # Most text has nothing to replace: what is printable is in none of these categories.
    kept = text if text.isprintable() else "".join(map(_visible, text.replace("\r\n", "\n")))
    return kept if kept.isascii() else _PILE.sub(r"\1", kept)


def _visible(c: str) -> str:
    return c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else " "


def _linkless(text: str) -> str:
    return _JOINT.sub(rf"\g<0>{WORD_JOINER}", text).replace("=?", "= ?")


def shortened(text: str, length: int) -> str:
    """``text``, cut to ``length`` characters of which the last is an ellipsis, where it is longer."""
    if len(text) <= length:
        return text
    end = length - 1
    while end and unicodedata.combining(text[end]):  # a mark goes with its letter
        end -= 1
    return f"{text[:end].rstrip()}…"
