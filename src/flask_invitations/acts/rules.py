"""May this be? The one room for it: facts, the rules that read them, and the ordered sets of rules.

Pure: no SQL, no hooks. Facts are gathered before, in :mod:`.facts`. A path asks its whole set and answers the first
rule that fails: with :func:`first` where that is raised, with :func:`obstacle` where it is told; what explains asks for
all of them, with :func:`reasons`. So what is shown and what is done cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from ..errors import (
    AccountExists,
    AccountUnverified,
    AddressSuppressed,
    AlreadyInvited,
    AlreadyMember,
    GrantsNotAllowed,
    InvitationError,
    InvitationWithdrawn,
    MailBounced,
    NoSeats,
    RoleNotAllowed,
    Sentence,
    TenantInactive,
    TooManyPending,
    WrongAccount,
)


class Session(Enum):
    """Who is signed in where an invitation is answered."""

    NOBODY = "nobody"
    OWNER = "the owner of the invited account"
    OTHER = "somebody else"


@dataclass(frozen=True)
class Facts:
    """What is known about one invitation, made or not yet, at the moment of the question.

    What a set does not read keeps its default, which forbids nothing.

    :param ended: why the invitation, or this link to it, no longer opens anything.
    :param may_grant: the manager who calls may grant its role; ``grants_allowed``: all else that it grants.
    :param inviter_there: the inviter is a member, or still may invite; ``inviter_may_grant``: with this role.
    :param address_refused: what the settings say of the address or, by ``check_invitee``, the host.
    :param suppressed: the invitee wants nothing from this tenant.
    :param bounced: the last email there came back, and nobody has confirmed the address.
    :param has_account: the address has an account; ``is_member``: of this tenant; ``can_join``: accounts can join.
    :param tells_of_accounts: a manager may learn of an account that cannot join.
    :param gate: what the host says of this acceptance, by ``check_acceptance``.
    :param holder: another invitation that is live for this address.
    :param has_room: one more invitation may be open; ``seats``: so many members more fit, ``None``: any number.
    """

    ended: InvitationError | None = None
    tenant_active: bool = True
    may_grant: bool = True
    grants_allowed: bool = True
    inviter_there: bool = True
    inviter_may_grant: bool = True
    address_refused: InvitationError | None = None
    suppressed: bool = False
    bounced: bool = False
    has_account: bool = False
    is_member: bool = False
    can_join: bool = True
    tells_of_accounts: bool = True
    session: Session = Session.OWNER
    verified: bool = True
    gate: InvitationError | None = None
    holder: UUID | None = None
    has_room: bool = True
    seats: int | None = None


Rule = Callable[[Facts], "InvitationError | None"]


def reasons(rules: Sequence[Rule], facts: Facts) -> list[InvitationError]:
    """Every refusal that ``rules`` find, in their order."""
    return [refusal for rule in rules if (refusal := rule(facts)) is not None]


def obstacle(rules: Sequence[Rule], facts: Facts) -> InvitationError | None:
    """The first refusal that ``rules`` find, if any."""
    return next(iter(reasons(rules, facts)), None)


def first(rules: Sequence[Rule], facts: Facts) -> None:
    """:raises InvitationError: the first refusal that ``rules`` find."""
    refusal = obstacle(rules, facts)
    if refusal is not None:
        raise refusal


# The rules


def live(facts: Facts) -> InvitationError | None:
    return facts.ended


def tenant_active(facts: Facts) -> InvitationError | None:
    return None if facts.tenant_active else TenantInactive()


def tenant_there(facts: Facts) -> InvitationError | None:
    """The same, as the invitee is told."""
    return None if facts.tenant_active else InvitationWithdrawn()


def inviter_there(facts: Facts) -> InvitationError | None:
    """C9, C10."""
    return None if facts.inviter_there else InvitationWithdrawn()


def inviter_ceiling(facts: Facts) -> InvitationError | None:
    """C3: the ceiling once more, against the inviter's present role."""
    return None if facts.inviter_may_grant else RoleNotAllowed()


def ceiling(facts: Facts) -> InvitationError | None:
    """C1, C2."""
    return None if facts.may_grant else RoleNotAllowed()


def grants(facts: Facts) -> InvitationError | None:
    return None if facts.grants_allowed else GrantsNotAllowed()


def address(facts: Facts) -> InvitationError | None:
    return facts.address_refused


def suppression(facts: Facts) -> InvitationError | None:
    return AddressSuppressed() if facts.suppressed else None


def bounce(facts: Facts) -> InvitationError | None:
    return MailBounced() if facts.bounced else None


def member(facts: Facts) -> InvitationError | None:
    return AlreadyMember() if facts.is_member else None


_CANNOT_JOIN = Sentence("This address has an account, and accounts cannot join another organization.")


def joinable(facts: Facts) -> InvitationError | None:
    """An account that cannot join, as a manager is told: only where that may be told."""
    return account_joins(facts) if facts.tells_of_accounts else None


def account_joins(facts: Facts) -> InvitationError | None:
    """An account that cannot join, as its owner is told."""
    outside = facts.has_account and not facts.is_member
    return AccountExists(_CANNOT_JOIN, joins=False) if outside and not facts.can_join else None


def session(facts: Facts) -> InvitationError | None:
    """An existing account is never touched by anybody but its signed-in owner (A5, A12)."""
    if facts.session is Session.OTHER:
        return WrongAccount()
    return AccountExists() if facts.has_account and facts.session is Session.NOBODY else None


def verified(facts: Facts) -> InvitationError | None:
    """A1, A14."""
    return AccountUnverified() if facts.has_account and not facts.verified else None


def gate(facts: Facts) -> InvitationError | None:
    return facts.gate


def free(facts: Facts) -> InvitationError | None:
    return None if facts.holder is None else AlreadyInvited(facts.holder)


def room(facts: Facts) -> InvitationError | None:
    return None if facts.has_room else TooManyPending()


def seat(facts: Facts) -> InvitationError | None:
    return NoSeats() if facts.seats is not None and facts.seats < 1 else None


# The sets

MAKE: Sequence[Rule] = (
    tenant_active,
    ceiling,
    grants,
    address,
    suppression,
    bounce,
    member,
    joinable,
    free,
    room,
    seat,
)
#: Of a pending one nobody else holds the address, and room and seat are not asked: those facts keep their defaults.
RESEND: Sequence[Rule] = (live, *MAKE)
SEND: Sequence[Rule] = (live, tenant_active, inviter_there, inviter_ceiling, suppression, member, joinable)
#: Whether the link leads anywhere: all that declining asks.
OPENS: Sequence[Rule] = (live, tenant_there, inviter_there)
ACCEPT: Sequence[Rule] = (
    *OPENS,
    inviter_ceiling,
    session,
    verified,
    member,
    account_joins,
    gate,
    seat,
)
#: Why an invitation could not be accepted now, as its manager is told.
OBSTACLE: Sequence[Rule] = (*SEND, seat)
