"""Endpoints registered in a real database, for tests about what happens to them afterwards."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.secrets import Vault
from tests.support.egress import LOOPBACK
from tests.support.jobs import KEY
from tests.support.time import FakeClock

if TYPE_CHECKING:
    import asyncpg

    from publisher.endpoints import Endpoint

    Connection = asyncpg.Connection[asyncpg.Record]

URL = "https://receiver.example/hooks"
OTHER_KEY = bytes(range(32, 64))


def a_directory(**keys: bytes) -> Directory:
    """Return a directory that has read nothing yet."""
    return Directory(Vault(keys or {"k1": KEY}), Ids(FakeClock()), LOOPBACK)


async def register(directory: Directory, connection: Connection, **changes: Any) -> tuple[str, str]:
    """Register an endpoint of `acct_1`, or as `changes` say; return its id and its secret."""
    return await directory.register(connection, **{"account": "acct_1", "url": URL, "events": ["server.*"], **changes})


async def only(directory: Directory, connection: Connection, account: str = "acct_1") -> Endpoint:
    """Return the one active endpoint an account has."""
    [endpoint] = (await directory.of_accounts(connection, [account]))[account]
    return endpoint


def bytes_of(secret: str) -> bytes:
    """Return what `whsec_…` stands for."""
    return base64.b64decode(secret.removeprefix("whsec_"))


async def an_endpoint(
    directory: Directory, connection: Connection, algorithm: str = "hmac-sha256", account: str = "acct_1"
) -> tuple[str, bytes]:
    """Register an endpoint; return its id and its secret's bytes."""
    endpoint_id, secret = await directory.register(
        connection, account=account, url=URL, events=["*"], algorithm=algorithm
    )
    return endpoint_id, bytes_of(secret)


async def ready(directory: Directory, connection: Connection, endpoint_id: str) -> Endpoint:
    """Return an active endpoint as whoever delivers to it gets it."""
    return (await directory.of_ids(connection, [endpoint_id]))[endpoint_id]
