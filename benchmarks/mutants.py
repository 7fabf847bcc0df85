"""Is every guard missed where it is taken out?

    .venv/bin/python -m benchmarks.mutants [PART ...]

Each mutant changes one guard of a copy of the package, and the tests of what it guards are run against that copy, on
SQLite. A mutant that no test notices has *survived*: there is no test of that guard, or it guards nothing. With words,
only some mutants are tried: those of a row of the list of threats (``A1#``), of a file (``tokens.py``), or what a file
has besides the rows (``"guard# tokens.py"``). Nothing of the working copy is
touched.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "flask_invitations"
#: How many run at once.
AT_ONCE = 2
#: Only on SQLite; of more than one row, not what is about processes.
CHOSEN, BRIEF = "not postgresql and not mariadb", " and not killed and not processes"
#: Said of a mutant whose text is not there any more, or is there more than once: write it anew.
STALE = "stale"
#: The exit status of a run that tried nothing.
BROKEN = 70
#: What takes longest to import, and is nobody's mutant: each run is a fork of a process that has it already.
WARM = ("pytest", "sqlalchemy.orm", "flask_sqlalchemy", "flask_babel", "marshmallow", "email_validator")

THREATS = tuple(sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/threats").glob("test_?_*.py")))
BINDING, LIFE, RIGHTS, LEAKS, EMAIL, PEOPLE, TELLING, BROWSER, LOAD, POST, KEPT, FAULTS = THREATS
RULES = ("tests/unit/test_rules.py", "tests/acts/test_rules.py", RIGHTS, BINDING)
STORE = (
    LIFE,
    RIGHTS,
    POST,
    FAULTS,
    "tests/acts/test_lifecycle.py",
    "tests/acts/test_outbox.py",
    "tests/acts/test_sweep.py",
)
STORE += ("tests/acts/test_report.py", "tests/http/test_queries.py", "tests/faults/test_order.py")
STORE += ("tests/faults/test_engine.py", "tests/faults/test_people.py", "tests/faults/test_trail.py")
TOKENS = ("tests/unit/test_tokens.py", "tests/hygiene/test_keys.py", "tests/hygiene/test_masks.py", LOAD, LEAKS)
TOKENS += ("tests/faults/test_secrets.py", "tests/faults/test_apps.py", "tests/pages/test_desk.py")
ADDRESSES = ("tests/unit/test_addresses.py", PEOPLE, "tests/http/test_binding.py", "tests/faults/test_mailboxes.py")


@dataclass(frozen=True)
class Mutant:
    """One change.

    :param old: a text that stands in ``file`` once; ``new`` takes its place.
    :param tests: the files of those that should notice, which are run first; then come the tests of threats.
    :param row: of the list of threats: then a test of that row must notice, whatever others do.
    :param also: another change, where one guard stands behind another.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()
    row: str = ""
    also: tuple[str, str, str] | None = None

    @property
    def changes(self) -> Sequence[tuple[str, str, str]]:
        return [(self.file, self.old, self.new), *([self.also] if self.also else [])]

    def __str__(self) -> str:
        return f"{self.row} {self.file}: {_brief(self.old)} -> {_brief(self.new)}".strip()


def _brief(text: str) -> str:
    return " ".join(text.split())[:80]


def rules() -> Iterator[Mutant]:
    """Each rule answers nothing; each set loses each of its rules in turn."""
    file = "acts/rules.py"
    for condition in (
        "return facts.ended",
        "return None if facts.tenant_active else TenantInactive()",
        "return None if facts.tenant_active else InvitationWithdrawn()",
        "return None if facts.inviter_there else InvitationWithdrawn()",
        "return None if facts.inviter_may_grant else RoleNotAllowed()",
        "return None if facts.may_grant else RoleNotAllowed()",
        "return None if facts.grants_allowed else GrantsNotAllowed()",
        "return facts.address_refused",
        "return AddressSuppressed() if facts.suppressed else None",
        "return MailBounced() if facts.bounced else None",
        "return AlreadyMember() if facts.is_member else None",
        "return account_joins(facts) if facts.tells_of_accounts else None",
        "return AccountExists(_CANNOT_JOIN, joins=False) if outside and not facts.can_join else None",
        "return AccountExists() if facts.has_account and facts.session is Session.NOBODY else None",
        "return AccountUnverified() if facts.has_account and not facts.verified else None",
        "return facts.gate",
        "return None if facts.holder is None else AlreadyInvited(facts.holder)",
        "return None if facts.has_room else TooManyPending()",
        "return NoSeats() if facts.seats is not None and facts.seats < 1 else None",
    ):
        yield Mutant(file, f"    {condition}\n", "    return None\n", RULES)
    yield Mutant(file, "        return WrongAccount()\n", "        return None\n", RULES)
    for old, new in (
        ("RESEND: Sequence[Rule] = (live, *MAKE)", "RESEND: Sequence[Rule] = (*MAKE,)"),
        (
            "(live, tenant_active, inviter_there, inviter_ceiling, suppression,",
            "(tenant_active, inviter_there, inviter_ceiling, suppression,",
        ),
        (
            "(live, tenant_active, inviter_there, inviter_ceiling, suppression,",
            "(live, inviter_there, inviter_ceiling, suppression,",
        ),
        (
            "(live, tenant_active, inviter_there, inviter_ceiling, suppression,",
            "(live, tenant_active, inviter_ceiling, suppression,",
        ),
        (
            "(live, tenant_active, inviter_there, inviter_ceiling, suppression,",
            "(live, tenant_active, inviter_there, suppression,",
        ),
        ("suppression, member, joinable)", "suppression, joinable)"),
        ("suppression, member, joinable)", "suppression, member)"),
        (
            "OPENS: Sequence[Rule] = (live, tenant_there, inviter_there)",
            "OPENS: Sequence[Rule] = (tenant_there, inviter_there)",
        ),
        (
            "OPENS: Sequence[Rule] = (live, tenant_there, inviter_there)",
            "OPENS: Sequence[Rule] = (live, inviter_there)",
        ),
        ("OPENS: Sequence[Rule] = (live, tenant_there, inviter_there)", "OPENS: Sequence[Rule] = (live, tenant_there)"),
        ("    inviter_ceiling,\n    session,", "    session,"),
        ("    session,\n    verified,\n    member,", "    verified,\n    member,"),
        ("    verified,\n    member,\n    account_joins,", "    member,\n    account_joins,"),
        ("    member,\n    account_joins,\n    gate,", "    account_joins,\n    gate,"),
        ("    account_joins,\n    gate,\n    seat,", "    gate,\n    seat,"),
        ("    gate,\n    seat,\n)\n#: Why", "    seat,\n)\n#: Why"),
        ("    member,\n    joinable,\n    free,", "    joinable,\n    free,"),
        ("    bounce,\n    member,\n    joinable,", "    member,\n    joinable,"),
        ("    address,\n    suppression,", "    suppression,"),
        ("    tenant_active,\n    ceiling,", "    ceiling,"),
        ("    ceiling,\n    grants,", "    grants,"),
        ("    free,\n    room,", "    room,"),
    ):
        yield Mutant(file, old, new, RULES)


