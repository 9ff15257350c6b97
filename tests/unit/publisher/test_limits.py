"""Rate limits: whom a request counts for, when it is one too many, and what the caller is told."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond

from publisher import profiles
from publisher.api.counters import Counted, MemoryCounters, SlidingWindow, Window
from publisher.api.limits import SLACK, Limiter, network_of, pseudonym, standing, subject_key, texts_of, wait
from publisher.profiles.model import LimitClass, Limits
from runtime.settings import load
from tests.support.time import FakeClock

READ, WRITE, AUTH = LimitClass
KEY = b"k" * 32
SECRET_KEYS = {"a": bytes(32), "b": bytes(range(32))}


def the_limits(window: int = 60, read: int = 1000, **others: Any) -> Limits:
    return Limits.model_validate(
        {
            "window": window,
            "classes": {"read": read, "write": 100, "auth": 10},
            "default_tier": "standard",
            "tiers": {"standard": {"webhooks": 1}},
            **others,
        }
    )


def a_limiter(clock: FakeClock | None = None, **limits: Any) -> Limiter:
    return Limiter(the_limits(**limits), key=KEY, clock=clock or FakeClock())


class Model:
    """The sliding window counter from its definition: each second's share is looked up, nothing is carried along."""

    def __init__(self, limit: int, window: int) -> None:
        self.limit = limit
        self.window = window
        self.taken: Counter[int] = Counter()

    def has_room(self, at: float) -> bool:
        number = math.floor(at / self.window)
        left = (number + 1) * self.window - at
        previous = math.floor(self.taken[number - 1] * left / self.window)
        return previous + self.taken[number] + 1 <= self.limit

    def take(self, at: float) -> None:
        self.taken[math.floor(at / self.window)] += 1


# --- when it is one too many -----------------------------------------------------------------------------------------


async def test_as_many_as_the_class_says_and_not_one_more() -> None:
    limiter = a_limiter()
    for policy, limit in ((READ, 1000), (WRITE, 100), (AUTH, 10)):
        standings = [await limiter.hit(policy, "key:api_key:a", 1.0) for _ in range(limit + 1)]
        assert [each.is_allowed for each in standings] == [True] * limit + [False]
        assert [each.remaining for each in standings] == [*range(limit - 1, -1, -1), 0]
        assert {each.limit for each in standings} == {limit}


async def test_two_hundred_at_once_get_one_hundred() -> None:
    limiter = a_limiter()
    tasks = len(asyncio.all_tasks())
    standings = await asyncio.gather(*(limiter.hit(WRITE, "key:api_key:a", 1.0) for _ in range(200)))
    assert sum(each.is_allowed for each in standings) == 100
    assert len(asyncio.all_tasks()) == tasks


async def test_each_subject_has_a_limit_of_its_own() -> None:
    limiter = a_limiter()
    for subject in ("key:api_key:a", "key:session:a", "key:api_key:b", "address:192.0.2.1", "address:192.0.2.2"):
        assert (await limiter.hit(AUTH, subject, 1.0)).remaining == 9


@pytest.mark.parametrize(
    ("rate", "limit"), [(1.0, 100), (5.0, 500), (0.5, 50), (0.29, 29), (0.999, 99), (0.001, 1), (1.1, 110)]
)
async def test_a_tier_multiplies_the_limit(rate: float, limit: int) -> None:
    assert (await a_limiter().hit(WRITE, "key:api_key:a", rate)).limit == limit


async def test_a_refused_request_does_not_count() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock)
    for _ in range(500):
        refused = await limiter.hit(AUTH, "key:api_key:a", 1.0)
    clock.advance(refused.retry_after)
    assert (await limiter.hit(AUTH, "key:api_key:a", 1.0)).is_allowed


PAUSES = st.one_of(st.floats(0, 200), st.integers(0, 1600).map(lambda eighths: eighths / 8))


