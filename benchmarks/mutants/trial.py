"""One trial: a copy of the package with one change, and tests that are run against it."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest

from .mutant import PACKAGE, ROOT, SOURCE, Mutant

DATABASES = ("sqlite", "postgresql", "mariadb")
#: Left out where whole files are run: what is about processes, and the same once more with another client.
BRIEF = " and not killed and not processes and not valkey and not memcached"
#: Seconds that one test has: what waits for ever is noticed too.
LONG = 240
#: The exit status of a run that tried nothing.
BROKEN = 70
#: What takes longest to import, and is nobody's mutant: each run is a fork of a process that has it already.
WARM = (
    "anyio.pytest_plugin",
    "email_validator",
    "flask.testing",
    "flask_babel",
    "flask_sqlalchemy",
    "hypothesis",
    "hypothesis.strategies",
    "jinja2.ext",
    "limits.strategies",
    "marshmallow",
    "pytest_cov.plugin",
    "sqlalchemy.orm",
    "xdist.plugin",
)


def warm() -> None:
    """Import what every trial needs."""
    for name in WARM:
        import_module(name)


def run(mutant: Mutant) -> str:
    """The test that noticed, or nothing.

    :raises RuntimeError: nothing was tried.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        _write(mutant, Path(folder) / PACKAGE)
        output = Path(folder) / "output"
        child = os.fork()
        if not child:
            _test(folder, output, _chosen(mutant), list(_tests(mutant)))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = output.read_text("utf-8").splitlines()
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        raise RuntimeError("\n".join([str(mutant), *said]))
    return next((line for line in said if line.startswith(("FAILED", "ERROR"))), "")


def _write(mutant: Mutant, copy: Path) -> None:
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in mutant.changes:
        path = copy / file
        path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")


def _chosen(mutant: Mutant) -> str:
    others = " and ".join(f"not {each}" for each in DATABASES if each != mutant.database)
    return others if mutant.row or all("::" in each for each in mutant.tests) else others + BRIEF


def _tests(mutant: Mutant) -> Iterator[str]:
    if not mutant.row:
        yield from mutant.tests
        return
    for file in mutant.tests:
        yield from (f"{file}::{name}" for name in _about(mutant.row, file))


def _about(row: str, file: str) -> Iterator[str]:
    """The tests in a file whose docstrings begin with this row."""
    for each in ast.parse((ROOT / file).read_text("utf-8")).body:
        if isinstance(each, ast.FunctionDef) and row in str(ast.get_docstring(each)).partition(":")[0].split(", "):
            yield each.name


class _Impatient:
    """Fails a test that has no end."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        signal.signal(signal.SIGALRM, self._end)
        signal.alarm(LONG)
        try:
            return (yield)
        finally:
            signal.alarm(0)

    @staticmethod
    def _end(*_: object) -> NoReturn:
        raise TimeoutError


def _test(folder: str, output: Path, chosen: str, tests: Sequence[str]) -> NoReturn:
    """Run these, in this order, on the package in ``folder``, up to the first that fails; in a fork."""
    sys.path[:0] = [folder, str(ROOT)]
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = folder
    to = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(to, 1)
    os.dup2(to, 2)
    how = ["-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", "--tb=no", "--assert=plain", "-x"]
    status = BROKEN
    try:
        status = int(pytest.main([*how, "-k", chosen, *tests], plugins=[_Impatient()]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
