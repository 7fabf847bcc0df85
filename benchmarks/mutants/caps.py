"""Of caps, of what is done once, of what is remembered of addresses, and of the domains that may be invited."""

from __future__ import annotations

from collections.abc import Iterator

from .mutant import Mutant, each, within

CAPS, RACES = "tests/acts/test_caps.py", "tests/races/test_caps.py"
ONCE, ONCE_RACES = "tests/http/test_once.py", "tests/races/test_once.py"
SUPPRESSION = "tests/acts/test_suppression.py"


def caps() -> Iterator[Mutant]:
    yield from each(
        "acts/caps.py",
        within("tests/limits/test_acts.py", "test_limits_for"),
        ('ctx.limits.of(tenant_id).get("PENDING_MAX", ctx.config.pending_max)', "ctx.config.pending_max"),
    )
    yield from each(
        "acts/caps.py",
        (CAPS,),
        ('{"has_room": False} if self.places is not None', '{"has_room": True} if self.places is not None'),
        ("self.places <= taken else {}", "self.places < taken else {}"),
        ('{**full, "seats": self.seats - taken}', '{**full, "seats": self.seats}'),
        ("taken = ctx.store.count_open(tenant_id, now, held=held)", "taken = 0"),
        ("None if most is None else most - taken, None if seats", "None if most is None else most, None if seats"),
        ("None if seats is None else seats - taken)", "seats)"),
        (
            'ctx.limits.of(tenant_id).get("PENDING_MAX", ctx.config.pending_max)',
            'ctx.limits.of(tenant_id).get("PENDING_MAX")',
        ),
        ("return None if ctx.hooks.seats is None else ctx.hooks.seats(tenant_id)", "return None"),
    )
    yield from each(
        "acts/caps.py",
        (*within(RACES, "test_the_last_places", "test_a_host_that_holds_its_tenant"),),
        ("        ctx.store.hosts.hold(tenant_id)\n", "        pass\n"),
        ("    for tenant_id in tenant_ids if capped(ctx) else ():\n", "    for tenant_id in ():\n"),
        database="postgresql",
    )
    yield from each(
        "acts/caps.py",
        (CAPS, "tests/test_budgets.py"),
        ("return any(each is not None for each in said)", "return True"),
        database="postgresql",
    )
    yield from each(
        "acts/accept.py",
        within(RACES, "test_the_last_seat"),
        ("            self.ctx.store.hosts.hold(self._tenant_id)\n", "            pass\n"),
        (
            "            rules.first([rules.seat], rules.Facts(seats=free_seats(self.ctx, self._tenant_id)))\n",
            "            pass\n",
        ),
        database="postgresql",
    )
    yield from each(
        "acts/facts.py",
        (CAPS, "tests/acts/test_rules.py"),
        ("return replace(facts, seats=caps.free_seats(ctx, tenant_id))", "return facts"),
        ("if ctx.hooks.seats is None or obstacle(asked, facts) is not None:", "if ctx.hooks.seats is None:"),
        ("        since = room.after(places) if case.opens else {}\n", "        since = room.after(places)\n"),
        ("            places += case.opens\n", ""),
        ("    opens = row.status_at(now) == Status.EXPIRED\n", "    opens = False\n"),
    )
    yield from each(
        "store/invitations.py",
        (*within(RACES, "test_a_host_that_holds_its_tenant"), CAPS),
        ("self._open[held and not self.unit.has_begun_anew()]", "self._open[False]"),
        database="mariadb",
    )
    yield from each(
        "store/invitations.py",
        (CAPS,),
        (
            "sa.select(self._columns.id).where(self._in_tenant, self._effective(Status.PENDING))",
            "sa.select(self._columns.id).where(self._effective(Status.PENDING))",
        ),
        (
            "sa.select(self._columns.id).where(self._in_tenant, self._effective(Status.PENDING))",
            "sa.select(self._columns.id).where(self._in_tenant)",
        ),
    )
    yield from each(
        "acts/manage.py",
        (CAPS,),
        ("held=True) if any(each.opens for each in cases) else caps.Room()", "held=True) if False else caps.Room()"),
    )


