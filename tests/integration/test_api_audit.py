"""Who opted in is told who did what to which webhook; of everybody else nothing is written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from publisher.api.audit import Action
from tests.support.desk import REQUEST_ID, a_desk
from tests.support.histories import Histories, histories
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.desk import Desk


@pytest.fixture
async def past(dsn: str) -> AsyncIterator[Histories]:
    async with histories(dsn) as made:
        yield made


async def everything(desk: Desk, past: Histories, url: str) -> str:
    """Do everything that is told; return the webhook's id."""
    made = await desk.webhook(url, description="mine")
    path = f"/webhooks/{made['id']}"
    delivery_id = await past.add(made["id"])
    for method, below, body in (
        ("PATCH", "", {"url": url + "/new", "retries": None}),
        ("POST", "/test", None),
        ("POST", "/secret", {}),
        ("POST", f"/deliveries/{delivery_id}/redeliver", None),
        ("POST", "/recover", {"since": "2026-01-01T00:00:00Z"}),
        ("DELETE", "", None),
    ):
        assert (await desk(method, path + below, body)).status < 300
    return str(made["id"])


async def test_who_opted_in_is_told_everything_that_was_done(dsn: str, past: Histories) -> None:
    async with a_desk(dsn, is_audited=True) as desk, Receiver().listening() as receiver:
        webhook_id = await everything(desk, past, receiver.url)
        announced = await desk.announced()
    assert {(kind, account) for kind, account, _ in announced} == {("webhook.audit", "acct_1")}
    told = [data for _, _, data in announced]
    assert [(each["action"], each["changed"]) for each in told] == [
        ("created", ["description", "events", "url"]),
        ("updated", ["retries", "url"]),
        ("tested", []),
        ("secret_rotated", []),
        ("redelivered", []),
        ("recovery_started", []),
        ("deleted", []),
    ]
    assert {each["action"] for each in told} == set(Action)
    for each in told:
        assert each == {
            "action": each["action"],
            "endpoint_id": webhook_id,
            "changed": each["changed"],
            "actor": {"kind": "api_key", "id": "key-of-acct_1"},
            "request_id": REQUEST_ID,
            "at": each["at"],
        }
        assert datetime.fromisoformat(each["at"]).tzinfo == UTC
    assert "127.0.0.1" not in str(told)
    assert "mine" not in str(told)


async def test_of_everybody_else_nothing_is_written(dsn: str, past: Histories) -> None:
    async with a_desk(dsn) as desk, Receiver().listening() as receiver:
        await everything(desk, past, receiver.url)
        assert await desk.announced() == []


@pytest.mark.parametrize(
    ("method", "below", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {}),
        ("PATCH", "", {"status": "disabled"}),
        ("PATCH", "", {"window": 30}),
        ("POST", "/secret", {"overlap": -1}),
        ("POST", "/deliveries/dlv_absent/redeliver", None),
        ("POST", "/recover", {"since": "2999-01-01T00:00:00Z"}),
    ],
)
async def test_what_changes_nothing_is_not_told(method: str, below: str, body: Any, dsn: str) -> None:
    async with a_desk(dsn, is_audited=True) as desk:
        made = await desk.webhook()
        await desk(method, f"/webhooks/{made['id']}{below}", body)
        assert [data["action"] for _, _, data in await desk.announced()] == ["created"]


async def test_a_change_that_is_not_committed_is_not_told(dsn: str) -> None:
    async with a_desk(dsn, is_audited=True) as desk:
        await desk.pool.execute("ALTER TABLE announcements ADD CHECK (key <> 'acct_1')")
        with pytest.raises(asyncpg.CheckViolationError):
            await desk.webhook()
        assert await desk.pool.fetchval("SELECT count(*) FROM endpoints") == 0
