"""The pages of docs/reference that are read off the code: run it after a change of the API, the commands or a template.

    .venv/bin/python .ci/reference.py

A test in tests/docs fails while a page is not what this would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from inspect import cleandoc
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from jinja2 import Environment, nodes
from jinja2.meta import find_undeclared_variables

from flask_invitations import Invitations
from flask_invitations.cli import cli
from flask_invitations.samples import desk_samples, samples
from flask_invitations.testing import RecordingMailer

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
TEMPLATES = ROOT / "src" / "flask_invitations" / "templates" / "invitations"
#: What every template can use, ours and Flask's.
EVERYWHERE = {"app_name", "settings", "language", "_", "ngettext", "url_for", "request", "csrf_token"}
NOTE = "<!-- Written by .ci/reference.py. Change the code, then run it. -->"

Lines = Iterator[str]


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")


def pages() -> Mapping[str, str]:
    """Each page by the name of its file."""
    made = {"http.md": http(), "cli.md": commands(), "templates.md": templates()}
    return {name: "\n".join(lines) + "\n" for name, lines in made.items()}


@cache
def _app() -> tuple[Flask, Invitations]:
    """A host with everything at its default, and every page switched on."""
    db, app, invitations = SQLAlchemy(), Flask("host"), Invitations()

    class User(db.Model):  # type: ignore[misc, name-defined, unused-ignore]
        id = db.Column(db.Integer, primary_key=True)
        email = db.Column(db.String(254), unique=True, nullable=False)
        role = db.Column(db.String(20), nullable=False)
        password_hash = db.Column(db.String(200), nullable=False)

    app.config.update(TESTING=True, SECRET_KEY="x" * 32, SQLALCHEMY_DATABASE_URI="sqlite://")
    app.config["INVITATIONS_ACCEPT_URL"] = "http://localhost/invitations/accept#{token}"
    app.config.update(INVITATIONS_APP_NAME="Your app", INVITATIONS_FRESH_LINK="send")
    db.init_app(app)
    invitations.init_app(app, db, user_model=User, mailer=RecordingMailer(), current_user=lambda: None)
    return app, invitations


def _table(*head: str, rows: Iterable[tuple[str, ...]]) -> Lines:
    yield from (_row(head), "|" + "---|" * len(head))
    yield from map(_row, rows)
    yield ""


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _code(text: str) -> str:
    return f"`{text}`"


# The HTTP API


def http() -> Lines:
    """The OpenAPI document as tables."""
    app, invitations = _app()
    with app.app_context():
        document = invitations.openapi()
    yield from (NOTE, "", "# HTTP API", "")
    yield "All calls are below `INVITATIONS_API_PREFIX`, which is `/api/v1/users` by default. Bodies are JSON. Your app's own document is at"
    yield "`GET /api/v1/users/invitations/openapi.json`, with the fields of your `profile_schema`. It needs the extra `openapi`."
    yield ""
    yield "A *manager* is a signed-in user who may manage invitations. An *invitee* has the token of a link. Every answer that is not a success is a"
    yield "problem object ([errors](../errors.md)). [Rules](../rules.md) says which error comes first. Calls that take an `Idempotency-Key` can be"
    yield "[repeated](../api.md#repeating-a-call)."
    yield ""
    calls = [(path, verb, call) for path, verbs in document["paths"].items() for verb, call in verbs.items()]
    yield from _table("call", "who", "what it does", rows=(_overview(*each) for each in calls))
    for path, verb, call in calls:
        yield from _call(path, verb, call)
    yield from ("## Shapes", "", "A shape is a JSON object. A field marked with * is required.", "")
    for name, schema in document["components"]["schemas"].items():
        yield from (f"### {name}", "")
        yield from _shape(schema)


def _overview(path: str, verb: str, call: Any) -> tuple[str, str, str]:
    return _code(f"{verb.upper()} {path}"), _who(call), call["summary"]


def _who(call: Any) -> str:
    return "anyone" if call["operationId"] == "openapi" else ", ".join(call["tags"])


def _call(path: str, verb: str, call: Any) -> Lines:
    yield from (f"## {verb.upper()} {path}", "", f"{call['summary']}. For: {_who(call)}.", "")
    given = [each for each in call["parameters"] if each["in"] != "path"]
    if given:
        rows = ((_code(each["name"]), each["in"], _type(each["schema"])) for each in given)
        yield from _table("parameter", "in", "type", rows=rows)
    if "requestBody" in call:
        asked = "Body" if call["requestBody"]["required"] else "Body (may be left out)"
        yield from (f"{asked}: {_type(_schema(call['requestBody']))}.", "")
    yield from _table("status", "answer", rows=(_answer(*each) for each in sorted(call["responses"].items())))


def _schema(content: Any) -> Any:
    return next(iter(content["content"].values()))["schema"]


def _answer(status: str, answer: Any) -> tuple[str, str]:
    if "content" not in answer:
        return status, "no body"
    if answer["description"].startswith("code: "):
        return status, ", ".join(map(_code, answer["description"].removeprefix("code: ").split(", ")))
    return status, _type(_schema(answer))


def _shape(schema: Any) -> Lines:
    needed = schema.get("required", ())
    rows = (
        (_code(name) + ("*" if name in needed else ""), _type(field)) for name, field in schema["properties"].items()
    )
    yield from _table("field", "type", rows=rows)


def _type(schema: Any) -> str:
    """A schema in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(map(_type, schema.get("anyOf") or schema["oneOf"]))
    if "allOf" in schema:
        return " and ".join(map(_type, schema["allOf"]))
    kinds = schema.get("type", "any JSON")
    words = " or ".join(kinds if isinstance(kinds, list) else [kinds])
    if "array" in words and "items" in schema:
        words += f" of {_type(schema['items'])}"
    return words + "".join(_limits(schema))


