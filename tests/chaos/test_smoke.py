"""The parts of the fault table's tests, and one short run of all of them: seconds, with `make test`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.support.books import Recorded, balance
from tests.support.customers import Arrival
from tests.support.fault_stage import IN_FLIGHT, a_stage
from tests.support.tcp_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from tests.support.books import Balance

ONE, TWO = Arrival("msg_1", "dlv_1", b"{}"), Arrival("msg_2", "dlv_2", b"{}")
ARRIVED = {("a", "ORD-1"): [ONE], ("a", "ORD-2"): [TWO]}
STATES = {"dlv_1": "delivered", "dlv_2": "delivered"}


async def test_networks_are_cut_and_a_worker_is_killed_and_the_books_are_right(
    count: Callable[[Balance, int], None],
) -> None:
    async with a_stage() as stage:
        consume, deliver = await asyncio.gather(stage.serve("consume"), stage.serve("deliver"))
        await stage.produce(300)
        await stage.arrived(50)
        stage.database.cut()
        await stage.becomes(503, consume, deliver)
        stage.kafka.cut()
        stage.database.heal()
        await deliver.kill()
        stage.kafka.heal()
        await stage.serve("deliver")
        count(await stage.balanced(again=2 * IN_FLIGHT), 2 * IN_FLIGHT)


# --- the books --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrived", "recorded", "again", "faults"),
    [
        (ARRIVED, Recorded(2, 2, STATES), 0, []),
        (ARRIVED | {("a", "ORD-2"): [TWO, TWO]}, Recorded(2, 2, STATES), 1, []),
        (ARRIVED | {("a", "ORD-2"): [TWO, TWO]}, Recorded(2, 2, STATES), 0, ["1 repetitions beyond the 0 that may be"]),
        (
            {("a", "ORD-1"): [ONE]},
            Recorded(2, 2, STATES),
            0,
            ["1 deliveries missing at their receivers", "1 recorded as delivered and not received"],
        ),
        (
            ARRIVED | {("b", "ORD-2"): [TWO]},
            Recorded(2, 2, STATES),
            1,
            ["1 deliveries nobody asked for"],
        ),
        (
            ARRIVED | {("a", "ORD-2"): [TWO, TWO._replace(body=b"[]")]},
            Recorded(2, 2, STATES),
            1,
            ["1 deliveries received in more than one form"],
        ),
        (
            ARRIVED | {("a", "ORD-2"): [TWO, TWO._replace(message_id="msg_3")]},
            Recorded(2, 3, STATES),
            1,
            [
                "1 deliveries received in more than one form",
                "1 messages beyond one an event",
                "1 events missing in messages, or too many",
            ],
        ),
        (
            ARRIVED,
            Recorded(1, 2, STATES | {"dlv_2": "dropped"}),
            0,
            [
                "1 received and not recorded as delivered",
                "1 recorded in another state",
                "1 events missing in the inbox, or too many",
            ],
        ),
    ],
)
def test_books_that_do_not_agree_say_where(
    arrived: Mapping[tuple[str, str], list[Arrival]], recorded: Recorded, again: int, faults: list[str]
) -> None:
    assert list(balance(2, ARRIVED.keys(), arrived, recorded, again=again).faults) == faults


# --- the network ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[Proxy]:
    """Have a proxy before a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1000):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Proxy(lambda: asyncio.open_connection("127.0.0.1", port)).listening() as proxy:
        yield proxy


async def asked(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection that has been answered once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"first")
    assert await reader.readexactly(5) == b"first"
    return reader, writer


async def silent(reader: asyncio.StreamReader) -> bool:
    """Whether nothing comes, not even an end; a moment is enough on loopback, and too short fails nobody's test."""
    try:
        async with asyncio.timeout(0.1):
            return await reader.read(1) == b"never"
    except TimeoutError:
        return True


async def test_a_cut_network_resets_what_is_open_and_what_is_opened_until_it_heals() -> None:
    async with echoing() as proxy:
        reader, _ = await asked(proxy)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(OSError, match=r"reset|closed"):
            await reader.readexactly(1)
        writer.close()
        proxy.heal()
        _, writer = await asked(proxy)
        writer.close()


async def test_a_stalled_network_passes_on_later_what_it_held() -> None:
    async with echoing() as proxy:
        reader, writer = await asked(proxy)
        proxy.stall()
        writer.write(b"second")
        assert await silent(reader)
        proxy.heal()
        assert await reader.readexactly(6) == b"second"
        writer.close()


async def test_a_lost_connection_stays_silent_and_a_new_one_does_not() -> None:
    async with echoing() as proxy:
        reader, writer = await asked(proxy)
        proxy.lose()
        opened, other = await asyncio.open_connection("127.0.0.1", proxy.port)
        for each in (writer, other):
            each.write(b"second")
        proxy.heal()
        assert await silent(reader)
        assert await silent(opened)
        _, third = await asked(proxy)
        for each in (writer, other, third):
            each.close()


async def test_a_throttled_network_passes_everything_in_pieces() -> None:
    async with echoing() as proxy:
        reader, writer = await asked(proxy)
        proxy.throttle(20_000)
        writer.write(bytes(3000))
        pieces: list[int] = []
        while sum(pieces) < 3000:
            pieces.append(len(await reader.read(3000)))
        assert len(pieces) > 1
        writer.close()
