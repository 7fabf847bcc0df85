"""A fresh link in place of an expired one, for whoever holds that."""

from __future__ import annotations

from datetime import timedelta

from .. import outbox
from ..context import Context
from ..errors import InvitationError, TryAgain
from ..hooks import invitation_resent
from ..model.states import Kind, Status
from ..outbox import Posted
from ..store.found import Found
from ..tokens import Token, parse
from .answer import check_inviter_may_still_grant, check_standing
from .callers import Origin, audit, system
from .manage import check_wanted, renew

#: How long one invitation has to wait for the next request.
PAUSE = timedelta(hours=1)


def request_link(ctx: Context, *, token: str, origin: Origin) -> None:
    """Do what the setting ``FRESH_LINK`` says for the holder of an expired link, at most once an hour.

    ``"send"``: a new link is mailed to the address that was invited. ``"ask"``: whoever invited is asked for one, by
    mail; nobody is where the system invited. The caller is told nothing: not whether the link is known, expired, too
    young for another request, or of an invitation that no longer stands.

    :raises TryAgain: the database refused; nothing happened.
    """
    link = parse(token)
    if link is None or ctx.config.fresh_link is None:
        return

    def finish(posted: Posted | None) -> Posted | None:
        if posted is None:
            return None
        ctx.announce(invitation_resent, posted.info)
        return outbox.dispatch(ctx, posted)

    try:
        ctx.unit.run(lambda: _request(ctx, link, origin), then=finish)
    except TryAgain:
        raise
    except InvitationError:
        return


def _request(ctx: Context, link: Token, origin: Origin) -> Posted | None:
    now, found = ctx.now(), ctx.store.by_token(link.hash)
    if found is None or found.row.token_hash != link.hash or found.row.email_key is None:
        return None
    row = found.row
    asks = ctx.config.fresh_link == "ask"
    if row.status_at(now) != Status.EXPIRED or (asks and row.invited_by_id is None):
        return None
    check_standing(ctx, row)
    check_inviter_may_still_grant(ctx, row)
    if not asks:
        check_wanted(ctx, row)
    if not ctx.store.take_link_request(row, now, now - PAUSE):
        return None
    ctx.store.event(row, "link_requested", now, **audit(None, origin))
    if asks:
        outbox.notify(ctx, row, Kind.LINK_REQUEST, now)
        return None
    return _send(ctx, found, origin)


def _send(ctx: Context, found: Found, origin: Origin) -> Posted:
    by = system(found.row.tenant_id, origin)
    return renew(ctx, found.row, by, ctx.now(), found.inviter_email)
