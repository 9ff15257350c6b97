"""Who may call, known before anybody does: the topic of credentials followed into its table, and what is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from consumers import credentials
from consumers.credential_topic import Follower
from consumers.credentials import Credentials
from consumers.reader import open_reader
from publisher.housekeeping import Chore

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from runtime.clock import Clock
    from runtime.database import Pool
    from runtime.settings import Settings

#: Seconds between two rounds of forgetting.
FORGET = 600.0


class Following(NamedTuple):
    """What is known of credentials, what has to run beside, and what has to happen now and then."""

    credentials: Credentials
    beside: list[tuple[str, Callable[[asyncio.Event], Coroutine[object, object, object]]]]
    chores: list[Chore]


async def open_following(settings: Settings, *, pool: Pool, clock: Clock) -> Following:
    """Know every credential before the first request; without Kafka somebody else keeps the table."""
    topic = settings.kafka_topic_credentials
    known = Credentials(pool.acquire, clock, keeps=bool(settings.kafka_bootstrap))

    async def forget() -> None:
        async with pool.acquire() as connection:
            await credentials.forget(connection)

    opened = Following(known, [], [Chore("forget credentials", FORGET, forget, is_for_all=True)])
    if settings.kafka_bootstrap:
        follower = Follower(
            pool=pool,
            topic=topic,
            reader=lambda: open_reader(settings, topic, begins_again=False),
            clock=clock,
            on_change=known.changed,
        )
        await follower.load()
        opened.beside.append(("follow credentials", follower.run))
    return opened
