"""`heliograph verify URL`: what is fetched and what is not, and servers that mean harm."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from signer.statement import signature_name
from tests.support import misbehaving
from tests.support.canaries import altered
from tests.support.misbehaving import MIB, receiving, sized
from tests.support.verifying import AT, Provider, Said, provider, verify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from signer.statement import Document
    from tests.support.misbehaving import Behaviour

BASE = "/v1/transparency"


@pytest.fixture(scope="module")
def signers() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture
def keys(signers: Provider, tmp_path: Path) -> tuple[str, ...]:
    return signers.canary_keys(tmp_path)


class Shelf:
    """Files under paths, and how often each was asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()

    def canary(self, signers: Provider, document: Document, path: str) -> None:
        """Put a canary there, with its signatures as the service has them."""
        self.files[path] = document.content
        made = signers.signed(document.content, after=document.statement.issued_at)
        for key, blob in made.items():
            self.files[f"{BASE}/{signature_name(path.removeprefix(f'{BASE}/'), key)}"] = blob
        self.files[f"{path}.asc"] = made[min(made)]

    async def serve(self, request: web.Request) -> web.Response:
        self.asked[request.path] += 1
        assert request.headers["Accept-Encoding"] == "identity"
        found = self.files.get(request.path)
        return web.Response(status=404, text="nothing") if found is None else web.Response(body=found)


