"""Text of somebody's making as harmless text."""

from __future__ import annotations

import re
import unicodedata

WORD_JOINER = "\u2060"
#: What a mail program may take for the middle of a link.
_JOINT = re.compile(r"(?<=\S)([.:/@])(?=\S)")


def plain(text: str) -> str:
    """``text`` of somebody's making as one harmless run of words: no control or invisible characters, nothing
    that a mail program turns into a link, no start of an encoded word (E2, E8, K4)."""
    # Most text has nothing to replace: what is printable is in none of these categories.
    kept = text if text.isprintable() else "".join(map(_visible, text.replace("\r\n", "\n")))
    return _JOINT.sub(rf"\1{WORD_JOINER}", kept).replace("=?", "= ?")


def _visible(c: str) -> str:
    return c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else " "


def one_line(text: str) -> str:
    """:func:`plain` for a header: without line breaks."""
    return " ".join(plain(text).split())
