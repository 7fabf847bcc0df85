"""Whether a call comes from a page of another site: the one decision, for every face.

Browsers say it in ``Sec-Fetch-Site``, older ones in ``Origin``. What says neither is no browser: it carries no
credential but those that somebody meant to send.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..origins import InvalidOrigin, Origin, split

#: What a browser says of our own pages, and of an address that somebody typed.
_OWN_SITE = frozenset({"same-origin", "none"})
_BEARER = re.compile(r"bearer +[!-~]", re.IGNORECASE)


def is_from_elsewhere(
    environ: Mapping[str, Any],
    own: Callable[[], str],
    trusted: Callable[[], Collection[Origin]],
    *,
    page: bool,
) -> bool:
    """Whether the call with this WSGI environment comes from a page of another site.

    :param own: the origin that the call was made to.
    :param trusted: the origins whose pages may call us besides.
    :param page: it is a form of our pages. They tell no address, so that browsers without ``Sec-Fetch-Site`` send them
        as from ``null``. Else it is a call of the API, which may carry a bearer token: no browser adds one by itself.
    """
    site, sender = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if not page and _BEARER.match(environ.get("HTTP_AUTHORIZATION", "")):
        return False
    if site is None and (sender is None or (page and sender == "null")):
        return False
    origin = read(sender or "")
    if origin is not None and origin in trusted():
        return False
    return site not in _OWN_SITE if site is not None else not _is(sender or "", origin, own())


def read(text: str) -> Origin | None:
    """The one origin that ``text`` is, and nothing besides."""
    try:
        origin, rest = split(text)
    except InvalidOrigin:
        return None
    return None if rest else origin


def _is(sender: str, origin: Origin | None, own: str) -> bool:
    """Behind a proxy that the host does not trust, a call over https looks like one over http. So the page's scheme may
    be the safer one, never the other."""
    if sender == own:  # also where it is nothing that could be normalized
        return True
    return origin is not None and origin in (read(own), read(re.sub(r"^http:", "https:", own)))
