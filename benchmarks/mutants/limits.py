"""Of the rate limits: each limit, each comparison, whose key it is, what is asked first, and what if nobody answers."""

from __future__ import annotations

from collections.abc import Iterator

from .mutant import Mutant, each, within

ACTS, LIMITER, MAILS, OUTAGE = (f"tests/limits/test_{name}.py" for name in ("acts", "limiter", "mails", "outage"))
#: The same test on each storage: in memory, and on one that keeps each call and one that does not.
FITS = within(LIMITER, "test_as_many_as_allowed_and_no_more", "test_all_or_nothing", "test_one_limit_of_several")
WAITS = within(LIMITER, "test_the_wait_is_true", "test_the_wait_of_many", "test_one_limit_of_several")


def limits() -> Iterator[Mutant]:
    yield from counting()
    yield from asking()
    yield from callers()


def counting() -> Iterator[Mutant]:
    file = "limits.py"
    yield from each(
        file,
        ("tests/unit/test_config.py",),
        ("if not all(1 <= rate.amount <= HIGHEST and", "if not all(rate.amount <= HIGHEST and"),
        ("if not all(1 <= rate.amount <= HIGHEST and", "if not all(1 <= rate.amount and"),
        ("<= HIGHEST and rate.get_expiry() <= LONGEST", "<= HIGHEST"),
    )
    yield from each(
        file,
        within(LIMITER, "test_network", "test_network_of_anything"),
        ("return str(address.ipv4_mapped or IPv6Network", "return str(IPv6Network"),
        ("(int(address), 64)", "(int(address), 128)"),
        ("(int(address), 64)", "(int(address), 56)"),
        (
            "    except ValueError:\n        return remote_addr\n",
            "    except ZeroDivisionError:\n        return remote_addr\n",
        ),
    )
    yield from each(
        file,
        FITS,
        ("        if wait:\n            return wait\n", ""),
        ("0 if room >= cost else", "0 if room > cost else"),
        ("0 if room >= cost else", "0 if room >= 1 else"),
        ("self._window.hit(rate, key, cost=cost)", "self._window.hit(rate, key)"),
        ('f"flask-invitations/{each.scope}/{each.key}"', 'f"flask-invitations/{each.scope}"'),
        ("wait = max(look[1] for look, _ in seen)", "wait = min(look[1] for look, _ in seen)"),
        (
            "for each in budgets for rate in each.rates]\n        if not items",
            "for each in budgets for rate in each.rates[:1]]\n        if not items",
        ),
    )
    yield from each(
        file,
        within(LIMITER, "test_in_memory_all_is_one_look"),
        ("Lock() if self.forgets else nullcontext()", "nullcontext()"),
    )
    yield from each(
        file,
        within(LIMITER, "test_whoever_was_faster_shows_at_the_tightest", "test_threads"),
        ("                return self._look(rate, key, cost)[1] or 1\n", "                pass\n"),
        ("in sorted(seen, key=lambda each: each[0]):", "in seen:"),
    )
    yield from each(
        file,
        WAITS,
        ("return kept + cost <= rate.amount", "return kept + cost < rate.amount"),
        ("return kept + cost <= rate.amount", "return kept < rate.amount"),
        ("if self._moves and cost > 1:", "if False:"),
        (
            "return max(1, ceil(reset - utcnow().timestamp()) + late)",
            "return max(1, int(reset - utcnow().timestamp()) + late)",
        ),
        ("return max(1, ceil(reset - utcnow().timestamp()) + late)", "return max(1, rate.get_expiry())"),
        ("late = 0 if self._moves else 1", "late = 0"),
    )


