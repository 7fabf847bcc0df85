"""What is said to people: sentences that can be translated where they are read, and what a host says, as plain text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


class Sentence(str):
    """A sentence of ours in English that can still be translated where a person reads it.

    :param msgid: the sentence, with a named placeholder for each of ``values``.
    """

    _msgid: str
    _values: Mapping[str, Any]

    def __new__(cls, msgid: str, /, **values: Any) -> Self:
        self = super().__new__(cls, msgid % values if values else msgid)
        self._msgid, self._values = msgid, values
        return self

    def translated(self, gettext: Callable[[str], str]) -> str:
        """The same, in the language of ``gettext``."""
        found = gettext(self._msgid)
        return found % self._values if self._values else found


def text_of(said: object) -> str:
    """What a host says, as text that can be shown, stored and sent: a lazy string is that of this moment's language."""
    text = said if isinstance(said, str) else str(said)
    return text if text.isprintable() else text.encode("utf-8", "replace").decode()


def plain(said: Any) -> Any:
    """What a host says, as JSON has it: what is no value of JSON's is the text that it prints as."""
    if isinstance(said, Mapping):
        return {text_of(name): plain(each) for name, each in said.items()}
    if isinstance(said, (list, tuple, set, frozenset)):
        return [plain(each) for each in said]
    if said is None or isinstance(said, (bool, int)):
        return said
    return text_of(said)
