"""What a customer subscribed: kept, changed, looked up. Owns `endpoints`, with publisher/endpoint_failures.py.

Every statement stands in endpoints.sql. Each change raises an endpoint's `version`, which is how processes that have
it prepared notice.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

from yarl import URL

from publisher import endpoint_secrets, ids, secrets
from publisher.delivery.egress import Rules
from publisher.secrets import HMAC, Vault
from publisher.subscriptions import (
    DEFAULT_POLICY,
    InvalidEndpointError,
    Terms,
    check,
    check_account,
    check_description,
    check_filters,
    check_overlap,
    check_url,
    selectors,
)
from runtime.database import load_queries

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from typing import Unpack

    import asyncpg
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from publisher.delivery.backoff import Policy
    from publisher.ids import Ids
    from runtime.database import Connection
    from runtime.settings import Settings

__all__ = [
    "Changes",
    "Details",
    "Directory",
    "Endpoint",
    "InvalidEndpointError",
    "Listed",
    "NoSuchEndpointError",
    "TooManyEndpointsError",
    "check_account",
    "check_filters",
    "delete",
    "list_of",
    "public_keys",
    "read",
    "selectors",
]

logger = logging.getLogger(__name__)

SQL = load_queries(Path(__file__).with_suffix(".sql"))
#: Endpoints kept ready in memory; past it the oldest are read again.
CACHED = 20_000
#: Seconds; what `secret_overlap` is when nobody said.
DEFAULT_OVERLAP = 86_400.0


class NoSuchEndpointError(LookupError):
    """The account has no such endpoint; the text is the same whether another account has it or nobody."""


class TooManyEndpointsError(Exception):
    """The account has as many endpoints as it may have."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An active endpoint, ready to be delivered to; `keys` and then `signers` sign, the newest first."""

    account: str
    id: str
    version: int
    url: URL
    filters: frozenset[str]
    keys: tuple[bytes, ...] = field(repr=False)
    signers: tuple[Ed25519PrivateKey, ...] = field(default=(), repr=False, compare=False)
    policy: Policy = DEFAULT_POLICY

    def wants(self, event_type: str) -> bool:
        """Say whether any of its filters selects `event_type`."""
        return not self.filters.isdisjoint(selectors(event_type))


@dataclass(frozen=True, slots=True)
class Details:
    """An endpoint as its owner may see it, in any status. `retries`, `window` (seconds): None is the operator's."""

    account: str
    id: str
    url: str
    events: list[str]
    description: str
    status: str
    disabled_reason: str | None
    algorithm: str
    retries: int | None
    window: int | None
    failing_since: datetime | None
    dropped: int
    last_result: str | None
    created_at: datetime
    updated_at: datetime


class Changes(TypedDict, total=False):
    """What may be changed; what is not named stays. None as `retries` or `window` follows the operator again."""

    url: str
    events: Sequence[str]
    description: str
    status: Literal["active", "paused"]
    retries: int | None
    window: int | None


class Listed(NamedTuple):
    """Some of an account's endpoints, and how many there are in all."""

    endpoints: list[Details]
    total: int


