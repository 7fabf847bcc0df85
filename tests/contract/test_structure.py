"""The house rules that no linter knows, read from the source itself."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from inspect import getdoc, isfunction, signature
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import flask_invitations

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "flask_invitations"
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
TESTS = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("*.py")}

#: A foreign library is known to one room (or to one package of rooms) only.
OWNERS = {
    "alembic": "migrations/",
    "apispec": "web/openapi.py",
    "babel": "languages/babel.py",
    "blinker": "hooks.py",
    "celery": "contrib/celery.py",
    "click": "cli.py",
    "dramatiq": "contrib/dramatiq.py",
    "email_validator": "addresses.py",
    "flask_babel": "languages/babel.py",
    "flask_login": "defaults.py",
    "huey": "contrib/huey.py",
    "idna": "origins.py",
    "itsdangerous": "tokens.py",
    "limits": "limits.py",
    "pytest": "testing/fixtures.py",
    "rq": "contrib/rq.py",
    "smtplib": "mail/",
    "ua_parser": "web/agents.py",
    "zxcvbn": "defaults.py",
}
#: Rooms that may know Flask: the faces, what wires them, and what is called by the host's app only.
FLASK = {
    "web/api.py",
    "web/faces.py",
    "web/once.py",
    "languages/babel.py",
    "cli.py",
    "contrib/__init__.py",
    "contrib/celery.py",
    "contrib/dramatiq.py",
    "contrib/huey.py",
    "contrib/rq.py",
    "defaults.py",
    "web/desk.py",
    "web/desk_many.py",
    "extension.py",
    "mail/log.py",
    "templating.py",
    "web/pages.py",
    "current.py",
    "samples.py",
    "testing/fixtures.py",
    "testing/host.py",
    "testing/pages.py",
    "testing/people.py",
    "testing/rehearsal.py",
    "web/wire.py",
}
#: Other people's entries in ``app.extensions`` that we look up, and why.
LOOK_UPS = {
    ("languages/babel.py", "babel"): "where Flask-Babel keeps the host's languages and time zone",
    ("migrations/__init__.py", "migrate"): "the host's migration tree is where our steps go",
    ("migrations/tree.py", "migrate"): "the same",
    ("web/wire.py", "csrf"): "CSRFProtect would refuse JSON calls, and forms without a Referer: we exempt ourselves",
}
#: Every public name. A line less here is a breaking change; a line more is a promise.
NAMES = """
Acceptance AcceptedUser AccountExists AccountUnverified AddressNotAllowed AddressSuppressed AlreadyInvited
AlreadyMember BodyTooLarge BulkChange BulkChangeResult BulkInvite BulkInviteResult ConfigurationError CrossSite
DeliveryInfo DeliveryState EventInfo EventType Explanation Forbidden GrantsNotAllowed IdempotencyInProgress
IdempotencyMismatch InvalidRequest InvitationAccepted InvitationDeclined InvitationDraft InvitationError
InvitationExpired InvitationGone InvitationInfo InvitationNotFound InvitationReplaced InvitationRevoked
InvitationWithdrawn Invitations Inviter LogMailer MailBounced MailRefused MalformedRequest Message NoSeats Offer
OpenAPIUnavailable PasswordRejected PlanChanged RateLimited RedactFilter RoleNotAllowed SMTPMailer Status Swept
TenantInactive TenantInfo TooManyPending TryAgain Unauthenticated UnsupportedMediaType WrongAccount canonical_email
invitation_accepted invitation_created invitation_declined invitation_expired invitation_reported invitation_resent
invitation_revoked invitation_sent redact to_email
"""
WINGS = {"acts", "contrib", "languages", "mail", "migrations", "model", "outbox", "store", "testing", "web"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Use(NamedTuple):
    """Something found in a file of the package."""

    file: str
    what: str


def _nodes(kind: type[Any] | tuple[type[Any], ...]) -> Iterator[tuple[str, Any]]:
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, kind):
                yield file, node


def _last(node: ast.expr) -> str:
    """``c`` of ``a.b.c``, ``c`` of ``c``, nothing of anything else."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _module(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".").replace("__init__", "")


MODULES = {_module(file): file for file in TREES}


