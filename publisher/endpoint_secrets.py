"""The secrets of endpoints at rest: made, opened, replaced, re-encrypted. Owns `endpoint_secrets`.

A rotation adds a version and lets the earlier ones end after an overlap, during which all of them sign: a customer
changes its side at any moment of it. Whoever writes to an endpoint's secrets holds the lock of its row in
`endpoints`, so versions follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from publisher import secrets
from publisher.secrets import ED25519, HMAC, Owner, Sealed, SealError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import asyncpg

    from publisher.secrets import Vault
    from runtime.database import Connection

#: Secrets of a kind that may sign at once. Each costs a signature on every attempt and room in a header that
#: receivers limit, so whoever rotates in a loop loses the oldest first.
IN_FORCE = 5
#: Secrets re-encrypted in one statement.
BATCH = 500

INSERT = """
INSERT INTO endpoint_secrets (account_id, endpoint_id, version, kind, key_id, sealed, public_key)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
HOLD = """
SELECT version FROM endpoint_secrets WHERE account_id = $1 AND endpoint_id = $2 ORDER BY version FOR UPDATE
"""
#: What has ended signs nothing any more and need not be kept; the newest never ends, so versions go on growing.
FORGET = """
DELETE FROM endpoint_secrets WHERE account_id = $1 AND endpoint_id = $2 AND expires_at <= now()
"""
RETIRE = """
UPDATE endpoint_secrets s
SET expires_at = least(s.expires_at, CASE WHEN a.age < $4 THEN now() + $3 * interval '1 s' ELSE now() END)
FROM (
    SELECT version, row_number() OVER (PARTITION BY kind ORDER BY version DESC) AS age
    FROM endpoint_secrets WHERE account_id = $1 AND endpoint_id = $2
) a
WHERE s.account_id = $1 AND s.endpoint_id = $2 AND s.version = a.version
"""
COUNT = """
SELECT count(*) FILTER (WHERE key_id <> $1), count(*) FILTER (WHERE key_id = $1) FROM endpoint_secrets
"""
#: One of each key, the newest endpoint's.
SAMPLES = """
SELECT DISTINCT ON (key_id) account_id, endpoint_id AS id, version AS secret_version, kind, key_id, sealed
FROM endpoint_secrets WHERE expires_at IS NULL OR expires_at > now()
ORDER BY key_id, endpoint_id DESC, version DESC
"""
STALE = """
SELECT account_id, endpoint_id AS id, version AS secret_version, kind, key_id, sealed
FROM endpoint_secrets
WHERE key_id <> $1 AND (account_id, endpoint_id, version) > ($2, $3, $4)
ORDER BY account_id, endpoint_id, version LIMIT $5
"""
#: Written only over the very ciphertext that was opened: what a rotation did meanwhile stands.
REPLACE = """
WITH fresh AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::bytea[], $5::text[], $6::bytea[])
        AS f (account_id, endpoint_id, version, before, key_id, sealed)
), held AS (
    SELECT s.account_id, s.endpoint_id, s.version
    FROM endpoint_secrets s JOIN fresh f USING (account_id, endpoint_id, version)
    WHERE s.sealed = f.before
    ORDER BY s.account_id, s.endpoint_id, s.version FOR UPDATE OF s
)
UPDATE endpoint_secrets s SET key_id = f.key_id, sealed = f.sealed
FROM fresh f JOIN held USING (account_id, endpoint_id, version)
WHERE (s.account_id, s.endpoint_id, s.version) = (f.account_id, f.endpoint_id, f.version)
"""


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """What signs for an endpoint, the newest of each kind first; and what is wrong with the rest."""

    keys: tuple[bytes, ...]
    signers: tuple[Ed25519PrivateKey, ...]
    faults: tuple[str, ...] = ()


class Counted(NamedTuple):
    """Secrets at rest: those another key than the first has sealed, and those it has."""

    stale: int
    current: int


class Resealed(NamedTuple):
    """One batch: how many secrets were looked at, how many re-encrypted, which could not be opened."""

    seen: int
    written: int
    unopened: list[SealError]


