"""`heliograph serve`, as a process: what it prints, what it answers, how it stops, how its roles share the work."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import asyncpg
import orjson
import pytest

from consumers import broker
from consumers.broker import Outgoing
from tests.support.commands import ACCOUNT, add_webhook, emit, get
from tests.support.process import environ_of, started, until
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.settings import Settings

HEALTH = "application/health+json"
CHECKS = {
    *("database:responseTime", "database:migration", "eventLoop:lag"),
    *("intake:halted", "intake:assignment", "intake:progress"),
    *("telemetry:halted", "telemetry:assignment", "telemetry:progress"),
}


@contextlib.asynccontextmanager
async def silent_receiver() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Accept requests and never answer; yield where, and an event that is set once somebody called."""
    called = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", called


async def test_it_prints_one_ready_line_and_answers_on_both_listeners(settings: Settings) -> None:
    async with started("serve", environ=environ_of(settings)) as service:
        ready = await service.ready()
        assert ready.keys() == {"ready", "api", "admin"}
        assert ready["ready"] is True
        for path in ("/health", "/health/live", "/health/ready"):
            assert await get(ready["api"] + path) == (200, HEALTH, '{"status":"pass"}')
        looked_at = {
            "/livez": {"eventLoop:lag"},
            "/startupz": set(),
            "/readyz": CHECKS,
            "/health": CHECKS,
        }
        for path, names in looked_at.items():
            status, content_type, text = await get(ready["admin"] + path)
            assert (status, content_type) == (200, HEALTH)
            document = orjson.loads(text)
            assert (document["status"], document["serviceId"], set(document["checks"])) == ("pass", "heliograph", names)
            assert {each["status"] for [each] in document["checks"].values()} <= {"pass"}
        metrics = await get(ready["admin"] + "/metrics")
        assert metrics.status == 200
        assert 'heliograph_deliveries_total{outcome="delivered",type="server.provisioned"} 0.0' in metrics.text
        assert (await get(ready["api"] + "/metrics")).status == 404
        finished = await service.terminate()
    assert finished.code == 0
    assert len(finished.stdout) == 1
    assert all(orjson.loads(line)["level"] in {"info", "warning"} for line in finished.stderr), finished


async def test_a_hanging_receiver_does_not_keep_it_from_stopping(settings: Settings) -> None:
    environ = environ_of(settings)
    async with silent_receiver() as (url, called):
        await add_webhook(environ, url)
        async with started("serve", environ=environ) as service:
            await service.ready()
            await emit(environ, "server.provisioned")
            async with asyncio.timeout(30):
                await called.wait()
            finished = await service.terminate()
    assert finished.code == 0, finished
    connection = await asyncpg.connect(settings.dsn())
    rows = await connection.fetch("SELECT state, attempts, lease, due_at <= now() AS is_due FROM queue")
    await connection.close()
    assert [tuple(row) for row in rows] == [("pending", 0, None, True)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_while_it_waits_for_the_database(settings: Settings, number: signal.Signals) -> None:
    environ = environ_of(settings, database_url="postgresql://heliograph@127.0.0.1:1/none")
    async with started("serve", environ=environ) as service:
        await service.says("trying again")
        service.send(number)
        finished = await service.ended()
    assert finished.code == 0, finished
    assert finished.stdout == []


async def test_a_second_signal_ends_it_at_once(settings: Settings) -> None:
    environ = environ_of(settings)
    async with silent_receiver() as (url, called):
        await add_webhook(environ, url)
        async with started("serve", environ=environ) as service:
            await service.ready()
            await emit(environ, "server.provisioned")
            async with asyncio.timeout(30):
                await called.wait()
            service.send(signal.SIGTERM)
            await service.says("draining")

            async def is_ended() -> bool:
                with contextlib.suppress(ProcessLookupError):
                    service.send(signal.SIGTERM)  # again, should the first one still be at work
                return service.child.returncode is not None

            await until(is_ended, "it ends without waiting for the receiver", 3)
            assert service.child.returncode == -signal.SIGTERM


async def test_roles_share_the_work(settings: Settings) -> None:
    everything = environ_of(settings)
    no_kafka = {name: value for name, value in everything.items() if "KAFKA" not in name}
    async with (
        Receiver().listening() as receiver,
        started("serve", "--role", "consume", environ=everything) as intake,
        started("serve", "--role", "deliver", environ=no_kafka) as delivery,
        started("serve", "--role", "api", environ=no_kafka) as api,
    ):
        assert (await intake.ready()).keys() == {"ready", "admin"}
        assert (await delivery.ready()).keys() == {"ready", "admin"}
        assert (await get((await api.ready())["api"] + "/health")).status == 200
        receiver.trust(await add_webhook(no_kafka, receiver.url))
        await emit(everything, "server.provisioned")
        await receiver.until(lambda r: bool(r.received))
        for service in (intake, delivery, api):
            assert (await service.terminate()).code == 0
    assert len(receiver.received) == 1


async def test_a_burst_of_bad_records_halts_intake_and_nothing_else(settings: Settings) -> None:
    environ = environ_of(settings, dead_letter_minimum=5)
    await produce_bad(settings, 8)
    async with started("serve", environ=environ) as service:
        ready = await service.ready()
        line = orjson.loads(await service.says("intake stopped"))
        assert line["level"] == "error"
        assert "8 of the last 8 records could not be handled" in line["message"]
        assert "Traceback" not in str(service.stderr)

        async def is_unready() -> bool:
            return (await get(ready["admin"] + "/readyz")).status == 503

        await until(is_unready, "/readyz says 503")
        document = orjson.loads((await get(ready["admin"] + "/readyz")).text)
        assert document["status"] == "fail"
        assert document["checks"]["database:responseTime"][0]["status"] == "pass"
        assert "8 of the last 8 records" in document["checks"]["intake:halted"][0]["output"]
        assert await get(ready["api"] + "/health") == (503, HEALTH, '{"status":"fail"}')
        assert (await get(ready["admin"] + "/livez")).status == 200
        assert (await service.terminate()).code == 0


async def test_what_halted_intake_is_still_there_when_it_is_let_through(settings: Settings) -> None:
    environ = environ_of(settings, dead_letter_minimum=5)
    await produce_bad(settings, 8)
    async with started("serve", "--role", "consume", environ=environ) as service:
        finished = await service.ended(30)
    assert finished.code == 1
    assert any("intake stopped: 8 of the last 8 records" in line for line in finished.stderr)
    assert any("HELIOGRAPH_DEAD_LETTER_SHARE=1 lets them all through" in line for line in finished.stderr)
    environ["HELIOGRAPH_DEAD_LETTER_SHARE"] = "1"
    async with Receiver().listening() as receiver, started("serve", environ=environ) as service:
        ready = await service.ready()
        receiver.trust(await add_webhook(environ, receiver.url))
        await emit(environ, "server.provisioned")
        await receiver.until(lambda r: bool(r.received))

        async def all_are_dead_letters() -> bool:
            return 'heliograph_dead_letters_total{reason="json"} 8.0' in (await get(ready["admin"] + "/metrics")).text

        await until(all_are_dead_letters, "8 dead letters counted")
        assert (await service.terminate()).code == 0


async def produce_bad(settings: Settings, count: int) -> None:
    producer = broker.KafkaProducer(settings)
    await producer.start()
    try:
        await producer.send(
            Outgoing(settings.kafka_topic_events, ACCOUNT.encode(), b"{not json", []) for _ in range(count)
        )
    finally:
        await producer.stop()