def facts() -> Iterator[Mutant]:
    file, tests = (
        "acts/facts.py",
        (
            RIGHTS,
            BINDING,
            LIFE,
            "tests/acts/test_rules.py",
            "tests/http/test_scope.py",
            "tests/faults/test_accept.py",
            "tests/faults/test_sqlite_ids.py",
            "tests/http/test_binding.py",
        ),
    )
    for old, new in (
        ("may_grant=grant(each.role),", "may_grant=True,"),
        ("address_refused=_refusal(ctx.hooks.check_invitee, each),", "address_refused=None,"),
        ("bounced=before.bounced and not confirmed,", "bounced=before.bounced,"),
        ("bounced=before.bounced and not confirmed,", "bounced=False,"),
        ("holder=before.live(now),", "holder=None,"),
        ("if status not in (Status.PENDING, Status.EXPIRED) or row.email_key is None:", "if row.email_key is None:"),
        (
            "if status not in (Status.PENDING, Status.EXPIRED) or row.email_key is None:",
            "if status not in (Status.PENDING, Status.EXPIRED):",
        ),
        ("is_member = account is not None and ctx.hooks.role_of(account, tenant_id) is not None", "is_member = False"),
        ("tenant_active=active(row.tenant_id) and _is_same_tenant(ctx, row),", "tenant_active=active(row.tenant_id),"),
        (
            "active = ctx.hooks.tenant_is_active(found.row.tenant_id) and _is_same_tenant(ctx, found.row)",
            "active = True",
        ),
        (
            "active = ctx.hooks.tenant_is_active(found.row.tenant_id) and _is_same_tenant(ctx, found.row)",
            "active = ctx.hooks.tenant_is_active(found.row.tenant_id)",
        ),
        ("if inviter is None or not _is_same_inviter(row, inviter):", "if inviter is None:"),
        (
            'if inviter is None or not _is_same_inviter(row, inviter):\n        return {"inviter_there": False, "inviter_may_grant": False}',
            'if inviter is None:\n        return {"inviter_there": True, "inviter_may_grant": True}',
        ),
        ("is_member = ctx.hooks.role_of(inviter, row.tenant_id) is not None\n", "is_member = True\n"),
        (
            "may = ctx.hooks.can_invite(inviter, row.tenant_id, row.role)",
            "may = ctx.hooks.can_invite(inviter, row.tenant_id, None)",
        ),
        ("if row.token_hash != link.hash and status in (Status.PENDING, Status.EXPIRED):", "if False:"),
        ("return None if status == Status.PENDING else ENDED[status]()", "return None"),
        (
            "facts = replace(facts, verified=ctx.hooks.email_is_verified(account))",
            "facts = replace(facts, verified=True)",
        ),
        ("if session is Session.OWNER and own is None:", "if False:"),
        ("if ctx.hooks.check_acceptance is not None and obstacle(ACCEPT, facts) is None:", "if False:"),
        ("account = ctx.hooks.find_user(email_key)\n", "account = None\n"),
        ("return Session.OWNER if owner else Session.OTHER", "return Session.OWNER"),
        ('if key_of(getattr(user, "email", None)) not in (None, email_key):', "if False:"),
        (
            "return InvitationReplaced()\n    return None if found.row.email_key",
            "pass\n    return None if found.row.email_key",
        ),
        ("return None if found.row.email_key is not None else InvitationNotFound()", "return None"),
    ):
        yield Mutant(file, old, new, tests)