@given(
    limit=st.integers(1, 30),
    window=st.integers(1, 90),
    steps=st.lists(st.tuples(PAUSES, st.integers(1, 40)), min_size=1, max_size=12),
)
@example(limit=10, window=60, steps=[(0.0, 11)])
@example(limit=10, window=60, steps=[(0.0, 10), (60.0, 11)])
@example(limit=1, window=1, steps=[(0.5, 2), (0.0, 2)])
def test_who_waits_as_told_is_let_through_and_not_before(
    limit: int, window: int, steps: list[tuple[float, int]]
) -> None:
    async def walk() -> None:
        clock = FakeClock()
        limiter, model = a_limiter(clock, window=window, read=limit), Model(limit, window)
        for pause, burst in steps:
            clock.advance(pause)
            for _ in range(burst):
                has_room = model.has_room(clock.monotonic())
                told = await limiter.hit(READ, "key:api_key:a", 1.0)
                assert told.is_allowed == has_room
                assert 0 <= told.remaining < limit
                assert told.retry_after >= 1
                assert clock.unix() + told.retry_after >= told.reset > clock.unix()
                if told.is_allowed:
                    model.take(clock.monotonic())
                    continue
                # Up to a second before `reset` there is no room yet, whatever fraction of a second it is now.
                before = told.reset - 1 - 2 * SLACK - clock.unix()
                assert before < 0 or not model.has_room(clock.monotonic() + before)
                assert model.has_room(clock.monotonic() + told.retry_after)
                clock.advance(told.retry_after)
                assert (await limiter.hit(READ, "key:api_key:a", 1.0)).is_allowed
                model.take(clock.monotonic())

    asyncio.run(walk())


@pytest.mark.parametrize(
    ("window", "seconds"),
    [
        (Window(0, 0, 0, 0), 0.0),
        (Window(0, 0, 9, 100), 0.0),
        (Window(0, 0, 10, 100), 40.0),  # the whole of the current window, which is full
        (Window(10, 60, 0, 120), 0.0),  # at the moment itself: any later one has room
        (Window(10, 30, 5, 90), 0.0),
        (Window(10, 30, 6, 90), 6.0),
        (Window(100, 30, 9, 90), 29.4),
        (Window(100, 30, 10, 90), 30.0),
        (Window(0, 0, 20, 90), 60.0),  # another tier's past: the next window begins with too much
    ],
)
def test_the_wait_is_counted_in_both_windows(window: Window, seconds: float) -> None:
    assert wait(window, 10, 60) == pytest.approx(seconds)


def test_reset_is_the_end_of_the_window_for_who_was_let_through() -> None:
    told = standing(READ, 10, 60, Counted(is_allowed=True, window=Window(4, 30.5, 3, 90.5)), 1000.25)
    assert (told.remaining, told.reset, told.retry_after) == (10 - 2 - 3, 1031, 31)


def test_reset_is_the_first_second_with_room_for_who_was_not() -> None:
    counted = Counted(is_allowed=False, window=Window(100, 30, 9, 90))
    for now, reset in ((1000.0, 1030), (1000.59, 1030), (1000.6, 1031), (1000.99, 1031)):
        told = standing(READ, 10, 60, counted, now)
        assert (told.reset, told.remaining) == (reset, 0)
        assert told.retry_after == math.ceil(reset - now)


# --- what is kept ----------------------------------------------------------------------------------------------------


async def test_a_counter_lives_for_its_window_and_the_next() -> None:
    clock = FakeClock()  # on the monotonic clock its windows of 60 seconds begin at 960, 1020, …
    counters = MemoryCounters(clock)
    for subject in range(100):
        await counters.count(f"read/{subject}", 10, 60)
    clock.advance(60)
    await counters.count("read/0", 10, 60)
    assert len(counters) == 101
    clock.advance(60)
    await counters.count("read/0", 10, 60)
    assert len(counters) == 2
    clock.advance(120)
    await counters.count("read/0", 10, 60)
    assert len(counters) == 1


async def test_windows_of_two_lengths_do_not_meet() -> None:
    counters = MemoryCounters(FakeClock())
    assert (await counters.count("read/a", 1, 60)).is_allowed
    assert (await counters.count("read/a", 1, 30)).is_allowed
    assert not (await counters.count("read/a", 1, 60)).is_allowed


async def test_those_beyond_what_there_is_memory_for_share_one_limit_of_their_class() -> None:
    counters = MemoryCounters(FakeClock(), most=3)
    for subject in ("read/1", "read/2", "write/1"):
        assert (await counters.count(subject, 2, 60)).is_allowed
    taken = [(await counters.count(f"read/{subject}", 2, 60)).is_allowed for subject in range(3, 100)]
    assert taken == [True] * 2 + [False] * 95
    assert (await counters.count("write/9", 2, 60)).is_allowed
    assert (await counters.count("read/1", 2, 60)).is_allowed
    assert len(counters) == 5


