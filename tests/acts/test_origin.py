"""What the audit trail keeps of where a call came from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_invitations.acts import Origin
from tests.hosts import Host


@given(st.text())
def test_a_user_agent_is_one_printable_line(said: str) -> None:
    """K3: whatever a client calls itself, the trail keeps at most 512 printable characters of it."""
    kept = Origin.of(None, said).user_agent
    assert kept is not None
    assert kept.isprintable()
    assert len(kept) <= 512


def test_a_forged_line_stays_one_field(host: Host) -> None:
    """K3: escape sequences in a user agent are shown as text; the address is the peer's, whatever a header claims."""
    boss = host.user("boss@example.com", role="owner")
    headers = {"User-Agent": "Mozilla\x1b[2K\x85 accepted by root" + "x" * 600, "X-Forwarded-For": "203.0.113.9"}
    client = host.client(boss)
    made = client.post("/api/v1/users/invite", json={"email": "ann@example.com"}, headers=headers).get_json()
    event = client.get(f"/api/v1/users/invitations/{made['id']}/events").get_json()["items"][0]
    assert event["user_agent"].startswith(r"Mozilla\x1b[2K\x85 accepted by root")
    assert len(event["user_agent"]) == 512
    assert event["remote_addr"] == "127.0.0.1"
