"""The tree of refusals: every leaf has a code, a status and a sentence of its own."""

from __future__ import annotations

import json
import pickle
import re
import uuid
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from flask_invitations import errors
from flask_invitations.errors import InvitationError

#: Code and status as clients may rely on them.
CODES = {
    "malformed-request": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "role-not-allowed": 403,
    "grants-not-allowed": 403,
    "address-not-allowed": 403,
    "wrong-account": 403,
    "tenant-inactive": 403,
    "cross-site": 403,
    "invitation-not-found": 404,
    "already-invited": 409,
    "already-member": 409,
    "account-exists": 409,
    "account-unverified": 409,
    "invitation-accepted": 409,
    "invitation-expired": 410,
    "invitation-revoked": 410,
    "invitation-declined": 410,
    "mail-bounced": 409,
    "address-suppressed": 409,
    "too-many-pending": 409,
    "no-seats": 409,
    "plan-changed": 409,
    "idempotency-in-progress": 409,
    "idempotency-mismatch": 422,
    "invitation-replaced": 410,
    "invitation-withdrawn": 410,
    "body-too-large": 413,
    "unsupported-media-type": 415,
    "invalid-request": 422,
    "rate-limited": 429,
    "openapi-unavailable": 501,
    "try-again": 503,
}
ARGUMENTS = {
    "AlreadyInvited": (uuid.UUID(int=7),),
    "InvalidRequest": ({"email": ["Missing."]},),
    "PasswordRejected": ("Too short.",),
}


def _below(cls: type[InvitationError]) -> Iterator[type[InvitationError]]:
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from _below(child)


TREE = list(_below(InvitationError))
#: Bases without a code of their own are never raised by us.
LEAVES = [cls for cls in TREE if "code" in vars(cls)] + [errors.PasswordRejected]


def _make(cls: type[InvitationError]) -> InvitationError:
    return cls(*ARGUMENTS.get(cls.__name__, ()))


def test_codes_and_statuses() -> None:
    """The table of codes is exactly the public one, and no two refusals share a code."""
    assert {cls.code: cls.status for cls in LEAVES} == CODES
    assert len([cls for cls in TREE if "code" in vars(cls)]) == len(CODES)


@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.__name__)
def test_problem(cls: type[InvitationError]) -> None:
    """A refusal renders as an RFC 9457 problem: serialisable, with the phrase of its status and one full sentence."""
    problem = json.loads(json.dumps(_make(cls).problem()))
    assert (problem["type"], problem["title"]) == ("about:blank", HTTPStatus(cls.status).phrase)
    assert (problem["status"], problem["code"]) == (cls.status, cls.code)
    assert re.fullmatch(r"[A-Z].+\.", problem["detail"])
    assert str(_make(cls)) == problem["detail"]


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_drawn(cls: type[InvitationError]) -> None:
    """Every class is drawn in the module's tree, with its status where it has a code."""
    assert re.search(rf"── {cls.__name__}\b", errors.__doc__ or "")


def test_evidence() -> None:
    """Evidence stands in the problem object, hints in the headers, both as attributes."""
    invited = errors.AlreadyInvited(uuid.UUID(int=7))
    assert invited.problem()["invitation_id"] == str(invited.invitation_id)
    weak = errors.PasswordRejected("Too short.")
    assert weak.problem()["errors"] == weak.errors == {"password": ["Too short."]}
    assert errors.TryAgain(30).headers == {"Retry-After": "30"}
    assert InvitationError().headers == {}


def test_detail() -> None:
    """A better sentence replaces the class's own and changes nothing else."""
    assert errors.Forbidden("Ask Ann.").problem() == {**errors.Forbidden().problem(), "detail": "Ask Ann."}


def test_gone() -> None:
    """All five dead links can be caught as one."""
    gone = {cls.code for cls in TREE if issubclass(cls, errors.InvitationGone) and cls is not errors.InvitationGone}
    assert gone == {code for code, status in CODES.items() if status == 410}


def test_configuration_error_is_no_refusal() -> None:
    """A wrong set-up is not an answer to a caller."""
    assert not issubclass(errors.ConfigurationError, InvitationError)


@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.__name__)
def test_crosses_processes(cls: type[InvitationError]) -> None:
    """A refusal survives pickling, as task queues do it, with its evidence."""
    there = _make(cls)
    back = pickle.loads(pickle.dumps(there))
    assert type(back) is cls
    assert back.problem() == there.problem()
