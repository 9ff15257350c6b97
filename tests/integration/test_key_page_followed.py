"""What the page of the keys tells its readers to do, done: with a canary that enough have signed, and with others."""

from __future__ import annotations

import asyncio
import contextlib
import html
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from feeds.keys import Duties, PublishedKeys
from signer.statement import signature_name
from tests.support import gpg
from tests.support.key_site import SITE, serving
from tests.support.published_canaries import Council, council
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

BLOCK = re.compile(r'<pre class="shell"[^>]* aria-label="([^"]*)"><code>(.*?)</code></pre>', re.DOTALL)
HERE = Path(sys.executable).parent


@pytest.fixture(scope="module")
def signers() -> Iterator[Council]:
    with council(3) as made:
        yield made


async def blocks(signers: Council) -> dict[str, str]:
    """Return what the page has for a shell, by its label, as somebody copies it."""
    keys = PublishedKeys(signers.folder, duties=Duties(None, signers.keys, 2))
    await keys.load()
    async with serving(keys, clock=FakeClock(datetime.now(UTC))) as reader:
        page = (await reader("GET", "/pgp/")).content.decode()
    return {label: html.unescape(text) for label, text in BLOCK.findall(page)}


@contextlib.asynccontextmanager
async def a_site(files: Mapping[str, bytes]) -> AsyncIterator[str]:
    async def serve(request: web.Request) -> web.Response:
        content = files.get(request.match_info["name"])
        return web.Response(status=404) if content is None else web.Response(body=content)

    app = web.Application()
    app.router.add_get("/{path:.*}/{name}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def followed(signers: Council, by: Mapping[str, bytes], content: bytes, folder: Path) -> tuple[list[str], str]:
    """Do as the page says, where signatures are served under these signers' names; return who signed, and all words."""
    files = {signature_name("canary.json", key): signature for key, signature in by.items()}
    files |= {"canary.json": content, "keys.asc": b"".join(signers.home.public(key) for key in signers.keys)}
    told = await blocks(signers)
    labels = [
        "Get the keys over HTTPS", "Show the fingerprints", "Verify the warrant canary",
        "Verify the warrant canary with heliograph",
    ]  # fmt: skip
    with gpg.home() as reader:
        async with a_site(files) as url:
            script = "\n".join(told[label] for label in labels).replace(SITE.public_url, url)
            script = script.replace("FINGERPRINT FINGERPRINT FINGERPRINT", " ".join(signers.keys))
            child = await asyncio.create_subprocess_exec(
                "bash", "-uc", script,
                env={"PATH": f"{HERE}:{os.environ['PATH']}", "LANG": "C.UTF-8", "GNUPGHOME": str(reader.path)},
                cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            output, _ = await child.communicate()
    return (folder / "signers.txt").read_text().split(), output.decode()


async def test_a_canary_that_enough_have_signed_is_believed(signers: Council, tmp_path: Path) -> None:
    document = signers.first(datetime.now(UTC) - timedelta(hours=1))
    made = {each.fingerprint: each.armored for each in signers.signatures(document, signers.keys[:2])}
    who, said = await followed(signers, made, document.content, tmp_path)
    assert who == list(signers.keys[:2])
    assert "enough have signed" in said
    assert said.splitlines()[-1].startswith("verified: 2 of 2 signatures")
    for key in signers.keys:
        assert f"{key[:4]} {key[4:8]}" in said


@pytest.mark.parametrize("kind", ["one", "one under two names", "another text", "two in one file"])
async def test_any_other_is_not(signers: Council, tmp_path: Path, kind: str) -> None:
    document = signers.first(datetime.now(UTC) - timedelta(hours=1))
    alice, bob, _ = signers.keys
    alices, bobs = (each.armored for each in signers.signatures(document, (alice, bob)))
    made = {
        "one": {alice: alices},
        "one under two names": {alice: alices, bob: alices},
        "another text": {alice: alices, bob: bobs},
        "two in one file": {alice: alices, bob: signers.home.gpg("--dearmor", content=bobs) * 2},
    }[kind]
    content = (
        document.content.replace(b"no gag order", b"some gag order") if kind == "another text" else document.content
    )
    who, said = await followed(signers, made, content, tmp_path)
    assert who == ([] if kind == "another text" else [alice])
    assert "enough have signed" not in said
    assert not said.splitlines()[-1].startswith("verified")
