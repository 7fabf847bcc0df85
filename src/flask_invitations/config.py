"""The settings: read from ``app.config`` once, checked, frozen. Nothing else reads ``app.config``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, NoReturn

from .domains import Domains, disposable, pattern
from .errors import ConfigurationError
from .limits import Rates, parse
from .origins import InvalidOrigin, Origin, split
from .spelling import meant

PREFIX = "INVITATIONS_"
MIN_TTL, MAX_TTL = timedelta(hours=1), timedelta(days=30)
#: The keys of the rate limits: each ends with what it is for.
RATELIMITS = tuple(f"RATELIMIT_{scope}" for scope in ("ACCEPT", "TOKEN", "LINK", "INVITE", "TENANT", "RECIPIENT"))
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Config:
    """One field for each ``INVITATIONS_*`` key, under the key's name in lower case.

    ``secret_keys`` (newest first) and ``session_cookie`` come from Flask's own ``SECRET_KEY``, ``SECRET_KEY_FALLBACKS``
    and ``SESSION_COOKIE_NAME``.
    """

    #: Absolute link template with ``{token}`` in its fragment (best), path or query. http only for localhost. Kept as
    #: every program reads it the same: with the host in ASCII and lower case, and without the scheme's own port.
    accept_url: str
    #: Where the JSON API is mounted.
    api_prefix: str = "/api/v1/users"
    #: Where the pages are mounted; ``None``: no pages.
    pages_prefix: str | None = "/invitations"
    #: How long an invitation is valid; ``timedelta`` or seconds, 1 hour to 30 days.
    ttl: timedelta = timedelta(hours=48)
    #: The roles, lowest first.
    roles: tuple[str, ...] = ("viewer", "user", "manager", "admin", "owner")
    #: Who may manage invitations.
    admin_roles: tuple[str, ...] = ("admin", "owner")
    #: What an invitation grants when it does not say.
    default_role: str = "user"
    #: In emails and pages; the tenant's name where there is no tenant model. Default: the Flask app's name.
    app_name: str = ""
    #: In code points; NIST SP 800-63B-4: 15 without a second factor, never below 8.
    password_min_length: int = 15
    #: In code points; checked before hashing.
    password_max_length: int = 128
    #: ``False``: a new account may come without a password (passkeys, single sign-on).
    password_required: bool = True
    #: Refuse to invite an address whose account cannot join, and so tell a manager that there is an account; ``False``:
    #: make the invitation all the same, and tell only the invitee.
    reveal_accounts: bool = True
    #: Show the link in the answers to create and resend. Anyone who sees it can accept for the invitee.
    return_link: bool = False
    #: Origins (``https://host[:port]``) whose pages may call us from a browser, beside our own and that of the link.
    trusted_origins: tuple[Origin, ...] = ()
    #: Attempts before an email is given up.
    delivery_attempts: int = 10
    #: How long one worker has an email for itself; must be longer than it takes to send one. 1 second to 1 hour.
    delivery_lease: timedelta = timedelta(minutes=3)
    #: ``"inline"``: sent right after the commit; ``"queue"``: a worker sends.
    delivery: str = "inline"
    #: How long before it expires an invitation is reminded of, once; ``None``: never. 1 minute to 29 days.
    remind_before: timedelta | None = None
    #: Tell the inviter by email when an invitation is accepted or declined.
    notify_inviter: bool = False
    #: Tell the invitee by email when an invitation that they were sent is revoked.
    notify_revoked: bool = False
    #: What the holder of an expired link may do: ``None``: nothing; ``"send"``: have a new one emailed to the invited
    #: address; ``"ask"``: have the inviter asked for one, by email.
    fresh_link: str | None = None
    #: Give emails to invitees the headers by which mail programs offer to stop them with one click (RFC 8058).
    list_unsubscribe: bool = False
    #: Where our pages are reached from outside. Default: the origin of ``accept_url``, and ``pages_prefix``.
    pages_url: str = ""
    #: Ask at accept whether the inviter may still grant the role.
    recheck_inviter: bool = True
    #: The only domains that may be invited: names, or ``*.example.com`` for all below; ``None``: all domains.
    allowed_domains: tuple[str, ...] | None = None
    #: Domains that may not be invited, whatever else is allowed.
    denied_domains: tuple[str, ...] = ()
    #: Refuse disposable addresses, by the list of the extra ``disposable``.
    block_disposable: bool = False
    #: How many invitations may be open at once in one tenant; ``None``: any number.
    pending_max: int | None = 1000
    #: Rows in one bulk call.
    bulk_max: int = 1000
    #: Where rate limits are counted: a URI of the library ``limits``. It may hold a password.
    ratelimit_storage: str = field(default="memory://", repr=False)
    #: Accept, preview, decline and asking for a fresh link, for each remote address; ``None``, as below: no limit.
    ratelimit_accept: str | None = "10/minute;50/hour"
    #: Accept, for each link: it slows down and locks nobody out.
    ratelimit_token: str | None = "5/15 minutes"  # noqa: S105 - a rate
    #: Invite links, for each remote address. Nothing asks for it yet.
    ratelimit_link: str | None = "5/minute;30/hour"
    #: People invited, or sent their invitation again: by each inviter in a tenant.
    ratelimit_invite: str | None = "1000/day"
    #: The same in each tenant.
    ratelimit_tenant: str | None = "2000/day"
    #: Emails with a link to one address, over all tenants; what is over it waits.
    ratelimit_recipient: str | None = "3/day"
    #: How long after closing an invitation keeps its personal data.
    retention: timedelta = timedelta(days=90)
    secret_keys: tuple[str | bytes, ...] = field(default=(), repr=False)
    session_cookie: str = "session"

    def link(self, token: str) -> str:
        """The link that the email carries."""
        return self.accept_url.replace("{token}", token)

    def stop_link(self, token: str) -> str:
        """The link by which whoever got an email wants no more of them."""
        return f"{self.pages_url}/stop/{token}"

    @cached_property
    def accept_origin(self) -> Origin:
        """Where the accept link leads."""
        return split(self.accept_url)[0]

    @cached_property
    def domains(self) -> Domains:
        """The domains that may be invited."""
        allowed = None if self.allowed_domains is None else frozenset(self.allowed_domains)
        return Domains(allowed, frozenset(self.denied_domains), disposable() if self.block_disposable else ())

    @property
    def ratelimits(self) -> Mapping[str, Rates]:
        """The rate limits, by their keys."""
        return {key: parse(getattr(self, key.lower())) for key in RATELIMITS}

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The origins whose pages may call us, beside our own."""
        return (self.accept_origin, *self.trusted_origins)


