"""``flask invitations import``: lists as spreadsheets write them, chunk by chunk, and what became of each line."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from flask_invitations import imports, lists
from flask_invitations.errors import InvalidRequest
from tests.hosts import Host, build
from tests.http.tools import invite, people, set_columns, unchanged

SAMPLE = "E-Mail,Role,Message\nann@example.com,viewer,Grüße\nbob@example.com,,\n"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Host]:
    """The default host, on SQLite; a worker sends its emails."""
    url = f"sqlite:///{tmp_path / 'import.sqlite3'}"
    with build(url, config={"INVITATIONS_DELIVERY": "queue"}) as built:
        people(built)
        yield built


def run(host: Host, content: str | bytes, tmp_path: Path, *options: Any, stdin: bool = False) -> Result:
    """Import a file with this content into the tenant "Acme"."""
    raw = content.encode() if isinstance(content, str) else content
    path = tmp_path / "people.csv"
    path.write_bytes(raw)
    arguments = [
        "invitations",
        "import",
        "-" if stdin else str(path),
        "--tenant",
        str(host.tenant()),
        *map(str, options),
    ]
    return host.app.test_cli_runner().invoke(args=arguments, input=raw if stdin else None)


def results(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# Lists


def read(raw: bytes) -> list[tuple[int, dict[str, str]]]:
    return [(line.number, line.fields) for line in lists.read(io.BytesIO(raw)).lines]


TWO = [(2, {"email": "ann@example.com", "role": "viewer", "message": "Grüße"}), (3, {"email": "bob@example.com"})]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "\ufeffutf-16-le"]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings(encoding: str, delimiter: str, end: str) -> None:
    """Whatever a spreadsheet saves is read: its encoding, with and without a byte order mark, its delimiter and the
    ends of its lines."""
    text = SAMPLE.replace(",", delimiter).replace("\n", end)
    mark = encoding.startswith("\ufeff")
    assert read((("\ufeff" if mark else "") + text).encode(encoding.lstrip("\ufeff"))) == TWO


@pytest.mark.parametrize(
    ("head", "fields"),
    [
        ("email,role,message,locale,name", ["email", "role", "message", "locale", "name"]),
        ("Name,E-mail 1 - Type,E-mail 1 - Value,E-mail 2 - Value", ["name", "email"]),
        ("First Name [Required],Email Address [Required]", ["email"]),
        ("E-Mail;Rolle;Nachricht;Sprache;Name", ["email", "role", "message", "locale", "name"]),
        ("Email Address\tUser Role", ["email", "role"]),
        ('"MAIL","Full Name"', ["email", "name"]),
        ("e_mail,Rôle,Langue,Nom", ["email", "role", "locale", "name"]),
        ("Correo electrónico,Rol,Mensaje,Idioma,Nombre", ["email", "role", "message", "locale", "name"]),
        ("Vai trò,Thư điện tử,Họ tên", ["role", "email", "name"]),
        ("sep=;\nemail;role", ["email", "role"]),
        ("\n\n  \nemail", ["email"]),
        (" email , role ", ["email", "role"]),
    ],
)
def test_names_of_columns(head: str, fields: list[str]) -> None:
    """Columns go by their usual names, in any case, with and without accents."""
    assert lists.read(io.BytesIO(head.encode())).fields == fields


def test_unused_columns() -> None:
    """Columns that nobody reads are named."""
    sheet = lists.read(io.BytesIO(b"Team,email,,Phone\nA,a@example.com,x,1\n"))
    assert (sheet.unused, [line.fields for line in sheet.lines]) == (["Team", "Phone"], [{"email": "a@example.com"}])


@pytest.mark.parametrize("text", ["ann@example.com\nbob@example.com\n", "ann@example.com;Ann, A.\n\nbob@example.com;B"])
def test_without_names(text: str) -> None:
    """Without names of columns the first column has the addresses, and no other is read."""
    assert [fields for _, fields in read(text.encode())] == [{"email": "ann@example.com"}, {"email": "bob@example.com"}]


def test_numbers_of_lines() -> None:
    """A line has the number that an editor shows: quoted line ends, empty lines and a hint before it are counted."""
    text = 'sep=,\r\nemail,message\r\n\r\na@example.com,"one\r\ntwo"\r\n,,\r\nb@example.com,"say ""hi"""\r\n'
    assert read(text.encode()) == [
        (4, {"email": "a@example.com", "message": "one\ntwo"}),
        (7, {"email": "b@example.com", "message": 'say "hi"'}),
    ]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"name,role\nAnn,user\n", "No column is called email"),
        (b"email,e-mail\na@example.com,b@example.com\n", "Two columns"),
        (b"PK\x03\x04 email\0", "not a text file"),
        (b'email,message\na@example.com,"' + b"x" * 200_000, "Line 2"),
        (b"x" * 200_000, "Line 1"),
        (b'email,message\na@example.com,"Hi\nb@example.com,Hi\n', "Line 2"),
        (b'email,message\na@example.com,"Hi\nb@example.com,"Hi"\n', "Line 2"),
        (b'"email,message\na@example.com,Hi\n', "Line 1"),
    ],
)
def test_no_list(raw: bytes, said: str) -> None:
    """What is no list is refused in a sentence that says why."""
    with pytest.raises(InvalidRequest) as caught:
        read(raw)
    assert said in caught.value.errors["file"][0]


