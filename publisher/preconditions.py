"""What has to be there before a role opens: the schema of this release, the topics, a database that answers.

And what must not be there: anything a canary could be signed with.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from consumers import broker
from consumers.broker_access import READ, WRITE, denied_text
from migrations import runner
from publisher.roles import NotReadyError
from publisher.telemetry import telemetry_group
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
    """Raise `NotReadyError` for topics `roles` need and this user does not see, or may not use, and for their groups.

    A topic that is not there is not asked for: a broker may make it.
    """
    needs = needs_of(settings, roles)
    if not needs:
        return
    access = await broker.look(settings, groups_of(settings, roles))
    address = ",".join(settings.kafka_bootstrap)
    if missing := needs.keys() - access.topics.keys():
        raise NotReadyError(
            f"Kafka at {address} has no topic {', '.join(sorted(missing))} that this user may see: create it, allow "
            f"DESCRIBE with an ACL, or name yours in HELIOGRAPH_KAFKA_TOPIC_*"
        )
    if denied := access.denied(needs):
        raise NotReadyError(f"{denied_text(settings, denied)} (Kafka at {address})")


def needs_of(settings: Settings, roles: AbstractSet[str]) -> dict[str, str]:
    """Return the topics `roles` need, and what is done to each; none without a broker."""
    if not settings.kafka_bootstrap:
        return {}
    needs = {settings.kafka_topic_credentials: READ} if roles & {"consume", "api"} else {}
    if "consume" in roles:
        needs |= {
            settings.kafka_topic_events: READ,
            settings.kafka_topic_telemetry: READ,
            settings.kafka_topic_dead_letters: WRITE,
            settings.kafka_topic_announcements: WRITE,
        }
    return needs


def groups_of(settings: Settings, roles: AbstractSet[str]) -> list[str]:
    """Return the consumer groups `roles` join."""
    return [settings.kafka_group, telemetry_group(settings)] if "consume" in roles else []


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
