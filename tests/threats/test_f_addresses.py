"""Addresses as identities: incidents in which two were taken for one, or one for two."""

from __future__ import annotations

from typing import Any

import pytest

from flask_invitations import canonical_email
from tests.hosts import PASSWORD, Host
from tests.http.tools import INVITE, LIST, PREVIEW, accept, invite, people, refused


@pytest.mark.parametrize(
    ("victim", "attacker"),
    [
        ("mike@example.org", "m\u0131ke@example.org"),  # dotless i: upper-cased both are MIKE
        ("strasse@example.org", "stra\u00dfe@example.org"),  # case-folded both are strasse
        ("jose@example.org", "jos\u00e9@example.org"),  # for many collations the same
        ("a@example.org", "\uff41@example.org"),  # full width
    ],
)
def test_no_case_mapping_makes_two_mailboxes_one(host: Host, victim: str, attacker: str) -> None:
    """F1: an address that Unicode maps onto the victim's is another address: it neither finds their account nor gets
    their email, which goes to exactly what was stored."""
    tenant, admin, *_ = people(host)
    host.user(victim, "user", tenant, password=PASSWORD)
    answer = host.client(admin).post(INVITE, json={"email": attacker})
    if answer.status_code == 422:
        assert host.outbox.messages == []
        return
    assert answer.status_code == 201, answer.text
    (message,) = host.outbox.messages
    assert message.to == attacker
    offer: Any = host.client().post(PREVIEW, json={"token": host.outbox.token_to(attacker)}).json
    assert offer["account_exists"] is False
    refused(host.client(admin).post(INVITE, json={"email": victim}), 409, "already-member")


def test_a_sign_that_is_a_letter_is_that_letter(local: Host) -> None:
    """F1: the sign for kelvin is the letter K by its normal form: its email goes to the plain address, never to another
    mailbox."""
    _, admin, *_ = people(local)
    made = invite(local.client(admin), "\u212aay@example.org")
    assert [message.to for message in local.outbox.messages] == ["Kay@example.org"]
    refused(
        local.client(admin).post(INVITE, json={"email": "kay@example.org"}),
        409,
        "already-invited",
        invitation_id=made["id"],
    )


@pytest.mark.parametrize(
    "email",
    [
        "a\uff20example.com",  # full-width @
        "a\ufe6bexample.com",  # small @
        "ann\uff20evil.com@example.com",  # a full-width @ before the real one
        "ann\uff05evil.com@example.com",  # a full-width %, a route to some servers
        "ann@exam\u2100ple.com",  # a sign that normalises to a/c
        "ann@ex\u2024ample.com",  # one dot leader
        "ann@example\uff0ecom",
        "ann@mail\uff0eexample.com",
        "ann@\u24d4xample.com",  # a circled e
        "ann\u200b@example.com",
        "ann@evil.com\uff20example.com",
        "\u202eann@example.com",
    ],
)
def test_normalised_first_then_judged(local: Host, email: str) -> None:
    """F2: a character that only becomes an ``@`` or a dot when somebody normalises it later is refused now."""
    admin = people(local)[1]
    refused(local.client(admin).post(INVITE, json={"email": email}), 422, "invalid-request")
    with pytest.raises(ValueError, match="address"):
        canonical_email(email)


@pytest.mark.parametrize(
    "email",
    [
        "a@bad.example@good.example",
        '"a@bad.example"@good.example',
        "a@bad.example, b@good.example",
        "a@bad.example;b@good.example",
        "Ann <a@bad.example>",
        "<a@bad.example>a@good.example",
        "a@[127.0.0.1]",
        "a(b@bad.example)@good.example",
        "a%bad.example@good.example",
        "bad.example!a@good.example",
        "@bad.example:a@good.example",
    ],
)
def test_one_bare_address_and_no_other(local: Host, email: str) -> None:
    """F3: what two readers could take for two mailboxes is no address; nothing is stored, and nothing is sent."""
    admin = people(local)[1]
    refused(local.client(admin).post(INVITE, json={"email": email}), 422, "invalid-request")
    assert local.outbox.messages == []
    assert local.rows(local.invitations.models.Invitation) == []


def test_every_spelling_is_one_person(host: Host) -> None:
    """F4: upper and lower case and the two forms of an international domain are one address: one open invitation, found
    by every spelling, and its account is a member under every one; what is sent to is what was typed."""
    _, admin, *_ = people(host)
    client = host.client(admin)
    made = invite(client, "Bob.Lee@B\u00fccher.example")
    assert host.outbox.messages[0].to == "Bob.Lee@xn--bcher-kva.example"
    spellings = ("bob.lee@b\u00fccher.example", "BOB.LEE@XN--BCHER-KVA.EXAMPLE", "bob.lee@xn--bcher-kva.example")
    for spelling in spellings:
        answer = client.post(INVITE, json={"email": spelling})
        refused(answer, 409, "already-invited", invitation_id=made["id"])
        page: Any = client.get(LIST, query_string={"email": spelling}).json
        assert [each["id"] for each in page["items"]] == [made["id"]]
    assert accept(host.client(), host.outbox.token_to("bob.lee@b\u00fccher.example")).status_code == 201
    for spelling in spellings:
        refused(client.post(INVITE, json={"email": spelling}), 409, "already-member")


def test_dots_and_tags_belong_to_the_provider(host: Host) -> None:
    """F5: with dots and plus tags it is another address, as it is at most providers: no account of one is found for the
    other, and nobody is invited in their place."""
    tenant, admin, *_ = people(host)
    host.user("annlee@example.com", "user", tenant)
    client = host.client(admin)
    for email in ("ann.lee@example.com", "annlee+news@example.com"):
        invite(client, email)
        offer: Any = host.client().post(PREVIEW, json={"token": host.outbox.token_to(email)}).json
        assert (offer["email"], offer["account_exists"]) == (email, False)
    refused(client.post(INVITE, json={"email": "annlee@example.com"}), 409, "already-member")
