"""Every way in which this package says no.

::

    ConfigurationError              the host's setup is wrong; raised by ``init_app``, or at first use
    MailRefused                     a mailer's word that trying again cannot help; never an HTTP answer
    InvitationError                 a refusal: ``code``, HTTP ``status``, one sentence
    ├── MalformedRequest            400
    ├── Unauthenticated             401
    ├── Forbidden                   403
    ├── RoleNotAllowed              403
    ├── GrantsNotAllowed            403
    ├── AddressNotAllowed           403
    ├── WrongAccount                403
    ├── TenantInactive              403
    ├── CrossSite                   403
    ├── InvitationNotFound          404
    ├── AlreadyInvited              409  (carries ``invitation_id``)
    ├── AlreadyMember               409
    ├── AccountExists               409
    ├── AccountUnverified           409
    ├── InvitationAccepted          409
    ├── MailBounced                 409
    ├── AddressSuppressed           409
    ├── TooManyPending              409
    ├── NoSeats                     409
    ├── PlanChanged                 409
    ├── IdempotencyInProgress       409
    ├── InvitationGone              410  base of the five below
    │   ├── InvitationExpired
    │   ├── InvitationRevoked
    │   ├── InvitationDeclined
    │   ├── InvitationReplaced
    │   └── InvitationWithdrawn
    ├── BodyTooLarge                413
    ├── UnsupportedMediaType        415
    ├── InvalidRequest              422  (carries ``errors``)
    │   └── PasswordRejected
    ├── IdempotencyMismatch         422
    ├── RateLimited                 429  (carries ``retry_after``)
    ├── OpenAPIUnavailable          501
    └── TryAgain                    503  (carries ``retry_after``)

A host's participant hook may raise any ``InvitationError``: the transaction is undone and the caller gets exactly that
answer. No error ever carries the token or anything else the caller sent.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from http.client import responses
from typing import Any, ClassVar

from .sentences import Sentence as Sentence
from .sentences import plain
from .sentences import text_of as text_of


class ConfigurationError(Exception):
    """The host's hooks or settings cannot work; the message names the argument or key and the fix. Raised by
    ``init_app``; by the first act where only that can see it (a session in AUTOCOMMIT, missing tables)."""


class MailRefused(Exception):
    """Raise it from a mailer where trying again cannot help (the address does not exist, the provider blocks it):
    the email fails at once. Raise it ``from`` the library's error: the outbox records the class and code of that."""

    #: Many of these in a row say that something is wrong with the sender, and the emails are tried again.
    in_doubt: ClassVar[bool] = True


class InvitationError(Exception):
    """A refusal. Subclasses fix ``code`` (stable), ``status`` (HTTP) and ``sentence`` (what
    is wrong and how to fix it, in English; a :class:`Sentence` can be translated).

    :param detail: replaces the class's sentence where the case at hand allows a better one.
    """

    code: ClassVar[str] = "invitation-error"
    status: ClassVar[int] = 400
    sentence: ClassVar[str] = Sentence("This request was refused.")

    def __init__(self, detail: str | None = None) -> None:
        self.detail: str = (detail is not None and text_of(detail)) or text_of(self.sentence)
        super().__init__(self.detail)

    def __init_subclass__(cls) -> None:
        """:raises TypeError: no answer could be made of it."""
        super().__init_subclass__()
        if not isinstance(cls.code, str) or not isinstance(cls.status, int) or not 400 <= cls.status < 600:
            raise TypeError(f"{cls.__name__} needs a code, which is a string, and a status from 400 to 599.")

    @property
    def evidence(self) -> Mapping[str, Any]:
        """Members that this refusal adds to the problem object."""
        return {}

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers that this refusal adds to the answer."""
        return {}

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 problem object of this refusal.

        ``type`` is ``about:blank`` (RFC 9457, section 4.2.1), hence ``title`` is the HTTP phrase;
        machines read ``code``.
        """
        return {
            "type": "about:blank",
            "title": responses.get(self.status, "Refused"),
            "status": int(self.status),
            "code": text_of(self.code),
            "detail": self.detail,
            **plain(self.evidence),
        }


