"""A name that nobody knows: which one was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def meant(typed: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest of ``known``, to be put behind another; empty where none is near."""
    by_text = {each.lower(): each for each in known}
    near = get_close_matches(typed.lower(), by_text, n=1, cutoff=0.7)
    return f" Did you mean {by_text[near[0]]}?" if near else ""
