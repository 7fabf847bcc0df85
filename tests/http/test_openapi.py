"""The OpenAPI document: valid, complete, and true of what the API answers."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from marshmallow import Schema, fields
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from tests.hosts import Host, build, without_profile
from tests.http.table import seen
from tests.http.tools import API, DOCUMENT, make
from tests.races.harness import SOAK

#: What the tests of bodies, fields, queries and other sites see; any call may be sent a body, or a query.
BODY = {(400, "malformed-request"), (413, "body-too-large"), (415, "unsupported-media-type"), (422, "invalid-request")}
BUSY = {(503, "try-again")}
POST = BUSY | {(403, "cross-site")}
CAPS = {(409, "too-many-pending"), (409, "no-seats")}
#: What the tests of keys see, and what tests/limits see.
KEYED = {(409, "idempotency-in-progress"), (422, "idempotency-mismatch")}
WAIT = {(429, "rate-limited")}
ALSO: dict[str, set[tuple[int, str]]] = {
    "invite": BODY | POST | WAIT | KEYED | CAPS | {(403, "role-not-allowed"), (403, "address-not-allowed")},
    "invite_many": BODY
    | POST
    | WAIT
    | KEYED
    | {
        (401, "unauthenticated"),
        (403, "forbidden"),
        (403, "tenant-inactive"),
        (409, "plan-changed"),
    },
    "change_many": BODY | POST | WAIT | KEYED | {(401, "unauthenticated"), (403, "forbidden")},
    "resend_invitation": BODY
    | POST
    | WAIT
    | KEYED
    | CAPS
    | {(403, "role-not-allowed"), (403, "address-not-allowed"), (409, "already-invited"), (409, "address-suppressed")},
    "revoke_invitation": BODY | POST,
    "preview_invite": BODY | POST | WAIT,
    "decline_invite": BODY | POST | WAIT,
    "accept_invite": BODY | POST | WAIT | KEYED | {(409, "no-seats")},
    "list_invitations": BODY | BUSY,
    "get_invitation": BODY | BUSY,
    "list_events": BODY | BUSY,
    "openapi": BODY,
}


class Profile(Schema):
    """The extra accept fields of a host."""

    nickname = fields.String(required=True, metadata={"description": "What to call you."})


@pytest.fixture
def document(local: Host) -> dict[str, Any]:
    """The document, as anybody gets it."""
    answer = local.client().get(DOCUMENT)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.get_json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method != "parameters":
                yield path, method.upper(), operation


def test_valid(document: dict[str, Any]) -> None:
    """It is valid OpenAPI 3.1."""
    OpenAPIV31SpecValidator(document).validate()  # type: ignore[arg-type,unused-ignore]
    assert document["openapi"].startswith("3.1.")


def test_python_gives_the_same(local: Host, document: dict[str, Any]) -> None:
    """``invitations.openapi()`` is what the API serves."""
    with local.app.app_context():
        assert local.invitations.openapi() == document


def test_complete(local: Host, document: dict[str, Any]) -> None:
    """Every route of the API is in it, and nothing else is."""
    routes = {
        (rule.rule.removeprefix(API).replace("<", "{").replace(">", "}"), method)
        for rule in local.app.url_map.iter_rules()
        if rule.endpoint.startswith("invitations_api.")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, method, _ in operations(document)} == routes
    assert document["servers"] == [{"url": API}]


def test_prefix(local_url: str) -> None:
    """The document follows the prefix and the name of the app."""
    with build(local_url, config={"INVITATIONS_API_PREFIX": "/x"}) as host:
        found: Any = host.client().get("/x/invitations/openapi.json").json
        assert found["servers"] == [{"url": "/x"}]
        assert found["info"]["title"] == "Test Host: invitations"


def test_every_answer_is_documented(document: dict[str, Any]) -> None:
    """Every status and code that the tables of refusals show is documented for that call."""
    answers = {operation["operationId"]: operation["responses"] for _, _, operation in operations(document)}
    facts = seen() | {(view, status, code) for view, pairs in ALSO.items() for status, code in pairs}
    missing = {
        (view, status, code)
        for view, status, code in facts
        if str(status) not in answers[view] or code not in answers[view][str(status)]["description"]
    }
    assert missing == set()


def test_security(local_url: str) -> None:
    """A manager has to be signed in, in the app's own way; an invitee may be."""
    with build(local_url, config={"SESSION_COOKIE_NAME": "crm"}) as host:
        found: Any = host.client().get(DOCUMENT).get_json()
    ((name, scheme),) = found["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "cookie", "crm")
    for _, _, operation in operations(found):
        is_manager = operation["tags"] == ["manager"]
        assert operation["security"] == ([{name: []}] if is_manager else [{}, {name: []}])


def test_headers(document: dict[str, Any]) -> None:
    """Where an invitation was made the document says that its address comes along; where a call has to wait, for how
    long."""
    for _, _, operation in operations(document):
        told = {status: set(answer.get("headers", {})) for status, answer in operation["responses"].items()}
        located = {status for status, headers in told.items() if "Location" in headers}
        assert located == ({"201"} if operation["operationId"] == "invite" else set())
        takes_key = any(each["name"] == "Idempotency-Key" for each in operation["parameters"])
        assert ("Retry-After" in told.get("409", ())) == takes_key


def test_no_answer_is_invented(document: dict[str, Any]) -> None:
    """What is documented for a call is seen from it in some test."""
    facts = seen() | {(view, status, code) for view, pairs in ALSO.items() for status, code in pairs}
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            if "application/problem+json" not in answer.get("content", {}):
                continue
            for code in answer["description"].removeprefix("code: ").split(", "):
                assert (operation["operationId"], int(status), code) in facts


def test_profile_fields(local_url: str) -> None:
    """The host's own accept fields stand in the document."""
    with build(local_url, profile_schema=Profile, create_user=without_profile) as host:
        found: Any = host.client().get(DOCUMENT).json
        OpenAPIV31SpecValidator(found).validate()  # type: ignore[arg-type,unused-ignore]
        body = found["components"]["schemas"]["AcceptBody"]
        assert body["properties"].keys() == {"token", "password", "nickname"}
        assert set(body["required"]) == {"token", "nickname"}


def test_password_lengths(local_url: str) -> None:
    """A front end of the host's own reads there what our page knows: how long a password must be, and may be."""
    with build(local_url, config={"INVITATIONS_PASSWORD_MIN_LENGTH": 20}) as host:
        found: Any = host.client().get(DOCUMENT).json
        password = found["components"]["schemas"]["AcceptBody"]["properties"]["password"]
        assert (password["minLength"], password["maxLength"], password["writeOnly"]) == (20, 128, True)


def test_no_secret_has_a_name(document: dict[str, Any]) -> None:
    """C8, C12: no answer has a field for a token, a hash, a nonce or a key."""
    outs = {name: shape for name, shape in document["components"]["schemas"].items() if name.endswith("Out")}
    assert len(outs) > 5
    for name, shape in outs.items():
        for field in shape["properties"]:
            assert not any(word in field for word in ("token", "hash", "nonce", "key", "link_shown")), (name, field)


# Any call that fits the document, and many that do not

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
NAMES = sorted(ALSO.keys() - {"openapi"})


#: Seconds of a soak, for all calls and callers together.
MINUTES = 600.0
WHO = ("nobody", "plain", "admin")


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Any]]:
    """A host, and schemathesis' view of its document."""
    named = Schema.from_dict({"name": fields.String(required=True)})
    with build(f"sqlite:///{tmp_path_factory.mktemp('fuzz') / 'fuzz.sqlite3'}", profile_schema=named) as host:
        host.app.testing = False  # what nobody expects is a 500, as it is for people
        yield host, schemathesis.openapi.from_wsgi(DOCUMENT, host.app)


@pytest.mark.soak
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", NAMES)
def test_anything(fuzzed: tuple[Host, Any], name: str, who: str) -> None:
    """Whatever is sent to a call, right or wrong, by nobody, a plain user or a manager: there is no 5xx, and the answer
    is as documented."""
    host, schema = fuzzed
    case = make(host, "pending", f"{name}-{who}".replace("_", "-"))
    headers = host.headers(None if who == "nobody" else getattr(case, who))
    ends = time.monotonic() + MINUTES / len(NAMES) / len(WHO)
    (operation,) = [
        found.ok() for found in schema.get_all_operations() if found.ok().definition.raw["operationId"] == name
    ]

    def send(case_: Any) -> None:
        if time.monotonic() > ends:
            return
        if "invitation_id" in (case_.path_parameters or {}):
            case_.path_parameters["invitation_id"] = case.id
        if isinstance(case_.body, dict) and "token" in case_.body:
            case_.body["token"] = case.token
        case_.call_and_validate(headers=headers, checks=CHECKS)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # schemathesis and its libraries remark on each other
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            test = operation.as_strategy(generation_mode=mode)
            run = settings(
                max_examples=600 if SOAK else 6,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            wrap: Any = given(test)
            run(wrap(send))()
