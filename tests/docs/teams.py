"""The app of docs/tenants.md, for the tests of other pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from flask import Flask, g
from werkzeug.serving import make_server

from flask_invitations.testing import RecordingMailer
from tests.docs.pages import read

API = "/api/v1/users"


def code(page: str, mark: str) -> str:
    """The block of a page behind this mark; inside of a list it is indented."""
    found = re.search(rf"^( *)<!-- {re.escape(mark)} -->\n *```\w+\n(.*?)^ *```$", read(page), re.DOTALL | re.MULTILINE)
    assert found, f"{page}: {mark}"
    return re.sub(rf"^{found[1]}", "", found[2], flags=re.MULTILINE)


class Teams:
    """The app of docs/tenants.md, with what other pages add to it.

    :param url: of its database.
    :param flask: further arguments of ``Flask``.
    """

    def __init__(self, url: str = "sqlite://", **flask: Any) -> None:
        self.space: dict[str, Any] = {"__name__": "teams", "more": flask}
        source = code("docs/tenants.md", "app.py").replace("sqlite://", url)
        exec(source.replace("Flask(__name__)", "Flask(__name__, **more)"), self.space)
        self.app: Flask = self.space["app"]
        self.invitations, self.db = self.space["invitations"], self.space["db"]
        self.mail = RecordingMailer()

    def add(self, page: str, mark: str = "app.py") -> None:
        exec(compile(code(page, mark), page, "exec"), self.space)

    def client(self, user_id: int | None = None) -> Any:
        g.pop("_login_user", None)  # the test's own app context would keep who called before
        client = self.app.test_client()
        if user_id is not None:
            with client.session_transaction() as session:
                session["_user_id"], session["_fresh"] = str(user_id), True
        return client

    def close(self) -> None:
        self.db.session.remove()
        self.db.engine.dispose()

    def made(self, kind: str, /, **columns: Any) -> Any:
        row = self.space[kind](**columns)
        self.db.session.add(row)
        self.db.session.commit()
        return row


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The app on a free port."""
    server = make_server("127.0.0.1", 0, app)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