def _limits(schema: Any) -> Lines:
    if "enum" in schema:
        yield ": " + ", ".join(_code(str(each)) for each in schema["enum"] if each is not None)
    if "const" in schema:
        yield f": {_code(schema['const'])}"
    if "format" in schema:
        yield f", {schema['format']}"
    for name, said in _LIMITS.items():
        if name in schema:
            yield f", {said} {schema[name]:,}"
    if schema.get("default") is not None:
        yield f", default {_code(str(schema['default']).lower())}"


_LIMITS = {
    "minLength": "shortest",
    "maxLength": "longest",
    "minimum": "at least",
    "maximum": "at most",
    "minItems": "at least",
    "maxItems": "at most",
}


# The command line


def commands() -> Lines:
    """The commands with their options, as ``--help`` tells them."""
    yield from (NOTE, "", "# Command line", "")
    yield "The commands act as the system, which needs no permission. Each exits with 0, or with 1 and one sentence on stderr. Set `FLASK_APP`,"
    yield "or write `flask --app NAME` in place of `flask`. `flask invitations COMMAND --help` shows the same."
    yield ""
    for name, command in sorted(cli.commands.items()):
        yield from _command(name, command)


def _command(name: str, command: click.Command) -> Lines:
    given = [each.metavar or (each.name or "").upper() for each in command.params if isinstance(each, click.Argument)]
    options = [each for each in command.params if isinstance(each, click.Option)]
    usage = " ".join(["flask invitations", name, *given, *(["[OPTIONS]"] if options else [])])
    yield from (f"## {name}", "", "```text", usage, "```", "")
    for part in cleandoc(command.help or "").split("\n\n"):
        yield from (part.replace("\n", " "), "")
    if options:
        yield from _table("option", "meaning", rows=map(_option, options))


def _option(option: click.Option) -> tuple[str, str]:
    number = isinstance(option.type, click.types.IntParamType)
    value = "" if option.is_flag else " " + (option.metavar or ("N" if number else option.human_readable_name.upper()))
    bounds = f" From {option.type.min} to {option.type.max}." if isinstance(option.type, click.IntRange) else ""
    shown = f" Default: {option.default}." if option.show_default else ""
    more = " Can be given many times." if option.multiple else ""
    return _code(option.opts[0] + value), f"{(option.help or '').rstrip('.')}.{bounds}{shown}{more}"


# The templates


def templates() -> Lines:
    """Each template with its variables and blocks."""
    yield from (NOTE, "", "# Templates", "")
    yield "A file of the same name below `templates/invitations/` in your app takes the place of ours, and may extend ours as"
    yield "`flask_invitations/NAME` ([pages](../pages.md#your-own-templates), [desk](../desk.md#your-own-templates),"
    yield "[emails](../mails.md#your-own-templates))."
    yield ""
    yield from ("## Pages", "")
    yield "Every page has `app_name`, `settings` (your [settings](../settings.md) in lower case), `language` (`tag`, `direction`, `moment(time)`), `_`"
    yield "and `ngettext` besides its own variables. A variable may be `None`. Below the names is what the file says of them."
    yield ""
    words = _words()
    for path in sorted(TEMPLATES.rglob("*.html")):
        name = path.relative_to(TEMPLATES).as_posix()
        if not path.name.startswith("_") and not name.startswith("mail/"):
            yield from _template(name, path, words.get(name, set()))
    yield from ("## Emails", "")
    yield "All kinds of emails have [the same variables](../mails.md#your-own-templates). `NAME.subject.txt` and `NAME.txt` beside each file are the"
    yield "subject and the text."
    yield ""
    mails = sorted((TEMPLATES / "mail").glob("*.html"))
    shown = ((_code(f"mail/{path.name}"), _list(_blocks(path))) for path in mails if path.name != "_parts.html")
    yield from _table("file", "blocks", rows=shown)


def _words() -> Mapping[str, set[str]]:
    """The variables of each page that the test kit fills."""
    app, _ = _app()
    found: dict[str, set[str]] = {}
    with app.test_request_context():
        for sample in (*samples(), *desk_samples()):
            found.setdefault(sample.template, set()).update(sample.words)
    return found


def _template(name: str, path: Path, variables: set[str]) -> Lines:
    yield from (f"### {name}", "")
    variables = (variables | _asked(_tree(path))) - EVERYWHERE
    yield from (f"- Variables: {_list(sorted(variables))}", f"- Blocks: {_list(_blocks(path))}", "")
    comment = re.match(r"\{#-?(.*?)-?#\}", path.read_text("utf-8"), re.DOTALL)
    if comment:
        yield from ("```text", dedent("    " + comment[1].strip()), "```", "")


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(_code, names)) or "none of its own"


def _asked(tree: nodes.Template) -> set[str]:
    """The names that a template takes from outside, and does not make itself."""
    made = {each.name for each in tree.find_all(nodes.Name) if each.ctx != "load"}
    made |= {each.name for each in tree.find_all(nodes.Macro)} | {each.target for each in tree.find_all(nodes.Import)}
    return find_undeclared_variables(tree) - made


def _tree(path: Path) -> nodes.Template:
    return Environment(autoescape=True).parse(path.read_text("utf-8"))


def _blocks(path: Path) -> list[str]:
    return list(dict.fromkeys(block.name for block in _tree(path).find_all(nodes.Block)))


if __name__ == "__main__":
    main()