class _Later:
    """:param retry_after: seconds to wait before the same call is worth repeating."""

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__()
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.retry_after)}


class MalformedRequest(InvitationError):
    code = "malformed-request"
    status = 400
    sentence: ClassVar[str] = Sentence(
        "The body is not valid JSON. Send one JSON object in UTF-8, without NUL characters or deep nesting."
    )


class Unauthenticated(InvitationError):
    code = "unauthenticated"
    status = 401
    sentence: ClassVar[str] = Sentence("No one is signed in. Sign in, then repeat the call.")


class Forbidden(InvitationError):
    code = "forbidden"
    status = 403
    sentence: ClassVar[str] = Sentence("Your account may not manage invitations. Ask an administrator.")


class RoleNotAllowed(InvitationError):
    code = "role-not-allowed"
    status = 403
    sentence: ClassVar[str] = Sentence("The inviter may not grant this role. Use another role or ask another inviter.")


class GrantsNotAllowed(InvitationError):
    code = "grants-not-allowed"
    status = 403
    sentence: ClassVar[str] = Sentence(
        "The inviter may not grant everything in this invitation. Grant less or ask another inviter."
    )


class AddressNotAllowed(InvitationError):
    """Ready to be raised by the hook ``check_invitee``."""

    code = "address-not-allowed"
    status = 403
    sentence: ClassVar[str] = Sentence("This address may not be invited. Use another address.")


class WrongAccount(InvitationError):
    code = "wrong-account"
    status = 403
    sentence: ClassVar[str] = Sentence("You are signed in with another account. Sign out, then open the link again.")


class TenantInactive(InvitationError):
    code = "tenant-inactive"
    status = 403
    sentence: ClassVar[str] = Sentence("This organization is not active. Reactivate it before you invite anyone.")


class CrossSite(InvitationError):
    code = "cross-site"
    status = 403
    sentence: ClassVar[str] = Sentence("The call came from another site. Make it from a page of this site.")


class InvitationNotFound(InvitationError):
    code = "invitation-not-found"
    status = 404
    sentence: ClassVar[str] = Sentence("There is no such invitation. Check that the link or id is complete.")


class AlreadyInvited(InvitationError):
    """:param invitation_id: the live invitation, in the caller's own tenant; ``None``: a dry run has made none."""

    code = "already-invited"
    status = 409
    sentence: ClassVar[str] = Sentence("This address already has an open invitation. Resend or revoke that one.")

    def __init__(self, invitation_id: uuid.UUID | None) -> None:
        super().__init__()
        self.invitation_id = invitation_id

    @property
    def evidence(self) -> Mapping[str, Any]:
        return {"invitation_id": self.invitation_id and str(self.invitation_id)}


class AlreadyMember(InvitationError):
    code = "already-member"
    status = 409
    sentence: ClassVar[str] = Sentence("This address already belongs to a member. No invitation is needed.")


class AccountExists(InvitationError):
    """:param joins: signing in with the account helps; ``False``: accounts cannot join."""

    code = "account-exists"
    status = 409
    sentence: ClassVar[str] = Sentence(
        "This address already has an account. Sign in with it, then open the link again."
    )

    def __init__(self, detail: str | None = None, *, joins: bool = True) -> None:
        super().__init__(detail)
        self.joins = joins


class AccountUnverified(InvitationError):
    code = "account-unverified"
    status = 409
    sentence: ClassVar[str] = Sentence(
        "The email address of your account is not verified. Verify it, then open the link again."
    )


class InvitationAccepted(InvitationError):
    """:param mine: the signed-in user accepted it."""

    code = "invitation-accepted"
    status = 409
    sentence: ClassVar[str] = Sentence("This invitation was already accepted. The person who accepted it can sign in.")

    def __init__(self, detail: str | None = None, *, mine: bool = False) -> None:
        super().__init__(detail)
        self.mine = mine


class InvitationGone(InvitationError):
    """A real link that no longer works."""

    status = 410


class InvitationExpired(InvitationGone):
    code = "invitation-expired"
    sentence: ClassVar[str] = Sentence("This invitation has expired. Ask for a new one.")


class InvitationRevoked(InvitationGone):
    code = "invitation-revoked"
    sentence: ClassVar[str] = Sentence("This invitation was revoked. A new invitation is needed.")


