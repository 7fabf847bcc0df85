"""Everything that one app's invitations need, in one frozen value; handed to every act."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from jinja2 import Template

from .clock import as_utc
from .config import Config
from .errors import InvitationError
from .gate import refuse_unrun, unwrap
from .hooks import Hooks
from .languages.language import Language
from .languages.plain import one_line
from .limits import Limits
from .model.binding import Models
from .store.found import FoundMail
from .store.invitations import Store
from .store.unit import Unit
from .tokens import Mint, Pseudonyms

log: logging.Logger = logging.getLogger("flask_invitations")

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """:param language: a BCP 47 tag, or ``None`` for the app's own language, to the nearest language that there is;
    :param forbids: for emails that are about to leave, why each must not, or ``None`` (the rules of *Send*);
    :param template: the name of a template of ours to that; :param hide: takes out of an exception, and out of the
    current request, what must not be reported; :param sender: whom the signals come from (the app).
    """

    config: Config
    hooks: Hooks
    models: Models
    store: Store
    mint: Mint
    pseudonyms: Pseudonyms
    limits: Limits
    language: Callable[[str | None], Language]
    forbids: Callable[[Context, Sequence[FoundMail], datetime], Sequence[InvitationError | None]]
    template: Callable[[str], Template]
    hide: Callable[[BaseException], None]
    sender: Any

    @property
    def unit(self) -> Unit:
        return self.store.unit

    def now(self) -> datetime:
        return as_utc(self.hooks.clock())

    def role_label(self, role: str) -> str:
        """What people read for a role, in one line."""
        label = self.hooks.role_label
        return one_line(role if label is None else label(role))

    def observe(self, what: str, invitation_id: object, call: Callable[[], T]) -> T | None:
        """Call an observer: after the commit nothing that it raises may turn the success into an error, and nothing
        that it leaves in the session reaches ours, or the next observer's."""
        try:
            return self.unit.apart(what, call)
        except Exception as error:
            self.hide(error)
            log.exception("%s failed after the commit of invitation %s", what, invitation_id)
            return None

    def announce(self, signal: Any, *invitations: Any, **more: Any) -> None:
        """Send a signal about each invitation, never with the link; one failing receiver keeps no other from being
        called.

        :param more: users, by the name that receivers know them by.
        """
        if not signal.has_receivers_for(self.sender):
            return
        for invitation in invitations:
            about = invitation if invitation.accept_url is None else replace(invitation, accept_url=None)
            for receiver in signal.receivers_for(self.sender):
                self.observe(signal.name, about.id, partial(self._tell, receiver, about, more))

    def _tell(self, receiver: Callable[..., Any], invitation: Any, more: Mapping[str, Any]) -> None:
        """:raises WrongAnswer: the receiver is async or a generator, and so heard nothing."""
        name = getattr(receiver, "__qualname__", type(receiver).__qualname__)
        told = {key: self.store.hosts.attached(user) for key, user in more.items()}  # an earlier one may have closed it
        refuse_unrun(f"the receiver {name}", unwrap(receiver(self.sender, invitation=invitation, **told)))
