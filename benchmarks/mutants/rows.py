"""Of the list of threats: for each row what guards it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .mutant import Mutant, home

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
        "len(chunk) == 1) != len(chunk):",
        "len(chunk) == 1) < 0:",
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
        "acts/accept.py",
        "            ctx.store.events.count(found.row",
        "            from ..model.states import DECLINE\n            ctx.store.move(found.row, DECLINE, now)\n            ctx.store.events.count(found.row",
    ),
    ("C1", "defaults.py", "return role is None or (role in rank and rank[role] <= rank[own])", "return True"),
    ("C2", "acts/manage.py", "        if refusal is not None:\n            raise refusal\n", ""),
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
        "type_=sa.Uuid()))\n        return {True: anywhere, False: anywhere.where(self._in_tenant)}",
        "type_=sa.Uuid()))\n        return {True: anywhere, False: anywhere}",
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
        '    return redirect(done.next or url_for("invitations.accepted"), 303)',
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
        "**(_leased(held) if at_once else {}))",
        "**(_leased(held) if at_once else {}), last_error=postings[0].token.reveal())",
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
        '    _refuse_plain(key, origin)\n    return f"{origin}{rest}"',
        '    return f"{origin}{rest}"',
    ),
    ("E2", "languages/plain.py", '    return _JOINT.sub(rf"\\g<0>{WORD_JOINER}", text)', "    return text"),
    (
        "E6",
        "web/pages.py",
        '    return redirect(done.next or url_for("invitations.accepted"), 303)',
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
        "acts/accept.py",
        "        rules.first(rules.ACCEPT, facts)\n        if self.broken",
        "        if self.broken",
    ),
    (
        "H1",
        "web/api.py",
        "    return _answer(answers.dump_acceptance(acceptance), ",
        '    import flask\n    flask.session["user"] = 1\n    return _answer(answers.dump_acceptance(acceptance), ',
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
        "def load(schema: Schema, given: Any, **how: Any) -> dict[str, Any]:",
        "def load(schema: Schema, given: Any, **how: Any) -> dict[str, Any]:\n    given = given[0] if isinstance(given, list) else given\n    return _load(schema, given, **how)\n\n\ndef _load(schema: Schema, given: Any, **how: Any) -> dict[str, Any]:",
    ),
    ("I2", "addresses.py", '    if len(typed.encode("utf-8", "surrogatepass")) > MAX_ADDRESS:\n', "    if False:\n"),
    ("I3", "defaults.py", "        if len(password) > high:\n", "        if False:\n"),
    (
        "I4",
        "web/wire.py",
        '    raw, most = b"", _most(call) + 1 if length is None else length\n',
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
        'ctx.unit.after_commit(partial(ctx.observe, "enqueue", invitation_id, partial(enqueue, delivery_id)))',
        'ctx.observe("enqueue", invitation_id, partial(enqueue, delivery_id))',
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
        "len(chunk) == 1) != len(chunk):",
        "len(chunk) == 1) < 0:",
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
        "len(chunk) == 1) != len(chunk):",
        "len(chunk) == 1) < 0:",
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
        yield Mutant(change[0], change[1], change[2], (home(row),), row)
    for row in ("B11", "R9"):
        yield Mutant(*_LOOK, (home(row),), row, _RULE)
    unknown = "    unknown = sorted(profile.keys() - set(profile_fields))\n"
    fieldless = ("shapes.py", "        return Schema()  # of no fields", "        return Schema(unknown=INCLUDE)  #")
    yield Mutant("shapes.py", unknown, "    unknown = []\n", (home("A3"),), "A3", fieldless)
    name = 'return _linkless(shortened(" ".join(_seen(text[:TEXT]).split()), length))'
    subject = 'return shortened(" ".join(kept.split()).replace("=?", "= ?"), SUBJECT)'
    header = ("mail/headers.py", subject, "return text")
    yield Mutant("languages/plain.py", name, "return text", (home("E3"),), "E3", header)
    kept = "    token = _token()\n    import flask\n    flask.session['t'] = token.reveal()\n    return _offer(token, "
    yield Mutant("web/pages.py", "    return _offer(_token(), ", kept, (home("A6"),), "A6")
    due = "            return sa.and_(self._table.c.state == state, due <= now, ours)"
    mails, taken = "store/deliveries.py", "return by_key(sa.update(self._table)).where(still_due).values(**lease)"
    still = (mails, taken, taken.replace(".where(still_due)", ""))
    yield Mutant(mails, due, due.replace(" due <= now,", ""), (home("J2"),), "J2", still)
    take, glance = (
        "self._take([one], given)]",
        '(mail.id == sa.bindparam("id"), mail.state == DeliveryState.SENDING, mail.fence == sa.bindparam("held"))',
    )
    unfenced = (mails, glance, '(mail.id == sa.bindparam("id"), mail.state == DeliveryState.SENDING)')
    yield Mutant(mails, take, "self._take([one], given) or True]", (home("R8"),), "R8", unfenced)
    undo = "            if frame.is_open:\n                session.rollback()\n"
    for row in ("B8", "R19"):
        yield Mutant("store/unit.py", undo, undo.replace("rollback", "commit"), (home(row),), row)
    told, done = (
        "        except Exception as error:\n            self.hide(error)\n",
        "        except Exception as error:\n            hide(error)\n",
    )
    over = ("store/after.py", done, done.replace("Exception", "ZeroDivisionError"))
    yield Mutant("context.py", told, told.replace("Exception", "ZeroDivisionError"), (home("R19"),), "R19", over)
    word = '.replace("=?", "= ?")'
    yield Mutant("languages/plain.py", word, "", (home("E8"),), "E8", ("mail/headers.py", word, ""))
    decline, shown = '@pages.post("/decline")', '@pages.get("/decline")\n'
    by_get = '@pages.route("/decline", methods=["GET", "POST"])'
    yield Mutant("web/pages.py", decline, by_get, (home("E4"),), "E4", ("web/pages.py", shown, ""))
