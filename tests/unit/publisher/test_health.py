"""Health: every check is asked, none can hang the answer, and the document is what monitors read."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from publisher import health
from publisher.health import Health, Report


async def _well() -> None:
    pass


async def _ill() -> None:
    raise ConnectionRefusedError(111, "Connection\nrefused")


async def _hangs() -> None:
    await asyncio.Event().wait()


async def test_no_checks_is_a_pass() -> None:
    report = await Health().report()
    assert (report.status, report.http_status, dict(report.reasons)) == ("pass", 200, {})


async def test_every_check_is_named_and_one_failure_is_a_failure() -> None:
    checks = Health()
    checks.add("database", _well)
    checks.add("intake", _ill)
    report = await checks.report()
    assert (report.status, report.http_status) == ("fail", 503)
    assert dict(report.reasons) == {"database": "", "intake": "[Errno 111] Connection refused"}


async def test_checks_run_at_once_and_one_that_hangs_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.05)
    both_are_asked = asyncio.Barrier(2)

    async def needs_the_other() -> None:
        await both_are_asked.wait()

    checks = Health()
    checks.add("a", needs_the_other)
    checks.add("b", needs_the_other)
    checks.add("stuck", _hangs)
    async with asyncio.timeout(5):
        report = await checks.report()
    assert dict(report.reasons) == {"a": "", "b": "", "stuck": "no answer within 0.05 s"}


async def test_a_bare_exception_still_has_a_reason() -> None:
    async def bare() -> None:
        raise RuntimeError

    checks = Health()
    checks.add("x", bare)
    assert (await checks.report()).reasons == {"x": "RuntimeError"}


@pytest.mark.parametrize(
    ("reasons", "status", "code"), [({}, "pass", 200), ({"a": ""}, "pass", 200), ({"a": "x"}, "fail", 503)]
)
def test_the_status_follows_the_reasons(reasons: dict[str, str], status: str, code: int) -> None:
    assert (Report(reasons).status, Report(reasons).http_status) == (status, code)


def test_the_document_has_checks_only_for_those_who_may_see_them() -> None:
    assert orjson.loads(health.body("fail")) == {"status": "fail"}
    assert orjson.loads(health.body("fail", {"database": "gone", "intake": ""})) == {
        "status": "fail",
        "checks": {"database": [{"status": "fail", "output": "gone"}], "intake": [{"status": "pass"}]},
    }


async def test_those_who_ask_at_once_get_one_report() -> None:
    """Anybody may ask, and a check may cost a question to the database."""
    health, asked, answered = Health(), [], asyncio.Event()

    async def check() -> None:
        asked.append(1)
        await answered.wait()

    health.add("slow", check)
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