def read(app_config: Mapping[str, Any], app_name: str) -> Config:
    """Read and check every setting.

    :param app_config: Flask's ``app.config``.
    :param app_name: the default of ``INVITATIONS_APP_NAME``.
    :raises ConfigurationError: naming the key and the fix.
    """
    given = {key[len(PREFIX) :]: value for key, value in app_config.items() if key.startswith(PREFIX)}
    unknown = sorted(given.keys() - _READERS.keys())
    if unknown:
        near = meant(PREFIX + unknown[0], map(PREFIX.__add__, _READERS))
        _fail(unknown[0], f"is not a setting of flask-invitations.{near} See docs/settings.md for the names")
    if "ACCEPT_URL" not in given:
        _fail("ACCEPT_URL", 'is missing. Set it, for example to "https://app.example.com/invitations/accept#{token}"')
    values = {key.lower(): _READERS[key](key, value) for key, value in given.items()}
    values.setdefault("app_name", app_name)
    cookie = str(app_config.get("SESSION_COOKIE_NAME", "session"))
    config = Config(**values, secret_keys=_secret_keys(app_config), session_cookie=cookie)
    if not config.pages_url:
        config = replace(config, pages_url=f"{config.accept_origin}{config.pages_prefix or ''}")
    _check_together(config)
    return config


def _fail(key: str, fix: str) -> NoReturn:
    raise ConfigurationError(f"{PREFIX}{key} {fix}.")


