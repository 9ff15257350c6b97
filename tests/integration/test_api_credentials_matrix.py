"""Every operation with every kind of credential: who may, who may not, and that answers tell nobody what exists.

Generated from the table of operations, so a new route is in it without anybody remembering.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from publisher import profiles
from publisher.api.call import Access, Operation
from publisher.api.operations import OPERATIONS
from tests.support.api import a_record, a_token, publish_credentials, running, without_limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from runtime.settings import Settings
    from tests.support.api import Answer, Caller, Running

OWNER, OTHER = "acct_owner", "acct_other"
PROFILE = profiles.load("nordbastion")
CLOSED = [operation for operation in OPERATIONS if operation.access is not Access.PUBLIC]
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).isoformat()
SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of tests
#: What operations with a body are given.
BODIES: dict[str, Any] = {
    "create_webhook": {"url": "https://example.com/hooks", "events": ["*"]},
    "update_webhook": {"description": "changed"},
    "recover": {"since": "2026-11-01T00:00:00Z"},
}

#: Records on the topic, by credential id.
RECORDS: dict[str, bytes | None] = {
    "good": a_record(OWNER, secret=SECRET),
    "reader": a_record(OWNER, secret=SECRET, scopes=["read-only"]),
    "billing": a_record(OWNER, secret=SECRET, scopes=["billing-read", "billing-write", "servers-read"]),
    "other": a_record(OTHER, secret=SECRET),
    "expired": a_record(OWNER, secret=SECRET, expires_at=YESTERDAY),
    "elsewhere": a_record(OWNER, secret=SECRET, cidrs=["198.51.100.0/24", "2001:db8::/32"]),
    "pinned": a_record(OWNER, secret=SECRET, client_cert_sha256="ab" * 32),
    "session": a_record(OWNER, secret=SECRET, kind="session"),
    "gone-session": a_record(OWNER, kind="session"),
    "gone": a_record(OWNER, secret=SECRET),
}


def a_key(credential_id: str, secret: str = SECRET) -> str:
    return f"nb_live_{credential_id}_{secret}"


#: Credentials that are refused alike, whatever is wrong with them.
REFUSED: dict[str, str] = {
    "unknown id": a_key("nobody"),
    "wrong secret": a_key("good", "f" * 32),
    "empty secret": a_key("good", ""),
    "expired key": a_key("expired"),
    "revoked key": a_key("gone"),
    "wrong CIDR": a_key("elsewhere"),
    "no certificate": a_key("pinned"),
    "a session used as a key": a_key("session"),
    "no key at all": "nb_live_",
    "nonsense": "nonsense",
    "NUL": "nb_live_a%00_b",
    "expired token": a_token(OWNER, ttl=-3600),
    "revoked session": a_token(OWNER, sid="gone-session"),
    "another's session": a_token(OTHER, sid="session"),
    "token without end": a_token(OWNER, exp=None),
    "token without session": a_token(OWNER, sid=None),
    "token of another issuer": a_token(OWNER, iss="https://evil.example"),
    "token for another audience": a_token(OWNER, aud="somebody"),
}


class Scene(NamedTuple):
    """A running API, and what the owner has."""

    api: Running
    ids: dict[str, str]

    def caller(self, credential: str) -> Caller:
        return self.api.nobody.bearer(credential)


@pytest.fixture
async def scene(settings: Settings, tmp_path: Path) -> AsyncIterator[Scene]:
    await publish_credentials(settings, RECORDS)
    await publish_credentials(settings, {"gone": None, "gone-session": None})
    async with running(settings, profile=without_limits(tmp_path)) as api:
        owner = api.nobody.bearer(a_key("good"))
        made = await owner("POST", "/v1/webhooks", BODIES["create_webhook"])
        assert made.status == 201, made.content
        webhook_id = made.json["id"]
        recovery = await owner("POST", f"/v1/webhooks/{webhook_id}/recover", BODIES["recover"])
        assert recovery.status == 202, recovery.content
        yield Scene(
            api, {"webhook_id": webhook_id, "recovery_id": recovery.json["id"], "delivery_id": "dlv_" + "0" * 32}
        )


async def ask(caller: Caller, operation: Operation, ids: dict[str, str]) -> Answer:
    path = PROFILE.base + operation.path.format_map(ids)
    return await caller(operation.method, path, BODIES.get(operation.name))


def error_of(answer: Answer) -> dict[str, str]:
    """Return an error without what differs from request to request."""
    error: dict[str, str] = answer.json["error"]
    assert error.pop("request_id") == answer.headers["X-Request-ID"]
    return error


async def test_whatever_is_wrong_with_a_credential_the_answer_is_the_same(scene: Scene) -> None:
    expected: dict[str, str] | None = None
    for operation in CLOSED:
        for case, credential in REFUSED.items():
            answer = await ask(scene.caller(credential), operation, scene.ids)
            assert answer.status == 401, (operation.name, case, answer.content)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer"), case
            error = error_of(answer)
            expected = expected or error
            assert error == expected, (operation.name, case)
    assert expected is not None
    assert (expected["type"], expected["code"]) == ("authentication_error", "invalid_credential")


async def test_without_a_credential_nothing_is_shown(scene: Scene) -> None:
    for operation in CLOSED:
        for nobody in (scene.api.nobody, scene.api.nobody.with_(Authorization="Basic dXNlcjpwYXNz")):
            answer = await ask(nobody, operation, scene.ids)
            assert answer.status == 401, (operation.name, answer.content)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_wrong_scope_is_refused_alike_for_what_exists_and_what_does_not(scene: Scene) -> None:
    """Reading needs `read-only` or `full`, changing needs `full`."""
    nothing = dict.fromkeys(scene.ids, "we_nothing")
    for operation in CLOSED:
        refused = [a_key("billing"), a_token(OWNER, scope="billing-read servers-write"), a_token(OWNER, scope="")]
        if operation.access is Access.WRITE:
            refused += [a_key("reader"), a_token(OWNER, scope="read-only")]
        for credential in refused:
            caller = scene.caller(credential)
            answer, other = await ask(caller, operation, scene.ids), await ask(caller, operation, nothing)
            assert answer.status == other.status == 403, (operation.name, answer.content)
            error = error_of(answer)
            assert error == error_of(other)
            assert (error["type"], error["code"]) == ("permission_error", "insufficient_scope")


async def test_what_another_account_has_is_what_nobody_has(scene: Scene) -> None:
    """404 with one and the same body, for every operation on something that has an id."""
    expected = {
        "type": "not_found",
        "code": "not_found",
        "message": "There is nothing here.",
        "doc_url": "https://nordbastion.com/api/#errors",
    }
    with_ids = [operation for operation in CLOSED if "{" in operation.path]
    assert len(with_ids) >= 10
    for operation in with_ids:
        strange = [scene.ids, dict.fromkeys(scene.ids, "we_nothing"), dict.fromkeys(scene.ids, "%00"),
                   dict.fromkeys(scene.ids, "a%2Fb"), dict.fromkeys(scene.ids, "é" * 300)]  # fmt: skip
        for credential in (a_key("other"), a_token(OTHER)):
            for ids in strange:
                answer = await ask(scene.caller(credential), operation, ids)
                assert answer.status == 404, (operation.name, ids, answer.content)
                assert error_of(answer) == expected, (operation.name, ids)
    unrouted = await scene.caller(a_key("other"))("GET", "/v1/nothing/of/the/kind")
    assert (unrouted.status, error_of(unrouted)) == (404, expected)


async def test_who_may_is_let_in(scene: Scene) -> None:
    """The other half of the matrix: none of the refusals above is for want of a route."""
    for operation in CLOSED:
        allowed = [a_key("good"), a_token(OWNER), a_token(OWNER, sid="session", scope="read-only full")]
        if operation.access is Access.READ:
            allowed += [a_key("reader"), a_token(OWNER, scope="read-only")]
        if operation.name == "delete_webhook":
            continue  # last, for it takes everything with it
        for credential in allowed:
            answer = await ask(scene.caller(credential), operation, scene.ids)
            assert answer.status not in {401, 403, 405, 500}, (operation.name, answer.content)
            assert answer.status != 404 or "delivery_id" in operation.path, (operation.name, answer.content)
    gone = await scene.caller(a_key("good"))("DELETE", f"/v1/webhooks/{scene.ids['webhook_id']}")
    assert gone.status == 204


async def test_the_address_list_and_the_pin_let_in_who_fits(settings: Settings) -> None:
    await publish_credentials(settings, RECORDS)
    proxied = {"trusted_proxies": "127.0.0.1/32", "client_cert_header": "X-Client-Cert"}
    async with running(settings, **proxied) as api:
        elsewhere = api.nobody.bearer(a_key("elsewhere"))
        for address, status in {"198.51.100.7": 200, "2001:db8::1": 200, "198.51.101.7": 401, "nonsense": 401}.items():
            assert (await elsewhere("GET", "/v1/webhooks", X_Forwarded_For=address)).status == status, address
        pinned = api.nobody.bearer(a_key("pinned"))
        for certificate, status in {"ab" * 32: 200, "AB" * 32: 200, "cd" * 32: 401, "": 401}.items():
            assert (await pinned("GET", "/v1/webhooks", X_Client_Cert=certificate)).status == status, certificate