async def test_callers_with_a_credential_do_not_share_a_table_with_addresses() -> None:
    limiter = a_limiter()
    for counters in (limiter._callers, limiter._addresses):
        counters._counters._most = 3  # type: ignore[union-attr]  # both are in memory here
    for number in range(20):
        await limiter.hit(LimitClass.AUTH, f"address:192.0.2.{number}", 1.0)
    assert not (await limiter.hit(LimitClass.AUTH, "address:198.51.100.1", 1.0)).is_allowed
    assert (await limiter.hit(LimitClass.AUTH, "key:api_key:k1", 1.0)).is_allowed


async def test_the_librarys_own_strategy_finds_its_storage_here() -> None:
    clock = FakeClock()
    strategy, item = SlidingWindow(MemoryCounters(clock)), RateLimitItemPerSecond(3, 60, "read")
    for expected in (True, True, True, False):
        assert await strategy.test(item, "a") == expected
        assert await strategy.hit(item, "a") == expected
    assert (await strategy.get_window_stats(item, "a")).remaining == 0
    assert not (await strategy.count(item, "a")).is_allowed
    await strategy.clear(item, "a")
    assert await strategy.test(item, "a")
    assert await strategy.hit(item, "b")
    assert await strategy.storage.check()
    assert await strategy.storage.reset() == 1
    assert await strategy.storage.reset() == 0


# --- for whom --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("2001:DB8::1", "2001:0db8:0000::1", True),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("local", "local", True),
        ("not:an:address", "not:an:address:either", False),
    ],
)
def test_an_address_counts_as_what_one_caller_has(one: str, other: str, is_same: bool) -> None:  # noqa: FBT001 - a table's column
    assert (network_of(one) == network_of(other)) == is_same
    assert (pseudonym(KEY, f"address:{one}") == pseudonym(KEY, f"address:{other}")) == is_same


def test_only_addresses_are_read_as_such() -> None:
    assert pseudonym(KEY, "key:api_key:2001:db8::1") != pseudonym(KEY, "key:api_key:2001:db8::2")


def test_a_subject_is_128_bits_that_only_the_service_can_make() -> None:
    made = pseudonym(KEY, "address:192.0.2.1")
    assert len(bytes.fromhex(made)) == 16
    assert made != pseudonym(b"another key", "address:192.0.2.1")


def test_the_key_comes_from_the_first_of_the_secret_keys_and_is_not_that_key() -> None:
    assert subject_key(SECRET_KEYS) == subject_key({"renamed": bytes(32)})
    assert subject_key(SECRET_KEYS) != subject_key({"b": SECRET_KEYS["b"], "a": bytes(32)})
    assert subject_key(SECRET_KEYS) != bytes(32)


async def test_without_a_shared_store_it_counts_in_memory() -> None:
    settings = load(environ={"HELIOGRAPH_SECRET_KEYS": "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="})
    limiter = Limiter.of(settings, profiles.load("nordbastion").limits, FakeClock())
    assert (await limiter.hit(AUTH, "address:192.0.2.1", 1.0)).remaining == 9
    await limiter.aclose()


# --- what is told ----------------------------------------------------------------------------------------------------

ALLOWED = standing(READ, 1000, 60, Counted(is_allowed=True, window=Window(0, 0, 1, 90)), 1_000_000.0)
REFUSED = standing(AUTH, 10, 60, Counted(is_allowed=False, window=Window(0, 0, 10, 100)), 1_000_000.0)


def test_nordbastions_headers() -> None:
    limits = profiles.load("nordbastion").limits
    told = {
        "X-RateLimit-Limit": "1000",
        "X-RateLimit-Remaining": "999",
        "X-RateLimit-Reset": "1000030",
        "RateLimit-Policy": '"read";q=1000;w=60',
        "RateLimit": '"read";r=999;t=30',
    }
    assert ALLOWED.headers(texts_of(limits)) == told
    assert REFUSED.headers(texts_of(limits)) == {
        "X-RateLimit-Limit": "10",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1000041",
        "RateLimit-Policy": '"auth";q=10;w=60',
        "RateLimit": '"auth";r=0;t=41',
        "Retry-After": "41",
    }


def test_a_profile_names_the_headers_or_leaves_them_out() -> None:
    limits = the_limits(headers={"limit": None, "remaining": "X-Left", "reset": None, "draft": False})
    assert ALLOWED.headers(texts_of(limits)) == {"X-Left": "999"}
    assert REFUSED.headers(texts_of(limits)) == {"X-Left": "0", "Retry-After": "41"}
