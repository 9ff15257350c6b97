"""Which troubles make a process not ready, and which are worth a warning."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pytest

from publisher import readiness
from publisher.health import Health, Status
from signer.client import SignerUnavailableError
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import Collection

    from publisher.health import Finding


@dataclass
class Consumer:
    assigned: int | None = 4
    why: str = ""

    def trouble(self) -> str:
        return self.why


@dataclass
class Loop:
    why: str = ""

    def trouble(self) -> str:
        return self.why


@dataclass
class Signer:
    is_expired: bool = False
    is_away: bool = False

    async def health(self) -> Self:
        if self.is_away:
            raise SignerUnavailableError("the signer at signer.sock did not answer")
        return self


async def of(consumer: Consumer, loop: Loop | None = None, otherwise: Status = Status.FAIL) -> dict[str, Finding]:
    health = Health()
    readiness.watch_consumer(health, "intake", consumer, loop or Loop(), otherwise=otherwise)
    return dict((await health.report()).findings)


async def statuses(consumer: Consumer, loop: Loop | None = None, otherwise: Status = Status.FAIL) -> tuple[str, str]:
    found = await of(consumer, loop, otherwise)
    return found["intake:assignment"].status, found["intake:progress"].status


@pytest.mark.parametrize(
    ("consumer", "loop", "expected"),
    [
        pytest.param(Consumer(), Loop(), ("pass", "pass"), id="at work"),
        pytest.param(Consumer(0), Loop(), ("pass", "pass"), id="more members than partitions"),
        pytest.param(Consumer(None), Loop(), ("pass", "pass"), id="joining, for a moment"),
        pytest.param(Consumer(None, "for 11 s"), Loop(), ("fail", "fail"), id="joining, for too long"),
        pytest.param(Consumer(4, "silent"), Loop(), ("pass", "fail"), id="no fetch is answered"),
        pytest.param(Consumer(), Loop("no leader"), ("pass", "fail"), id="dead letters cannot be written"),
    ],
)
async def test_intake(consumer: Consumer, loop: Loop, expected: tuple[str, str]) -> None:
    assert await statuses(consumer, loop) == expected


@pytest.mark.parametrize(
    ("name", "otherwise", "expected"), [("intake", Status.FAIL, "fail"), ("telemetry", Status.WARN, "warn")]
)
async def test_an_intake_that_halted_says_so_until_the_process_is_started_again(
    name: str, otherwise: Status, expected: str
) -> None:
    health, why = Health(), ""
    readiness.watch_halt(health, name, lambda: why, otherwise=otherwise)
    assert (await health.report()).findings[f"{name}:halted"].status == "pass"
    why = "8 of 8 records could not be handled"
    found = (await health.report()).findings[f"{name}:halted"]
    assert (found.status, found.output) == (expected, why)


async def test_of_what_has_halted_only_the_halt_is_told() -> None:
    health = Health()
    readiness.watch_consumer(health, "intake", Consumer(None, "silent"), Loop("no leader"), has_halted=lambda: "why")
    assert {found.status for found in (await health.report()).findings.values()} == {"pass"}


async def test_a_report_under_way_when_the_service_begins_to_stop_says_what_it_looked_at() -> None:
    health, begun, go_on = Health(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await go_on.wait()

    health.add("signer:responseTime", slow)
    asked = asyncio.create_task(health.report())
    await begun.wait()
    readiness.stopping(health)
    go_on.set()
    assert set((await asked).findings) == {"signer:responseTime"}
    assert set((await health.report()).findings) == {"signer:responseTime", "service:stopping"}


async def test_partitions_are_counted_and_reasons_given() -> None:
    assert (await of(Consumer(3)))["intake:assignment"].observed == (3, "partitions")
    found = await of(Consumer(None, "broker away"), Loop("no leader"))
    assert (found["intake:assignment"].observed, found["intake:assignment"].output) == (
        (0, "partitions"),
        "broker away",
    )
    assert found["intake:progress"].output == "broker away"
    assert (await of(Consumer(), Loop("no leader")))["intake:progress"].output == "no leader"


async def test_what_gets_old_without_harm_is_a_warning() -> None:
    assert await statuses(Consumer(None, "silent"), otherwise=Status.WARN) == ("warn", "warn")


@pytest.mark.parametrize(
    ("signer", "roles", "expected"),
    [
        (None, ["sign"], []),
        (Signer(), ["sign", "api"], ["pass"]),
        (Signer(is_away=True), ["sign", "api"], ["fail"]),
        (Signer(is_expired=True), ["sign", "api"], ["fail"]),
        (Signer(is_away=True), ["api"], ["warn"]),
        (Signer(is_expired=True), ["consume"], ["warn"]),
    ],
)
async def test_the_signer_matters_most_where_signing_is_a_role_of_the_process(
    signer: Signer | None, roles: Collection[str], expected: list[str]
) -> None:
    health = Health()
    readiness.watch_signer(health, signer, roles, FakeClock())
    found = (await health.report()).findings
    assert [each.status for each in found.values()] == expected
