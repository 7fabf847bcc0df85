"""Text of somebody's making as harmless text."""

from __future__ import annotations

import re
import unicodedata

WORD_JOINER = "\u2060"


def plain(text: str) -> str:
    """``text`` of somebody's making as one harmless run of words: no control or invisible characters, nothing
    that a mail program turns into a link, no start of an encoded word (E2, E8, K4)."""
    kept = "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else " "
        for c in text.replace("\r\n", "\n")
    )
    return re.sub(r"(?<=\S)([.:/@])(?=\S)", rf"\1{WORD_JOINER}", kept).replace("=?", "= ?")


def one_line(text: str) -> str:
    """:func:`plain` for a header: without line breaks."""
    return " ".join(plain(text).split())
