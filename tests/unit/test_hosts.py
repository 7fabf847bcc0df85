"""The whole way, on every kind of host and database: what all the other tests stand on."""

from __future__ import annotations

import pytest

from tests.conftest import PAIRS
from tests.hosts import PASSWORD, Key, Tenancy, build


@pytest.mark.parametrize(("_database", "key", "tenancy"), PAIRS, indirect=["_database"])
def test_flow(database_url: str, key: Key, tenancy: Tenancy) -> None:
    """On every kind of host an admin invites by HTTP and the invitee accepts, once, in the right tenant and role."""
    with build(database_url, key=key, tenancy=tenancy) as host:
        tenant, admin = host.tenant(), host.user("admin@example.com", role="admin")
        made = host.client(admin).post("/api/v1/users/invite", json={"email": "New@example.com", "role": "manager"})
        assert made.status_code == 201, made.json
        body = {"token": host.outbox.token_to("new@example.com"), "password": PASSWORD}
        answer = host.client().post("/api/v1/users/accept-invite", json=body)
        assert answer.status_code == 201, answer.json
        user = host.rows(host.User, email="new@example.com")[0]
        assert answer.json is not None
        assert (answer.json["user"]["email"], answer.json["user"]["role"]) == (user.email, "manager")
        again = host.client().post("/api/v1/users/accept-invite", json=body)
        assert again.status_code == 409
        assert user.check_password(PASSWORD)
        if tenancy == "tenant":
            assert user.tenant_id == tenant
        if tenancy == "membership":
            member = host.rows(host.Membership, user_id=user.id)[0]
            assert (member.tenant_id, member.role) == (tenant, "manager")
