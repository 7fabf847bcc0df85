"""The checks by name: ``nox -s quick`` after each change, ``nox`` before a pull request, the rest as GitHub runs them.

Each session installs what it needs into an environment of its own, below ``.nox``.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["quick", "lint", "docs"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = "CI" in os.environ

ROOT = Path(__file__).parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
#: What runs with the oldest dependencies too: everything that speaks to another library. `.ci/run` runs the same.
MINIMUM = ROOT.joinpath(".ci", "minimum.txt").read_text().split()
EXTRAS = dict(nox.project.load_toml(ROOT / "pyproject.toml")["project"]["optional-dependencies"])
del EXTRAS["demo"], EXTRAS["test"]


@nox.session
def quick(session: nox.Session) -> None:
    """The part of the tests that is run after each change."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "quick", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Every test, with the newest dependencies."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS)
def minimum(session: nox.Session) -> None:
    """The tests that other libraries can break, with the oldest of those that pyproject.toml allows."""
    session.install("packaging", "tomli")
    floors = session.create_tmp() + "/floors.txt"
    session.run("python", ".ci/floors.py", floors)
    session.install("-e", ".[test]", "-c", floors)
    session.run("pytest", *(session.posargs or MINIMUM))


@nox.session
def extras(session: nox.Session) -> None:
    """Each extra left out in turn: a host without it invites and accepts, with all the others there."""
    session.install(f".[{','.join(EXTRAS)}]")
    for extra, lines in EXTRAS.items():
        session.run("pip", "uninstall", "-q", "-y", *(re.split("[<>=!~ ]", line)[0] for line in lines))
        session.run("python", "-W", "error", ".ci/wheel.py", "pages")
        session.install(*lines)
        session.log(f"without {extra}: as it should be")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, and who imports whom."""
    session.install("-e", ".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports", "setup.cfg")


@nox.session
def docs(session: nox.Session) -> None:
    """Every page against the code, every snippet and every link; and the site, without a warning."""
    session.install("-e", ".[test,docs]")
    session.run("pytest", "tests/docs", "tests/examples", *session.posargs)
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-n", "docs", "docs/_build")


@nox.session
def package(session: nox.Session) -> None:
    """Build the files of a release once, and inspect them: into the folder given, else ``dist``."""
    target = ROOT / (session.posargs[0] if session.posargs else "dist")
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # an old one would end up in the wheel
    shutil.rmtree(target, ignore_errors=True)
    session.install("build", "twine", "check-wheel-contents", "pip-audit", "cyclonedx-bom")
    session.run("python", "-m", "build", "--outdir", str(target))
    files = [str(each) for each in sorted(target.iterdir())]
    (wheel,) = (each for each in files if each.endswith(".whl"))
    session.run("twine", "check", "--strict", *files)
    session.run("check-wheel-contents", wheel)
    host = Path(session.create_tmp(), "host")
    session.run("python", "-m", "venv", "--clear", "--without-pip", str(host))
    python = str(host / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    session.run("python", "-m", "pip", "--python", python, "install", "--quiet", wheel)
    sbom = wheel.removesuffix("-py3-none-any.whl") + ".cdx.json"
    session.run("cyclonedx-py", "environment", python, "--output-file", sbom, "--output-reproducible")
    session.run("pip-audit", "--path", str(next(host.glob("lib/*/site-packages"))))


@nox.session(python=PYTHONS)
def wheel(session: nox.Session) -> None:
    """A host on the wheel in the folder given, else ``dist``, where the sources are out of reach."""
    (built,) = (ROOT / (session.posargs[0] if session.posargs else "dist")).glob("*.whl")
    check = (ROOT / ".ci" / "wheel.py").resolve()
    session.chdir(session.create_tmp())
    session.install("--force-reinstall", "--no-deps", str(built))
    session.install(str(built))
    session.run("python", "-W", "error", str(check), "pages")
    session.install(f"{built}[migrate]")
    session.run("python", str(check), "migrations")
