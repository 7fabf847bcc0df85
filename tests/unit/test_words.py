"""The one table of words: every refusal has its words for everybody who can meet it, and they stand nowhere else."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

import flask_invitations
from flask_invitations import AccountExists, AddressNotAllowed, InvitationError, InvitationExpired, errors, words
from flask_invitations.acts import rules
from flask_invitations.errors import Sentence
from flask_invitations.words import FAILURES, INVITEE, MANAGER, OBSTACLES, REASONS, told, unsent_because

PACKAGE = Path(flask_invitations.__file__).parent
CLASSES = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, InvitationError)]
CODES = {each.code for each in CLASSES}
#: No form of ours can cause them.
CALLS_ONLY = {"unsupported-media-type", "openapi-unavailable", "idempotency-in-progress", "idempotency-mismatch"}
#: What only a manager can be told, and what only an invitee can.
TO_MANAGERS = {
    "address-not-allowed", "address-suppressed", "already-invited", "forbidden", "invalid-request", "mail-bounced",
    "plan-changed", "tenant-inactive", "too-many-pending",
}  # fmt: skip
TO_INVITEES = {"account-unverified", "invitation-replaced", "invitation-withdrawn", "wrong-account"}


class Unfinished(InvitationError):
    """A refusal of the host's own."""

    code = "second-factor"
    status = 403
    sentence = "Set up a second factor first."


def _sentences() -> Iterator[Sentence]:
    """Every sentence of the tables, and of the classes."""
    for table in (INVITEE, MANAGER, OBSTACLES):
        for entry in table.values():
            yield from filter(None, (entry.heading, entry.sentence, entry.next_step))
    yield from (*REASONS.values(), *FAILURES.values(), words._NOT_SENT, words._NOT_NEEDED)
    yield from (each.sentence for each in CLASSES)  # type: ignore[misc]


def test_every_code_has_words() -> None:
    """Each refusal has an entry for each audience that can meet it, and there is none for anything else."""
    assert {key.partition("/")[0] for key in INVITEE} == CODES - CALLS_ONLY - TO_MANAGERS
    assert {key.partition("/")[0] for key in MANAGER} == CODES - CALLS_ONLY - TO_INVITEES
    assert REASONS.keys() <= CODES
    said = {refusal.code for rule in rules.OBSTACLE for refusal in [_broken(rule)] if refusal is not None}
    assert OBSTACLES.keys() >= said


def _broken(rule: rules.Rule) -> InvitationError | None:
    """What a rule says where everything is wrong that it could look at; nothing of one that looks at the state."""
    facts = rules.Facts(
        tenant_active=False,
        inviter_there=False,
        inviter_may_grant=False,
        suppressed=True,
        has_account=True,
        can_join=False,
        seats=0,
    )
    return rule(replace(facts, is_member=True) if rule is rules.member else facts)


def test_one_place() -> None:
    """No sentence about a refusal is written twice, and none stands in a template."""
    written = Counter(
        node.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    templates = "".join(path.read_text() for path in PACKAGE.glob("templates/**/*.*"))
    said = set(_sentences())
    assert {each: written[each] for each in said if written[each] != 1} == {}
    assert [each for each in said if f'_("{each}")' in templates] == []


def test_no_template_knows_a_code() -> None:
    """Templates show what the table says and offers: none has a case for a code."""
    for path in PACKAGE.glob("templates/**/*.*"):
        text = path.read_text()
        assert [code for code in CODES if f'"{code}"' in text or f"'{code}'" in text] == [], path.name


def test_all_can_be_translated() -> None:
    """Every sentence is one that is translated, and is in the catalogs' template."""
    with (PACKAGE / "translations/flask_invitations.pot").open("rb") as file:
        template = read_po(file)
    for each in _sentences():
        assert isinstance(each, Sentence), each
        assert each in template


@pytest.mark.parametrize("table", [INVITEE, MANAGER], ids=["invitee", "manager"])
def test_a_hosts_own(table: dict[str, words.Words]) -> None:
    """A refusal of the host's own is told by its sentence, under a general heading, in the host's translation."""
    found = told(table, Unfinished(), {"Set up a second factor first.": "Erst der zweite Faktor."}.get)  # type: ignore[arg-type]
    assert found.sentence == "Erst der zweite Faktor."
    plain = told(table, Unfinished("Set it up."), str)
    assert (plain.heading, plain.sentence, plain.next_step) == (table["invitation-error"].heading, "Set it up.", "")


def test_a_better_sentence_wins() -> None:
    """What a refusal says of the case at hand is told in place of what its code usually says."""
    usual, special = (told(MANAGER, each, str) for each in (AddressNotAllowed(), AddressNotAllowed("Partners only.")))
    assert usual.sentence == AddressNotAllowed.sentence
    assert (special.sentence, special.next_step, special.field) == ("Partners only.", "", "email")


def test_cases() -> None:
    """Where a code has several cases each has words of its own; an unknown case is the usual one."""
    offers = {case: told(INVITEE, InvitationExpired(), str, case).way for case in ("", "send", "ask", "else")}
    assert offers == {"": "", "send": "fresh", "ask": "fresh", "else": ""}
    stuck = told(INVITEE, AccountExists("A detail of ours."), str, "cannot-join")
    assert (stuck.sentence, stuck.way) == ("Your account cannot join another organization.", "")


@pytest.mark.parametrize("error", [None, "", "TimeoutError", "SMTPRecipientsRefused", "WorkerLost", "second-factor"])
@pytest.mark.parametrize("cancelled", [False, True])
def test_why_an_email_was_not_sent(error: str | None, cancelled: bool) -> None:
    """Whatever is on record, a manager reads a sentence, never the name of a class or a code."""
    said = unsent_because(error, str, cancelled=cancelled)
    assert said.endswith(".")
    assert not error or error not in said
