"""What a host may not write: the lines with a mark, and no others, are errors; to mypy of the kind that the mark names,
to Pyright of any kind (``M``: to mypy alone). It is read, and never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_invitations import (
    DeliveryInfo,
    DeliveryState,
    EventInfo,
    InvitationInfo,
    Invitations,
    LogMailer,
    Message,
)
from tests.typing import host
from tests.typing.host import User, app, db

invitations = Invitations()


# What is left out, and what is unknown

Invitations(app)  # E: call-overload
Invitations(app, db)  # E: call-overload
Invitations(app, db, user_model=User)  # E: call-overload
Invitations(app, db, mailer=host.mailer)  # E: call-overload
Invitations(user_model=User, mailer=host.mailer)  # E: call-overload
Invitations(app, db, user_model=User, mailer=host.mailer, on_acepted=host.on_accepted)  # E: call-overload
invitations.init_app(app, db)  # E: call-arg
invitations.init_app(app, db, user_model=User)  # E: call-arg
invitations.init_app(app, db, mailer=host.mailer)  # E: call-arg
invitations.init_app(app, db, user_model=User, mailer=host.mailer, on_acepted=host.on_accepted)  # E: call-arg


# Wrong values

invitations.init_app(app, db, user_model="app.models.User", mailer=host.mailer)  # E: arg-type
invitations.init_app(app, db, user_model=None, mailer=host.mailer)  # E: arg-type
invitations.init_app(app, db, user_model=User(), mailer=host.mailer)  # E: arg-type
invitations.init_app(app, db, user_model=User, mailer=None)  # E: arg-type
invitations.init_app(app, db, user_model=User, mailer="app.mail.send")  # E: arg-type
invitations.init_app(app, db, user_model=User, mailer=LogMailer)  # E: arg-type
invitations.init_app(app, db, user_model=User, mailer=host.clock)  # E: arg-type
invitations.init_app(app, db, user_model=User, mailer=host.mailer, profile_schema=dict)  # E: arg-type
invitations.init_app(app, db, user_model=User, mailer=host.mailer, login_url="/sign-in")  # E: arg-type
invitations.init_app(app, db, user_model=User, mailer=host.mailer, can_invite=host.role_of)  # E: arg-type
invitations.init_app(app, db, user_model=User, mailer=host.mailer, join=lambda user: None)  # E: arg-type, misc
Invitations().can_invite = host.can_invite  # E: assignment


# Other arguments


def no_argument() -> None: ...


def two_arguments(user: User, tenant_id: int) -> bool:
    return True


def keyword_only(*, user: User) -> int:
    return user.tenant_id


def of_the_wrong_type(draft: Message) -> None: ...


invitations.mailer(no_argument)  # E: arg-type
invitations.can_invite(two_arguments)  # E: arg-type
invitations.tenant_of(keyword_only)  # E: arg-type
invitations.check_invitee(of_the_wrong_type)  # E: arg-type


@invitations.create_user  # E: arg-type
def without_password(invitation: InvitationInfo, profile: Mapping[str, Any]) -> User:
    return User()


# Other answers


@invitations.can_invite  # E: arg-type
def no_answer(user: User, tenant_id: int, role: str | None) -> None: ...


@invitations.email_is_verified  # E: arg-type
def when(user: User) -> str | None:
    return user.password_hash


@invitations.validate_password  # E: arg-type
def is_good(password: str, invitation: InvitationInfo) -> bool:
    return len(password) > 20


@invitations.on_accepted  # E: arg-type
def token(user: User, invitation: InvitationInfo) -> str:
    return "token"


# Async


async def coroutine(message: Message) -> None: ...


async def answer(user: User, tenant_id: int, role: str | None) -> bool:
    return True


invitations.init_app(app, db, user_model=User, mailer=coroutine)  # E: arg-type
invitations.init_app(app, db, user_model=User, mailer=host.mailer, can_invite=answer)  # E: arg-type
invitations.init_app(app, db, user_model=User, mailer=lambda message: coroutine(message))  # E: arg-type


@invitations.can_invite  # E: arg-type
async def may(user: User, tenant_id: int, role: str | None) -> bool:
    return True


@invitations.mailer  # E: arg-type
async def send(message: Message) -> None: ...


@invitations.join  # E: arg-type
async def join(user: User, invitation: InvitationInfo) -> None: ...


@invitations.validate_password  # E: arg-type
async def validate(password: str, invitation: InvitationInfo) -> None: ...


@invitations.check_invitee  # E: arg-type
async def check(draft: Any) -> None: ...


# Acts

invitations.invite()  # E: call-arg
invitations.invite(7)  # E: arg-type
invitations.invite("ann@example.com", "admin")  # E: call-arg
invitations.resend(7)  # E: arg-type


# Statuses and other words


def words(info: InvitationInfo, delivery: DeliveryInfo, event: EventInfo) -> None:
    """A word that is none is found by mypy; Pyright looks for such in its strict mode only."""
    print(info.status == "pendnig")  # M: comparison-overlap
    print(info.status == "Pending")  # M: comparison-overlap
    print(info.status is DeliveryState.SENT)  # M: comparison-overlap
    print(delivery.state == "send")  # M: comparison-overlap
    print(event.type == "invited")  # M: comparison-overlap
