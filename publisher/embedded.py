"""The embedded servers made ready for the service: topics created, schema migrated, settings completed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from consumers import broker
from migrations import runner
from runtime.embedded import Embedded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.settings import Settings

PARTITIONS = 4
#: The embedded broker lets a new group wait for half the session timeout before it hands out partitions.
SESSION_TIMEOUT = 3.0


@contextlib.asynccontextmanager
async def embedded_settings(given: Settings) -> AsyncIterator[Settings]:
    """Run both servers for the length of the context; yield `given` completed with them."""
    async with Embedded(given.data_dir) as servers:
        settings = servers.settings(given)
        if "kafka_session_timeout" not in given.model_fields_set:
            settings = settings.model_copy(update={"kafka_session_timeout": SESSION_TIMEOUT})
        await broker.create_topics(
            settings, {settings.kafka_topic_events: PARTITIONS, settings.kafka_topic_dead_letters: 1}
        )
        await runner.migrate(settings)
        yield settings
