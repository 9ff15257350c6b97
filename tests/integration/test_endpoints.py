"""Endpoints in a real database: what is registered is read back sealed and opened, and every change is noticed."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from publisher import endpoints
from publisher.delivery.egress import Rules
from publisher.endpoints import Directory, Endpoint, InvalidEndpointError
from publisher.ids import Ids
from publisher.secrets import Owner, Vault
from tests.support.egress import LOOPBACK
from tests.support.jobs import KEY
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = asyncpg.Connection[asyncpg.Record]

URL = "https://receiver.example/hooks"
OTHER_KEY = bytes(range(32, 64))


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


def a_directory(**keys: bytes) -> Directory:
    """Return a directory that has read nothing yet."""
    return Directory(Vault(keys or {"k1": KEY}), Ids(FakeClock()), LOOPBACK)


@pytest.fixture
def directory() -> Directory:
    return a_directory()


async def _register(directory: Directory, connection: Connection, **changes: Any) -> tuple[str, str]:
    return await directory.register(connection, **{"account": "acct_1", "url": URL, "events": ["server.*"], **changes})


async def _only(directory: Directory, connection: Connection, account: str = "acct_1") -> Endpoint:
    [endpoint] = (await directory.of_accounts(connection, [account]))[account]
    return endpoint


def _bytes_of(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"))


# --- registering -----------------------------------------------------------------------------------------------------


async def test_what_is_registered_is_read_back(directory: Directory, connection: Connection) -> None:
    endpoint_id, secret = await _register(directory, connection, events=["server.*", "topup.created", "server.*"])
    expected = Endpoint(
        account="acct_1",
        id=endpoint_id,
        version=1,
        url=LOOPBACK.check_url(URL),
        filters=frozenset({"server.*", "topup.created"}),
        keys=(_bytes_of(secret),),
    )
    for reader in (directory, a_directory()):  # the process that wrote it, and another one
        assert await _only(reader, connection) == expected
        assert await reader.of_ids(connection, [endpoint_id, "we_unknown"]) == {endpoint_id: expected}
    assert endpoint_id.startswith("we_")
    assert secret.startswith("whsec_")
    assert len(_bytes_of(secret)) == 32


async def test_two_endpoints_have_two_secrets(directory: Directory, connection: Connection) -> None:
    made = [await _register(directory, connection) for _ in range(2)]
    assert len({endpoint_id for endpoint_id, _ in made}) == len({secret for _, secret in made}) == 2


async def test_the_database_never_sees_a_secret(directory: Directory, connection: Connection) -> None:
    _, secret = await _register(directory, connection)
    rows = [
        *await connection.fetch("SELECT * FROM endpoints"),
        *await connection.fetch("SELECT * FROM endpoint_secrets"),
    ]
    assert len(rows) == 2
    for row in rows:
        for value in row.values():
            stored = value if isinstance(value, bytes) else str(value).encode()
            assert _bytes_of(secret) not in stored
            assert secret.removeprefix("whsec_").encode() not in stored


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"account": "a|b"}, "account: "),
        ({"url": "http://receiver.example/"}, "url: "),
        ({"events": []}, "events: "),
        ({"events": ["server.exploded"]}, "events: "),
    ],
)
async def test_what_is_refused_leaves_no_row(
    changes: dict[str, Any], says: str, directory: Directory, connection: Connection
) -> None:
    with pytest.raises(InvalidEndpointError, match=f"^{says}"):
        await _register(directory, connection, **changes)
    assert await connection.fetchval("SELECT count(*) FROM endpoints") == 0


async def test_http_to_loopback_depends_on_where_the_service_runs(connection: Connection) -> None:
    await _register(a_directory(), connection, url="http://127.0.0.1:8000/")
    strict = Directory(Vault({"k1": KEY}), Ids(FakeClock()), Rules.parse())
    with pytest.raises(InvalidEndpointError, match="this address is not called"):
        await _register(strict, connection, url="http://127.0.0.1:8000/")


async def test_registering_is_all_or_nothing(directory: Directory, connection: Connection) -> None:
    await connection.execute("ALTER TABLE endpoint_secrets ADD CHECK (account_id <> 'acct_1')")
    with pytest.raises(asyncpg.CheckViolationError):
        await _register(directory, connection)
    assert await connection.fetchval("SELECT count(*) FROM endpoints") == 0


# --- looking up ------------------------------------------------------------------------------------------------------


async def test_accounts_get_their_own_endpoints_only(directory: Directory, connection: Connection) -> None:
    mine = {(await _register(directory, connection))[0] for _ in range(2)}
    other, _ = await _register(directory, connection, account="acct_2")
    found = await directory.of_accounts(connection, ["acct_1", "acct_2", "acct_3", "acct_1"])
    assert {account: {each.id for each in found[account]} for account in found} == {"acct_1": mine, "acct_2": {other}}
    assert len(found["acct_1"]) == 2


async def test_a_change_is_noticed_by_its_version(directory: Directory, connection: Connection) -> None:
    endpoint_id, secret = await _register(directory, connection)
    first = await _only(directory, connection)
    assert await _only(directory, connection) is first  # prepared once, not on every look-up
    await connection.execute(
        "UPDATE endpoints SET url = $2, events = '{*}', version = version + 1 WHERE id = $1", endpoint_id, URL + "/new"
    )
    second = await _only(directory, connection)
    assert (str(second.url), second.filters, second.version) == (URL + "/new", frozenset({"*"}), 2)
    assert second.keys == (_bytes_of(secret),)
    assert (await directory.of_ids(connection, [endpoint_id]))[endpoint_id] is second


async def test_during_a_rotation_both_secrets_are_there_the_newest_first(
    directory: Directory, connection: Connection
) -> None:
    endpoint_id, secret = await _register(directory, connection)
    await _only(directory, connection)
    await _rotate(connection, endpoint_id, "now() + interval '1 day'")
    assert (await _only(directory, connection)).keys == (OTHER_KEY, _bytes_of(secret))


async def test_an_old_secret_signs_no_more_once_its_overlap_is_over(connection: Connection) -> None:
    endpoint_id, _ = await _register(a_directory(), connection)
    await _rotate(connection, endpoint_id, "now()")
    assert (await _only(a_directory(), connection)).keys == (OTHER_KEY,)


async def test_an_overlap_that_ends_is_noticed_by_who_has_prepared_the_endpoint(
    directory: Directory, connection: Connection
) -> None:
    endpoint_id, secret = await _register(directory, connection)
    await _rotate(connection, endpoint_id, "now() + interval '1 day'")
    assert (await _only(directory, connection)).keys == (OTHER_KEY, _bytes_of(secret))
    await connection.execute("UPDATE endpoint_secrets SET expires_at = now() WHERE version = 1")  # a day later
    assert (await _only(directory, connection)).keys == (OTHER_KEY,)


async def _rotate(connection: Connection, endpoint_id: str, expires_at: str) -> None:
    """Add version 2 of the secret and let version 1 end, as a rotation does."""
    sealed = Vault({"k1": KEY}).seal(OTHER_KEY, Owner("acct_1", endpoint_id, 2))
    async with connection.transaction():
        await connection.execute(f"UPDATE endpoint_secrets SET expires_at = {expires_at}")  # noqa: S608 - the test's own
        await connection.execute(endpoints.SEAL, "acct_1", endpoint_id, 2, *sealed)
        await connection.execute("UPDATE endpoints SET version = version + 1")


async def test_a_ciphertext_moved_between_rows_does_not_open(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    for account in ("acct_1", "acct_2"):
        await _register(a_directory(), connection, account=account)
    await connection.execute(
        "UPDATE endpoint_secrets SET sealed = (SELECT sealed FROM endpoint_secrets WHERE account_id = 'acct_2')"
        " WHERE account_id = 'acct_1'"
    )
    assert (await _only(a_directory(), connection)).keys == ()
    assert "the key or the row was changed" in caplog.text
    assert len((await _only(a_directory(), connection, "acct_2")).keys) == 1


async def test_a_key_that_replaces_another_opens_what_the_old_one_sealed(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    _, secret = await _register(a_directory(old=KEY), connection)
    assert (await _only(a_directory(new=OTHER_KEY, old=KEY), connection)).keys == (_bytes_of(secret),)
    blind = a_directory(new=OTHER_KEY)
    assert (await _only(blind, connection)).keys == ()
    assert "'old', which is not in HELIOGRAPH_SECRET_KEYS" in caplog.text


async def test_an_endpoint_whose_secret_does_not_open_keeps_nobody_else_from_being_read(
    connection: Connection,
) -> None:
    for account in ("acct_1", "acct_2"):
        await _register(a_directory(), connection, account=account)
    await connection.execute("UPDATE endpoint_secrets SET key_id = 'lost' WHERE account_id = 'acct_1'")
    found = await a_directory().of_accounts(connection, ["acct_1", "acct_2"])
    assert {account: len(each.keys) for account, (each,) in found.items()} == {"acct_1": 0, "acct_2": 1}


async def test_what_is_kept_ready_is_bounded(
    directory: Directory, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "CACHED", 2)
    registered = {(await _register(directory, connection, account=f"acct_{number}"))[0] for number in range(5)}
    for _ in range(2):
        assert set(await directory.of_ids(connection, registered)) == registered
    assert len(directory._ready) == 2


# --- disabling -------------------------------------------------------------------------------------------------------


async def test_a_disabled_endpoint_is_not_found_any_more(directory: Directory, connection: Connection) -> None:
    gone, _ = await _register(directory, connection)
    kept, _ = await _register(directory, connection)
    await directory.of_accounts(connection, ["acct_1"])
    assert await endpoints.disable(connection, [gone, "we_unknown"], "gone") == [gone]
    assert (await _only(directory, connection)).id == kept
    assert set(await directory.of_ids(connection, [gone, kept])) == {kept}
    row = await connection.fetchrow(
        "SELECT status, disabled_reason, version, updated_at > created_at FROM endpoints WHERE id = $1", gone
    )
    assert row is not None
    assert tuple(row) == ("disabled", "gone", 2, True)


async def test_disabling_twice_says_so_once_and_keeps_the_first_reason(
    directory: Directory, connection: Connection
) -> None:
    endpoint_id, _ = await _register(directory, connection)
    assert await endpoints.disable(connection, [endpoint_id], "gone") == [endpoint_id]
    assert await endpoints.disable(connection, [endpoint_id], "failing") == []
    assert await connection.fetchval("SELECT disabled_reason FROM endpoints") == "gone"
    assert await endpoints.disable(connection, [], "gone") == []


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_only_active_endpoints_are_delivered_to(
    status: str, directory: Directory, connection: Connection
) -> None:
    endpoint_id, _ = await _register(directory, connection)
    reason = "'x'" if status == "disabled" else "NULL"
    await connection.execute(f"UPDATE endpoints SET status = '{status}', disabled_reason = {reason}")  # noqa: S608 - the test's own
    assert await directory.of_accounts(connection, ["acct_1"]) == {}
    assert await directory.of_ids(connection, [endpoint_id]) == {}
