"""The host's ``profile_schema`` as the inputs of a form, and a sent form as what that schema reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from marshmallow import Schema, fields, missing, validate
from werkzeug.datastructures import MultiDict

from ..current import State
from ..errors import Sentence

#: How browsers and password managers know these fields.
PURPOSES: Mapping[str, str] = {
    "name": "name",
    "full_name": "name",
    "display_name": "nickname",
    "first_name": "given-name",
    "last_name": "family-name",
    "phone": "tel",
    "organization": "organization",
    "company": "organization",
}
#: The kind of input, and the keyboard that a phone shows, by the field's class; the first that fits.
KINDS: Sequence[tuple[type[Any], str, str | None]] = (
    (fields.Email, "email", None),
    (fields.Url, "url", None),
    (fields.String, "text", None),
    (fields.UUID, "text", None),
    (fields.Boolean, "checkbox", None),
    (fields.Integer, "text", "numeric"),
    (fields.Number, "text", "decimal"),
    (fields.Time, "time", None),
    (fields.Date, "date", None),
    (fields.DateTime, "datetime-local", None),  # in marshmallow 3 the other two are of this kind too
)
#: What marshmallow says most often of what people type: it has no catalogs, so these sentences stand in ours.
SAID = (
    Sentence("Missing data for required field."),
    Sentence("Not a valid email address."),
    Sentence("Not a valid URL."),
    Sentence("Not a valid integer."),
    Sentence("Not a valid number."),
    Sentence("String does not match expected pattern."),
    Sentence("Must be equal to True."),
    Sentence("Shorter than minimum length %(min)s."),
    Sentence("Longer than maximum length %(max)s."),
    Sentence("Length must be between %(min)s and %(max)s."),
    Sentence("Must be greater than or equal to %(min)s."),
)


@dataclass(frozen=True)
class Input:
    """One field of the profile, as a form asks for it.

    :param kind: a type of ``<input>``, ``"select"`` or ``"checkboxes"`` (any number of ``choices``).
    :param label, hint: the field's ``metadata["label"]`` and ``metadata["description"]``.
    :param choices: pairs of what is sent and what is shown.
    :param mode: ``inputmode``.
    :param initial: what stands in it before anything was typed.
    """

    name: str
    kind: str
    label: Any
    hint: Any
    required: bool
    max_length: int | None
    choices: Sequence[tuple[str, str]]
    mode: str | None
    autocomplete: str
    initial: Any
    read: Callable[[str], Any]


def profile_inputs(state: State) -> list[Input]:
    """The inputs for an app's ``profile_schema``: made once, by ``state.once``."""
    return inputs(state.profile_schema)


def inputs(schema: Schema) -> list[Input]:
    """The inputs for a marshmallow ``Schema``, in its order.

    What no single control can ask for (``Nested``, ``Dict``, ``Tuple``, a ``List`` without choices) has none.
    """
    made = (_input(field.data_key or name, field) for name, field in schema.load_fields.items())
    return [each for each in made if each is not None]


def _input(name: str, field: Any) -> Input | None:
    told, many = field.metadata, isinstance(field, fields.List)
    choices = _choices(field) or (_choices(field.inner) if many else ())
    kind, mode = _kind(field, many, bool(choices))
    if kind is None:
        return None
    raw = {str(value): value for value, _ in choices}
    return Input(
        name=name,
        kind=kind,
        label=told.get("label") or name.replace("_", " ").strip().capitalize(),
        hint=told.get("description"),
        required=field.required and (kind != "checkbox" or _must_be_true(field)),
        max_length=_max_length(field),
        choices=[(str(value), label) for value, label in choices],
        mode=mode,
        autocomplete=told.get("autocomplete") or PURPOSES.get(name, "on"),
        initial=None if field.load_default is missing or callable(field.load_default) else field.load_default,
        read=lambda text: raw.get(text, _number(text) if mode == "numeric" else text),
    )


def _kind(field: Any, many: bool, has_choices: bool) -> tuple[str | None, str | None]:
    if has_choices:
        return ("checkboxes" if many else "select"), None
    return next(((kind, mode) for known, kind, mode in KINDS if isinstance(field, known)), (None, None))


def _choices(field: Any) -> Sequence[tuple[Any, str]]:
    """Each value that may be sent, and its label."""
    if isinstance(field, fields.Enum):
        members = field.enum.__members__.values()
        return [(field.serialize("", each, accessor=lambda each, *_: each), _words(each)) for each in members]
    for rule in field.validators:
        if isinstance(rule, validate.OneOf):
            return [(value, str(label or value)) for value, label in rule.options(lambda each: each)]
    return ()


def _words(member: Enum) -> str:
    return member.name.replace("_", " ").capitalize()


def _must_be_true(field: Any) -> bool:
    return any(isinstance(rule, validate.Equal) and rule.comparable is True for rule in field.validators)


def _max_length(field: Any) -> int | None:
    limits = [rule.equal or rule.max for rule in field.validators if isinstance(rule, validate.Length)]
    return min((limit for limit in limits if limit is not None), default=None)


def _number(text: str) -> Any:
    """A number as one: a ``strict`` field takes no text."""
    return int(text) if text.strip().lstrip("+-").isdecimal() and len(text) < 20 else text


def read_profile(asked: Sequence[Input], names: Sequence[str], form: MultiDict[str, str]) -> dict[str, Any]:
    """What the form says of the profile's fields. A box that is not ticked is ``False``; what was left empty is not
    there.

    :param names: all fields of the schema: a page of the host's may ask for what ours cannot.
    """
    by_name, given = {each.name: each for each in asked}, dict[str, Any]()
    for name in names:
        each = by_name.get(name)
        if each is not None and each.kind == "checkbox":
            given[name] = name in form
        elif each is not None and each.kind == "checkboxes":
            given[name] = [each.read(text) for text in form.getlist(name)]
        elif form.get(name):
            given[name] = each.read(form[name]) if each is not None else form[name]
    return given


def sentences(said: Any, gettext: Callable[[str], str]) -> list[str]:
    """What is wrong with one field, translated: marshmallow gives a list, or mappings for fields made of fields."""
    if isinstance(said, Sentence):
        return [said.translated(gettext)]
    if isinstance(said, Mapping):
        return [each for part in said.values() for each in sentences(part, gettext)]
    if isinstance(said, (list, tuple)):
        return [each for part in said for each in sentences(part, gettext)]
    return [_apart(str(said)).translated(gettext)]


def _apart(said: str) -> Sentence:
    """What marshmallow said, its values apart from its words; any other sentence as it is."""
    for each in SAID:
        found = re.fullmatch(re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>\\S+)", re.escape(each)), said)
        if found is not None:
            return Sentence(each, **found.groupdict())
    return Sentence(said)