class Directory:
    """Endpoints by account or id, prepared once per version; the place where they are made and changed."""

    def __init__(
        self, vault: Vault, ids: Ids, rules: Rules, terms: Terms | None = None, *, overlap: float = DEFAULT_OVERLAP
    ) -> None:
        """Open secrets with `vault`, name new endpoints with `ids`, register what `rules` and `terms` allow.

        A replaced secret goes on signing for `overlap` seconds.
        """
        self.overlap = overlap
        self._vault = vault
        self._ids = ids
        self._rules = rules
        self._terms = terms or Terms()
        self._ready: dict[str, Endpoint] = {}
        self._faults: dict[str, tuple[str, ...]] = {}

    @classmethod
    def of(cls, settings: Settings, ids: Ids) -> Directory:
        """Return the directory of a configuration; raises `SettingsError` when it has no keys."""
        vault = Vault(settings.keys())
        return cls(vault, ids, Rules.of(settings), Terms.of(settings), overlap=settings.secret_overlap)

    # --- making and changing ------------------------------------------------------------------------------------

    async def register(
        self,
        connection: Connection,
        *,
        account: str,
        url: str,
        events: Sequence[str],
        description: str = "",
        retries: int | None = None,
        window: int | None = None,
        algorithm: str = HMAC,
        most: int | None = None,
    ) -> tuple[str, str]:
        """Store a new endpoint; return its id and its secret, which is shown this once.

        `window` is seconds; None as `retries` or `window` follows the operator. Raises `InvalidEndpointError` naming
        the field that is wrong, and `TooManyEndpointsError` when the account has `most` endpoints already: of those
        who ask at the same time each waits for the one before it.
        """
        asked = check(
            self._rules, self._terms, account=account, url=url, events=events, description=description,
            retries=retries, window=window, algorithm=algorithm,
        )  # fmt: skip
        endpoint_id = self._ids.new(ids.ENDPOINT)
        async with connection.transaction():
            if most is not None:
                await connection.execute(SQL["one_by_one"], account)
                if await connection.fetchval(SQL["count"], account) >= most:
                    raise TooManyEndpointsError(f"there are {most} already, which is as many as may be: remove one")
            await connection.execute(
                SQL["insert"], account, endpoint_id, asked.url, asked.events, description, retries, window, algorithm
            )
            secret = await endpoint_secrets.create(connection, self._vault, account, endpoint_id, algorithm)
        return endpoint_id, secrets.shown(secret)

    async def update(
        self, connection: Connection, account: str, endpoint_id: str, **changes: Unpack[Changes]
    ) -> Details:
        """Change an endpoint and return it; raises `NoSuchEndpointError`, and `InvalidEndpointError` as registering.

        Another status than before forgets how it was doing: one that is enabled again starts afresh.
        """
        async with connection.transaction():
            await _lock(connection, account, endpoint_id)
            old = await read(connection, account, endpoint_id)
            if not changes:
                return old
            url = check_url(self._rules, changes["url"]) if "url" in changes else old.url
            events = check_filters(changes["events"]) if "events" in changes else old.events
            description = check_description(changes["description"]) if "description" in changes else old.description
            status = _check_status(changes["status"]) if "status" in changes else old.status
            retries, window = changes.get("retries", old.retries), changes.get("window", old.window)
            if "retries" in changes or "window" in changes:
                self._terms.check_bounds(changes.get("retries"), changes.get("window"))
                self._terms.check_fit(retries, window)
            await connection.execute(
                SQL["update"], account, endpoint_id, url, events, description, retries, window, status
            )
            return await read(connection, account, endpoint_id)

    async def rotate(
        self, connection: Connection, account: str, endpoint_id: str, *, overlap: float | None = None
    ) -> str:
        """Give an endpoint new secrets and return the symmetric one, which is shown this once.

        The earlier ones go on signing for `overlap` seconds (0 to seven days; None is the operator's). Raises
        `NoSuchEndpointError`, and `InvalidEndpointError` for the overlap.
        """
        seconds = check_overlap(self.overlap if overlap is None else overlap)
        _check_id(account, endpoint_id)
        async with connection.transaction():
            algorithm = await connection.fetchval(SQL["new_version"], account, endpoint_id)
            if algorithm is None:
                raise _absent(endpoint_id)
            secret = await endpoint_secrets.rotate(
                connection, self._vault, account, endpoint_id, algorithm, overlap=seconds
            )
        return secrets.shown(secret)

    # --- looking up -----------------------------------------------------------------------------------------------

    async def of_accounts(self, connection: Connection, accounts: Iterable[str]) -> dict[str, list[Endpoint]]:
        """Return the active endpoints of `accounts`, by account."""
        rows = await connection.fetch(SQL["active_of_accounts"], list(set(accounts)))
        found: dict[str, list[Endpoint]] = defaultdict(list)
        for endpoint in await self._prepare(connection, rows):
            found[endpoint.account].append(endpoint)
        return found

    async def of_ids(self, connection: Connection, endpoint_ids: Iterable[str]) -> dict[str, Endpoint]:
        """Return those of `endpoint_ids` that exist and are active, by id."""
        rows = await connection.fetch(SQL["active_of_ids"], list(set(endpoint_ids)))
        return {endpoint.id: endpoint for endpoint in await self._prepare(connection, rows)}

    async def of_owner(self, connection: Connection, account: str, endpoint_id: str) -> Endpoint:
        """Return an account's endpoint in any status, read anew; raises `NoSuchEndpointError`.

        It is not kept: what is kept is delivered to.
        """
        _check_id(account, endpoint_id)
        rows = await connection.fetch(SQL["prepare"], [endpoint_id])
        if not rows or rows[0]["account_id"] != account:
            raise _absent(endpoint_id)
        return self._made(rows)

    async def _prepare(self, connection: Connection, rows: Iterable[asyncpg.Record]) -> list[Endpoint]:
        endpoints = []
        missing = []
        for endpoint_id, version, in_force in rows:
            ready = self._ready.get(endpoint_id)
            if ready is not None and ready.version == version and len(ready.keys) + len(ready.signers) == in_force:
                endpoints.append(ready)
            else:
                missing.append(endpoint_id)
        if missing:
            endpoints += await self._read(connection, missing)
        return endpoints

    async def _read(self, connection: Connection, endpoint_ids: Sequence[str]) -> list[Endpoint]:
        by_id = defaultdict(list)
        for row in await connection.fetch(SQL["prepare"], endpoint_ids):
            by_id[row["id"]].append(row)
        for endpoint_id, rows in by_id.items():
            self._ready.pop(endpoint_id, None)
            self._ready[endpoint_id] = self._made(rows)
        read = [self._ready[endpoint_id] for endpoint_id in by_id]
        while len(self._ready) > CACHED:
            del self._ready[next(iter(self._ready))]
        return read

    def _made(self, rows: Sequence[asyncpg.Record]) -> Endpoint:
        """Return the endpoint that rows of `prepare` are about, one row a secret."""
        first = rows[0]
        opened = endpoint_secrets.opened(self._vault, rows)
        self._tell(first["id"], opened.faults)
        return Endpoint(
            account=first["account_id"],
            id=first["id"],
            version=first["version"],
            url=URL(first["url"]),
            filters=frozenset(first["events"]),
            keys=opened.keys,
            signers=opened.signers,
            policy=self._terms.policy_of(first["retries"], first["window_seconds"]),
        )

    def _tell(self, endpoint_id: str, faults: tuple[str, ...]) -> None:
        """Log what is wrong with an endpoint's secrets when it begins: its look-ups repeat with every delivery."""
        if faults and faults != self._faults.get(endpoint_id):
            for fault in faults:
                logger.error("%s; nothing is signed with it until that is mended", fault)
        self._faults.pop(endpoint_id, None)
        if faults:
            self._faults[endpoint_id] = faults


