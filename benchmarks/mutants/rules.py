"""Of the rules, of the facts that they read, and of the acts that ask them."""

from __future__ import annotations

from collections.abc import Iterator

from .mutant import BINDING, LIFE, RIGHTS, Mutant

#: By what they do, the tests of the acts.
ACTS = {
    "acts/accept.py": ("tests/acts/test_lifecycle.py", "tests/faults/test_accept.py", BINDING, LIFE, RIGHTS),
    "acts/answer.py": (LIFE, BINDING, "tests/acts/test_rules.py", "tests/acts/test_faults.py"),
    "acts/callers.py": (RIGHTS, "tests/acts/test_rules.py"),
    "acts/fresh.py": ("tests/pages/test_fresh.py", "tests/acts/test_faults.py"),
    "acts/invite.py": ("tests/bulk/test_invite.py", "tests/acts/test_rules.py"),
    "acts/manage.py": (LIFE, RIGHTS, "tests/acts/test_faults.py", "tests/acts/test_delivery.py"),
    "acts/send.py": ("tests/acts/test_delivery.py", "tests/acts/test_rules.py"),
}
ACTS["acts/accept.py"] += ("tests/http/test_fields.py", "tests/acts/test_faults.py")
RULES = ("tests/unit/test_rules.py", "tests/acts/test_rules.py", RIGHTS, BINDING)


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
    """That an email is not of an invitation that is over is also what the last look before it says: see B11 and R9."""
    yield Mutant(
        "acts/facts.py",
        "    return replace(case, facts=replace(case.facts, bounced=False))",
        "    return case",
        ("tests/acts/test_suppression.py::test_a_confirmed_bulk",),
    )
    file, tests = (
        "acts/facts.py",
        (
            "tests/acts/test_rules.py",
            BINDING,
            RIGHTS,
            LIFE,
            "tests/http/test_scope.py",
            "tests/faults/test_accept.py",
            "tests/acts/test_caps.py",
            "tests/faults/test_sqlite_ids.py",
            "tests/http/test_binding.py",
        ),
    )
    for old, new in (
        ("may_grant=grant(each.role),", "may_grant=True,"),
        (
            "address_refused=ctx.config.domains.refusal(each.domain) or _refusal(ctx.hooks.check_invitee, each),",
            "address_refused=ctx.config.domains.refusal(each.domain),",
        ),
        (
            "suppressed=standing.unwanted,\n            bounced=standing.bounced,\n            holder",
            "bounced=standing.bounced,\n            holder",
        ),
        ("bounced=standing.bounced,\n            holder", "holder"),
        (
            "suppressed=standing.unwanted,\n            bounced=standing.bounced,\n            **",
            "bounced=standing.bounced,\n            **",
        ),
        ("bounced=standing.bounced,\n            **_inviter", "**_inviter"),
        ("holder = None if case.facts.holder == row.id else case.facts.holder", "holder = case.facts.holder"),
        ("holder = None if case.facts.holder == row.id else case.facts.holder", "holder = None"),
        ('since["holder"] = taken[key]', "pass"),
        ("    if by.user is None and _is_same(ctx, account, own):\n        account = None\n", ""),
        ("holder=before.live(now),", "holder=None,"),
        ("if row.status_at(now) in OPEN and row.email_key is not None]", "if row.email_key is not None]"),
        ("if row.status_at(now) in OPEN and row.email_key is not None]", "if row.status_at(now) in OPEN]"),
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
    for file, old, new in (
        (
            "acts/accept.py",
            "        rules.first(rules.ACCEPT, facts)\n        if self.broken",
            "        if self.broken",
        ),
        ("acts/accept.py", "        self._look_at_people(looked, account)\n", ""),
        ("acts/answer.py", "rules.first(rules.OPENS, opening(ctx, found, link, now))\n        offer =", "offer ="),
        (
            "acts/accept.py",
            "            self.ctx.hooks.validate_password(self.password.reveal(), info)\n",
            "            pass\n",
        ),
        ("acts/accept.py", "        elif self.ctx.config.password_required:", "        elif False:"),
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
        ("acts/accept.py", "        close_older(ctx, [row], self.by, now)\n", ""),
        ("acts/accept.py", "        refuse_another(user, looked.info.email_key)\n", ""),
        ("acts/manage.py", "        if refusal is not None:\n            raise refusal\n", ""),
        ("acts/manage.py", "    ctx.store.mails.cancel(rows, InvitationReplaced.code)\n", ""),
        ("acts/manage.py", "    ctx.store.mails.cancel(rows, InvitationRevoked.code)\n", ""),
        (
            "acts/manage.py",
            "        if found.row.status == Status.ACCEPTED:\n            raise InvitationAccepted\n",
            "",
        ),
        ("acts/manage.py", "        return _revoke(ctx, by, [found], now)[0]", "        return found.info(now)"),
        ("acts/invite.py", "        if refusal is not None:\n            raise refusal\n", ""),
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
        ("acts/fresh.py", "    return None if recent else found", "    return found"),
        ("acts/fresh.py", "if found is None or found.row.token_hash != link.hash:", "if found is None:"),
        ("acts/fresh.py", "        rules.first([rules.bounce], facts)\n", "        pass\n"),
        ("acts/fresh.py", "alone = past.is_newest(found.row) and ", "alone = "),
        ("acts/fresh.py", " and past.live(now, but=found.row.id) is None", ""),
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
        ("acts/accept.py", "        if self.broken is not None:\n            raise self.broken\n", ""),
        (
            "acts/accept.py",
            "        facts, _ = accepting(ctx, found, opening(ctx, found, self.link, now), self.by, looked.info, account)\n        rules.first(rules.ACCEPT, facts)\n",
            "",
        ),
        ("acts/accept.py", "found = replace(looked.found, inviter=users.get(inviter_id))", "found = looked.found"),
        ("acts/accept.py", "final = ended(found.row, self.link, now) or refusal", "final = refusal"),
        ("acts/accept.py", "and not self.ctx.config.reveal_accounts:", "and False:"),
        (
            "acts/manage.py",
            "found = ctx.store.open_of(by.tenant_id, leaving_id, key_of(email))",
            "found = ctx.store.open_of(by.tenant_id, leaving_id, None)",
        ),
        (
            "acts/manage.py",
            "return max(as_utc(row.expires_at), now + timedelta(seconds=row.lifetime))",
            "return now + timedelta(seconds=row.lifetime)",
        ),
        ("acts/manage.py", '"link_shown": show or row.link_shown}', '"link_shown": show}'),
        ("acts/invite.py", "        if plan is not None and plan != digest:\n            raise PlanChanged\n", ""),
        ("acts/invite.py", "    if cases and not cases[0][0].facts.tenant_active:\n        raise TenantInactive\n", ""),
        ("acts/invite.py", "if each.case is not None and each.refusal is None]", "if each.case is not None]"),
        (
            "acts/invite.py",
            "cases = [confirmed(case) if each.confirm else case for case, each in pairs]",
            "cases = [case for case, each in pairs]",
        ),
    ):
        yield Mutant(file, old, new, ACTS[file])