class InvitationDeclined(InvitationGone):
    code = "invitation-declined"
    sentence: ClassVar[str] = Sentence("This invitation was declined. A new invitation is needed.")


class MailBounced(InvitationError):
    code = "mail-bounced"
    status = 409
    sentence: ClassVar[str] = Sentence(
        "The last email to this address came back or was reported as spam. "
        'Check the address, then repeat the call with "confirm": true.'
    )


class AddressSuppressed(InvitationError):
    code = "address-suppressed"
    status = 409
    sentence: ClassVar[str] = Sentence(
        "This address does not accept invitations from this organization. Contact the person in another way."
    )


class TooManyPending(InvitationError):
    code = "too-many-pending"
    status = 409
    sentence: ClassVar[str] = Sentence("Too many invitations are open. Revoke some, or wait until some are answered.")


class NoSeats(InvitationError):
    code = "no-seats"
    status = 409
    sentence: ClassVar[str] = Sentence("All seats of this organization are taken. A seat must become free first.")


class PlanChanged(InvitationError):
    code = "plan-changed"
    status = 409
    sentence: ClassVar[str] = Sentence(
        "Something has changed since the preview, so nothing was written. Look at a new preview, then send again."
    )


class IdempotencyInProgress(_Later, InvitationError):
    code = "idempotency-in-progress"
    status = 409
    sentence: ClassVar[str] = Sentence(
        "The first call with this Idempotency-Key is still running. Repeat the call in a moment to get its answer."
    )


class IdempotencyMismatch(InvitationError):
    code = "idempotency-mismatch"
    status = 422
    sentence: ClassVar[str] = Sentence(
        "This Idempotency-Key was used with another body. Send the same body again, or use a new key."
    )


class InvitationReplaced(InvitationGone):
    code = "invitation-replaced"
    sentence: ClassVar[str] = Sentence("A newer link replaced this one. Open the link in the latest email.")


class InvitationWithdrawn(InvitationGone):
    code = "invitation-withdrawn"
    sentence: ClassVar[str] = Sentence(
        "The link no longer works, because the inviter left or the organization is not active. "
        "Resend the invitation, or ask for a new one."
    )


class BodyTooLarge(InvitationError):
    code = "body-too-large"
    status = 413
    sentence: ClassVar[str] = Sentence("The body is too large. Send at most 16 KiB.")


class UnsupportedMediaType(InvitationError):
    code = "unsupported-media-type"
    status = 415
    sentence: ClassVar[str] = Sentence("The body is not declared as JSON. Send it with Content-Type: application/json.")


class InvalidRequest(InvitationError):
    """:param errors: field name to the sentences about it."""

    code = "invalid-request"
    status = 422
    sentence: ClassVar[str] = Sentence("Some fields are missing or wrong.")

    def __init__(self, errors: Mapping[str, Any]) -> None:
        self.errors: Mapping[str, Any] = plain(errors if isinstance(errors, Mapping) else {"_schema": errors})
        names = [name[:40] for name in self.errors][:5]  # a sentence, however many there are
        super().__init__(Sentence("Some fields are missing or wrong: %(fields)s.", fields=", ".join(names)))

    @property
    def evidence(self) -> Mapping[str, Any]:
        return {"errors": self.errors}


class PasswordRejected(InvalidRequest):
    """Raised by ``validate_password``.

    :param message: one sentence that tells the invitee what to change.
    """

    def __init__(self, message: str) -> None:
        super().__init__({"password": [message]})


class RateLimited(_Later, InvitationError):
    code = "rate-limited"
    status = 429
    sentence: ClassVar[str] = Sentence(
        "There were too many calls. Wait as long as Retry-After says, then repeat the call."
    )


class OpenAPIUnavailable(InvitationError):
    code = "openapi-unavailable"
    status = 501
    sentence: ClassVar[str] = Sentence("The OpenAPI document needs a library. Install flask-invitations[openapi].")


class TryAgain(_Later, InvitationError):
    code = "try-again"
    status = 503
    sentence: ClassVar[str] = Sentence("The service is busy. Repeat the call in a moment. It is safe to do so.")