def asking() -> Iterator[Mutant]:
    file = "limits.py"
    yield from each(
        file,
        within(
            OUTAGE,
            "test_never_there",
            "test_it_is_not_asked_by_everybody",
            "test_storage_away",
            "test_inline_email",
            "test_no_such_storage",
            "test_warns_of_memory",
        ),
        ("        if monotonic() < self._silent_until:\n            raise StorageDown\n", ""),
        ("except (StorageError, OSError) as error:", "except OSError as error:"),
        ("except (StorageError, OSError) as error:", "except StorageError as error:"),
        ("            if monotonic() < self._quiet_until:\n                return\n", ""),
        ("            type(error).__name__,\n        )", "            error,\n        )"),
        ("            raise TryAgain from None\n", "            return\n"),
        ("self._silent_until = monotonic() + PAUSE", "self._silent_until = monotonic() + 60 * PAUSE"),
        ("{type(error).__name__}. Check the address", "{error}. Check the address"),
        ("wrap_exceptions=True, **options)", "wrap_exceptions=True)"),
        ("return isinstance(self._storage, MemoryStorage)", "return False"),
    )
    yield from each(
        file,
        within(OUTAGE, "test_back_again_it_counts", "test_inline_email"),
        (
            "        except StorageDown:\n            return None\n",
            "        except StorageDown:\n            raise TryAgain from None\n",
        ),
    )
    yield from each(
        file,
        (ACTS,),
        ("if inviter_id is None or not cost:", "if not cost:"),
        ("{**self.limiter.rates, **self.of(tenant_id)}", "{**self.of(tenant_id), **self.limiter.rates}"),
        ('            *self._budget("invite", by_inviter, inviter_id, tenant_id),\n', ""),
        ('            *self._budget("tenant", in_tenant, tenant_id),\n', ""),
        ('*self._budget("tenant", in_tenant, tenant_id),', '*self._budget("tenant", in_tenant),'),
        (
            '*self._budget("invite", by_inviter, inviter_id, tenant_id),',
            '*self._budget("invite", by_inviter, tenant_id),',
        ),
        ("            _refuse_too_many(budgets, cost, field)\n", "            pass\n"),
        ("    if cost > most:\n", "    if cost >= most:\n"),
        ("            wait = self._ask(budgets, cost)\n", "            wait = self._ask(budgets, 1)\n"),
        (
            "            raise RateLimited(wait)\n\n    def answering",
            "            raise RateLimited\n\n    def answering",
        ),
        ("            raise RateLimited(wait)\n\n    def mailing", "            pass\n\n    def mailing"),
        ("            raise RateLimited(wait)\n\n    def mailing", "            raise RateLimited\n\n    def mailing"),
        ("        if remote_addr:\n            budgets +=", "        if False:\n            budgets +="),
        ("        if token_hash is not None:\n            budgets +=", "        if False:\n            budgets +="),
        ('rates["RATELIMIT_TOKEN"], token_hash)', 'rates["RATELIMIT_TOKEN"])'),
        ('rates["RATELIMIT_ACCEPT"], network(remote_addr))', 'rates["RATELIMIT_ACCEPT"], remote_addr)'),
        ('rates["RATELIMIT_ACCEPT"], network(remote_addr))', 'rates["RATELIMIT_ACCEPT"])'),
        (
            "return [Budget(scope, self.limiter.name(scope, *whose), rates)] if rates",
            'return [Budget(scope, "-".join(map(str, whose)), rates)] if rates',
        ),
        (
            "return [Budget(scope, self.limiter.name(scope, *whose), rates)] if rates else []",
            "return [Budget(scope, self.limiter.name(scope, *whose), rates)]",
        ),
        ("return None if wait is None else max(1, ceil(wait))", "return None if wait is None else max(1, int(wait))"),
        ("return None if wait is None else max(1, ceil(wait))", "return None if not wait else ceil(wait)"),
        ("self.instead(each.scope, each.key, cost) for", "self.instead(each.scope, each.key, 1) for"),
        (
            "        if self.instead is None:\n            return self.limiter.take(budgets, cost)\n",
            "        if self.instead is None or budgets:\n            return self.limiter.take(budgets, cost)\n",
        ),
    )
    yield from each(
        file,
        (MAILS,),
        ('self.limiter.rates["RATELIMIT_RECIPIENT"], email_key)', 'self.limiter.rates["RATELIMIT_RECIPIENT"])'),
        (
            'return self._ask_or_go_on(self._budget("recipient"',
            'return self._ask_or_go_on([] and self._budget("recipient"',
        ),
    )
    yield from each(
        "tokens.py",
        within(LIMITER, "test_names", "test_keys_tell_nothing"),
        ('text = "\\0".join((self._app, *map(str, what)))', 'text = "\\0".join(map(str, what))'),
        ('text = "\\0".join((self._app, *map(str, what)))', 'text = "".join((self._app, *map(str, what)))'),
        (
            'return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]',
            "return text",
        ),
        (
            'return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]',
            'return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]',
        ),
    )


