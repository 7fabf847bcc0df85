"""The webhook of docs/mailers.md, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import build
from tests.http.tools import make

PAGE = Path(__file__).parents[2] / "docs" / "mailers.md"


def test_the_webhook_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider's report reaches the delivery through the documented view; without its password it does not."""
    monkeypatch.setenv("WEBHOOK_PASSWORD", "hush")
    block = re.search(r"## Delivery reports.*?```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert block
    with build(f"sqlite:///{tmp_path / 'hook.sqlite3'}") as host:
        names: dict[str, Any] = {"app": host.app, "invitations": host.invitations}
        exec("import os\n" + block[1], names)
        case = make(host, "pending")
        (message,) = host.outbox.messages
        body = {"RecordType": "Bounce", "Type": "HardBounce", "Metadata": {"delivery_id": str(message.id)}}
        assert host.client().post("/webhooks/postmark", json=body).status_code == 401
        for report, state in ((body, "bounced"), ({**body, "RecordType": "Open"}, "bounced")):
            answer = host.client().post("/webhooks/postmark", json=report, auth=("", "hush"))
            assert answer.status_code == 204
            shown: Any = host.client(case.admin).get(case.url).json
            assert shown["delivery"]["state"] == state
