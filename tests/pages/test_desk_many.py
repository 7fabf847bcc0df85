"""The desk's pages to invite many, and to resend or revoke those that were selected, through the app's test client."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import got_request_exception, request
from flask.testing import FlaskClient
from jinja2 import StrictUndefined
from werkzeug.test import TestResponse

from flask_invitations import InvitationError
from tests.hosts import Host, build
from tests.http.tools import NO_ID, invite, make, set_columns, unchanged
from tests.pages.test_desk import DESK, EVIL, admin, heading, sealed, words

MANY, PREVIEW, SELECTED = f"{DESK}many", f"{DESK}many/preview", f"{DESK}selected"
LIST = "Ann Lee <ann@example.com>\nbob@example.com; cid@\nDora\nann@example.com"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Host]:
    """The default host on SQLite: what is tested with it is the page, not the database below it."""
    with build(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as host:
        yield host


def look(client: FlaskClient, people: str = "", file: bytes | None = None, **terms: str) -> TestResponse:
    """Fill in the form, and ask for the preview."""
    upload = {} if file is None else {"file": (io.BytesIO(file), "people.csv")}
    data = {"seal": sealed(client, MANY, PREVIEW), "people": people, **terms, **upload}
    return client.post(PREVIEW, data=data, content_type="multipart/form-data")


def carried(page: TestResponse) -> dict[str, str]:
    """What the form of the preview sends."""
    assert page.status_code in (200, 409), page.text
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text)
    return {name: unescape(value) for name, value in found}


def send(client: FlaskClient, page: TestResponse, **more: str) -> TestResponse:
    """Press the button of the preview."""
    return client.post(MANY, data={**carried(page), **more})


def rows(page: TestResponse, title: str) -> list[str]:
    """The lines of one of the preview's tables, as one reads them."""
    part = re.search(rf"<h2[^>]*>{title}</h2>.*?</table>", page.text, re.DOTALL)
    found = re.findall(r"<tr role=\"row\">(.*?)</tr>", part[0] if part else "", re.DOTALL)[1:]
    return [" ".join(unescape(re.sub(r"<[^>]*>", " ", each)).split()) for each in found]


def invited(host: Host) -> list[str]:
    return [row.email for row in host.rows(host.invitations.models.Invitation)]


# A list


def test_look_then_send(host: Host) -> None:
    """A pasted list gets a verdict for each line, and nothing is written; then everybody is invited of whom that was
    said, and the list of invitations says how many and why others were not; on each database."""
    client = admin(host)
    with unchanged(host):
        page = look(client, LIST, role="manager", message="Hello", expires_in="604800")
    text = words(page)
    for said in ("2 people will be invited to", "3 lines will not be used", "Send 2 invitations", "Hello", "7 days"):
        assert said in text, said
    assert rows(page, "Will be invited") == ["ann@example.com Ann Lee manager", "bob@example.com manager"]
    assert rows(page, "Will not be invited") == [
        "cid@ This is not a valid email address. 2",
        "Dora There is no email address in this line. 3",
        "ann@example.com This address is on the list more than once. 4",
    ]
    done = send(client, page)
    assert done.status_code == 303
    assert sorted((row.email, row.role, row.message) for row in host.rows(host.invitations.models.Invitation)) == [
        ("ann@example.com", "manager", "Hello"),
        ("bob@example.com", "manager", "Hello"),
    ]
    assert {mail.to for mail in host.outbox.messages} == {"ann@example.com", "bob@example.com"}
    told = words(client.get(done.headers["Location"]))
    assert "2 people were invited." in told
    assert "3 were refused: 2 × Something in the line is missing or wrong. 1 × This address already has" in told


def test_a_file(site: Host) -> None:
    """An uploaded list, whatever it is encoded in, is read like a pasted one; its columns go before what was chosen for
    all, and then it travels as text."""
    client = admin(site)
    file = "E-Mail;Rolle;Nachricht\nzoë@example.com;viewer;Grüße\nbob@example.com;;\neve@example.com;pope;\n"
    page = look(client, file=file.encode("cp1252"), role="admin", message="Hello")
    assert rows(page, "Will be invited") == ["zoë@example.com viewer", "bob@example.com admin"]
    assert rows(page, "Will not be invited") == ["eve@example.com There is no such role. Check its name. 4"]
    assert send(client, page).status_code == 303
    made = {row.email: (row.role, row.message) for row in site.rows(site.invitations.models.Invitation)}
    assert made == {"zoë@example.com": ("viewer", "Grüße"), "bob@example.com": ("admin", "Hello")}


