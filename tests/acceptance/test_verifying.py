"""docs/verifying.md, run word by word against a service, by somebody who has its public keys and nothing else of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from feeds import documents
from feeds.documents import Feed, Signature
from publisher.delivery.request import signature
from publisher.secrets import shown, shown_public
from tests.support import api, canaries
from tests.support.gpg import FOREVER, Home, home
from tests.support.jobs import BODY, KEY
from tests.support.process import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from runtime.settings import Settings

DOCUMENT = (ROOT / "docs" / "verifying.md").read_text()
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SEED = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
FEED_CONTENT = b'{"asn":213232,"type":"peering/1"}'


@pytest.fixture(scope="module")
def signers() -> Iterator[tuple[Home, list[str]]]:
    """The canary's keys, on a machine that serves nothing; they were made long ago."""
    with home() as made:
        keys = [made.make(name, expires=FOREVER, at="20240101T000000") for name in ("Alice", "Bob")]
        yield made, keys


@pytest.fixture(scope="module")
def service_home() -> Iterator[tuple[Home, str]]:
    """The service's own keyring."""
    with home() as made:
        yield made, made.make("Feeds <feeds@provider.example>")


async def publish(dsn: str, signers: tuple[Home, list[str]]) -> None:
    """Store three canaries, the newest an hour old."""
    made, keys = signers
    now = datetime.now(UTC).replace(microsecond=0)
    moments = [now - timedelta(days=80), now - timedelta(days=40), now - timedelta(hours=1)]
    connection = await asyncpg.connect(dsn)
    previous = None
    for number, moment in enumerate(moments, 1):
        who = {"signers": tuple(sorted(keys)), "threshold": 2}
        previous = canaries.successor(previous, moment, **who) if previous else canaries.first(moment, **who)
        at = f"{moment + timedelta(minutes=5):%Y%m%dT%H%M%S}"
        signatures = [Signature(key, made.sign(previous.content, key=key, at=at)) for key in keys]
        await documents.save(
            connection, Feed.CANARY, number, previous.content, signatures=signatures, published_at=moment
        )
    await connection.close()


@contextlib.asynccontextmanager
async def a_feed(service: tuple[Home, str]) -> AsyncIterator[str]:
    """Serve a small feed as feeds are served; yield its route."""
    made, key = service
    files = {"/feed.json": FEED_CONTENT, "/feed.json.asc": made.sign(FEED_CONTENT, key=key)}

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=files[request.path])

    app = web.Application()
    app.router.add_get("/{name}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/feed"
    finally:
        await runner.cleanup()


def received(folder: Path) -> None:
    """Leave a webhook as its receiver has saved it, just now."""
    timestamp = int(datetime.now(UTC).timestamp())
    made = signature([KEY], "msg_1", timestamp, BODY, [SEED])
    lines = [f"webhook-id: msg_1\nwebhook-timestamp: {timestamp}\nwebhook-signature: {made}\n"]
    (folder / "webhook-headers.txt").write_text("".join(lines))
    (folder / "body.json").write_bytes(BODY)
    (folder / "secret.txt").write_text(f"{shown(KEY)}\n")
    (folder / "public-key.txt").write_text(f"{shown_public(SEED.public_key().public_bytes_raw())}\n")


async def ran(program: str, text: str, folder: Path, environ: dict[str, str]) -> tuple[int | None, str]:
    """Run a script in `folder`; return its exit code and what it said."""
    flags = ["-euc"] if program == "bash" else ["-c"]
    child = await asyncio.create_subprocess_exec(
        program, *flags, text,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LANG": "C.UTF-8", **environ},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(90):
        output, _ = await child.communicate()
    return child.returncode, output.decode()


async def test_the_document_by_hand(
    settings: Settings, signers: tuple[Home, list[str]], service_home: tuple[Home, str], tmp_path: Path
) -> None:
    made, keys = signers
    public = tmp_path / "public"
    public.mkdir()
    for key in keys:
        (public / f"{key}.asc").write_bytes(made.public(key))
    (public / "feed.asc").write_bytes(service_home[0].public(service_home[1]))
    assert settings.database_url is not None
    await publish(settings.database_url.get_secret_value(), signers)
    reader = tmp_path / "reader"
    reader.mkdir()
    received(reader)
    blocks = FENCE.findall(DOCUMENT)
    script = "".join(text for language, text in blocks if language == "bash")
    [example] = [text for language, text in blocks if language == "python"]
    changes = {
        "public_keys": public, "canary_keys": tuple(keys), "canary_threshold": 2,
        "feed_key": service_home[1], "gnupghome": service_home[0].path,
    }  # fmt: skip
    async with api.running(settings, "api", "sign", **changes) as running, a_feed(service_home) as route:
        environ = {
            "SITE": running.nobody.url, "ROUTE": route, "FEED": service_home[1], "CANARY": " ".join(keys),
            "THRESHOLD": "2",
        }  # fmt: skip
        code, shown_ = await ran("bash", script, reader, environ)
        assert code == 0, shown_
        code, said = await ran(sys.executable, example, reader, {})
        assert (code, said) == (0, "server.power.on is genuine\n")
    assert sorted((reader / "signers.txt").read_text().split()) == sorted(keys)
    assert "enough have signed" in shown_
    assert shown_.count("the feed key has signed") == 2
    assert all(f"canary-{number}.json: OK" in shown_ for number in (1, 2))
    assert "answer.json: OK" in shown_
    assert "Signature Verified Successfully" in shown_
    verdicts = [line for line in shown_.splitlines() if line.startswith(("verified", "NOT VERIFIED"))]
    assert [line.partition(", state")[0] for line in verdicts] == [
        "verified: 2 of 2 signatures",
        "verified: 1 of 1 signatures",
        "verified: 1 of 1 signatures",
        "verified: 1 of 1 signatures",
        "verified: v1 and v1a of 2 signatures",
    ]


async def test_signed_by_refuses_what_is_not_signed_by_that_key(
    signers: tuple[Home, list[str]], service_home: tuple[Home, str], tmp_path: Path
) -> None:
    """The document's own function, on which all else there rests."""
    made, (alice, bob) = signers
    [function] = [text for _, text in FENCE.findall(DOCUMENT) if text.startswith("signed_by() {")]
    (tmp_path / "file").write_bytes(b"content")
    alices, bobs = made.sign(b"content", key=alice), made.sign(b"content", key=bob)
    (tmp_path / "good.asc").write_bytes(alices)
    (tmp_path / "both.asc").write_bytes(alices + bobs)
    (tmp_path / "packets.asc").write_bytes(await binary(alices) + await binary(bobs))
    (tmp_path / "other.asc").write_bytes(made.sign(b"other", key=alice))
    (tmp_path / "unknown.asc").write_bytes(service_home[0].sign(b"content", key=service_home[1]))
    environ = {"GNUPGHOME": str(made.path)}
    asked = {
        f"signed_by {alice} good.asc file": True,
        f"signed_by {bob} good.asc file": False,
        f"signed_by {alice[1:]} good.asc file": False,
        f"signed_by {alice} both.asc file": False,
        f"signed_by {bob} packets.asc file": False,
        f"signed_by {alice} other.asc file": False,
        f"signed_by {service_home[1]} unknown.asc file": False,
    }
    tried = {question: (await ran("bash", function + question, tmp_path, environ))[0] == 0 for question in asked}
    assert tried == asked


async def binary(armored: bytes) -> bytes:
    child = await asyncio.create_subprocess_exec(
        "gpg", "--dearmor", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate(armored)
    return output
