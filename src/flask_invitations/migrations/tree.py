"""The host's migration tree: what it holds of ours, and how a step gets in."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

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
from ..store.schema import differences, exists
from .steps import STEPS, Step

T = TypeVar("T")

#: The name in a revision's file that tells which step it is; a tuple where it holds several (a squashed history).
MARKER = "flask_invitations_step"


def is_there() -> bool:
    """Whether the current app has a tree."""
    return Path(current_app.extensions["migrate"].directory, "versions").is_dir()


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
        known = [step.number for step in STEPS if step.needed(self._models)]
        unknown = sorted(set(mark) - set(known))
        if unknown:
            raise ConfigurationError(f"There is no step {unknown[0]}. The steps are {', '.join(known)}.")
        with self._explained():
            missing = self._missing()
            if not missing:
                return []
            made = [step for step in missing if step.number in mark or self._in_tree(step.table(self._models))]
            wanted = [step for step in missing if step not in made]
            there = self._look([step for step in missing if step.number not in mark], wanted)
            done = [self._add(made, [], [])] if made else []
            return done + [
                self._add([step], step.upgrade(self._models, adopt=step in there), step.downgrade(self._models))
                for step in wanted
            ]

    def missing(self) -> list[str]:
        """The numbers of the steps that no revision carries."""
        with self._explained():
            return [step.number for step in self._missing()]

    def _missing(self) -> list[Step]:
        have = {number for revision in self._script.walk_revisions() for number in _markers(revision)}
        return [step for step in STEPS if step.needed(self._models) and step.number not in have]

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

    def _look(self, steps: Sequence[Step], wanted: Sequence[Step]) -> Collection[Step]:
        """Look at the database before anything is written.

        :param wanted: those that have to make their table.
        :return: those whose table is there, as it should be.
        :raises ConfigurationError: it is another one; or it would point at a table that nobody makes.
        """
        tables = {step: step.table(self._models) for step in steps}

        def look(connection: sa.Connection) -> list[Step]:
            self._refuse_unmade(wanted, connection)
            found = [step for step in steps if exists(tables[step], connection)]
            for step in steps:
                match(tables[step], connection)
            for step in found:
                _refuse_other(tables[step], connection)
            return found

        return self._ask(look)

    def _refuse_unmade(self, wanted: Sequence[Step], connection: sa.Connection) -> None:
        """A host whose tables are older than its tree has a first revision at least, which stands for them."""
        links = (link for step in wanted for link in step.table(self._models).foreign_key_constraints)
        hosts = {link.referred_table for link in links} - set(self._models.tables)
        older = bool(self._script.get_heads())
        unmade = [each for each in hosts if not self._in_tree(each) and not (older and exists(each, connection))]
        if unmade:
            names = " and ".join(sorted(table.name for table in unmade))
            raise ConfigurationError(
                f"No revision of this tree creates {names}. Run `flask db migrate` and `flask db upgrade`, then "
                "`flask invitations migrations` and `flask db upgrade`. If db.create_all() created your tables, run "
                "`flask db migrate` on an empty database, and `flask db stamp head` on this one."
            )

    def _ask(self, question: Callable[[sa.Connection], T]) -> T:
        """Ask the database of our tables, by the connection that the host's ``env.py`` makes."""
        answers: list[T] = []

        def ask(_revision: Any, context: MigrationContext) -> list[Any]:
            if self._is_ours(context) and context.connection is not None:
                answers.append(question(context.connection))
            return []

        with EnvironmentContext(self._config, self._script, fn=ask, dont_mutate=True):
            self._script.run_env()
        if not answers:
            raise ConfigurationError(
                "The migration tree does not cover the database of user_model. "
                "Create it with `flask db init --multidb`, or fix target_metadata in its env.py."
            )
        return answers[-1]

    def _in_tree(self, table: sa.Table) -> bool:
        """Whether some revision makes a table, as one does that the host had autogenerated."""
        makes = re.compile(
            rf"create[_ ]table\W+(if not exists\W+)?(\w+\W?\.\W?)?{re.escape(table.name)}\b", re.IGNORECASE
        )
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


def _refuse_other(table: sa.Table, connection: sa.Connection) -> None:
    wrong = differences(table, connection)
    if wrong:
        raise ConfigurationError(
            f"The table {table.name} exists, but not as it should: {'; '.join(wrong)}. "
            "Correct it, or drop it if it is empty, then run `flask invitations migrations` again."
        )


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