def acts() -> Iterator[Mutant]:
    """Where rules are asked, and again."""
    tests = (
        BINDING,
        LIFE,
        RIGHTS,
        "tests/acts/test_rules.py",
        "tests/faults/test_accept.py",
        "tests/acts/test_faults.py",
        "tests/acts/test_lifecycle.py",
    )
    for file, old, new in (
        (
            "acts/answer.py",
            "        rules.first(rules.ACCEPT, facts)\n        if self.broken",
            "        if self.broken",
        ),
        ("acts/answer.py", "        self._look_at_people(looked, account)\n", ""),
        ("acts/answer.py", "rules.first(rules.OPENS, opening(ctx, found, link, now))\n        offer =", "offer ="),
        (
            "acts/answer.py",
            "            self.ctx.hooks.validate_password(self.password.reveal(), info)\n",
            "            pass\n",
        ),
        ("acts/answer.py", "        elif self.ctx.config.password_required:", "        elif False:"),
        (
            "acts/answer.py",
            "    mine = by.id is not None and row.accepted_by_id == by.id\n",
            "    mine = row.accepted_by_id == by.id\n",
        ),
        ("acts/answer.py", "    mine = by.id is not None and row.accepted_by_id == by.id\n", "    mine = True\n"),
        (
            "acts/answer.py",
            "return row.status == Status.ACCEPTED and mine and row.token_hash == link.hash",
            "return row.status == Status.ACCEPTED and mine",
        ),
        ("acts/answer.py", "        close_older(ctx, [row], self.by, now)\n", ""),
        ("acts/answer.py", "        refuse_another(user, looked.info.email_key)\n", ""),
        ("acts/manage.py", "        rules.first(rules.RESEND, case.facts)\n", ""),
        ("acts/manage.py", "    ctx.store.mails.cancel([row], InvitationReplaced.code)\n", ""),
        ("acts/manage.py", "    ctx.store.mails.cancel(rows, InvitationRevoked.code)\n", ""),
        (
            "acts/manage.py",
            "        if found.row.status == Status.ACCEPTED:\n            raise InvitationAccepted\n",
            "",
        ),
        ("acts/manage.py", "        return _revoke(ctx, by, [found], now)[0]", "        return found.info(now)"),
        ("acts/invite.py", "        first(MAKE, case.facts)\n", ""),
        (
            "acts/callers.py",
            "    if not ctx.hooks.can_invite(by.user, tenant_id, None):\n        raise Forbidden\n",
            "",
        ),
        (
            "acts/callers.py",
            "    if by.user is None:\n        raise Unauthenticated\n",
            "    if by.user is None:\n        return system(tenant_id, by.origin)\n",
        ),
        ("acts/callers.py", "return by.user is None or ctx.hooks.can_invite(by.user, tenant_id, role)", "return True"),
        (
            "acts/fresh.py",
            "    if row.link_requested_at is not None and as_utc(row.link_requested_at) > now - PAUSE:\n        return\n",
            "",
        ),
        (
            "acts/fresh.py",
            "        if found is not None and found.row.token_hash == link.hash:",
            "        if found is not None:",
        ),
        (
            "acts/fresh.py",
            "    if row.status_at(now) != Status.EXPIRED or (asks and row.invited_by_id is None):",
            "    if False:",
        ),
        (
            "acts/send.py",
            "            refusal = obstacle(SEND, next(facts))\n",
            "            next(facts)\n            refusal = None\n",
        ),
    ):
        yield Mutant(file, old, new, tests)