def test_quotation_marks() -> None:
    """Marks that swallow nobody are read as they are meant."""
    text = 'email,message\na@example.com,say "hi" to me\n"b@example.com" ,"a "b" c"\nc@example.com,"the end'
    assert [cells["email"] for _, cells in read(text.encode())] == [f"{name}@example.com" for name in "abc"]


def test_formulas() -> None:
    """K2: no cell that we write is a formula to a spreadsheet."""
    for cell in ("=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "＝1", "＋1", "－1", "＠x"):
        assert lists.safe(cell) == f"'{cell}"
    for cell in ("", "a=1", "ann@example.com", " =1", "'x"):
        assert lists.safe(cell) == cell


# The command


def test_import(local: Host, tmp_path: Path) -> None:
    """Everybody in the file is invited with what it says; the emails wait; a summary says how many."""
    told = run(local, SAMPLE, tmp_path)
    assert (told.exit_code, told.stdout, told.stderr) == (0, "2 created\n", "")
    ann, bob = local.rows(local.invitations.models.Invitation)
    assert (ann.email, ann.role, ann.message, ann.invited_by_id) == ("ann@example.com", "viewer", "Grüße", None)
    assert (bob.email, bob.role, bob.message) == ("bob@example.com", "user", None)
    assert [mail.state for mail in local.rows(local.invitations.models.Delivery)] == ["queued", "queued"]


def test_from_stdin(local: Host, tmp_path: Path) -> None:
    """``-`` reads standard input."""
    assert run(local, SAMPLE.encode("cp1252"), tmp_path, stdin=True).stdout == "2 created\n"
    assert local.rows(local.invitations.models.Invitation)[0].message == "Grüße"


def test_results(local: Host, tmp_path: Path) -> None:
    """K2: each line has its verdict in the result file, safe for spreadsheets; what is wrong makes exit status 1, those
    who are invited or members already do not."""
    admin = local.rows(local.User, email="admin@acme.example")[0].id
    known = invite(local.client(admin), "known@example.com")["id"]
    text = "email,role\nann@example.com,\nknown@example.com,\nplain@acme.example,\n=cmd@example.com,\nnobody,\n+x,god\n"
    out = tmp_path / "out.csv"
    told = run(local, text, tmp_path, "--result", out)
    assert told.exit_code == 1
    assert told.stderr == "Error: 2 line(s) were refused. Correct them, then import the file again.\n"
    summary = "1 already-invited, 1 already-member, 2 created, 2 invalid-request\n"
    assert told.stdout == summary
    found = results(out)
    assert list(found[0]) == ["line", "email", "outcome", "code", "detail", "invitation_id"]
    assert [(row["line"], row["email"], row["outcome"], row["code"]) for row in found] == [
        ("2", "ann@example.com", "created", ""),
        ("3", "known@example.com", "refused", "already-invited"),
        ("4", "plain@acme.example", "refused", "already-member"),
        ("5", "'=cmd@example.com", "created", ""),
        ("6", "nobody", "refused", "invalid-request"),
        ("7", "'+x", "refused", "invalid-request"),
    ]
    assert found[1]["invitation_id"] == known
    assert "role: Must be one of" in found[5]["detail"]
    again = run(local, "email\nann@example.com\nplain@acme.example\n", tmp_path)
    assert (again.exit_code, again.stderr) == (0, "")
    shown = [line.split("\t") for line in again.stdout.splitlines()]
    assert [line[:4] for line in shown[:2]] == [
        ["2", "ann@example.com", "refused", "already-invited"],
        ["3", "plain@acme.example", "refused", "already-member"],
    ]


def test_nothing_steers_the_terminal(local: Host, tmp_path: Path) -> None:
    """What nobody sees, or what a terminal would obey, is printed as what it is."""
    told = run(local, "email,\x1b[2J\n\x1b]0;title\x07x,\n\u202emoc.x@a,\na\n@b.c,\nann\xa0@x.org,\n", tmp_path)
    assert "not used: \\x1b[2J.\n" in told.stderr
    shown = [line.split("\t")[1] for line in told.stdout.splitlines()[:-1]]
    assert shown == [r"\x1b]0;title\x07x", r"\u202emoc.x@a", "a", "@b.c", r"ann\xa0@x.org"]


@pytest.mark.parametrize("out", ["none/out.csv", "/dev/full"])
def test_a_result_that_cannot_be_written(local: Host, tmp_path: Path, out: str) -> None:
    """Where the verdicts cannot be written it is said in a sentence, and nobody is invited."""
    with unchanged(local):
        told = run(local, SAMPLE, tmp_path, "--result", tmp_path / out)
    assert (told.exit_code, told.stdout) == (1, "")
    assert re.fullmatch(r"Error: --result cannot be written: [A-Z][\w ]+\. Choose another file\.\n", told.stderr)


def test_dry_run(local: Host, tmp_path: Path) -> None:
    """``--dry-run`` says what would become of each line, and writes nothing but the result file."""
    out = tmp_path / "out.csv"
    with unchanged(local):
        told = run(local, SAMPLE + "ann@example.com,,\n", tmp_path, "--dry-run", "--result", out)
    assert (told.exit_code, told.stdout) == (0, "1 already-invited, 2 created\n")
    assert [row["invitation_id"] for row in results(out)] == ["", "", ""]


def test_names_are_not_used(local: Host, tmp_path: Path) -> None:
    """Columns that nobody reads are named on stderr, and harm nothing."""
    told = run(local, "email,name,team\nann@example.com,Ann,A\n", tmp_path)
    assert (told.exit_code, told.stderr) == (0, "These columns are not used: team, name.\n")


@pytest.mark.parametrize("name", ["no tenant", "inactive", "no file", "no list", "itself"])
def test_refused(local: Host, tmp_path: Path, name: str) -> None:
    """What refuses the whole file is one sentence on stderr, and nothing is written."""
    path = tmp_path / "people.csv"
    path.write_text("Ann\n" if name == "no list" else SAMPLE)
    tenant = [] if name == "no tenant" else ["--tenant", str(local.tenant())]
    more = ["--result", str(path)] if name == "itself" else []
    if name == "inactive":
        set_columns(local, local.Tenant, local.tenant(), active=False)
    file = str(path) if name != "no file" else str(tmp_path / "none.csv")
    with unchanged(local):
        told = local.app.test_cli_runner().invoke(args=["invitations", "import", file, *tenant, *more])
    assert told.exit_code in (1, 2)
    assert told.stderr.splitlines()[-1].startswith("Error: ")
    assert path.read_text() in (SAMPLE, "Ann\n")


def test_chunks(local: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of any length goes in chunk by chunk, a transaction each: what went in stays when a later one fails, and
    importing the file again brings the rest, each address exactly once."""
    monkeypatch.setattr(imports, "CHUNK", 10)
    good = "email\n" + "".join(f"n{number}@example.com\n" for number in range(25))
    told = run(local, good + '"' + "x" * 200_000, tmp_path)
    assert told.exit_code == 1
    assert "Line 27 cannot be read" in told.stderr
    assert len(local.rows(local.invitations.models.Invitation)) == 20
    told = run(local, good, tmp_path, "--result", tmp_path / "out.csv")
    assert told.stdout == "20 already-invited, 5 created\n"
    keys = Counter(row.email_key for row in local.rows(local.invitations.models.Invitation))
    assert (len(keys), max(keys.values())) == (25, 1)


def test_few_are_sent_at_once(database_url: str, tmp_path: Path) -> None:
    """On each database: with inline delivery the emails of a short list leave at once."""
    with build(database_url) as host:
        told = run(host, SAMPLE, tmp_path)
        assert (told.exit_code, told.stdout) == (0, "2 created\n")
        assert [message.to for message in host.outbox.messages] == ["ann@example.com", "bob@example.com"]
