"""After the commit: what waited for it is done, and what observers leave in the session is taken back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..traces import hide
from .frames import Part, frame_of
from .watch import has_written

log: logging.Logger = logging.getLogger("flask_invitations")


def clean(session: Any, what: str) -> None:
    """Take back what an observer has left in a session.

    :param what: its name, for the log.
    """
    left = frame_of(session)
    if left is not None:
        left.ending = True
        left.close()
    if session.new or session.dirty or session.deleted or has_written(session):
        log.warning("%s left changes in the session without a commit, and they were rolled back", what)
        session.rollback()
    elif session.in_nested_transaction():
        session.rollback()
    elif session.in_transaction():
        session.get_transaction().close()  # a rollback would expire what the host has loaded


def run_all(waiting: Sequence[Part]) -> None:
    """An error of one keeps no other from being done. What is no error (a time-out of gevent's, an exit) is not ours to
    keep: it leaves at once, and what was not done is put back."""
    for number, part in enumerate(waiting):
        try:
            part.what()
        except Exception as error:
            hide(error)
            log.exception("work after the commit failed")
        except BaseException:
            run_all([replace(each, what=each.instead) for each in waiting[number:] if each.instead is not None])
            raise