def store() -> Iterator[Mutant]:
    """The WHERE of each guarded statement."""
    file = "store/invitations.py"
    for old, new in (
        (
            "            if self._execute(update.values(raised)) != len(chunk):\n                raise Stale\n",
            "            self._execute(update.values(raised))\n",
        ),
        (".where(held, *self._as_found(chunk), *guards)", ".where(held, *self._as_found(chunk))"),
        (".where(held, *self._as_found(chunk), *guards)", ".where(held, self._as_found(chunk)[0], *guards)"),
        ("        guards = [column.status.in_(move.before)]\n", "        guards: list[Any] = []\n"),
        (
            "            guards.append(column.expires_at > now if move.on_time else column.expires_at <= now)\n",
            "            pass\n",
        ),
        (
            "guards.append(column.expires_at > now if move.on_time",
            "guards.append(column.expires_at >= now if move.on_time",
        ),
        (
            'raised = {**values, "version": self._columns.version + 1}',
            'raised = {**values, "version": self._columns.version}',
        ),
        (".where(opens, self._columns.email_key.is_not(None))", ".where(opens)"),
        (
            "opens = sa.or_(self._columns.token_hash == token_hash, self._columns.previous_token_hash == token_hash)",
            "opens = self._columns.token_hash == token_hash",
        ),
        ("return {True: anywhere, False: anywhere.where(self._in_tenant)}", "return {True: anywhere, False: anywhere}"),
        ("        where = [] if anywhere else [self._in_tenant]\n", "        where: list[Any] = []\n"),
        (
            "            return is_exactly(column.email_key, value)\n",
            "            return column.email_key.like(value)\n",
        ),
        ('    for special in "/%_":\n        part = part.replace(special, f"/{special}")\n', ""),
        (
            "return sa.and_(column.status == Status.PENDING, column.expires_at > now)",
            "return column.status == Status.PENDING",
        ),
        (
            "where = (column.status.in_(OPEN), sa.or_(by, to), *self._where(tenant_id is EVERYWHERE, ()))",
            "where = (column.status.in_(OPEN), sa.or_(by, to))",
        ),
        (
            "where = (column.status.in_(OPEN), sa.or_(by, to), *self._where(tenant_id is EVERYWHERE, ()))",
            "where = (sa.or_(by, to), *self._where(tenant_id is EVERYWHERE, ()))",
        ),
        (
            "old = sa.and_(column.status != Status.PENDING, column.closed_at <= closed_before)",
            "old = column.closed_at <= closed_before",
        ),
        ("return self._locked(sa.and_(old, column.email_key.is_not(None)), limit)", "return self._locked(old, limit)"),
        (
            "return self._locked(sa.and_(column.status == Status.PENDING, column.expires_at <= now), limit)",
            "return self._locked(column.expires_at <= now, limit)",
        ),
        ("soon, column.reminded_at.is_(None)), limit)", "soon), limit)"),
        ("        self.events.forget([row.id for row in rows])\n", ""),
        ('        closes = {"pending_key": None, "closed_at": now}', '        closes = {"closed_at": now}'),
    ):
        yield Mutant(file, old, new, STORE)
    for old, new in (
        (
            "mine = (mail.id == delivery_id, mail.fence == fence, mail.state == DeliveryState.SENDING)",
            "mine = (mail.id == delivery_id, mail.state == DeliveryState.SENDING)",
        ),
        (
            "mine = (mail.id == delivery_id, mail.fence == fence, mail.state == DeliveryState.SENDING)",
            "mine = (mail.id == delivery_id, mail.fence == fence)",
        ),
        (
            "return by_key(sa.update(self._table)).where(still_due).values(**lease)",
            "return by_key(sa.update(self._table)).values(**lease)",
        ),
        (
            "            return sa.and_(self._table.c.state == state, due <= now, ours)",
            "            return sa.and_(self._table.c.state == state, ours)",
        ),
        (
            "            return sa.and_(self._table.c.state == state, due <= now, ours)",
            "            return sa.and_(self._table.c.state == state, due <= now)",
        ),
        (
            "            return sa.and_(self._table.c.state == state, due <= now, ours)",
            "            return sa.and_(due <= now, ours)",
        ),
        (
            '.where(mail.state == DeliveryState.SENDING, mail.fence == sa.bindparam("held"))\n\n    @cached_property\n    def _settle',
            ".where(mail.state == DeliveryState.SENDING)\n\n    @cached_property\n    def _settle",
        ),
        (
            '.where(mail.state == DeliveryState.SENDING, mail.fence == sa.bindparam("held"))\n\n    @cached_property\n    def _settle',
            '.where(mail.fence == sa.bindparam("held"))\n\n    @cached_property\n    def _settle',
        ),
        ("self._cancel(rows, why, self.models.Delivery.state == DeliveryState.QUEUED)", "self._cancel(rows, why)"),
        (
            "        still = (mail.id == found.mail.id, mail.state.in_(before))\n",
            "        still = (mail.id == found.mail.id,)\n",
        ),
        (
            "        failed = sa.update(mail).where(mail.state == DeliveryState.FAILED, self._is_ours())\n",
            "        failed = sa.update(mail).where(mail.state != DeliveryState.SENDING, self._is_ours())\n",
        ),
        (
            '        held = (mail.id == sa.bindparam("id"), mail.state == DeliveryState.SENDING, mail.fence == sa.bindparam("held"))',
            '        held = (mail.id == sa.bindparam("id"), mail.state == DeliveryState.SENDING)',
        ),
        ("attempts=self._table.c.attempts - 1,", "attempts=self._table.c.attempts,"),
        ("self._cancel(rows, why, in_hand, mail.kind.not_in(TO_INVITER))", "self._cancel(rows, why, in_hand)"),
    ):
        yield Mutant("store/deliveries.py", old, new, STORE)
    for file, old, new in (
        (
            "store/statements.py",
            '        return tenant_id == sa.bindparam("tenant_id", type_=tenant_id.type)',
            "        return sa.true()",
        ),
        ("store/histories.py", "self.rows[-1].number + 1 if self.rows else 1", "1"),
        ("store/histories.py", "return max(row.link_number for row in self.rows) + 1 if self.rows else 1", "return 1"),
        (
            "store/histories.py",
            "return statement.select_from(both).where(self._in_tenant, to)",
            "return statement.select_from(both).where(to)",
        ),
        (
            "store/histories.py",
            "return sa.select(ours).join(newer, same).where(these, older.status.in_(OPEN))",
            "return sa.select(ours).join(newer, same).where(these)",
        ),
        (
            "store/histories.py",
            "before = sa.and_(older.number <= newer.c.number, older.id != newer.c.id)",
            "before = older.id != newer.c.id",
        ),
        (
            "store/histories.py",
            "same_tenant = newer.c.tenant_id == older.tenant_id if self.models.tenant is not None else sa.true()",
            "same_tenant = sa.true()",
        ),
        ("store/histories.py", "return not self.rows or self.rows[-1].id == row.id", "return True"),
        (
            "store/events.py",
            "        if self._execute(again) == 0:\n",
            "        if self._execute(again) == 0 or True:\n",
        ),
        (
            "store/events.py",
            '**(values if about.email_key is not None else {"actor_id": values.get("actor_id")}),',
            "**values,",
        ),
        ("store/hosts.py", '        self._unit.check("create_user, or join,")\n', ""),
        (
            "model/tables.py",
            'return hashlib.sha256(f"{tenant_id}\\0{email_key}".encode()).hexdigest()',
            'return hashlib.sha256(f"{email_key}".encode()).hexdigest()',
        ),
        (
            "model/states.py",
            "ACCEPT = Move((Status.PENDING,), Status.ACCEPTED, EventType.ACCEPTED, on_time=True)",
            "ACCEPT = Move((Status.PENDING,), Status.ACCEPTED, EventType.ACCEPTED)",
        ),
        (
            "model/states.py",
            "DECLINE = Move((Status.PENDING,), Status.DECLINED, EventType.DECLINED, on_time=True)",
            "DECLINE = Move(OPEN, Status.DECLINED, EventType.DECLINED)",
        ),
        (
            "model/states.py",
            "EXPIRE = Move((Status.PENDING,), Status.EXPIRED, EventType.EXPIRED, on_time=False)",
            "EXPIRE = Move((Status.PENDING,), Status.EXPIRED, EventType.EXPIRED)",
        ),
    ):
        yield Mutant(file, old, new, STORE)