def _secret_keys(app_config: Mapping[str, Any]) -> tuple[str | bytes, ...]:
    secret, fallbacks = app_config.get("SECRET_KEY"), app_config.get("SECRET_KEY_FALLBACKS") or ()
    if not secret:
        raise ConfigurationError("SECRET_KEY is missing. Set it before init_app, because links are derived from it.")
    if not _is_key(secret):
        raise ConfigurationError("SECRET_KEY must be text or bytes. Set it to a long random text.")
    if not isinstance(fallbacks, (tuple, list)) or not all(map(_is_key, fallbacks)):
        raise ConfigurationError(
            'SECRET_KEY_FALLBACKS must be a list of old keys, none of them empty, as in ["the old key"]. '
            "Leave it out if there are none."
        )
    return (secret, *fallbacks)


def _is_key(given: Any) -> bool:
    """An empty one is what ``"".split(",")`` gives; each letter of a text would be one (A5)."""
    return isinstance(given, (str, bytes)) and bool(given)


def _check_together(config: Config) -> None:
    if config.pages_prefix in (config.api_prefix, f"{config.api_prefix}/invitations"):
        _fail("PAGES_PREFIX", "gives pages the paths of the API under INVITATIONS_API_PREFIX. Choose another prefix")
    for role in config.admin_roles:
        if role not in config.roles:
            _fail("ADMIN_ROLES", f"names {role!r}, which is not in INVITATIONS_ROLES. Add it there or remove it here")
    if config.default_role not in config.roles:
        _fail("DEFAULT_ROLE", f"is {config.default_role!r}, which is not in INVITATIONS_ROLES. Set it to one of them")
    if config.password_max_length < config.password_min_length:
        _fail("PASSWORD_MAX_LENGTH", "is below INVITATIONS_PASSWORD_MIN_LENGTH. Raise it")
    if config.list_unsubscribe and config.pages_prefix is None:
        _fail("LIST_UNSUBSCRIBE", "needs the pages. Set INVITATIONS_PAGES_PREFIX, or turn it off")


def _accept_url(key: str, value: Any) -> str:
    if not isinstance(value, str) or value.count("{token}") != 1:
        _fail(key, "must be a link with {token} in it exactly once")
    try:
        origin, rest = split(value)
    except InvalidOrigin as wrong:
        _fail(key, f"{wrong}, as in https://host/path#{{token}}")
    if "{token}" not in rest:
        _fail(key, "must have {token} after the host, as in https://host/path#{token}")
    _refuse_plain(key, origin)
    return f"{origin}{rest}"


def _origins(key: str, value: Any) -> tuple[Origin, ...]:
    if not isinstance(value, (tuple, list)) or not all(isinstance(each, str) for each in value):
        _fail(key, 'must be a list of origins, as in ["https://app.example.com"]')
    return tuple(_origin(key, each) for each in value)


def _origin(key: str, value: str) -> Origin:
    try:
        origin, rest = split(value)
    except InvalidOrigin as wrong:
        _fail(key, f"{wrong}, as in https://app.example.com")
    if rest:
        _fail(key, "must end with the host or the port, as in https://app.example.com")
    _refuse_plain(key, origin)
    return origin


def _site(key: str, value: Any) -> str:
    if not isinstance(value, str) or value.endswith("/") or set("?#<>") & set(value):
        _fail(key, "must be a link without ?, #, <, > and a / at its end, as in https://app.example.com/invitations")
    try:
        origin, path = split(value)
    except InvalidOrigin as wrong:
        _fail(key, f"{wrong}, as in https://app.example.com/invitations")
    _refuse_plain(key, origin)
    return f"{origin}{path}"


def _refuse_plain(key: str, origin: Origin) -> None:
    if origin.scheme != "https" and origin.host not in LOOPBACK:
        _fail(key, "must start with https:// (http:// is for localhost only)")


