"""Identifiers: in order of their making, unguessable, and free of what Standard Webhooks forbids."""

from __future__ import annotations

import re
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from publisher import ids
from publisher.ids import Ids
from tests.support.time import FakeClock


def test_an_id_is_a_prefix_the_millisecond_and_80_random_bits() -> None:
    clock = FakeClock()
    made = Ids(clock, lambda count: b"\xab" * count).new(ids.MESSAGE)
    assert made == f"msg_{int(clock.unix()) * 1000:012x}{'ab' * 10}"


@given(st.sampled_from([ids.MESSAGE, ids.DELIVERY, ids.ENDPOINT]), st.integers())
def test_an_id_has_no_dot_and_no_capital(prefix: str, seed: int) -> None:
    made = Ids(FakeClock(), Random(seed).randbytes).new(prefix)
    assert re.fullmatch(rf"{prefix}_[0-9a-f]{{32}}", made)


def test_the_prefixes_are_the_contracts() -> None:
    assert (ids.MESSAGE, ids.DELIVERY) == ("msg", "dlv")


@given(st.lists(st.floats(0.001, 1e7), min_size=1, max_size=20), st.integers())
def test_ids_sort_by_the_time_of_their_making(pauses: list[float], seed: int) -> None:
    clock = FakeClock()
    maker = Ids(clock, Random(seed).randbytes)
    made = []
    for pause in pauses:
        clock.advance(pause + 0.001)  # a whole millisecond at least, whatever a float leaves of it
        made.append(maker.new(ids.MESSAGE))
    assert all(earlier < later for earlier, later in pairwise(made))


def test_ids_of_one_millisecond_differ_across_draws_and_makers() -> None:
    clock = FakeClock()
    makers = [Ids(clock), Ids(clock)]
    made = [maker.new(ids.DELIVERY) for maker in makers for _ in range(3000)]
    assert len(set(made)) == len(made)


def test_the_millisecond_of_its_making_is_read_from_an_id() -> None:
    clock = FakeClock()
    clock.advance(0.123)
    assert ids.milliseconds(Ids(clock).new(ids.DELIVERY)) == int(clock.unix() * 1000)
    assert ids.milliseconds(ids.least(ids.MESSAGE, ids.LATEST)) == ids.LATEST


def test_a_stem_is_the_beginning_of_an_id_of_that_moment() -> None:
    maker = Ids(FakeClock())
    assert maker.new(ids.DELIVERY).startswith(maker.stem(ids.DELIVERY))
    assert len(maker.new(ids.DELIVERY)) - len(maker.stem(ids.DELIVERY)) == 20
