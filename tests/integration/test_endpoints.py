"""Endpoints in a real database: what is registered is read back sealed and opened, and every change is noticed."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from publisher import endpoint_failures, endpoints
from publisher.delivery.backoff import Policy
from publisher.delivery.egress import Rules
from publisher.endpoint_failures import Disabled
from publisher.endpoints import Directory, Endpoint, InvalidEndpointError
from publisher.ids import Ids
from publisher.secrets import Vault
from publisher.subscriptions import Terms
from runtime import settings as runtime_settings
from tests.support.directories import OTHER_KEY, URL, a_directory, bytes_of, only, register
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


# --- registering -----------------------------------------------------------------------------------------------------


async def test_what_is_registered_is_read_back(directory: Directory, connection: Connection) -> None:
    endpoint_id, secret = await register(directory, connection, events=["server.*", "topup.created", "server.*"])
    expected = Endpoint(
        account="acct_1",
        id=endpoint_id,
        version=1,
        url=LOOPBACK.check_url(URL),
        filters=frozenset({"server.*", "topup.created"}),
        keys=(bytes_of(secret),),
    )
    for reader in (directory, a_directory()):  # the process that wrote it, and another one
        assert await only(reader, connection) == expected
        assert await reader.of_ids(connection, [endpoint_id, "we_unknown"]) == {endpoint_id: expected}
    assert endpoint_id.startswith("we_")
    assert secret.startswith("whsec_")
    assert len(bytes_of(secret)) == 32


async def test_two_endpoints_have_two_secrets(directory: Directory, connection: Connection) -> None:
    made = [await register(directory, connection) for _ in range(2)]
    assert len({endpoint_id for endpoint_id, _ in made}) == len({secret for _, secret in made}) == 2


async def test_the_database_never_sees_a_secret(directory: Directory, connection: Connection) -> None:
    _, secret = await register(directory, connection)
    rows = [
        *await connection.fetch("SELECT * FROM endpoints"),
        *await connection.fetch("SELECT * FROM endpoint_secrets"),
    ]
    assert len(rows) == 2
    for row in rows:
        for value in row.values():
            stored = value if isinstance(value, bytes) else str(value).encode()
            assert bytes_of(secret) not in stored
            assert secret.removeprefix("whsec_").encode() not in stored


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"account": "a|b"}, "account: "),
        ({"url": "http://receiver.example/"}, "url: "),
        ({"events": []}, "events: "),
        ({"events": ["server.exploded"]}, "events: "),
        ({"description": "x" * 257}, "description: "),
        ({"retries": 11}, "retries: "),
        ({"window": 30}, "window: "),
        ({"algorithm": "rsa"}, "algorithm: "),
    ],
)
async def test_what_is_refused_leaves_no_row(
    changes: dict[str, Any], says: str, directory: Directory, connection: Connection
) -> None:
    with pytest.raises(InvalidEndpointError, match=f"^{says}"):
        await register(directory, connection, **changes)
    assert await connection.fetchval("SELECT count(*) FROM endpoints") == 0


async def test_http_to_loopback_depends_on_where_the_service_runs(connection: Connection) -> None:
    await register(a_directory(), connection, url="http://127.0.0.1:8000/")
    strict = Directory(Vault({"k1": KEY}), Ids(FakeClock()), Rules.parse())
    with pytest.raises(InvalidEndpointError, match="this address is not called"):
        await register(strict, connection, url="http://127.0.0.1:8000/")


async def test_registering_is_all_or_nothing(directory: Directory, connection: Connection) -> None:
    await connection.execute("ALTER TABLE endpoint_secrets ADD CHECK (account_id <> 'acct_1')")
    with pytest.raises(asyncpg.CheckViolationError):
        await register(directory, connection)
    assert await connection.fetchval("SELECT count(*) FROM endpoints") == 0


# --- looking up ------------------------------------------------------------------------------------------------------


async def test_accounts_get_their_own_endpointsonly(directory: Directory, connection: Connection) -> None:
    mine = {(await register(directory, connection))[0] for _ in range(2)}
    other, _ = await register(directory, connection, account="acct_2")
    found = await directory.of_accounts(connection, ["acct_1", "acct_2", "acct_3", "acct_1"])
    assert {account: {each.id for each in found[account]} for account in found} == {"acct_1": mine, "acct_2": {other}}
    assert len(found["acct_1"]) == 2


async def test_a_change_is_noticed_by_its_version(directory: Directory, connection: Connection) -> None:
    endpoint_id, secret = await register(directory, connection)
    first = await only(directory, connection)
    assert await only(directory, connection) is first  # prepared once, not on every look-up
    await connection.execute(
        "UPDATE endpoints SET url = $2, events = '{*}', version = version + 1 WHERE id = $1", endpoint_id, URL + "/new"
    )
    second = await only(directory, connection)
    assert (str(second.url), second.filters, second.version) == (URL + "/new", frozenset({"*"}), 2)
    assert second.keys == (bytes_of(secret),)
    assert (await directory.of_ids(connection, [endpoint_id]))[endpoint_id] is second


async def test_a_ciphertext_moved_between_rows_does_not_open(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    for account in ("acct_1", "acct_2"):
        await register(a_directory(), connection, account=account)
    await connection.execute(
        "UPDATE endpoint_secrets SET sealed = (SELECT sealed FROM endpoint_secrets WHERE account_id = 'acct_2')"
        " WHERE account_id = 'acct_1'"
    )
    assert (await only(a_directory(), connection)).keys == ()
    assert "the key or the row was changed" in caplog.text
    assert len((await only(a_directory(), connection, "acct_2")).keys) == 1


async def test_a_key_that_replaces_another_opens_what_the_old_one_sealed(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    _, secret = await register(a_directory(old=KEY), connection)
    assert (await only(a_directory(new=OTHER_KEY, old=KEY), connection)).keys == (bytes_of(secret),)
    blind = a_directory(new=OTHER_KEY)
    assert (await only(blind, connection)).keys == ()
    assert "'old', which is not in HELIOGRAPH_SECRET_KEYS" in caplog.text


async def test_an_endpoint_whose_secret_does_not_open_keeps_nobody_else_from_being_read(
    connection: Connection,
) -> None:
    for account in ("acct_1", "acct_2"):
        await register(a_directory(), connection, account=account)
    await connection.execute("UPDATE endpoint_secrets SET key_id = 'lost' WHERE account_id = 'acct_1'")
    found = await a_directory().of_accounts(connection, ["acct_1", "acct_2"])
    assert {account: len(each.keys) for account, (each,) in found.items()} == {"acct_1": 0, "acct_2": 1}


async def test_what_is_kept_ready_is_bounded(
    directory: Directory, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "CACHED", 2)
    registered = {(await register(directory, connection, account=f"acct_{number}"))[0] for number in range(5)}
    for _ in range(2):
        assert set(await directory.of_ids(connection, registered)) == registered
    assert len(directory._ready) == 2


# --- the schedule ----------------------------------------------------------------------------------------------------


async def test_an_endpoint_has_the_schedule_it_chose_within_the_limits_of_today(connection: Connection) -> None:
    def with_terms(terms: Terms) -> Directory:
        return Directory(Vault({"k1": KEY}), Ids(FakeClock()), LOOPBACK, terms)

    wide = with_terms(Terms(Policy(3, 3600, 15), max_retries=10, max_window=86_400))
    chosen, _ = await register(wide, connection, retries=8, window=40_000)
    followed, _ = await register(wide, connection)
    narrow = with_terms(Terms(Policy(1, 600, 10), max_retries=4, max_window=7200))
    policies = {}
    for name, directory in (("wide", wide), ("narrow", narrow)):
        found = await directory.of_ids(connection, [chosen, followed])
        policies[name] = (found[chosen].policy, found[followed].policy)
    assert policies["wide"] == (Policy(8, 40_000, 15), Policy(3, 3600, 15))
    assert policies["narrow"] == (Policy(4, 7200, 10), Policy(1, 600, 10))


async def test_a_directory_of_settings_takes_its_terms_from_them(dsn: str, connection: Connection) -> None:
    keys = base64.b64encode(KEY).decode()
    made = runtime_settings.load(
        environ={}, database_url=dsn, secret_keys=f"k1:{keys}", retries=5, window=900, max_retries=6, secret_overlap=0
    )
    directory = Directory.of(made, Ids(FakeClock()))
    endpoint_id, _ = await register(directory, connection)
    assert (await only(directory, connection)).policy == Policy(5, 900, 15)
    with pytest.raises(InvalidEndpointError, match=r"^retries: must be 0 to 6$"):
        await register(directory, connection, retries=7)
    with pytest.raises(InvalidEndpointError, match=r"^url: must begin with https://$"):
        await register(directory, connection, url="http://receiver.example/")
    await directory.rotate(connection, "acct_1", endpoint_id)
    assert len((await only(directory, connection)).keys) == 1


# --- disabling -------------------------------------------------------------------------------------------------------


async def test_a_disabled_endpoint_is_not_found_any_more(directory: Directory, connection: Connection) -> None:
    gone, _ = await register(directory, connection)
    kept, _ = await register(directory, connection)
    await directory.of_accounts(connection, ["acct_1"])
    assert await endpoint_failures.disable(connection, [gone, "we_unknown"], "gone") == [
        Disabled("acct_1", gone, "gone", None, 0, None)
    ]
    assert (await only(directory, connection)).id == kept
    assert set(await directory.of_ids(connection, [gone, kept])) == {kept}
    row = await connection.fetchrow(
        "SELECT status, disabled_reason, version, updated_at > created_at FROM endpoints WHERE id = $1", gone
    )
    assert row is not None
    assert tuple(row) == ("disabled", "gone", 2, True)


async def test_disabling_twice_says_so_once_and_keeps_the_first_reason(
    directory: Directory, connection: Connection
) -> None:
    endpoint_id, _ = await register(directory, connection)
    assert [each.id for each in await endpoint_failures.disable(connection, [endpoint_id], "gone")] == [endpoint_id]
    assert await endpoint_failures.disable(connection, [endpoint_id], "failing") == []
    assert await connection.fetchval("SELECT disabled_reason FROM endpoints") == "gone"
    assert await endpoint_failures.disable(connection, [], "gone") == []


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_only_active_endpoints_are_delivered_to(
    status: str, directory: Directory, connection: Connection
) -> None:
    endpoint_id, _ = await register(directory, connection)
    reason = "'x'" if status == "disabled" else "NULL"
    await connection.execute(f"UPDATE endpoints SET status = '{status}', disabled_reason = {reason}")  # noqa: S608 - the test's own
    assert await directory.of_accounts(connection, ["acct_1"]) == {}
    assert await directory.of_ids(connection, [endpoint_id]) == {}
