"""What each kind of hook may give back, and what is made of it; the same for users who are named from Python.

A user is whoever the session of the host knows by the key that was given: a row of another session, one that a cache
has kept, or one that was read before a commit is found again in ours, and never written over it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NoReturn
from urllib.parse import urlsplit

from sqlalchemy.orm.attributes import instance_state

from .gate import Answer, Unfit, refuse_unrun
from .limits import LONGEST, parse
from .model.binding import Models


@dataclass(frozen=True)
class House:
    """What answers are held against.

    :param session: gives the host's session.
    :param roles: those of ``INVITATIONS_ROLES``.
    :param as_json: an answer's body, as the app's own JSON makes it.
    """

    models: Models
    session: Callable[[], Any]
    roles: Sequence[str]
    as_json: Callable[[Any], str | bytes]


# Users


def known(given: Any, house: House) -> Any:
    """An object of the host's class of users, wherever it comes from.

    :raises Unfit: it is none.
    """
    if issubclass(type(given), house.models.user):
        return given
    if not isinstance(given, house.models.user):
        raise Unfit
    return instance_state(given).obj()  # a proxy that says it is one


def account(given: Any, house: House) -> Any:
    """The user of our session.

    :raises Unfit: no user, or one without a row.
    """
    user = saved(given, house)
    if not instance_state(user).expired and user in house.session():
        return user
    row = _row(user, house)
    if row is None:
        raise Unfit(f"a {type(user).__name__} that is no longer in the database")
    return row


def saved(given: Any, house: House) -> Any:
    """A user who has, or had, a row.

    :raises Unfit: no user, or one that has none yet.
    """
    user = known(given, house)
    if instance_state(user).key is None:
        raise Unfit(f"a {type(user).__name__} that was never saved")
    return user


def left(given: Any, house: House) -> Any:
    """Whoever leaves: the user of our session, or what is left of one that is deleted by now.

    :raises Unfit: no user, or one that was never saved.
    """
    user = saved(given, house)
    row = _row(user, house)
    return user if row is None else row


def _row(user: Any, house: House) -> Any:
    key: Any = instance_state(user).key
    return house.session().get(house.models.user, key[1])


def signed_in(given: Any, house: House) -> Any:
    """The user of our session, or ``None``: Flask-Login's anonymous user, of whatever class, is nobody."""
    has_row = isinstance(given, house.models.user) and instance_state(given).key is not None
    if given is None or (not has_row and _is_anonymous(given)):
        return None
    user = account(given, house)
    return None if _is_anonymous(user) else user


def _is_anonymous(user: Any) -> bool:
    """:raises WrongAnswer: it would have to be awaited to know."""
    said = True if isinstance(user, type) else getattr(user, "is_authenticated", True)
    if callable(said):  # a method, as in Flask-Login before 0.3
        said = said()
        refuse_unrun("is_authenticated", said)
    return not said


def _account_or_none(given: Any, house: House) -> Any:
    return None if given is None else account(given, house)


def _accounts(given: Any, house: House) -> list[Any]:
    if not isinstance(given, Iterable):
        raise Unfit
    return [account(each, house) for each in given]


def _new_user(given: Any, house: House) -> Any:
    user = known(given, house)
    is_new = instance_state(user).key is None and instance_state(user).session_id is None
    if not is_new and user not in house.session():
        raise Unfit(f"a {type(user).__name__} of another session")
    return user


# Everything else


def _yes_or_no(given: Any, _house: House) -> bool:
    if isinstance(given, bool):
        return given
    raise Unfit


def _nothing(given: Any, _house: House) -> None:
    if given is not None:
        raise Unfit


def _anything_but_false(given: Any, _house: House) -> Any:
    if given is False:
        raise Unfit
    return given


def _tenant(given: Any, house: House) -> Any:
    if given is None or house.models.tenant is None:
        return given
    try:
        return house.models.tenant_id(given)
    except ValueError as error:
        raise Unfit from error


def _role(given: Any, house: House) -> str | None:
    if given is None or type(given) is str:
        return given
    role = role_named(given, house.roles) if isinstance(given, Enum) else given
    if not isinstance(role, str):
        raise Unfit
    return str(role)


def role_named(member: Enum, roles: Sequence[str]) -> Any:
    """The role that a member of an ``Enum`` stands for: its value or its name, whichever is one of ``roles``."""
    names = (member.value, member.name, member.name.lower())
    return next((name for name in names if name in roles), member.value)


