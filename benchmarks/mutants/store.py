"""Of the SQL: what stands in the WHERE of each statement."""

from __future__ import annotations

from collections.abc import Iterator

from .mutant import FAULTS, LIFE, POST, RIGHTS, Mutant, each, within

CHANGES = ("tests/acts/test_moves.py", "tests/faults/test_order.py", LIFE, "tests/acts/test_lifecycle.py")
FINDS = ("tests/http/test_queries.py", "tests/http/test_scope.py", RIGHTS, "tests/faults/test_people.py")
SWEEPS = ("tests/acts/test_sweep.py", "tests/acts/test_notices.py", "tests/faults/test_people.py")
OUTBOX = ("tests/acts/test_outbox.py", "tests/acts/test_delivery.py", POST, "tests/faults/test_engine.py")
REPORTS = ("tests/acts/test_report.py", "tests/faults/test_reports.py", "tests/acts/test_suppression.py")
HISTORIES = ("tests/acts/test_faults.py", "tests/faults/test_order.py", RIGHTS)


def store() -> Iterator[Mutant]:
    yield from changes()
    yield from finds()
    yield from sweeps()
    yield from outbox()
    yield from histories()
    yield from others()


def changes() -> Iterator[Mutant]:
    yield from each(
        "store/invitations.py",
        CHANGES,
        ("len(chunk) == 1) != len(chunk):", "len(chunk) == 1) < 0:"),
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
        ("else column.expires_at <= now)\n        closes", "else column.expires_at < now)\n        closes"),
        (
            'raised = {**values, "version": self._columns.version + 1}',
            'raised = {**values, "version": self._columns.version}',
        ),
        ('closes = {"pending_key": None, "closed_at": now}', 'closes = {"closed_at": now}'),
        ("        if len(found) != len(rows):\n            raise Stale\n", ""),
    )
    yield from each(
        "store/invitations.py",
        within("tests/races/test_bulk.py", "test_many_at_once"),
        ('sorted(rows, key=itemgetter("pending_key"))', "rows"),
        database="postgresql",
    )
    yield from each(
        "model/states.py",
        CHANGES,
        (
            "ACCEPT = Move((Status.PENDING,), Status.ACCEPTED, EventType.ACCEPTED, on_time=True)",
            "ACCEPT = Move((Status.PENDING,), Status.ACCEPTED, EventType.ACCEPTED)",
        ),
        (
            "DECLINE = Move((Status.PENDING,), Status.DECLINED, EventType.DECLINED, on_time=True)",
            "DECLINE = Move(OPEN, Status.DECLINED, EventType.DECLINED)",
        ),
        (
            "EXPIRE = Move((Status.PENDING,), Status.EXPIRED, EventType.EXPIRED, on_time=False)",
            "EXPIRE = Move((Status.PENDING,), Status.EXPIRED, EventType.EXPIRED)",
        ),
    )


def finds() -> Iterator[Mutant]:
    yield from each(
        "store/invitations.py",
        within("tests/acts/test_lifecycle.py", "test_every_resend_is_a_new_link", "test_expiry_is_a_moment"),
        (
            "opens = sa.or_(self._columns.token_hash == token_hash, self._columns.previous_token_hash == token_hash)",
            "opens = self._columns.token_hash == token_hash",
        ),
        (
            "return sa.and_(column.status == Status.PENDING, column.expires_at > now)",
            "return sa.and_(column.status == Status.PENDING, column.expires_at >= now)",
        ),
    )
    yield from each(
        "store/invitations.py",
        within("tests/pages/test_desk.py", "test_every_state_is_told"),
        ("late = sa.func.sum(sa.case((column.expires_at <= self._now, 1), else_=0))", "late = sa.func.sum(0)"),
    )
    by_id, by_ids = (
        "type_=sa.Uuid()))\n        return {True: anywhere, False: ",
        "where(these)\n        return {True: anywhere, False: ",
    )
    yield from each(
        "store/invitations.py",
        FINDS,
        (".where(opens, self._columns.email_key.is_not(None))", ".where(opens)"),
        (f"{by_id}anywhere.where(self._in_tenant)}}", f"{by_id}anywhere}}"),
        (f"{by_ids}anywhere.where(self._in_tenant)}}", f"{by_ids}anywhere}}"),
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
            "return sa.or_(column.status == Status.EXPIRED, overdue)",
            "return column.status == Status.EXPIRED",
        ),
        ("column.created_at == at, column.id < last)", "column.created_at == at, column.id <= last)"),
        ("column.created_at < at, sa.and_", "column.created_at <= at, sa.and_"),
    )
    yield from each(
        "store/invitations.py",
        (
            RIGHTS,
            *within(
                "tests/acts/test_faults.py",
                "test_revoke_for_closes_what_has_expired",
                "test_revoke_for_counts_what_it_revoked",
                "test_revoke_for_leaves_what_was_purged",
            ),
            "tests/http/test_scope.py",
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
            "by = sa.and_(column.invited_by_id == inviter_id, column.email_key.is_not(None))",
            "by = column.invited_by_id == inviter_id",
        ),
    )
    yield from each(
        "store/statements.py",
        FINDS,
        (
            '        return tenant_id == sa.bindparam("tenant_id", type_=tenant_id.type)',
            "        return sa.true()",
        ),
    )


