"""What a person is told about a refusal: one table of words for each audience.

``INVITEE``: to the holder of a link. ``MANAGER``: to a manager, about what they just tried. ``REASONS``: to a manager,
about what happened without them: why an email was not sent, why an attempt to accept was refused. ``OBSTACLES``: to a
manager, about why an invitation cannot be accepted now. The JSON API and the command line say the sentence of the
refusal's class.

A refusal may fit several cases: ``"invitation-accepted/mine"`` is the case ``"mine"`` of that code. A code that is in
no table, a host's own, has the sentence that the host gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from . import errors
from .errors import InvitationError, Sentence


@dataclass(frozen=True)
class Words:
    """One entry of a table. Heading, sentence and next step are whole sentences for a person.

    :param icon: the picture above the heading: ``"mail"``, ``"done"``, ``"late"`` or ``"away"``.
    :param way: what the page offers beside the words: ``"paste"`` (a field for the link), ``"fresh"`` (ask for a new
        link), ``"reopen"`` (look at the invitation again), ``"sign-in"``, ``"sign-out"``, ``"app"`` (go to the app),
        ``"app-sign-in"`` (the same, to sign in there), ``"list"`` (the desk's list), ``"other"`` (the invitation that
        is in the way), or nothing.
    :param field: the field of the desk's form that the refusal is about.
    """

    heading: str
    sentence: str
    next_step: str = ""
    icon: str = "away"
    way: str = ""
    field: str = ""

    def translated(self, gettext: Callable[[str], str]) -> Words:
        """The same, in the language of ``gettext``."""
        heading, sentence, next_step = (_in(each, gettext) for each in (self.heading, self.sentence, self.next_step))
        return replace(self, heading=heading, sentence=sentence, next_step=next_step)


def _in(text: str, gettext: Callable[[str], str]) -> str:
    if isinstance(text, Sentence):
        return text.translated(gettext)
    return text and gettext(text)  # gettext("") is the catalog's own header


#: For a code that has no words of its own.
OTHERWISE = InvitationError.code

_SIGN_IN = Sentence("Please sign in first")
_EXPIRED = Sentence("This invitation has expired")
_TIME_IS_LIMITED = Sentence("Invitations work for a limited time only.")
_ACCEPTED = Sentence("This invitation was already accepted")
_DEAD = Sentence("This link no longer works")
_ASK_FOR_ANOTHER = Sentence("Ask the organization for a new invitation.")
_HAS_ACCOUNT = Sentence("You already have an account")
_UNREADABLE = Sentence("This form could not be read")
_UNUSUAL = Sentence("It contains characters that cannot be used.")
_REPLACE_UNUSUAL = Sentence("Go back and enter the text again without unusual characters.")
_TOO_LONG = Sentence("This is too long")
_LONG_TEXT = Sentence("The text that you entered is too long.")
_SHORTEN = Sentence("Go back and shorten it.")
_BUSY = Sentence("Please try again in a moment")
_SLOWER = Sentence("Please wait a little")
_NOTHING_LOST = Sentence("The site is busy. Nothing was changed.")
_FAILED = Sentence("This did not work")
_UNWELCOME = Sentence("The invitee does not want invitations from this organization.")
_VOUCH = Sentence("Resend the invitation to become the inviter yourself.")
_CAME_BACK = Sentence("The last email to this address came back or was reported as spam.")
_ASK_AN_ADMINISTRATOR = Sentence("Ask an administrator.")

#: To the holder of a link.
INVITEE: Mapping[str, Words] = {
    "invitation-expired": Words(
        _EXPIRED, _TIME_IS_LIMITED, Sentence("Ask the person who invited you to send a new one."), icon="late"
    ),
    "invitation-expired/send": Words(
        _EXPIRED,
        _TIME_IS_LIMITED,
        Sentence("We can send a new link to the invited address, and nowhere else."),
        icon="late",
        way="fresh",
    ),
    "invitation-expired/ask": Words(
        _EXPIRED,
        _TIME_IS_LIMITED,
        Sentence("You can ask the person who invited you for a new link."),
        icon="late",
        way="fresh",
    ),
    "invitation-accepted": Words(
        _ACCEPTED,
        Sentence("Each link works only once."),
        Sentence("If you accepted it, sign in with your email address and your password."),
        icon="done",
        way="app-sign-in",
    ),
    "invitation-accepted/mine": Words(
        Sentence("You have already joined"),
        Sentence("You accepted this invitation with the account that you are signed in with."),
        icon="done",
        way="app",
    ),
    "invitation-revoked": Words(
        Sentence("This invitation was revoked"),
        Sentence("The organization revoked it, and the link no longer works."),
        Sentence("If you think that this is a mistake, ask the person who invited you."),
    ),
    "invitation-declined": Words(
        Sentence("This invitation was declined"),
        Sentence("Someone with this link declined it."),
        Sentence("If you want to join after all, ask for a new invitation."),
    ),
    "invitation-replaced": Words(
        Sentence("There is a newer link"),
        Sentence("A newer email has a new link, and this one no longer works."),
        Sentence("Open the link in the latest email that you received."),
        icon="mail",
    ),
    "invitation-withdrawn": Words(
        _DEAD,
        Sentence("The person who invited you has left, or the organization is no longer active."),
        _ASK_FOR_ANOTHER,
    ),
    "invitation-not-found": Words(
        Sentence("This link does not open an invitation"),
        Sentence("Part of the link may be missing."),
        Sentence("Paste the whole link here."),
        way="paste",
    ),
    "unauthenticated": Words(_SIGN_IN, errors.Unauthenticated.sentence, way="sign-in"),  # check_acceptance said so
    "wrong-account": Words(
        Sentence("You are signed in with another account"),
        Sentence("This invitation is for a different email address."),
        Sentence("Sign out, then open the link in the email again."),
        way="sign-out",
    ),
    "account-exists": Words(
        _HAS_ACCOUNT,
        Sentence("The invited email address already belongs to an account."),
        Sentence("Sign in to that account, then open the link in the email again."),
        way="sign-in",
    ),
    "account-exists/cannot-join": Words(
        _HAS_ACCOUNT,
        Sentence("Your account cannot join another organization."),
        Sentence("Ask the person who invited you what to do."),
    ),
    "account-unverified": Words(
        Sentence("Your email address is not verified"),
        Sentence("Your account can join once its email address is verified."),
        Sentence("Verify it, then open the link in the email again."),
        way="reopen",
    ),
    "already-member": Words(
        Sentence("You are already a member"),
        Sentence("Your account already belongs to this organization."),
        Sentence("There is nothing left to do."),
        icon="done",
        way="app",
    ),
    "role-not-allowed": Words(
        _DEAD, Sentence("The person who invited you may no longer grant this role."), _ASK_FOR_ANOTHER
    ),
    "grants-not-allowed": Words(
        _DEAD,
        Sentence("The person who invited you may no longer grant everything in this invitation."),
        _ASK_FOR_ANOTHER,
    ),
    "no-seats": Words(
        # NOTE: A seat is a place for one more member, where an organization may have only so many.
        Sentence("All seats are taken"),
        Sentence("The organization cannot take more members at the moment."),
        Sentence("Ask the person who invited you. Once a seat is free, open the link in the email again."),
        icon="late",
        way="reopen",
    ),
    "cross-site": Words(
        Sentence("This form came from another site"),
        Sentence("Nothing was changed."),
        Sentence("Open the link in the email again and use the page that it opens."),
    ),
    "malformed-request": Words(_UNREADABLE, _UNUSUAL, _REPLACE_UNUSUAL),
    "body-too-large": Words(_TOO_LONG, _LONG_TEXT, _SHORTEN),
    "rate-limited": Words(
        _SLOWER,
        Sentence("There were too many attempts in a short time. Nothing was changed."),
        Sentence("Wait a while, then open the link in the email again."),
        icon="late",
        way="reopen",
    ),
    "try-again": Words(
        _BUSY,
        _NOTHING_LOST,
        Sentence("Wait a moment, then open the link in the email again."),
        icon="late",
        way="reopen",
    ),
    OTHERWISE: Words(Sentence("This does not work right now"), InvitationError.sentence, way="reopen"),
}

#: To a manager, about what they just tried.
MANAGER: Mapping[str, Words] = {
    "unauthenticated": Words(
        _SIGN_IN,
        Sentence("Only people who may invite can see the invitations."),
        way="sign-in",
    ),
    "forbidden": Words(Sentence("This page is for administrators"), errors.Forbidden.sentence),
    "role-not-allowed": Words(
        _FAILED,
        Sentence("You may not grant this role."),
        Sentence("Choose another role, or ask an administrator."),
        way="list",
        field="role",
    ),
    "grants-not-allowed": Words(
        _FAILED, Sentence("You may not grant everything in this invitation."), _ASK_AN_ADMINISTRATOR, way="list"
    ),
    "address-not-allowed": Words(_FAILED, errors.AddressNotAllowed.sentence, way="list", field="email"),
    "address-suppressed": Words(_FAILED, errors.AddressSuppressed.sentence, way="list", field="email"),
    "already-invited": Words(_FAILED, errors.AlreadyInvited.sentence, way="other", field="email"),
    "already-member": Words(_FAILED, errors.AlreadyMember.sentence, way="list", field="email"),
    "account-exists": Words(
        _FAILED,
        Sentence("This address already has an account, and existing accounts cannot join."),
        Sentence("Invite another address of this person."),
        way="list",
        field="email",
    ),
    "mail-bounced": Words(
        _FAILED,
        _CAME_BACK,
        Sentence("Check the address, then confirm that it is correct."),
        way="list",
        field="confirm",
    ),
    "mail-bounced/many": Words(
        _FAILED,
        _CAME_BACK,
        Sentence("Check the address. If it is correct, invite or resend this one alone."),
        way="list",
    ),
    "already-invited/twice": Words(_FAILED, Sentence("This address is on the list more than once."), way="list"),
    "invitation-not-found/many": Words(_FAILED, Sentence("There is no such invitation."), way="list"),
    "invalid-request/many": Words(_FAILED, Sentence("Something in the line is missing or wrong."), way="list"),
    "tenant-inactive": Words(
        _FAILED, Sentence("This organization is not active."), Sentence("No one can be invited now."), way="list"
    ),
    "too-many-pending": Words(_FAILED, errors.TooManyPending.sentence, way="list"),
    "no-seats": Words(_FAILED, errors.NoSeats.sentence, way="list"),
    "plan-changed": Words(_FAILED, errors.PlanChanged.sentence, way="list"),
    "invitation-accepted": Words(_ACCEPTED, Sentence("This invitation was accepted in the meantime."), way="list"),
    "invitation-declined": Words(_FAILED, Sentence("This invitation was declined in the meantime."), way="list"),
    "invitation-revoked": Words(_FAILED, Sentence("This invitation was revoked in the meantime."), way="list"),
    "invitation-expired": Words(_FAILED, Sentence("This invitation expired in the meantime."), way="list"),
    "invitation-not-found": Words(
        Sentence("There is no such invitation"),
        Sentence("The address of this page does not lead to an invitation."),
        Sentence("Check that the address is complete."),
        way="list",
    ),
    "invalid-request": Words(
        Sentence("There is no such list"),
        Sentence("Part of the address of this page is not valid."),
        way="list",
    ),
    "cross-site": Words(
        Sentence("This form is too old"),
        Sentence(
            "The form was open for a long time, it did not come from this page, or you signed in with another account. "
            "Nothing was changed."
        ),
        Sentence("Go back, reload the page and send it again."),
        way="list",
    ),
    "malformed-request": Words(_UNREADABLE, _UNUSUAL, _REPLACE_UNUSUAL, way="list"),
    "body-too-large": Words(_TOO_LONG, _LONG_TEXT, _SHORTEN, way="list"),
    "rate-limited": Words(
        _SLOWER,
        Sentence("Too many invitations were sent in a short time. This one was not."),
        Sentence("Wait a while, then try again."),
        way="list",
    ),
    "try-again": Words(_BUSY, _NOTHING_LOST, Sentence("Wait a moment, then try again."), way="list"),
    OTHERWISE: Words(_FAILED, InvitationError.sentence, way="list"),
}

#: To a manager, about what happened without them. By code or, for a try that failed, by the class of the failure.
REASONS: Mapping[str, Sentence] = {
    "invitation-accepted": Sentence("The invitation was already accepted."),
    "invitation-declined": Sentence("The invitation was already declined."),
    "invitation-revoked": Sentence("The invitation was revoked."),
    "invitation-expired": Sentence("The invitation had expired."),
    "invitation-replaced": Sentence("A newer link had replaced this one."),
    "invitation-withdrawn": Sentence("The inviter had left, or the organization was not active."),
    "tenant-inactive": Sentence("The organization was not active."),
    # NOTE: The inviter is the person who invited; the invitee is the person who was invited.
    "role-not-allowed": Sentence("The inviter could no longer grant this role."),
    "grants-not-allowed": Sentence("The inviter could no longer grant everything in this invitation."),
    "address-not-allowed": Sentence("This address could not be invited."),
    "address-suppressed": _UNWELCOME,
    "mail-bounced": Sentence("An earlier email to this address came back or was reported as spam."),
    "already-member": Sentence("The invitee was already a member."),
    "account-exists": Sentence("The invitee already had an account."),
    "account-unverified": Sentence("The email address of the account was not verified."),
    "wrong-account": Sentence("Another account was signed in."),
    "no-seats": Sentence("All seats were taken."),
    "invalid-request": Sentence("Some fields were missing or wrong."),
}

#: To a manager, about why an invitation could not be accepted now, and what helps.
OBSTACLES: Mapping[str, Words] = {
    # NOTE: The inviter is the person who invited; the invitee is the person who was invited.
    "invitation-withdrawn": Words("", Sentence("The inviter is no longer in the organization."), _VOUCH),
    "role-not-allowed": Words("", Sentence("The inviter may no longer grant this role."), _VOUCH),
    "tenant-inactive": Words("", Sentence("The organization is not active.")),
    "already-member": Words("", Sentence("The invitee is already a member.")),
    "account-exists": Words("", Sentence("The invitee already has an account, and existing accounts cannot join.")),
    "address-suppressed": Words("", _UNWELCOME),
    "no-seats": Words("", Sentence("All seats are taken.")),
    OTHERWISE: Words("", InvitationError.sentence),
}

_ADDRESS_REFUSED = Sentence("The mail server refused the address.")
_EMAIL_REFUSED = Sentence("The mail server refused the email.")
_UNREACHABLE = Sentence("The mail server could not be reached.")

#: Why a try failed, by the class of the failure: the classes of the standard library, which most mailers let through.
FAILURES: Mapping[str, Sentence] = {
    "SMTPRecipientsRefused": _ADDRESS_REFUSED, "SMTPNotSupportedError": _ADDRESS_REFUSED,
    "SMTPDataError": _EMAIL_REFUSED, "SMTPSenderRefused": _EMAIL_REFUSED,
    **dict.fromkeys((
        "ConnectionAbortedError", "ConnectionRefusedError", "ConnectionResetError", "SMTPConnectError",
        "SMTPServerDisconnected", "TimeoutError", "gaierror", "timeout",
    ), _UNREACHABLE),
    "rate-limited": Sentence("This address got several emails already. This one is sent later."),
}  # fmt: skip
_NOT_NEEDED = Sentence("The email was no longer needed.")
_NOT_SENT = Sentence("The email could not be sent.")

#: What the class of each of our codes says; a refusal that says something else knows better.
_CLASSES = (each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, InvitationError))
_USUAL = {each.code: each.sentence for each in _CLASSES}


def told(table: Mapping[str, Words], refusal: InvitationError, gettext: Callable[[str], str], case: str = "") -> Words:
    """What to tell about a refusal, in the language of ``gettext``.

    :param table: ``INVITEE`` or ``MANAGER``.
    :param case: the case that the refusal fits, where the table tells several apart.
    """
    words = table.get(f"{refusal.code}/{case}")
    if words is None:
        words = table.get(refusal.code, table[OTHERWISE])
        if refusal.code not in table or not _is_usual(refusal):
            words = replace(words, sentence=refusal.detail, next_step="")
    return words.translated(gettext)


def _is_usual(refusal: InvitationError) -> bool:
    """Whether it says what its code or a rule of ours always says: the table has better words for that. What is wrong
    with fields is told beside them."""
    ours = isinstance(refusal, errors.InvalidRequest) or isinstance(refusal.detail, Sentence)
    return ours or refusal.detail == _USUAL.get(refusal.code)


def shared(code: object) -> str:
    """The code under which refusals of one kind are counted."""
    known = str(code)
    return known if known in MANAGER else OTHERWISE


def many_refused(code: str, gettext: Callable[[str], str]) -> str:
    """Why some of many were refused.

    :param code: by :func:`shared`.
    """
    words = MANAGER.get(f"{code}/many") or MANAGER.get(code, MANAGER[OTHERWISE])
    return _in(words.sentence, gettext)


def refused_because(code: object, gettext: Callable[[str], str]) -> str:
    """Why an attempt to accept was refused; nothing for a code that is the host's own."""
    return _in(REASONS.get(str(code), ""), gettext)


def unsent_because(error: str | None, gettext: Callable[[str], str], *, cancelled: bool = False) -> str:
    """Why an email was not sent.

    :param error: the code of a refusal where it was cancelled, the class and code of the failure where a try failed.
    """
    if cancelled:
        return _in(REASONS.get(error or "", _NOT_NEEDED), gettext)
    return _in(FAILURES.get((error or "").partition(" ")[0], _NOT_SENT), gettext)