def _imports(file: str, tree: ast.AST) -> Iterator[str]:
    """Every absolute name imported anywhere in a file, in functions and for type checkers too."""
    package = ["flask_invitations", *file.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _own(name: str) -> str | None:
    """The module of ours that an imported name is, or is from."""
    head, _, rest = name.partition(".")
    if head != "flask_invitations":
        return None
    while rest and rest not in MODULES:
        rest = rest.rpartition(".")[0]
    return rest


def test_no_cycle() -> None:
    """No module imports itself by any detour, imports in functions and for the type checker counted."""
    graph = {
        _module(file): {own for name in _imports(file, tree) if (own := _own(name)) is not None}
        for file, tree in TREES.items()
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert set(order) == set(MODULES)


def test_nobody_imports_the_front_door() -> None:
    """The package's own ``__init__`` is for hosts: no room of ours imports through it."""
    assert [
        file
        for file, tree in TREES.items()
        if file != "__init__.py" and "" in {_own(name) for name in _imports(file, tree)}
    ] == []


@pytest.mark.parametrize("library", OWNERS)
def test_one_importer(library: str) -> None:
    """A foreign library stops in the one module that wraps it; itsdangerous in tokens.py."""
    users = {file for file, tree in TREES.items() for name in _imports(file, tree) if name.split(".")[0] == library}
    assert {file for file in users if not file.startswith(OWNERS[library])} == set()


def test_flask_from_current_upwards() -> None:
    """The rooms below current.py do not know Flask."""
    users = {file for file, tree in TREES.items() for name in _imports(file, tree) if name.split(".")[0] == "flask"}
    assert {file for file in users - FLASK if not file.startswith(("contrib/", "migrations/"))} == set()


def test_one_reader_of_the_config() -> None:
    """``app.config`` is handed on once, by the extension to config.py; templates do not reach for it either."""
    found = [
        Use(file, ast.unparse(node))
        for file, node in _nodes(ast.Attribute)
        if node.attr == "config" and _last(node.value) in {"app", "current_app", "_app"}
    ]
    assert found == [Use("extension.py", "app.config")]
    pages = [path for path in PACKAGE.glob("templates/**/*") if path.is_file()]
    assert [path.name for path in pages if re.search(r"\{[{%][^}]*\bconfig\b", path.read_text())] == []


def test_one_committer() -> None:
    """R5, B8: one line in store/unit.py commits what was written, and another ends what has only read; nothing else
    does anywhere."""
    commits = [
        (file, ast.unparse(node))
        for file, node in _nodes(ast.Call)
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"commit", "do_commit"}
    ]
    assert sorted(commits) == [
        ("store/after.py", "connection.dialect.do_commit(connection.connection)"),
        ("store/unit.py", "frame.session.commit()"),
    ]


def test_one_clock() -> None:
    """R18: only clock.py asks what time it is; the databases are not asked either."""
    calls = {"now", "utcnow", "today", "fromtimestamp", "time", "time_ns", "current_timestamp", "localtime", "gmtime"}
    asked = {
        file
        for file, node in _nodes(ast.Attribute)
        if node.attr in calls and _last(node.value) in {"datetime", "date", "time", "dt", "func"}
    }
    named = {file for file, tree in TREES.items() for name in _imports(file, tree) if name.startswith("time.time")}
    assert asked | named == {"clock.py"}


def test_one_reader_of_the_extensions() -> None:
    """Only current.py knows where an app keeps us; other extensions' entries are looked up for a written reason."""
    looked_up = set()
    for file, node in _nodes(ast.Attribute):
        if node.attr == "extensions" and file not in {"current.py", "templating.py"}:  # the latter: Jinja's
            line = (PACKAGE / file).read_text().splitlines()[node.lineno - 1]
            key = re.search(
                r"""['"]([\w-]+)['"] (?:not )?in \w+\.extensions|extensions(?:\[|\.get\()['"]([\w-]+)""", line
            )
            looked_up.add((file, next(filter(None, key.groups())) if key else line.strip()))
    assert looked_up <= set(LOOK_UPS)


def test_init_app_is_short() -> None:
    """``init_app`` says what happens in under 40 lines, its signature and docstring aside."""
    bodies = [node.body for file, node in _nodes(ast.FunctionDef) if file == "extension.py" and node.name == "init_app"]
    assert len(bodies) == 1
    code = bodies[0][1:]
    assert isinstance(bodies[0][0], ast.Expr)
    assert code[-1].end_lineno - code[0].lineno + 1 < 40


def test_no_mocks() -> None:
    """No test replaces a module of ours by a mock."""
    mocks = {"mock", "unittest.mock", "pytest_mock"}
    found = [
        file
        for file, tree in TESTS.items()
        for name in _imports(file, tree)
        if name in mocks or name.rpartition(".")[0] in mocks
    ]
    assert found == []


def test_every_test_says_its_law() -> None:
    """Every test has a docstring: one sentence that says what must hold."""
    mute = [
        f"{file}::{node.name}"
        for file, tree in TESTS.items()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS) and node.name.startswith("test") and not ast.get_docstring(node)
    ]
    assert mute == []