def _prefix(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or value.endswith("/") or "<" in value:
        _fail(key, 'must be a fixed path that starts with "/" and does not end with it')
    return value


def _span(low: timedelta, high: timedelta, bounds: str) -> Callable[[str, Any], timedelta]:
    def reader(key: str, value: Any) -> timedelta:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9:
            value = timedelta(seconds=value)
        if not isinstance(value, timedelta) or not low <= value <= high:
            _fail(key, f"must be a timedelta or seconds, {bounds}")
        return value

    return reader


def _whole(low: int, high: int) -> Callable[[str, Any], int]:
    def reader(key: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            _fail(key, f"must be a whole number from {low} to {high}")
        return value

    return reader


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        _fail(key, "must be True or False")
    return value


def _name(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        _fail(key, "must be a non-empty string")
    return value


def _rate(key: str, value: Any) -> str | None:
    try:
        parse(value)
    except ValueError:
        _fail(
            key, 'must be like "10/minute;50/hour", at most 1,000,000,000 in at most 30 days each, or None for no limit'
        )
    return None if value is None else str(value)


def _names(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (tuple, list)) or not all(isinstance(name, str) and 0 < len(name) <= 64 for name in value):
        _fail(key, "must be a list of names of 1 to 64 characters")
    if not value or len(set(value)) != len(value):
        _fail(key, "must name at least one role, each once")
    return tuple(value)


def _domains(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (tuple, list)) or not all(isinstance(each, str) for each in value):
        _fail(key, 'must be a list of domains, as in ["example.com", "*.example.com"]')
    return tuple(_domain(key, each) for each in value)


def _domain(key: str, value: str) -> str:
    try:
        return pattern(value)
    except ValueError:
        _fail(key, f"must hold names as example.com, or *.example.com for all below, and {value!r} is neither")


def _allowed(key: str, value: Any) -> tuple[str, ...]:
    found = _domains(key, value)
    if not found:
        _fail(key, "is empty, so that nobody could be invited. Name the domains, or set it to None to allow all")
    return found


def _blocks(key: str, value: Any) -> bool:
    if _flag(key, value):
        try:
            disposable()
        except ImportError:
            _fail(key, "needs a list of disposable domains. Run `pip install 'flask-invitations[disposable]'`")
    return bool(value)


def _one_of(*allowed: str | None) -> Callable[[str, Any], Any]:
    listed = " or ".join(f'"{each}"' if each else "None" for each in allowed)

    def reader(key: str, value: Any) -> Any:
        if value not in allowed:
            _fail(key, f"must be {listed}")
        return value

    return reader


def _optional(reader: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda key, value: None if value is None else reader(key, value)


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "ACCEPT_URL": _accept_url,
    "API_PREFIX": _prefix,
    "PAGES_PREFIX": _optional(_prefix),
    "TTL": _span(MIN_TTL, MAX_TTL, "from 1 hour to 30 days"),
    "ROLES": _names,
    "ADMIN_ROLES": _names,
    "DEFAULT_ROLE": _name,
    "APP_NAME": _name,
    "PASSWORD_MIN_LENGTH": _whole(8, 1024),
    "PASSWORD_MAX_LENGTH": _whole(8, 4096),
    "PASSWORD_REQUIRED": _flag,
    "REVEAL_ACCOUNTS": _flag,
    "RETURN_LINK": _flag,
    "TRUSTED_ORIGINS": _origins,
    "DELIVERY_ATTEMPTS": _whole(1, 50),
    "DELIVERY": _one_of("inline", "queue"),
    "DELIVERY_LEASE": _span(timedelta(seconds=1), timedelta(hours=1), "from 1 second to 1 hour"),
    "REMIND_BEFORE": _optional(_span(timedelta(minutes=1), timedelta(days=29), "from 1 minute to 29 days")),
    "NOTIFY_INVITER": _flag,
    "NOTIFY_REVOKED": _flag,
    "FRESH_LINK": _one_of(None, "send", "ask"),
    "LIST_UNSUBSCRIBE": _flag,
    "PAGES_URL": _site,
    "RECHECK_INVITER": _flag,
    "ALLOWED_DOMAINS": _optional(_allowed),
    "DENIED_DOMAINS": _domains,
    "BLOCK_DISPOSABLE": _blocks,
    "PENDING_MAX": _optional(_whole(1, 1_000_000)),
    "BULK_MAX": _whole(1, 10_000),
    "RATELIMIT_STORAGE": _name,
    **dict.fromkeys(RATELIMITS, _rate),
    "RETENTION": _span(timedelta(0), timedelta(days=36500), "at least 0"),
}
