"""The reference has everything that the code has. A name that is missing here is a name that no reader finds."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from jinja2 import DictLoader, pass_context

import flask_invitations
from flask_invitations import EventType, Invitations, testing
from flask_invitations.calls import Calls
from flask_invitations.many import ManyCalls
from tests.docs.pages import ROOT, blocks, read, rows
from tests.hosts import build

REFERENCE = "docs/reference"
SIGNALS = {name for name in flask_invitations.__all__ if name.startswith("invitation_")}


def documented() -> set[str]:
    """What the page of the Python API takes from the docstrings."""
    return set(re.findall(r"^ *\.\. auto\w+:: ([\w.]+)", read(f"{REFERENCE}/python.md"), re.MULTILINE))


def first_cells(page: str, head: str) -> set[str]:
    """The names in the first column of the table whose head begins so."""
    table = rows(page)
    at = [row[0] for row in table].index(head)
    names = set[str]()
    for row in table[at + 1 :]:
        if "`" not in row[0]:
            break
        names |= set(re.findall(r"`(\w+)`", row[0]))
    return names


@pytest.mark.parametrize("page", ["http.md", "cli.md", "templates.md"])
def test_pages_that_are_read_off_the_code_are_as_it_is(page: str) -> None:
    """Every call, field, error code, command, option, template, variable and block: run .ci/reference.py."""
    made = runpy.run_path(str(ROOT / ".ci" / "reference.py"))["pages"]()
    assert made[page] == read(f"{REFERENCE}/{page}"), "run .venv/bin/python .ci/reference.py"


def test_every_public_name_is_in_the_reference() -> None:
    """Classes, functions and errors with their docstrings, signals in a table."""
    public = set(flask_invitations.__all__)
    assert public - SIGNALS == documented() & public
    assert first_cells(f"{REFERENCE}/events.md", "signal") == SIGNALS


def test_every_name_of_the_test_kit_is_in_the_reference() -> None:
    """The list of its names, and its fixtures."""
    here = testing.__name__
    fixtures = {f"{here}.fixtures.{name}" for name in ("invitation_mail", "invitation_clock")}
    assert {*testing.__all__, *fixtures} <= documented()


def test_every_call_from_python_is_in_the_reference() -> None:
    """Each call with its docstring, and in the table of docs/api.md with all of its arguments."""
    calls = {
        name: body
        for kind in (Calls, ManyCalls)
        for name, body in vars(kind).items()
        if not name.startswith("_") and callable(body)
    }
    assert calls.keys() <= documented()
    told = {row[0].strip("`").partition("(")[0]: row[0] for row in rows("docs/api.md")}
    assert calls.keys() == told.keys() - {"call"}
    for name, body in calls.items():
        taken = {each.name for each in inspect.signature(body).parameters.values() if each.kind != each.VAR_KEYWORD}
        named = set(re.findall(r"\w+", told[name].partition("(")[2]))
        assert "..." in told[name] or taken - {"self", "inviter", "user"} <= named, name
    assert inspect.getdoc(Invitations)


def test_every_event_type_is_in_the_reference() -> None:
    """The table of event types and the enum are the same."""
    assert first_cells(f"{REFERENCE}/events.md", "type") == {str(each) for each in EventType}


def test_every_variable_of_an_email_is_in_the_reference(tmp_path: Path) -> None:
    """The table of docs/mails.md names all that a template of an email gets."""
    seen = set[str]()

    @pass_context
    def spy(context: Any) -> str:
        seen.update(context.parent.keys() - context.environment.globals.keys())
        return ""

    with build(f"sqlite:///{tmp_path / 'spy.sqlite3'}") as host, host.app.app_context():
        host.app.jinja_loader = DictLoader({"invitations/mail/invitation.txt": "{{ spy() }}{{ accept_url }}"})
        host.app.jinja_env.globals["spy"] = spy
        host.invitations.invite("ann@example.com", tenant_id=host.tenant())
        assert len(host.outbox.messages) == 1
    assert seen == first_cells("docs/mails.md", "variable")


def test_every_page_is_in_a_table_of_contents() -> None:
    """docs/index.md leads to every page, both in its text and in the menu of the site."""
    text = read("docs/index.md")
    menu = {line for block in blocks(text.replace("{toctree}", "toctree")) for line in block.text.splitlines()}
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    pages = {page for page in pages if not page.startswith(("_build", "hosts/"))} - {"index"}
    assert pages <= menu
    assert {page for page in pages if f"({page}.md)" not in text} == set()
