"""security.txt: its fields, how long it holds, and who signs it."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feeds.security_text import PAUSE, Contacts, SecurityText, text
from tests.support.time import FakeClock

if TYPE_CHECKING:
    import pytest

URL = "https://p.example"
FEW = Contacts(["mailto:security@p.example"])
MANY = Contacts(
    ["mailto:security@p.example", "https://p.example/contact"],
    policy="https://p.example/policy",
    acknowledgments="https://p.example/thanks",
    encryption="https://p.example/security.asc",
    languages=["en", "sv"],
)
DAY = 86_400


class Signer:
    """Signs, or is away; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = False

    async def clearsign(self, content: bytes) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise RuntimeError("no signer")
        return b"signed %d:" % self.asked + content


def test_every_field_has_its_line() -> None:
    assert text(MANY, URL, datetime(2026, 11, 1, 23, 59, 59, tzinfo=UTC)).decode().splitlines() == [
        "Contact: mailto:security@p.example",
        "Contact: https://p.example/contact",
        "Expires: 2026-12-01T00:00:00Z",
        "Encryption: https://p.example/security.asc",
        "Acknowledgments: https://p.example/thanks",
        "Preferred-Languages: en, sv",
        "Canonical: https://p.example/.well-known/security.txt",
        "Policy: https://p.example/policy",
    ]


def test_what_is_not_said_has_no_line() -> None:
    assert text(FEW, URL, datetime(2028, 2, 1, tzinfo=UTC)).decode().splitlines() == [
        "Contact: mailto:security@p.example",
        "Expires: 2028-03-02T00:00:00Z",
        "Canonical: https://p.example/.well-known/security.txt",
    ]


async def test_without_a_signer_it_is_as_it_is() -> None:
    clock = FakeClock()
    assert await SecurityText(FEW, URL, clock=clock).content() == text(FEW, URL, clock.now())


async def test_it_is_signed_once_a_day_whoever_comes() -> None:
    clock, signer = FakeClock(), Signer()
    served = SecurityText(FEW, URL, clock=clock, signer=signer)
    first = await asyncio.gather(*(served.content() for _ in range(9)))
    assert first == [b"signed 1:" + text(FEW, URL, clock.now())] * 9
    clock.advance(DAY - 1)
    assert await served.content() == first[0]
    clock.advance(1)
    assert await served.content() == b"signed 2:" + text(FEW, URL, clock.now())


async def test_unsigned_it_is_served_still_and_the_signer_asked_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    clock, signer = FakeClock(), Signer()
    signer.is_away = True
    served = SecurityText(FEW, URL, clock=clock, signer=signer)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await served.content() == text(FEW, URL, clock.now())
    assert caplog.messages == ["security.txt is served unsigned (no signer)"]
    signer.is_away = False
    clock.advance(PAUSE - 1)
    assert not (await served.content()).startswith(b"signed")
    clock.advance(1)
    assert (await served.content()).startswith(b"signed 2:")
