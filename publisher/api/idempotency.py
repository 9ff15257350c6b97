"""Idempotency-Key: what a POST did once is answered again, not done again. Owns `idempotency_keys`.

The row of a key is written in the transaction that does the work, so there is an answer to repeat if and only if
there was an effect. Whatever ends in an error, refused or crashed, leaves nothing behind, and the same key tries
again. A key belongs to the account of its credential, is tied to method, path and body, and is as new after a day.

Twins, the same key twice at once: in one process they take turns before they hold a connection (`turn`), so that
however many wait, nobody else does. Those of two processes meet at the primary key, where one waits a second at most.
Whoever waited in vain is told 409 and may try again.

Answers show secrets, so their bodies are sealed (publisher/secrets.py). One that does not open any more is refused:
not to know what was answered is no reason to do it twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Self
from weakref import WeakValueDictionary

import asyncpg
import orjson

from publisher.api.errors import ApiError
from publisher.profiles.model import Fault
from publisher.secrets import Answer, Sealed, SealError
from runtime.lifecycle import reason_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from datetime import datetime

    from multidict import CIMultiDictProxy

    from publisher.api.call import Call
    from publisher.api.connections import Connections
    from publisher.profiles.model import Headers
    from publisher.secrets import Vault
    from runtime.database import Connection

logger = logging.getLogger(__name__)

#: How long an answer is kept.
KEPT = timedelta(hours=24)
#: Seconds a twin waits for one of the same process, and, a connection in hand, for one of another.
PATIENCE, PATIENCE_OF_PROCESSES = 10.0, 1.0
#: Seconds a reservation holds without an answer: longer than whatever is done apart takes.
LEASE = 60.0
#: Rows forgotten in one statement.
BATCH = 1000
KEY = re.compile(r"[!-~]{1,255}")

#: How long statements of this transaction wait for a lock from now on; returns how long it was.
PATIENT = "SELECT current_setting('lock_timeout'), set_config('lock_timeout', $1, true)"
#: Returns a row only to whom the key is given; somebody else's answer or reservation is locked and left as it is.
CLAIM = """
INSERT INTO idempotency_keys AS k (account_id, key_hash, fingerprint, leased_until)
VALUES ($1, $2, $3, now() + $4 * interval '1 s')
ON CONFLICT (account_id, key_hash) DO UPDATE
SET fingerprint = excluded.fingerprint, leased_until = excluded.leased_until, created_at = now(),
    status = NULL, headers = NULL, key_id = NULL, sealed = NULL
