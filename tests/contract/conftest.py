"""The two queues every promise of a queue is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.queues import Bench, FakeBench, postgres_bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["fake", "postgres"])
def dsn_if_real(request: pytest.FixtureRequest) -> str | None:
    """DSN of a database where the promise is held against PostgreSQL."""
    dsn: str | None = request.getfixturevalue("dsn") if request.param == "postgres" else None
    return dsn


@pytest.fixture
async def bench(dsn_if_real: str | None) -> AsyncIterator[Bench]:
    """A queue with one endpoint and nothing in it."""
    if dsn_if_real is None:
        yield FakeBench()
    else:
        async with postgres_bench(dsn_if_real) as real:
            yield real
