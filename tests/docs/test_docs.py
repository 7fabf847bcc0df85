"""The pages of the documentation against the code: what a table says is what is there, and every snippet runs."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

import flask_invitations
from flask_invitations import InvitationError, Invitations, errors, hooks, testing
from flask_invitations.config import Config
from flask_invitations.gate import Function
from flask_invitations.replies import YES_OR_NO
from tests.docs.pages import PAGES, ROOT, anchors, blocks, links, rows
from tests.hosts import build


def all_refusals(base: type[InvitationError] = InvitationError) -> set[type[InvitationError]]:
    """Every class of refusal, without the bases that are never raised themselves."""
    below = {each for each in base.__subclasses__() if each.__module__ == errors.__name__}  # tests make their own
    return below | {leaf for each in below for leaf in all_refusals(each)}


def test_errors_page_lists_every_refusal_with_its_status_and_code() -> None:
    """The table of errors and the tree of refusals are the same."""
    told = {(row[0], row[1].strip("`"), row[2].strip("`")) for row in rows("docs/errors.md")[1:]}
    raised = all_refusals() - {errors.InvitationGone, errors.PasswordRejected}
    assert told == {(str(each.status), each.code, each.__name__) for each in raised}


def test_settings_page_lists_every_setting_with_its_default() -> None:
    """The table of settings and the fields of Config are the same, defaults included."""
    told = {row[0].strip("`"): row[1] for row in rows("docs/settings.md")[1:]}
    flasks = ("secret_keys", "session_cookie")
    fields = {field.name.upper(): field.default for field in dataclasses.fields(Config) if field.name not in flasks}
    assert told.keys() == fields.keys()
    for key, default in fields.items():
        shown = told[key].strip("`").replace('"', "'")
        if (isinstance(default, (bool, int, str, tuple)) and default != "") or default is None:
            assert shown == repr(default), key


def hook_rows() -> list[list[str]]:
    """The first table of the page of hooks, without its head; the second says what each may answer."""
    told = rows("docs/hooks.md")[1:]
    return told[: [row[0] for row in told].index("hook")]


def test_hooks_page_lists_every_hook() -> None:
    """The page, the table in the code (and so the decorators) and the keywords of init_app name the same hooks."""
    told = [row[0].strip("`") for row in hook_rows()]
    assert told == list(hooks.TABLE) == list(hooks.Given.__annotations__)


def test_hooks_page_calls_each_hook_as_it_is_called() -> None:
    """The page gives each function as many arguments as init_app demands that it takes, and a bool where it must."""
    told = {row[0].strip("`"): row[1] for row in hook_rows()}
    for name, word in hooks.TABLE.items():
        if isinstance(word, Function):
            found = re.match(r"`\(([^)]*)\) -> ([^`]*)`", told[name])
            assert found is not None, name
            assert len([each for each in found[1].split(",") if each.strip()]) == len(word.takes), name
            assert (found[2] == "bool") == (word.answer is YES_OR_NO), name


def test_reference_lists_every_endpoint() -> None:
    """The table of the HTTP API names each call of the API, and no other."""
    told = {
        tuple(row[0].strip("`").split(" "))
        for row in rows("docs/reference/http.md")
        if row[0][:2] in ("`P", "`G", "`D")
    }
    from flask_invitations.web.api import CALLS

    assert told == {(call.method, call.rule.replace("<", "{").replace(">", "}")) for call in CALLS}


def test_readme_shows_the_smallest_example_as_it_is() -> None:
    """What the README shows is the file that a test runs, and it is at most 25 lines of code."""
    text = (ROOT / "README.md").read_text("utf-8")
    shown = re.search(r"<!-- smallest -->\n```python\n(.*?)```", text, re.DOTALL)
    code = (ROOT / "examples/smallest.py").read_text("utf-8")
    assert shown is not None
    assert shown[1] == code
    lines = [line for line in code.splitlines() if line.strip() and not line.lstrip().startswith(("#", '"""'))]
    assert len(lines) <= 25


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """No relative link is dead, and no anchor."""
    for path, anchor in links(page.read_text("utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text("utf-8")), f"{path}#{anchor}"


def test_public_names_are_documented_and_typed() -> None:
    """Every public class and function has a docstring, every public method too, and full annotations."""
    for name in flask_invitations.__all__:
        thing: Any = getattr(flask_invitations, name)
        if isinstance(thing, (type, ModuleType)) or callable(thing):
            assert inspect.getdoc(thing), name
        if isinstance(thing, type):
            for method, body in vars(thing).items():
                if inspect.isfunction(body) and not method.startswith("_"):
                    assert inspect.getdoc(body) or method == "filter", f"{name}.{method}"


def test_snippets_of_the_pages_are_python() -> None:
    """Every Python snippet compiles."""
    for page in PAGES:
        for snippet in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            compile(dedent(snippet), str(page), "exec")


def test_hooks_of_the_pages_are_hooks() -> None:
    """Each function that a page decorates is taken as that hook: the name is one, and the arguments are as many."""
    tried = 0
    for page in PAGES:
        for block in blocks(page.read_text("utf-8")):
            if block.language == "python" and block.text.lstrip().startswith("@invitations."):
                exec(compile(block.text, str(page), "exec"), {"invitations": Invitations()})
                tried += 1
    assert tried >= 6


def test_sentry_recipe_masks_the_token() -> None:
    """D2: the documented before_send takes the token out of whatever an error report carries."""
    text = (ROOT / "docs/security.md").read_text("utf-8")
    recipe = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert recipe is not None
    space: dict[str, Any] = {}
    exec(recipe[1], space)
    token = "Ab3_" * 10 + "xyz"
    event = {"request": {"url": f"https://x.example/accept/{token}", "data": {"token": token}}}
    assert token not in json.dumps(space["before_send"](event, None))


def test_unit_recipe_commits_once_and_waits_with_the_mail(database_url: str) -> None:
    """The recipe of docs/transactions.md: no mail inside the block, one after it, nothing after an exception."""
    with build(database_url) as host, host.app.app_context():
        acme = host.tenant()
        with host.invitations.unit():
            host.invitations.invite("ann@example.com", tenant_id=acme, details={"project": "Apollo"})
            assert host.outbox.messages == []
        assert len(host.outbox.messages) == 1
        with pytest.raises(AttributeError), host.invitations.unit():
            host.invitations.invite("bob@example.com", tenant_id=acme).nothing()  # type: ignore[attr-defined]
        assert len(host.outbox.messages) == 1
        assert [row.email for row in host.rows(host.invitations.models.Invitation)] == ["ann@example.com"]


def test_testing_page_names_the_whole_kit() -> None:
    """The page names everything that the test kit offers, the parts of HostContract that a host sets included."""
    page = (ROOT / "docs/testing.md").read_text()
    contract = [name for name in vars(testing.HostContract) if not name.startswith(("_", "test_"))]
    given = [*testing.__all__, "invitation_mail", "invitation_clock", *contract]
    assert [name for name in given if name not in page] == []


def test_python_is_new_enough() -> None:
    """The documentation promises Python 3.10 and later."""
    assert sys.version_info >= (3, 10)
