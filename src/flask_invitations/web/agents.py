"""What a client calls itself, as a person would call it: the only importer of ua-parser, where the host has it."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

#: In characters: browsers tell who they are well before.
_READ = 256


@cache
def _is_there() -> bool:
    return find_spec("ua_parser") is not None


def client(user_agent: str | None) -> tuple[str, str]:
    """Browser and system, such as ``("Chrome", "Linux")``; empty where nobody knows them, or ua-parser is missing.

    :param user_agent: whatever the client has said.
    """
    if not user_agent or not _is_there():
        return "", ""
    from ua_parser import parse_os, parse_user_agent

    said = user_agent[:_READ]
    browser, system = parse_user_agent(said), parse_os(said)
    return browser.family if browser else "", system.family if system else ""
