"""What a customer subscribed: URL, event filters, signing secrets. Owns `endpoints` and `endpoint_secrets`."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yarl import URL

from consumers.catalogue import CATALOGUE, prefixes
from publisher import ids, secrets
from publisher.delivery.egress import RefusedUrlError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import asyncpg

    from publisher.delivery.egress import Rules
    from publisher.ids import Ids
    from publisher.secrets import Vault
    from runtime.database import Connection

logger = logging.getLogger(__name__)

MAX_FILTERS = 100
#: Endpoints kept ready in memory; past it the oldest are read again.
CACHED = 20_000

INSERT = """
INSERT INTO endpoints (account_id, id, url, events, description) VALUES ($1, $2, $3, $4, $5)
"""
SEAL = """
INSERT INTO endpoint_secrets (account_id, endpoint_id, version, key_id, sealed) VALUES ($1, $2, $3, $4, $5)
"""
#: The number of secrets in force tells that an overlap has ended, which changes no version.
_ACTIVE = """
SELECT e.id, e.version, (
    SELECT count(*) FROM endpoint_secrets s
    WHERE s.account_id = e.account_id AND s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > now())
)
FROM endpoints e
"""
ACTIVE_OF_ACCOUNTS = f"{_ACTIVE} WHERE e.account_id = ANY ($1::text[]) AND e.status = 'active'"
ACTIVE_OF_IDS = f"{_ACTIVE} WHERE e.id = ANY ($1::text[]) AND e.status = 'active'"
READ = """
SELECT e.account_id, e.id, e.version, e.url, e.events, s.version AS secret_version, s.key_id, s.sealed
FROM endpoints e JOIN endpoint_secrets s ON s.account_id = e.account_id AND s.endpoint_id = e.id
WHERE e.id = ANY ($1::text[]) AND (s.expires_at IS NULL OR s.expires_at > now())
ORDER BY e.id, s.version DESC
"""
LIST = """
SELECT id, url, events, description, status, disabled_reason, created_at
FROM endpoints WHERE account_id = $1 ORDER BY id
"""
DISABLE = """
UPDATE endpoints SET status = 'disabled', disabled_reason = $2, version = version + 1, updated_at = now()
WHERE id = ANY ($1::text[]) AND status <> 'disabled'
RETURNING id
"""


class InvalidEndpointError(ValueError):
    """What was asked for cannot be an endpoint; the text names the field and says why."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An active endpoint, ready to be delivered to; `keys` sign, the newest first."""

    account: str
    id: str
    version: int
    url: URL
    filters: frozenset[str]
    keys: tuple[bytes, ...]

    def wants(self, event_type: str) -> bool:
        """Say whether any of its filters selects `event_type`."""
        return not self.filters.isdisjoint(selectors(event_type))


_SELECTORS = {event_type: frozenset(prefixes(event_type)) for event_type in CATALOGUE}


def selectors(event_type: str) -> frozenset[str]:
    """Return the filters that select a type of the catalogue."""
    return _SELECTORS[event_type]


def check_filters(filters: Sequence[str]) -> list[str]:
    """Return `filters` without repetitions; raise `InvalidEndpointError` for one that selects nothing."""
    unique = list(dict.fromkeys(filters))
    if not 1 <= len(unique) <= MAX_FILTERS:
        raise InvalidEndpointError(f"events: give 1 to {MAX_FILTERS} filters")
    known = frozenset[str]().union(*_SELECTORS.values())
    for each in unique:
        if each not in known:
            raise InvalidEndpointError(f"events: {each!r} is no event type, no `type.*` and not `*`")
    return unique