def once() -> Iterator[Mutant]:
    yield from each(
        "acts/once.py",
        (ONCE,),
        ("KEPT = timedelta(hours=24)", "KEPT = timedelta(hours=25)"),
        ("        if now < as_utc(found.expires_at):\n", "        if now <= as_utc(found.expires_at):\n"),
        ("        if found.body_hash != self.known_by[found.key_hash]:\n            raise IdempotencyMismatch\n", ""),
        ("if found is None or self._is_over(found):", "if found is None:"),
        ("imprints(keys, *call, body)", "imprints(keys, *call)"),
        ("found.answer)), found.status, True", "found.answer)), 200, True"),
        ('"answer": self.recall.keep(result)}', '"answer": None}'),
        (
            "            return result, self.status(result), False\n        except TryAgain",
            "            return result, self.status(result), True\n        except TryAgain",
        ),
    )
    yield from each(
        "acts/once.py",
        (ONCE, *within(ONCE_RACES, "test_many_at_one_moment", "test_while_it_runs", "test_on_sqlite_nobody_waits")),
        (
            "            earlier = self._earlier()\n            if earlier is None:\n                raise\n            return earlier\n",
            "            raise\n",
        ),
        (
            "self.recall.keep(result)}):\n            raise IdempotencyInProgress\n",
            "self.recall.keep(result)}):\n            pass\n",
        ),
    )
    yield from each(
        "acts/once.py",
        within(ONCE_RACES, "test_while_it_runs", "test_many_at_one_moment"),
        (
            "        if not requests.claim(begun):\n            raise IdempotencyInProgress\n",
            "        requests.claim(begun)\n",
        ),
        database="postgresql",
    )
    yield from each(
        "store/requests.py",
        within(ONCE_RACES, "test_while_it_runs", "test_different_keys_do_not_wait"),
        ("return written is not None and written.first() is not None", "return written is not None"),
        ('bytes.fromhex(columns["key_hash"])[:8]', 'bytes.fromhex(columns["key_hash"])[:0]'),
        database="postgresql",
    )
    yield from each(
        "store/requests.py",
        within(ONCE_RACES, "test_while_it_runs", "test_the_patience_of_the_hosts_session"),
        ("        with _impatient(connection):\n", "        if True:\n"),
        (
            '            connection.exec_driver_sql("SET innodb_lock_wait_timeout = @invitations_wait")\n',
            "            pass\n",
        ),
        database="mariadb",
    )
    yield from each(
        "store/requests.py",
        (ONCE,),
        (".where(columns.key_hash == key_hash, columns.expires_at <= now)", ".where(columns.key_hash == key_hash)"),
        (".where(columns.key_hash == key_hash, columns.expires_at <= now)", ".where(columns.expires_at <= now)"),
        (".where(columns.expires_at <= now).order_by", ".where(sa.true()).order_by"),
        (".where(columns.expires_at <= now).order_by", ".where(columns.expires_at < now).order_by"),
    )
    yield from each(
        "web/once.py",
        (ONCE,),
        ("(*recall.whose, request.path, key)", "(request.path, key)"),
        ("(*recall.whose, request.path, key)", "(*recall.whose, key)"),
        ("if re.fullmatch(PATTERN, key) is None:", "if False:"),
        ("sort_keys=True)", "sort_keys=False)"),
        ("        if once.replayed:\n", "        if False:\n"),
    )
    yield from each(
        "acts/recalls.py",
        (ONCE,),
        ('return "manager", str(by.id), str(by.tenant_id)', 'return "manager", str(by.id)'),
        ('return "manager", str(by.id), str(by.tenant_id)', 'return "manager", str(by.tenant_id)'),
        ('if kept["link"] and ctx.config.return_link else None', 'if kept["link"] else None'),
        (
            '    if token is None or _digest(ctx.config.link(token.reveal())) != kept["link"]:\n',
            "    if token is None:\n",
        ),
        ("info.accept_url and _digest(info.accept_url)}", "info.accept_url}"),
    )
    yield from each(
        "acts/accept.py",
        (ONCE,),
        ('Recall(("token", "" if link is None else link.hash)', 'Recall(("token", "")'),
        (
            "        if found.row.accepted_by_id is None:  # the account was deleted since\n            raise InvitationAccepted\n",
            "",
        ),
    )


