"""The lines that readers copy into a terminal: each `flask invitations` line and each call of curl."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from flask_invitations.cli import cli
from flask_invitations.current import override
from flask_invitations.testing import token_in
from tests.docs.pages import PAGES, ROOT, blocks, read
from tests.docs.teams import Teams, served
from tests.docs.terminal import Terminal
from tests.examples.serve import Browser
from tests.hosts import build
from tests.servers import in_ci

#: What waits for a signal, what looks at a whole installation, and what writes into a migration tree: other tests do.
ELSEWHERE = ("deliver --watch", "doctor", "migrations")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the list that the pages import."""
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("email,role\nann@example.com,user\nbob@example.com,viewer\n")


def shown(page: Path) -> Iterator[str]:
    """Every command of ours that a page shows, in blocks of code and in sentences, without the name of the program."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    for line in re.findall(r"\bflask (?:--\S+(?: \S+)? )?invitations ([^`\n]*)", text):
        for command in re.split(r" && | \| ", line.partition(" #")[0])[:1]:
            yield command.strip().removesuffix('"')


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist_with_their_options(page: Path) -> None:
    """No page names a command, an option or a value that the command line refuses."""
    for line in shown(page):
        name, *arguments = shlex.split(line) or ["--help"]
        if name == "--help" or not name[0].islower() or "[OPTIONS]" in arguments or "FILE.csv" in arguments:
            continue
        command = cli.commands[name]
        try:
            with command.make_context(name, arguments):
                pass
        except click.MissingParameter:
            assert not arguments, f"flask invitations {line}"  # a sentence about the command itself


def test_command_blocks_run(tmp_path: Path) -> None:
    """What the pages tell to type succeeds, each block on an app of its own."""
    typed = [lines for page in PAGES if page.parent.name != "with_celery" for lines in _typed(page)]
    for number, lines in enumerate(typed):
        _run(lines, f"sqlite:///{tmp_path / f'{number}.sqlite3'}")
    assert sum(map(len, typed)) >= 12


def _typed(page: Path) -> Iterator[list[str]]:
    """The commands of each block of code that can be tried like this."""
    for block in blocks(page.read_text("utf-8")):
        found = re.findall(r"\bflask (?:--\S+ (?:\S+ )?)?invitations (.*)$", block.text, re.MULTILINE)
        lines = [re.split(r" +#| &&", line)[0].strip() for line in found]
        lines = [line for line in lines if not line.startswith(ELSEWHERE)]
        if lines and block.language != "text":
            yield lines


def _run(lines: list[str], url: str) -> None:
    with build(url) as host, host.app.app_context():
        host.tenant()
        for line in lines:
            arguments = shlex.split(line)
            if arguments[0] == "invite" and "--tenant" not in arguments:  # an app without tenants
                arguments += ["--tenant", "1"]
            done = host.app.test_cli_runner().invoke(args=["invitations", *arguments])
            assert done.exit_code == 0, f"{line}\n{done.output}"


def _calls(page: str) -> Iterator[str]:
    for block in blocks(read(page)):
        if block.language in ("", "sh"):
            yield from re.findall(r"^curl .*$", re.sub(r" *\\\n *", " ", block.text), re.MULTILINE)


def _curl(line: str, base: str) -> tuple[int, str]:
    """The status and the body."""
    asked = [*shlex.split(re.sub(r"(http://)?(localhost|127\.0\.0\.1):5000", base, line)), "-s", "-w", "\n%{http_code}"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


@pytest.fixture
def _has_curl() -> None:
    if shutil.which("curl") is None:
        (pytest.fail if in_ci() else pytest.skip)("no curl")


@pytest.mark.usefixtures("_has_curl")
def test_calls_with_the_cookie_of_a_manager(tmp_path: Path) -> None:
    """Each call of curl with `-b cookies` on the pages, by the owner of a team, on a real server."""
    lines = [line for page in ("docs/api.md", "docs/bulk.md") for line in _calls(page)]
    assert len(lines) == 2
    teams = Teams(f"sqlite:///{tmp_path / 'curl.sqlite3'}")
    with teams.app.app_context(), override(teams.app, mailer=teams.mail):
        teams.db.create_all()
        team = teams.made("Team", name="First")
        owner = teams.made("User", email="owner@example.com", email_verified=True, password_hash="-", team_id=team.id)
        teams.made("Membership", user_id=owner.id, team_id=team.id, role="owner")
        cookie: Any = teams.client(owner.id).get_cookie("session")
        Path("cookies").write_text(f"127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\t{cookie.value}\n")
        with served(teams.app) as base:
            for line in lines:
                status, body = _curl(line, base)
                assert status in (200, 201), body
                assert '"ann@example.com"' in body
        teams.close()


@pytest.mark.usefixtures("_has_curl")
def test_the_readme(tmp_path: Path) -> None:
    """A3: the app, the commands and the calls of README.md, typed as they are written."""
    page = {block.mark: block.text for block in blocks(read("README.md"))}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "app.py").write_text(page["smallest"].replace(":5000", f":{port}"))
    invite, run = page["first owner"].splitlines()
    ready = f"export PATH={Path(sys.executable).parent}:$PATH\n"
    with Terminal(tmp_path) as first, Terminal(tmp_path) as second:
        token = token_in(first.type(ready + invite).split("accept#")[1].splitlines()[0])
        second.start(f"{ready}{run} --port {port}")
        second.until(Browser(f"http://127.0.0.1:{port}").answers)
        accept, next_one = _calls("README.md")
        status, body = _curl(accept.replace("TOKEN", token), f"http://127.0.0.1:{port}")
        assert (status, '"role": "owner"' in body) == (201, True), body
        status, body = _curl(next_one, f"http://127.0.0.1:{port}")
        assert (status, '"ann@example.com"' in body) == (201, True), body
        _the_examples(first, invite, port)


def _the_examples(terminal: Terminal, invite: str, port: int) -> None:
    """The same of examples/README.md, whose owner is another one."""
    page = next(block.text for block in blocks(read("examples/README.md")) if "curl" in block.text)
    said = terminal.type(invite.replace("you@", "owner@"))
    typed = page.replace("TOKEN", token_in(said.split("accept#")[1].splitlines()[0])).replace("ann@", "bob@")
    said = terminal.type(typed.replace(":5000", f":{port}"))
    assert re.findall(r'"(?:status|code)": "([\w-]+)"', said).count("pending") >= 2, said
    assert "problem" not in said
