"""``flask invitations ...``: the acts from the command line, as the system. Exit status 0, or 1 with one sentence."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TypeVar

import click
from flask.cli import AppGroup

from . import acts, lists, outbox
from .acts import Manager
from .clock import as_utc
from .context import Context, log
from .current import get_state
from .doctor import examine
from .errors import AlreadyInvited, AlreadyMember, TryAgain, text_of
from .imports import invite_all
from .lists import Line
from .migrations import write
from .model.states import DeliveryState
from .model.values import BulkInviteResult, InvitationInfo
from .shapes import load
from .store.statements import EVERYWHERE
from .terminal import of_unsent, said
from .traces import hidden

cli: AppGroup = AppGroup("invitations", help="Invite people, deliver their emails, and maintain the tables.")

F = TypeVar("F", bound=Callable[..., Any])

#: Seconds between two looks at an empty outbox.
POLL = 1.0


def command(name: str) -> Callable[[F], F]:
    """A command whose refusals become one sentence on stderr and exit status 1."""

    def register(run: F) -> F:
        @hidden
        @wraps(run)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return run(*args, **kwargs)
            except Exception as error:
                sentence = said(error)
                if sentence is None:
                    raise
                raise click.ClickException(sentence) from error

        cli.command(name)(guarded)
        return run

    return register


def _ctx() -> Context:
    return get_state().ctx


def _system(tenant: str | None) -> Manager:
    """The system, in one tenant or everywhere."""
    models = _ctx().models
    if tenant is None:
        return acts.system(None if models.tenant is None else EVERYWHERE)
    if models.tenant is None:
        raise click.ClickException("This app has no tenants. Leave out --tenant.")
    try:
        return acts.system(models.tenant_key(tenant))
    except ValueError:
        raise click.ClickException(f"{tenant!r} is not the id of a tenant. Check --tenant.") from None


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise click.ClickException("This is not the id of an invitation. See `flask invitations list`.") from None


def _line(one: InvitationInfo) -> str:
    mail = "no email" if one.delivery is None else str(one.delivery.state)
    if one.delivery is not None and one.delivery.error is not None:
        mail += f" ({one.delivery.error})"
    return "\t".join(
        map(
            str,
            (one.id, one.status, one.role, one.email, one.tenant_id, one.expires_at.isoformat(" ", "minutes"), mail),
        )
    )


@command("invite")
@click.argument("email")
@click.option("--role", help="The role to grant. Default: INVITATIONS_DEFAULT_ROLE.")
@click.option("--tenant", help="The id of the tenant. Required if the app has tenants.")
@click.option("--message", help="Text for the invitee, at most 1,000 characters.")
@click.option("--locale", help="The language of the email and the pages, a BCP 47 tag.")
@click.option("--expires-in", type=click.IntRange(1, 720), metavar="HOURS", help="Default: INVITATIONS_TTL.")
@click.option("--confirm", is_flag=True, help="The address is correct, although an email to it bounced.")
@click.option("--no-mail", is_flag=True, help="Send no email. Use it with --show-link.")
@click.option("--show-link", is_flag=True, help="Print the link. Anyone who reads it can accept.")
def invite_command(
    email: str, tenant: str | None, expires_in: int | None, confirm: bool, no_mail: bool, show_link: bool, **more: Any
) -> None:
    """Invite EMAIL, as the system."""
    seconds = None if expires_in is None else expires_in * 3600
    given = {"email": email, "expires_in": seconds, "mail": not no_mail, "confirm": confirm, **more}
    wanted = acts.Wanted.loaded(load(get_state().invite_body, given))
    one = acts.invite(_ctx(), by=_system(tenant), wanted=wanted, show_link=show_link)
    click.echo(_line(one))
    unsent = one.delivery and of_unsent(one.delivery)
    if unsent:
        click.echo(unsent, err=True)
    if show_link:
        click.echo(one.accept_url)


@command("import")
@click.argument("file", type=click.File("rb"), metavar="FILE.csv")
@click.option("--tenant", help="The id of the tenant. Required if the app has tenants.")
@click.option("--dry-run", is_flag=True, help="Only tell what would become of each line.")
@click.option("--result", type=click.Path(dir_okay=False), metavar="OUT.csv", help="Write a line for each person.")
def import_command(file: BinaryIO, tenant: str | None, dry_run: bool, result: str | None) -> None:
    """Invite everyone in FILE.csv, as the system. Exit with status 1 if a line was refused.

    FILE.csv has the columns email, role, message and locale, under their usual names. Use - to read from stdin. The
    command can be stopped and started again, and nobody is invited twice. Lines that are already invited, or already
    members, count as done. If there are more than 10 people, `flask invitations deliver` sends the emails.
    """
    by, counts = _system(tenant), Counter[str]()
    with _again(file) as source, _written(source, result) as write_down, _progress(source) as advance:
        sheet = lists.read(source)
        ignored = [*sheet.unused, *({"name"} & set(sheet.fields))]
        if ignored:
            click.echo(f"These columns are not used: {_visible(', '.join(ignored))}.", err=True)
        for chunk in invite_all(get_state(), by, sheet.lines, dry_run):
            for line, told in chunk:
                write_down(line, told)
            counts.update(text_of(told.error.code) if told.error else told.outcome for _, told in chunk)
            advance()
    click.echo(_summary(counts) or "The list is empty.")
    refused = counts.total() - counts["created"] - counts["requested"] - sum(counts[code] for code in _HARMLESS)
    if refused:
        raise click.ClickException(f"{refused} line(s) were refused. Correct them, then import the file again.")


#: What becomes of the lines of a list that is imported again.
_HARMLESS = (AlreadyInvited.code, AlreadyMember.code)


@contextmanager
def _again(file: BinaryIO) -> Iterator[BinaryIO]:
    """A file that can be read from its beginning more than once."""
    if file.seekable():
        yield file
        return
    with TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        yield copy


@contextmanager
def _written(source: BinaryIO, result: str | None) -> Iterator[Callable[[Line, BulkInviteResult], None]]:
    """What takes the verdicts: a file, as they come; without one, those that were refused are printed."""
    if result is None:
        yield (
            lambda line, told: None if told.error is None else click.echo("\t".join(map(_visible, _cells(line, told))))
        )
        return
    name = str(getattr(source, "name", ""))
    if os.path.exists(result) and os.path.exists(name) and os.path.samefile(result, name):
        raise click.ClickException("--result names the list itself. Choose another file.")
    file = _on_disk(open, result, "w", encoding="utf-8", newline="", buffering=1)
    try:
        writer = csv.writer(file)
        _on_disk(writer.writerow, ("line", "email", "outcome", "code", "detail", "invitation_id"))
        yield lambda line, told: _on_disk(writer.writerow, map(lists.safe, _cells(line, told)))
    finally:
        _on_disk(file.close)


def _on_disk(act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What ``act`` does to the result file: a full disk is one sentence."""
    try:
        return act(*args, **kwargs)
    except OSError as error:
        raise click.ClickException(f"--result cannot be written: {error.strerror}. Choose another file.") from error


