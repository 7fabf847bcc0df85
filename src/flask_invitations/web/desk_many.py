"""The desk's pages to invite many: paste a list or upload a file, look at what would become of each line, then send.

Nothing is kept between them: the list travels in the form, with the plan of what was looked at.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from flask import Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from .. import acts
from ..acts import Manager, Unreadable, Wanted
from ..current import get_state
from ..errors import AlreadyInvited, InvalidRequest, InvitationError, PlanChanged, Sentence
from ..languages.babel import current_tag
from ..languages.language import Language
from ..languages.plain import one_line
from ..lists import Line, pasted, text_of_file
from ..model.values import BulkInviteResult
from ..rows import read
from ..words import MANAGER, told
from .desk import answer, choices, desk, manager, read_field, to_list
from .forms import sentences
from .outcome import Outcome

__all__ = ["desk"]

#: What all invitations of a list have in common, where a line has no such field of its own.
TERMS = ("role", "message", "expires_in", "locale")
#: How long a list may be, in octets: a form that carries it is then shorter than what frameworks take by default.
MAX_LIST = 400 * 1024
_SHOWN = 120


@desk.get("/many")
def many() -> Response:
    """The form to paste a list into, or to upload one with."""
    return _form(manager(), dict.fromkeys(("people", *TERMS), ""))


@desk.get("/many/preview")
def paste_again() -> AnyResponse:
    """A restored tab: the form that led here is gone."""
    return redirect(url_for("invitations_desk.many"), 303)


@desk.post("/many/preview")
def preview() -> Response:
    """What would become of each line. Nothing is written."""
    by, typed = manager(), _typed()
    try:
        typed["people"] = _given(typed["people"])
        return _preview(by, typed)
    except InvitationError as refusal:
        return _form(by, typed, refusal)


@desk.post("/many")
def send_many() -> AnyResponse:
    """Invite everybody of whom the preview said so, or nobody where it would say something else by now."""
    by, typed, ctx = manager(), _typed(), get_state().ctx
    if "change" in request.form:
        return _form(by, typed)
    try:
        rows, plan = _rows(typed, _lines(typed["people"])), request.form.get("plan", "")
        try:
            done = acts.invite_many(ctx, by=by, rows=rows, plan=plan)
        except PlanChanged as refusal:
            return _preview(by, typed, refusal)
    except InvitationError as refusal:
        return _form(by, typed, refusal)
    return to_list(by, Outcome.of("invited", done.results))


def _typed() -> dict[str, str]:
    typed = {name: request.form.get(name, "").replace("\r\n", "\n") for name in ("people", *TERMS)}
    return {name: text if name == "people" else text.strip() for name, text in typed.items()}


def _given(people: str) -> str:
    """The list, whether it was pasted or uploaded.

    :raises InvalidRequest: both were, or the file is no text.
    """
    file = request.files.get("file")
    raw = b"" if file is None else file.read()
    if not raw:
        return people
    if people.strip():
        raise InvalidRequest({"file": [Sentence("Paste a list or choose a file, not both.")]})
    return text_of_file(raw)


def _lines(people: str) -> Sequence[Line]:
    """:raises InvalidRequest: no list, or too long a one, before it is read (I1)."""
    most = get_state().ctx.config.bulk_max
    if len(people.encode()) > MAX_LIST:
        raise _not_so(Sentence("This list is too long. Split it, and remove columns that are not needed."))
    try:
        lines = list(islice(pasted(people), most + 1))
    except InvalidRequest as refusal:
        raise _not_so(*refusal.errors["file"]) from refusal
    if not lines:
        raise _not_so(Sentence("Paste a list or choose a file."))
    if len(lines) > most:
        raise _not_so(Sentence("Invite at most %(max)s people at a time. Split the list.", max=most))
    return lines


def _not_so(*said: str) -> InvalidRequest:
    return InvalidRequest({"people": said})


def _rows(typed: Mapping[str, str], lines: Sequence[Line]) -> Sequence[Wanted | Unreadable]:
    """:raises InvalidRequest: what all of them have in common is wrong."""
    state, terms = get_state(), {name: read_field(name, typed[name]) for name in TERMS}
    wrong = state.invite_body.validate(terms, partial=("email",))
    if wrong:
        raise InvalidRequest(wrong)
    own = ({name: cell for name, cell in line.fields.items() if name != "name"} for line in lines)
    return read(state, [{**terms, **fields} for fields in own])


# What is shown


def _form(by: Manager, typed: Mapping[str, str], refusal: InvitationError | None = None) -> Response:
    state = get_state()
    gettext = state.ctx.language(current_tag()).gettext
    wrong = refusal.errors if isinstance(refusal, InvalidRequest) else {}
    said = {name: sentences(wrong[name], gettext) for name in ("people", "file") if name in wrong}
    most = {"bulk_max": state.ctx.config.bulk_max, "max_list": MAX_LIST // 1024}
    return answer("many.html", by, refusal, typed=typed, said=said, **most, **choices(by))


def _preview(by: Manager, typed: Mapping[str, str], refusal: InvitationError | None = None) -> Response:
    """:raises InvitationError: there is nothing to look at."""
    ctx, lines = get_state().ctx, _lines(typed["people"])
    rows = _rows(typed, lines)
    plan = acts.invite_many(ctx, by=by, rows=rows, dry_run=True)
    language = ctx.language(current_tag())
    verdicts = [_verdict(*each, language) for each in zip(lines, rows, plan.results, strict=True)]
    return answer(
        "preview.html",
        by,
        refusal,
        typed=typed,
        plan=plan.plan,
        able=[each for each in verdicts if each.able],
        unable=[each for each in verdicts if not each.able],
        **choices(by),
    )


@dataclass(frozen=True)
class Verdict:
    """What would become of a line.

    :param wrong: the fields in which something is wrong; the page has words for them.
    :param why: why else nobody is invited by it.
    :param known: the open invitation that there is.
    """

    number: int
    email: str
    name: str
    role: str
    wrong: Sequence[str]
    why: str
    known: uuid.UUID | None

    @property
    def able(self) -> bool:
        """Whether somebody is invited by it."""
        return not self.wrong and not self.why


def _verdict(line: Line, row: Wanted | Unreadable, result: BulkInviteResult, language: Language) -> Verdict:
    ctx, fields = get_state().ctx, line.fields
    role = (row.role if isinstance(row, Wanted) else fields.get("role")) or ctx.config.default_role
    email, is_address = fields.get("email", ""), isinstance(row, Wanted) or "email" not in row.error.errors
    return Verdict(
        number=line.number,
        email=email if is_address else one_line(email, _SHOWN),
        name=one_line(fields.get("name", ""), _SHOWN),
        role=one_line(role),
        wrong=list(result.error.errors) if isinstance(result.error, InvalidRequest) else [],
        why="" if result.error is None else _why(result.error, language),
        known=result.error.invitation_id if isinstance(result.error, AlreadyInvited) else None,
    )


def _why(error: InvitationError, language: Language) -> str:
    """In words, with what to do; of an invalid field the page knows them."""
    if isinstance(error, InvalidRequest):
        return ""
    is_double = isinstance(error, AlreadyInvited) and error.invitation_id is None
    words = told(MANAGER, error, language.gettext, "twice" if is_double else "many")
    return f"{words.sentence} {words.next_step}".rstrip()
