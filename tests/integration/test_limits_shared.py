"""Rate limits that processes share, in a real Redis: together no more than the limit, and nobody is named in it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from publisher import profiles
from publisher.api.counters import SharedCounters, Window
from publisher.api.limits import RETRY, Limiter, standing, subject_key, wait
from publisher.profiles.model import LimitClass
from runtime.settings import Settings, load
from tests.support.limited_requests import a_limiter, let_through
from tests.support.process import ROOT, environ_of
from tests.support.redis_server import redis_server
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.redis_server import RedisServer

ADDRESS = "192.0.2.77"
SUBJECT = f"address:{ADDRESS}"
SECRET_KEYS = f"a:{'A' * 43}="
HOUR = 3600


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    async with redis_server() as made:
        yield made


@pytest.fixture
async def counters(server: RedisServer) -> AsyncIterator[SharedCounters]:
    made = SharedCounters(server.url)
    yield made
    await made.aclose()


def a_configuration(url: str) -> Settings:
    return load(environ={}, ratelimit_store=url, secret_keys=SECRET_KEYS)


async def in_another_process(settings: Settings, count: int) -> int:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.limited_requests", SUBJECT, str(count)),
        env=environ_of(settings), cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await child.communicate()
    assert child.returncode == 0
    return int(said)


async def test_two_processes_get_the_limit_together(server: RedisServer) -> None:
    settings = a_configuration(server.url)
    limiter = a_limiter(settings)
    here, there = await asyncio.gather(let_through(limiter, SUBJECT, 80), in_another_process(settings, 80))
    assert here + there == 100
    assert await let_through(limiter, SUBJECT, 200) == 0
    assert await let_through(limiter, "address:192.0.2.78", 200) == 100
    await limiter.aclose()


async def test_the_store_knows_nobody_and_forgets_by_itself(server: RedisServer) -> None:
    settings = a_configuration(server.url)
    limiter = a_limiter(settings)
    for subject in (SUBJECT, "address:2001:db8::1", "key:api_key:ak_77"):
        await let_through(limiter, subject, 200)
    await limiter.aclose()
    async with server.client() as client:
        keys = await client.keys("*")
        assert len(keys) == 3
        for key in keys:
            assert 0 < await client.pttl(key) <= 2 * 60 * 1000
            held = key + await client.get(key)
            for known in (ADDRESS.encode(), b"2001:db8", b"ak_77", b"address", b"api_key"):
                assert known not in held


async def test_a_request_asks_the_store_once(server: RedisServer) -> None:
    limiter = a_limiter(a_configuration(server.url))
    for _ in range(50):
        await limiter.hit(LimitClass.READ, SUBJECT, 1.0)
    await limiter.aclose()
    async with server.client() as client:
        calls = {name: stats["calls"] for name, stats in (await client.info("commandstats")).items()}
    assert calls["cmdstat_evalsha"] == 51  # the first one finds no script yet
    assert calls["cmdstat_script|load" if "cmdstat_script|load" in calls else "cmdstat_script"] == 1


async def test_the_store_and_memory_count_alike(counters: SharedCounters) -> None:
    previous = 0
    for _ in range(7):
        counted = await counters.count("write/a", 5, HOUR)
        told = standing(LimitClass.WRITE, 5, HOUR, counted, 1_000_000.0)
        assert counted.is_allowed == (previous < 5)
        assert told.remaining == max(0, 4 - previous)
        previous = counted.window.current
    assert previous == 5
    assert counted.window.previous == 0


@pytest.mark.parametrize(
    ("previous", "current", "left"),
    [(0, 100, 1800), (0, 100, 3500), (100, 60, 1800), (90, 50, 3400), (40, 100, 600), (0, 250, 1800), (250, 99, 900)],
)
async def test_who_waits_as_told_is_let_through(
    server: RedisServer, counters: SharedCounters, previous: int, current: int, left: int
) -> None:
    """Time passes by what the keys have to live: minutes are enough for a slow machine not to matter."""
    names = [counters.bridge.prefixed_key(name) for name in ("{write/a}", "{write/a}/-1")]

    async def at(gone: float) -> bool:
        async with server.client() as client:
            await client.flushall()
            for name, count, ttl in ((names[0], current, left + HOUR), (names[1], previous, left)):
                if count and ttl > gone:
                    await client.set(name, count, px=int((ttl - gone) * 1000))
        return (await counters.count("write/a", 100, HOUR)).is_allowed

    seconds = wait(Window(previous, left if previous else 0, current, left + HOUR), 100, HOUR)
    assert not await at(0)
    told = wait((await counters.count("write/a", 100, HOUR)).window, 100, HOUR)
    assert told == pytest.approx(seconds, abs=60)
    assert not await at(seconds - 60)
    assert await at(seconds + 1)


async def test_without_the_store_each_process_counts_for_itself(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    clock = FakeClock()
    limits = profiles.load("nordbastion").limits
    shared = SharedCounters(server.url)
    limiter = Limiter(limits, key=bytes(32), clock=clock, shared=shared, patience=30)
    assert await let_through(limiter, SUBJECT, 60) == 60
    await server.stop()
    assert await let_through(limiter, SUBJECT, 200) == 100
    for _ in range(3):
        clock.advance(RETRY)
        assert await let_through(limiter, SUBJECT, 10) == 0
    assert caplog.text.count("RATELIMIT_STORE is away") == 1
    await server.start()
    assert await let_through(limiter, SUBJECT, 10) == 0
    clock.advance(RETRY)
    assert await let_through(limiter, SUBJECT, 1) == 1
    assert await let_through(limiter, SUBJECT, 200) == 99
    assert caplog.text.count("RATELIMIT_STORE is back") == 1
    assert caplog.text.count("RATELIMIT_STORE is away") == 1
    await limiter.aclose()


async def test_a_store_that_does_not_answer_is_not_waited_for(server: RedisServer) -> None:
    clock = FakeClock()
    shared = SharedCounters(server.url)
    limits = profiles.load("nordbastion").limits
    limiter = Limiter(limits, key=bytes(32), clock=clock, shared=shared, patience=0.05)
    await shared.count("warm", 1, 60)
    server.hold()
    async with asyncio.timeout(10):
        assert await let_through(limiter, SUBJECT, 200) == 100
    server.let_go()
    clock.advance(RETRY)
    limiter._patience = 30  # from here on a slow machine is not to matter
    assert (await limiter.hit(LimitClass.AUTH, "address:192.0.2.9", 1.0)).remaining == 9
    assert (await limiter.hit(LimitClass.AUTH, "address:192.0.2.9", 1.0)).remaining == 8
    async with server.client() as client:
        assert await client.keys("*auth*")
    await limiter.aclose()


async def test_while_one_request_tries_the_store_the_others_go_on(server: RedisServer) -> None:
    clock = FakeClock()
    shared = SharedCounters(server.url)
    limits = profiles.load("nordbastion").limits
    limiter = Limiter(limits, key=bytes(32), clock=clock, shared=shared, patience=30)
    await server.stop()
    await let_through(limiter, SUBJECT, 1)
    await server.start()
    await shared.count("warm", 1, 60)
    server.hold()
    clock.advance(RETRY)
    tries = asyncio.create_task(let_through(limiter, SUBJECT, 1))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await let_through(limiter, SUBJECT, 20) == 20
    assert not tries.done()
    server.let_go()
    assert await tries == 1
    await limiter.aclose()


async def test_a_password_that_is_refused_is_not_repeated(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings = a_configuration(server.url.replace("unix://", "unix://heliograph:hunter2@"))
    limiter = a_limiter(settings)
    assert (await limiter.hit(LimitClass.AUTH, SUBJECT, 1.0)).remaining == 9
    assert "RATELIMIT_STORE is away" in caplog.text
    assert "hunter2" not in caplog.text
    assert ADDRESS not in caplog.text
    await limiter.aclose()


async def test_processes_with_other_keys_count_apart(server: RedisServer) -> None:
    one, other = (
        a_limiter(load(environ={}, ratelimit_store=server.url, secret_keys=f"a:{first}{'A' * 42}="))
        for first in ("A", "B")
    )
    assert await let_through(one, SUBJECT, 200) == await let_through(other, SUBJECT, 200) == 100
    for limiter in (one, other):
        await limiter.aclose()
    assert subject_key({"a": bytes(32)}) != subject_key({"a": b"\x04" + bytes(31)})
