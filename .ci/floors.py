"""Writes the oldest versions that pyproject.toml allows, as constraints for pip: ``python .ci/floors.py floors.txt``.

Of the package's dependencies and its extras; of what only the tests or the site use, the newest will do.
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

from packaging.requirements import Requirement
from packaging.version import Version


def floor(requirement: Requirement) -> Version | None:
    """The lowest version of a requirement that holds here."""
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    return max((Version(each.version) for each in requirement.specifier if each.operator == ">="), default=None)


def floors() -> dict[str, Version]:
    """The highest of the floors of each library that a host may have with us."""
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ours = [*project["dependencies"], *(line for name in extras.keys() - {"test", "docs"} for line in extras[name])]
    names = {Requirement(line).name for line in ours} - {project["name"]}
    found: dict[str, Version] = {}
    for requirement in map(Requirement, [*ours, *extras["test"]]):
        version = floor(requirement)
        if requirement.name in names and version is not None:
            found[requirement.name] = max(version, found.get(requirement.name, version))
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("".join(f"{name}=={version}\n" for name, version in sorted(floors().items())))
