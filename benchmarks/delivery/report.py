"""What a scenario found: figures for the table, and the promises that were not kept."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """One line of the table.

    :param broken: what was promised and did not happen; empty is what one wants to see.
    """

    figures: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def tell(self, *figures: str) -> None:
        self.figures += figures

    def promise(self, kept: bool, what: str) -> None:
        if not kept:
            self.broken.append(what)

    def line(self, scenario: str, database: str) -> str:
        verdict = "BROKEN: " + "; ".join(self.broken) if self.broken else "kept"
        return f"| {scenario} | {database} | {', '.join(self.figures)} | {verdict} |"
