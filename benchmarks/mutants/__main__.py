"""Tries the mutants, two at once, and says how many of each part were noticed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from . import caps, limits, rows, rules, store, words
from .mutant import Mutant
from .trial import run, warm

#: How many run at once.
AT_ONCE = 2
#: What a part has to reach.
ENOUGH = 0.9
PARTS: Mapping[str, Callable[[], Iterator[Mutant]]] = {
    "rows": rows.rows,
    "rules": rules.rules,
    "facts": rules.facts,
    "acts": rules.acts,
    "store": store.store,
    "tokens": words.tokens,
    "addresses": words.addresses,
    "limits": limits.limits,
    "caps": caps.caps,
    "once": caps.once,
    "suppressions": caps.suppressions,
    "domains": caps.domains,
}


def chosen(asked: Sequence[str]) -> Iterator[tuple[str, Mutant]]:
    """The mutants that these words name, each with its part; without words, all."""
    for part, mutants in PARTS.items():
        for mutant in mutants():
            if not asked or any(word == part or (word not in PARTS and word in mutant.label) for word in asked):
                yield part, mutant


def main(asked: Sequence[str]) -> int:
    """Exit status 1 where a part is below what it has to reach, or a text is not there any more."""
    tried = list(chosen(asked))
    stale = [str(mutant) for _, mutant in tried if mutant.is_stale]
    if stale:
        return say("These texts are not in the package any more, or not once:", *stale)
    began, noticed = time.monotonic(), dict[Mutant, str]()
    warm()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        mutants = [mutant for _, mutant in tried]
        for mutant, by in zip(mutants, pool.map(run, mutants), strict=True):
            noticed[mutant] = by
            say(f"{'killed' if by else 'SURVIVED'} {mutant} | {by}")
    say(f"after {(time.monotonic() - began) / 60:.0f} min:")
    reached = [score(part, [noticed[one] for name, one in tried if name == part]) for part in PARTS]
    return int(not all(reached))


def score(part: str, noticed: Sequence[str]) -> bool:
    """Whether enough of a part were noticed, which is said; of what was not tried, nothing."""
    killed = sum(map(bool, noticed))
    if noticed:
        say(f"{part}: {killed} of {len(noticed)} killed")
    return killed >= ENOUGH * len(noticed)


def say(*lines: str) -> int:
    print(*lines, sep="\n", flush=True)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