def _visible(cell: str) -> str:
    """A cell in which nothing steers the terminal, or hides."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cell)


def _cells(line: Line, told: BulkInviteResult) -> tuple[str, ...]:
    code, detail = ("", "") if told.error is None else (text_of(told.error.code), said(told.error) or "")
    known = told.invitation.id if told.invitation is not None else getattr(told.error, "invitation_id", None)
    return str(line.number), line.fields.get("email", ""), told.outcome, code, detail, str(known or "")


@contextmanager
def _progress(source: BinaryIO) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    length = source.seek(0, os.SEEK_END)
    with click.progressbar(length=length, label="Inviting", file=sys.stderr) as bar:
        yield lambda: bar.update(source.tell() - bar.pos)


@command("list")
@click.option("--tenant", help="The id of the tenant. Default: all tenants.")
@click.option("--status", help="One of pending, accepted, declined, revoked, expired.")
def list_command(tenant: str | None, status: str | None) -> None:
    """List invitations, newest first. The columns are id, status, role, email, tenant, expiry and delivery."""
    filters = load(get_state().list_query, {"status": status} if status else {})
    by, after, more = _system(tenant), None, True
    while more:
        page, more = acts.list_page(_ctx(), by=by, limit=100, after=after, status=filters.get("status"))
        for one in page:
            click.echo(_line(one))
            after = (one.created_at, one.id)


@command("show")
@click.argument("invitation_id", metavar="ID")
def show_command(invitation_id: str) -> None:
    """Show one invitation and its audit trail."""
    by, wanted = acts.system(), _uuid(invitation_id)
    click.echo(_line(acts.get(_ctx(), by=by, invitation_id=wanted)))
    after, more = None, True
    while more:
        page, more = acts.events(_ctx(), by=by, invitation_id=wanted, after=after)
        for event in page:
            told = f"{event.type}\t{event.actor_id or '-'}\t{event.details or ''}"
            click.echo(f"  {event.at.isoformat(' ', 'seconds')}\t{told}")
            after = (event.at, event.id)


@command("resend")
@click.argument("invitation_id", metavar="ID")
@click.option(
    "--confirm",
    is_flag=True,
    help="Confirm that the address is correct after an email came back or was reported as spam.",
)
def resend_command(invitation_id: str, confirm: bool) -> None:
    """Send the email of invitation ID again, with a new link."""
    click.echo(_line(acts.resend(_ctx(), by=acts.system(), invitation_id=_uuid(invitation_id), confirm=confirm)))


@command("revoke")
@click.argument("invitation_id", metavar="ID")
def revoke_command(invitation_id: str) -> None:
    """Revoke invitation ID, so that its link no longer works."""
    click.echo(_line(acts.revoke(_ctx(), by=acts.system(), invitation_id=_uuid(invitation_id))))


@command("deliver")
@click.option("--watch", is_flag=True, help="Keep running until SIGTERM or SIGINT.")
@click.option(
    "--batch", type=click.IntRange(1, outbox.MOST), default=1, show_default=True, help="Emails to lease at a time."
)
@click.option("--retry-failed", is_flag=True, help="First, requeue the emails that were given up.")
def deliver_command(watch: bool, batch: int, retry_failed: bool) -> None:
    """Send the emails that are due. Exit with status 1 if an email was given up."""
    if retry_failed:
        click.echo(f"{outbox.retry_failed(_ctx())} queued again")
    with _until_signalled() as stop:
        ended = _watch(stop, batch) if watch else _deliver_once(stop, batch)
    click.echo(_summary(ended) or "nothing was due")
    failed = ended[DeliveryState.FAILED]
    if failed and not watch:
        raise click.ClickException(
            f"{failed} email(s) given up. See `flask invitations list`, then use --retry-failed."
        )


@contextmanager
def _until_signalled() -> Iterator[threading.Event]:
    """SIGTERM and SIGINT take effect between two emails. The current email is finished."""
    stop = threading.Event()
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _deliver_once(stop: threading.Event, batch: int) -> Counter[str]:
    """With a progress bar on a terminal."""
    deliver = partial(outbox.deliver, _ctx(), batch=batch, stop=stop.is_set)
    if not sys.stderr.isatty():
        return deliver()
    with click.progressbar(length=outbox.count_due(_ctx()), label="Sending", file=sys.stderr) as bar:
        return deliver(progress=bar.update)


def _watch(stop: threading.Event, batch: int) -> Counter[str]:
    total = Counter[str]()
    while not stop.is_set():
        try:
            total.update(outbox.deliver(_ctx(), batch=batch, stop=stop.is_set))
        except TryAgain:
            log.warning("The database does not answer. Looking again in %s s.", POLL)
        stop.wait(POLL)
    return total


def _summary(ended: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(ended.items()))


@command("sweep")
def sweep_command() -> None:
    """Expire and purge invitations, and send reminders.

    Overdue invitations become expired, old closed ones lose their personal data, and reminders go out for those that
    expire soon.
    """
    swept = acts.sweep(_ctx())
    click.echo(f"{swept.expired} expired, {swept.purged} purged, {swept.reminded} reminded")


@command("suppressions")
@click.option("--tenant", help="The id of the tenant. Default: all tenants.")
@click.option("--lift", metavar="EMAIL", help="Forget what is remembered of this address, so that it can be invited.")
def suppressions_command(tenant: str | None, lift: str | None) -> None:
    """List what is remembered of addresses that no one may invite. The columns are address, tenant, reason and time.

    An address is kept as a hash, and only the beginning of the hash is shown.
    """
    by = _system(tenant)
    if lift is not None:
        email = load(get_state().list_query, {"email": lift})["email"]
        click.echo(f"{acts.lift(_ctx(), by=by, email_key=email.key)} lifted")
        return
    for one in acts.suppressions(_ctx(), by=by):
        told = one.pseudonym[:12], one.tenant_id, one.reason, as_utc(one.created_at).isoformat(" ", "seconds")
        click.echo("\t".join(map(str, told)))


@command("migrations")
@click.option("--mark", multiple=True, metavar="STEP", help="Record STEP as done without creating a table.")
def migrations_command(mark: tuple[str, ...]) -> None:
    """Write the missing steps into your migration tree. `flask db upgrade` applies them."""
    written = write(_ctx().models, mark=mark)
    for path in written:
        click.echo(path)
    click.echo("Now run `flask db upgrade`." if written else "Nothing is missing.")


@command("doctor")
def doctor_command() -> None:
    """Say what is right with the app, what will hurt, and how to fix it. Exit with status 1 if something will hurt."""
    found = dict(examine(_ctx()))
    right = [name for name, wrong in found.items() if not wrong]
    if right:
        click.echo(f"right: {', '.join(right)}")
    told = [f"{name}: {each}" for name, wrong in found.items() for each in wrong]
    for line in told:
        click.echo(line)
    if told:
        raise click.ClickException(
            f"{len(told)} thing(s) will hurt. Fix them, then run `flask invitations doctor` again."
        )