def tokens() -> Iterator[Mutant]:
    file = "tokens.py"
    for old, new in (
        (
            "return Token(text) if isinstance(text, str) and _SHAPE.fullmatch(text) else None",
            "return Token(text) if isinstance(text, str) else None",
        ),
        (
            "return Token(text) if isinstance(text, str) and _SHAPE.fullmatch(text) else None",
            "return Token(text) if isinstance(text, str) and _SHAPE.match(text) else None",
        ),
        ("return hashlib.sha256(self._bytes).hexdigest()", "return hashlib.md5(self._bytes).hexdigest()"),
        ("        return hashlib.sha256(self._bytes).hexdigest()", "        return self._bytes.decode()"),
        (
            "    def __repr__(self) -> str:\n        return _MASK",
            "    def __repr__(self) -> str:\n        return self.reveal()",
        ),
        (
            "    def __format__(self, spec: str) -> str:\n        return _MASK",
            "    def __format__(self, spec: str) -> str:\n        return self.reveal()",
        ),
        ("return type(self), (_MASK,)", "return type(self), (self.reveal(),)"),
        ("    return _RUN.sub(_MASK, text)", "    return _SHAPE.sub(_MASK, text)"),
        ("        nonce = secrets.token_bytes(32)\n", "        nonce = secrets.token_bytes(2)\n"),
        (
            "return nonce.hex(), self._sign(self._signers[0], nonce)",
            "return nonce.hex(), self._sign(self._signers[-1], nonce)",
        ),
        (
            "            if secrets.compare_digest(token.hash, token_hash):\n                return token\n        return None",
            "            return token\n        return None",
        ),
        ("        for signer in self._signers:\n", "        for signer in self._signers[:1]:\n"),
        ("return -self.AHEAD <= age <= self.MAX_AGE and secrets", "return age <= self.MAX_AGE and secrets"),
        ("return -self.AHEAD <= age <= self.MAX_AGE and secrets", "return -self.AHEAD <= age and secrets"),
        (" and secrets.compare_digest(made_for, self._fold(purpose).encode())", ""),
        ('        salt = f"{_FORM_SALT}:{whose}"\n', "        salt = _FORM_SALT\n"),
        ("newest_last: list[Any] = list(reversed(keys))", "newest_last: list[Any] = list(keys)"),
        (
            "    return Maker(_short(accept_url.encode()), [_short(_derived(key)) for key in keys])",
            '    return Maker("", [_short(_derived(key)) for key in keys])',
        ),
        (
            "        except Exception:  # what cannot be looked at is not shown\n",
            "        except ZeroDivisionError:  # what cannot be looked at is not shown\n",
        ),
        ("    error = record.exc_info[1] if record.exc_info else None\n", "    error = None\n"),
    ):
        yield Mutant(file, old, new, TOKENS)


def addresses() -> Iterator[Mutant]:
    file = "addresses.py"
    for old, new in (
        ('    typed = unicodedata.normalize("NFC", text.strip())\n', "    typed = text.strip()\n"),
        ('    if len(typed.encode("utf-8", "surrogatepass")) > MAX_ADDRESS:\n', "    if False:\n"),
        (
            '    local = unicodedata.normalize("NFC", parts.local_part.lower())\n',
            '    local = unicodedata.normalize("NFC", parts.local_part)\n',
        ),
        (
            '    local = unicodedata.normalize("NFC", parts.local_part.lower())\n',
            '    local = unicodedata.normalize("NFKC", parts.local_part.casefold())\n',
        ),
        ('    key = f"{local}@{parts.ascii_domain}"\n', '    key = f"{local}@{parts.domain}"\n'),
        ("    if len(local.encode()) > MAX_LOCAL or len(key.encode()) > MAX_ADDRESS:\n", "    if False:\n"),
        (
            '    if "." not in domain or domain not in (parts.domain, parts.ascii_domain):\n',
            "    if domain not in (parts.domain, parts.ascii_domain):\n",
        ),
        (
            '    if "." not in domain or domain not in (parts.domain, parts.ascii_domain):\n',
            '    if "." not in domain:\n',
        ),
        (
            "    if _ROUTE.search(local) or _UNSEEN.search(local) or _imitates(local):\n",
            "    if _UNSEEN.search(local) or _imitates(local):\n",
        ),
        (
            "    if _ROUTE.search(local) or _UNSEEN.search(local) or _imitates(local):\n",
            "    if _ROUTE.search(local) or _imitates(local):\n",
        ),
        (
            "    if _ROUTE.search(local) or _UNSEEN.search(local) or _imitates(local):\n",
            "    if _ROUTE.search(local) or _UNSEEN.search(local):\n",
        ),
        ("return f\"{local}@{domain if domain.isascii() else self.key.rpartition('@')[2]}\"", "return self.key"),
    ):
        yield Mutant(file, old, new, ADDRESSES)