WHERE k.created_at <= now() - $5::interval OR k.leased_until <= now()
RETURNING leased_until
"""
READ = """
SELECT fingerprint, status, headers, key_id, sealed FROM idempotency_keys WHERE account_id = $1 AND key_hash = $2
"""
KEEP = """
UPDATE idempotency_keys
SET leased_until = NULL, status = $4, headers = $5, key_id = $6, sealed = $7
WHERE account_id = $1 AND key_hash = $2 AND leased_until = $3
"""
LET_GO = "DELETE FROM idempotency_keys WHERE account_id = $1 AND key_hash = $2 AND leased_until = $3"
FORGET = """
WITH old AS MATERIALIZED (
    SELECT account_id, key_hash FROM idempotency_keys WHERE created_at <= now() - $1::interval
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys k USING old WHERE (k.account_id, k.key_hash) = (old.account_id, old.key_hash)
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer as it is kept: status, headers of its own, exact body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_replay: bool = False


class Once(NamedTuple):
    """What is to be done once: whose key it is, and the SHA-256 of method, path and body it came with."""

    account: str
    key: str
    fingerprint: bytes

    @classmethod
    def of(cls, call: Call, key: str, method: str, path: str, content: object) -> Self:
        """Return it for a call; `content` is the parsed body, whose members may come in any order."""
        canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        # A path may hold anything, JSON and methods no line break: no two requests come to the same text.
        text = b"\n".join((method.encode(), path.encode(errors="surrogatepass"), canonical))
        return cls(call.account, key, hashlib.sha256(text).digest())

    @property
    def owner(self) -> Answer:
        """Account and SHA-256 of the key: the row, and what its content is sealed for."""
        return Answer(self.account, hashlib.sha256(self.key.encode()).digest())


def key_of(headers: CIMultiDictProxy[str], names: Headers) -> str | None:
    """Return the key a request carries; raises `ApiError` for one that is no key: 1 to 255 visible ASCII characters."""
    given = headers.getall(names.idempotency_key, [])
    if not given:
        return None
    if len(given) > 1 or not KEY.fullmatch(given[0]):
        raise ApiError(
            Fault.MALFORMED,
            "invalid_idempotency_key",
            f"{names.idempotency_key} must be one header of 1 to 255 visible ASCII characters.",
        )
    return given[0]


class Idempotency:
    """Keeps answers for a day."""

    def __init__(
        self,
        vault: Vault,
        *,
        lease: float = LEASE,
        patience: float = PATIENCE,
        patience_of_processes: float = PATIENCE_OF_PROCESSES,
    ) -> None:
        """Seal what is kept with `vault`: an answer may show a secret.

        `lease` is how many seconds work done `apart` may take; the others how long a twin waits for one of this
        process, and for one of another.
        """
        self._vault = vault
        self._lease = lease
        self._patience = patience
        self._lock_timeout = f"{round(patience_of_processes * 1000)}ms"
        #: One for each key under way: it goes when the last one who has it lets go of it.
        self._turns: WeakValueDictionary[Answer, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def turn(self, once: Once | None) -> AsyncIterator[None]:
        """Wait until no twin of this process is at work; to be entered before a connection is taken.

        Raises `ApiError` (conflict) when that takes longer than the patience there is.
        """
        if once is None:
            yield
            return
        lock = self._turns.setdefault(once.owner, asyncio.Lock())
        try:
            async with asyncio.timeout(self._patience):
                await lock.acquire()
        except TimeoutError:
            raise _in_progress() from None
        try:
            yield
        finally:
            lock.release()

    async def within(self, connection: Connection, once: Once, work: Callable[[], Awaitable[Stored]]) -> Stored:
        """Do `work` in the caller's transaction, or return what it answered before.

        What `work` raises goes through, and the caller's transaction is rolled back: there is no row then, and the
        next one with this key does the work. Raises `ApiError` (conflict) when the key came with another request,
        when a twin of another process is at work for longer than a second, when the answer cannot be opened.
        """
        claimed = await self._claim(connection, once)
        if isinstance(claimed, Stored):
            return claimed
        stored = await work()
        await self._keep(connection, once, claimed, stored)
        return stored

    async def apart(self, connections: Connections, once: Once, work: Callable[[], Awaitable[Stored]]) -> Stored:
        """Do `work` outside of any transaction, or return what it answered before.

        The key is reserved before and the answer stored after, each in a transaction of its own. A crash in between
        leaves the reservation, which ends with its lease: until then twins are refused, then the work is done again.
        What `work` raises removes the reservation. Raises `ApiError` (conflict) as `within` does.
        """
        async with self.turn(once):
            async with connections.transaction(once.account) as connection:
                claimed = await self._claim(connection, once)
            if isinstance(claimed, Stored):
                return claimed
            try:
                stored = await work()
            except BaseException:  # a shutdown that cancels it, too: nobody is to wait for a lease then
                await asyncio.shield(self._let_go(connections, once, claimed))
                raise
            async with connections.transaction(once.account) as connection:
                await self._keep(connection, once, claimed, stored)
            return stored

    async def _claim(self, connection: Connection, once: Once) -> Stored | datetime:
        """Take the key and return when the lease ends, which tells this reservation from a later one; or the answer."""
        owner = once.owner
        before = await connection.fetchval(PATIENT, self._lock_timeout)
        while True:
            try:
                until: datetime | None = await connection.fetchval(CLAIM, *owner, once.fingerprint, self._lease, KEPT)
            except asyncpg.LockNotAvailableError:
                raise _in_progress() from None
            if until is not None:
                await connection.execute(PATIENT, before)
                return until
            row = await connection.fetchrow(READ, *owner)
            if row is not None:  # else it was let go of meanwhile, and is there for the taking
                return self._answer(once, row)

    def _answer(self, once: Once, row: asyncpg.Record) -> Stored:
        if row["fingerprint"] != once.fingerprint:
            raise ApiError(Fault.CONFLICT, "idempotency_key_reused", "This key came with another request before.")
        if row["status"] is None:
            raise _in_progress()
        try:
            body = self._vault.open(Sealed(row["key_id"], row["sealed"]), once.owner)
        except SealError as error:
            logger.warning("%s; it is not repeated", error)
            raise ApiError(
                Fault.CONFLICT,
                "idempotency_unavailable",
                "This was done before, and its answer cannot be repeated. Look at what there is, then use a new key.",
            ) from None
        return Stored(row["status"], orjson.loads(row["headers"]), body, is_replay=True)

    async def _keep(self, connection: Connection, once: Once, until: datetime, stored: Stored) -> None:
        """Store the answer, unless the lease is over and somebody else has the key."""
        sealed = self._vault.seal(stored.body, once.owner)
        headers = orjson.dumps(dict(stored.headers)).decode()
        await connection.execute(KEEP, *once.owner, until, stored.status, headers, *sealed)

    async def _let_go(self, connections: Connections, once: Once, until: datetime) -> None:
        try:
            async with connections.acquire(once.account) as connection:
                await connection.execute(LET_GO, *once.owner, until)
        except Exception as error:  # what the work raised is to be told, not this
            logger.warning("a reserved Idempotency-Key stays so for up to %g s (%s)", self._lease, reason_of(error))


async def forget(connection: Connection, *, batch: int = BATCH) -> int:
    """Delete what is older than a day, `batch` rows in a transaction; return how many. Not within a transaction."""
    forgotten = 0
    while deleted := int((await connection.execute(FORGET, KEPT, batch)).rpartition(" ")[2]):
        forgotten += deleted
    return forgotten


def _in_progress() -> ApiError:
    return ApiError(
        Fault.CONFLICT,
        "idempotency_in_progress",
        "A request with this key is under way. Try again in a moment.",
        headers={"Retry-After": "1"},
    )
