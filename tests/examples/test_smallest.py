"""The smallest host is small, and complete."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from pathlib import Path

from flask_invitations.testing import token_in
from tests.examples.serve import EXAMPLES, Browser, copy, environment, flask, running

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