#: What a row of the list of threats is guarded by; without it, a test of that row fails.
ROWS: Sequence[tuple[str, str, str, str]] = (
    (
        "A1",
        "acts/rules.py",
        "return AccountUnverified() if facts.has_account and not facts.verified else None",
        "return None",
    ),
    ("A2", "acts/facts.py", "verified=ctx.hooks.email_is_verified(account)", "verified=True"),
    ("A4", "acts/rules.py", "        return WrongAccount()\n", "        return None\n"),
    (
        "A5",
        "acts/rules.py",
        "return AccountExists() if facts.has_account and facts.session is Session.NOBODY else None",
        "return None",
    ),
    (
        "A7",
        "store/invitations.py",
        "return self._people.invitations().where(opens, self._columns.email_key.is_not(None))",
        "return self._people.invitations().where(sa.or_(opens, sa.true()))",
    ),
    (
        "A8",
        "web/pages.py",
        'candidates(request.form.get("token", ""))',
        'candidates(request.values.get("t") or request.form.get("token", ""))',
    ),
    (
        "A9",
        "defaults.py",
        '            columns["tenant_id"] = invitation.tenant_id\n',
        '            columns["tenant_id"] = (invitation.tenant_id or 0) + 1\n',
    ),
    (
        "A10",
        "mail/compose.py",
        "    if found is None or not (to_inviter or found.key == info.email_key):\n",
        "    if found is None:\n",
    ),
    (
        "A11",
        "tokens.py",
        "return Token(text) if isinstance(text, str) and _SHAPE.fullmatch(text) else None",
        "return Token(str(text))",
    ),
    ("A12", "acts/rules.py", "        return WrongAccount()\n", "        return None\n"),
    (
        "A13",
        "web/api.py",
        "    return _answer(answers.dump_acceptance(acceptance), ",
        '    return _answer({**answers.dump_acceptance(acceptance), "key": given["token"].reveal()}, ',
    ),
    (
        "A14",
        "acts/rules.py",
        "return AccountUnverified() if facts.has_account and not facts.verified else None",
        "return None",
    ),
    (
        "A15",
        "acts/manage.py",
        '        "token_hash": token.hash,\n        "previous_token_hash": row.token_hash,',
        '        "token_hash": token.hash,\n        "previous_token_hash": None,',
    ),
    ("A16", "acts/rules.py", "    return facts.gate\n", "    return None\n"),
    ("B1", "model/tables.py", "as_utc(self.expires_at) <= now:", "False:"),
    ("B2", "acts/answer.py", "    mine = by.id is not None and row.accepted_by_id == by.id\n", "    mine = True\n"),
    (
        "B4",
        "model/states.py",
        "ACCEPT = Move((Status.PENDING,), Status.ACCEPTED,",
        "ACCEPT = Move((Status.PENDING,), Status.PENDING,",
    ),
    (
        "B5",
        "acts/manage.py",
        "    nonce, token = ctx.mint.new()\n",
        "    nonce, token = row.token_nonce, ctx.mint.recover(row.token_nonce, row.token_hash)\n",
    ),
    (
        "B6",
        "model/tables.py",
        '            sa.UniqueConstraint("token_hash", name=conv("uq_user_invitations_token_hash")),\n',
        "",
    ),
    (
        "B7",
        "store/invitations.py",
        "            if self._execute(update.values(raised)) != len(chunk):\n                raise Stale\n",
        "            self._execute(update.values(raised))\n",
    ),
    (
        "B9",
        "acts/manage.py",
        "        if found.row.status == Status.ACCEPTED:\n            raise InvitationAccepted\n",
        "",
    ),
    (
        "B10",
        "shapes.py",
        "        if not MIN_TTL.total_seconds() <= seconds <= MAX_TTL.total_seconds():\n",
        "        if False:\n",
    ),
    (
        "B12",
        "acts/answer.py",
        "            ctx.store.events.count(found.row",
        "            ctx.store.move(found.row, DECLINE, now)\n            ctx.store.events.count(found.row",
    ),
    ("C1", "defaults.py", "return role is None or (role in rank and rank[role] <= rank[own])", "return True"),
    ("C2", "acts/manage.py", "        rules.first(rules.RESEND, case.facts)\n", ""),
    ("C3", "acts/rules.py", "return None if facts.inviter_may_grant else RoleNotAllowed()", "return None"),
    ("C4", "defaults.py", "        if own not in config.admin_roles:\n", '        if own != "admin":\n'),
    (
        "C5",
        "acts/callers.py",
        "    if not ctx.hooks.can_invite(by.user, tenant_id, None):\n        raise Forbidden\n",
        "",
    ),
    (
        "C6",
        "defaults.py",
        "self._words.get(invitation.role, invitation.role)",
        '(invitation.details or {}).get("role", invitation.role)',
    ),
    (
        "C7",
        "store/invitations.py",
        "return {True: anywhere, False: anywhere.where(self._in_tenant)}",
        "return {True: anywhere, False: anywhere}",
    ),
    (
        "C8",
        "acts/callers.py",
        "    if not ctx.hooks.can_invite(by.user, tenant_id, None):\n        raise Forbidden\n",
        "",
    ),
    ("C9", "acts/rules.py", "return None if facts.inviter_there else InvitationWithdrawn()", "return None"),
    ("C10", "acts/rules.py", "return None if facts.tenant_active else InvitationWithdrawn()", "return None"),
    (
        "C11",
        "store/invitations.py",
        '    for special in "/%_":\n        part = part.replace(special, f"/{special}")\n',
        "",
    ),
    ("C12", "shapes.py", "        unknown = RAISE\n\n\nclass Text", "        unknown = EXCLUDE\n\n\nclass Text"),
    ("C13", "acts/answer.py", "        rules.first(rules.OPENS, opened)\n", ""),
    ("D1", "web/pages.py", '    "Referrer-Policy": "no-referrer",\n', ""),
    ("D2", "tokens.py", "        try:\n            _redact_record(record)\n", "        try:\n            pass\n"),
    (
        "D3",
        "web/pages.py",
        '    return redirect(url_for("invitations.accepted"), 303)',
        '    return redirect(url_for("invitations.accepted") + "?" + token.reveal(), 303)',
    ),
    (
        "D4",
        "web/api.py",
        "Response(redact(json.dumps(error.problem()))",
        'Response(json.dumps({**error.problem(), "sent": request.get_data(as_text=True)})',
    ),
    (
        "D5",
        "acts/invite.py",
        "    return replace(info, accept_url=ctx.config.link(token.reveal())) if row.link_shown else info",
        "    return replace(info, accept_url=ctx.config.link(token.reveal()))",
    ),
    (
        "D6",
        "outbox/mails.py",
        "**({} if queued else _leased(held)))",
        "**({} if queued else _leased(held)), last_error=postings[0].token.reveal())",
    ),
    (
        "D7",
        "tokens.py",
        "        return hashlib.sha256(self._bytes).hexdigest()",
        "        return self._bytes.decode()",
    ),
    ("D8", "web/wire.py", '    answer.headers["Cache-Control"] = "no-store"\n', ""),
    (
        "E1",
        "config.py",
        '    if origin.scheme != "https" and origin.host not in LOOPBACK:\n        _fail(key, "must start with https:// (http:// is for localhost only)")\n    return f"',
        '    return f"',
    ),
    ("E2", "languages/plain.py", '    return _JOINT.sub(rf"\\g<0>{WORD_JOINER}", text)', "    return text"),
    (
        "E6",
        "web/pages.py",
        '    return redirect(url_for("invitations.accepted"), 303)',
        '    return redirect(request.args.get("next") or url_for("invitations.accepted"), 303)',
    ),
    ("E7", "mail/smtp.py", "ssl.create_default_context()", "ssl._create_unverified_context()"),
    (
        "F1",
        "addresses.py",
        '    local = unicodedata.normalize("NFC", parts.local_part.lower())\n',
        '    local = unicodedata.normalize("NFKC", parts.local_part.casefold().upper().lower())\n',
    ),
    (
        "F2",
        "addresses.py",
        '    if "." not in domain or domain not in (parts.domain, parts.ascii_domain):\n',
        '    if "." not in domain:\n',
    ),
    (
        "F3",
        "addresses.py",
        "    if _ROUTE.search(local) or _UNSEEN.search(local) or _imitates(local):\n",
        "    if _UNSEEN.search(local) or _imitates(local):\n",
    ),
    ("F4", "addresses.py", "parts.local_part.lower())", "parts.local_part)"),
    ("F5", "addresses.py", "parts.local_part.lower())", 'parts.local_part.lower().partition("+")[0].replace(".", ""))'),
    (
        "G1",
        "acts/rules.py",
        "return account_joins(facts) if facts.tells_of_accounts else None",
        "return account_joins(facts)",
    ),
    (
        "G2",
        "acts/answer.py",
        "        rules.first(rules.ACCEPT, facts)\n        if self.broken",
        "        if self.broken",
    ),
    (
        "H1",
        "web/api.py",
        "    acceptance = acts.accept(ctx, by=caller(ctx), **given)\n",
        '    acceptance = acts.accept(ctx, by=caller(ctx), **given)\n    import flask\n    flask.session["user"] = 1\n',
    ),
    (
        "H2",
        "web/wire.py",
        "    if call.method not in SAFE and is_from_elsewhere(call.environ, _own, _trusted, page=page):\n        raise CrossSite\n",
        "    pass\n",
    ),
    ("H3", "web/pages.py", "; frame-ancestors 'none'", ""),
    (
        "I1",
        "shapes.py",
        "def load(schema: Schema, given: Any) -> dict[str, Any]:",
        "def load(schema: Schema, given: Any) -> dict[str, Any]:\n    given = given[0] if isinstance(given, list) else given\n    return _load(schema, given)\n\n\ndef _load(schema: Schema, given: Any) -> dict[str, Any]:",
    ),
    ("I2", "addresses.py", '    if len(typed.encode("utf-8", "surrogatepass")) > MAX_ADDRESS:\n', "    if False:\n"),
    ("I3", "defaults.py", "        if len(password) > high:\n", "        if False:\n"),
    (
        "I4",
        "web/wire.py",
        '    raw, most = b"", MAX_BODY + 1 if length is None else length\n',
        '    raw, most = b"", 1 << 20 if length is None else length\n',
    ),
    ("I5", "tokens.py", "        for signer in self._signers:\n", "        for signer in self._signers[:1]:\n"),
    ("J1", "outbox/outcomes.py", "    if tries == 0 or (", "    if True or ("),
    ("J3", "store/deliveries.py", "in (True, False) if rescue else (False, True):", "in (False,):"),
    ("J4", "model/tables.py", "f\"(state = '{DeliveryState.QUEUED}') = (next_attempt_at IS NOT NULL)\"", '"1 = 1"'),
    (
        "J5",
        "outbox/mails.py",
        "    except Exception as failure:\n        return failed(ctx, letter, failure)\n    breaker_of",
        "    except ZeroDivisionError as failure:\n        return failed(ctx, letter, failure)\n    breaker_of",
    ),
    (
        "J6",
        "outbox/mails.py",
        "            ctx.unit.after_commit(partial(_wake, ctx, each.row.id, mail.id))\n        else",
        "            _wake(ctx, each.row.id, mail.id)\n        else",
    ),
    (
        "K1",
        "store/invitations.py",
        "        where = [] if anywhere else [self._in_tenant]\n",
        "        where: list[Any] = []\n",
    ),
    (
        "K3",
        "acts/callers.py",
        '    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)[:limit]',
        "    return text[:limit]",
    ),
    ("K4", "languages/plain.py", 'unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp")', "True"),
    (
        "K5",
        "current.py",
        "Origin.of(request.remote_addr,",
        'Origin.of(request.headers.get("X-Forwarded-For", request.remote_addr),',
    ),
    (
        "R1",
        "store/invitations.py",
        "            if self._execute(update.values(raised)) != len(chunk):\n                raise Stale\n",
        "            self._execute(update.values(raised))\n",
    ),
    (
        "R2",
        "model/tables.py",
        '            sa.UniqueConstraint("pending_key", name=conv("uq_user_invitations_pending_key")),\n',
        "",
    ),
    (
        "R3",
        "store/invitations.py",
        "            if self._execute(update.values(raised)) != len(chunk):\n                raise Stale\n",
        "            self._execute(update.values(raised))\n",
    ),
    ("R10", "outbox/outcomes.py", "next_attempt_at=now + backoff(tries))", "next_attempt_at=now)"),
    (
        "R11",
        "outbox/mails.py",
        '        ctx.unit.apart("the mailer", lambda: ctx.hooks.mailer(message))\n',
        "        ctx.unit.run(lambda: (ctx.store.mails.count_due(ctx.now()), ctx.hooks.mailer(message)))\n",
    ),
    ("R12", "outbox/outcomes.py", "    error = _name(failure)\n", "    error = str(failure)\n"),
    (
        "R13",
        "acts/manage.py",
        "    nonce, token = ctx.mint.new()\n",
        "    nonce, token = row.token_nonce, ctx.mint.recover(row.token_nonce, row.token_hash)\n",
    ),
    ("R14", "acts/answer.py", "    mine = by.id is not None and row.accepted_by_id == by.id\n", "    mine = False\n"),
    ("R16", "store/drivers.py", "    return outcome(error) is Outcome.AGAIN\n", "    return False\n"),
    ("R18", "model/tables.py", "as_utc(self.expires_at) <= now:", "as_utc(self.expires_at) < now:"),
    (
        "R20",
        "migrations/steps.py",
        "        return [ops.DropTableOp.from_table(self.table(models))]",
        "        return []",
    ),
    ("R21", "acts/sweep.py", "ctx.store.overdue(now, CHUNK)", "ctx.store.overdue(now, 10 * CHUNK)"),
    ("R22", "store/events.py", "        self._insert(self.models.InvitationEvent, rows)\n", "        pass\n"),
)
#: What the last look before an email says, beside the rules of *Send*: each alone would do.
_LOOK = ("outbox/mails.py", "    if status != WHILE.get(kind, Status.PENDING):\n", "    if False:\n")
_RULE = (
    "acts/send.py",
    "            refusal = obstacle(SEND, next(facts))\n",
    "            next(facts)\n            refusal = None\n",
)


