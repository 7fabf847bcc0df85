"""What a text is written in: its translation, its direction, and how it writes a date.

English is all that there is without the host's Babel; with it, :mod:`.babel` gives the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup

from ..clock import as_utc

FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"


def _singular_or_plural(singular: str, plural: str, count: int) -> str:
    return singular if count == 1 else plural


def _in_english(moment: datetime) -> str:
    moment = as_utc(moment)
    return f"{moment:%B} {moment.day}, {moment:%Y, %H:%M} UTC"


@dataclass(frozen=True)
class Language:
    """One language, as templates use it.

    :param tag: BCP 47, for ``<html lang>`` and ``Content-Language``.
    :param direction: ``"ltr"`` or ``"rtl"``.
    :param gettext: a sentence in English to the same sentence.
    :param ngettext: singular, plural and count to the right one of them.
    :param moment: an aware time as a date and a time of day, with its time zone.
    """

    tag: str = "en"
    direction: str = "ltr"
    gettext: Callable[[str], str] = str
    ngettext: Callable[[str, str, int], str] = _singular_or_plural
    moment: Callable[[datetime], str] = _in_english

    def words(self) -> dict[str, Any]:
        """What every template of ours may use: ``_``, ``ngettext``, ``language``.

        ``_("Join %(tenant)s", tenant=name)`` translates, then fills in; in HTML what is filled in is escaped, and the
        sentence itself may hold markup. In plain text that runs from right to left, what is filled in is kept apart.
        """

        @pass_eval_context
        def translate(where: EvalContext, text: str, /, **values: Any) -> str:
            return self._fill(where, self.gettext(text), values)

        @pass_eval_context
        def translate_number(where: EvalContext, one: str, many: str, count: int, /, **values: Any) -> str:
            return self._fill(where, self.ngettext(one, many, count), {"num": count, **values})

        return {"_": translate, "ngettext": translate_number, "language": self}

    def _fill(self, where: EvalContext, text: str, values: dict[str, Any]) -> str:
        if where.autoescape:
            return _fill_html(text, values)
        return text % ({name: _apart(value) for name, value in values.items()} if self.direction == "rtl" else values)


def _apart(value: Any) -> Any:
    """A name or an address in a direction of its own, as ``<bdi>`` does in HTML; else "Acme Inc." loses its point to
    the other side."""
    return f"{FIRST_STRONG_ISOLATE}{value}{POP_ISOLATE}" if isinstance(value, str) and value else value


def _fill_html(text: str, values: dict[str, Any]) -> str:
    # a sentence of ours, not of anybody's; most have nothing to fill in, and then the plain % is by far the quicker
    return Markup(text) % values if values else Markup(text % values)  # noqa: S704


ENGLISH = Language()
