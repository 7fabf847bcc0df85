"""Who gets what: for every state of an invitation and every call, the answer. ``status`` or ``status code``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

#: The calls of managers, the same in every state for those who may not make them.
MANAGE = ("get", "events", "resend", "revoke")
OUTSIDERS: Mapping[str, Mapping[str, str]] = {
    "nobody": dict.fromkeys((*MANAGE, "invite", "list"), "401 unauthenticated"),
    "plain": dict.fromkeys((*MANAGE, "invite", "list"), "403 forbidden"),
    "stranger": dict.fromkeys(MANAGE, "404 invitation-not-found"),
}

#: state -> what the manager of its tenant gets; ``invite``: for the same address once more.
MANAGER: Mapping[str, Mapping[str, str]] = {
    state: dict(zip((*MANAGE, "invite"), cells, strict=True))
    for state, cells in {
        "pending": ("200", "200", "200", "204", "409 already-invited"),
        "overdue": ("200", "200", "200", "204", "201"),
        "swept": ("200", "200", "200", "204", "201"),
        "accepted": ("200", "200", "409 invitation-accepted", "409 invitation-accepted", "409 already-member"),
        "declined": ("200", "200", "410 invitation-declined", "204", "201"),
        "never again": ("200", "200", "410 invitation-declined", "204", "409 address-suppressed"),
        "revoked": ("200", "200", "410 invitation-revoked", "204", "201"),
        "replaced": ("200", "200", "200", "204", "409 already-invited"),
        "replaced, overdue": ("200", "200", "200", "204", "201"),
        "forgotten": ("200", "200", "200", "204", "409 already-invited"),
        "tenant inactive": ("200", "200", "403 tenant-inactive", "204", "403 tenant-inactive"),
        "inviter deleted": ("200", "200", "200", "204", "409 already-invited"),
        "inviter left": ("200", "200", "200", "204", "409 already-invited"),
        "inviter demoted": ("200", "200", "200", "204", "409 already-invited"),
        "account elsewhere": ("200", "200", "409 account-exists", "204", "409 account-exists"),
        "account unverified": ("200", "200", "409 account-exists", "204", "409 account-exists"),
        "account member": ("200", "200", "409 already-member", "204", "409 already-member"),
        "bounced": ("200", "200", "409 mail-bounced", "204", "409 mail-bounced"),
    }.items()
}

_EXPIRED, _REPLACED = "410 invitation-expired", "410 invitation-replaced"
_DECLINED, _REVOKED = "410 invitation-declined", "410 invitation-revoked"
_ACCEPTED, _UNKNOWN = "409 invitation-accepted", "404 invitation-not-found"
_WITHDRAWN, _WRONG, _ROLE = "410 invitation-withdrawn", "403 wrong-account", "403 role-not-allowed"

#: state -> preview, decline, accept by nobody, accept by another account, accept by the account of the address.
_PUBLIC: Mapping[str, tuple[str, str, str, str, str | None]] = {
    "pending": ("200", "200", "201", _WRONG, None),
    "overdue": (_EXPIRED, _EXPIRED, _EXPIRED, _EXPIRED, None),
    "swept": (_EXPIRED, _EXPIRED, _EXPIRED, _EXPIRED, None),
    "accepted": (_ACCEPTED, _ACCEPTED, _ACCEPTED, _ACCEPTED, "200"),
    "declined": (_DECLINED, _DECLINED, _DECLINED, _DECLINED, None),
    "never again": (_DECLINED, _DECLINED, _DECLINED, _DECLINED, None),
    "revoked": (_REVOKED, _REVOKED, _REVOKED, _REVOKED, None),
    "replaced": (_REPLACED, _REPLACED, _REPLACED, _REPLACED, None),
    "replaced, overdue": (_REPLACED, _REPLACED, _REPLACED, _REPLACED, None),
    "forgotten": (_UNKNOWN, _UNKNOWN, _UNKNOWN, _UNKNOWN, None),
    "tenant inactive": (_WITHDRAWN, _WITHDRAWN, _WITHDRAWN, _WITHDRAWN, None),
    "inviter deleted": (_WITHDRAWN, _WITHDRAWN, _WITHDRAWN, _WITHDRAWN, None),
    "inviter left": (_WITHDRAWN, _WITHDRAWN, _WITHDRAWN, _WITHDRAWN, None),
    "inviter demoted": ("200", "200", _ROLE, _ROLE, None),
    "account elsewhere": ("200", "200", "409 account-exists", _WRONG, "409 account-exists"),
    "account unverified": ("200", "200", "409 account-exists", _WRONG, "409 account-unverified"),
    "account member": ("200", "200", "409 account-exists", _WRONG, "409 already-member"),
    "bounced": ("200", "200", "201", _WRONG, None),
}

#: Where accounts can join, this is what differs.
JOINING: Mapping[tuple[str, str, str], str] = {
    ("account elsewhere", "accept", "invitee"): "201",
    ("account elsewhere", "resend", "admin"): "200",
    ("account elsewhere", "invite", "admin"): "409 already-invited",
    ("account unverified", "resend", "admin"): "200",
    ("account unverified", "invite", "admin"): "409 already-invited",
}

OTHERS = ("stranger", "plain", "admin")


def public_cells(state: str) -> Iterator[tuple[str, str, str]]:
    """(call, who, expected) of the invitee's calls."""
    preview, decline, nobody, other, invitee = _PUBLIC[state]
    for who in ("nobody", "stranger", *(("invitee",) if invitee else ())):
        yield "preview", who, preview
        yield "decline", who, decline
    yield "accept", "nobody", nobody
    for who in OTHERS:
        yield "accept", who, other
    if invitee is not None:
        yield "accept", "invitee", invitee


def cells(state: str) -> list[tuple[str, str, str]]:
    """Every (call, who, expected) of one state."""
    outside = [(call, who, expected) for who, calls in OUTSIDERS.items() for call, expected in calls.items()]
    inside = [(call, "admin", expected) for call, expected in MANAGER[state].items()]
    return [*outside, *inside, *public_cells(state)]


#: The views that the calls of the tables are.
VIEWS: Mapping[str, str] = {
    "get": "get_invitation",
    "events": "list_events",
    "resend": "resend_invitation",
    "revoke": "revoke_invitation",
    "invite": "invite",
    "list": "list_invitations",
    "preview": "preview_invite",
    "decline": "decline_invite",
    "accept": "accept_invite",
}


def seen() -> set[tuple[str, int, str]]:
    """Every (view, status, code or "") in the tables."""
    found = [cell for state in MANAGER for cell in cells(state)]
    found += [(call, who, expected) for (_state, call, who), expected in JOINING.items()]
    split = [(VIEWS[call], *expected.partition(" ")[::2]) for call, _who, expected in found]
    return {(view, int(status), code) for view, status, code in split}
