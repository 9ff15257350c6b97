"""Endpoints as their owners see and change them: their own alone, all or nothing, noticed by whoever delivers."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from publisher import endpoint_failures, endpoints
from publisher.delivery.backoff import Policy
from publisher.endpoints import Details, Directory, InvalidEndpointError, NoSuchEndpointError
from publisher.ids import Ids
from publisher.secrets import Vault
from publisher.subscriptions import Terms
from tests.support.directories import URL, a_directory, bytes_of, only, register
from tests.support.egress import LOOPBACK
from tests.support.jobs import KEY
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = asyncpg.Connection[asyncpg.Record]


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


@pytest.fixture
def directory() -> Directory:
    return a_directory()


async def test_an_endpoint_is_read_as_it_was_registered(directory: Directory, connection: Connection) -> None:
    endpoint_id, secret = await register(
        directory, connection, description="the panel", retries=5, window=7200, algorithm="ed25519"
    )
    read = await endpoints.read(connection, "acct_1", endpoint_id)
    assert read == Details(
        account="acct_1",
        id=endpoint_id,
        url=URL,
        events=["server.*"],
        description="the panel",
        status="active",
        disabled_reason=None,
        algorithm="ed25519",
        retries=5,
        window=7200,
        failing_since=None,
        dropped=0,
        last_result=None,
        created_at=read.created_at,
        updated_at=read.updated_at,
    )
    assert secret.removeprefix("whsec_") not in str(asdict(read))


async def test_a_list_has_an_accounts_own_endpoints_the_oldest_first(
    directory: Directory, connection: Connection
) -> None:
    mine = [(await register(directory, connection))[0] for _ in range(3)]
    await register(directory, connection, account="acct_2")
    listed, total = await endpoints.list_of(connection, "acct_1")
    assert [each.id for each in listed] == mine
    assert total == 3
    assert listed[0] == await endpoints.read(connection, "acct_1", mine[0])
    assert await endpoints.list_of(connection, "acct_3") == ([], 0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"url": "HTTPS://Other.example/"}, {"url": "https://other.example/"}),
        ({"events": ["topup.*", "topup.*"]}, {"events": ["topup.*"]}),
        ({"description": "new"}, {"description": "new"}),
        ({"status": "paused"}, {"status": "paused"}),
        ({"retries": 2}, {"retries": 2}),
        ({"window": 7200}, {"window": 7200}),
        ({"retries": None, "window": None}, {"retries": None, "window": None}),
        ({"retries": 0, "window": 1}, {"retries": 0, "window": 1}),
    ],
)
async def test_what_is_changed_is_changed_and_nothing_else(
    changes: Any, expected: dict[str, Any], directory: Directory, connection: Connection
) -> None:
    endpoint_id, _ = await register(directory, connection, description="old", retries=5, window=3600)
    other, _ = await register(directory, connection)
    untouched = await endpoints.read(connection, "acct_1", other)
    before = await endpoints.read(connection, "acct_1", endpoint_id)
    after = await directory.update(connection, "acct_1", endpoint_id, **changes)
    assert after == replace(before, updated_at=after.updated_at, **expected)
    assert after.updated_at > before.updated_at
    assert after == await endpoints.read(connection, "acct_1", endpoint_id)
    assert await endpoints.read(connection, "acct_1", other) == untouched
    assert await connection.fetchval("SELECT version FROM endpoints WHERE id = $1", endpoint_id) == 2


async def test_a_change_reaches_who_has_prepared_the_endpoint(directory: Directory, connection: Connection) -> None:
    endpoint_id, secret = await register(directory, connection)
    reader = a_directory()
    await only(reader, connection)
    await directory.update(connection, "acct_1", endpoint_id, url=URL + "/new", retries=1, window=100)
    changed = await only(reader, connection)
    assert (str(changed.url), changed.policy, changed.keys) == (URL + "/new", Policy(1, 100, 15), (bytes_of(secret),))
    await directory.update(connection, "acct_1", endpoint_id, status="paused")
    assert await reader.of_accounts(connection, ["acct_1"]) == {}
    await directory.update(connection, "acct_1", endpoint_id, status="active")
    assert (await only(reader, connection)).keys == (bytes_of(secret),)


async def test_no_change_is_no_new_version(directory: Directory, connection: Connection) -> None:
    endpoint_id, _ = await register(directory, connection)
    before = await endpoints.read(connection, "acct_1", endpoint_id)
    assert await directory.update(connection, "acct_1", endpoint_id) == before
    assert await connection.fetchval("SELECT version FROM endpoints") == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": "ftp://receiver.example/"}, "url: "),
        ({"events": ["no.such"]}, "events: "),
        ({"description": "\x00"}, "description: "),
        ({"status": "disabled"}, "status: must be active or paused"),
        ({"retries": 11}, "retries: must be 0 to 10"),
        ({"window": 86_401}, "window: must be 1 to 86400 seconds"),
        ({"window": 90}, "window: 6 attempts of up to 15 s do not fit"),  # with the five retries it has
        ({"description": "new", "retries": -1}, "retries: "),
    ],
)
async def test_a_change_that_is_refused_changes_nothing(
    changes: Any, says: str, directory: Directory, connection: Connection
) -> None:
    endpoint_id, _ = await register(directory, connection, retries=5)
    before = await endpoints.read(connection, "acct_1", endpoint_id)
    with pytest.raises(InvalidEndpointError, match=f"^{says}"):
        await directory.update(connection, "acct_1", endpoint_id, **changes)
    assert await endpoints.read(connection, "acct_1", endpoint_id) == before


async def test_a_lowered_limit_does_not_stand_in_the_way_of_another_change(connection: Connection) -> None:
    endpoint_id, _ = await register(a_directory(), connection, retries=8, window=80_000)
    narrow = Directory(Vault({"k1": KEY}), Ids(FakeClock()), LOOPBACK, Terms(max_retries=4, max_window=7200))
    assert (await narrow.update(connection, "acct_1", endpoint_id, retries=3)).window == 80_000
    assert (await narrow.update(connection, "acct_1", endpoint_id, description="new")).description == "new"


async def test_enabling_again_is_a_fresh_start(directory: Directory, connection: Connection) -> None:
    endpoint_id, _ = await register(directory, connection)
    for status in ("active", "paused"):
        await endpoint_failures.note_failures(connection, [(endpoint_id, 30, "5xx")])
        [gone] = await endpoint_failures.disable(connection, [endpoint_id], "failing")
        assert (gone.dropped, gone.last_result) == (30, "5xx")
        read = await directory.update(connection, "acct_1", endpoint_id, status=status)
        assert (read.status, read.disabled_reason) == (status, None)
        assert (read.failing_since, read.dropped, read.last_result) == (None, 0, None)
        await directory.update(connection, "acct_1", endpoint_id, status="active")


async def test_an_active_endpoint_cannot_wash_its_failures_off(directory: Directory, connection: Connection) -> None:
    endpoint_id, _ = await register(directory, connection)
    await endpoint_failures.note_failures(connection, [(endpoint_id, 2, "5xx")])
    read = await directory.update(connection, "acct_1", endpoint_id, status="active", description="new")
    assert (read.dropped, read.last_result) == (2, "5xx")
    assert read.failing_since is not None


async def test_changes_at_the_same_time_are_both_there_afterwards(
    directory: Directory, connection: Connection, dsn: str
) -> None:
    endpoint_id, _ = await register(directory, connection)
    other = await asyncpg.connect(dsn)
    await asyncio.gather(
        directory.update(connection, "acct_1", endpoint_id, description="new"),
        directory.update(other, "acct_1", endpoint_id, events=["topup.*"]),
    )
    await other.close()
    read = await endpoints.read(connection, "acct_1", endpoint_id)
    assert (read.description, read.events) == ("new", ["topup.*"])
    assert await connection.fetchval("SELECT version FROM endpoints") == 3


async def test_what_is_deleted_is_gone_with_its_secrets(directory: Directory, connection: Connection) -> None:
    endpoint_id, _ = await register(directory, connection, algorithm="ed25519")
    kept, _ = await register(directory, connection)
    await directory.of_accounts(connection, ["acct_1"])
    await endpoints.delete(connection, "acct_1", endpoint_id)
    assert (await only(directory, connection)).id == kept
    assert await connection.fetchval("SELECT count(*) FROM endpoint_secrets") == 1


@pytest.mark.parametrize("asker", ["foreign", "absent", "NUL", "empty"])
async def test_anothers_endpoint_and_none_at_all_are_the_same_error(
    asker: str, directory: Directory, connection: Connection
) -> None:
    endpoint_id, _ = await register(directory, connection)
    before = await endpoints.read(connection, "acct_1", endpoint_id)
    account, asked = {
        "foreign": ("acct_2", endpoint_id),
        "absent": ("acct_1", "we_absent"),
        "NUL": ("acct_1", "we_\x00"),
        "empty": ("acct_1", ""),
    }[asker]
    for call in (
        lambda: endpoints.read(connection, account, asked),
        lambda: endpoints.delete(connection, account, asked),
        lambda: endpoints.public_keys(connection, account, asked),
        lambda: directory.update(connection, account, asked, status="paused"),
        lambda: directory.update(connection, account, asked),
        lambda: directory.rotate(connection, account, asked),
    ):
        with pytest.raises(NoSuchEndpointError) as caught:
            await call()
        assert str(caught.value) == f"the account has no endpoint {asked!r}"
    assert await endpoints.read(connection, "acct_1", endpoint_id) == before
    assert await connection.fetchval("SELECT count(*) FROM endpoint_secrets") == 1
