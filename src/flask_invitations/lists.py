"""Lists of people as spreadsheets write them: bytes in, rows out, whatever the encoding, the delimiter and the names of
the columns. They are read as they come: a list of any length takes little memory."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, NoReturn

from .errors import InvalidRequest, Sentence
from .mailboxes import in_line

#: What the columns may be called, by the field that they fill; compared as :func:`_folded` has it.
_SPELLINGS = {
    "email": "email mail emailaddress mailaddress emails emailid emailadresse mailadresse adresseemail adressemail "
    "courriel correo correoelectronico useremail diachiemail thudientu email1value emailaddressrequired",
    "role": "role roles userrole rolle role rol papel vaitro",
    "message": "message note nachricht mensaje tinnhan loinhan",
    "locale": "locale language lang sprache langue idioma ngonngu",
    "name": "name fullname displayname nom nombre ten hoten",
}
_FIELDS = {spelling: field for field, spellings in _SPELLINGS.items() for spelling in spellings.split()}
_DELIMITERS = ",;\t|"
_ADDRESS = re.compile(r"\s*[^\s,;|]+@[^\s,;|]+\s*")
_BLOCK = 64 * 1024
_NO_TEXT = Sentence("This is not a text file. Save the list as CSV.")
#: A spreadsheet takes a cell that begins with one of these for a formula; with the wide ones, a Japanese one.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


@dataclass(frozen=True)
class Line:
    """One person of a list.

    :param number: of the line of the file in which it begins, from 1.
    :param fields: what it says, by the names that an invitation's fields have, and ``name``; nothing empty.
    """

    number: int
    fields: dict[str, str]


@dataclass(frozen=True)
class Sheet:
    """A list.

    :param fields: the fields that its columns fill; ``unused``: the names of the other columns.
    :param lines: its people, read as they are asked for; raises ``InvalidRequest`` where one cannot be read.
    """

    fields: Sequence[str]
    unused: Sequence[str]
    lines: Iterator[Line]


def read(file: BinaryIO) -> Sheet:
    """A list of people that was saved as CSV, or as text with tabs. Its first line names the columns, or else the first
    column has the addresses.

    :param file: can be read again from its beginning; left open.
    :raises InvalidRequest: it is no such list.
    """
    text = _Numbered(
        io.TextIOWrapper(io.BufferedReader(_Open(file), _BLOCK), _encoding(file), errors="replace", newline="")
    )
    first, delimiter = _first(text)
    records = _records(chain([first], text), delimiter, text)
    number, cells = next(records)
    fields = list(map(_field, cells))
    if "email" in fields:
        twice = sorted(field for field in set(fields) - {""} if fields.count(field) > 1)
        if twice:
            _refuse(Sentence("Two columns have the %(field)s. Remove one of them.", field=twice[0]))
        unused = [cell.strip() for cell, field in zip(cells, fields, strict=True) if not field and cell.strip()]
        return Sheet([field for field in fields if field], unused, _lines(records, fields))
    if not _ADDRESS.fullmatch(cells[0]):
        _refuse(Sentence("No column is called email. Name the columns in the first line, as in: email,role."))
    return Sheet(["email"], [], _lines(chain([(number, cells)], records), ["email"]))


def text_of_file(raw: bytes) -> str:
    """The text of a file, whatever it is encoded in.

    :raises InvalidRequest: it is no text.
    """
    text = raw.decode(_encoding(io.BytesIO(raw)), "replace")
    if "\0" in text:
        _refuse(_NO_TEXT)
    return text


def pasted(text: str) -> Iterator[Line]:
    """A list of people as somebody pasted it: names and addresses in any usual form, or, where its first line names the
    columns, a table. Whoever has no address is a line without one.

    :raises InvalidRequest: it is a table that cannot be read.
    """
    rows = enumerate(text.splitlines(), 1)
    number, first = next(((number, row) for number, row in rows if row.strip()), (0, ""))
    if _names_columns(first, several=True):
        yield from map(_unfolded, read(io.BytesIO(text.encode())).lines)
        return
    listed = rows if _names_columns(first) else chain([(number, first)], rows)
    for number, row in listed:
        for box in in_line(row):
            yield _unfolded(Line(number, {"email": box.email, "name": box.name}))


def _names_columns(row: str, *, several: bool = False) -> bool:
    """Whether a row has the names of columns, an email address's among them."""
    if "@" in row:
        return False
    cells = _cells(row, max(_DELIMITERS, key=row.count))
    return "email" in map(_field, cells) and len(cells) > several


