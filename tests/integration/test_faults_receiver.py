"""The fault table, receivers that misbehave: each attempt ends by a bound of ours, and the worker goes on.

Each row through the whole worker, on real sockets. What the transport makes of every odd answer is in
test_transport.py; here it is what becomes of the delivery.
"""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from publisher.delivery.egress import Rules
from publisher.delivery.outcome import Result
from tests.support import misbehaving as kit
from tests.support.egress import LOOPBACK
from tests.support.jobs import a_job, an_endpoint
from tests.support.process import ROOT
from tests.support.transports import a_transport
from tests.support.workers import a_worker

if TYPE_CHECKING:
    import socket

    from publisher.queue import Finished

SHORT = 0.3
GIB = 2**30
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
#: What an attempt keeps of an answer, and what it may cost at its worst moment.
KEPT, MEMORY_KIB = 16_384, 2048


async def _attempt_of(behaviour: kit.Behaviour, *, patience: float = 20) -> tuple[Finished, str, int]:
    """Deliver once to a receiver; return the attempt, the state that follows and how many requests were seen.

    The attempt has ended on both sides, and the worker has delivered something else after it.
    """
    lively = kit.receiving(kit.answers(kit.FINAL))
    async with (
        kit.receiving(behaviour) as receiver,
        lively as other,
        a_transport(timeout=patience) as transport,
        a_worker(transport=transport) as bench,
    ):
        bench.queue.add(a_job(endpoint=an_endpoint(receiver.url)))
        bench.start()
        await bench.queue.until(lambda queue: bool(queue.rows["dlv_1"].attempts), seconds=30)
        await receiver.until(lambda r: r.ended == r.connections)
        bench.queue.add(a_job("dlv_2", endpoint=an_endpoint(other.url, endpoint_id="we_2")))
        bench.worker.wake()
        await bench.queue.until(lambda queue: queue.states()["dlv_2"] == "delivered")
        [finished] = bench.queue.rows["dlv_1"].attempts
        return finished, bench.queue.states()["dlv_1"], len(receiver.requests)


# --- receiver hangs; 1 byte per 0.5 s; endless headers; 1xx flood: ends at the total timeout --------------------------

