"""The sets of rules by themselves: what each reads, and in which order."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flask_invitations.acts import rules
from flask_invitations.acts.rules import Facts, Rule, Session
from flask_invitations.errors import AddressNotAllowed, Forbidden, InvitationError, InvitationRevoked

DOCS = Path(__file__).parents[2] / "docs" / "rules.md"
SETS: Mapping[str, Sequence[Rule]] = {
    "Make": rules.MAKE,
    "Resend": rules.RESEND,
    "Send": rules.SEND,
    "Accept": rules.ACCEPT,
}

#: For each rule, by its name: facts that break it, and what it says then.
BROKEN: Mapping[str, tuple[dict[str, Any], str]] = {
    "live": ({"ended": InvitationRevoked()}, "invitation-revoked"),
    "tenant_active": ({"tenant_active": False}, "tenant-inactive"),
    "tenant_there": ({"tenant_active": False}, "invitation-withdrawn"),
    "inviter_there": ({"inviter_there": False}, "invitation-withdrawn"),
    "inviter_ceiling": ({"inviter_may_grant": False}, "role-not-allowed"),
    "ceiling": ({"may_grant": False}, "role-not-allowed"),
    "grants": ({"grants_allowed": False}, "grants-not-allowed"),
    "address": ({"address_refused": AddressNotAllowed()}, "address-not-allowed"),
    "suppression": ({"suppressed": True}, "address-suppressed"),
    "bounce": ({"bounced": True}, "mail-bounced"),
    "session": ({"has_account": True, "session": Session.NOBODY}, "account-exists"),
    "verified": ({"has_account": True, "verified": False}, "account-unverified"),
    "member": ({"has_account": True, "is_member": True}, "already-member"),
    "joinable": ({"has_account": True, "can_join": False}, "account-exists"),
    "account_joins": ({"has_account": True, "can_join": False}, "account-exists"),
    "gate": ({"gate": Forbidden()}, "forbidden"),
    "free": ({"holder": uuid.UUID(int=1)}, "already-invited"),
    "room": ({"has_room": False}, "too-many-pending"),
    "seat": ({"seats": 0}, "no-seats"),
}


def said(facts: Facts, these: Sequence[Rule]) -> list[str]:
    return [refusal.code for refusal in rules.reasons(these, facts)]


@pytest.mark.parametrize("name", SETS)
def test_sets_are_as_documented(name: str) -> None:
    """The four sets are those of docs/rules.md, rule by rule and in its order."""
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in DOCS.read_text().splitlines() if "|" in line]
    column = table[0].index(name)
    places = {int(row[column]): row[0].strip("`") for row in table[2:] if row[column]}
    assert [rule.__name__ for rule in SETS[name]] == [places[place] for place in sorted(places)]


def test_what_is_told_is_made_of_the_sets() -> None:
    """A manager's obstacle is the set *Send* and whether there is a seat; declining asks the beginning of *Accept*."""
    assert (*rules.SEND, rules.seat) == rules.OBSTACLE
    assert tuple(rules.ACCEPT[:3]) == rules.OPENS


def test_every_rule_has_its_facts() -> None:
    """Every rule of every set stands in the table above."""
    assert {rule.__name__ for these in (*SETS.values(), rules.OBSTACLE, rules.OPENS) for rule in these} == set(BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_a_rule_reads_its_facts(name: str) -> None:
    """What a rule forbids is told by exactly those sets that have it, and unknown facts forbid nothing."""
    facts, code = BROKEN[name]
    broken = replace(Facts(), **facts)
    for these in (*SETS.values(), rules.OBSTACLE, rules.OPENS):
        has = [rule.__name__ for rule in these]
        assert said(Facts(), these) == []
        assert (code in said(broken, these)) == (name in has or _another_reads(name, has))


def _another_reads(name: str, has: Sequence[str]) -> bool:
    """Whether a set has another rule that says the same of the same facts."""
    facts, code = BROKEN[name]
    return any(BROKEN[other] == (facts, code) for other in has)


@pytest.mark.parametrize("name", SETS)
def test_the_first_reason_is_the_refusal(name: str) -> None:
    """Where several rules are broken, all are told, each in its turn, and the act raises the first."""
    wrong: dict[str, Any] = {}
    for rule in SETS[name]:
        wrong.update({} if rule.__name__ == "member" else BROKEN[rule.__name__][0])
    facts, expected = replace(Facts(), **wrong), [BROKEN[rule.__name__][1] for rule in SETS[name]]
    expected.remove("already-member")  # a member's account need not join
    assert said(facts, SETS[name]) == expected
    with pytest.raises(InvitationError) as refused:
        rules.first(SETS[name], facts)
    assert refused.value.code == expected[0]


@pytest.mark.parametrize(("seats", "told"), [(None, []), (1, []), (0, ["no-seats"])])
def test_a_last_seat_is_a_seat(seats: int | None, told: list[str]) -> None:
    """One seat takes one more member; no number of seats is no limit."""
    assert said(Facts(seats=seats), rules.ACCEPT) == told


def test_strangers_accept_nothing() -> None:
    """A5, A12: whoever is signed in with another account is told that, whether or not the address has one."""
    for has_account in (True, False):
        assert said(Facts(has_account=has_account, session=Session.OTHER), rules.ACCEPT) == ["wrong-account"]


def test_managers_learn_of_accounts_where_they_may() -> None:
    """``REVEAL_ACCOUNTS`` off: only the invitee is told of an account that cannot join."""
    facts = Facts(has_account=True, can_join=False, tells_of_accounts=False)
    assert (said(facts, rules.MAKE), said(facts, rules.SEND), said(facts, rules.ACCEPT)) == ([], [], ["account-exists"])


def test_members_need_not_join() -> None:
    """A member is told that, and not that accounts cannot join."""
    facts = Facts(has_account=True, is_member=True, can_join=False)
    assert (said(facts, rules.MAKE), said(facts, rules.ACCEPT)) == (["already-member"], ["already-member"])
