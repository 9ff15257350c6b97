"""The signing process and its clients: what it signs, what it refuses to start with, what it lets come in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket as sockets
from typing import TYPE_CHECKING

import pytest

from signer import agent, protocol
from signer.agent import Limits
from signer.client import SignerRefusedError, SignerUnavailableError
from signer.faults import AgentError, PgpError
from signer.keymaking import KeyMaker
from signer.metrics import Result
from signer.pgp import Keyring
from signer.protocol import Kind, Refusal
from tests.support import gpg
from tests.support.process import until
from tests.support.signers import Asking, serving, socket_path
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

CONTENT = b'{"a":1}'


@pytest.fixture
def home() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        yield made


@pytest.fixture
def place() -> Iterator[Path]:
    with socket_path() as path:
        yield path


@pytest.fixture
def fingerprint(home: gpg.Home) -> str:
    return home.make()


@pytest.fixture
async def client(home: gpg.Home, place: Path, fingerprint: str) -> AsyncIterator[Asking]:
    async with serving(place, home.path, fingerprint):
        yield Asking(place)


def is_there(path: Path) -> bool:
    return path.exists()


async def is_cut_off() -> bool:
    return not any("Agent.accept" in repr(task) for task in asyncio.all_tasks())


# --- what it signs ------------------------------------------------------------------------------------------------


async def test_documents_and_responses_are_signed_and_verify_with_the_key_it_gives_out(
    client: Asking, fingerprint: str
) -> None:
    key = await client.public_key()
    assert (key.primary, key.signer) == (fingerprint, fingerprint)
    document, response = await client.sign_document(CONTENT), await client.detach(CONTENT)
    clear = await client.clearsign(CONTENT)
    async with Keyring() as stranger:
        await stranger.import_certificates(key.armored)
        for signature in (document, response):
            assert (await stranger.verify(CONTENT, signature)).primary == fingerprint
            assert gpg.sequoia_detached(CONTENT, signature, key.armored)[0] == fingerprint
        assert await stranger.read_clearsigned(clear) == (CONTENT + b"\n", await stranger.verify(CONTENT, document))
        assert gpg.sequoia_clear(clear, key.armored)[1] == fingerprint


async def test_a_service_signs_with_its_subkey_and_others_see_the_primary_key(home: gpg.Home, place: Path) -> None:
    primary = home.make(expires=gpg.FOREVER, at="20250101T000000")
    older = home.add_subkey(primary, expires=gpg.FOREVER, at="20250601T000000")
    newer = home.add_subkey(primary)
    with gpg.home() as service:
        service.take(home.secret_subkey(older))
        async with serving(place, service.path, primary):
            assert (await Asking(place).public_key()).signer == older
        service.take(home.secret_subkey(newer))
        async with serving(place, service.path, primary):
            key = await Asking(place).public_key()
            assert (key.primary, key.signer) == (primary, newer)
            signature = await Asking(place).sign_document(CONTENT)
            assert gpg.sequoia_detached(CONTENT, signature, key.armored) == (primary, newer)
        async with serving(place, service.path, older):
            assert (await Asking(place).public_key()).signer == older


async def test_health_says_which_key_and_until_when(home: gpg.Home, place: Path, fingerprint: str) -> None:
    clock = FakeClock()
    async with serving(place, home.path, fingerprint, clock=clock):
        health = await Asking(place).health()
        assert (health.signer, health.is_expired, health.under_way) == (fingerprint, False, 0)
        assert health.expires_at is not None
        clock.advance((health.expires_at - clock.now()).total_seconds())
        assert (await Asking(place).health()).is_expired


async def test_a_megabyte_is_signed_and_more_is_refused(client: Asking) -> None:
    assert await client.sign_document(bytes(protocol.MAX_CONTENT))
    lines = b"-\n" * (protocol.MAX_CONTENT // 2)
    assert (await client.clearsign(lines)).count(b"\n- -") == len(lines) // 2
    with pytest.raises(SignerRefusedError) as caught:
        await client.sign_document(bytes(protocol.MAX_CONTENT + 1))
    assert caught.value.reason is Refusal.TOO_LARGE
    assert client.counted(Kind.FEED_DOCUMENT, Result.REFUSED) == 1


async def test_what_clear_signing_would_change_is_refused(client: Asking) -> None:
    with pytest.raises(SignerRefusedError) as caught:
        await client.clearsign(b'"' + b"x" * 20_000 + b'"')
    assert caught.value.reason is Refusal.NOT_CLEAR_SIGNABLE
    assert client.counted(Kind.RESPONSE, Result.REFUSED) == 1


# --- once for each content ------------------------------------------------------------------------------------------


async def test_the_same_content_is_signed_once_for_callers_at_once_and_later(client: Asking) -> None:
    signatures = await asyncio.gather(*(client.sign_document(CONTENT) for _ in range(20)))
    assert len({*signatures, await client.sign_document(CONTENT)}) == 1
    assert client.counted(Kind.FEED_DOCUMENT, Result.SIGNED) == 1
    assert (
        client.registry.get_sample_value("heliograph_signature_duration_seconds_count", {"kind": Kind.FEED_DOCUMENT})
        == 1
    )
    await client.detach(CONTENT)
    await client.clearsign(CONTENT)
    assert client.counted(Kind.RESPONSE, Result.SIGNED) == 2


async def test_a_caller_that_is_cancelled_does_not_take_the_answer_from_the_others(client: Asking) -> None:
    calls = [asyncio.create_task(client.sign_document(CONTENT)) for _ in range(3)]
    await asyncio.sleep(0)
    calls[0].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert isinstance(outcomes[1], bytes)
    assert outcomes[1] == outcomes[2]
    assert client.counted(Kind.FEED_DOCUMENT, Result.SIGNED) == 1


async def test_every_label_set_is_there_from_the_start(place: Path) -> None:
    text = Asking(place).registry
    found = {
        (sample.labels["kind"], sample.labels["result"])
        for metric in text.collect()
        for sample in metric.samples
        if sample.name == "heliograph_signatures_total"
    }
    assert found == {(kind.value, result.value) for kind in Kind for result in Result}


# --- what it does not start with ------------------------------------------------------------------------------------


async def refusal_to_start(place: Path, home: Path, fingerprint: str, **options: object) -> str:
    with pytest.raises((PgpError, AgentError)) as caught:
        async with serving(place, home, fingerprint, **options):
            pytest.fail("it started")
    return str(caught.value)


async def test_it_refuses_to_start_beside_the_secret_of_a_canary_key(
    home: gpg.Home, place: Path, fingerprint: str
) -> None:
    canary = home.make("Canary <canary@provider.example>")
    subkey = home.add_subkey(canary)
    for named in (canary, subkey):
        said = await refusal_to_start(place, home.path, fingerprint, canary=[named])
        assert "secret part of the canary's key" in said
        assert any(each in said for each in (canary, subkey))
    with gpg.home() as elsewhere:
        elsewhere.take(home.secret(fingerprint))
        elsewhere.take(home.public(canary))
        async with serving(place, elsewhere.path, fingerprint, canary=[canary]):
            assert await Asking(place).sign_document(CONTENT)
        elsewhere.take(home.secret_subkey(subkey))
        assert subkey in await refusal_to_start(place, elsewhere.path, fingerprint, canary=[canary])


@pytest.mark.parametrize("usage", ["cert", "sign"])
async def test_it_refuses_to_start_beside_the_primary_key_of_the_subkey_that_signs(
    home: gpg.Home, place: Path, usage: str
) -> None:
    primary = home.make(usage=usage)
    subkey = home.add_subkey(primary)
    for named in (primary, subkey):
        said = await refusal_to_start(place, home.path, named)
        assert f"secret part of the feed key's primary key {primary} (private-keys-v1.d/" in said
        assert f"its subkey {subkey} signs" in said
    async with KeyMaker(home.path) as maker:
        await maker.drop_primary(primary)
    async with serving(place, home.path, primary):
        key = await Asking(place).public_key()
        assert (key.primary, key.signer) == (primary, subkey)
        signature = await Asking(place).sign_document(CONTENT)
        assert gpg.sequoia_detached(CONTENT, signature, key.armored) == (primary, subkey)


async def test_it_refuses_to_start_beside_any_other_secret_even_without_its_certificate(
    home: gpg.Home, place: Path, fingerprint: str
) -> None:
    other = home.make("Other <other@provider.example>")
    assert "not the feed key's" in await refusal_to_start(place, home.path, fingerprint)
    public = home.public(fingerprint)
    for name in ("pubring.kbx", "trustdb.gpg"):
        (home.path / name).unlink()
    home.take(public)  # of the other, there is the secret key alone
    assert other not in home.fingerprints()
    assert "not the feed key's" in await refusal_to_start(place, home.path, fingerprint)


async def test_it_refuses_to_sign_feeds_with_a_canary_key(home: gpg.Home, place: Path, fingerprint: str) -> None:
    with gpg.home() as public:
        public.take(home.public(fingerprint))
        assert "a key of the canary's" in await refusal_to_start(place, public.path, fingerprint, canary=[fingerprint])


async def test_it_refuses_to_start_without_a_key_that_can_sign(home: gpg.Home, place: Path) -> None:
    expired = home.make(expires="1d", at="20250101T000000")
    assert "expired" in await refusal_to_start(place, home.path, expired)
    assert "no certificate" in await refusal_to_start(place, home.path, "A" * 40)
    with gpg.home() as public:
        public.take(home.public(expired))
        assert "no secret part" in await refusal_to_start(place, public.path, expired)
    home.revoke(expired)
    assert "revoked" in await refusal_to_start(place, home.path, expired)


async def test_it_refuses_a_folder_that_others_can_enter(home: gpg.Home, place: Path, fingerprint: str) -> None:
    for mode in (0o701, 0o750):
        place.parent.chmod(mode)
        assert "open to others" in await refusal_to_start(place, home.path, fingerprint)
    place.parent.chmod(0o700)


async def test_it_refuses_a_path_no_socket_can_have(home: gpg.Home, place: Path, fingerprint: str) -> None:
    deep = place.parent / ("x" * 120) / "signer.sock"
    assert f"cannot listen at {deep}" in await refusal_to_start(deep, home.path, fingerprint)


async def test_it_refuses_to_take_the_socket_of_one_that_runs(client: Asking, place: Path) -> None:
    with gpg.home() as another:
        assert "another signer listens" in await refusal_to_start(place, another.path, another.make())
    assert await client.sign_document(CONTENT)


async def test_it_replaces_the_socket_a_killed_one_left(home: gpg.Home, place: Path, fingerprint: str) -> None:
    with contextlib.closing(sockets.socket(sockets.AF_UNIX)) as left:
        left.bind(str(place))
    async with serving(place, home.path, fingerprint):
        assert await Asking(place).sign_document(CONTENT)
    assert not is_there(place)


# --- who gets in, and for how long -----------------------------------------------------------------------------------


async def test_the_socket_and_its_folder_are_for_the_owner_alone(home: gpg.Home, place: Path, fingerprint: str) -> None:
    made = place.parent / "made" / "signer.sock"
    async with serving(made, home.path, fingerprint):
        assert made.stat().st_mode & 0o777 == 0o600
        assert made.parent.stat().st_mode & 0o777 == 0o700


async def test_a_socket_that_is_passed_in_is_served_and_left(home: gpg.Home, place: Path, fingerprint: str) -> None:
    passed = sockets.socket(sockets.AF_UNIX)
    passed.bind(str(place))
    passed.listen()
    stop = asyncio.Event()
    running = asyncio.create_task(agent.serve(socket=passed, home=home.path, fingerprint=fingerprint, stop=stop))
    assert await Asking(place).sign_document(CONTENT)
    stop.set()
    await running
    assert is_there(place)


def test_systemds_socket_is_taken_only_when_it_is_for_this_process() -> None:
    pid = os.getpid()
    assert agent.inherited({}, pid) is None
    assert agent.inherited({"LISTEN_PID": str(pid + 1), "LISTEN_FDS": "1"}, pid) is None
    assert agent.inherited({"LISTEN_PID": str(pid), "LISTEN_FDS": "2"}, pid) is None


async def test_a_client_that_stalls_is_cut_off_and_the_others_are_served(
    home: gpg.Home, place: Path, fingerprint: str
) -> None:
    limits = Limits(transfer=0.3)
    async with serving(place, home.path, fingerprint, limits=limits):
        for begun in (b"", b"\x00\x00", b"\x00\x00\x00\x10half"):
            reader, writer = await asyncio.open_unix_connection(str(place))
            writer.write(begun)
            assert await Asking(place).sign_document(CONTENT)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()


async def test_a_client_that_does_not_read_is_cut_off(home: gpg.Home, place: Path, fingerprint: str) -> None:
    async with serving(place, home.path, fingerprint, limits=Limits(transfer=0.3)):
        reader, writer = await asyncio.open_unix_connection(str(place), limit=1024)
        writer.write(protocol.encode(protocol.SignResponse(b"-\n" * 500_000, is_clear=True)))
        assert await Asking(place).sign_document(CONTENT)
        await writer.drain()
        await until(is_cut_off, "the connection is cut off")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1_900_000)
        writer.close()


async def test_more_connections_than_may_be_are_told_so(home: gpg.Home, place: Path, fingerprint: str) -> None:
    async with serving(place, home.path, fingerprint, limits=Limits(connections=2)):
        held = [await asyncio.open_unix_connection(str(place)) for _ in range(2)]
        with pytest.raises(SignerUnavailableError, match="too much to do"):
            await Asking(place).sign_document(CONTENT)
        for _, writer in held:
            writer.close()
        await asyncio.gather(*(reader.read() for reader, _ in held))
        assert await Asking(place).sign_document(CONTENT)


async def test_what_is_no_request_is_answered_and_the_connection_closed(client: Asking, place: Path) -> None:
    for sent in (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x00\x00\x00\x01\xc0"):
        reader, writer = await asyncio.open_unix_connection(str(place))
        writer.write(sent)
        reply = await protocol.read_reply(reader)
        assert isinstance(reply, protocol.Refused)
        assert await reader.read() == b""
        writer.close()
    assert await client.sign_document(CONTENT)


async def test_nothing_of_what_is_signed_is_logged(client: Asking, caplog: pytest.LogCaptureFixture) -> None:
    secret = b"a customer's secret"
    with caplog.at_level(logging.DEBUG):
        await client.sign_document(secret)
        with contextlib.suppress(SignerRefusedError):
            await client.clearsign(secret + b" ")
    assert secret.decode() not in caplog.text
