"""L: links as mail systems, link scanners and people hand them on."""

from __future__ import annotations

import quopri
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_invitations.pasted import MAX_CANDIDATES, candidates
from flask_invitations.tokens import Token
from tests.hosts import Host
from tests.pages.site import PAGES

OTHER = "v3fBqGkZ0sJ8yNl-5uXh_2wTcRmEoPaDi7Q1xYLVgWU"  # 43 characters too: Microsoft's sdata is like that
LINK = "https://app.example.com/invitations/accept#{}"


def _in_pieces(glue: str) -> Callable[[str], str]:
    """A link that is broken twice, once inside of the token."""
    return lambda token: LINK.format(token[:17] + glue + token[17:31] + glue + token[31:])


def _encoded(times: int) -> Callable[[str], str]:
    def encode(token: str) -> str:
        link = LINK.format(token)
        for _ in range(times):
            link = quote(link, safe="")
        return link

    return encode


def _in_hex(found: re.Match[str]) -> str:
    return f"-{ord(found[0]):02X}"


def _defended(token: str) -> str:
    """Proofpoint's URL Defense, version 2."""
    link = re.sub(r"[^A-Za-z0-9./]", _in_hex, LINK.format(token)).replace("/", "_")
    return f"https://urldefense.proofpoint.com/v2/url?u={link}&d=DwMFaQ&c={OTHER}&m={OTHER[::-1]}&e="