def sweeps() -> Iterator[Mutant]:
    yield from each(
        "store/invitations.py",
        SWEEPS,
        (
            "old = sa.and_(column.status != Status.PENDING, column.closed_at <= closed_before)",
            "old = column.closed_at <= closed_before",
        ),
        (
            "old = sa.and_(column.status != Status.PENDING, column.closed_at <= closed_before)",
            "old = column.status != Status.PENDING",
        ),
        ("return self._locked(sa.and_(old, column.email_key.is_not(None)), limit)", "return self._locked(old, limit)"),
        (
            "return self._locked(sa.and_(column.status == Status.PENDING, column.expires_at <= now), limit)",
            "return self._locked(column.expires_at <= now, limit)",
        ),
        (
            "return self._locked(sa.and_(column.status == Status.PENDING, column.expires_at <= now), limit)",
            "return self._locked(sa.and_(column.status == Status.PENDING, column.expires_at < now), limit)",
        ),
        ("soon, column.reminded_at.is_(None)), limit)", "soon), limit)"),
        ("soon = sa.and_(column.expires_at > now, column.expires_at <= until)", "soon = column.expires_at <= until"),
        ("soon = sa.and_(column.expires_at > now, column.expires_at <= until)", "soon = column.expires_at > now"),
        ("        self.events.forget([row.id for row in rows])\n", ""),
        ("now, self._columns.status != Status.PENDING, **personal)", "now, **personal)"),
    )
    yield from each(
        "store/events.py",
        ("tests/faults/test_people.py", "tests/faults/test_trail.py", "tests/acts/test_sweep.py", FAULTS),
        ("        if self._execute(again) == 0:\n", "        if self._execute(again) == 0 or True:\n"),
        ('**(values if about.email_key is not None else {"actor_id": values.get("actor_id")}),', "**values,"),
        ("event.personal_at <= before, about.status != Status.PENDING", "event.personal_at <= before"),
        ("event.personal_at <= before, about.status != Status.PENDING", "about.status != Status.PENDING"),
    )

    yield from each(
        "store/events.py",
        ("tests/faults/test_trail.py", *within("tests/flow/test_matrix.py", "test_managed")),
        ("return lines.where(event.invitation_id == invitation_id)", "return lines"),
    )


