"""``flask invitations doctor``: what will hurt in the running app. Each finding is one function that yields sentences:
what is wrong, and how to fix it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa

from .addresses import key_of
from .context import Context
from .defaults import Defaults
from .errors import ConfigurationError, TryAgain
from .mail.log import LogMailer
from .migrations import missing
from .origins import split
from .store.drivers import MIGRATE, MIGRATE_OURS
from .store.hosts import UNENFORCED

#: How long an email may be due, and an invitation overdue, before somebody has forgotten a command.
UNTAKEN, UNSWEPT = timedelta(minutes=10), timedelta(days=1)
#: RFC 2104, section 3: a key of HMAC-SHA-256 has as many bytes as its output.
KEY_BYTES = 32

Finding = Callable[[Context], Iterator[str]]


def examine(ctx: Context) -> Iterator[tuple[str, Sequence[str]]]:
    """Look at everything. The rows are looked at only if the tables are right.

    :return: what was looked at, and what is wrong with it.
    """
    for name, find in SETTINGS.items():
        yield name, [*find(ctx)]
    wrong = _look(ctx, _tables)
    yield "tables", wrong
    for name, find in {} if wrong else ROWS.items():
        yield name, _look(ctx, find)


def _look(ctx: Context, find: Finding) -> Sequence[str]:
    try:
        return ctx.unit.look(lambda: [*find(ctx)])
    except TryAgain:
        return ["The database does not answer. Start it, then try again."]


# The settings


def _secret_key(ctx: Context) -> Iterator[str]:
    key = ctx.config.secret_keys[0]
    length = len(key.encode() if isinstance(key, str) else key)
    if length < KEY_BYTES:
        yield (
            f"SECRET_KEY has {length} bytes. Set it to the output of `python -c 'import secrets; "
            "print(secrets.token_hex())'`, and move the old one to SECRET_KEY_FALLBACKS."
        )


def _accept_url(ctx: Context) -> Iterator[str]:
    """A proxy may mount the app below a path that the app never sees."""
    prefix = ctx.config.pages_prefix
    if prefix is None:
        return
    origin, rest = split(ctx.config.link("A" * 43))
    path = re.split("[?#]", rest)[0]
    is_ours = path.endswith(f"{prefix}/accept") or f"{prefix}/accept/" in path
    if not is_ours and not ctx.sender.url_map.bind(origin.netloc).test(path or "/", "GET"):
        yield (
            f"INVITATIONS_ACCEPT_URL leads to {path or '/'}, which is no page of this app. End its path with "
            f"{prefix}/accept, or set INVITATIONS_PAGES_PREFIX to None if another app shows the pages."
        )


def _tenants(ctx: Context) -> Iterator[str]:
    """An app with tenants that has forgotten to say so invites for all of them at once."""
    user = ctx.models.user
    if ctx.models.tenant is None and sa.inspect(user).has_property("tenant_id"):
        yield (
            f"{user.__name__}.tenant_id is not used, because init_app was given no tenant_model: all users are in one "
            "tenant, and managers invite for everybody. Pass tenant_model, or rename the attribute if it means "
            "something else."
        )


def _mailer(ctx: Context) -> Iterator[str]:
    if isinstance(ctx.hooks.said["mailer"], LogMailer) and not ctx.sender.debug:
        yield "LogMailer sends no email outside of debug. Pass another mailer to init_app."


def _rate_limits(ctx: Context) -> Iterator[str]:
    limits, wanted = ctx.limits, any(ctx.config.ratelimits.values())
    if wanted and limits.instead is None and limits.limiter.forgets and not ctx.sender.debug:
        yield (
            "Rate limits are counted in memory, by each worker on its own. "
            "Set INVITATIONS_RATELIMIT_STORAGE to a Redis server, for example."
        )


def _reminders(ctx: Context) -> Iterator[str]:
    """A reminder follows an email that left before its moment; see ``acts/sweep.py``."""
    span = ctx.config.remind_before
    if span is not None and span >= ctx.config.ttl:
        yield (
            "INVITATIONS_REMIND_BEFORE is not below INVITATIONS_TTL, so that an invitation of that length gets no "
            "reminder. Lower the one, or raise the other."
        )


def _steps(ctx: Context) -> Iterator[str]:
    try:
        steps = missing(ctx.models)
    except ConfigurationError as error:
        yield str(error)
        return
    if steps:
        yield f"Missing: {', '.join(steps)}. Run `flask invitations migrations`, then `flask db upgrade`."


# The database


def _tables(ctx: Context) -> Iterator[str]:
    """Those of the host come first: ours point at them."""
    lacks = [*ctx.store.health.lacks()]
    for name, columns in lacks:
        what = f"lacks {', '.join(columns)}" if columns else "is missing"
        yield f"{name} {what}. {MIGRATE}"
    if not all(columns for _, columns in lacks):
        return
    for name, wrong in ctx.store.health.shapes().items():
        if wrong is None:
            yield f"{name} is missing. {MIGRATE_OURS}"
        elif wrong:
            yield f"{name} is not as it should be: {'; '.join(wrong)}. Correct it in a revision of your own."


def _foreign_keys(ctx: Context) -> Iterator[str]:
    if ctx.store.hosts.is_unenforced():
        yield UNENFORCED


def _unique_emails(ctx: Context) -> Iterator[str]:
    if not ctx.store.health.email_is_unique():
        user = ctx.models.user.__name__
        yield f"{user}.email has no unique index, so that one address may get two accounts. Add one."


def _canonical_emails(ctx: Context) -> Iterator[str]:
    """A ``find_user`` of the host's, or an index of lower case, finds them all the same."""
    own = isinstance(getattr(ctx.hooks.said["find_user"], "__self__", None), Defaults)
    if not own or ctx.models.searched_email is not ctx.models.user_email:
        return
    count = sum(key_of(email) not in (None, email) for email in ctx.store.health.emails())
    if count:
        yield (
            f"{count} email(s) of {ctx.models.user.__name__} are not in canonical form, and are not found: "
            "invited, such a person gets a second account. Store what flask_invitations.canonical_email() returns."
        )


def _outbox(ctx: Context) -> Iterator[str]:
    count = ctx.store.mails.count_due(ctx.now() - UNTAKEN)
    if count:
        yield (
            f"{count} email(s) have been due for more than 10 minutes. "
            "Run `flask invitations deliver` every minute, or with --watch."
        )


def _sweep(ctx: Context) -> Iterator[str]:
    expired = ctx.now() - UNSWEPT
    if ctx.store.health.is_unswept(expired, expired - ctx.config.retention):
        yield "Nothing has been swept for more than a day. Run `flask invitations sweep` every few minutes."


SETTINGS: Mapping[str, Finding] = {
    "secret key": _secret_key,
    "accept link": _accept_url,
    "tenants": _tenants,
    "mailer": _mailer,
    "rate limits": _rate_limits,
    "reminders": _reminders,
    "migration steps": _steps,
}
ROWS: Mapping[str, Finding] = {
    "foreign keys": _foreign_keys,
    "unique emails": _unique_emails,
    "canonical emails": _canonical_emails,
    "outbox": _outbox,
    "sweep": _sweep,
}
