"""What signing costs, what it costs to serve a canary and the status, and how many changes are one signature.

Signatures are asked for at the signing process's socket, each over other bytes, and compared with python-gnupg in a
loop on one thread, as the simplest program would have it. What is served is served beside a bare aiohttp handler that
returns the same bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import gnupg
import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry

from benchmarks.api import without_limits
from benchmarks.load import load, process, request, serve
from benchmarks.stage import row, stage
from feeds import documents, marks
from feeds.documents import Feed
from feeds.models import Component, ComponentStatus, Day, Group, Impact, StatusDocument
from feeds.publish import Publisher, Source
from runtime.clock import SystemClock
from signer.canary_draft import Answers, draft, read_statements
from signer.canonical import canonical
from signer.child import child
from signer.client import SignerClient
from signer.keymaking import KeyMaker
from signer.metrics import SignerMetrics
from signer.statement import Document, Freshness, Headline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.stage import Row, Stage
    from runtime.database import Connection

ROUNDS = 3
SIGNATURES = 300
#: Callers at the signer's socket at once.
CALLERS = 8
CANARY, STATUS = "/v1/transparency/canary", "/v1/transparency/status"
CANARIES = {"canary_get_ratio": CANARY, "canary_json_ratio": f"{CANARY}.json"}
BASTIONS = ("STO", "HEL", "OSL", "REK")


async def signing() -> dict[str, Row]:
    """Return signatures a second through the signing process, and their ratio to a loop of python-gnupg."""
    with tempfile.TemporaryDirectory(prefix="hgb-") as folder:
        home = Path(tempfile.mkdtemp(dir=folder))
        fingerprint = await _feed_key(home)
        socket = Path(folder, "signer.sock")
        async with child(socket=socket, home=home, fingerprint=fingerprint, log_level="error"):
            client = SignerClient(socket, metrics=SignerMetrics(CollectorRegistry()), clock=SystemClock())
            rates = [(await _through(client, number), _loop(home, fingerprint)) for number in range(ROUNDS)]
    through, bare = (sorted(each)[ROUNDS // 2] for each in zip(*rates, strict=True))
    return {
        "signatures_per_second": row(through, "1/s", bare, SIGNATURES),
        "signatures_ratio": row(through / bare, "ratio", bare, SIGNATURES),
    }


async def canary(seconds: float) -> dict[str, Row]:
    """Return requests a second for the canary's view and for its signed bytes, ÷ a bare handler of the same bytes."""
    with tempfile.TemporaryDirectory(prefix="hgb-") as folder:
        async with stage() as opened:
            pinned = await _publish(opened, Path(folder))
            async with process(
                "-m", "publisher", "serve", "--role", "api",
                HELIOGRAPH_DATABASE_URL=opened.settings.dsn(), HELIOGRAPH_API_LISTEN="127.0.0.1:0",
                HELIOGRAPH_ADMIN_LISTEN="127.0.0.1:0", HELIOGRAPH_LOG_LEVEL="error",
                HELIOGRAPH_PROFILE=str(without_limits(Path(folder))),
                HELIOGRAPH_CANARY_KEYS=",".join(pinned), HELIOGRAPH_PUBLIC_KEYS=folder,
            ) as service:  # fmt: skip
                return await _compare(service, Path(folder), seconds)


async def status(seconds: float) -> dict[str, Row]:
    """Return requests a second for a status document of 90 days, ÷ a bare handler of the same bytes."""
    with tempfile.TemporaryDirectory(prefix="hgb-") as folder:
        async with stage() as opened:
            async with opened.pool.acquire() as connection:
                await documents.save(
                    connection, Feed.STATUS, 1, canonical(_status("Provider").model_dump(mode="json")),
                    signatures=[documents.Signature("A" * 40, b"-----BEGIN PGP SIGNATURE-----\n")],
                    published_at=datetime.now(UTC),
                )  # fmt: skip
            async with process(
                "-m", "publisher", "serve", "--role", "api",
                HELIOGRAPH_DATABASE_URL=opened.settings.dsn(), HELIOGRAPH_API_LISTEN="127.0.0.1:0",
                HELIOGRAPH_ADMIN_LISTEN="127.0.0.1:0", HELIOGRAPH_LOG_LEVEL="error",
                HELIOGRAPH_PROFILE=str(without_limits(Path(folder))),
            ) as service:  # fmt: skip
                return await _compare(service, Path(folder), seconds, {"feed_get_ratio": STATUS})


async def coalescing(seconds: float) -> dict[str, Row]:
    """Return how many changes are one signature, in a burst as fast as the database takes them."""
    with tempfile.TemporaryDirectory(prefix="hgb-") as folder:
        home = Path(tempfile.mkdtemp(dir=folder))
        fingerprint = await _feed_key(home)
        socket, clock = Path(folder, "signer.sock"), SystemClock()
        async with (
            stage() as opened,
            child(socket=socket, home=home, fingerprint=fingerprint, log_level="error"),
        ):
            client = SignerClient(socket, metrics=SignerMetrics(CollectorRegistry()), clock=clock)
            publisher = Publisher(opened.pool, client, clock, [Source(Feed.STATUS, _build)])
            stop, loop = asyncio.Event(), asyncio.get_running_loop()
            running = asyncio.create_task(publisher.run(stop))
            changes, end = 0, loop.time() + seconds
            while loop.time() < end:
                async with opened.pool.acquire() as connection, connection.transaction():
                    await marks.mark(connection, Feed.STATUS)
                publisher.wake()
                changes += 1
            stop.set()
            await running
            signatures = int(await opened.pool.fetchval("SELECT count(*) FROM documents WHERE feed = 'status'"))
    return {"feed_coalescing": row(changes / signatures, "ratio", signatures, changes)}