#: What a person may paste, or a mail system make of a link: from the token to the text.
PASTED: dict[str, Callable[[str], str]] = {
    "the token": str,
    "the link": LINK.format,
    "in a query": lambda token: f"https://app.example.com/join?token={token}&utm_source=mail",
    "in a path": lambda token: f"https://app.example.com/join/{token}/now?x=1",
    "encoded": _encoded(1),
    "encoded twice": _encoded(2),
    "encoded three times": _encoded(3),
    "only the sharp sign is encoded": lambda token: LINK.format(token).replace("#", "%23"),
    "safe links": lambda token: (
        f"https://eur02.safelinks.protection.outlook.com/?url={quote(LINK.format(token), safe='')}"
        f"&data=05%7C02%7C%7C{OTHER[:32]}&sdata={quote(OTHER + '=')}&reserved=0"
    ),
    "url defense 2": _defended,
    "url defense 3": lambda token: (
        f"https://urldefense.com/v3/__{LINK.format(token).replace('#', '*')}__;Iw!!{OTHER}!x$"
    ),
    "tracked, others before and behind": lambda token: (
        f"https://t.example/{OTHER}?u={quote(LINK.format(token))}&s={OTHER}"
    ),
    "others of its kind first": lambda token: f"?sig={OTHER}&token={token}",
    "others of its kind last": lambda token: f"?token={token}&sig={OTHER}",
    "a line end": _in_pieces("\r\n"),
    "a space": _in_pieces(" "),
    "a quotation": _in_pieces("\n> "),
    "a quotation of a quotation": _in_pieces("\r\n>> "),
    "a quotation in one line": _in_pieces("> "),
    "a soft break": _in_pieces("=\r\n"),
    "a soft break in one line": _in_pieces("="),
    "quoted-printable": lambda token: quopri.encodestring(
        f"https://app.example.com/join?a=1&token={token}&b=2".encode()
    ).decode(),
    "quoted-printable, all of it": lambda token: "".join(f"={ord(each):02X}" for each in LINK.format(token)),
    "an equals sign in quoted-printable": lambda token: f"https://app.example.com/join?token=3D{token}",
    "zero-width spaces": _in_pieces("\u200b"),
    "soft hyphens": _in_pieces("\xad"),
    "word joiners and marks": _in_pieces("\u2060\u200e\ufeff"),
    "a no-break space": _in_pieces("\xa0"),
    "Unicode line ends": _in_pieces("\u2028"),
    "invisible characters, encoded": lambda token: quote(_in_pieces("\u200b")(token), safe=":/#"),
    "a tab": _in_pieces("\t"),
    "angle brackets": lambda token: f"<{LINK.format(token)}>",
    "the end of a sentence": lambda token: f"Here it is: {LINK.format(token)}. Bye",
    "emphasis": lambda token: f"_{token}_ or __{LINK.format(token)}__",
    "Markdown": lambda token: f"[{LINK.format(token)}]({LINK.format(token)})".replace("_", r"\_"),
    "HTML": lambda token: f'&lt;a href="{LINK.format(token)}"&gt;',
    "a character reference": lambda token: LINK.format(token).replace("#", "&#35;"),
    "broken, and text behind": lambda token: f"{_in_pieces(chr(10))(token)}\nBest regards",
    "broken, and words around": lambda token: (
        f"Click https://app.example.com/join?token={token[:20]}\n{token[20:]}\nBye"
    ),
    "a bar before each line": lambda token: f"| {LINK.format(token)[:60]}\n| {LINK.format(token)[60:]}",
    "surrounded": lambda token: f"\n\t  {token}\u200b  \r\n",
}
#: And what has nothing to do with addresses.
TEXTS: dict[str, Callable[[str], str]] = {
    "a hyphenated word": lambda token: f"{LINK.format(token)[:70]}-\n{LINK.format(token)[70:]}",
    "breaks of HTML": lambda token: f"{LINK.format(token)[:70]}<br>\n<wbr>&shy;{LINK.format(token)[70:]}",
    "characters of HTML": lambda token: LINK.format(token.replace("-", "&#45;").replace("_", "&#x5f;")),
    "characters of JSON": lambda token: LINK.format(token.replace("-", r"\u002d").replace("_", r"\u005F")),
    "small letters in quoted-printable": lambda token: LINK.format(token.replace("-", "=2d").replace("_", "=5f")),
    "dashes of typesetters": lambda token: LINK.format(token.replace("-", "\u2011")),
    "full-width forms": lambda token: LINK.format(token.replace("-", "\uff0d").replace("_", "\uff3f")),
    "base64": lambda token: f"https://eu.example/?d=x&u={b64encode(LINK.format(token).encode()).decode()}&i=1",
    "base64 in a path, encoded": lambda token: (
        f"https://t.example/{quote(b64encode(LINK.format(token).encode()).decode(), safe='')}/{OTHER}"
    ),
    "a whole email": lambda token: f"{'Dear Nora, and so on. ' * 400}\n{LINK.format(token)}\nBye",
}
#: Tokens in which every character that any of this may touch stands in every place that matters.
TOKENS = (
    "Zz09_-Zz09_-Zz09_-Zz09_-Zz09_-Zz09_-Zz09_-A",
    "-_" * 21 + "-",
    "3D" * 21 + "3",
    "_" * 43,
    "AB" * 21 + "A",
    "2D5F" * 10 + "2D5",
)
#: In which nothing can be a token.
NOTHING = (
    "",
    " ",
    "x",
    LINK.format("A" * 42),
    f"{'A' * 42}.{'B' * 42}",
    "%",
    "%%%2",
    "%ff%fe",
    "\0",
    "\ud800",
    "=" * 99,
)


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("write", [*PASTED.values(), *TEXTS.values()], ids=[*PASTED, *TEXTS])
def test_the_token_is_among_the_candidates(write: Callable[[str], str], token: str) -> None:
    """L: of a link that was encoded, broken, quoted or wrapped, the token is one of at most 64 candidates."""
    found = [each.reveal() for each in candidates(write(token))]
    assert token in found
    assert len(found) == len(set(found)) <= MAX_CANDIDATES


@pytest.mark.parametrize("text", NOTHING)
def test_no_candidate(text: str) -> None:
    """L: where no 43 characters can be put together, there is no candidate, and nothing is looked up."""
    assert candidates(text) == []


