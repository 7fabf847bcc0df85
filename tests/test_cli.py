"""``flask invitations ...``: every command, its refusals in one sentence, and the worker in a process of its own."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from flask_invitations import LogMailer, MailRefused
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import NO_ID, STATES, WEEK, Case, accept, copy, make, set_columns, unchanged

#: Before 8.2, click takes the two streams of a command for one unless it is told.
APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
LINK = re.compile(r"https://app\.example\.com/invitations/accept#([\w-]{43})")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Host]:
    """The default host, on SQLite."""
    with build(f"sqlite:///{tmp_path / 'cli.sqlite3'}") as built:
        yield built


@pytest.fixture
def case(local: Host) -> Case:
    """A pending invitation."""
    return make(local, "pending")


def run(host: Host, *arguments: Any) -> Result:
    return host.app.test_cli_runner(**APART).invoke(args=["invitations", *map(str, arguments)])


def fine(host: Host, *arguments: Any) -> str:
    result = run(host, *arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return str(result.stdout)


def refused(host: Host, *arguments: Any) -> str:
    """Assert exit status 1, nothing on stdout, one sentence on stderr and no change; gives the sentence."""
    with unchanged(host):
        result = run(host, *arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert re.fullmatch(r"Error: \S[^\n]*\.\n", result.stderr), result.stderr
    return str(result.stderr)


def test_whole_flow(database_url: str) -> None:
    """From the command line alone: invite, show, resend, list, revoke, on each database."""
    with build(database_url) as host:
        tenant = host.tenant()
        made = fine(host, "invite", "New@example.com", "--role", "owner", "--tenant", tenant)
        for word in ("New@example.com", "owner", "pending"):
            assert word in made
        assert not LINK.search(made)
        (row,) = host.rows(host.invitations.models.Invitation)
        assert (row.tenant_id, row.invited_by_id, row.inviter_ref) == (tenant, None, None)
        assert accept_url(host) in host.outbox.messages[0].text
        shown = fine(host, "show", row.id)
        assert [line.split("\t")[1] for line in shown.splitlines()[1:]] == ["created", "sent"]
        first = host.outbox.token_to("new@example.com")
        assert "pending" in fine(host, "resend", row.id)
        second = host.outbox.token_to("new@example.com")
        assert first != second
        assert fine(host, "list").count(str(row.id)) == 1
        assert "revoked" in fine(host, "revoke", row.id)
        assert fine(host, "list", "--status", "pending") == ""
        assert fine(host, "list", "--status", "revoked") != ""
        for text in (made, shown):
            assert first not in text
            assert second not in text


def accept_url(host: Host) -> str:
    return host.outbox.link_to("new@example.com")


def test_show_link(local: Host) -> None:
    """D5: ``--show-link`` prints the link, which opens; ``--no-mail`` sends nothing; such a link proves no mailbox."""
    tenant = local.tenant()
    told = fine(local, "invite", "guest@example.com", "--tenant", tenant, "--no-mail", "--show-link")
    assert local.outbox.messages == []
    found = LINK.search(told)
    assert found
    assert accept(local.client(), found[1]).status_code == 201
    assert local.rows(local.User, email="guest@example.com")[0].email_verified is False
    told = fine(local, "invite", "other@example.com", "--tenant", tenant, "--show-link")
    assert told.splitlines()[-1] == local.outbox.link_to("other@example.com")


def test_no_mail(local: Host) -> None:
    """Without mail and link the invitation stands all the same, and a resend brings the mail."""
    fine(local, "invite", "guest@example.com", "--tenant", local.tenant(), "--no-mail")
    (row,) = local.rows(local.invitations.models.Invitation)
    assert local.rows(local.invitations.models.Delivery) == local.outbox.messages == []
    admin = local.client(local.user("admin@example.com", "admin"))
    answer: Any = admin.get(f"/api/v1/users/invitations/{row.id}").json
    assert answer["delivery"] is None
    fine(local, "resend", row.id)
    assert accept(local.client(), local.outbox.token_to("guest@example.com")).status_code == 201


def test_mail_not_sent(local: Host) -> None:
    """A mail that could not be sent is no failure: status 0, and a word on stderr about what to do."""
    local.outbox.fail_with = OSError("secret")
    result = run(local, "invite", "guest@example.com", "--tenant", local.tenant())
    assert result.exit_code == 0
    assert "OSError" in result.stderr
    assert "flask invitations deliver" in result.stderr
    assert "secret" not in result.output


def test_mail_given_up(tmp_path: Path, local: Host) -> None:
    """What ``deliver`` would never send again is not told to wait for it; D4: README's command without --debug."""
    local.outbox.fail_with = MailRefused("x@example.com")
    said = run(local, "invite", "guest@example.com", "--tenant", local.tenant()).stderr
    assert said == (
        "The email was given up (MailRefused). Fix the cause, then run `flask invitations deliver --retry-failed`.\n"
    )
    with build(f"sqlite:///{tmp_path / 'log.sqlite3'}", tenancy="none", mailer=LogMailer()) as host:
        said = run(host, "invite", "guest@example.com").stderr
    assert said == "No email was sent: LogMailer sends none outside of debug. Use `flask --debug`, or another mailer.\n"