def test_package_has_its_data() -> None:
    """What is no Python file but belongs to the package lies where the build looks for it."""
    data = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*") if path.is_file()}
    strays = {name for name in data if not name.endswith(".py") and name != "__pycache__"}
    assert strays <= {"py.typed", "templates", "static", "translations", *WINGS}
    assert "py.typed" in strays


def test_public_names() -> None:
    """The package offers exactly these names, in order, all of them there, and submodules by no other way."""
    assert flask_invitations.__all__ == NAMES.split()
    assert flask_invitations.__all__ == sorted(set(flask_invitations.__all__))
    assert [name for name in flask_invitations.__all__ if not hasattr(flask_invitations, name)] == []


def test_nothing_else_shows() -> None:
    """In a fresh process the package shows exactly what is public: no room of ours, nothing that was imported."""
    look = "import flask_invitations as package; print(*(name for name in vars(package) if not name.startswith('__')))"
    shown = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
    assert sorted(shown.split()) == flask_invitations.__all__


def _bodies() -> list[tuple[int, str]]:
    """How many lines each function's body has, its docstring aside."""
    found = []
    for file, node in _nodes(FUNCTIONS):
        code = node.body[1:] if ast.get_docstring(node) else node.body
        lines = code[-1].end_lineno - code[0].lineno + 1 if code else 0
        found.append((lines, f"{file}: {node.name}"))
    return sorted(found)


def test_functions_are_short() -> None:
    """Half of the functions have at most 4 lines, nine of ten at most 15, and none more than 40."""
    lines = [count for count, _ in _bodies()]
    assert statistics.median(lines) <= 4
    assert statistics.quantiles(lines, n=10)[-1] <= 15
    assert [name for count, name in _bodies() if count > 40] == []


def test_rooms_are_small() -> None:
    """No module has more than 400 lines."""
    assert [file for file in TREES if len((PACKAGE / file).read_text().splitlines()) > 400] == []


def _public() -> Iterator[tuple[str, Any]]:
    for name in flask_invitations.__all__:
        thing = getattr(flask_invitations, name)
        yield name, thing
        if isinstance(thing, type) and not issubclass(thing, BaseException):
            ours = [each for each in thing.__mro__ if each.__module__.startswith("flask_invitations")]
            for part, member in ((name, vars(each)[name]) for each in ours for name in vars(each)):
                if not part.startswith("_") and (isfunction(member) or isinstance(member, property)):
                    yield f"{name}.{part}", member


PUBLIC = dict(_public())


@pytest.mark.parametrize(
    "name", [name for name, thing in PUBLIC.items() if callable(thing) or isinstance(thing, property)]
)
def test_documented(name: str) -> None:
    """Every public class, function, method and property has a docstring or, for a refusal, its sentence."""
    thing = PUBLIC[name]
    refusal = isinstance(thing, type) and "sentence" in vars(thing)
    own = thing.__doc__ if isinstance(thing, type) else getdoc(thing)
    assert refusal or (own and not own.startswith(f"{name}("))


@pytest.mark.parametrize("name", [name for name, thing in PUBLIC.items() if isfunction(thing)])
def test_typed(name: str) -> None:
    """Every argument and result of a public function or method is annotated."""
    sign = signature(PUBLIC[name])
    bare = [p.name for p in sign.parameters.values() if p.annotation is p.empty and p.name not in {"self", "cls"}]
    assert bare == []
    assert sign.return_annotation is not sign.empty