def test_change_the_list(site: Host) -> None:
    """From the preview one comes back to the form as it was typed, and nothing is sent."""
    client = admin(site)
    page = look(client, "\n" + LIST, role="viewer", message="Hi", expires_in="604800")
    with unchanged(site):
        form = send(client, page, change="1")
    assert f">\n\n{LIST.replace('<', '&lt;').replace('>', '&gt;')}</textarea>" in form.text
    assert ">\nHi</textarea>" in form.text
    assert '<option value="viewer" selected>' in form.text
    assert '<option value="604800" selected>' in form.text


def test_sent_twice(site: Host) -> None:
    """A form that is sent again invites nobody again: the preview is shown as it is now."""
    client = admin(site)
    page = look(client, "ann@example.com, bob@example.com")
    assert send(client, page).status_code == 303
    with unchanged(site):
        again = send(client, page)
    assert (again.status_code, heading(again)) == (409, "Preview of the list")
    assert "Something has changed since the preview." in words(again)
    assert "Send" not in re.findall(r"<button.*?>(.*?)</button>", again.text)[0]
    assert len(rows(again, "Will not be invited")) == 2


def test_what_changed_meanwhile(site: Host) -> None:
    """Where something else would become of a line than was shown, nothing is sent; the new preview can be."""
    client = admin(site)
    page = look(client, "ann@example.com, bob@example.com")
    invite(client, "bob@example.com")
    again = send(client, page)
    assert (again.status_code, invited(site)) == (409, ["bob@example.com"])
    assert rows(again, "Will be invited") == ["ann@example.com user"]
    assert send(client, again).status_code == 303
    assert invited(site) == ["bob@example.com", "ann@example.com"]


def test_nothing_without_a_preview(site: Host) -> None:
    """What was never shown is never sent, whatever the form says."""
    client = admin(site)
    fields = carried(look(client, "ann@example.com"))
    with unchanged(site):
        for change in ({"plan": ""}, {"plan": "x" * 500}, {"people": "eve@example.com"}, {"role": "viewer"}):
            assert client.post(MANY, data={**fields, **change}).status_code == 409


@pytest.mark.parametrize(
    ("people", "file", "terms", "said", "field"),
    [
        ("", None, {}, "Paste a list or choose a file.", "people"),
        (" \n ,; ", None, {}, "Paste a list or choose a file.", "people"),
        ("a@example.com", b"b@example.com", {}, "not both", "file"),
        ("", b"PK\x03\x04\0", {}, "This is not a text file. Save the list as CSV.", "file"),
        ("", b"email,mail\na@example.com,b@example.com", {}, "Two columns have the email.", "people"),
        ("\n".join(f"a{number}@example.com" for number in range(1001)), None, {}, "at most 1000 people", "people"),
        ("x" * 410_000, None, {}, "This list is too long.", "people"),
        ("a@example.com", None, {"message": "x" * 1001}, "Use at most 1000 characters", "message"),
        ("a@example.com", None, {"role": "pope"}, "Choose one of the options.", "role"),
        ("a@example.com", None, {"expires_in": "60"}, "Choose one of the options.", "expires_in"),
    ],
)
def test_refused(site: Host, people: str, file: bytes | None, terms: dict[str, str], said: str, field: str) -> None:
    """What is wrong with the form is said at the field, and on top of the page with a link there; what was typed is
    still there."""
    answer = look(admin(site), people, file, **terms)
    assert (answer.status_code, heading(answer)) == (422, "Invite many people")
    assert words(answer).count(said) == 2
    assert f'<a href="#invitations-field-{field}">' in answer.text
    assert f'id="invitations-error-{field}"' in answer.text
    assert f">\n{people}</textarea>" in answer.text or file


def test_a_file_too_large(site: Host) -> None:
    """I4: more than a mebibyte is refused, before it is read."""
    body = {"data": b"x" * (1024 * 1024 + 1), "content_type": "multipart/form-data; boundary=x"}
    answer = admin(site).post(PREVIEW, **body)
    assert (answer.status_code, heading(answer)) == (413, "This is too long")


