"""What became of many: what the desk's list tells once it was done, as it stands in an address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..model.values import BulkChangeResult, BulkInviteResult
from ..words import shared


@dataclass(frozen=True)
class Outcome:
    """What became of many: the list tells it, once it was done.

    :param what: ``"invited"``, ``"resent"`` or ``"revoked"``; ``"none"``: nothing was selected.
    :param refused: how many were, by the code of the refusal.
    """

    what: str
    done: int
    refused: Mapping[str, int]

    @classmethod
    def of(cls, what: str, results: Iterable[BulkInviteResult | BulkChangeResult]) -> Outcome:
        """:param results: one for each."""
        errors = [each.error for each in results]
        refused = Counter(shared(each.code) for each in errors if each is not None)
        return cls(what, errors.count(None), refused)

    def __str__(self) -> str:
        return ",".join([self.what, str(self.done), *(f"{code}:{count}" for code, count in self.refused.items())])

    @classmethod
    def read(cls, text: str) -> Outcome:
        """:param text: of one, which was sealed."""
        what, done, *refused = text.split(",")
        return cls(what, int(done), {code: int(count) for code, _, count in (each.partition(":") for each in refused)})