def check_account(account: str) -> str:
    """Return `account`; raise `InvalidEndpointError` when it cannot be an account id."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,99}", account):
        raise InvalidEndpointError("account: is not an account id")
    return account


class Directory:
    """Endpoints by account or id, prepared once per version."""

    def __init__(self, vault: Vault, ids: Ids, rules: Rules) -> None:
        """Open secrets with `vault`, name new endpoints with `ids`, register what `rules` allow to be called."""
        self._vault = vault
        self._ids = ids
        self._rules = rules
        self._ready: dict[str, Endpoint] = {}

    async def register(
        self, connection: Connection, *, account: str, url: str, events: Sequence[str], description: str = ""
    ) -> tuple[str, str]:
        """Store a new endpoint; return its id and its secret, which is shown this once.

        Raises `InvalidEndpointError` naming the field that is wrong.
        """
        check_account(account)
        try:
            parsed = self._rules.check_url(url)
        except RefusedUrlError as error:
            raise InvalidEndpointError(f"url: {error}") from error
        filters = check_filters(events)
        endpoint_id = self._ids.new(ids.ENDPOINT)
        secret = secrets.new_secret()
        sealed = self._vault.seal(secret, secrets.Owner(account, endpoint_id, 1))
        async with connection.transaction():
            await connection.execute(INSERT, account, endpoint_id, str(parsed), filters, description)
            await connection.execute(SEAL, account, endpoint_id, 1, *sealed)
        return endpoint_id, secrets.shown(secret)

    async def of_accounts(self, connection: Connection, accounts: Iterable[str]) -> dict[str, list[Endpoint]]:
        """Return the active endpoints of `accounts`, by account."""
        rows = await connection.fetch(ACTIVE_OF_ACCOUNTS, list(set(accounts)))
        found: dict[str, list[Endpoint]] = defaultdict(list)
        for endpoint in await self._prepare(connection, rows):
            found[endpoint.account].append(endpoint)
        return found

    async def of_ids(self, connection: Connection, endpoint_ids: Iterable[str]) -> dict[str, Endpoint]:
        """Return those of `endpoint_ids` that exist and are active, by id."""
        rows = await connection.fetch(ACTIVE_OF_IDS, list(set(endpoint_ids)))
        return {endpoint.id: endpoint for endpoint in await self._prepare(connection, rows)}

    async def _prepare(self, connection: Connection, rows: Iterable[asyncpg.Record]) -> list[Endpoint]:
        endpoints = []
        missing = []
        for endpoint_id, version, secrets_in_force in rows:
            ready = self._ready.get(endpoint_id)
            if ready is not None and (ready.version, len(ready.keys)) == (version, secrets_in_force):
                endpoints.append(ready)
            else:
                missing.append(endpoint_id)
        if missing:
            endpoints += await self._read(connection, missing)
        return endpoints

    async def _read(self, connection: Connection, endpoint_ids: Sequence[str]) -> list[Endpoint]:
        by_id = defaultdict(list)
        for row in await connection.fetch(READ, endpoint_ids):
            by_id[row["id"]].append(row)
        for endpoint_id, rows in by_id.items():
            first = rows[0]
            self._ready.pop(endpoint_id, None)
            self._ready[endpoint_id] = Endpoint(
                account=first["account_id"],
                id=endpoint_id,
                version=first["version"],
                url=URL(first["url"]),
                filters=frozenset(first["events"]),
                keys=self._open(rows),
            )
        read = [self._ready[endpoint_id] for endpoint_id in by_id]
        while len(self._ready) > CACHED:
            del self._ready[next(iter(self._ready))]
        return read

    def _open(self, rows: Sequence[asyncpg.Record]) -> tuple[bytes, ...]:
        """Return an endpoint's secrets; none where one does not open, so that it alone fails and not its batch."""
        try:
            return tuple(
                self._vault.open(
                    secrets.Sealed(row["key_id"], row["sealed"]),
                    secrets.Owner(row["account_id"], row["id"], row["secret_version"]),
                )
                for row in rows
            )
        except secrets.SealError as error:
            logger.error("%s; nothing can be sent to it until that is mended", error)  # noqa: TRY400 - the text says it all
            return ()


async def disable(connection: Connection, endpoint_ids: Iterable[str], reason: str) -> list[str]:
    """Disable endpoints, so that no delivery is made to them; return those that were not disabled before."""
    return [row["id"] for row in await connection.fetch(DISABLE, list(endpoint_ids), reason)]