def rows() -> Iterator[Mutant]:
    for row, *change in ROWS:
        yield Mutant(change[0], change[1], change[2], (_home(row),), row)
    for row in ("B11", "R9"):
        yield Mutant(*_LOOK, (_home(row),), row, _RULE)
    unknown = "    unknown = sorted(profile.keys() - set(profile_fields))\n"
    fieldless = ("shapes.py", "        return Schema()  # of no fields", "        return Schema(unknown=INCLUDE)  #")
    yield Mutant("shapes.py", unknown, "    unknown = []\n", (_home("A3"),), "A3", fieldless)
    name = 'return _linkless(shortened(" ".join(_seen(text[:TEXT]).split()), length))'
    subject = 'return shortened(" ".join(kept.split()).replace("=?", "= ?"), SUBJECT)'
    header = ("mail/headers.py", subject, "return text")
    yield Mutant("languages/plain.py", name, "return text", (_home("E3"),), "E3", header)
    kept = "    token = _token()\n    import flask\n    flask.session['t'] = token.reveal()\n    return _offer(token, "
    yield Mutant("web/pages.py", "    return _offer(_token(), ", kept, (_home("A6"),), "A6")
    due = "            return sa.and_(self._table.c.state == state, due <= now, ours)"
    mails, taken = "store/deliveries.py", "return by_key(sa.update(self._table)).where(still_due).values(**lease)"
    still = (mails, taken, taken.replace(".where(still_due)", ""))
    yield Mutant(mails, due, due.replace(" due <= now,", ""), (_home("J2"),), "J2", still)
    take, glance = (
        "self._take([one], given)]",
        '(mail.id == sa.bindparam("id"), mail.state == DeliveryState.SENDING, mail.fence == sa.bindparam("held"))',
    )
    unfenced = (mails, glance, '(mail.id == sa.bindparam("id"), mail.state == DeliveryState.SENDING)')
    yield Mutant(mails, take, "self._take([one], given) or True]", (_home("R8"),), "R8", unfenced)
    undo = "            if frame.is_open:\n                session.rollback()\n"
    for row in ("B8", "R19"):
        yield Mutant("store/unit.py", undo, undo.replace("rollback", "commit"), (_home(row),), row)
    told, done = (
        "        except Exception as error:\n            self.hide(error)\n",
        "        except Exception as error:\n            hide(error)\n",
    )
    over = ("store/after.py", done, done.replace("Exception", "ZeroDivisionError"))
    yield Mutant("context.py", told, told.replace("Exception", "ZeroDivisionError"), (_home("R19"),), "R19", over)
    word = '.replace("=?", "= ?")'
    yield Mutant("languages/plain.py", word, "", (_home("E8"),), "E8", ("mail/headers.py", word, ""))
    decline, shown = '@pages.post("/decline")', '@pages.get("/decline")\n'
    by_get = '@pages.route("/decline", methods=["GET", "POST"])'
    yield Mutant("web/pages.py", decline, by_get, (_home("E4"),), "E4", ("web/pages.py", shown, ""))


