"""What a mutant is, and the tests that are there for each kind of guard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "flask_invitations"
SOURCE = ROOT / "src" / PACKAGE

THREATS = tuple(sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/threats").glob("test_?_*.py")))
BINDING, LIFE, RIGHTS, LEAKS, EMAIL, PEOPLE, TELLING, BROWSER, LOAD, POST, KEPT, FAULTS = THREATS


@dataclass(frozen=True)
class Mutant:
    """One change.

    :param old: a text that stands in ``file`` once; ``new`` takes its place.
    :param tests: the files, or the tests, of those that should notice.
    :param row: of the list of threats: then a test of that row must notice, whatever others do.
    :param also: another change, where one guard stands behind another.
    :param database: on which they are run.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()
    row: str = ""
    also: tuple[str, str, str] | None = None
    database: str = "sqlite"

    @property
    def changes(self) -> Sequence[tuple[str, str, str]]:
        return [(self.file, self.old, self.new), *([self.also] if self.also else [])]

    @property
    def is_stale(self) -> bool:
        """Whether a text is not there any more, or more than once: then it has to be written again."""
        return any((SOURCE / file).read_text("utf-8").count(old) != 1 for file, old, _ in self.changes)

    @property
    def label(self) -> str:
        """What the words of a run choose it by."""
        return f"{self.row or 'guard'}# {self.file}"

    def __str__(self) -> str:
        return f"{self.row} {self.file}: {_brief(self.old)} -> {_brief(self.new)}".strip()


def _brief(text: str) -> str:
    return " ".join(text.split())[:80]


def each(file: str, tests: Sequence[str], *changes: tuple[str, str], database: str = "sqlite") -> Iterator[Mutant]:
    """A mutant for each change of a file that the same tests should notice."""
    for old, new in changes:
        yield Mutant(file, old, new, tuple(tests), database=database)


def within(file: str, *names: str) -> tuple[str, ...]:
    """Tests of a file, by their names."""
    return tuple(f"{file}::{name}" for name in names)


def home(row: str) -> str:
    """The file with the tests of a row."""
    return next(each for each in THREATS if each.startswith(f"tests/threats/test_{row[0].lower()}_"))