REFUSALS: dict[str, tuple[Callable[[Case], tuple[Any, ...]], str]] = {
    "no address": (lambda case: ("invite", "nonsense", "--tenant", case.tenant), "email: "),
    "no role": (lambda case: ("invite", "a@example.com", "--tenant", case.tenant, "--role", "god"), "role: "),
    "no tenant": (lambda case: ("invite", "a@example.com"), "tenant"),
    "strange tenant": (lambda case: ("invite", "a@example.com", "--tenant", "acme"), "--tenant"),
    "unknown tenant": (lambda case: ("invite", "a@example.com", "--tenant", 999), "not active"),
    "invited": (lambda case: ("invite", case.email, "--tenant", case.tenant), "already has an open invitation"),
    "member": (lambda case: ("invite", "plain@acme.example", "--tenant", case.tenant), "member"),
    "list": (lambda case: ("list", "--status", "open"), "status: "),
    "list tenant": (lambda case: ("list", "--tenant", "acme"), "--tenant"),
    "show": (lambda case: ("show", NO_ID), "no such invitation"),
    "show no id": (lambda case: ("show", "x"), ""),
    "resend": (lambda case: ("resend", NO_ID), "no such invitation"),
    "resend no id": (lambda case: ("resend", "x"), ""),
    "revoke": (lambda case: ("revoke", NO_ID), "no such invitation"),
    "revoke no id": (lambda case: ("revoke", "x"), ""),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(case: Case, name: str) -> None:
    """Each refusal is exit status 1 and one sentence on stderr that says what is wrong; nothing changes."""
    arguments, word = REFUSALS[name]
    assert word in refused(case.host, *arguments(case))


@pytest.mark.parametrize(
    ("state", "resend", "revoke"),
    [
        ("accepted", "already accepted", "already accepted"),
        ("revoked", "was revoked", None),
        ("declined", "was declined", None),
        ("tenant inactive", "not active", None),
    ],
)
def test_closed(local: Host, state: str, resend: str, revoke: str | None) -> None:
    """Closed invitations refuse on the command line as they do over HTTP."""
    case = make(local, state)
    assert resend in refused(local, "resend", case.id)
    if revoke is None:
        fine(local, "revoke", case.id)
    else:
        assert revoke in refused(local, "revoke", case.id)


def test_inactive_tenant(case: Case) -> None:
    """The system invites into no inactive tenant either."""
    set_columns(case.host, case.host.Tenant, case.tenant, active=False)
    assert "not active" in refused(case.host, "invite", "a@example.com", "--tenant", case.tenant)


@pytest.mark.parametrize(
    "command", ["invite", "import", "list", "show", "resend", "revoke", "deliver", "sweep", "migrations"]
)
def test_help(local: Host, command: str) -> None:
    """Every command has a help text."""
    told = fine(local, command, "--help")
    assert "Usage:" in told
    assert len(told.splitlines()) > 4


def test_many_in_the_list(local: Host) -> None:
    """``list`` shows them all, newest first, however many; ``--tenant`` narrows it down."""
    tenant, other = local.tenant(), local.tenant("Other")
    with local.app.app_context():
        local.invitations.invite("theirs@example.com", tenant_id=other)
        local.clock.tick(timedelta(seconds=1))
        made = local.invitations.invite("p0@example.com", tenant_id=tenant)
    copy(local, str(made.id), 204)
    told = fine(local, "list")
    assert re.findall(r"p(\d+)@", told) == [str(number) for number in range(204, -1, -1)]
    assert len(told.splitlines()) == 206
    assert len(fine(local, "list", "--tenant", other).splitlines()) == 1


def test_without_tenants(tmp_path: Path) -> None:
    """Where there are no tenants, none has to be named, and none can be: nobody would see what is in it."""
    with build(f"sqlite:///{tmp_path / 'plain.sqlite3'}", tenancy="none") as host:
        assert "pending" in fine(host, "invite", "guest@example.com")
        assert len(fine(host, "list").splitlines()) == 1
        for command in (["invite", "other@example.com"], ["list"], ["suppressions"], ["import", __file__]):
            said = refused(host, *command, "--tenant", "3")
            assert said == "Error: This app has no tenants. Leave out --tenant.\n"


def test_deliver(local: Host) -> None:
    """``deliver`` sends what is due, says how many, and has nothing to do afterwards."""
    tenant = local.tenant()
    local.outbox.fail_with = OSError()
    with local.app.app_context():
        for name in ("one", "two"):
            local.invitations.invite(f"{name}@example.com", tenant_id=tenant)
    assert "nothing" in fine(local, "deliver")
    local.clock.tick(timedelta(minutes=1))
    assert "2 queued" in fine(local, "deliver")
    local.outbox.fail_with = None
    local.clock.tick(timedelta(minutes=5))
    assert "2 sent" in fine(local, "deliver")
    assert len(local.outbox.messages) == 2


def test_deliver_gives_up(local: Host) -> None:
    """``deliver`` ends with status 1 where it gave a mail up, and says where to look; ``--retry-failed`` has another
    go at all of those."""
    tenant = local.tenant()
    local.outbox.fail_with = MailRefused("x@example.com")
    with local.app.app_context():
        local.invitations.invite("one@example.com", tenant_id=tenant)
    assert "failed (MailRefused)" in fine(local, "list")
    result = run(local, "deliver", "--retry-failed")
    assert (result.exit_code, result.stdout) == (1, "1 queued again\n1 failed\n")
    assert re.fullmatch(r"Error: 1 email\(s\) given up\. See [^\n]+\.\n", result.stderr), result.stderr
    local.outbox.fail_with = None
    assert fine(local, "deliver", "--retry-failed", "--batch", 50) == "1 queued again\n1 sent\n"
    assert fine(local, "deliver", "--retry-failed") == "0 queued again\nnothing was due\n"


def test_resend_confirmed(case: Case) -> None:
    """After a bounce ``resend`` refuses, and says what else to type; ``--confirm`` sends."""
    STATES["bounced"](case)
    assert "confirm" in refused(case.host, "resend", case.id)
    case.host.clock.tick(timedelta(seconds=1))
    assert "sent" in fine(case.host, "resend", case.id, "--confirm")


def test_progress_on_a_terminal(local: Host) -> None:
    """On a terminal a run shows how far it is; elsewhere it does not."""
    with local.app.app_context():
        for number in range(3):
            local.outbox.fail_with = OSError()
            local.invitations.invite(f"p{number}@example.com", tenant_id=local.tenant())
    local.outbox.fail_with = None
    local.clock.tick(timedelta(minutes=1))
    ours, theirs = pty.openpty()
    runner = local.app.test_cli_runner(**APART)
    with os.fdopen(theirs, "w") as terminal, contextlib.redirect_stderr(terminal):
        from flask_invitations.cli import _deliver_once

        with local.app.app_context():
            assert _deliver_once(threading.Event(), 1) == {"sent": 3}
    shown = b"".join(_lines_of(ours)).decode()
    os.close(ours)
    assert "Sending" in shown
    assert "100%" in shown
    assert runner.invoke(args=["invitations", "deliver"]).stderr == ""


def _lines_of(terminal: int) -> Iterator[bytes]:
    """All that was written to a terminal that nobody writes to any more: a read gives what has arrived so far."""
    with contextlib.suppress(OSError):  # so ends a terminal without a writer
        while read := os.read(terminal, 10_000):
            yield read


def test_watch_outlives_the_database(local: Host, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that finds the database gone says so and looks again; it does not end."""
    from flask_invitations.cli import _watch

    stop, asked = threading.Event(), 0

    def refuse(*_: Any) -> None:
        nonlocal asked
        asked += 1
        if asked > 6:  # one look has several tries of its own
            stop.set()
        raise sa.exc.OperationalError("", {}, Exception("database is locked"))

    with local.app.app_context():
        sa.event.listen(local.engine, "before_cursor_execute", refuse)
        try:
            assert _watch(stop, 1) == {}
        finally:
            sa.event.remove(local.engine, "before_cursor_execute", refuse)
    assert caplog.text.count("The database does not answer") == 2


def test_sweep(case: Case) -> None:
    """``sweep`` expires and purges, and says how many."""
    assert fine(case.host, "sweep") == "0 expired, 0 purged, 0 reminded\n"
    case.host.clock.tick(WEEK)
    assert fine(case.host, "sweep") == "1 expired, 0 purged, 0 reminded\n"
    case.host.clock.tick(timedelta(days=90))
    assert fine(case.host, "sweep") == "0 expired, 1 purged, 0 reminded\n"
    assert "expired" in fine(case.host, "list")
    assert "purged" in fine(case.host, "show", case.id)


# A worker in a process of its own

WORKER = """
import pathlib, sys
from tests.hosts import build

folder = pathlib.Path(__file__).parent

def mailer(message):
    with (folder / "mails.txt").open("a") as file:
        file.write(f"{message.to} {message.accept_url}\\n")

host = build(f"sqlite:///{folder / 'worker.sqlite3'}", mailer=mailer, clock=None, create_all=False)
app = host.app
"""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_watch(tmp_path: Path, sign: signal.Signals) -> None:
    """``deliver --watch`` sends what was waiting and what comes, until SIGTERM or SIGINT ends it with status 0."""
    (tmp_path / "worker.py").write_text(WORKER)
    mails = tmp_path / "mails.txt"
    with build(
        f"sqlite:///{tmp_path / 'worker.sqlite3'}", config={"INVITATIONS_DELIVERY": "queue"}, clock=None
    ) as host:
        tenant = host.tenant()
        with host.app.app_context():
            host.invitations.invite("first@example.com", tenant_id=tenant)
        command = [
            sys.executable,
            "-m",
            "flask",
            "--app",
            str(tmp_path / "worker.py"),
            "invitations",
            "deliver",
            "--watch",
        ]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            wait_for(lambda: mails.exists() and "first@example.com" in mails.read_text())
            with host.app.app_context():
                host.invitations.invite("second@example.com", tenant_id=tenant)
            wait_for(lambda: "second@example.com" in mails.read_text())
            wait_for(lambda: {row.state for row in host.rows(host.invitations.models.Delivery)} == {"sent"})
            worker.send_signal(sign)
            out, err = worker.communicate(timeout=20)
        finally:
            worker.kill()
        assert (worker.returncode, err) == (0, "")
        assert sum(map(int, re.findall(r"(\d+) sent", out))) == 2
        token = LINK.search(mails.read_text())
        assert token
        with host.app.app_context():
            assert host.invitations.accept(token[1], password=PASSWORD).user.email == "first@example.com"


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited for 30 seconds"
        time.sleep(0.05)