def suppressions() -> Iterator[Mutant]:
    yield from each(
        "acts/suppress.py",
        (SUPPRESSION,),
        ("    if row.status_at(now) == Status.PENDING:\n        turn_down", "    if False:\n        turn_down"),
        ("row.email_key or _address(ctx, row.tenant_id, pseudonym)", "row.email_key"),
        ("        close_all(ctx, row.tenant_id, email_key, by, row.id)\n", ""),
        ("if pseudonym in ctx.pseudonyms.of(tenant_id, each)), None)", "), None)"),
        ("ctx.store.suppressions.listed(by.tenant_id)", "ctx.store.suppressions.listed(EVERYWHERE)"),
        ("ctx.store.suppressions.lift(by.tenant_id, email_key)", "ctx.store.suppressions.lift(EVERYWHERE, email_key)"),
    )
    yield from each(
        "acts/answer.py",
        (SUPPRESSION,),
        (
            "        ctx.store.suppressions.add(row.tenant_id, ctx.pseudonyms.of(*address(row)), wish, now)\n",
            "        pass\n",
        ),
        ("        close_all(ctx, *address(row), by, row.id)\n", "        close_older(ctx, [row], by, now)\n"),
        (
            "Reason.REPORTED if report else Reason.NEVER_AGAIN if never_again else None",
            "Reason.NEVER_AGAIN if never_again or report else None",
        ),
        (
            "Reason.REPORTED if report else Reason.NEVER_AGAIN if never_again else None",
            "Reason.REPORTED if report else Reason.NEVER_AGAIN",
        ),
    )
    yield from each(
        "acts/manage.py",
        within(SUPPRESSION, "test_an_invitation_while_somebody_stops"),
        (
            '    ctx.unit.after_commit(partial(ctx.observe, "closing what was invited meanwhile", decided_by, again))\n',
            "",
        ),
        database="postgresql",
    )
    yield from each(
        "acts/invite.py",
        (SUPPRESSION, "tests/acts/test_faults.py"),
        ("    confirm(ctx, [(case, each.info) for (case, _), each in zip(allowed, postings, strict=True)])\n", ""),
    )
    yield from each(
        "store/suppressions.py",
        (SUPPRESSION, "tests/acts/test_faults.py"),
        ("unwanted=len(about_emails) < len(lines)", "unwanted=False"),
        ("unwanted=len(about_emails) < len(lines)", "unwanted=bool(lines)"),
        ("for line in about_emails if line.state not in OUT]", "for line in about_emails]"),
        ("if line.reason not in FINAL]", "]"),
        ("for name in self._pseudonyms.of(*address)}", "for name in self._pseudonyms.of(*address)[:1]}"),
        ("ours.pseudonym.in_(pseudonyms), ours.reason == reason)", "ours.pseudonym.in_(pseudonyms))"),
        (
            "ours.pseudonym.in_(pseudonyms), ours.reason == reason)",
            "ours.pseudonym == pseudonyms[0], ours.reason == reason)",
        ),
        ("values(confirmed_by=None)) == 0:", "values(reason=reason)) == 0:"),
        ('.where(self._table.c.id == sa.bindparam("row"))', ""),
        ("        return self._table.c.tenant_id == tenant_id\n", "        return sa.true()\n"),
        (
            "named = [name for tenant in tenants for name in self._pseudonyms.of(tenant, email_key)]",
            "named = [self._pseudonyms.of(tenant, email_key)[0] for tenant in tenants]",
        ),
    )
    yield from each(
        "outbox/mails.py",
        (SUPPRESSION,),
        ("    if refusal is None and unwanted:\n        refusal = AddressSuppressed()\n", ""),
        ("names = () if to_inviter else ctx", "names = ctx"),
    )


def domains() -> Iterator[Mutant]:
    yield from each(
        "domains.py",
        ("tests/unit/test_domains.py", "tests/unit/test_config.py", CAPS),
        ("if _lists(self.denied, domain) or (", "if ("),
        ("(self.allowed is not None and not _lists(self.allowed, domain))", "False"),
        ("self.allowed is not None and not _lists", "self.allowed and not _lists"),
        (
            "if self.disposable and (domain in self.disposable or any(each in self.disposable for each in _above(domain))):",
            "if domain in self.disposable:",
        ),
        ('(domain in patterns or any(f"*.{each}" in patterns for each in _above(domain)))', "domain in patterns"),
        (
            '(domain in patterns or any(f"*.{each}" in patterns for each in _above(domain)))',
            'any(f"*.{each}" in patterns for each in (domain, *_above(domain)))',
        ),
        ('(domain in patterns or any(f"*.{each}" in patterns', "(domain in patterns or any(each in patterns"),
        ('    while "." in domain:\n', '    if "." in domain:\n'),
        ('    if "@" in text:\n        raise InvalidAddress("This is an address.")\n', ""),
        ('    if not text.startswith("*."):\n        return _domain(text)\n', ""),
    )
    yield from each(
        "acts/facts.py",
        (CAPS,),
        ("address_refused=ctx.config.domains.refusal(each.domain) or _refusal", "address_refused=_refusal"),
        (
            'return InvitationDraft(address.typed, address.key, address.key.rpartition("@")[2]',
            'return InvitationDraft(address.typed, address.key, address.typed.rpartition("@")[2]',
        ),
    )
    yield from each(
        "config.py",
        ("tests/unit/test_config.py", "tests/unit/test_domains.py"),
        ("disposable() if self.block_disposable else ()", "()"),
    )
