"""The HTTP API beside the least that could be in its place: a bare aiohttp handler that asks PostgreSQL `SELECT 1`.

Both are processes of their own on the same database, with as many connections to it, asked by the same client over
the same number of kept-alive connections, in turns. What the ratio holds is everything the bare handler does not do:
credential, limit, validation, envelope, the query itself; and for `create` a transaction with its commit to disk.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import jwt
import orjson
import uvloop
from aiohttp import web

from benchmarks.load import load, process, request, serve
from benchmarks.stage import row, stage
from publisher import profiles
from publisher.endpoints import Directory
from publisher.ids import Ids
from runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.stage import Row, Stage

POOL = 8
#: Accounts the load is spread over, and webhooks each has before it begins.
ACCOUNTS, WEBHOOKS = 50, 5
JWT = {
    "jwt_secret": "a secret for benchmarks, 32 bytes long or more",
    "jwt_issuer": "benchmark",
    "jwt_audience": "benchmark",
}
ROUNDS = 3


async def measure(seconds: float) -> dict[str, Row]:
    """Measure requests a second of list, get and create, each against the bare handler in the same round."""
    with tempfile.TemporaryDirectory() as folder:
        profile = without_limits(Path(folder))
        async with stage() as opened:
            webhooks = await _subscribe(opened)
            async with (
                process("-m", "benchmarks.api", opened.settings.dsn()) as bare,
                process(
                    "-m", "publisher", "serve", "--role", "api",
                    HELIOGRAPH_DATABASE_URL=opened.settings.dsn(), HELIOGRAPH_DATABASE_POOL=str(2 * POOL),
                    HELIOGRAPH_API_LISTEN="127.0.0.1:0", HELIOGRAPH_ADMIN_LISTEN="127.0.0.1:0",
                    HELIOGRAPH_LOG_LEVEL="error", HELIOGRAPH_PROFILE=str(profile),
                    **{f"HELIOGRAPH_{name.upper()}": value for name, value in JWT.items()},
                ) as service,
            ):  # fmt: skip
                return await _compare(bare, service, webhooks, seconds)


async def _compare(bare: str, service: str, webhooks: dict[str, list[str]], seconds: float) -> dict[str, Row]:
    tokens = {account: _token(account) for account in webhooks}
    accounts = list(webhooks)

    def bare_request(_: int) -> bytes:
        return request("GET", "/", "")

    def list_request(number: int) -> bytes:
        return request("GET", "/v1/webhooks", tokens[accounts[number % ACCOUNTS]])

    def get_request(number: int) -> bytes:
        account = accounts[number % ACCOUNTS]
        return request("GET", f"/v1/webhooks/{webhooks[account][number % WEBHOOKS]}", tokens[account])

    def create_request(number: int) -> bytes:
        content = orjson.dumps({"url": f"https://example.com/hooks/{number}", "events": ["server.*"]})
        return request("POST", "/v1/webhooks", tokens[accounts[number % ACCOUNTS]], content)

    kinds: dict[str, tuple[Callable[[int], bytes], bytes]] = {
        "list": (list_request, b"200"), "get": (get_request, b"200"), "create": (create_request, b"201"),
    }  # fmt: skip
    rates: dict[str, list[float]] = {"bare": [], **{kind: [] for kind in kinds}}
    for _ in range(ROUNDS):
        rates["bare"].append(await load(bare, bare_request, seconds, b"200"))
        for kind, (asking, status) in kinds.items():
            rates[kind].append(await load(service, asking, seconds, status))
    best = {kind: sorted(found)[len(found) // 2] for kind, found in rates.items()}
    return {
        f"api_{kind}_ratio": row(best[kind] / best["bare"], "ratio", best["bare"], best[kind] * seconds)
        for kind in kinds
    } | {f"api_{kind}_per_second": row(best[kind], "1/s", best["bare"], best[kind] * seconds) for kind in kinds}


def _token(account: str) -> str:
    claims = {
        "sub": account, "sid": f"session-{account}", "scope": "full", "iss": JWT["jwt_issuer"],
        "aud": JWT["jwt_audience"], "exp": datetime.now(UTC) + timedelta(hours=1),
    }  # fmt: skip
    return jwt.encode(claims, JWT["jwt_secret"], algorithm="HS256")


def without_limits(folder: Path) -> Path:
    """Write NordBastion's profile with limits that nothing here comes near; return its path."""
    text = (profiles.FOLDER / "nordbastion.toml").read_text()
    changed = text.replace("read = 1000, write = 100, auth = 10", "read = 9999999, write = 9999999, auth = 9999999")
    changed = changed.replace("rate = 1.0, webhooks = 20", "rate = 1.0, webhooks = 10000")
    assert changed.count("9999999") + changed.count("10000") >= 4  # noqa: S101, PLR2004 - or nothing was replaced
    path = folder / "benchmark.toml"
    path.write_text(changed)
    return path


async def _subscribe(opened: Stage) -> dict[str, list[str]]:
    directory = Directory.of(opened.settings, Ids(SystemClock()))
    made: dict[str, list[str]] = {}
    async with opened.pool.acquire() as connection:
        for number in range(ACCOUNTS):
            account = f"acct_{number}"
            made[account] = [
                (await directory.register(connection, account=account, url="https://example.com/", events=["*"]))[0]
                for _ in range(WEBHOOKS)
            ]
    return made


async def _bare(dsn: str) -> None:
    """The baseline, as a process: one handler, one query."""
    pool = await asyncpg.create_pool(dsn, min_size=POOL, max_size=POOL)

    async def handle(_: web.Request) -> web.Response:
        async with pool.acquire() as connection:
            found = await connection.fetchval("SELECT 1")
        return web.Response(body=orjson.dumps({"found": found}), content_type="application/json")

    await serve(handle)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_bare(sys.argv[1]))