# --- as its owner sees it -------------------------------------------------------------------------------------------


async def read(connection: Connection, account: str, endpoint_id: str) -> Details:
    """Return an account's endpoint; raises `NoSuchEndpointError`."""
    _check_id(account, endpoint_id)
    row = await connection.fetchrow(SQL["read"], account, endpoint_id)
    if row is None:
        raise _absent(endpoint_id)
    return Details(**row)


async def list_of(
    connection: Connection,
    account: str,
    *,
    status: str | None = None,
    newest_first: bool = False,
    offset: int = 0,
    limit: int | None = None,
) -> Listed:
    """Return an account's endpoints in the order of their making, the oldest first; those of a status, if it is named.

    At most `limit` of them, behind the first `offset`. All of it is of one moment.
    """
    rows = await connection.fetch(SQL["list"], account, status, newest_first, limit, offset)
    names = [each.name for each in fields(Details)]
    listed = [Details(**{name: row[name] for name in names}) for row in rows if row["id"] is not None]
    return Listed(listed, rows[0]["total"])


async def delete(connection: Connection, account: str, endpoint_id: str) -> None:
    """Remove an account's endpoint with its secrets; raises `NoSuchEndpointError`.

    What waits for it is not sent any more; `deliveries.delete_endpoint` cancels it, too.
    """
    _check_id(account, endpoint_id)
    if await connection.fetchval(SQL["delete"], account, endpoint_id) is None:
        raise _absent(endpoint_id)


async def public_keys(connection: Connection, account: str, endpoint_id: str) -> list[str]:
    """Return the public keys in force, `whpk_…`, the newest first; raises `NoSuchEndpointError`."""
    _check_id(account, endpoint_id)
    keys: list[bytes] | None = await connection.fetchval(SQL["public_keys"], account, endpoint_id)
    if keys is None:
        raise _absent(endpoint_id)
    return [secrets.shown_public(key) for key in keys]


async def _lock(connection: Connection, account: str, endpoint_id: str) -> None:
    """Hold an endpoint against other changes until the transaction ends."""
    _check_id(account, endpoint_id)
    if await connection.fetchval(SQL["lock"], account, endpoint_id) is None:
        raise _absent(endpoint_id)


def _check_id(account: str, endpoint_id: str) -> None:
    """Answer here what is no id at all: PostgreSQL refuses some of it (NUL) in other words than `not there`."""
    if not all(re.fullmatch(r"[\w.:@-]{1,100}", each, re.ASCII) for each in (account, endpoint_id)):
        raise _absent(endpoint_id)


def _absent(endpoint_id: str) -> NoSuchEndpointError:
    return NoSuchEndpointError(f"the account has no endpoint {endpoint_id!r}")


def _check_status(status: str) -> str:
    if status not in {"active", "paused"}:
        raise InvalidEndpointError("status", "must be active or paused")
    return status