def test_a_thousand(site: Host) -> None:
    """A thousand people, as many as a call takes, are looked at and invited, pasted as well as uploaded, with names."""
    client, people = admin(site), [f"Nőra {number} <nora{number}@example.com>" for number in range(1000)]
    page = look(client, "\n".join(people[:500]))
    assert send(client, page).status_code == 303
    page = look(client, file="\n".join(people).encode())
    assert (len(rows(page, "Will be invited")), len(rows(page, "Will not be invited"))) == (500, 500)
    assert send(client, page).status_code == 303
    assert len(invited(site)) == 1000


class Enough(InvitationError):
    """A refusal of the host's own, of the whole call or of a row."""

    code = "enough"
    status = 429
    sentence = "That is <b>enough</b> for today."


def test_a_refusal_of_the_whole_call(tmp_path: Path) -> None:
    """What refuses all of them is told above the form, which has everything that was typed."""

    def refuse(tenant_id: Any) -> bool:
        raise Enough

    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", tenant_is_active=refuse) as host:
        answer = look(admin(host), LIST)
        assert answer.status_code == 429
        assert "No one was invited That is <b>enough</b> for today." in words(answer)
        assert "Ann Lee &lt;ann@example.com&gt;" in answer.text


def test_a_refusal_of_the_whole_selection(tmp_path: Path) -> None:
    """What refuses all that were selected is told above the list; nothing was changed."""
    full: list[bool] = []

    def refuse(tenant_id: Any) -> bool:
        if full:
            raise Enough
        return True

    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", tenant_is_active=refuse) as host:
        client = admin(host)
        made = invite(client)["id"]
        full.append(True)
        with unchanged(host):
            answer = select(client, "resend", made)
        assert answer.status_code == 429
        assert "Nothing was changed That is <b>enough</b> for today." in words(answer)


def test_no_tracker_sees_the_list(tmp_path: Path) -> None:
    """Whatever fails, an error tracker that reads the request again finds neither what was pasted nor the file."""
    seen: list[Any] = []

    def fail(tenant_id: Any) -> bool:
        raise RuntimeError("a bug of the host's")

    def report(app: Any, **more: Any) -> None:
        seen.append((request.form["people"], dict(request.files), request.get_data()))

    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", tenant_is_active=fail) as host:
        client = admin(host)
        with got_request_exception.connected_to(report, host.app):
            for given in ({"people": LIST}, {"file": LIST.encode()}):
                with pytest.raises(RuntimeError):
                    look(client, **given)
    assert seen == [("***", {}, b"")] * 2


def test_verdicts(site: Host) -> None:
    """Each refusal of a row is told in words with what to do, and leads to the invitation that is in the way."""
    case = make(site, "bounced")
    client = case.client("admin")
    open_one = invite(client, "open@example.com")["id"]
    assert client.delete(case.url).status_code == 204
    page = look(client, f"{case.email}\nopen@example.com\nplain@acme.example\nmax@example.com", role="owner")
    assert len(rows(page, "Will not be invited")) == 4
    page = look(client, f"{case.email}\nopen@example.com\nplain@acme.example\nmax@example.com")
    assert rows(page, "Will not be invited") == [
        f"{case.email} The last email to this address came back or was reported as spam. "
        "Check the address. If it is correct, invite or resend this one alone. 1",
        "open@example.com This address already has an open invitation. Resend or revoke that one. 2",
        "plain@acme.example This address already belongs to a member. No invitation is needed. 3",
    ]
    assert f'<a href="{DESK}{open_one}">' in page.text


def test_hostile_lists(site: Host) -> None:
    """E2, K2, K4: whatever stands in a list is shown as plain text: no markup, no invisible or turning characters."""
    client = admin(site)
    people = f'{EVIL}\n{EVIL}@example.com\n{EVIL} <x@example.com>\n=1+1\tcall@example.com\n"><script>alert(1)</script>'
    page = look(client, people, message=EVIL)
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    shown = re.sub(r'value="[^"]*"', "", page.text)
    assert "evil.example" not in shown
    assert re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f]", shown) is None
    assert "<script>alert" not in send(client, page, change="1").text
    assert send(client, page).status_code == 303
    assert invited(site) == ["x@example.com", "call@example.com"]


def test_more_than_would_ever_fit(tmp_path: Path) -> None:
    """Where a rate limit has no room for so many, however long one waits, it is said for how many there is."""
    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", config={"INVITATIONS_RATELIMIT_INVITE": "3/day"}) as host:
        client = admin(host)
        made = [invite(client, f"a{number}@example.com")["id"] for number in range(3)]
        with unchanged(host):
            sent = send(client, look(client, " ".join(f"b{number}@example.com" for number in range(4))))
            resent = select(client, "resend", *made, made[0])
        assert (sent.status_code, resent.status_code) == (422, 422)
        assert "No one was invited Invite at most 3 people at a time. Invite many people" in words(sent)
        assert "Nothing was changed Invite at most 3 people at a time." in words(resent)


