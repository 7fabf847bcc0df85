"""The smallest host is small, and complete."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest

from flask_invitations.testing import token_in
from tests.examples.serve import EXAMPLES, Browser, call, copy, environment, flask, running, tokens

API = "/api/v1/users"
WORDS = "a few words will do"


def test_it_is_small() -> None:
    """At most 25 lines of code."""
    lines = (EXAMPLES / "smallest.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 25


def test_the_whole_flow(tmp_path: Path) -> None:
    """The first owner is invited from the command line, and invites the next one by HTTP."""
    app = copy("smallest.py", tmp_path)
    command = flask(app, "--debug", "invitations", "invite", "owner@example.com", "--role", "owner")
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    with running(app, "--debug") as (base, log):
        anybody = Browser(base)
        token = token_in(done.stderr.split("accept#")[1].splitlines()[0])
        accepted = anybody.json(f"{API}/accept-invite", {"token": token, "password": WORDS})
        assert (accepted.status, accepted.json["user"]["role"]) == (201, "owner")

        owner = "Basic " + b64encode(f"owner@example.com:{WORDS}".encode()).decode()
        assert anybody.json(f"{API}/invite", {"email": "ann@example.com"}).status == 401
        assert anybody.json(f"{API}/invite", {"email": "ann@example.com"}, Authorization="Bearer x").status == 401
        assert anybody.json(f"{API}/invite", {"email": "ann@example.com"}, Authorization=owner).status == 201
        token = token_in(log.read_text().split("accept#")[1].splitlines()[0])
        accepted = anybody.json(f"{API}/accept-invite", {"token": token, "password": WORDS})
        assert (accepted.status, accepted.json["user"]["role"]) == (201, "user")
        assert anybody.form("/invitations/open", token=token).status == 409


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_documented_lines(tmp_path: Path) -> None:
    """A3: what the page of the examples says of this app works as it is written, line by line."""
    page = (EXAMPLES / "README.md").read_text("utf-8")
    first, lines = re.findall(r"```sh\n(.*?)```", page.partition("## smallest.py")[2], re.DOTALL)[:2]
    app = copy("smallest.py", tmp_path)
    invite = shlex.split(first.splitlines()[0])
    assert invite[:3] == [".venv/bin/flask", "--app", "examples/smallest.py"]
    token = tokens(call(app, *invite[3:])[1])[-1]
    with running(app, "--debug") as (base, _log):
        script = lines.replace("http://127.0.0.1:5000", base).replace("TOKEN", token)
        script = script.replace("curl ", "curl -sS -w '~~' ")
        done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("~~") == 3, done.stdout
    accepted, made, listed = map(json.loads, done.stdout.split("~~")[:3])
    assert accepted["user"] == {"id": 1, "email": "owner@example.com", "role": "owner", "tenant_id": None}
    assert (made["email"], made["delivery"]["state"]) == ("ann@example.com", "sent")
    assert [each["email"] for each in listed["items"]] == ["ann@example.com", "owner@example.com"]
