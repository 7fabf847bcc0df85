"""The header ``Idempotency-Key``: a view whose call takes it is given a :class:`Keyed`, to do its act with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar

from flask import Response, request

from .. import acts
from ..acts import Recall
from ..current import get_state
from ..errors import InvalidRequest
from .wire import read_json

KEY: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
#: What a key is made of: printable ASCII.
PATTERN: Final = "^[ -~]{1,255}$"

T = TypeVar("T")


class Keyed:
    """Does the act of a request: once, where the request has a key.

    :param status: of the answer; as of the earlier answer, once that is given again.
    """

    def __init__(self, status: int) -> None:
        self.status: int = status
        self.replayed: bool = False

    def __call__(self, recall: Recall[T], act: Callable[[], T], status: Callable[[T], int] | None = None) -> T:
        """What ``act`` returns, or has returned to this caller for the same key.

        :param status: of the answer, where it depends on the result.
        :raises InvalidRequest: that is no key.
        """
        key, usual = request.headers.get(KEY), self.status
        tell = status or (lambda _result: usual)
        if key is None:
            result = act()
            self.status = tell(result)
            return result
        if re.fullmatch(PATTERN, key) is None:
            raise InvalidRequest({KEY: ["Send 1 to 255 printable ASCII characters."]})
        ctx = get_state().ctx
        known_by = acts.known_by(ctx, (*recall.whose, request.path, key), _body())
        result, self.status, self.replayed = acts.Once(ctx, recall, known_by, tell).run(act)
        return result


def _body() -> str:
    """What was sent, in one form: a client that tries again may write the same JSON in another order."""
    return json.dumps(read_json(optional=True), sort_keys=True)


def keyed(view: Callable[..., Response], status: int) -> Callable[..., Response]:
    """The view of a call that takes a key.

    :param view: takes a :class:`Keyed` first.
    """

    @wraps(view)
    def answer(**path: Any) -> Response:
        once = Keyed(status)
        found = view(once, **path)
        if once.replayed:
            found.headers[REPLAYED] = "true"
        return found

    return answer
