"""The API as it runs: a service with the role `api` in this process, and callers with credentials of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import jwt
import orjson

from consumers import broker
from consumers.broker import Outgoing
from publisher import profiles
from publisher.app import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from runtime.settings import Settings

JWT_SECRET = "a secret of tests that is long enough for HS256"  # noqa: S105 - of tests
JWT_SETTINGS = {"jwt_secret": JWT_SECRET, "jwt_issuer": "https://panel.example", "jwt_audience": "heliograph"}
ACCOUNT = "acct_1"


def without_limits(folder: Path, source: Path = profiles.FOLDER / "nordbastion.toml") -> str:
    """Write a profile, NordBastion's when none is named, with limits that no test comes near; return its path."""
    text, times = re.subn(
        r"(?<=read = )\d+(?=,)|(?<=write = )\d+(?=,)|(?<=auth = )\d+(?= })", "1000000", source.read_text()
    )
    assert times == 3
    path = folder / source.name
    path.write_text(re.sub(r"(?<=webhooks = )\d+", "10000", text))
    return str(path)


def a_token(account: str = ACCOUNT, *, scope: str = "full", ttl: float = 3600, **claims: Any) -> str:
    """Return a session token; a claim that is None is left out."""
    full = {
        "sub": account,
        "sid": f"session-of-{account}",
        "scope": scope,
        "iss": JWT_SETTINGS["jwt_issuer"],
        "aud": JWT_SETTINGS["jwt_audience"],
        "exp": datetime.now(UTC) + timedelta(seconds=ttl),
        **claims,
    }
    return jwt.encode({name: value for name, value in full.items() if value is not None}, JWT_SECRET, "HS256")


def a_record(account: str = ACCOUNT, *, secret: str = "s3cret", kind: str = "api_key", **changes: Any) -> bytes:  # noqa: S107 - of tests
    """Return the value of a credential's record."""
    record = {
        "kind": kind,
        "account": account,
        "secret_sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "scopes": ["full"],
        "cidrs": [],
        "expires_at": None,
        "tier": None,
        "audit": False,
    }
    return orjson.dumps(record | changes)


async def publish_credentials(settings: Settings, records: Mapping[str, bytes | None]) -> None:
    """Produce credential records, by id; None is a tombstone."""
    producer = broker.KafkaProducer(settings)
    await producer.start()
    try:
        await producer.send(
            Outgoing(settings.kafka_topic_credentials, key.encode(), value, ()) for key, value in records.items()
        )
    finally:
        await producer.stop()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.content)


@dataclass
class Caller:
    """A client of the API with its credential."""

    url: str
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    def with_(self, **headers: str) -> Caller:
        """Return the same caller with other headers; underscores stand for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Caller(self.url, self.session, self.headers | named)

    def bearer(self, credential: str) -> Caller:
        return self.with_(Authorization=f"Bearer {credential}")

    async def __call__(
        self, method: str, path: str, body: object = None, *, content: bytes | None = None, **headers: str
    ) -> Answer:
        given = dict(self.headers)
        if body is not None:
            content = orjson.dumps(body)
        if content is not None:
            given["Content-Type"] = "application/json"
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, self.url + path, data=content, headers=given, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.read())


@dataclass(frozen=True, slots=True)
class Running:
    """A service that runs, and somebody without a credential."""

    service: Service
    nobody: Caller
    admin: str

    def caller(self, account: str = ACCOUNT, **claims: Any) -> Caller:
        """Return somebody with a token."""
        return self.nobody.bearer(a_token(account, **claims))


@contextlib.asynccontextmanager
async def running(settings: Settings, *roles: str, **changes: Any) -> AsyncIterator[Running]:
    """Run the service with `roles` (api alone when none is named) for the length of the context."""
    from runtime.settings import load  # noqa: PLC0415 - only here

    complete = load(environ={}, **(settings.model_dump(exclude_unset=True) | JWT_SETTINGS | changes))
    async with Service(complete, roles or ("api",)) as service, aiohttp.ClientSession() as session:
        stop = asyncio.Event()
        serving = asyncio.create_task(service.run(stop))
        try:
            assert service.addresses.api is not None
            yield Running(service, Caller(service.addresses.api, session), service.addresses.admin)
        finally:
            stop.set()
            assert await serving == 0
