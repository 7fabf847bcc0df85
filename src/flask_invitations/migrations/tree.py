"""The host's migration tree: what it holds of ours, and how a step gets in."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.operations import ops
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from flask import current_app

from ..errors import ConfigurationError
from ..model.binding import Models
from ..model.options import match
from .steps import STEPS, Step

#: The name in a revision's file that tells which step it is; a tuple where it holds several (a squashed history).
MARKER = "flask_invitations_step"


class Tree:
    """The tree of the current app, for one look and one writing."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._config = current_app.extensions["migrate"].migrate.get_config()
        # Has Alembic run the host's env.py for a new revision, whatever the state of the database: our revisions are
        # rendered by it (batch mode, the host's own ways with types, one function for each bind).
        self._config.set_main_option("revision_environment", "true")
        self._config.cmd_opts.quiet = True  # whoever calls tells which files were written
        try:
            self._script = ScriptDirectory.from_config(self._config)
        except CommandError as error:
            raise ConfigurationError(f"There is no migration tree. Run `flask db init` first ({error}).") from None

    def write(self, mark: Sequence[str]) -> list[Path]:
        """See :func:`flask_invitations.migrations.write`."""
        steps = [step for step in STEPS if step.needed(self._models)]
        known = [step.number for step in steps]
        unknown = sorted(set(mark) - set(known))
        if unknown:
            raise ConfigurationError(f"There is no step {unknown[0]}. The steps are {', '.join(known)}.")
        with self._explained():
            have = {number for revision in self._script.walk_revisions() for number in _markers(revision)}
            missing = [step for step in steps if step.number not in have]
            marked = [step for step in missing if step.number in mark]
            wanted = [step for step in missing if step.number not in mark]
            if missing:
                self._refuse_what_exists(wanted)
            done = [self._add(marked, [], [])] if marked else []
            return done + [
                self._add([step], step.upgrade(self._models), step.downgrade(self._models)) for step in wanted
            ]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except CommandError as error:
            fix = "Run `flask db merge heads` first" if "heads" in str(error) else "Fix the tree first"
            raise ConfigurationError(f"Alembic cannot add to this tree. {fix} ({error}).") from None
        except sa.exc.DBAPIError as error:
            reason = type(error.orig).__name__
            raise ConfigurationError(f"The database does not answer ({reason}). Start it, then try again.") from None

    def _refuse_what_exists(self, wanted: Sequence[Step]) -> None:
        """A step whose table is there already would break every later ``flask db upgrade``."""
        existing = self._in_database(wanted)
        found = [step for step in wanted if step in existing or self._in_tree(step)]
        if found:
            tables = " and ".join(step.table(self._models).name for step in found)
            marks = " ".join(f"--mark {step.number}" for step in found)
            raise ConfigurationError(
                f"{tables} already exist, but no revision carries the marker of that step. If a revision of this "
                f"tree creates them, run `flask invitations migrations {marks}`. "
                "If db.create_all() created them, drop them first."
            )

    def _in_database(self, steps: Sequence[Step]) -> list[Step]:
        found: list[Step] | None = None

        def look(_revision: Any, context: MigrationContext) -> list[Any]:
            nonlocal found
            if self._is_ours(context) and context.connection is not None:
                inspector = sa.inspect(context.connection)
                tables = [(step, step.table(self._models)) for step in steps]
                found = [step for step, table in tables if inspector.has_table(table.name, schema=table.schema)]
                for _, table in tables:
                    match(table, context.connection)
            return []

        with EnvironmentContext(self._config, self._script, fn=look, dont_mutate=True):
            self._script.run_env()
        if found is None:
            raise ConfigurationError(
                "The migration tree does not cover the database of user_model. "
                "Create it with `flask db init --multidb`, or fix target_metadata in its env.py."
            )
        return found

    def _in_tree(self, step: Step) -> bool:
        """Whether some revision makes the step's table, as one does that the host had autogenerated."""
        makes = re.compile(rf"create_table\(\s*['\"]{step.table(self._models).name}['\"]")
        return any(
            makes.search(inspect.getsource(function))
            for revision in self._script.walk_revisions()
            for name, function in vars(revision.module).items()
            if name.startswith("upgrade") and inspect.isfunction(function)
        )

    def _is_ours(self, context: MigrationContext) -> bool:
        """Whether ``env.py`` is at the database of our tables: on the multidb template it visits several."""
        target = context.opts["target_metadata"]
        several = target if isinstance(target, (list, tuple)) else [target]
        return any(
            self._models.Invitation.__table__.key in metadata.tables for metadata in several if metadata is not None
        )

    def _add(self, steps: Sequence[Step], up: list[ops.MigrateOperation], down: list[ops.MigrateOperation]) -> Path:
        numbers = [step.number for step in steps]

        def fill(context: MigrationContext, _revision: Any, directives: list[Any]) -> None:
            if self._is_ours(context):
                script = directives[0]
                # The last of each list belongs to the database that env.py is at.
                script.upgrade_ops_list[-1].ops[:] = up
                script.downgrade_ops_list[-1].ops[:] = down
                script.imports.update(_imports(context, up))

        tables = f" {steps[0].table(self._models).name}" if up else ""
        written = command.revision(
            self._config,
            message=f"flask-invitations {' '.join(numbers)}{tables}",
            process_revision_directives=fill,
        )
        if not isinstance(written, Script):
            raise ConfigurationError(
                "The process_revision_directives of this app kept a revision from being written. Let it pass ours."
            )
        path = Path(written.path)
        _put_marker(path, numbers, self._script.output_encoding)
        return path


def _markers(revision: Script) -> tuple[str, ...]:
    marker = getattr(revision.module, MARKER, ())
    return (marker,) if isinstance(marker, str) else tuple(marker)


def _imports(context: MigrationContext, operations: Sequence[ops.MigrateOperation]) -> Iterator[str]:
    """Alembic names a column type of the host's by its module, and leaves the import to the host."""
    if context.opts.get("user_module_prefix") or context.opts.get("render_item"):
        return  # the host has a way of its own
    for operation in operations:
        if isinstance(operation, ops.CreateTableOp):
            modules = {type(column.type).__module__ for column in operation.columns if isinstance(column, sa.Column)}
            yield from (f"import {module}" for module in modules if not module.startswith("sqlalchemy."))


def _put_marker(path: Path, numbers: Sequence[str], encoding: str) -> None:
    """Into the finished file: among the template's imports it would stand before some of them."""
    value = repr(numbers[0]) if len(numbers) == 1 else repr(tuple(numbers))
    lines = f"# Tells `flask invitations migrations` what is here already. Keep it.\n{MARKER} = {value}\n\n\n"
    text = path.read_text(encoding)
    path.write_text(re.sub(r"^(?=def upgrade\()", lines, text, count=1, flags=re.MULTILINE), encoding)
