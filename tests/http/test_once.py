"""``Idempotency-Key``: a call that is repeated with its key gets its answer again, and nothing happens twice."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.hosts import PASSWORD, Host
from tests.http.tools import ACCEPT, INVITE, Case, make, unchanged

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


def replayed(answer: TestResponse) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


def bodies(case: Case) -> dict[str, tuple[Any, str, dict[str, Any]]]:
    """Each call that takes a key: as whom, where, and with what."""
    host = case.host
    return {
        "invite": (host.client(case.admin), INVITE, {"email": "other@example.com", "details": {"b": 1, "a": [2]}}),
        "resend": (host.client(case.admin), f"{case.url}/resend", {}),
        "accept": (host.client(), ACCEPT, {"token": case.token, "password": PASSWORD}),
    }


CALLS = pytest.mark.parametrize("call", ["invite", "resend", "accept"])


@CALLS
def test_the_answer_again(host: Host, call: str) -> None:
    """R14: the same key and body get the same status and the same body again, and nothing happens twice."""
    client, url, body = bodies(make(host, "pending"))[call]
    first = client.post(url, json=body, headers=KEY)
    assert (first.status_code, replayed(first)) == (200 if call == "resend" else 201, False), first.text
    mails = len(host.outbox.messages)
    with unchanged(host):
        again = client.post(url, json=body, headers=KEY)
    assert (again.status_code, again.json, replayed(again)) == (first.status_code, first.json, True)
    assert again.headers.get("Location") == first.headers.get("Location")
    assert len(host.outbox.messages) == mails
