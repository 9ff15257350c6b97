"""Secrets at rest re-encrypted with another key: all of them, once, and never over what was written meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from publisher import endpoint_secrets
from publisher.cli import keys
from publisher.secrets import Owner, SealError, Vault
from tests.support.directories import OTHER_KEY, a_directory, an_endpoint, bytes_of, ready
from tests.support.jobs import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = asyncpg.Connection[asyncpg.Record]

DAY = 86_400


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


async def reseal(connection: Connection, **given: bytes) -> tuple[int, int, list[str]]:
    """Re-encrypt everything; return (seen, written, what could not be opened)."""
    seen, written, unopened = 0, 0, list[SealError]()
    async for batch in endpoint_secrets.reseal(connection, Vault(given)):
        seen += batch.seen
        written += batch.written
        unopened += batch.unopened
    return seen, written, [str(each) for each in unopened]


async def test_every_secret_is_re_encrypted_and_still_signs(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_secrets, "BATCH", 3)
    old = a_directory(old=KEY)
    made = dict([await an_endpoint(old, connection, "ed25519", f"acct_{number}") for number in range(4)])
    await old.rotate(connection, "acct_0", next(iter(made)), overlap=DAY)
    before = {each: await ready(old, connection, each) for each in made}
    current, _ = await an_endpoint(a_directory(new=OTHER_KEY, old=KEY), connection)
    vault = Vault({"new": OTHER_KEY, "old": KEY})
    assert await endpoint_secrets.count(connection, vault) == (10, 1)
    assert await reseal(connection, new=OTHER_KEY, old=KEY) == (10, 10, [])
    assert await endpoint_secrets.count(connection, vault) == (0, 11)
    only_new = a_directory(new=OTHER_KEY)
    for each, endpoint in before.items():
        again = await ready(only_new, connection, each)
        assert again == endpoint
        assert len(again.signers) == len(endpoint.signers)
    assert len((await ready(only_new, connection, current)).keys) == 1


async def test_long_work_tells_how_far_it_is_where_there_is_no_terminal(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(endpoint_secrets, "BATCH", 2)
    monkeypatch.setattr(keys, "LINE_EVERY", 3)
    for _ in range(7):
        await an_endpoint(a_directory(old=KEY), connection)
    assert await keys._reseal(connection, Vault({"new": OTHER_KEY, "old": KEY})) == (7, 0, 0)
    assert capsys.readouterr() == ("", "4 of 7 secrets seen\n6 of 7 secrets seen\n")


async def test_running_it_again_does_nothing(connection: Connection) -> None:
    await an_endpoint(a_directory(old=KEY), connection)
    assert await reseal(connection, new=OTHER_KEY, old=KEY) == (1, 1, [])
    before = await connection.fetchval("SELECT sealed FROM endpoint_secrets")
    assert await reseal(connection, new=OTHER_KEY, old=KEY) == (0, 0, [])
    assert await connection.fetchval("SELECT sealed FROM endpoint_secrets") == before


async def test_ciphertexts_that_were_swapped_are_named_and_left_and_keep_nobody_else(connection: Connection) -> None:
    old = a_directory(old=KEY)
    swapped = sorted([(await an_endpoint(old, connection))[0] for _ in range(2)])
    kept, secret = await an_endpoint(old, connection, account="acct_2")
    await connection.execute(
        "UPDATE endpoint_secrets s SET sealed = o.sealed FROM endpoint_secrets o"
        " WHERE s.account_id = 'acct_1' AND o.account_id = 'acct_1' AND s.endpoint_id <> o.endpoint_id"
    )
    rows = "SELECT key_id, sealed FROM endpoint_secrets WHERE account_id = 'acct_1' ORDER BY endpoint_id"
    before = await connection.fetch(rows)
    seen, written, unopened = await reseal(connection, new=OTHER_KEY, old=KEY)
    assert (seen, written) == (3, 1)
    assert unopened == [
        f"the secret of endpoint {each} does not open with key 'old': the key or the row was changed"
        for each in swapped
    ]
    assert await connection.fetch(rows) == before
    assert (await ready(a_directory(new=OTHER_KEY), connection, kept)).keys == (secret,)


async def test_a_key_nobody_has_any_more_is_named(connection: Connection) -> None:
    endpoint_id, _ = await an_endpoint(a_directory(lost=KEY), connection)
    _, _, [unopened] = await reseal(connection, new=OTHER_KEY)
    assert unopened == (
        f"the secret of endpoint {endpoint_id} was sealed with key 'lost', which is not in HELIOGRAPH_SECRET_KEYS"
    )


async def test_what_was_written_meanwhile_is_not_overwritten(connection: Connection, dsn: str) -> None:
    endpoint_id, _ = await an_endpoint(a_directory(old=KEY), connection)

    class Interrupted(Vault):
        """Somebody replaces the row after it was read and before it is written."""

        def open(self, *arguments: object) -> bytes:
            opened = super().open(*arguments)  # type: ignore[arg-type]  # passed on as it came
            theirs = Vault({"new": OTHER_KEY}).seal(b"theirs", Owner("acct_1", endpoint_id, 1))
            meanwhile.append(theirs)
            return opened

    meanwhile: list[tuple[str, bytes]] = []
    other = await asyncpg.connect(dsn)
    run = endpoint_secrets.reseal(_Between(connection, other, meanwhile), Interrupted({"new": OTHER_KEY, "old": KEY}))  # type: ignore[arg-type]  # all of a connection that is used
    assert [(batch.seen, batch.written) async for batch in run] == [(1, 0)]
    row = await connection.fetchrow("SELECT key_id, sealed FROM endpoint_secrets")
    assert row is not None
    assert tuple(row) == meanwhile[0]
    await other.close()


class _Between:
    """A connection between whose reading and writing another one writes."""

    def __init__(self, connection: Connection, other: Connection, meanwhile: list[tuple[str, bytes]]) -> None:
        self.fetch = connection.fetch
        self._connection = connection
        self._other = other
        self._meanwhile = meanwhile

    async def execute(self, statement: str, *arguments: object) -> str:
        await self._other.execute("UPDATE endpoint_secrets SET key_id = $1, sealed = $2", *self._meanwhile[0])
        return await self._connection.execute(statement, *arguments)


async def test_rotations_go_on_while_everything_is_re_encrypted(
    connection: Connection, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_secrets, "BATCH", 2)
    service = a_directory(old=KEY)  # has not been told of the new key yet
    made = [(await an_endpoint(service, connection))[0] for _ in range(10)]
    newest: dict[str, bytes] = {}
    other = await asyncpg.connect(dsn)

    async def rotate() -> None:
        for each in reversed(made):
            newest[each] = bytes_of(await service.rotate(other, "acct_1", each, overlap=DAY))

    (_, _, unopened), _ = await asyncio.gather(reseal(connection, new=OTHER_KEY, old=KEY), rotate())
    assert unopened == []
    await other.close()
    assert (await reseal(connection, new=OTHER_KEY, old=KEY))[2] == []  # what the service sealed with the old key
    reader = a_directory(new=OTHER_KEY)
    for each, secret in newest.items():
        keys = (await ready(reader, connection, each)).keys
        assert (len(keys), keys[0]) == (2, secret)