# Those that were selected


def select(client: FlaskClient, action: str, *ids: Any, place: str = "") -> TestResponse:
    """Tick the boxes of these, and press a button."""
    page = f"{DESK}{place}"
    data = {"seal": sealed(client, page, f"{SELECTED}{place.replace('&', '&amp;')}"), "action": action}
    return client.post(f"{SELECTED}{place}", data={**data, "id": [str(each) for each in ids]})


def confirm(client: FlaskClient, asked: TestResponse) -> TestResponse:
    """Press the button that revokes."""
    action = re.search(r'<form method="post" action="([^"]+)"', asked.text)
    assert action
    found = re.findall(r'name="(seal|id)" value="([^"]*)"', asked.text)
    ids = [value for name, value in found if name == "id"]
    return client.post(unescape(action[1]), data={"seal": dict(found)["seal"], "id": ids})


def test_resend_selected(host: Host) -> None:
    """Those that were ticked are sent again; how many, and why others were not, the list tells, where it was; on each
    database."""
    client = admin(host)
    made = [invite(client, f"p{number}@example.com")["id"] for number in range(4)]
    page = client.get(DESK).text
    assert sorted(re.findall(r'name="id" value="([^"]+)"', page)) == sorted(made)
    with host.app.app_context():
        host.invitations.decline(host.outbox.token_to("p1@example.com"))
    assert made[1] not in re.findall(r'name="id" value="([^"]+)"', client.get(DESK).text)
    done = select(client, "resend", *made[:3], NO_ID, "x", place="?q=p&role=user")
    assert done.status_code == 303
    assert done.headers["Location"].startswith(f"{DESK}?")
    assert "q=p" in done.headers["Location"]
    assert [mail.to for mail in host.outbox.messages[4:]] == ["p0@example.com", "p2@example.com"]
    told = words(client.get(done.headers["Location"]))
    assert "2 invitations were resent." in told
    assert "3 were refused:" in told
    assert "1 × This invitation was declined in the meantime. 2 × There is no such invitation." in told


def test_revoke_selected(host: Host) -> None:
    """Revoking those that were ticked asks first, with their addresses; on each database."""
    client = admin(host)
    made = [invite(client, f"p{number}@example.com")["id"] for number in range(3)]
    with unchanged(host):
        asked = select(client, "revoke", *made[:2])
    assert (asked.status_code, heading(asked)) == (200, "Revoke 2 invitations?")
    assert "p1@example.com" in asked.text
    assert "p2@example.com" not in asked.text
    done = confirm(client, asked)
    assert [row.status for row in host.rows(host.invitations.models.Invitation)] == ["revoked", "revoked", "pending"]
    assert "2 invitations were revoked." in words(client.get(done.headers["Location"]))


def test_another_tenants(host: Host) -> None:
    """C7: a foreign id among those that were selected is answered as one that nobody has: byte for byte, but for the
    id; on each database."""
    case = make(host, "pending")
    client = case.client("stranger")
    invite(client, "mine@example.com")
    with unchanged(host):
        foreign, unknown = (select(client, "resend", each).headers["Location"] for each in (case.id, NO_ID))
        assert foreign == unknown
        asked = [select(client, "revoke", each) for each in (case.id, NO_ID)]
        assert asked[0].text.replace(str(case.id), str(NO_ID)) == asked[1].text
        assert case.email not in asked[0].text
        assert len({confirm(client, each).headers["Location"] for each in asked}) == 1
    assert "There is no such invitation." in words(client.get(foreign))


def test_nothing_selected(site: Host) -> None:
    """Without a tick the list says what to do."""
    client = admin(site)
    invite(client)
    for action in ("resend", "revoke"):
        done = select(client, action)
        assert "Select at least one invitation first." in words(client.get(done.headers["Location"]))


def test_the_notice_cannot_be_made(site: Host) -> None:
    """What became of many is told only where we said so: to this manager, and with these numbers."""
    client = admin(site)
    made = invite(client)["id"]
    true = select(client, "resend", made).headers["Location"]
    assert "1 invitation was resent." in words(client.get(true))
    for false in (true.replace("1", "7", 1), re.sub("&seal=[^&]*", "", true), f"{DESK}?done=none,0", f"{DESK}?done="):
        assert 'role="status" tabindex' not in client.get(false).text, false
    second = site.client(site.user("second@example.com", "admin"))
    assert 'role="status" tabindex' not in second.get(true).text


