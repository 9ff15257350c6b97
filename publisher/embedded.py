"""The embedded servers made ready for the service: topics created, schema migrated, a feed key, settings completed."""

from __future__ import annotations

import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

from consumers import broker
from migrations import runner
from publisher.embedded_key import embedded_key
from runtime.embedded import Embedded
from runtime.lifecycle import side_by_side
from runtime.settings import listen_address, variable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from runtime.settings import Settings

logger = logging.getLogger(__name__)

PARTITIONS = 4
#: The embedded broker lets a new group wait for half the session timeout before it hands out partitions.
SESSION_TIMEOUT = 3.0


@contextlib.asynccontextmanager
async def embedded_settings(given: Settings) -> AsyncIterator[Settings]:
    """Run both servers for the length of the context; yield `given` completed with them."""
    async with contextlib.AsyncExitStack() as stack:
        given = given.model_copy(update=_better_defaults(given))
        given = given.model_copy(update=stack.enter_context(_own_address(given)))
        servers, key = await side_by_side(
            stack.enter_async_context(Embedded(given.data_dir)), stack.enter_async_context(embedded_key(given))
        )
        settings = servers.settings(given).model_copy(update=key)
        await broker.create_topics(
            settings,
            {
                settings.kafka_topic_events: PARTITIONS,
                settings.kafka_topic_dead_letters: 1,
                settings.kafka_topic_announcements: 1,
                settings.kafka_topic_credentials: 1,
                settings.kafka_topic_telemetry: 1,
            },
            compacted=[settings.kafka_topic_credentials],
        )
        await runner.migrate(settings)
        yield settings


@contextlib.contextmanager
def _own_address(given: Settings) -> Iterator[dict[str, Any]]:
    """Yield where the API listens and is reached, for the length of the context; nothing where somebody said it.

    Pages, feeds and messages name it before anything listens. So a free port is taken now and held by a socket that
    never listens: with SO_REUSEADDR on both the listener may have the port, and nobody else is given it.
    """
    if "public_url" in given.model_fields_set:
        yield {}
        return
    host, port = listen_address(given.api_listen)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as held:
        listen = given.api_listen
        if port == 0:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((host, 0))
            port = held.getsockname()[1]
            listen = listen.removesuffix(":0") + f":{port}"
        yield {"api_listen": listen, "public_url": f"http://localhost:{port}"}


def _better_defaults(given: Settings) -> dict[str, Any]:
    """Return what suits an embedded service better than the defaults, where nobody said otherwise.

    A second instance finds the default ports taken by the first; its ready line says where it listens instead.
    """
    better: dict[str, Any] = {}
    if "kafka_session_timeout" not in given.model_fields_set:
        better["kafka_session_timeout"] = SESSION_TIMEOUT
    for name in {"api_listen", "admin_listen"} - given.model_fields_set:
        host, port = listen_address(getattr(given, name))
        try:
            socket.create_server((host, port)).close()
        except OSError:
            logger.warning("%s:%d is taken: taking a free port (%s names one)", host, port, variable(name))
            better[name] = f"{host}:0"
    return better