ENDLESS: dict[str, tuple[kit.Behaviour, Result]] = {
    "receiver hangs": (kit.hangs, Result.TIMEOUT),
    "one byte now and then": (kit.drips(b"HTTP/1.1 200 OK\r\nx: a", pause=0.05), Result.TIMEOUT),
    "one byte of body now and then": (kit.drips(b"HTTP/1.1 200 OK\r\n\r\na", pause=0.01), Result.TIMEOUT),
    "endless headers, slowly": (kit.repeats(b"HTTP/1.1 200 OK\r\n", b"x: a\r\n"), Result.TIMEOUT),
    "endless headers": (kit.floods(b"HTTP/1.1 200 OK\r\n", b"x: a\r\n" * 2000), Result.PROTOCOL),
    "1xx flood, slowly": (kit.repeats(b"", INTERIM, pause=0.06), Result.TIMEOUT),
    "1xx flood": (kit.floods(b"", INTERIM * 500), Result.PROTOCOL),
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_receiver_hangs_drips_or_floods_and_the_attempt_ends(name: str) -> None:
    """By the total timeout, where nothing else ends it sooner: no byte that trickles in buys more time."""
    behaviour, result = ENDLESS[name]
    patience = SHORT if result is Result.TIMEOUT else 20
    finished, state, requests = await _attempt_of(behaviour, patience=patience)
    assert (finished.result, finished.status, finished.response) == (result, None, None)
    assert (state, requests) == ("retry", 1)


# --- 1 GiB body; 1 GiB gzip in 1 MB: at most 16 KiB read, at most 2 MiB memory growth ---------------------------------

GIGANTIC: dict[str, kit.Behaviour] = {
    "1 GiB body": kit.floods(f"HTTP/1.1 200 OK\r\ncontent-length: {GIB}\r\n\r\n".encode(), b"a" * 65536),
    "1 GiB gzip in 1 MB": kit.answers(kit.bomb(GIB)),
}


def test_the_bomb_is_one() -> None:
    """Guard the fixture: it is small on the wire, and a decoder that trusts it gets a gigabyte, or any size asked."""
    _, _, packed = kit.bomb(GIB).partition(b"\r\n\r\n")
    assert len(packed) < 1.1 * 2**20
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    unpacked, piece = 0, packed
    while piece and unpacked < GIB // 8:
        unpacked += len(decoder.decompress(piece, 2**22))
        piece = decoder.unconsumed_tail
    assert unpacked >= GIB // 8
    for size in (0, 5, 2**20, 3 * 2**20 + 7):
        assert gzip.decompress(kit.bomb(size).partition(b"\r\n\r\n")[2]) == bytes(size)


@pytest.mark.parametrize(("name", "start"), [("1 GiB body", "aaa"), ("1 GiB gzip in 1 MB", "\x1f\ufffd\x08")])
async def test_1_gib_body_is_read_to_16_kib_as_it_came_and_is_a_success(name: str, start: str) -> None:
    finished, state, requests = await _attempt_of(GIGANTIC[name])
    assert (finished.result, state, requests) == (Result.OK, "delivered", 1)
    assert finished.response is not None
    assert finished.response.startswith(start)
    assert len(finished.response) <= KEPT


@pytest.mark.parametrize("name", GIGANTIC)
async def test_1_gib_body_grows_memory_by_2_mib_at_most(name: str) -> None:
    """Measured in a child process that does nothing but attempts, by the kernel's high-water mark of its memory.

    After a warm-up at a receiver that behaves, the mark is set back to what is resident at that moment
    (/proc/self/clear_refs), then come several attempts; how far the mark rises is what an attempt adds at its worst
    moment, or leaves behind. The receiver is in this process and sends as fast as the socket takes it, until it is
    hung up on.
    """
    attempts = 10
    lively = kit.receiving(kit.answers(kit.FINAL))
    async with kit.receiving(GIGANTIC[name]) as receiver, lively as polite:
        measured = await _measured(str(polite.url), str(receiver.url), str(attempts))
        await receiver.until(lambda r: r.ended == r.connections)
    print(f"{name}: {measured['grown_kib']} KiB")  # noqa: T201 - for a failure's report
    assert set(measured["statuses"]) == {200}
    assert measured["kept"] == [KEPT] * attempts
    assert measured["grown_kib"] <= MEMORY_KIB


async def _measured(*arguments: str) -> dict[str, Any]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.measured_attempts", *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            said, complaints = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, complaints.decode()
    answer: dict[str, Any] = orjson.loads(said)
    return answer


# --- 200 with a truncated body: success ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour",
    [
        kit.answers_and_closes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart"),
        kit.answers_and_closes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\npart"),
        kit.resets_within_the_body,
    ],
    ids=["sized", "chunked", "reset"],
)
async def test_200_with_a_truncated_body_is_a_success(behaviour: kit.Behaviour) -> None:
    finished, state, requests = await _attempt_of(behaviour)
    assert (finished.result, finished.status, finished.response) == (Result.OK, 200, "part")
    assert (state, requests) == ("delivered", 1)


# --- 3xx to a private address: failure, one request ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Watched(Rules):
    """The rules, and every address a socket was asked for."""

    asked: list[str] = field(default_factory=list)

    def make_socket(self, addr_info: tuple[Any, ...]) -> socket.socket:
        host, port, *_ = addr_info[4]
        self.asked.append(f"{host}:{port}")
        return Rules.make_socket(self, addr_info)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_3xx_to_a_private_address_is_a_failure_and_one_request(status: int) -> None:
    rules = Watched(allow=LOOPBACK.allow)
    there = kit.sized(b"", "location: http://169.254.169.254/latest/meta-data/", status=f"{status} Elsewhere")
    async with (
        kit.receiving(kit.answers(there)) as receiver,
        a_transport(rules=rules) as transport,
        a_worker(transport=transport) as bench,
    ):
        bench.queue.add(a_job(endpoint=an_endpoint(receiver.url)))
        bench.start()
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "retry"})
        [finished] = bench.queue.rows["dlv_1"].attempts
        assert (finished.result, finished.status) == (Result.REDIRECT, status)
        assert (receiver.connections, len(receiver.requests)) == (1, 1)
        assert rules.asked == [f"127.0.0.1:{receiver.url.port}"]
