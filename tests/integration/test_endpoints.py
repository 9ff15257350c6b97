"""Endpoints in a real database: what is registered is read back sealed and opened, and every change is noticed."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from publisher import endpoints
from publisher.delivery.backoff import Policy
from publisher.delivery.egress import Rules
from publisher.endpoints import Details, Directory, Disabled, Endpoint, InvalidEndpointError, NoSuchEndpointError
from publisher.ids import Ids
from publisher.secrets import Vault
from publisher.subscriptions import Terms
from runtime import settings as runtime_settings
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


# --- the schedule ----------------------------------------------------------------------------------------------------


async def test_an_endpoint_has_the_schedule_it_chose_within_the_limits_of_today(connection: Connection) -> None:
    def with_terms(terms: Terms) -> Directory:
        return Directory(Vault({"k1": KEY}), Ids(FakeClock()), LOOPBACK, terms)

    wide = with_terms(Terms(Policy(3, 3600, 15), max_retries=10, max_window=86_400))
    chosen, _ = await _register(wide, connection, retries=8, window=40_000)
    followed, _ = await _register(wide, connection)
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
    endpoint_id, _ = await _register(directory, connection)
    assert (await _only(directory, connection)).policy == Policy(5, 900, 15)
    with pytest.raises(InvalidEndpointError, match=r"^retries: must be 0 to 6$"):
        await _register(directory, connection, retries=7)
    with pytest.raises(InvalidEndpointError, match=r"^url: must begin with https://$"):
        await _register(directory, connection, url="http://receiver.example/")
    await directory.rotate(connection, "acct_1", endpoint_id)
    assert len((await _only(directory, connection)).keys) == 1


# --- as its owner sees it --------------------------------------------------------------------------------------------


async def test_an_endpoint_is_read_as_it_was_registered(directory: Directory, connection: Connection) -> None:
    endpoint_id, secret = await _register(
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
    mine = [(await _register(directory, connection))[0] for _ in range(3)]
    await _register(directory, connection, account="acct_2")
    listed = await endpoints.list_of(connection, "acct_1")
    assert [each.id for each in listed] == sorted(mine)
    assert listed[0] == await endpoints.read(connection, "acct_1", min(mine))
    assert await endpoints.list_of(connection, "acct_3") == []


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
    endpoint_id, _ = await _register(directory, connection, description="old", retries=5, window=3600)
    other, _ = await _register(directory, connection)
    untouched = await endpoints.read(connection, "acct_1", other)
    before = await endpoints.read(connection, "acct_1", endpoint_id)
    after = await directory.update(connection, "acct_1", endpoint_id, **changes)
    assert after == replace(before, updated_at=after.updated_at, **expected)
    assert after.updated_at > before.updated_at
    assert after == await endpoints.read(connection, "acct_1", endpoint_id)
    assert await endpoints.read(connection, "acct_1", other) == untouched
    assert await connection.fetchval("SELECT version FROM endpoints WHERE id = $1", endpoint_id) == 2


async def test_a_change_reaches_who_has_prepared_the_endpoint(directory: Directory, connection: Connection) -> None:
    endpoint_id, secret = await _register(directory, connection)
    reader = a_directory()
    await _only(reader, connection)
    await directory.update(connection, "acct_1", endpoint_id, url=URL + "/new", retries=1, window=100)
    changed = await _only(reader, connection)
    assert (str(changed.url), changed.policy, changed.keys) == (URL + "/new", Policy(1, 100, 15), (_bytes_of(secret),))
    await directory.update(connection, "acct_1", endpoint_id, status="paused")
    assert await reader.of_accounts(connection, ["acct_1"]) == {}
    await directory.update(connection, "acct_1", endpoint_id, status="active")
    assert (await _only(reader, connection)).keys == (_bytes_of(secret),)


async def test_no_change_is_no_new_version(directory: Directory, connection: Connection) -> None:
    endpoint_id, _ = await _register(directory, connection)
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
    endpoint_id, _ = await _register(directory, connection, retries=5)
    before = await endpoints.read(connection, "acct_1", endpoint_id)
    with pytest.raises(InvalidEndpointError, match=f"^{says}"):
        await directory.update(connection, "acct_1", endpoint_id, **changes)
    assert await endpoints.read(connection, "acct_1", endpoint_id) == before


async def test_a_lowered_limit_does_not_stand_in_the_way_of_another_change(connection: Connection) -> None:
    endpoint_id, _ = await _register(a_directory(), connection, retries=8, window=80_000)
    narrow = Directory(Vault({"k1": KEY}), Ids(FakeClock()), LOOPBACK, Terms(max_retries=4, max_window=7200))
    assert (await narrow.update(connection, "acct_1", endpoint_id, retries=3)).window == 80_000
    assert (await narrow.update(connection, "acct_1", endpoint_id, description="new")).description == "new"


async def test_enabling_again_is_a_fresh_start(directory: Directory, connection: Connection) -> None:
    endpoint_id, _ = await _register(directory, connection)
    for status in ("active", "paused"):
        await endpoints.note_failures(connection, [(endpoint_id, 30, "5xx")])
        [gone] = await endpoints.disable(connection, [endpoint_id], "failing")
        assert (gone.dropped, gone.last_result) == (30, "5xx")
        read = await directory.update(connection, "acct_1", endpoint_id, status=status)
        assert (read.status, read.disabled_reason) == (status, None)
        assert (read.failing_since, read.dropped, read.last_result) == (None, 0, None)
        await directory.update(connection, "acct_1", endpoint_id, status="active")


async def test_an_active_endpoint_cannot_wash_its_failures_off(directory: Directory, connection: Connection) -> None:
    endpoint_id, _ = await _register(directory, connection)
    await endpoints.note_failures(connection, [(endpoint_id, 2, "5xx")])
    read = await directory.update(connection, "acct_1", endpoint_id, status="active", description="new")
    assert (read.dropped, read.last_result) == (2, "5xx")
    assert read.failing_since is not None


async def test_changes_at_the_same_time_are_both_there_afterwards(
    directory: Directory, connection: Connection, dsn: str
) -> None:
    endpoint_id, _ = await _register(directory, connection)
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
    endpoint_id, _ = await _register(directory, connection, algorithm="ed25519")
    kept, _ = await _register(directory, connection)
    await directory.of_accounts(connection, ["acct_1"])
    await endpoints.delete(connection, "acct_1", endpoint_id)
    assert (await _only(directory, connection)).id == kept
    assert await connection.fetchval("SELECT count(*) FROM endpoint_secrets") == 1


@pytest.mark.parametrize("asker", ["foreign", "absent", "NUL", "empty"])
async def test_anothers_endpoint_and_none_at_all_are_the_same_error(
    asker: str, directory: Directory, connection: Connection
) -> None:
    endpoint_id, _ = await _register(directory, connection)
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


# --- disabling -------------------------------------------------------------------------------------------------------


async def test_a_disabled_endpoint_is_not_found_any_more(directory: Directory, connection: Connection) -> None:
    gone, _ = await _register(directory, connection)
    kept, _ = await _register(directory, connection)
    await directory.of_accounts(connection, ["acct_1"])
    assert await endpoints.disable(connection, [gone, "we_unknown"], "gone") == [
        Disabled("acct_1", gone, "gone", None, 0, None)
    ]
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
    assert [each.id for each in await endpoints.disable(connection, [endpoint_id], "gone")] == [endpoint_id]
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