def _number_or_none(given: Any, _house: House) -> int | None:
    """Less than nothing is nothing: a tenant may have more members than it has seats."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int):
        raise Unfit
    return max(int(given), 0)


def _text(given: Any, _house: House) -> str:
    """A translation that waits for its language has every attribute of the text that it will be."""
    if isinstance(given, type) or not hasattr(given, "casefold"):
        raise Unfit
    return str(given)


def _text_or_none(given: Any, house: House) -> str | None:
    return None if given is None else _text(given, house)


def _url(given: Any, house: House) -> str:
    """What a browser is led to: it becomes a link, or a header."""
    url = _text(given, house)
    if not _leads_somewhere(url):
        raise Unfit("text that is no URL")
    return url


def _url_or_none(given: Any, house: House) -> str | None:
    return None if given is None else _url(given, house)


def _leads_somewhere(url: str) -> bool:
    try:
        scheme = urlsplit(url).scheme
    except ValueError:  # a bracket that is never closed
        return False
    return url.isprintable() and " " not in url and scheme in ("", "http", "https")


def _moment(given: Any, _house: House) -> datetime:
    if not isinstance(given, datetime):
        raise Unfit
    if given.utcoffset() is None:
        raise Unfit("a datetime without a time zone")
    return given


def _wait(given: Any, _house: House) -> float | None:
    """No longer than the longest window: a moment further off than the calendar goes would stop the worker."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise Unfit
    if not 0 <= given < math.inf:
        raise Unfit(f"{given}, which is no time to wait")
    return min(given, LONGEST)


def _limits(given: Any, _house: House) -> Mapping[str, Any]:
    """Each as it is used: rates, or a number."""
    if not isinstance(given, Mapping):
        raise Unfit
    return {name: _limit(name, said) for name, said in given.items()}


def _limit(name: Any, said: Any) -> Any:
    if name in ("RATELIMIT_INVITE", "RATELIMIT_TENANT"):
        try:
            return parse(said)
        except ValueError as error:
            raise Unfit(f"a {name} that is no rate limit") from error
    if name != "PENDING_MAX":
        raise Unfit(f"{name!r}, which is no limit of a tenant")
    if said is not None and (not isinstance(said, int) or isinstance(said, bool) or said < 0):
        raise Unfit("a PENDING_MAX that is no whole number")
    return said


def _session(given: Any, house: House) -> Mapping[str, Any] | None:
    """A copy, so that it is what was looked at."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise Unfit
    session = dict(given)
    try:
        json.loads(house.as_json(session), parse_constant=_refuse)
    except Exception as error:  # whatever the app's JSON raises for it
        raise Unfit(f"what cannot be JSON ({type(error).__name__})") from error
    return session


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


DONE = Answer(_anything_but_false, "Raise an exception if it was not done", is_of_a_deed=True)
YES_OR_NO = Answer(_yes_or_no, "Return True or False")
#: A check that answered ``False`` would let everybody pass.
CHECKED = Answer(_nothing, "Return nothing, and raise to refuse")
SIGNED_IN = Answer(signed_in, "Return a user_model of your session, or None")
USER_OR_NONE = Answer(_account_or_none, "Return a user_model of your session, or None")
USERS = Answer(_accounts, "Return a list of user_model of your session", lazy=True)
NEW_USER = Answer(_new_user, "Return the new user, made in the session of db")
TENANT = Answer(_tenant, "Return the id of a tenant, or None")
#: ``False`` is no role, and not ``None`` either: it would make a member.
ROLE = Answer(_role, "Return the role as a str, or None")
SEATS = Answer(_number_or_none, "Return how many more members fit, as an int, or None for any number")
TEXT = Answer(_text, "Return a str")
TEXT_OR_NONE = Answer(_text_or_none, "Return a str or None")
URL = Answer(_url, "Return a URL as a str. Without this hook, the pages do without")
URL_OR_NONE = Answer(_url_or_none, "Return a URL as a str, or None")
SESSION = Answer(_session, "Return a mapping that your app can dump as JSON, or None")
WAIT = Answer(_wait, "Return the seconds to wait, as a number from 0 up, or None to go on")
LIMITS = Answer(
    _limits, "Return a mapping with any of RATELIMIT_INVITE, RATELIMIT_TENANT and PENDING_MAX, as in the settings"
)
MOMENT = Answer(_moment, "Return an aware datetime, as datetime.now(timezone.utc) does")

_STRANGER = "an object of type %s, which is no user"
#: Whoever calls from Python, and whoever leaves a tenant.
BY = Answer(signed_in, "Pass one of your users, or None", misfit=_STRANGER)
LEAVER = Answer(left, "Pass one of your users", misfit=_STRANGER)