@contextlib.asynccontextmanager
async def serving(files: Mapping[str, bytes] | None = None) -> AsyncIterator[Shelf]:
    shelf = Shelf()
    shelf.files |= files or {}
    app = web.Application()
    app.router.add_get("/{path:.*}", shelf.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        shelf.url = f"http://127.0.0.1:{runner.addresses[0][1]}{BASE}"
        yield shelf
    finally:
        await runner.cleanup()


async def verify_at(*arguments: str) -> Said:
    """Run the command on a thread, for it brings an event loop of its own."""
    return await asyncio.to_thread(verify, *arguments)


# --- what is fetched ----------------------------------------------------------------------------------------------


async def test_the_bytes_at_a_url_and_their_signatures(signers: Provider, keys: tuple[str, ...]) -> None:
    newest = signers.chain()[2]
    async with serving() as shelf:
        shelf.canary(signers, newest, f"{BASE}/canary.json")
        said = await verify_at(f"{shelf.url}/canary.json", *keys, *AT)
        assert said.code == 0, said
        assert said.verdict == "verified: 2 of 2 signatures, state current at 2024-11-02T09:30:00Z"
        assert sum(": counts" in line for line in said.stdout) == 2
        assert not any("has signed already" in line for line in said.stdout)
        assert set(shelf.asked.values()) == {1}
        assert set(shelf.asked) == set(shelf.files)


async def test_of_a_page_nothing_else_is_fetched(signers: Provider, keys: tuple[str, ...]) -> None:
    page = signers.view(signers.chain()[2])
    async with serving({f"{BASE}/canary": page}) as shelf:
        assert (await verify_at(f"{shelf.url}/canary?x=1#y", *keys, *AT)).code == 0
        assert shelf.asked == {f"{BASE}/canary": 1}


async def test_with_a_signature_from_elsewhere_only_the_url_is_fetched(
    signers: Provider, keys: tuple[str, ...], tmp_path: Path
) -> None:
    newest = signers.chain()[2]
    options = []
    for key, blob in signers.signed(newest.content).items():
        path = tmp_path / f"{key}.asc"
        path.write_bytes(blob)
        options += ["--signature", str(path)]
    async with serving({f"{BASE}/canary.json": newest.content}) as shelf:
        assert (await verify_at(f"{shelf.url}/canary.json", *options, *keys, *AT)).code == 0
        assert shelf.asked == {f"{BASE}/canary.json": 1}


async def test_nothing_is_fetched_for_a_file(signers: Provider, keys: tuple[str, ...], tmp_path: Path) -> None:
    said = await verify_at(str(signers.publish(tmp_path, signers.chain()[2])), *keys, *AT)
    assert said.code == 0


async def test_a_feed_and_its_signature(signers: Provider, tmp_path: Path) -> None:
    content = b'{"asn":213232,"type":"peering/1"}'
    key = ("--key", str(signers.keys(tmp_path, signers.feed)))
    async with serving({f"{BASE}/peering.json": content}) as shelf:
        unsigned = await verify_at(f"{shelf.url}/peering.json", *key)
        assert (unsigned.code, unsigned.faults) == (1, ["no_signature"])
        shelf.files[f"{BASE}/peering.json.asc"] = signers.signed(content, signers.feed)[signers.feed]
        said = await verify_at(f"{shelf.url}/peering.json", *key)
        assert (said.code, said.stdout[0]) == (0, f"{shelf.url}/peering.json: document peering/1")


@pytest.mark.parametrize("start", ["canary", "canary.json", "canary/history/3", "canary/history/3.json"])
async def test_a_chain_is_walked_down_the_history(signers: Provider, keys: tuple[str, ...], start: str) -> None:
    chain = signers.chain()
    async with serving() as shelf:
        for number, document in enumerate(chain, 1):
            shelf.canary(signers, document, f"{BASE}/canary/history/{number}.json")
        shelf.canary(signers, chain[2], f"{BASE}/canary.json")
        page = signers.view(chain[2])
        shelf.files |= {f"{BASE}/canary": page, f"{BASE}/canary/history/3": page}
        said = await verify_at(f"{shelf.url}/{start}", *keys, *AT, "--chain")
        assert said.code == 0, said
        assert "chain: 3 canaries, from canary 1 on" in said.stdout
        assert shelf.asked[f"{BASE}/canary/history/1.json"] == 1


async def test_a_history_with_a_gap_or_another_past_is_not_verified(signers: Provider, keys: tuple[str, ...]) -> None:
    chain = signers.chain()
    async with serving() as shelf:
        shelf.canary(signers, chain[2], f"{BASE}/canary.json")
        shelf.canary(signers, chain[0], f"{BASE}/canary/history/1.json")
        gap = await verify_at(f"{shelf.url}/canary.json", *keys, *AT, "--chain")
        assert (gap.code, gap.faults) == (1, ["missing_predecessor"])
        assert any(line.endswith(f"{shelf.url}/canary/history/2.json: there is nothing (404)") for line in gap.stdout)
        shelf.canary(signers, altered(chain[1], scope="Oslo"), f"{BASE}/canary/history/2.json")
        forked = await verify_at(f"{shelf.url}/canary.json", *keys, *AT, "--chain")
        assert forked.code == 1
        assert "broken_chain" in forked.faults
        assert shelf.asked[f"{BASE}/canary/history/1.json"] == 0


async def test_where_a_history_is_must_be_known(signers: Provider, keys: tuple[str, ...]) -> None:
    async with serving() as shelf:
        shelf.canary(signers, signers.chain()[2], f"{BASE}/mirror.json")
        said = await verify_at(f"{shelf.url}/mirror.json", *keys, *AT, "--chain")
        assert (said.code, said.stdout) == (2, [])
        assert "does not end in /canary, /canary.json or /canary/history/NUMBER.json" in said.stderr[0]


async def test_a_number_beyond_all_months_is_not_walked(signers: Provider, keys: tuple[str, ...]) -> None:
    endless = altered(signers.chain()[2], sequence=10**9)
    async with serving() as shelf:
        shelf.canary(signers, endless, f"{BASE}/canary.json")
        said = await verify_at(f"{shelf.url}/canary.json", *keys, *AT, "--chain")
        assert (said.code, said.stdout) == (1, [])
        assert said.stderr == ["heliograph: --chain: a history of 1000000000 canaries is not walked, of 1000 at most"]


# --- servers that mean harm ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (misbehaving.answers(sized(b"", "location: http://127.0.0.1:9/", status="302 Found")), "leads elsewhere (302)"),
        (misbehaving.answers(sized(b"", status="500 Oh")), "was answered 500"),
        (misbehaving.answers(sized(b"", status="404 No")), "there is nothing (404)"),
        (misbehaving.answers(sized(bytes(4 * MIB + 1))), f"is longer than {4 * MIB} bytes"),
        (misbehaving.floods(b"HTTP/1.1 200 OK\r\n\r\n", bytes(MIB)), f"is longer than {4 * MIB} bytes"),
        (misbehaving.answers(misbehaving.bomb(64 * MIB)), "came compressed"),
        (misbehaving.closes, "cannot be fetched"),
        (misbehaving.resets, "cannot be fetched"),
        (misbehaving.resets_within_the_body, "cannot be fetched"),
        (misbehaving.answers_and_closes(b"\x00\x01\r\n\r\n"), "cannot be fetched"),
        (misbehaving.answers(b"HTTP/1.1 200 OK\r\nx: " + b"y" * MIB), "cannot be fetched"),
        (misbehaving.hangs, "no whole answer within 0.3 s"),
        (misbehaving.drips(b"HTTP/1.1 200 OK\r\n\r\n{"), "no whole answer within 0.3 s"),
    ],
)
async def test_a_hostile_answer_is_one_line(keys: tuple[str, ...], behaviour: Behaviour, words: str) -> None:
    async with receiving(behaviour) as server:
        timeout = "0.3" if "0.3" in words else "10"
        said = await verify_at(str(server.url), *keys, "--timeout", timeout)
        assert (said.code, said.stdout, len(said.stderr)) == (1, [], 1), said
        assert said.stderr[0].startswith(f"heliograph: {server.url}: ")
        assert words in said.stderr[0]
        assert 1 <= len(server.requests) <= 2  # aiohttp asks a second time where a connection has ended


