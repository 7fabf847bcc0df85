"""The languages of a host that has Flask-Babel: the only importer of it, and not before it is asked.

Ours are catalogs of a gettext domain of their own. The host's directories of translations are searched for that domain
too, and win: a sentence there replaces ours, a language there is one more.
"""

from __future__ import annotations

import gettext
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask, current_app, has_request_context

from ..clock import as_utc
from .language import ENGLISH, Language

if TYPE_CHECKING:
    from babel import Locale

DOMAIN = "flask_invitations"
_OURS = Path(__file__).parents[1] / "translations"
#: What the sentences themselves are written in: needs no catalog.
_SOURCE = "en"


def languages(app: Flask) -> Callable[[str | None], Language]:
    """What finds the nearest language to a BCP 47 tag; ``None``: the app's own, whatever request is being served.

    Nearest is the tag itself, else its base language, else the same language of another region, else the app's default
    locale, else English. The app is looked at anew each time, since the host may set up Flask-Babel after us; without
    it, English is all there is.
    """

    def nearest(tag: str | None) -> Language:
        babel = app.extensions.get("babel")
        if babel is None:
            return ENGLISH
        found = _catalogs(_OURS, *babel.translation_directories)
        return found.language((tag, babel.default_locale), babel.default_timezone)

    return nearest


def current_tag() -> str | None:
    """The language of the current request, as the host's Babel chooses it; ``None``: no request, or no Babel."""
    if not has_request_context() or "babel" not in current_app.extensions:
        return None
    from flask_babel import get_locale

    return _tag(get_locale())


def spoken() -> Mapping[str, str]:
    """The languages of the current app, those that the host added included: BCP 47 tag to its own name of itself."""
    babel = current_app.extensions.get("babel")
    return {_SOURCE: "English"} if babel is None else _catalogs(_OURS, *babel.translation_directories).names


class _Catalogs:
    """Every language that there is a catalog of, in directories of which a later one wins."""

    def __init__(self, *directories: str | Path) -> None:
        self._files: dict[str, list[Path]] = {_SOURCE: []}
        self._regions: dict[tuple[str, str], str] = {}
        self._read: dict[str, gettext.NullTranslations] = {}
        for directory in directories:
            for file in sorted(Path(directory).glob(f"*/LC_MESSAGES/{DOMAIN}.mo")):
                locale = _parse(file.parts[-3])
                if locale is not None:
                    self._files.setdefault(str(locale), []).append(file)
                    self._regions.setdefault(_written(locale), str(locale))
        #: Anybody may make up a tag: so a few are kept, not all.
        self.language = lru_cache(maxsize=64)(self._language)

    def _language(self, tags: tuple[str | None, ...], zone: str) -> Language:
        """The first of ``tags`` that there is a language for.

        :param zone: the name of the time zone in which times are told.
        """
        from babel import Locale

        name, asked = next(self._matches(tags), (_SOURCE, None))
        chosen = Locale.parse(name)
        # A region has its own way with dates ("Jänner"), where it is written in the same script.
        dates = asked if asked is not None and asked.script == chosen.script else chosen
        text = self._translations(name)
        return Language(_tag(chosen), chosen.text_direction, text.gettext, text.ngettext, _moment(dates, zone))

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Tag to name ("Deutsch"), English first, the others by their tags."""
        found = sorted(filter(None, map(_parse, self._files)), key=lambda locale: (str(locale) != _SOURCE, str(locale)))
        told = {_tag(each): each.get_display_name() or _tag(each) for each in found}
        return {tag: name[:1].upper() + name[1:] for tag, name in told.items()}

    def _matches(self, tags: Iterable[str | None]) -> Iterator[tuple[str, Locale]]:
        for asked in filter(None, map(_nearest_locale, filter(None, tags))):
            names = (*_shorter(str(asked)), self._regions.get(_written(asked), ""))
            yield from ((name, asked) for name in names if name in self._files)

    def _translations(self, name: str) -> gettext.NullTranslations:
        if name not in self._read:
            self._read[name] = _merged(self._files[name])
        return self._read[name]


#: Files do not change while an app runs; apps of one process may have directories of their own.
_catalogs = lru_cache(maxsize=16)(_Catalogs)


def _merged(files: Iterable[Path]) -> gettext.NullTranslations:
    from babel.support import Translations

    merged = None
    for path in files:
        with path.open("rb") as file:
            catalog = Translations(file, DOMAIN)
        merged = merged.merge(catalog) if merged is not None else catalog
    return merged if merged is not None else gettext.NullTranslations()


def _parse(name: str) -> Locale | None:
    """The locale of that name, ``None`` where there is none: names come from tags that anybody may have made up."""
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(name)
    except (ValueError, UnknownLocaleError):
        return None


def _nearest_locale(tag: str) -> Locale | None:
    """The locale of a tag or, where the whole of it is unknown, of its beginning."""
    return next(filter(None, map(_parse, _shorter(tag.replace("-", "_")))), None)


def _written(locale: Locale) -> tuple[str, str]:
    """Language and script: who reads "pt-PT" can read "pt-BR", who reads "zh-CN" perhaps not "zh-TW"."""
    from babel.core import get_global

    likely = str(get_global("likely_subtags").get(locale.language, ""))
    return locale.language, locale.script or "".join(likely.split("_")[1:2])


def _shorter(name: str) -> list[str]:
    """``a_b_c``, ``a_b``, ``a``."""
    parts = name.split("_")[:4]
    return ["_".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _tag(locale: Locale) -> str:
    return str(locale).replace("_", "-")


def _moment(locale: Locale, zone: str) -> Callable[[datetime], str]:
    """How a time is told: the long date, the short time of day, and the name of the time zone."""
    from babel import dates

    pattern = str(dates.get_datetime_format("long", locale=locale)).replace("'", "")

    def moment(when: datetime) -> str:
        local = as_utc(when).astimezone(dates.get_timezone(zone))
        time_of_day = dates.format_time(local, "short", tzinfo=local.tzinfo, locale=locale)
        day = dates.format_date(local.date(), "long", locale=locale)
        name = local.tzname()
        if name != "UTC":  # known everywhere by that name; its long names are known to few
            name = dates.get_timezone_name(local, width="long", locale=locale)
        return pattern.replace("{0}", time_of_day).replace("{1}", day) + f" ({name})"

    return moment
