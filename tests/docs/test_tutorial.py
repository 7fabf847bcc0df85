"""docs/tutorial.md, typed step by step into terminals, as it stands there.

Three things are other than a reader types them. The package is installed from this checkout, not from PyPI. The port is
a free one. ``TOKEN`` is what the reader copies from the email. What is told in words is done by HTTP: the two forms.
"""

from __future__ import annotations

import re
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from flask_invitations.testing import token_in
from tests.docs.pages import ROOT, Block, blocks, read
from tests.docs.terminal import Terminal
from tests.examples.serve import Browser
from tests.races.harness import SOAK
from tests.servers import in_ci

WORDS = "a few words that will do"


def free_port() -> str:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Reader:
    """Somebody who follows the page in a folder.

    :param instead: what is typed in place of the blocks with these marks.
    """

    def __init__(self, folder: Path, instead: Mapping[str, str]) -> None:
        self.folder, self.instead, self.port = folder, instead, free_port()
        self.base, self.ann = f"http://127.0.0.1:{self.port}", Browser(f"http://127.0.0.1:{self.port}")
        self.first, self.second = Terminal(folder), Terminal(folder)
        self.said, self.token = "", ""

    def follow(self) -> None:
        """Every block of the page, in order."""
        with self.first, self.second:
            for block in blocks(read("docs/tutorial.md")):
                self._do(block)

    def _do(self, block: Block) -> None:
        text = self.instead.get(block.mark, block.text).replace(":5000", f":{self.port}")
        if block.language == "python":
            with (self.folder / "team" / "app.py").open("a") as file:
                file.write(text)
        elif block.mark == "second terminal":
            self._serve(text.replace("flask run", f"flask run --port {self.port}"))
        elif block.language == "sh":
            self.said = self.first.type(text.replace("TOKEN", self.token), timeout=300)
            self._read(block.text)

    def _serve(self, commands: str) -> None:
        """The reader opens the second terminal in the same folder."""
        self.second.start(f"cd team\n{self.instead.get('postgresql', '')}{commands}")
        self.second.until(self.ann.answers)
        assert self.ann.get("/").text == "Hello, stranger!"

    def _read(self, commands: str) -> None:
        """What the page says in words, after some of the commands."""
        if "invitations invite" in commands:
            self._accept_as_ann(token_in(self.said.split("accept#")[1].splitlines()[0]))
            self._invite_bob()
        elif "accept-invite" in commands:
            assert '"email": "bob@example.com"' in self.said, self.said
            again = {"token": self.token, "password": WORDS}
            refused = Browser(self.base).json("/api/v1/users/accept-invite", again)
            assert (refused.status, refused.json["code"]) == (409, "invitation-accepted")
        elif "invitations list" in commands:
            assert [line.split("\t")[1:4] for line in self.said.splitlines() if "@" in line] == [
                ["accepted", "user", "bob@example.com"],
                ["accepted", "owner", "ann@example.com"],
            ]

    def _accept_as_ann(self, token: str) -> None:
        assert "owner" in self.ann.form("/invitations/open", token=token).text
        assert self.ann.form("/invitations/accept", token=token, password=WORDS).status == 200
        assert self.ann.get("/").text == "Hello, ann@example.com!"

    def _invite_bob(self) -> None:
        desk = self.ann.get("/invitations/").text
        form = re.search(r'<form[^>]*action="/invitations/invite".*?</form>', desk, re.DOTALL)
        seal = form and re.search(r'name="seal" value="([^"]+)"', form[0])
        assert seal, desk
        sent = self.ann.form("/invitations/invite", seal=seal[1], email="bob@example.com", role="user")
        assert (sent.status, "bob@example.com" in sent.text) == (200, True)
        self.token = token_in(self.second.log.read_text().split("accept#")[1].splitlines()[0])


@pytest.fixture(autouse=True)
def _curl() -> None:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        (pytest.fail if in_ci() else pytest.skip)("no curl, or no bash")


def test_the_tutorial(tmp_path: Path) -> None:
    """From an empty folder to the list of two accepted invitations, on SQLite, in the environment of the tests."""
    path = f"{Path(sys.executable).parent}:$PATH"
    activated = f'mkdir -p .venv/bin\necho "export PATH={path}" > .venv/bin/activate\n. .venv/bin/activate\n'
    Reader(tmp_path, {"install": activated, "postgresql": ""}).follow()


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="it installs everything, twice: set INVITATIONS_SOAK=1")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_tutorial_from_nothing(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The same with an environment of its own, made by the page's commands, on SQLite and on PostgreSQL."""
    page = {block.mark: block.text for block in blocks(read("docs/tutorial.md"))}
    instead = {"install": page["install"].replace("flask-invitations[migrate]", f"{ROOT}[migrate]"), "postgresql": ""}
    if database == "postgresql":
        url = request.getfixturevalue("_postgresql").empty()
        instead["postgresql"] = f"export DATABASE_URL='{url}'\n"
        instead["install"] += page["postgresql"].splitlines()[0] + f"\n{instead['postgresql']}"
    Reader(tmp_path, instead).follow()
