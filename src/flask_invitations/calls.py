"""The acts from Python: a face like the JSON API, the pages and the command line. It parses, and calls one act."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from . import acts, outbox, shapes
from .acts import Acceptance, Caller, Explanation, Manager, Offer, Swept, Wanted
from .clock import as_utc
from .context import Context
from .current import get_state, origin
from .errors import InvalidRequest, InvitationNotFound
from .model.states import StatusValue
from .model.values import EventInfo, InvitationInfo
from .store.statements import EVERYWHERE
from .store.unit import Block
from .tokens import sealed
from .traces import all_hidden
from .web.api import CALLS
from .web.openapi import document

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Filters(TypedDict, total=False):
    """What :meth:`Calls.list` filters by.

    :param q: a part of the address.
    """

    status: StatusValue | None
    role: str | None
    email: str | None
    q: str | None


@all_hidden
class Calls:
    """What can be done with the invitations of the current app. Each needs an app context.

    Each is one transaction on the host's session and commits it, like any ``db.session.commit()`` what the host left
    unsaved there included; inside ``with invitations.unit():`` they join the host's own.
    """

    @contextmanager
    def unit(self) -> Iterator[Block]:
        """``with invitations.unit() as unit:`` one transaction for the host's own changes and the acts called inside.

        Committed once, at the end of the block; emails, signals and observers wait for that. Any exception
        undoes all of it. What the acts have returned is completed at the end: ``delivery`` and ``session`` are known
        only then. ``unit.result(value)`` gives such a value, and raises where that is asked too early, or where the
        host has rolled that part of the block back.
        """
        ctx = get_state().ctx
        with ctx.unit.joined() as block:
            yield block
        acts.complete_deliveries(ctx, block.results())

    def invite(
        self,
        email: str,
        *,
        by: Any = None,
        inviter: Any = None,
        tenant_id: Any = None,
        role: str | None = None,
        message: str | None = None,
        details: Mapping[str, Any] | None = None,
        expires_in: timedelta | int | None = None,
        locale: str | None = None,
        mail: bool = True,
        confirm: bool = False,
    ) -> InvitationInfo:
        """Invite ``email``.

        :param by: the host's user who invites, whose permission is checked; ``None``: the system, which may.
        :param inviter: another name for ``by``.
        :param tenant_id: into which tenant; default: the one in which ``by`` acts.
        :param role: default: the setting ``DEFAULT_ROLE``.
        :param message: at most 1,000 characters, shown to the invitee as plain text.
        :param details: up to 4 KiB of JSON for the host's hooks.
        :param expires_in: ``timedelta`` or seconds, 1 hour to 30 days; default: the setting ``TTL``.
        :param locale: BCP 47 tag for email and pages.
        :param mail: ``False``: no email is sent.
        :param confirm: the address is right, although the last email there bounced or was complained of.
        :raises InvitationError: a rule of *Make* (``docs/rules.md``), or ``InvalidRequest``; nothing was written.
        """
        given = self._wanted(email, role, message, details, expires_in, locale, mail=mail, confirm=confirm)
        by = self._by(by, tenant_id, inviter=inviter)
        return acts.invite(get_state().ctx, by=by, wanted=given)

    def explain(
        self,
        email: str,
        *,
        by: Any = None,
        inviter: Any = None,
        tenant_id: Any = None,
        role: str | None = None,
        message: str | None = None,
        details: Mapping[str, Any] | None = None,
        expires_in: timedelta | int | None = None,
        locale: str | None = None,
        confirm: bool = False,
    ) -> Explanation:
        """Tell what :meth:`invite` would do with the same arguments, and everything that stands in its way.

        :returns: ``allowed``, ``approval`` and ``reasons``, a list of ``InvitationError``; nothing is written.
        :raises InvitationError: ``InvalidRequest`` for wrong arguments, ``Forbidden`` where ``by`` manages nothing.
        """
        given = self._wanted(email, role, message, details, expires_in, locale, confirm=confirm)
        by = self._by(by, tenant_id, inviter=inviter)
        return acts.explain(get_state().ctx, by=by, wanted=given)

    def preview(self, token: str, user: Any = None, *, by: Any = None) -> Offer:
        """What the link with ``token`` offers.

        :param by: the host's user who looks; ``None``: nobody is signed in. ``user`` is another name for it.
        :returns: the offer; its ``obstacle`` is what :meth:`accept` would answer to them.
        :raises InvitationError: unknown or dead link.
        """
        link = sealed(token)
        del token  # a crash report shows the variables of every call
        return acts.preview(get_state().ctx, token=link, by=self._caller(by, user=user))

    def accept(
        self,
        token: str,
        *,
        password: str | None = None,
        profile: Mapping[str, Any] | None = None,
        by: Any = None,
        user: Any = None,
    ) -> Acceptance:
        """Accept for the holder of ``token``.

        :param password: for a new account.
        :param profile: the fields of the host's ``profile_schema``.
        :param by: the signed-in user, where an existing account is to join. ``user`` is another name for it.
        :raises InvitationError: a rule of *Accept* (``docs/rules.md``), or ``InvalidRequest``; the invitation is as it
            was.
        """
        shapes.check_typed(password, profile)
        secrets = {"token": sealed(token), "password": sealed(password)}
        del token, password
        return acts.accept(get_state().ctx, **secrets, profile=profile, by=self._caller(by, user=user))

    def decline(
        self,
        token: str,
        *,
        reason: str | None = None,
        never_again: bool = False,
        report: bool = False,
        by: Any = None,
    ) -> Offer:
        """Decline for the holder of ``token``.

        :param reason: at most 500 characters, for the audit trail.
        :param never_again: the tenant cannot invite this address any more, and what else is open for it is revoked.
        :param report: that, and ``invitation_reported`` is sent to the operator.
        :param by: the signed-in user; ``None``: nobody.
        :raises InvitationError: unknown or dead link; a reason too long.
        """
        link = sealed(token)
        del token
        said = {"token": link, "reason": reason, "never_again": never_again, "report": report}
        given = shapes.load(shapes.DECLINE, said)
        return acts.decline(get_state().ctx, by=self._caller(by), **given)

    def request_link(self, token: str, *, by: Any = None) -> None:
        """Ask for a fresh link in place of the expired one with ``token``, as the setting ``FRESH_LINK`` allows.

        Nothing is told about the token, and nothing of what became of the request.

        :param by: the signed-in user; ``None``: nobody.
        """
        link = sealed(token)
        del token
        acts.request_link(get_state().ctx, token=link, by=self._caller(by))

    def resend(
        self,
        invitation_id: uuid.UUID | str,
        *,
        by: Any = None,
        rotate: bool = True,
        confirm: bool = False,
        expires_in: timedelta | int | None = None,
    ) -> InvitationInfo:
        """Send the email once more; the invitation is open for another span of time.

        :param by: the host's user, whose permission is checked, and who becomes the inviter: they vouch for it from
            now on. ``None``: the system.
        :param rotate: with a new link, the old one dead.
        :param confirm: somebody has checked the address, although the last email there bounced or was complained of.
        :param expires_in: ``timedelta`` or seconds, 1 hour to 30 days, this once; default: the time it was made for.
        :raises InvitationError: a rule of *Resend* (``docs/rules.md``), or not found; nothing was changed.
        """
        asked = {"rotate": rotate, "confirm": confirm, "expires_in": seconds(expires_in)}
        given = shapes.load(shapes.RESEND, asked)
        return acts.resend(get_state().ctx, by=self._by(by), invitation_id=shapes.our_id(invitation_id), **given)

    def revoke(self, invitation_id: uuid.UUID | str, *, by: Any = None) -> InvitationInfo:
        """Make sure that the invitation opens nothing any more, nor an older one of the same address.

        :param by: the host's user, whose permission is checked; ``None``: the system.
        :raises InvitationError: not found, accepted already, or not allowed.
        """
        return acts.revoke(get_state().ctx, by=self._by(by), invitation_id=shapes.our_id(invitation_id))

    def revoke_for(self, user: Any, *, tenant_id: Any = None, by: Any = None) -> int:
        """Call this where a user leaves a tenant: revokes what they invited, and what invites them, there.

        :param tenant_id: ``None``: in every tenant.
        :param by: the host's user, whose permission is checked; ``None``: the system.
        :returns: how many were revoked.
        """
        return acts.revoke_for(get_state().ctx, by=self._by(by, tenant_id), user=user)

    def get(self, invitation_id: uuid.UUID | str, *, by: Any = None) -> InvitationInfo:
        """One invitation, with its ``obstacle``: why it could not be accepted now.

        :raises InvitationNotFound: unknown, or not in the tenant of ``by``.
        :raises TryAgain: the database refused to the last.
        """
        return acts.get(get_state().ctx, by=self._by(by), invitation_id=shapes.our_id(invitation_id))

    def events(
        self,
        invitation_id: uuid.UUID | str,
        *,
        by: Any = None,
        limit: int = 100,
        after: tuple[datetime, uuid.UUID] | None = None,
    ) -> Sequence[EventInfo]:
        """The audit trail of an invitation, oldest first. What is repeated with one link is one line, with ``count``
        and ``last_at`` in its ``details``.

        :param limit: at most so many, 1 to 100.
        :param after: ``(at, id)`` of the last one seen.
        :raises InvitationNotFound: unknown, or not in the tenant of ``by``.
        :raises InvalidRequest: a wrong ``limit`` or ``after``.
        :raises TryAgain: the database refused to the last.
        """
        given = shapes.load(shapes.EVENTS, {"limit": limit})
        place, wanted = _place(after, "at"), shapes.our_id(invitation_id)
        return acts.events(get_state().ctx, by=self._by(by), invitation_id=wanted, after=place, **given)[0]

    def list(
        self,
        *,
        by: Any = None,
        tenant_id: Any = None,
        limit: int = 20,
        after: tuple[datetime, uuid.UUID] | None = None,
        **filters: Unpack[Filters],
    ) -> Sequence[InvitationInfo]:
        """Invitations, newest first.

        :param tenant_id: ``None``: the tenant of ``by``; for the system, every tenant.
        :param limit: at most so many.
        :param after: ``(created_at, id)`` of the last one seen.
        :param filters: ``status``, ``role``, ``email``, ``q``.
        :raises InvalidRequest: a filter that is none, or has a value that is none.
        :raises TryAgain: the database refused to the last.
        """
        state, place = get_state(), _place(after, "created_at")
        wanted = {name: value for name, value in filters.items() if value is not None}
        given = shapes.load(state.list_query, {**wanted, "limit": limit})
        email = given.pop("email", None)
        by = self._by(by, tenant_id)
        return acts.list_page(state.ctx, by=by, after=place, email_key=email and email.key, **given)[0]

    def deliver(self, delivery_id: uuid.UUID | str | None = None) -> Mapping[str, int]:
        """Send one email of the outbox if it is due, or all that are.

        :returns: how many emails ended in which state; none for an id that is not one of an email of ours.
        :raises TryAgain: the database does not answer.
        """
        get_state().ctx.unit.begin_alone()
        try:
            return outbox.deliver(get_state().ctx, None if delivery_id is None else shapes.our_id(delivery_id))
        except InvitationNotFound:
            return {}

    def record_delivery(self, message_id: uuid.UUID | str, event: str, detail: str | None = None) -> bool:
        """Call this from your email provider's webhook: what became of an email that we sent.

        Reports may come twice and in any order. A hard bounce or a complaint stops reminders, and inviting or
        resending until somebody confirms the address.

        :param message_id: ``Message.id``, as it is or as text, or the whole ``Message-ID`` header.
        :param event: ``"delivered"``, ``"deferred"``, ``"bounced"``, ``"rejected"``, ``"complained"``, ``"failed"`` or
            another of the names that Anymail uses.
        :param detail: what the provider says of it, for the audit trail; without addresses, cut to 500 characters.
        :returns: whether that was news: ``False`` for a repeated or overtaken report, and for an email that is not
            ours, or whose invitation was purged.
        :raises InvalidRequest: no such event.
        """
        return acts.record_delivery(get_state().ctx, message_id=message_id, event=event, detail=detail)

    def sweep(self) -> Swept:
        """Expire what is overdue, purge what was closed longer ago than ``RETENTION``, remind of what expires within
        ``REMIND_BEFORE``."""
        return acts.sweep(get_state().ctx)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document.

        :raises OpenAPIUnavailable: the extra ``openapi`` is not installed.
        """
        return document(get_state(), CALLS)

    def _by(self, by: Any, tenant_id: Any = None, **also: Any) -> Manager:
        ctx = get_state().ctx
        tenant_id = None if tenant_id is None else _tenant(ctx, tenant_id)
        name, who = _given(by, **also)
        if who is not None:
            return acts.manager(ctx, acts.named(ctx, name, who, origin()), tenant_id)
        anywhere = EVERYWHERE if tenant_id is None and ctx.models.tenant is not None else tenant_id
        return acts.system(anywhere, origin())

    def _caller(self, by: Any, **also: Any) -> Caller:
        return acts.named(get_state().ctx, *_given(by, **also), origin())

    def _wanted(
        self,
        email: str,
        role: str | None,
        message: str | None,
        details: Mapping[str, Any] | None,
        expires_in: timedelta | int | None,
        locale: str | None,
        **flags: bool,
    ) -> Wanted:
        fields = {
            "email": email,
            "role": role,
            "message": message,
            "details": details,
            "expires_in": seconds(expires_in),
            "locale": locale,
            **flags,
        }
        return Wanted.loaded(shapes.load(get_state().invite_body, fields))


def _given(by: Any, **also: Any) -> tuple[str, Any]:
    """Who calls, and the name of the argument that says so.

    :param also: another name for ``by``.
    """
    named = {"by": by, **also}
    return next(((name, who) for name, who in named.items() if who is not None), ("by", None))


def seconds(span: timedelta | int | None) -> int | None:
    """``expires_in`` as JSON has it."""
    return int(span.total_seconds()) if isinstance(span, timedelta) else span


def _place(after: Any, moment: str) -> tuple[datetime, uuid.UUID] | None:
    """:raises InvalidRequest: no place in a list."""
    if after is None:
        return None
    if isinstance(after, (tuple, list)) and len(after) == 2:
        at, last = after
        if isinstance(at, datetime) and isinstance(last, uuid.UUID):
            return as_utc(at), last
    raise InvalidRequest({"after": [f"Give the {moment} and the id of the last one."]})


def _tenant(ctx: Context, given: Any) -> Any:
    """:raises InvalidRequest: no tenant's id."""
    try:
        return ctx.models.tenant_id(given)
    except ValueError:
        raise InvalidRequest({"tenant_id": ["This is not the id of a tenant."]}) from None