async def create(
    connection: Connection, vault: Vault, account: str, endpoint_id: str, algorithm: str, *, after: int = 0
) -> bytes:
    """Store new secrets under the versions that follow `after`; return the symmetric one.

    An endpoint of `ed25519` gets a key pair beside it.
    """
    secret = secrets.new_secret()
    kinds = [(HMAC, secret)] if algorithm == HMAC else [(HMAC, secret), (ED25519, secrets.new_secret())]
    for version, (kind, made) in enumerate(kinds, after + 1):
        sealed = vault.seal(made, Owner(account, endpoint_id, version, kind))
        public_key = secrets.public_half(made) if kind == ED25519 else None
        await connection.execute(INSERT, account, endpoint_id, version, kind, *sealed, public_key)
    return secret


async def rotate(
    connection: Connection, vault: Vault, account: str, endpoint_id: str, algorithm: str, *, overlap: float
) -> bytes:
    """Store new secrets and let the earlier ones end in `overlap` seconds; return the symmetric one.

    The caller's transaction holds the endpoint's row.
    """
    held = await connection.fetch(HOLD, account, endpoint_id)
    await connection.execute(FORGET, account, endpoint_id)
    await connection.execute(RETIRE, account, endpoint_id, overlap, IN_FORCE)
    newest: int = held[-1]["version"] if held else 0
    return await create(connection, vault, account, endpoint_id, algorithm, after=newest)


def opened(vault: Vault, rows: Sequence[asyncpg.Record]) -> Opened:
    """Open an endpoint's secrets, the newest first; leave out one that does not open, so that it alone is missing."""
    keys: list[bytes] = []
    signers: list[Ed25519PrivateKey] = []
    faults: list[str] = []
    for row in rows:
        try:
            secret = _open(vault, row)
        except SealError as error:
            faults.append(str(error))
            continue
        if row["kind"] == HMAC:
            keys.append(secret)
        elif secrets.public_half(secret) == row["public_key"]:
            signers.append(Ed25519PrivateKey.from_private_bytes(secret))
        else:
            faults.append(f"the public key of endpoint {row['id']} is not that of its private key: the row was changed")
    return Opened(tuple(keys), tuple(signers), tuple(faults))


async def count(connection: Connection, vault: Vault) -> Counted:
    """Say how many secrets the first key has sealed, and how many another one."""
    row = await connection.fetchrow(COUNT, vault.current)
    assert row is not None  # noqa: S101 - an aggregate always has a row
    return Counted(*row)


async def unopened(connection: Connection, vault: Vault) -> list[str]:
    """Try one secret in force of each sealing key; return what is wrong with those that do not open."""
    faults = []
    for row in await connection.fetch(SAMPLES):
        try:
            _open(vault, row)
        except SealError as error:
            faults.append(str(error))
    return faults


async def reseal(connection: Connection, vault: Vault) -> AsyncIterator[Resealed]:
    """Re-encrypt with the first key what another one has sealed; yield after each batch, which is written by then.

    Run again it finds nothing left but what it could not open.
    """
    position: tuple[str, str, int] = ("", "", 0)
    while rows := await connection.fetch(STALE, vault.current, *position, BATCH):
        fresh = []
        unopened = []
        for row in rows:
            try:
                sealed = vault.seal(_open(vault, row), _owner(row))
            except SealError as error:
                unopened.append(error)
            else:
                fresh.append((*_owner(row)[:3], row["sealed"], *sealed))
        written = "UPDATE 0"
        if fresh:
            written = await connection.execute(REPLACE, *map(list, zip(*fresh, strict=True)))
        yield Resealed(len(rows), int(written.rpartition(" ")[2]), unopened)
        position = _owner(rows[-1])[:3]


def _open(vault: Vault, row: asyncpg.Record) -> bytes:
    return vault.open(Sealed(row["key_id"], row["sealed"]), _owner(row))


def _owner(row: asyncpg.Record) -> Owner:
    return Owner(row["account_id"], row["id"], row["secret_version"], row["kind"])
