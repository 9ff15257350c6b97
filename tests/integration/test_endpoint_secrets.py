"""Secrets of endpoints in a real database: rotated, several in force, of both kinds, opened again."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from publisher import endpoint_secrets, endpoints
from publisher.delivery import request
from publisher.endpoints import Directory, InvalidEndpointError
from publisher.ids import Ids
from publisher.secrets import Vault
from tests.support.directories import OTHER_KEY, a_directory, an_endpoint, bytes_of, ready
from tests.support.egress import LOOPBACK
from tests.support.jobs import KEY
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = asyncpg.Connection[asyncpg.Record]

DAY = 86_400


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


@pytest.fixture
def directory() -> Directory:
    return a_directory()


async def remaining(connection: Connection) -> list[tuple[int, int | None]]:
    """Return version and whole seconds left of each secret that is kept, the newest first."""
    rows = await connection.fetch(
        "SELECT version, round(extract(epoch FROM expires_at - now()))::integer FROM endpoint_secrets"
        " ORDER BY version DESC"
    )
    return [(row[0], row[1]) for row in rows]


# --- rotation --------------------------------------------------------------------------------------------------------


async def test_during_the_overlap_both_secrets_sign_the_newest_first(
    directory: Directory, connection: Connection
) -> None:
    endpoint_id, old = await an_endpoint(directory, connection)
    assert (await ready(directory, connection, endpoint_id)).keys == (old,)
    new = bytes_of(await directory.rotate(connection, "acct_1", endpoint_id, overlap=1000))
    assert new != old
    for reader in (directory, a_directory()):  # one that had it prepared, and one that had not
        assert (await ready(reader, connection, endpoint_id)).keys == (new, old)
    left = await remaining(connection)
    assert left[0] == (2, None)
    assert left[1][0] == 1
    assert 900 < (left[1][1] or 0) <= 1000
    assert await connection.fetchval("SELECT version FROM endpoints") == 2


async def test_without_an_overlap_the_old_secret_ends_at_once(directory: Directory, connection: Connection) -> None:
    endpoint_id, _ = await an_endpoint(directory, connection)
    await ready(directory, connection, endpoint_id)
    new = bytes_of(await directory.rotate(connection, "acct_1", endpoint_id, overlap=0))
    assert (await ready(directory, connection, endpoint_id)).keys == (new,)


async def test_the_end_of_an_overlap_is_noticed_by_who_has_prepared_the_endpoint(
    directory: Directory, connection: Connection
) -> None:
    endpoint_id, old = await an_endpoint(directory, connection)
    new = bytes_of(await directory.rotate(connection, "acct_1", endpoint_id, overlap=DAY))
    assert (await ready(directory, connection, endpoint_id)).keys == (new, old)
    await connection.execute("UPDATE endpoint_secrets SET expires_at = now() WHERE version = 1")  # a day later
    assert (await ready(directory, connection, endpoint_id)).keys == (new,)


async def test_the_operators_overlap_is_used_where_none_is_given(connection: Connection) -> None:
    directory = Directory(Vault({"k1": KEY}), Ids(FakeClock()), LOOPBACK, overlap=5000)
    endpoint_id, _ = await an_endpoint(directory, connection)
    await directory.rotate(connection, "acct_1", endpoint_id)
    assert 4900 < ((await remaining(connection))[1][1] or 0) <= 5000
    endpoint_id, _ = await an_endpoint(a_directory(), connection, account="acct_2")
    await a_directory().rotate(connection, "acct_2", endpoint_id)
    longest = await connection.fetchval("SELECT max(expires_at) > now() + interval '23 hours' FROM endpoint_secrets")
    assert longest is True


@pytest.mark.parametrize("overlap", [-1, 7 * DAY + 1])
async def test_an_overlap_out_of_bounds_rotates_nothing(
    overlap: float, directory: Directory, connection: Connection
) -> None:
    endpoint_id, _ = await an_endpoint(directory, connection)
    with pytest.raises(InvalidEndpointError, match=r"^overlap: must be 0 to 604800 seconds$"):
        await directory.rotate(connection, "acct_1", endpoint_id, overlap=overlap)
    assert await remaining(connection) == [(1, None)]


async def test_a_later_rotation_lets_no_secret_live_longer(directory: Directory, connection: Connection) -> None:
    endpoint_id, _ = await an_endpoint(directory, connection)
    await directory.rotate(connection, "acct_1", endpoint_id, overlap=100)
    await directory.rotate(connection, "acct_1", endpoint_id, overlap=DAY)
    (_, newest), (_, second), (_, first) = await remaining(connection)
    assert newest is None
    assert (second or 0) > 100 >= (first or 0) > 0


async def test_the_oldest_are_cut_off_when_too_many_would_sign(directory: Directory, connection: Connection) -> None:
    endpoint_id, first = await an_endpoint(directory, connection, "ed25519")
    made = [first]
    for _ in range(endpoint_secrets.IN_FORCE + 2):
        made.append(bytes_of(await directory.rotate(connection, "acct_1", endpoint_id, overlap=DAY)))
        endpoint = await ready(directory, connection, endpoint_id)
        assert endpoint.keys == tuple(reversed(made[-endpoint_secrets.IN_FORCE :]))
        assert len(endpoint.signers) == len(endpoint.keys)
    # Those that ended before the last rotation are not even kept.
    assert await connection.fetchval("SELECT count(*) FROM endpoint_secrets") == 2 * (endpoint_secrets.IN_FORCE + 1)


async def test_what_has_ended_is_removed_and_its_version_never_used_again(
    directory: Directory, connection: Connection
) -> None:
    endpoint_id, _ = await an_endpoint(directory, connection)
    for _ in range(3):
        await directory.rotate(connection, "acct_1", endpoint_id, overlap=0)
    assert [version for version, _ in await remaining(connection)] == [4, 3]


async def test_rotations_at_the_same_time_follow_each_other(
    directory: Directory, connection: Connection, dsn: str
) -> None:
    endpoint_id, old = await an_endpoint(directory, connection)
    async with asyncpg.create_pool(dsn, min_size=4, max_size=4) as pool:

        async def rotate() -> bytes:
            async with pool.acquire() as own:
                return bytes_of(await directory.rotate(own, "acct_1", endpoint_id, overlap=DAY))

        made = await asyncio.gather(*(rotate() for _ in range(4)))
    assert [version for version, _ in await remaining(connection)] == [5, 4, 3, 2, 1]
    keys = (await ready(directory, connection, endpoint_id)).keys
    assert set(keys) == {old, *made}
    assert keys[-1] == old
    assert await connection.fetchval("SELECT version FROM endpoints") == 5


async def test_a_rotation_touches_no_other_endpoint(directory: Directory, connection: Connection) -> None:
    endpoint_id, _ = await an_endpoint(directory, connection)
    other, untouched = await an_endpoint(directory, connection)
    await directory.rotate(connection, "acct_1", endpoint_id, overlap=0)
    assert (await ready(directory, connection, other)).keys == (untouched,)
    assert await connection.fetchval("SELECT version FROM endpoints WHERE id = $1", other) == 1


async def test_a_rotation_mends_an_endpoint_whose_key_is_lost(connection: Connection) -> None:
    endpoint_id, _ = await an_endpoint(a_directory(lost=KEY), connection)
    directory = a_directory(new=OTHER_KEY)
    assert (await ready(directory, connection, endpoint_id)).keys == ()
    new = bytes_of(await directory.rotate(connection, "acct_1", endpoint_id, overlap=DAY))
    assert (await ready(directory, connection, endpoint_id)).keys == (new,)


# --- ed25519 ---------------------------------------------------------------------------------------------------------


async def test_a_public_key_that_is_shown_verifies_what_is_sent(directory: Directory, connection: Connection) -> None:
    endpoint_id, secret = await an_endpoint(directory, connection, "ed25519")
    plain, _ = await an_endpoint(directory, connection)
    endpoint = await ready(a_directory(), connection, endpoint_id)
    assert (endpoint.keys, len(endpoint.signers)) == ((secret,), 1)
    assert (await ready(directory, connection, plain)).signers == ()
    assert await endpoints.public_keys(connection, "acct_1", plain) == []
    [shown] = await endpoints.public_keys(connection, "acct_1", endpoint_id)
    public = base64.b64decode(shown.removeprefix("whpk_"), validate=True)
    assert len(public) == 32
    signature = request.signature(endpoint.keys, "msg_1", 1767225600, b"{}", endpoint.signers).split(" ")[-1]
    Ed25519PublicKey.from_public_bytes(public).verify(
        base64.b64decode(signature.removeprefix("v1a,")), b"msg_1.1767225600.{}"
    )


async def test_an_endpoint_with_two_kinds_is_prepared_once(directory: Directory, connection: Connection) -> None:
    endpoint_id, _ = await an_endpoint(directory, connection, "ed25519")
    first = await ready(directory, connection, endpoint_id)
    assert await ready(directory, connection, endpoint_id) is first


async def test_a_rotation_gives_a_new_pair_too_and_both_are_published(
    directory: Directory, connection: Connection
) -> None:
    endpoint_id, _ = await an_endpoint(directory, connection, "ed25519")
    [old] = await endpoints.public_keys(connection, "acct_1", endpoint_id)
    await directory.rotate(connection, "acct_1", endpoint_id, overlap=DAY)
    new, still = await endpoints.public_keys(connection, "acct_1", endpoint_id)
    assert (new != old, still) == (True, old)
    endpoint = await ready(directory, connection, endpoint_id)
    assert (len(endpoint.keys), len(endpoint.signers)) == (2, 2)
    assert [base64.b64encode(each.public_key().public_bytes_raw()).decode() for each in endpoint.signers] == [
        each.removeprefix("whpk_") for each in (new, old)
    ]
    await directory.rotate(connection, "acct_1", endpoint_id, overlap=0)
    [newest] = await endpoints.public_keys(connection, "acct_1", endpoint_id)
    assert newest not in {old, new}


async def test_a_public_key_that_was_swapped_is_noticed(
    directory: Directory, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint_id, secret = await an_endpoint(directory, connection, "ed25519")
    await connection.execute("UPDATE endpoint_secrets SET public_key = $1 WHERE kind = 'ed25519'", bytes(32))
    endpoint = await ready(directory, connection, endpoint_id)
    assert (endpoint.keys, endpoint.signers) == ((secret,), ())
    assert f"the public key of endpoint {endpoint_id} is not that of its private key" in caplog.text


async def test_one_secret_that_does_not_open_keeps_the_others_signing(
    directory: Directory, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint_id, _ = await an_endpoint(directory, connection)
    new = bytes_of(await directory.rotate(connection, "acct_1", endpoint_id, overlap=DAY))
    await connection.execute("UPDATE endpoint_secrets SET key_id = 'lost' WHERE version = 1")
    assert (await ready(directory, connection, endpoint_id)).keys == (new,)
    assert "nothing is signed with it until that is mended" in caplog.text


async def test_what_does_not_open_is_said_once_and_noticed_when_it_is_mended(
    directory: Directory, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint_id, secret = await an_endpoint(directory, connection)
    for _ in range(2):
        caplog.clear()
        await connection.execute("UPDATE endpoint_secrets SET key_id = 'lost'")
        await directory.update(connection, "acct_1", endpoint_id, description="new")
        for _ in range(3):
            assert (await ready(directory, connection, endpoint_id)).keys == ()
        assert len(caplog.records) == 1
        await connection.execute("UPDATE endpoint_secrets SET key_id = 'k1'")
        assert (await ready(directory, connection, endpoint_id)).keys == (secret,)
