"""What has to be there before a role opens: the schema of this release, the topics, a database that answers.

And what must not be there: anything a canary could be signed with.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from consumers import broker
from migrations import runner
from publisher.roles import NotReadyError
from runtime.settings import variable
from signer import canary_secrets
from signer.canary_judge import Pins
from signer.faults import GpgUnavailableError, PgpError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from runtime.database import Pool
    from runtime.settings import Settings


async def ping(pool: Pool) -> None:
    """Return when the database answers; raise what it raises."""
    async with pool.acquire() as connection:
        await connection.execute("SELECT 1")


async def check_schema(pool: Pool) -> None:
    """Raise `NotReadyError` when the database is behind this release."""
    async with pool.acquire() as connection:
        found = await runner.current(connection)
    if runner.is_behind(found):
        raise NotReadyError(
            f"the database is at migration {found or 'none'}, this release needs {runner.head()}: "
            f"run heliograph migrate"
        )


async def check_topics(settings: Settings, roles: AbstractSet[str]) -> None:
    """Raise `NotReadyError` for topics `roles` need and this user does not see: asked for one, a broker may make it."""
    needed = _topics_of(settings, roles)
    if not needed:
        return
    missing = needed - await broker.list_topics(settings)
    if missing:
        raise NotReadyError(
            f"Kafka at {','.join(settings.kafka_bootstrap)} has no topic {', '.join(sorted(missing))} that this user "
            f"may see: create it, or name yours in HELIOGRAPH_KAFKA_TOPIC_*"
        )


async def check_canary_keys(settings: Settings) -> Pins | None:
    """Return whose signatures a canary needs, None where no key is pinned.

    Raises `NotReadyError` when one of those keys' secret part is in a keyring this process can read, when its public
    part is not in the folder of public keys, when that folder will not do; `SettingsError` when none is named.
    """
    pins = Pins.of(settings)
    if pins is None:
        return None
    try:
        keygrips = await pins.keygrips()
    except GpgUnavailableError as error:
        raise NotReadyError(f"{variable('canary_keys')}: cannot be looked at: {error}") from None
    except PgpError as error:
        raise NotReadyError(
            f"{variable('public_keys')}: {error}; that folder holds public keys alone, as gpg --armor --export writes "
            f"them, and each of {variable('canary_keys')} among them"
        ) from None
    if held := await canary_secrets.find(canary_secrets.keyrings(os.environ, settings.gnupghome), keygrips):
        raise NotReadyError(f"{variable('canary_keys')}: {held}")
    return pins


def _topics_of(settings: Settings, roles: AbstractSet[str]) -> set[str]:
    if not settings.kafka_bootstrap:
        return set()
    needed = {settings.kafka_topic_credentials} if roles & {"consume", "api"} else set()
    if "consume" in roles:
        needed |= {
            settings.kafka_topic_events,
            settings.kafka_topic_dead_letters,
            settings.kafka_topic_announcements,
            settings.kafka_topic_telemetry,
        }
    return needed