def callers() -> Iterator[Mutant]:
    """Where they are asked: on each path, once, and before anything is looked up."""
    yield from each(
        "acts/invite.py",
        (ACTS,),
        ("    ctx.limits.inviting(by.id, by.tenant_id)\n", ""),
        ("        ctx.limits.inviting(by.id, by.tenant_id, len(rows))\n", "        pass\n"),
        (
            "        ctx.limits.inviting(by.id, by.tenant_id, len(rows))\n",
            "        ctx.limits.inviting(by.id, by.tenant_id)\n",
        ),
        ("    if not dry_run:\n        ctx.limits", "    if True:\n        ctx.limits"),
        (
            '    ctx.limits.inviting(by.id, by.tenant_id)\n\n    def make() -> InvitationInfo:\n        ((case, refusal),) = _cases(ctx, by, [wanted], "invite", held=True)\n',
            '    def make() -> InvitationInfo:\n        ((case, refusal),) = _cases(ctx, by, [wanted], "invite", held=True)\n        ctx.limits.inviting(by.id, by.tenant_id)\n',
        ),
    )
    yield from each(
        "acts/manage.py",
        (ACTS,),
        ("    ctx.limits.inviting(by.id, by.tenant_id)\n", ""),
        ('    ctx.limits.inviting(by.id, by.tenant_id, len(ids), "ids")\n', ""),
        (
            "    ctx.limits.inviting(by.id, by.tenant_id)\n    tenants = _tenants(ctx, by, [invitation_id])\n\n    def again() -> InvitationInfo:\n        caps.hold(ctx, *tenants)\n        now, row = ctx.now(), find(ctx, by, invitation_id).row\n",
            "    tenants = _tenants(ctx, by, [invitation_id])\n\n    def again() -> InvitationInfo:\n        caps.hold(ctx, *tenants)\n        now, row = ctx.now(), find(ctx, by, invitation_id).row\n        ctx.limits.inviting(by.id, by.tenant_id)\n",
        ),
    )
    yield from each(
        "acts/fresh.py",
        within(ACTS, "test_a_fresh_link"),
        ("    except RateLimited:\n        return False\n", "    except RateLimited:\n        return True\n"),
        ("    if found is None:\n        return False\n    try:", "    if False:\n        return False\n    try:"),
        ('    if ctx.config.fresh_link == "send" and not _is_within_limits(ctx, link):\n        return\n', ""),
        ("    counted(ctx, by)\n", ""),
    )
    yield from each(
        "acts/answer.py",
        (ACTS,),
        ("    counted(ctx, by)\n    link = token_of(token)\n", "    link = token_of(token)\n"),
        ("    counted(ctx, by)\n    link = token_of(token)\n", "    link = token_of(token)\n    counted(ctx, by)\n"),
        ("    counted(ctx, by)\n    link, wish = token_of(token)", "    link, wish = token_of(token)"),
        (
            "    counted(ctx, by)\n    link = token_of(token)\n    del token\n\n    def look() -> Offer:\n        now, found = ctx.now(), opened_by(ctx, link)\n",
            "    link = token_of(token)\n    del token\n\n    def look() -> Offer:\n        now, found = ctx.now(), opened_by(ctx, link)\n        counted(ctx, by)\n",
        ),
    )
    yield from each(
        "acts/accept.py",
        (ACTS,),
        ("    counted(ctx, by, parse(token))\n", ""),
        ("    counted(ctx, by, parse(token))\n", "    counted(ctx, by)\n"),
    )
    yield from each(
        "acts/callers.py",
        (ACTS,),
        ("remote_addr = None if by.counted else by.origin.remote_addr", "remote_addr = by.origin.remote_addr"),
        ("return replace(by, counted=True)", "return by"),
    )
    yield from each(
        "outbox/mails.py",
        (MAILS,),
        ("if letter.kind not in WITH_LINK or letter.delivery.attempts > 1:", "if letter.kind not in WITH_LINK:"),
        ("if letter.kind not in WITH_LINK or letter.delivery.attempts > 1:", "if letter.delivery.attempts > 1:"),
        ("    if wait is not None:\n        return postponed(ctx, letter, wait)\n", ""),
    )
    yield from each(
        "outbox/outcomes.py",
        (MAILS,),
        ("ctx.now() + timedelta(seconds=seconds), tried=False)", "ctx.now(), tried=False)"),
        ("timedelta(seconds=seconds), tried=False)", "timedelta(seconds=seconds))"),
    )
    yield from each(
        "errors.py",
        ("tests/limits/test_acts.py", "tests/http/test_refusals.py"),
        ('return {"Retry-After": str(self.retry_after)}', "return {}"),
        ('return {"Retry-After": str(self.retry_after)}', 'return {"Retry-After": "1"}'),
    )
