"""Names and addresses as people paste them, and lists as they copy them out of spreadsheets."""

from __future__ import annotations

import pytest

from flask_invitations import lists
from flask_invitations.errors import InvalidRequest
from flask_invitations.mailboxes import in_line

ANN, BOB = "ann@example.com", "bob@example.com"

VECTORS: tuple[tuple[str, list[tuple[str, str]]], ...] = (
    # One address
    (ANN, [(ANN, "")]),
    (f"  {ANN}\xa0 ", [(ANN, "")]),
    (f"{ANN}.", [(ANN, "")]),
    (f"{ANN},", [(ANN, "")]),
    (f"{ANN};", [(ANN, "")]),
    (f"({ANN})", [(ANN, "")]),
    (f"[{ANN}]", [(ANN, "")]),
    (f"'{ANN}'", [(ANN, "")]),
    (f"‘{ANN}’", [(ANN, "")]),
    (f'"{ANN}"', [(ANN, "")]),
    (f"<{ANN}>", [(ANN, "")]),
    (f"< {ANN} >;", [(ANN, "")]),
    (f"\u202a{ANN}\u202c", [(ANN, "")]),
    (f"\ufeff{ANN}\u200b", [(ANN, "")]),
    (f"mailto:{ANN}", [(ANN, "")]),
    ("MAILTO:ann%40example.com?subject=Hi:%20you", [(ANN, "")]),
    (f"<mailto:{ANN}>", [(ANN, "")]),
    (f"Email:{ANN}", [(ANN, "")]),
    (f"- {ANN}", [(ANN, "")]),
    (f"12. {ANN}", [(ANN, "")]),
    (f"• Ann Lee <{ANN}>", [(ANN, "Ann Lee")]),
    ("Ann.O'Neil+x@bücher.example", [("Ann.O'Neil+x@bücher.example", "")]),
    # With a name
    (f"Ann Lee <{ANN}>", [(ANN, "Ann Lee")]),
    (f"Ann Lee<{ANN}>", [(ANN, "Ann Lee")]),
    (f'"Lee, Ann" <{ANN}>', [(ANN, "Lee, Ann")]),
    (f"“Lee, Ann” <{ANN}>", [(ANN, "Lee, Ann")]),
    (f"Lee, Ann <{ANN}>", [(ANN, "Lee, Ann")]),
    (f'"Ann \\"Annie\\" Lee" <{ANN}>', [(ANN, "Ann Annie Lee")]),
    (f"{ANN} (Ann Lee)", [(ANN, "Ann Lee")]),
    (f"Ann Lee ({ANN})", [(ANN, "Ann Lee")]),
    (f"{ANN} <{ANN}>", [(ANN, ANN)]),
    (f'"{ANN}" <{ANN}>', [(ANN, ANN)]),
    (f"'{ANN}' <mailto:{ANN}>", [(ANN, ANN)]),
    (f'"Ann Lee <{ANN}>"', [(ANN, "Ann Lee")]),
    (f"[Ann Lee](mailto:{ANN})", [(ANN, "Ann Lee")]),
    (f"To: Ann Lee <{ANN}>", [(ANN, "Ann Lee")]),
    (f"Ann Lee, {ANN}", [(ANN, "Ann Lee")]),
    (f"Ann Lee; {ANN}", [(ANN, "Ann Lee")]),
    (f"{ANN}, Ann Lee", [(ANN, "Ann Lee")]),
    (f"Ann Lee {ANN}", [(ANN, "Ann Lee")]),
    (f"Ann\tLee\t{ANN}", [(ANN, "Ann Lee")]),
    (f"{ANN}\tAnn Lee", [(ANN, "Ann Lee")]),
    (f"Ann Lee\t{ANN}\tAcme\t2024", [(ANN, "Ann Lee, Acme 2024")]),
    (f"アン・リー <{ANN}>", [(ANN, "アン・リー")]),
    (f"<script>alert(1)</script> <{ANN}>", [("script", ""), ("/script", "alert 1"), (ANN, "")]),
    # Several
    (f"{ANN}, {BOB}", [(ANN, ""), (BOB, "")]),
    (f"{ANN},{BOB}", [(ANN, ""), (BOB, "")]),
    (f"{ANN}; {BOB};", [(ANN, ""), (BOB, "")]),
    (f"{ANN} {BOB}", [(ANN, ""), (BOB, "")]),
    (f"{ANN}\t{BOB}", [(ANN, ""), (BOB, "")]),
    (f"{ANN}، {BOB}", [(ANN, ""), (BOB, "")]),
    (f"{ANN}、{BOB}", [(ANN, ""), (BOB, "")]),
    (f"Ann Lee <{ANN}>, {BOB}", [(ANN, "Ann Lee"), (BOB, "")]),
    (f"Lee, Ann <{ANN}>; Roe, Bob <{BOB}>", [(ANN, "Lee, Ann"), (BOB, "Roe, Bob")]),
    (f'"Lee, Ann" <{ANN}>, "Roe, Bob" <{BOB}>', [(ANN, "Lee, Ann"), (BOB, "Roe, Bob")]),
    (f"{ANN} (Ann), {BOB} (Bob)", [(ANN, "Ann"), (BOB, "Bob")]),
    (f"Team: Ann <{ANN}>, Bob <{BOB}>;", [(ANN, "Ann"), (BOB, "Bob")]),
    # Nobody's address: never lost
    ("Bob", [("", "Bob")]),
    ("bob at example.com", [("", "bob at example.com")]),
    (f"Ann <{ANN}>, Bob", [(ANN, "Ann"), ("", "Bob")]),
    (f"{ANN}, {BOB}, Cid", [(ANN, ""), (BOB, ""), ("", "Cid")]),
    ("Bob <bob>", [("bob", "Bob")]),
    ("Bob <>", [("", "Bob")]),
    ("bob@", [("bob@", "")]),
    ("@example.com", [("@example.com", "")]),
    ("ann@@example.com", [("ann@@example.com", "")]),
    ("ann@example.com/bob@example.com", [("ann@example.com/bob@example.com", "")]),
    # Nothing
    ("", []),
    (" \t ", []),
    ("---", []),
    (" , ; ", []),
)


