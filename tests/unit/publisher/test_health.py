"""Health: every check is asked, none can hang the answer, and the document is what monitors read."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from prometheus_client import CollectorRegistry

from publisher import VERSION, health
from publisher.health import CheckError, ComponentType, Health, Observed, Report, Status
from publisher.health_metrics import HealthMetrics
from tests.support.time import FakeClock

NOW = "2026-11-01T00:00:00.000Z"


async def _well() -> None:
    pass


async def _ill() -> None:
    raise ConnectionRefusedError(111, "Connection\nrefused")


async def _hangs() -> None:
    await asyncio.Event().wait()


async def test_no_checks_is_a_pass() -> None:
    report = await Health().report()
    assert (report.status, report.http_status, report.reasons) == ("pass", 200, {})


async def test_every_check_is_named_and_one_failure_is_a_failure() -> None:
    checks = Health()
    checks.add("database:responseTime", _well)
    checks.add("intake:progress", _ill)
    report = await checks.report()
    assert (report.status, report.http_status) == ("fail", 503)
    assert report.reasons == {"database:responseTime": "", "intake:progress": "[Errno 111] Connection refused"}


async def test_what_is_worth_a_warning_does_not_make_a_process_unready() -> None:
    checks = Health()
    checks.add("signer:responseTime", _ill, otherwise=Status.WARN)
    report = await checks.report()
    assert (report.status, report.http_status) == ("warn", 200)
    checks.add("database:responseTime", _ill)
    report = await checks.report()
    assert (report.status, report.http_status) == ("fail", 503)


async def test_checks_run_at_once_and_one_that_hangs_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.05)
    both_are_asked = asyncio.Barrier(2)

    async def needs_the_other() -> None:
        await both_are_asked.wait()

    checks = Health()
    checks.add("a:x", needs_the_other)
    checks.add("b:x", needs_the_other)
    checks.add("stuck:x", _hangs)
    async with asyncio.timeout(5):
        report = await checks.report()
    assert report.reasons == {"a:x": "", "b:x": "", "stuck:x": "no answer within 0.05 s"}


async def test_one_that_cannot_even_be_given_up_is_left_behind_and_asked_again_when_it_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A database that is frozen: the question's end waits for the server, too."""
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.05)
    thawed = asyncio.Event()
    asked: list[int] = []
    given_up: list[int] = []

    async def frozen() -> None:
        asked.append(1)
        try:
            await thawed.wait()
        except asyncio.CancelledError:
            given_up.append(1)
            await thawed.wait()
            raise ConnectionResetError from None

    checks = Health()
    checks.add("stuck:x", frozen)
    async with asyncio.timeout(5):
        for _ in range(3):
            assert (await checks.report()).reasons == {"stuck:x": "no answer within 0.05 s"}
        assert (len(asked), len(given_up)) == (1, 1)
        thawed.set()
        while (await checks.report()).status is Status.FAIL:
            pass
    assert len(asked) == 2


async def test_a_bare_exception_still_has_a_reason() -> None:
    async def bare() -> None:
        raise RuntimeError

    checks = Health()
    checks.add("x:y", bare)
    assert (await checks.report()).reasons == {"x:y": "RuntimeError"}


async def test_the_document_says_what_was_looked_at_when_and_what_was_found() -> None:
    async def measured() -> Observed:
        return Observed(3.5, "ms")

    async def behind() -> Observed:
        raise CheckError("run heliograph migrate", Observed("0007"))

    checks = Health(FakeClock())
    checks.add("database:responseTime", measured, component_type=ComponentType.DATASTORE)
    checks.add("database:migration", behind, component_type=ComponentType.DATASTORE)
    checks.add("intake:progress", _well)
    assert orjson.loads(health.full_body(await checks.report())) == {
        "status": "fail",
        "version": VERSION.split(".")[0],
        "releaseId": VERSION,
        "serviceId": "heliograph",
        "checks": {
            "database:responseTime": [
                {
                    "componentType": "datastore",
                    "status": "pass",
                    "observedValue": 3.5,
                    "observedUnit": "ms",
                    "time": NOW,
                }
            ],
            "database:migration": [
                {
                    "componentType": "datastore",
                    "status": "fail",
                    "observedValue": "0007",
                    "time": NOW,
                    "output": "run heliograph migrate",
                }
            ],
            "intake:progress": [{"componentType": "component", "status": "pass", "time": NOW}],
        },
    }


def test_everybody_else_gets_the_status_alone() -> None:
    assert [orjson.loads(health.body(status)) for status in Status] == [
        {"status": "pass"},
        {"status": "warn"},
        {"status": "fail"},
    ]


@pytest.mark.parametrize(("lag", "status"), [(0.0, "pass"), (9.999, "pass"), (10.0, "fail"), (60.0, "fail")])
async def test_liveness_is_how_late_the_event_loop_is_and_nothing_else(lag: float, status: str) -> None:
    checks = Health()
    checks.add("database:responseTime", _ill)
    assert checks.liveness() == Report()
    checks.watch_loop(lambda: Observed(lag, "s"), limit=10.0)
    alive = checks.liveness()
    assert (alive.status, list(alive.findings)) == (status, ["eventLoop:lag"])
    assert alive.findings["eventLoop:lag"].observed == (lag, "s")
    assert (await checks.report()).findings["eventLoop:lag"].status == status


async def test_once_started_is_started_for_good() -> None:
    checks = Health()
    assert checks.startup().reasons == {"service:startup": "the service is starting"}
    assert checks.startup().http_status == 503
    checks.started()
    checks.add("database:responseTime", _ill)
    assert (await checks.report()).status == "fail"
    assert checks.startup().http_status == 200


async def test_those_who_ask_at_once_get_one_report() -> None:
    """Anybody may ask, and a check may cost a question to the database."""
    health, asked, answered = Health(), [], asyncio.Event()

    async def check() -> None:
        asked.append(1)
        await answered.wait()

    health.add("slow:x", check)
    asking = [asyncio.create_task(health.report()) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()  # who leaves takes nobody's answer along
    await asyncio.sleep(0)
    answered.set()
    reports = await asyncio.gather(*asking[1:])
    assert {report.status for report in reports} == {"pass"}
    assert len(asked) == 1
    await health.report()
    assert len(asked) == 2


async def test_what_checks_found_is_exported_and_every_status_is_there_from_the_start() -> None:
    checks, registry = Health(), CollectorRegistry()
    metrics = HealthMetrics(registry, checks)
    checks.add("database:responseTime", _well)
    checks.add("intake:progress", _ill)
    checks.watch_loop(lambda: Observed(0.0, "s"), limit=10.0)

    def exported() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for family in registry.collect():
            for sample in family.samples:
                found.setdefault(sample.labels["check"], []).extend([sample.labels["status"]] * int(sample.value))
        assert len(list(family.samples)) == len(Status) * len(found)
        return found

    assert exported() == {"database:responseTime": [], "intake:progress": [], "eventLoop:lag": []}
    await metrics.chore.work()
    assert exported() == {"database:responseTime": ["pass"], "intake:progress": ["fail"], "eventLoop:lag": ["pass"]}
