"""The operations of the API on a real database, without HTTP: what stands between a request's body and its handler.

Bodies and queries are read by the API's own parsers, errors become what its table says, and every answer is held
against the model that documents it. Who calls is said, not proved: credentials, limits and replays are not here.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
from multidict import MultiDict
from yarl import URL

from publisher import profiles
from publisher.api import bodies, errors, listing
from publisher.api.call import Call, Mode, Principal, Services
from publisher.api.connections import Connections
from publisher.api.operations import OPERATIONS
from publisher.delivery import tester
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.profiles import templates
from publisher.profiles.model import Fault
from publisher.secrets import Vault
from runtime.clock import SystemClock
from tests.support.egress import LOOPBACK
from tests.support.jobs import KEY
from tests.support.transports import a_transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from publisher.api.call import Operation, Reply
    from publisher.delivery.egress import Rules
    from publisher.profiles import Profile
    from runtime.database import Pool

REQUEST_ID = "req_of-the-test"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller gets; `json` is None where there is no body."""

    status: int
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def error(self) -> dict[str, Any]:
        """What an error says."""
        said: dict[str, Any] = self.json["error"]
        return said

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and code of an error."""
        return self.status, self.error["code"]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where an account's calls come in."""

    pool: Pool
    services: Services
    principal: Principal

    def of(self, account: str, **changes: Any) -> Desk:
        """Return the desk as another account finds it; `changes` are the principal's."""
        return replace(self, principal=replace(self.principal, account=account, id=f"key-of-{account}", **changes))

    async def __call__(self, method: str, path: str, body: object = None, *, content: bytes | None = None) -> Answer:
        """Call an operation by its route below the base, as `?` and what follows say it."""
        url = URL(path)
        profile = self.services.profile
        try:
            operation, values = _route(method, url.path)
            call = Call(services=self.services, request_id=REQUEST_ID, path=values, principal=self.principal)
            call.asked = listing.parse(MultiDict(url.query), operation, profile.lists)
            if operation.body is not None:
                raw = content if content is not None else orjson.dumps({} if body is None else body)
                _, call.body = bodies.parse(raw, operation.body)
            reply = await _handled(operation, call)
        except Exception as error:
            answer = errors.of_exception(error)
            if answer.fault is Fault.CRASHED:
                raise
            status, said = errors.body_of(answer, profile, REQUEST_ID)
            return Answer(status, said, answer.headers)
        return _rendered(operation, call, reply, url)

    async def webhook(self, url: object = "https://receiver.example/hooks", **changes: Any) -> dict[str, Any]:
        """Make a webhook that wants everything; return it, with its secret."""
        answer = await self("POST", "/webhooks", {"url": str(url), "events": ["*"], **changes})
        assert answer.status == 201, answer
        made: dict[str, Any] = answer.json
        return made

    async def announced(self) -> list[tuple[str, str | None, dict[str, Any]]]:
        """Return what waits to be told to the control plane: type, account, data."""
        rows = await self.pool.fetch("SELECT type, account_id, data FROM announcements ORDER BY id")
        return [(row[0], row[1], orjson.loads(row[2])) for row in rows]


async def _handled(operation: Operation, call: Call) -> Reply:
    if operation.mode in {Mode.REMOTE, Mode.MEMORY}:
        return await operation.handler(call)
    connections = call.services.connections
    enter = connections.acquire if operation.mode is Mode.READ else connections.transaction
    async with enter(call.account) as call.held:
        return await operation.handler(call)


def _route(method: str, path: str) -> tuple[Operation, dict[str, str]]:
    for operation in OPERATIONS:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", operation.path)
        if operation.method == method and (match := re.fullmatch(pattern, path)):
            return operation, match.groupdict()
    raise errors.not_found()


def _rendered(operation: Operation, call: Call, reply: Reply, url: URL) -> Answer:
    profile = call.services.profile
    headers = {} if reply.location is None else {"Location": reply.location}
    if reply.items is not None:
        body = templates.fill(profile.lists.body, listing.values(call.query, reply.items))
        headers |= listing.links(url, call.query, reply.items, profile.lists)
        shown = [] if call.query.fields else reply.items.items
    elif reply.item is not None:
        body = templates.fill(profile.responses.item, {"item": reply.item})
        shown = [reply.item]
    else:
        return Answer(operation.status, None, headers)
    assert operation.item is not None
    for each in shown:
        operation.item.model_validate_json(orjson.dumps(each))
    return Answer(operation.status, orjson.loads(orjson.dumps(body, option=orjson.OPT_UTC_Z)), headers)


@contextlib.asynccontextmanager
async def a_desk(
    dsn: str,
    *,
    profile: Profile | None = None,
    rules: Rules = LOOPBACK,
    attempt_timeout: float = 5.0,
    response_bytes: int = 16_384,
    connections: int = 8,
    **changes: Any,
) -> AsyncIterator[Desk]:
    """Open the desk of `acct_1`; `rules` say what may be called, `changes` are the principal's."""
    clock = SystemClock()
    made = Ids(clock)
    profile = profile or profiles.load("nordbastion")
    async with (
        asyncpg.create_pool(dsn, min_size=1, max_size=connections) as pool,
        a_transport(timeout=attempt_timeout, response_bytes=response_bytes, rules=rules) as transport,
    ):
        services = Services(
            connections=Connections(pool, connections),
            directory=Directory(Vault({"test": KEY}), made, rules),
            ids=made,
            clock=clock,
            tester=tester.Tester(transport, made, clock, header_prefix=profile.headers.webhook_prefix),
            profile=profile,
        )
        principal = Principal("api_key", "key-of-acct_1", "acct_1", frozenset({"full"}), **changes)
        yield Desk(pool, services, principal)
