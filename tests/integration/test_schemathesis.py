"""The API against its own description: whatever is asked, fitting or not, every answer is one that is described.

The service runs in this process, Schemathesis asks from a thread. Half of the requests are about webhooks, deliveries,
recoveries and a canary that are there; those that are made reach a receiver.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from feeds import documents, stream
from publisher import profiles
from publisher.api.openapi import codes_of, feeds
from publisher.api.operations import OPERATIONS
from publisher.profiles.model import Fault
from signer.canonical import canonical
from signer.statement import TAIL
from tests.support import feed_documents, gpg
from tests.support.api import a_token, running, without_limits
from tests.support.feed_signers import PRIMARY
from tests.support.feed_stage import ARMORED
from tests.support.histories import histories
from tests.support.published_canaries import council
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import APIOperation, Case, Response

    from publisher.profiles import Profile
    from runtime.settings import Settings
    from tests.support.published_canaries import Council

PROFILES = {
    "nordbastion": (Path(profiles.__file__).parent / "nordbastion.toml", "Authorization", "Bearer {}", "full"),
    "tiny": (Path(__file__).parents[1] / "support" / "profiles" / "tiny.toml", "X-Api-Token", "{}", "touch"),
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BY_NAME = {operation.name: operation for operation in OPERATIONS}
#: A stream does not end, so it has tests of its own.
FEEDS = {route.name for route in feeds.DESCRIBED if route is not stream.DESCRIBED}
EXAMPLES = 20
#: What needs a webhook of its own: it is gone or paused afterwards, or may have one of these at a time.
ALONE = {"delete_webhook", "update_webhook", "recover"}
#: Where a generated id cannot be one of ours, or leads to another route or to none.
UNROUTED = {"not_found", "method_not_allowed"}


@dataclass
class World:
    """What there is to ask about, and how."""

    url: str
    profile: Profile
    receiver: str
    headers: dict[str, str]
    webhook: str = ""
    recovery: str = ""
    signer: str = ""
    deliveries: list[str] = field(default_factory=list)
    session: requests.Session = field(default_factory=requests.Session)

    def make(self, path: str, body: dict[str, Any]) -> str:
        """Make something; return its id."""
        url = f"{self.url}{self.profile.base}{path}"
        response = self.session.post(url, json=body, headers=self.headers, timeout=10)
        assert response.status_code in {201, 202}, response.text
        made = response.json()
        identifier: str = made.get("data", made)["id"]
        return identifier

    def make_webhook(self) -> str:
        return self.make("/webhooks", {"url": self.receiver, "events": ["server.*"]})


def prepared(case: Case[Any], name: str, world: World, *, is_about_ours: bool, number: int) -> None:
    """Make a case be about what is there, with our credential in nine of ten."""
    headers = CaseInsensitiveDict(case.headers or {})
    if number < 90:
        for carrier in world.profile.credentials.carriers:
            headers.pop(carrier.header, None)
        headers.update(world.headers)
    case.headers = headers
    if not is_about_ours:
        return
    parameters = case.path_parameters or {}
    ours = {
        "webhook_id": world.make_webhook() if name in ALONE else world.webhook,
        "delivery_id": world.deliveries[number % len(world.deliveries)],
        "recovery_id": world.recovery,
        "sequence": 1,
        "number": 1,
        "incident_id": feed_documents.OPEN.id,
        "signer": world.signer,
    }
    parameters.update({each: ours[each] for each in parameters})
    if isinstance(case.body, dict) and "url" in case.body:
        case.body |= {"url": world.receiver, "events": ["server.*"]}
        if number % 2:  # any number is allowed by the description, few by the operator
            case.body |= {"retries": None, "window": None}


def check_code(name: str, response: Response, world: World) -> None:
    """Hold the code of an error against those that its status is described with."""
    if response.status_code < 400 or name not in BY_NAME:
        return
    said = response.json()
    code = (said["error"] if "error" in said else said["errors"][0])["code"]
    kinds = world.profile.errors.kinds
    faults = [fault for fault in Fault if kinds[fault].status == response.status_code]
    described = {each for fault in faults for each in codes_of(BY_NAME[name], fault, world.profile)}
    assert code in described | UNROUTED | {kinds[Fault.NOT_FOUND].code}, (name, response.status_code, code)


def examine(
    operation: APIOperation[Any, Any, Any, Any], name: str, mode: GenerationMode, world: World, seen: set[int]
) -> None:
    """Ask an operation, in one way, whatever its description allows or does not."""

    @settings_of_hypothesis(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), is_about_ours=st.booleans(), number=st.integers(0, 99))
    def ask(case: Case[Any], is_about_ours: bool, number: int) -> None:  # noqa: FBT001 - hypothesis passes names
        prepared(case, name, world, is_about_ours=is_about_ours, number=number)
        response = case.call_and_validate(session=world.session, checks=CHECKS)
        seen.add(response.status_code)
        check_code(name, response, world)

    ask()


def everything(world: World) -> dict[str, set[int]]:
    """Examine every operation; return which statuses each answered with."""
    described = world.session.get(f"{world.url}{world.profile.base}/openapi.json", timeout=10).json()
    schema = schemathesis.openapi.from_dict(described)  # from its URL it would leave out that very route
    schema.config.update(base_url=world.url)
    seen: dict[str, set[int]] = {}
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        raw = operation.definition.raw
        if raw["operationId"] == stream.DESCRIBED.name:
            continue
        statuses = seen.setdefault(raw["operationId"], set())
        for mode in GenerationMode if raw.get("parameters") else [GenerationMode.POSITIVE]:
            examine(operation, raw["operationId"], mode, world, statuses)
    return seen


@pytest.fixture
def signers() -> Iterator[Council]:
    with council() as made:
        yield made


@pytest.fixture
def feed() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        made.make()
        yield made


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PROFILES)
async def test_every_answer_is_described(
    settings: Settings, tmp_path: Path, feed: gpg.Home, signers: Council, name: str
) -> None:
    source, header, form, scope = PROFILES[name]
    path = without_limits(tmp_path, source)
    signing = {"feed_key": feed.fingerprints()[0], "gnupghome": str(feed.path)}
    keys = {"canary_keys": ",".join(signers.keys), "canary_threshold": 2, "public_keys": str(signers.folder)}
    async with asyncpg.create_pool(settings.dsn(), min_size=1, max_size=1) as pool, pool.acquire() as connection:
        await signers.publish(connection, signers.first(datetime.now(UTC) - timedelta(hours=1)))
        for published in (feed_documents.peering(), feed_documents.incidents(), feed_documents.status()):
            await documents.save(
                connection, documents.Feed(published.type.partition("/")[0]), 1,
                canonical(published.model_dump(mode="json")),
                signatures=[documents.Signature(PRIMARY, ARMORED)], published_at=datetime.now(UTC),
            )  # fmt: skip
    async with (
        running(settings, "api", "sign", profile=path, **signing, **keys) as api,
        Receiver().listening() as receiver,
        histories(settings.dsn()) as history,
    ):
        world = World(api.nobody.url, profiles.load(path), receiver.url, {header: form.format(a_token(scope=scope))})
        world.signer = signers.keys[0][-TAIL:]
        world.webhook = await asyncio.to_thread(world.make_webhook)
        for state in ("delivered", "dropped", "cancelled", "pending", "retry", "leased"):
            world.deliveries += [await history.add(world.webhook, state) for _ in range(5)]
        recover = f"/webhooks/{world.webhook}/recover"
        world.recovery = await asyncio.to_thread(world.make, recover, {"since": "2026-01-01T00:00:00Z"})
        seen = await asyncio.to_thread(everything, world)
    assert seen.keys() == {*BY_NAME, *FEEDS, "get_health", "get_health_live", "get_health_ready", "get_openapi"}
    for name_, operation in BY_NAME.items():
        assert operation.status in seen[name_], (name_, seen[name_])
    for name_ in FEEDS:
        assert 200 in seen[name_], (name_, seen[name_])
