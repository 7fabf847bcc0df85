"""What a host may write: every line passes mypy --strict and Pyright. It is read, and never run."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import Any

from flask_invitations import (
    Acceptance,
    EventInfo,
    Explanation,
    InvitationInfo,
    Invitations,
    LogMailer,
    Message,
    Offer,
    SMTPMailer,
    Status,
    Swept,
    invitation_created,
)
from flask_invitations.testing import RecordingMailer, SettableClock
from tests.typing import host
from tests.typing.host import Profile, Service, Tenant, User, app, db


def set_up() -> None:
    """All at once, in two steps, on two apps."""
    Invitations(app, db, user_model=User, mailer=host.mailer)
    invitations = Invitations()
    invitations.init_app(app, db, user_model=User, mailer=host.mailer)
    invitations.init_app(app, db=db, user_model=User, mailer=host.mailer, tenant_model=Tenant, current_user=None)


def mailers() -> None:
    """A function, a lambda, a method, an object, a partial, and those that ship."""
    service = Service()
    Invitations(app, db, user_model=User, mailer=lambda message: print(message.to))
    Invitations(app, db, user_model=User, mailer=service.send)
    Invitations(app, db, user_model=User, mailer=service)
    Invitations(app, db, user_model=User, mailer=partial(host.mailer))
    Invitations(app, db, user_model=User, mailer=LogMailer())
    Invitations(app, db, user_model=User, mailer=SMTPMailer("smtp.example.com", sender="Shop <shop@example.com>"))
    Invitations(app, db, user_model=User, mailer=RecordingMailer(), clock=SettableClock())


def all_hooks() -> None:
    """Every hook as a keyword."""
    Invitations(
        app,
        db,
        user_model=User,
        mailer=host.mailer,
        tenant_model=Tenant,
        current_user=host.current_user,
        tenant_of=host.tenant_of,
        role_of=host.role_of,
        can_invite=host.can_invite,
        find_user=host.find_user,
        find_users=host.find_users,
        email_is_verified=host.email_is_verified,
        create_user=host.create_user,
        join=host.join,
        profile_schema=Profile,
        validate_password=host.validate_password,
        check_invitee=host.check_invitee,
        check_acceptance=host.check_acceptance,
        seats=host.seats,
        limits_for=host.limits_for,
        rate_limit=host.rate_limit,
        tenant_is_active=host.tenant_is_active,
        tenant_name=host.tenant_name,
        display_name=host.display_name,
        login_url=host.url,
        logout_url=lambda: "/sign-out",
        home_url=host.url,
        accepted_url=host.accepted_url,
        role_label=host.role_label,
        enqueue=host.enqueue,
        on_accepted=host.on_accepted,
        clock=host.clock,
    )
    Invitations(app, db, user_model=User, mailer=host.mailer, profile_schema=Profile(), can_invite=Service().may)
    Invitations(app, db, user_model=User, mailer=host.mailer, can_invite=lambda user, tenant_id, role: role is None)
    Invitations(app, db, user_model=User, mailer=host.mailer, find_users=host.find_users_lazily, join=None)


def all_decorators(invitations: Invitations) -> None:
    """Every hook by decorator."""
    invitations.user_model(User)
    invitations.tenant_model(Tenant)
    invitations.profile_schema(Profile)
    invitations.mailer(host.mailer)
    invitations.current_user(host.current_user)
    invitations.tenant_of(host.tenant_of)
    invitations.role_of(host.role_of)
    invitations.can_invite(host.can_invite)
    invitations.find_user(host.find_user)
    invitations.find_users(host.find_users)
    invitations.email_is_verified(host.email_is_verified)
    invitations.create_user(host.create_user)
    invitations.join(host.join)
    invitations.validate_password(host.validate_password)
    invitations.check_invitee(host.check_invitee)
    invitations.check_acceptance(host.check_acceptance)
    invitations.seats(host.seats)
    invitations.limits_for(host.limits_for)
    invitations.rate_limit(host.rate_limit)
    invitations.tenant_is_active(host.tenant_is_active)
    invitations.tenant_name(host.tenant_name)
    invitations.display_name(host.display_name)
    invitations.login_url(host.url)
    invitations.logout_url(host.url)
    invitations.home_url(host.url)
    invitations.accepted_url(host.accepted_url)
    invitations.role_label(host.role_label)
    invitations.enqueue(host.enqueue)
    invitations.on_accepted(host.on_accepted)
    invitations.clock(host.clock)


def decorated() -> None:
    """As one writes it; and what was decorated is what it was."""
    invitations = Invitations()

    @invitations.mailer
    def send_mail(message: Message) -> None:
        print(message.text)

    @invitations.can_invite
    def may(user: User, tenant_id: int, role: str | None) -> bool:
        return role is None

    @invitations.on_accepted
    def greet(user: User, invitation: InvitationInfo) -> None:
        print(user.email, invitation.role)

    @invitations.user_model
    class Person(User):
        """A user."""

    allowed: bool = may(User(), 1, None)
    person: Person = Person(email="ann@example.com")
    invitations.init_app(app, db, user_model=Person, mailer=send_mail)
    print(allowed, person)


def acts(invitations: Invitations, user: User, token: str, some_id: uuid.UUID) -> None:
    """What each act takes and gives."""
    made: InvitationInfo = invitations.invite("ann@example.com")
    made = invitations.invite(
        "ann@example.com",
        inviter=user,
        tenant_id=1,
        role="user",
        message="Welcome",
        details={"project": 7},
        expires_in=timedelta(days=3),
        locale="de",
    )
    offer: Offer = invitations.preview(token)
    accepted: Acceptance = invitations.accept(token, password="a password", profile={"name": "Ann"})
    accepted = invitations.accept(token, user=user)
    offer = invitations.decline(token, reason="No time")
    offer = invitations.decline(token, never_again=True, report=True)
    invitations.request_link(token)
    made = invitations.resend(some_id, by=user, rotate=False, confirm=True)
    made = invitations.revoke(some_id, by=None)
    revoked: int = invitations.revoke_for(user, tenant_id=1)
    made = invitations.get(some_id, by=user)
    events: Sequence[EventInfo] = invitations.events(some_id)
    page: Sequence[InvitationInfo] = invitations.list(by=user, limit=50, status="pending", q="ann")
    page = invitations.list(after=(made.created_at, made.id))
    ended: Mapping[str, int] = invitations.deliver()
    ended = invitations.deliver(some_id)
    news: bool = invitations.record_delivery(some_id, "bounced", "no such user")
    swept: Swept = invitations.sweep()
    document: dict[str, Any] = invitations.openapi()
    unit: AbstractContextManager[object] = invitations.unit()
    made = invitations.invite("ann@example.com", inviter=user, mail=False, confirm=True)
    made = invitations.resend(str(some_id), by=user, expires_in=3600)
    told: Explanation = invitations.explain("ann@example.com", by=user, role="admin")
    offer = invitations.preview(token, user)
    accepted = invitations.accept(token, by=user)
    with invitations.unit() as block:
        made = block.result(invitations.invite("ann@example.com", by=user))
    pending: bool = made.status == "pending" or made.status == Status.PENDING or made.status in ("revoked", "declined")
    print(offer, accepted, revoked, events, page, ended, news, swept, document, unit, told.reasons, pending)


def signals() -> None:
    """Receivers are connected as blinker has it."""

    def receive(sender: Any, *, invitation: InvitationInfo) -> None:
        print(sender, invitation.role)

    invitation_created.connect(receive)
    invitation_created.connect(receive, sender=app)
