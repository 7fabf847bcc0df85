"""A host behind a real server, and every page and state of the invitee's that there is.

    site.open(page, "expired")

brings a page of the browser to that state.
"""

from __future__ import annotations

import enum
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import request
from marshmallow import Schema, fields, validate
from werkzeug.serving import make_server

from tests.hosts import PASSWORD, Host, build, shape

PAGES = "/invitations"
MESSAGE = "Hi Nora, here is your seat in our workspace.\nThe roadmap for spring is pinned in #planning."
_ids = count(1)


class Team(enum.Enum):
    """A choice."""

    design = 1
    engineering = 2


class Profile(Schema):
    """A field of each kind that our pages ask for."""

    name = fields.String(
        required=True,
        validate=validate.Length(1, 20, error="Use 1 to 20 characters."),
        metadata={"label": "Your name", "description": "As your team will see it."},
    )
    team = fields.Enum(Team, metadata={"label": "Your team"})
    interests = fields.List(fields.String(validate=validate.OneOf(["mail", "chat"], ["By mail", "By chat"])))
    website = fields.Url()
    seats = fields.Integer(strict=True)
    birthday = fields.Date()
    newsletter = fields.Boolean(metadata={"label": "Send me news about once a month"})


class Name(Schema):
    """What a new user tells of themselves."""

    name = Profile().fields["name"]


@dataclass
class Site:
    """A host that answers at ``base``; ``log`` is what its server writes, ``profiles`` what invitees told."""

    host: Host
    base: str
    log: list[str] = field(default_factory=list)
    profiles: list[Mapping[str, Any]] = field(default_factory=list)

    def invite(self, email: str | None = None, **more: Any) -> tuple[str, str]:
        """Have Ann invite somebody new into Acme; gives the address and the mailed link."""
        email = email or f"nora{next(_ids)}@example.com"
        self.host.invitations_of("ann@acme.example", email, **{"message": MESSAGE, **more})
        return email, self.host.outbox.link_to(email)


class _Host(Host):
    def invitations_of(self, inviter: str, email: str, **more: Any) -> None:
        with self.app.app_context():
            user = self.db.session.scalar(sa.select(self.User).filter_by(email=inviter))
            self.invitations.invite(email, inviter=user, **more)
