"""Our tables' way into the host's own Alembic tree, as revisions of the host's own.

No branch of ours, no second script directory: the steps are written at the head of the tree that Flask-Migrate
keeps for the host, and from then on they are the host's. A step stands in the tree when a revision there carries the
marker ``flask_invitations_step = "0001"`` (see :mod:`.tree`); what the steps are stands in :mod:`.steps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from flask import current_app

from ..errors import ConfigurationError
from ..model.binding import Models


def missing(models: Models) -> Sequence[str]:
    """The numbers of the steps that the host's migration tree lacks; none where there is no tree. Needs an app context.

    :raises ConfigurationError: Alembic cannot read the tree.
    """
    if "migrate" not in current_app.extensions:
        return ()
    from .tree import Tree, is_there

    return Tree(models).missing() if is_there() else ()


def write(models: Models, *, mark: Sequence[str] = ()) -> list[Path]:
    """Write the steps that the host's migration tree lacks, one revision each, at its head.

    Needs an app context. Reads the database, never changes our tables or the host's: ``flask db upgrade`` does.

    :param mark: steps to record as done, in one empty revision: for a tree that holds them without their marker.
    :return: the files written; empty where nothing was missing.
    :raises ConfigurationError: the tree cannot take the steps; the message says what to do first.
    """
    if "migrate" not in current_app.extensions:
        first = "Call" if find_spec("flask_migrate") else "Run `pip install 'flask-invitations[migrate]'`, then call"
        raise ConfigurationError(
            f"Flask-Migrate is not set up on this app. {first} Migrate(app, db) and run `flask db init`."
        )
    from .tree import Tree  # needs Alembic, which only hosts with migrations have

    return Tree(models).write(mark)