def _unfolded(line: Line) -> Line:
    """The same with nothing but the address in the field of that, where a name stands beside it; nothing empty."""
    boxes = in_line(line.fields.get("email", ""))
    if len(boxes) == 1 and boxes[0].email:
        known = {"name": boxes[0].name, **line.fields, "email": boxes[0].email}
    else:
        known = line.fields
    return Line(line.number, {name: cell for name, cell in known.items() if cell})


class _Open(io.RawIOBase):
    """A file that a wrapper may close, and that stays open."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Numbered:
    """The lines of a text; ``passed``: how many were read."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text, self.passed = text, 0

    def __iter__(self) -> _Numbered:
        return self

    def __next__(self) -> str:
        line = self._text.readline()
        if not line:
            raise StopIteration
        self.passed += 1
        return line


def _encoding(file: BinaryIO) -> str:
    """What a file is encoded in. Whether it is UTF-8 only all of it tells."""
    file.seek(0)
    head = file.read(_BLOCK)
    file.seek(0)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head[1:2] == b"\0" or head[:1] == b"\0":
        return "utf-16-le" if head[1:2] == b"\0" else "utf-16-be"
    if b"\0" in head:
        _refuse(_NO_TEXT)
    try:
        decoder = codecs.getincrementaldecoder("utf-8")()
        while block := file.read(_BLOCK):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252"
    finally:
        file.seek(0)
    return "utf-8-sig"


def _first(text: Iterable[str]) -> tuple[str, str]:
    """The first line that is not empty, and what separates its cells: the delimiter by which it makes most sense."""
    lines = (line for line in text if line.strip())
    first = next(lines, "")
    told = re.fullmatch(r'"?sep=(.)"?\s*', first)
    if told:  # so spreadsheets tell it to each other
        first = next(lines, "")
    if not first:
        _refuse(Sentence("The list is empty."))
    return first, told[1] if told else max(_DELIMITERS, key=lambda each: _sense(first, each))


def _sense(line: str, delimiter: str) -> tuple[int, bool, int]:
    cells = _cells(line, delimiter)
    known = sum(_folded(cell) in _FIELDS for cell in cells)
    return known, _ADDRESS.fullmatch(cells[0]) is not None, len(cells)


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line; of one that is longer than any cell may be, itself."""
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error:
        return [line]


def _field(name: str) -> str:
    """The field that a column of this name fills, or nothing."""
    return _FIELDS.get(_folded(name), "")


def _folded(name: str) -> str:
    """The name of a column without case, marks, accents and spaces."""
    plain = unicodedata.normalize("NFKD", name.casefold().replace("đ", "d"))
    return "".join(c for c in plain if c.isalnum())


def _records(lines: Iterator[str], delimiter: str, text: _Numbered) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not empty, with the number of the line in which it begins."""
    raw = list[str]()
    reader = csv.reader(_kept(lines, raw), delimiter=delimiter)
    number = text.passed
    while True:
        raw.clear()
        try:
            cells = next(reader)
            if len(raw) > 1:  # where a mark is not closed, those who follow would be lost in it
                next(csv.reader(raw, delimiter=delimiter, strict=True))
        except StopIteration:
            return
        except csv.Error:
            _refuse(Sentence("Line %(line)s cannot be read. Check its quotation marks.", line=number))
        if any(cell.strip() for cell in cells):
            yield number, cells
        number = text.passed + 1


def _kept(lines: Iterator[str], raw: list[str]) -> Iterator[str]:
    for line in lines:
        raw.append(line)
        yield line


def _lines(records: Iterable[tuple[int, list[str]]], fields: Sequence[str]) -> Iterator[Line]:
    for number, cells in records:
        filled = ((field, cell.strip().replace("\r\n", "\n")) for field, cell in zip(fields, cells, strict=False))
        yield Line(number, {field: cell for field, cell in filled if field and cell})


def safe(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula (K2)."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _refuse(sentence: Sentence) -> NoReturn:
    raise InvalidRequest({"file": [sentence]})