def _home(row: str) -> str:
    """The file with the tests of a row."""
    return next(each for each in THREATS if each.startswith(f"tests/threats/test_{row[0].lower()}_"))


def run(mutant: Mutant) -> str:
    """The test that noticed, or nothing."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / PACKAGE
        shutil.copytree(ROOT / "src" / PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for file, old, new in mutant.changes:
            text = (copy / file).read_text("utf-8")
            if text.count(old) != 1:
                return STALE
            (copy / file).write_text(text.replace(old, new), "utf-8")
        output = Path(folder) / "output"
        if mutant.row:
            tests = [f"{file}::{name}" for file in mutant.tests for name in _about(mutant.row, file)]
        else:
            tests = [*mutant.tests, *(each for each in THREATS if each not in mutant.tests)]
        child = os.fork()
        if not child:
            _test(folder, output, CHOSEN if mutant.row else CHOSEN + BRIEF, tests)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = output.read_text("utf-8").splitlines()
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        raise RuntimeError("\n".join(said))  # nothing was tried
    return next((line for line in said if line.startswith(("FAILED", "ERROR"))), "")


def _about(row: str, file: str) -> Iterator[str]:
    """The tests in a file whose docstrings begin with this row."""
    for each in ast.parse((ROOT / file).read_text("utf-8")).body:
        if isinstance(each, ast.FunctionDef) and row in str(ast.get_docstring(each)).partition(":")[0].split(", "):
            yield each.name


def _test(folder: str, output: Path, chosen: str, tests: Sequence[str]) -> NoReturn:
    """Run these, in this order, on the package in ``folder``, up to the first that fails; in a fork."""
    sys.path[:0] = [folder, str(ROOT)]
    sys.dont_write_bytecode = True
    os.chdir(ROOT)
    os.environ.update(PYTHONPATH=folder, PYTHONDONTWRITEBYTECODE="1")
    to = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(to, 1)
    os.dup2(to, 2)
    how = ["-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", "--tb=no", "-x", "-k", chosen, *tests]
    status = BROKEN
    try:
        status = int(pytest.main(how))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main(words: list[str]) -> int:
    every = [*rows(), *rules(), *facts(), *acts(), *store(), *tokens(), *addresses()]
    chosen = [
        each for each in every if not words or any(word in f"{each.row or 'guard'}# {each.file}" for word in words)
    ]
    began, survived = time.monotonic(), list[Mutant]()
    for name in WARM:
        import_module(name)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for mutant, noticed in zip(chosen, pool.map(run, chosen), strict=True):
            how = "killed" if noticed else "SURVIVED"
            print(f"{how} {mutant} | {noticed}", flush=True)  # noqa: T201
            if not noticed or noticed == STALE:
                survived.append(mutant)
    took = time.monotonic() - began
    print(f"{len(chosen) - len(survived)} of {len(chosen)} killed in {took / 60:.0f} min")  # noqa: T201
    for mutant in survived:
        print(f"survived: {mutant}")  # noqa: T201
    return int(bool(survived))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