async def test_a_signature_as_long_as_a_book_is_not_read(signers: Provider, tmp_path: Path) -> None:
    async with serving({f"{BASE}/a.json": b"{}", f"{BASE}/a.json.asc": bytes(65_537)}) as shelf:
        said = await verify_at(f"{shelf.url}/a.json", "--key", str(signers.keys(tmp_path, signers.feed)))
        assert (said.code, said.stderr) == (1, [f"heliograph: {shelf.url}/a.json.asc: is longer than 65536 bytes"])


async def test_a_predecessor_as_long_as_a_book_is_not_read(signers: Provider, keys: tuple[str, ...]) -> None:
    async with serving({f"{BASE}/canary/history/2.json": bytes(65_537)}) as shelf:
        shelf.canary(signers, signers.chain()[2], f"{BASE}/canary.json")
        said = await verify_at(f"{shelf.url}/canary.json", *keys, *AT, "--chain")
        assert said.stderr == [f"heliograph: {shelf.url}/canary/history/2.json: is longer than 65536 bytes"]
        assert said.code == 1


async def test_nobody_at_home_is_one_line(keys: tuple[str, ...]) -> None:
    url = f"http://127.0.0.1:{misbehaving.port_of_nobody()}/"
    said = await verify_at(url, *keys)
    assert (said.code, said.stdout, len(said.stderr)) == (1, [], 1)
    assert said.stderr[0].startswith(f"heliograph: {url}: cannot be fetched (")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.com/canary", "http://example.com/canary: only https is fetched, and http from this machine"),
        ("http://127.0.0.1.example.com/", "http://127.0.0.1.example.com/: only https is fetched"),
        ("ftp://127.0.0.1/canary", "ftp://127.0.0.1/canary: only https is fetched"),
        ("file:///etc/passwd", "file:///etc/passwd: only https is fetched"),
        ("https:///canary", "https:///canary: only https is fetched"),
        ("https://[::1/canary", "this is no URL"),
        ("https://host:99999/canary", "this is no URL"),
        ("https://user:hunter2@example.com/", "a URL with a user or a password in it is not fetched"),
    ],
)
async def test_only_addresses_one_can_trust_are_fetched(keys: tuple[str, ...], url: str, words: str) -> None:
    said = await verify_at(url, *keys)
    assert (said.code, said.stdout, len(said.stderr)) == (2, [], 1), said
    assert said.stderr[0].startswith(f"heliograph: {words}")
    assert "hunter2" not in said.stderr[0]