async def _build(connection: Connection, _: datetime) -> StatusDocument:
    """Return a document that is another one after every change."""
    return _status(f"Provider {(await marks.read(connection))[Feed.STATUS].changes}")


def _status(provider: str) -> StatusDocument:
    """Return four bastions with three services each, and four that are shared, with 90 days of each."""
    now = datetime(2026, 11, 1, tzinfo=UTC)
    up = ComponentStatus.OPERATIONAL
    days = [
        Day(date=str((now - timedelta(days=ago)).date()), uptime=100.0 if ago % 30 else 99.65, worst=up)
        for ago in reversed(range(90))
    ]
    names = [(f"{code}/{service}", code) for code in BASTIONS for service in ("compute", "network", "storage")]
    return StatusDocument(
        provider=provider,
        as_of=now,
        indicator=Impact.NONE,
        description="All systems operational",
        groups=[Group(id=code, name=code, status=up) for code in BASTIONS],
        components=[
            Component(id=name, name=name, group=group, status=up, is_reporting=True, uptime=99.98, days=days)
            for name, group in [*names, *((name, None) for name in ("panel", "api", "billing", "dns"))]
        ],
        incidents=[],
        maintenances=[],
    )


async def _compare(service: str, folder: Path, seconds: float, paths: Mapping[str, str] = CANARIES) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for name, path in paths.items():
        same = folder / "same"
        async with aiohttp.ClientSession() as session, session.get(service + path) as response:
            response.raise_for_status()
            same.write_bytes(await response.read())
        rates = []
        async with process("-m", "benchmarks.feeds", str(same)) as bare:
            for _ in range(ROUNDS):
                one = await load(bare, partial(_get, "/"), seconds, b"200")
                rates.append((await load(service, partial(_get, path), seconds, b"200"), one))
        served, plain = (sorted(each)[ROUNDS // 2] for each in zip(*rates, strict=True))
        found[name] = row(served / plain, "ratio", plain, served * seconds)
    return found


def _get(path: str, _: int) -> bytes:
    return request("GET", path, "")


async def _publish(opened: Stage, folder: Path) -> list[str]:
    """Store a canary that two keys have signed; leave their public keys in `folder`; return their fingerprints."""
    now = datetime.now(UTC) - timedelta(seconds=5)
    with contextlib.ExitStack() as stack:
        homes = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hgk-"))) for _ in range(2)]
        keys = [await _key(home, f"signer{number}@provider.example") for number, home in enumerate(homes)]
        answers = Answers(
            "Provider", "All machines", ("IS",), read_statements(), keys, 2,
            Freshness(headlines=(Headline(source="Paper", title="News"),)),
        )  # fmt: skip
        document = Document.of(draft(None, answers, now))
        signatures = []
        for home, key in zip(homes, keys, strict=True):
            async with KeyMaker(home) as keyring:
                exported = await keyring.export_for_service(key, now)
                signatures.append(documents.Signature(key, await keyring.sign(document.content, exported.subkey)))
                (folder / f"{key}.asc").write_bytes(exported.public)
    async with opened.pool.acquire() as connection:
        await documents.save(
            connection, Feed.CANARY, 1, document.content, signatures=signatures, published_at=datetime.now(UTC)
        )
    return keys


async def _key(home: Path, email: str) -> str:
    async with KeyMaker(home) as keyring:
        return await keyring.make("Benchmark", email, "1y", has_passphrase=False)


async def _feed_key(home: Path) -> str:
    """Make a key of which a service has the subkey alone; return its fingerprint."""
    fingerprint = await _key(home, "feeds@provider.example")
    async with KeyMaker(home) as keyring:
        await keyring.drop_primary(fingerprint)
    return fingerprint


async def _through(client: SignerClient, turn: int) -> float:
    loop = asyncio.get_running_loop()
    contents = iter([b'{"turn":%d,"number":%d}' % (turn, number) for number in range(SIGNATURES)])

    async def ask() -> None:
        for content in contents:
            await client.sign_document(content)

    begun = loop.time()
    await asyncio.gather(*(ask() for _ in range(CALLERS)))
    return SIGNATURES / (loop.time() - begun)


def _loop(home: Path, fingerprint: str) -> float:
    clock = SystemClock()
    gpg = gnupg.GPG(gnupghome=str(home))
    begun = clock.monotonic()
    for number in range(SIGNATURES // 3):
        gpg.sign(b"%d" % number, detach=True, keyid=fingerprint)
    return SIGNATURES // 3 / (clock.monotonic() - begun)


async def _bare(content: bytes) -> None:
    """The baseline, as a process: one handler, the same bytes."""

    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type="application/json")

    await serve(handle)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_bare(Path(sys.argv[1]).read_bytes()))
