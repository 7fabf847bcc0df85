"""What somebody at a terminal is told of an error."""

from __future__ import annotations

from typing import Any

from .errors import ConfigurationError, InvalidRequest, InvitationError, TryAgain
from .mail.log import LogMailerSendsNothing
from .model.states import DeliveryState
from .model.values import DeliveryInfo
from .store.drivers import MIGRATE, lacking

#: Of TryAgain, which tells a visitor that the service is busy.
NO_ANSWER = (
    "The database did not answer, or was busy. Check that it runs and that its address is right, then repeat the "
    "command. It is safe to do so."
)


def said(error: Exception) -> str | None:
    """What somebody at a terminal can do about it, in one line; ``None``: nothing, it is a fault of a program."""
    if isinstance(error, InvalidRequest):
        return "; ".join(f"{_option(field)}: {_words(each)}" for field, each in error.errors.items())
    if isinstance(error, TryAgain):
        return NO_ANSWER
    if isinstance(error, (InvitationError, ConfigurationError)):
        return str(error)
    told = lacking(error)
    return told and f"The database lacks something that your models have ({told}). {MIGRATE}"


def of_unsent(mail: DeliveryInfo) -> str | None:
    """What to do about an email that did not leave at once; ``None``: it left, or nobody has tried yet."""
    if mail.error == LogMailerSendsNothing.__name__:
        return "No email was sent: LogMailer sends none outside of debug. Use `flask --debug`, or another mailer."
    if mail.state is DeliveryState.FAILED:  # what was given up is due no more
        again = "Fix the cause, then run `flask invitations deliver --retry-failed`."
        return f"The email was given up ({mail.error}). {again}"
    return mail.error and f"The email was not sent yet ({mail.error}). Run `flask invitations deliver` later."


def _option(field: str) -> str:
    """What the field of a refusal is called on the command line."""
    return "--tenant" if field == "tenant_id" else field


def _words(said: Any) -> str:
    return " ".join(map(str, said)) if isinstance(said, list) else str(said)