@given(st.text(max_size=5000) | st.text("Aa0_-=%>\n 2345", max_size=5000))
def test_any_text(text: str) -> None:
    """L: whatever is pasted, the candidates are few, and each has the shape of a token."""
    found = candidates(text)
    assert len(found) <= MAX_CANDIDATES
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", each.reveal()) for each in found)


def _post(host: Host, where: str, text: str) -> Any:
    return host.client().post(f"{PAGES}/{where}", data={"token": text})


def _invited(host: Host, email: str = "new@example.com") -> str:
    with host.app.app_context():
        host.invitations.invite(email, tenant_id=host.tenant())
    return host.outbox.token_to(email)


@pytest.mark.in_turn
@pytest.mark.parametrize("name", PASTED)
def test_what_is_pasted_opens(host: Host, name: str) -> None:
    """L: the form takes what was pasted, with other tokens beside it; the hash decides, and the next form has the token
    alone."""
    token = _invited(host)
    answer = _post(host, "open", PASTED[name](token))
    assert answer.status_code == 200
    assert "Acme" in answer.text
    assert set(re.findall(r'name="token" value="([^"]*)"', answer.text)) == {token}


def test_the_live_one_of_several(host: Host) -> None:
    """L: of a whole thread of emails the link that still works is opened, wherever it stands."""
    old = _invited(host)
    with host.app.app_context():
        (made,) = host.invitations.list()
        host.invitations.resend(made.id)
    new = host.outbox.token_to("new@example.com")
    for text in (f"{old} {new}", f"{new} {old}", f"{OTHER} {old} {new}"):
        assert re.findall(r'name="token" value="([^"]*)"', _post(host, "open", text).text)[0] == new
    assert _post(host, "open", f"{OTHER} {old}").status_code == 410  # replaced: known, and better than unknown
    assert _post(host, "open", f"{OTHER} x {OTHER[::-1]}").status_code == 404


@pytest.mark.in_turn
@pytest.mark.parametrize("where", ["open", "accept", "decline"])
def test_one_statement_to_choose(host: Host, where: str) -> None:
    """L: a bare token costs no further statement, a text without a candidate none at all."""
    token = _invited(host)
    _post(host, "open", token)
    counts = []
    for text in (token, f"{token} {OTHER}"):
        with host.statements() as seen:
            _post(host, "open", text)
        counts.append(len(seen))
    assert counts[1] == counts[0] + 1
    with host.statements() as seen:
        assert _post(host, where, "https://app.example.com/invitations/accept").status_code == 404
    assert seen == []


@pytest.mark.in_turn
@pytest.mark.parametrize(
    "address",
    ["accept//{}", "accept/%2F{}", "accept%23{}", "accept%2523{}", "accept/%23{}", "accept/{}", "accept/{}/",
     "accept?{}", "accept?token={}&x=1",
     "accept%3Ftoken={}", "accept/?token={}", "accept;{}", "accept/?sig=" + OTHER + "&token={}"],
)  # fmt: skip
def test_addresses_that_were_rewritten(host: Host, address: str) -> None:
    """L: an address whose "#" was encoded, or that got a slash, leads to a form that holds the token."""
    token = _invited(host)
    answer = host.client().get(f"{PAGES}/{address.format(token)}")
    assert answer.status_code == 200
    (held,) = re.findall(r'<input type="hidden" name="token" value="([^"]*)"', answer.text)
    assert _post(host, "open", held.replace("&amp;", "&")).status_code == 200


@pytest.mark.in_turn
@pytest.mark.parametrize("address", ["accept/", "accept", "accept?x=1", "accept%23", "accept/x"])
def test_an_address_without_a_token(host: Host, address: str) -> None:
    """L: an address that holds nothing leads to the landing page with its field to paste the link."""
    answer = host.client().get(f"{PAGES}/{address}")
    assert answer.status_code == 200
    assert "data-invitations-paste-field" in answer.text


def test_masked() -> None:
    """L: a candidate prints as a mask."""
    assert repr(candidates(TOKENS[0])[0]) == repr(Token("x"))
