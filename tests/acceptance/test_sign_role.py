"""The role `sign` as its users run it: alone on its socket, or the child of a service that never leaves it behind."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from signer.pgp import Keyring
from tests.support import gpg
from tests.support.commands import descendants, running
from tests.support.process import environ_of, run, started, until
from tests.support.signers import Asking, socket_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.settings import Settings

CONTENT = b'{"a":1}'


@pytest.fixture(scope="module")
def home() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        made.make()
        yield made


def signing(home: gpg.Home, socket: Path | None = None) -> dict[str, str]:
    place = {"HELIOGRAPH_SIGNER_SOCKET": str(socket)} if socket else {}
    return {"HELIOGRAPH_GNUPGHOME": str(home.path), "HELIOGRAPH_FEED_KEY": home.fingerprints()[0], **place}


async def test_alone_it_needs_no_database_and_signs_for_its_socket(home: gpg.Home) -> None:
    with socket_path() as socket:
        async with started("serve", "--role", "sign", environ=signing(home, socket)) as service:
            assert await service.ready() == {"ready": True, "signer": str(socket)}
            assert socket.stat().st_mode & 0o777 == 0o600
            signature = await Asking(socket).sign_document(CONTENT)
            async with Keyring() as keyring:
                await keyring.import_certificates(home.public(home.fingerprints()[0]))
                assert (await keyring.verify(CONTENT, signature)).primary == home.fingerprints()[0]
            assert (await service.terminate()).code == 0
        assert not socket.exists()


@pytest.mark.parametrize(
    ("missing", "code", "words"),
    [
        ("HELIOGRAPH_FEED_KEY", 2, "HELIOGRAPH_FEED_KEY is not set"),
        ("HELIOGRAPH_GNUPGHOME", 2, "HELIOGRAPH_GNUPGHOME is not set"),
        ("HELIOGRAPH_SIGNER_SOCKET", 2, "HELIOGRAPH_SIGNER_SOCKET is not set"),
    ],
)
async def test_what_it_needs_is_named(home: gpg.Home, missing: str, code: int, words: str) -> None:
    with socket_path() as socket:
        environ = signing(home, socket)
        del environ[missing]
        finished = await run("serve", "--role", "sign", environ=environ)
    assert finished.code == code, finished
    assert finished.stderr[-1].startswith(f"heliograph: {words}"), finished


async def test_a_key_that_is_not_there_is_named(home: gpg.Home) -> None:
    with socket_path() as socket:
        finished = await run(
            "serve", "--role", "sign", environ=signing(home, socket) | {"HELIOGRAPH_FEED_KEY": "A" * 40}
        )
    assert finished.code == 1, finished
    settings = "HELIOGRAPH_GNUPGHOME, HELIOGRAPH_FEED_KEY"
    assert finished.stderr[-1] == f"heliograph: {settings}: the keyring has no certificate with the key {'A' * 40}"


async def test_beside_a_service_it_is_a_child_that_ends_with_it(settings: Settings, home: gpg.Home) -> None:
    environ = environ_of(settings) | signing(home)
    for end in (signal.SIGTERM, signal.SIGKILL):
        async with started("serve", environ=environ) as service:
            await service.ready()
            children = descendants(service.child.pid)
            assert any(is_a_signer(pid) for pid in children)
            service.send(end)
            finished = await service.ended()
            assert finished.code == (0 if end is signal.SIGTERM else -9), finished
            await gone(children)


def is_a_signer(pid: int) -> bool:
    return b"signer.agent" in Path(f"/proc/{pid}/cmdline").read_bytes()


async def gone(pids: set[int]) -> None:
    async def have_ended() -> bool:
        return not running(pids)

    await until(have_ended, "all children have ended")