@pytest.mark.parametrize(("line", "meant"), VECTORS, ids=[line for line, _ in VECTORS])
def test_a_line(line: str, meant: list[tuple[str, str]]) -> None:
    """Whoever is meant by a line, in any form in which mail programs, spreadsheets and people write it."""
    assert [(each.email, each.name) for each in in_line(line)] == meant


def pasted(text: str) -> list[tuple[int, dict[str, str]]]:
    return [(line.number, line.fields) for line in lists.pasted(text)]


def test_lines() -> None:
    """Each line is read for itself, whatever ends it, and keeps its number; a heading above a list is none of it."""
    text = f"Email\n\nAnn Lee <{ANN}>\r\n{BOB}, cid@example.com\rnobody\u2028"
    assert pasted(text) == [
        (3, {"email": ANN, "name": "Ann Lee"}),
        (4, {"email": BOB}),
        (4, {"email": "cid@example.com"}),
        (5, {"name": "nobody"}),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_table(delimiter: str) -> None:
    """Where the first line names columns it is a table, with roles and messages of its own, and the addresses in it may
    have names beside them."""
    text = (
        "Full name,E-Mail,Role,Department\n"
        f"Ann Lee,{ANN},admin,Sales\n"
        f",Bob Roe <{BOB}>,,\n"
        "Cid,,viewer,\n"
        ",not an address,,\n"
    ).replace(",", delimiter)
    assert pasted(text) == [
        (2, {"name": "Ann Lee", "email": ANN, "role": "admin"}),
        (3, {"name": "Bob Roe", "email": BOB}),
        (4, {"name": "Cid", "role": "viewer"}),
        (5, {"email": "not an address"}),
    ]


def test_a_table_that_cannot_be_read() -> None:
    """What is wrong with a table is said in a sentence."""
    with pytest.raises(InvalidRequest, match="file"):
        pasted("email,mail\na@example.com,b@example.com\n")


def test_a_mark_that_is_not_closed() -> None:
    """Nobody is lost in somebody else's message, where a quotation mark is not closed."""
    with pytest.raises(InvalidRequest) as refused:
        pasted(f'Email,Message\n{ANN},"Hi\n{BOB},Hi\n')
    assert refused.value.errors == {"file": ["Line 2 cannot be read. Check its quotation marks."]}


def test_one_long_line() -> None:
    """A line of any length is looked at, and is none with the names of columns."""
    assert pasted("x" * 200_000) == [(1, {"name": "x" * 200_000})]


def test_text_of_a_file() -> None:
    """The text of a file whatever wrote it; what is no text is refused with a sentence."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        assert lists.text_of_file(f"Zoë <{ANN}>\n".encode(encoding)) == f"Zoë <{ANN}>\n"
    for raw in (b"PK\x03\x04\x14\0\x06\0\x08", b"a" * 70_000 + b"\0"):
        with pytest.raises(InvalidRequest) as refused:
            lists.text_of_file(raw)
        assert refused.value.errors == {"file": ["This is not a text file. Save the list as CSV."]}