def outbox() -> Iterator[Mutant]:
    due = "            return sa.and_(self._table.c.state == state, due <= now, ours)"
    mine = "mine = (mail.id == delivery_id, mail.fence == fence, mail.state == DeliveryState.SENDING)"
    settle = '.where(mail.state == DeliveryState.SENDING, mail.fence == sa.bindparam("held"))\n\n    @cached_property\n    def _settle'
    glance = 'held = (mail.id == sa.bindparam("id"), mail.state == DeliveryState.SENDING, mail.fence == sa.bindparam("held"))'
    yield from each(
        "store/deliveries.py",
        OUTBOX,
        ('fence == sa.bindparam("held"), ended)', 'fence == sa.bindparam("held"))'),
        (', mail.fence == sa.bindparam("held"), ended)', ", ended)"),
        (mine, "mine = (mail.id == delivery_id, mail.state == DeliveryState.SENDING)"),
        (mine, "mine = (mail.id == delivery_id, mail.fence == fence)"),
        (due, due.replace(" due <= now,", "")),
        (settle, settle.replace(', mail.fence == sa.bindparam("held")', "")),
        ("self._cancel(rows, why, self.models.Delivery.state == DeliveryState.QUEUED)", "self._cancel(rows, why)"),
        (
            "        failed = sa.update(mail).where(mail.state == DeliveryState.FAILED, self._is_ours())\n",
            "        failed = sa.update(mail).where(mail.state != DeliveryState.SENDING, self._is_ours())\n",
        ),
        (glance, glance.replace(', mail.fence == sa.bindparam("held")', "")),
        (glance, glance.replace(" mail.state == DeliveryState.SENDING,", "")),
        ("attempts=self._table.c.attempts - 1,", "attempts=self._table.c.attempts,"),
    )
    yield from each(
        "store/deliveries.py",
        ("tests/faults/test_apps.py",),
        (due, due.replace(", ours)", ")")),
        (
            "        failed = sa.update(mail).where(mail.state == DeliveryState.FAILED, self._is_ours())\n",
            "        failed = sa.update(mail).where(mail.state == DeliveryState.FAILED)\n",
        ),
    )
    yield from each(
        "store/deliveries.py",
        ("tests/faults/test_breaker.py",),
        ("        if only is not None:\n            failed", "        if False:\n            failed"),
    )
    yield from each(
        "store/deliveries.py",
        REPORTS,
        (settle, settle.replace("mail.state == DeliveryState.SENDING, ", "")),
    )
    yield from each(
        "store/deliveries.py",
        OUTBOX,
        # That the state is the rule's is left out: the times of the two states are never of another one, by a CHECK.
        (
            "return by_key(sa.update(self._table)).where(still_due).values(**lease)",
            "return by_key(sa.update(self._table)).values(**lease)",
        ),
    )
    yield from each(
        "store/deliveries.py",
        REPORTS,
        ("self._cancel(rows, why, in_hand, mail.kind.not_in(TO_INVITER))", "self._cancel(rows, why, in_hand)"),
        (
            "in_hand = mail.state.in_((DeliveryState.QUEUED, DeliveryState.SENDING))",
            "in_hand = mail.state == DeliveryState.QUEUED",
        ),
        (
            "        still = (mail.id == found.mail.id, mail.state.in_(before))\n",
            "        still = (mail.id == found.mail.id,)\n",
        ),
        ("unwanted = sa.exists().where(them, refused.reason.in_(FINAL))", "unwanted = sa.exists().where(them)"),
    )


def histories() -> Iterator[Mutant]:
    yield from each(
        "store/histories.py",
        HISTORIES,
        ("self.rows[-1].number + 1 if self.rows else 1", "1"),
        ("in _PAST)).where(self._in_tenant)", "in _PAST)).where(sa.true())"),
        (
            "return sa.select(ours).join(newer, same).where(these, older.status.in_(OPEN))",
            "return sa.select(ours).join(newer, same).where(these)",
        ),
        (
            "before = sa.and_(older.number <= newer.c.number, older.id != newer.c.id)",
            "before = older.id != newer.c.id",
        ),
        (
            "same_tenant = newer.c.tenant_id == older.tenant_id if self.models.tenant is not None else sa.true()",
            "same_tenant = sa.true()",
        ),
        ("return not self.rows or self.rows[-1].id == row.id", "return True"),
        ("if row.status == Status.PENDING and row.id != but)", "if row.status == Status.PENDING)"),
        ("if held is not None and held.status_at(now) == Status.PENDING else None", "if held is not None else None"),
    )
    yield from each(
        "store/histories.py",
        within("tests/faults/test_engine.py", "test_each_is_looked_at_right_before"),
        ("return max(row.link_number for row in self.rows) + 1 if self.rows else 1", "return 1"),
    )
    yield from each(
        "store/histories.py",
        ("tests/acts/test_suppression.py",),
        (".where(self._in_tenant, self._columns.status.in_(OPEN), to)", ".where(self._columns.status.in_(OPEN), to)"),
        (".where(self._in_tenant, self._columns.status.in_(OPEN), to)", ".where(self._in_tenant, to)"),
        ("there = self._in_tenant, self._columns.status.in_(OPEN), ", "there = self._columns.status.in_(OPEN), "),
    )


def others() -> Iterator[Mutant]:
    yield from each(
        "store/hosts.py",
        ("tests/faults/test_transactions.py",),
        ('        self._unit.check("create_user, or join,")\n', ""),
    )
    yield from each(
        "store/hosts.py",
        (FAULTS, "tests/faults/test_accept.py", "tests/acts/test_caps.py"),
        (
            'execution_options={"populate_existing": True})\n        self._unit.keep',
            "execution_options={})\n        self._unit.keep",
        ),
    )
    yield from each(
        "model/tables.py",
        ("tests/unit/test_models.py", "tests/http/test_scope.py", LIFE),
        (
            'return hashlib.sha256(f"{tenant_id}\\0{email_key}".encode()).hexdigest()',
            'return hashlib.sha256(f"{email_key}".encode()).hexdigest()',
        ),
    )
