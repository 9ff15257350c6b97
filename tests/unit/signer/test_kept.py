"""Signatures a client remembers: bounded in number, size and age, the ones asked for last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from signer import client
from signer.client import KEPT_FOR, Kept, _Key
from signer.protocol import Kind
from tests.support.time import FakeClock

if TYPE_CHECKING:
    import pytest


def key(number: int, kind: Kind = Kind.RESPONSE, *, is_clear: bool = False) -> _Key:
    return _Key(kind, is_clear, number.to_bytes(32))


def test_a_signature_is_kept_for_its_kind_and_form() -> None:
    kept = Kept(FakeClock())
    kept.put(key(1), b"one")
    assert kept.get(key(1)) == b"one"
    assert kept.get(key(2)) is None
    assert kept.get(key(1, Kind.FEED_DOCUMENT)) is None
    assert kept.get(key(1, is_clear=True)) is None


def test_it_is_forgotten_after_an_hour() -> None:
    clock = FakeClock()
    kept = Kept(clock)
    kept.put(key(1), b"one")
    clock.advance(KEPT_FOR - 1)
    assert kept.get(key(1)) == b"one"
    clock.advance(1)
    assert kept.get(key(1)) is None


def test_the_one_not_asked_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_KEPT", 2)
    kept = Kept(FakeClock())
    kept.put(key(1), b"one")
    kept.put(key(2), b"two")
    kept.get(key(1))
    kept.put(key(3), b"three")
    assert [kept.get(key(number)) for number in (1, 2, 3)] == [b"one", None, b"three"]


def test_one_that_is_larger_than_everything_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_BYTES", 10)
    kept = Kept(FakeClock())
    kept.put(key(1), b"one")
    kept.put(key(2), bytes(11))
    assert (kept.get(key(1)), kept.get(key(2))) == (b"one", None)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5_000_000))))
def test_no_order_of_things_keeps_more_bytes_than_may_be(puts: list[tuple[int, int]]) -> None:
    kept = Kept(FakeClock())
    for number, size in puts:
        kept.put(key(number), bytes(size))
        sizes = [len(content) for _, content in kept._entries.values()]
        assert kept._bytes == sum(sizes) <= client.MOST_BYTES