# All of them


def forms() -> list[str]:
    return [PREVIEW, MANY, SELECTED, f"{SELECTED}/revoke"]


def test_seals(site: Host) -> None:
    """H2: no form works without its own seal, and each is for one purpose only."""
    case = make(site, "pending")
    client = case.client("admin")
    seal = sealed(client, DESK, f"{DESK}invite")
    with unchanged(site):
        for form in forms():
            for given in ({}, {"seal": "x.y.z"}, {"seal": seal}):
                data = {"people": "new@example.com", "id": str(case.id), "action": "resend", **given}
                answer = client.post(form, data=data)
                assert (answer.status_code, heading(answer)) == (403, "This form is too old"), form


def test_who_may(site: Host) -> None:
    """C1: nobody who is not signed in, and no member without the right, sees one of the pages or may send a form."""
    case = make(site, "pending")
    for who, status in (("nobody", 401), ("plain", 403)):
        client = case.client(who)
        answers = [client.get(MANY), *(client.post(form, data={"id": str(case.id)}) for form in forms())]
        assert [answer.status_code for answer in answers] == [status] * 5
        assert all(case.email not in answer.text for answer in answers)


def test_restored_tabs(site: Host) -> None:
    """E4: a GET changes nothing; a restored tab of a form leads back to where it began."""
    client = admin(site)
    with unchanged(site):
        found = {page: client.get(page).headers.get("Location") for page in forms()}
    assert found == {PREVIEW: MANY, MANY: None, SELECTED: DESK, f"{SELECTED}/revoke": DESK}


def test_headers(site: Host) -> None:
    """D1, H3: the pages obey their own policy: no inline code, no foreign address, no cookie, no cache."""
    client = admin(site)
    made = invite(client)["id"]
    answers = [client.get(MANY), look(client), look(client, LIST), select(client, "revoke", made)]
    answers.append(client.get(select(client, "resend", made, NO_ID).headers["Location"]))
    for answer in answers:
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in answer.headers
        inline = r"<style|style=|\son\w+=|javascript:|<script(?! src=\"/invitations/static/)"
        assert re.search(inline, answer.text) is None


def test_strict_templates(site: Host) -> None:
    """The pages render where the host lets no undefined name pass, in every state."""
    site.app.jinja_env.undefined = StrictUndefined
    client = admin(site)
    page = look(client, LIST)
    answers = [client.get(MANY), look(client), page, send(client, page, change="1"), send(client, page)]
    made = invite(client)["id"]
    answers += [send(client, page), select(client, "revoke", made), client.get(select(client, "resend").location)]
    assert [answer.status_code for answer in answers] == [200, 422, 200, 200, 303, 409, 200, 200]


def test_hostile_roles(tmp_path: Path) -> None:
    """K4: the names of roles are shown as plain text."""
    config = {"INVITATIONS_ROLES": ("<b>r</b>" + EVIL, "admin"), "INVITATIONS_DEFAULT_ROLE": "<b>r</b>" + EVIL}
    config["INVITATIONS_ADMIN_ROLES"] = ("admin",)
    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", config=config, tenant_name=lambda tenant: EVIL) as host:
        client = admin(host)
        for page in (client.get(MANY), look(client, "a@example.com")):
            text = re.sub(r'value="[^"]*"', "", page.text)
            assert "<b>r" not in page.text
            assert "evil.example" not in text
            assert re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f]", text) is None


def test_nothing_to_grant(tmp_path: Path) -> None:
    """Whoever may look but grant no role gets no form."""
    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", can_invite=lambda user, tenant, role: role is None) as host:
        page = admin(host).get(MANY)
        assert (page.status_code, "<form" in page.text) == (200, False)


def test_of_the_past(site: Host) -> None:
    """Closed invitations, and those without an address, cannot be ticked: there is nothing to resend or revoke."""
    client = admin(site)
    made = invite(client)["id"]
    set_columns(site, site.invitations.models.Invitation, uuid.UUID(made), expires_at=site.clock())
    assert f'value="{made}"' in client.get(DESK).text
    assert client.delete(f"/api/v1/users/invitations/{made}").status_code == 204
    assert f'value="{made}"' not in client.get(DESK).text
