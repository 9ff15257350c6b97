"""The kit's limits are the service's: the same verdicts and headers, request by request, and the same envelope."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_telemetry import Caller, Profile
from heliograph_telemetry.callers import by_method, network_of
from heliograph_telemetry.limiter import Limiter
from heliograph_telemetry.profile import ProfileError
from publisher import profiles
from publisher.api import errors, limits
from publisher.api.counters import Counted, Window
from publisher.api.errors import ApiError
from publisher.profiles.model import Fault, LimitClass
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from heliograph_telemetry.limiter import Standing

TINY = str(Path(__file__).parents[2] / "support" / "profiles" / "tiny.toml")
NAMES = [*profiles.shipped(), TINY]
KEY = b"k" * 32
ANYBODY = Caller.key("k1")
COUNTED = Counted(is_allowed=True, window=Window(previous=0, previous_ttl=0.0, current=1, current_ttl=120.0))

CALLERS = (
    Caller.key("k1"),
    Caller.key("k1", "developer"),
    Caller.key("k2", "no such tier"),
    Caller.address("192.0.2.1"),
    Caller.address("2001:db8::1"),
    Caller.address("2001:db8::2"),
)
SUBJECTS = ("key:k1", "key:k1", "key:k2", "address:192.0.2.1", "address:2001:db8::1", "address:2001:db8::2")


@given(
    start=st.floats(0, 200),
    steps=st.lists(
        st.tuples(
            st.sampled_from(list(LimitClass)),
            st.integers(0, len(CALLERS) - 1),
            st.one_of(st.floats(0, 150), st.just(0.0)),
            st.integers(1, 130),
        ),
        max_size=12,
    ),
)
def test_every_answer_is_the_one_the_service_would_give(
    start: float, steps: list[tuple[LimitClass, int, float, int]]
) -> None:
    async def walk() -> None:
        clock = FakeClock()
        clock.advance(start)
        theirs, profile = profiles.load("nordbastion").limits, Profile.load("nordbastion")
        service, kit = limits.Limiter(theirs, key=KEY, clock=clock), Limiter(profile, key=KEY)
        for policy, who, pause, burst in steps:
            clock.advance(pause)
            caller = CALLERS[who]
            for _ in range(burst):
                expected = await service.hit(policy, SUBJECTS[who], theirs.tier(caller.tier).rate)
                found = hit(kit, policy, caller, clock)
                assert found.is_allowed == expected.is_allowed
                assert found.headers(profile) == expected.headers(limits.texts_of(theirs))

    asyncio.run(walk())


def hit(kit: Limiter, policy: str, caller: Caller, clock: FakeClock) -> Standing:
    return kit.hit(policy, caller, monotonic=clock.monotonic(), unix=clock.unix())


@pytest.mark.parametrize("name", NAMES)
def test_the_envelope_and_the_headers_are_the_houses(name: str) -> None:
    house, profile, clock = profiles.load(name), Profile.load(name), FakeClock()
    refused = ApiError(Fault.RATE_LIMITED, "rate_limited", "Wait 3 seconds.")
    status, body = errors.body_of(refused, house, "req_1")
    assert (profile.status, json.loads(profile.envelope("Wait 3 seconds.", "req_1"))) == (status, body)
    assert profile.request_id_header == house.headers.request_id
    service = limits.standing(LimitClass.READ, 600, 60, COUNTED, clock.unix())
    kit = Limiter(profile, key=KEY).hit("read", ANYBODY, monotonic=0, unix=clock.unix())
    assert kit.headers(profile).keys() == service.headers(limits.texts_of(house.limits)).keys()


@pytest.mark.parametrize("name", NAMES)
def test_the_limits_are_the_houses(name: str) -> None:
    house, profile = profiles.load(name).limits, Profile.load(name)
    assert profile.window == house.window
    for policy in LimitClass:
        for tier in (None, "", "no such tier", *house.tiers):
            assert profile.limit(policy, tier) == max(1, int(house.classes[policy] * house.tier(tier).rate + 1e-9))


@pytest.mark.parametrize(("rate", "limit"), [(1.0, 100), (0.29, 29), (0.999, 99), (0.001, 1), (1.1, 110)])
def test_a_tier_multiplies_the_limit(rate: float, limit: int) -> None:
    profile = dataclasses.replace(Profile.load("nordbastion"), rates={"odd": rate})
    assert profile.limit("write", "odd") == limit
    by_default = dataclasses.replace(profile, default_rate=rate, rates={})
    assert {by_default.limit("write", tier) for tier in (None, "", "odd")} == {limit}


def test_every_profile_of_the_service_comes_with_the_kit() -> None:
    for name in profiles.shipped():
        Profile.load(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("a =", "is not TOML"),
        ("a = 1", "has no 'limits'"),
        ("[limits]\n[errors.kinds]\n", "has no 'rate_limited'"),
    ],
)
def test_a_profile_that_cannot_be_used_is_one_line(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "a.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ProfileError, match=said) as caught:
        Profile.load(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def a_limiter(most: int = 100) -> Limiter:
    return Limiter(Profile.load("nordbastion"), key=KEY, most=most)


def test_callers_are_kept_as_keyed_hashes_for_two_windows_at_most() -> None:
    limiter, secret = a_limiter(), Caller.key("customer-4711")
    limiter.hit("read", secret, monotonic=0, unix=0)
    held = [*limiter._keys.current, *limiter._addresses.current]
    assert [len(each) for each in held] == [16]
    assert b"4711" not in b"".join(held)
    other = Limiter(Profile.load("nordbastion"), key=b"other" * 4)
    other.hit("read", secret, monotonic=0, unix=0)
    assert held != [*other._keys.current]
    limiter.forget(60)
    assert len(limiter) == 1
    limiter.forget(120)
    assert len(limiter) == 0


def test_many_addresses_fill_no_memory_and_take_no_customers_place() -> None:
    limiter = a_limiter(most=10)
    for number in range(500):
        limiter.hit("auth", Caller.address(f"192.0.2.{number}"), monotonic=0, unix=0)
    assert len(limiter) == 11
    assert not limiter.hit("auth", Caller.address("198.51.100.1"), monotonic=0, unix=0).is_allowed
    assert limiter.hit("read", Caller.address("198.51.100.1"), monotonic=0, unix=0).is_allowed
    assert limiter.hit("auth", Caller.address("192.0.2.0"), monotonic=0, unix=0).remaining == 8
    assert limiter.hit("auth", ANYBODY, monotonic=0, unix=0).remaining == 9


def test_a_subject_that_is_no_text_is_counted_too() -> None:
    assert a_limiter().hit("auth", Caller.key("\udcff"), monotonic=0, unix=0).remaining == 9


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "2001:db8::1", "2001:db8:0:1::1", "::ffff:192.0.2.1", "fe80::1%eth0", "a:b", "", "::\x00"]
)
def test_an_address_stands_for_what_it_stands_for_in_the_service(address: str) -> None:
    if "\x00" in address:  # which no peer has, but a header of a proxy may
        assert network_of(address) == address
    else:
        assert network_of(address) == limits.network_of(address)


@pytest.mark.parametrize(
    ("method", "policy"),
    [("GET", "read"), ("HEAD", "read"), ("OPTIONS", "read"), ("TRACE", "read"), ("POST", "write"), ("get", "write")],
)
def test_what_changes_nothing_is_a_read(method: str, policy: str) -> None:
    assert by_method(method, "/") == policy
