"""gpg hangs, is missing, is too old, loses its agent, has no disk: the call fails in time, and the next one works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from signer.pgp import BusyError, GpgUnavailableError, Keyring, PgpError
from signer.process import agents
from tests.support import gpg

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b'{"a":1}'
SHORT = 0.5


@pytest.fixture
def home() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        yield made


def script(folder: Path, text: str) -> str:
    """Write something that stands in for gpg; return its path."""
    path = folder / "fake-gpg"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


async def test_a_gpg_that_hangs_is_killed_with_its_children_and_the_next_call_works(
    home: gpg.Home, tmp_path: Path
) -> None:
    fingerprint = home.make()
    before = children()
    hang = tmp_path / "hang"
    # The child keeps the pipes open, as a real gpg's helper would.
    binary = script(tmp_path, f'if [ -e {hang} ]; then rm {hang}; sleep 1000 & sleep 1000; fi\nexec gpg "$@"')
    async with Keyring(home.path, gpg=binary, deadline=SHORT) as keyring:
        for call in (
            lambda: keyring.sign(CONTENT * 100_000, fingerprint),
            lambda: keyring.verify(CONTENT, b"\x80"),
            keyring.certificates,
            lambda: keyring.import_certificates(home.public(fingerprint)),
        ):
            hang.touch()
            with pytest.raises(GpgUnavailableError, match=r"did not end within 0\.5 s and was killed"):
                await call()
            assert children() == before
            assert await keyring.sign(CONTENT, fingerprint)


async def test_a_gpg_that_hangs_from_the_start_opens_no_keyring(tmp_path: Path) -> None:
    with pytest.raises(GpgUnavailableError, match="did not end"):
        async with Keyring(gpg=script(tmp_path, "exec sleep 1000"), deadline=SHORT):
            pass


async def test_an_agent_that_hangs_is_killed_and_the_next_call_has_a_new_one(home: gpg.Home) -> None:
    fingerprint = home.make()
    async with Keyring(home.path, deadline=SHORT) as keyring:
        await keyring.sign(CONTENT, fingerprint)
        [agent] = agents(home.path)
        os.kill(agent, signal.SIGSTOP)
        with pytest.raises(GpgUnavailableError, match="did not end"):
            await keyring.sign(CONTENT, fingerprint)
        assert await keyring.sign(CONTENT, fingerprint)
        assert agents(home.path) != [agent]


async def test_an_agent_that_hangs_at_the_end_is_killed(home: gpg.Home) -> None:
    fingerprint = home.make()
    async with Keyring(home.path) as keyring:
        await keyring.sign(CONTENT, fingerprint)
        [agent] = agents(home.path)
        os.kill(agent, signal.SIGSTOP)
    assert agents(home.path) == []


async def test_an_agent_that_was_killed_is_started_again(home: gpg.Home) -> None:
    fingerprint = home.make()
    async with Keyring(home.path) as keyring:
        await keyring.sign(CONTENT, fingerprint)
        [agent] = agents(home.path)
        os.kill(agent, signal.SIGKILL)
        assert await keyring.sign(CONTENT, fingerprint)


async def test_a_gpg_that_is_missing_says_what_to_do(tmp_path: Path) -> None:
    for binary in ("/nonexistent/gpg", "no-such-gpg", str(tmp_path)):
        with pytest.raises(GpgUnavailableError, match="install GnuPG") as caught:
            async with Keyring(gpg=binary):
                pass
        assert binary in str(caught.value)


async def test_a_gpg_that_goes_missing_meanwhile_fails_the_call(home: gpg.Home, tmp_path: Path) -> None:
    fingerprint = home.make()
    binary = script(tmp_path, 'exec gpg "$@"')
    async with Keyring(home.path, gpg=binary) as keyring:
        assert await keyring.sign(CONTENT, fingerprint)
        shutil.move(binary, tmp_path / "away")
        with pytest.raises(GpgUnavailableError, match="install GnuPG"):
            await keyring.sign(CONTENT, fingerprint)
        shutil.move(tmp_path / "away", binary)
        assert await keyring.sign(CONTENT, fingerprint)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("echo cfg:version:1.4.23", r"is 1\.4\.23; 2\.2\.8 or newer is needed"),
        ("echo cfg:version:2.2.7", r"is 2\.2\.7; 2\.2\.8 or newer is needed"),
        ("echo hello", "is of an unknown version; 2.2.8 or newer"),
        ("exit 3", "cannot be run"),
        ("kill -9 $$", "cannot be run"),
    ],
)
async def test_a_gpg_that_will_not_do_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(GpgUnavailableError, match=says):
        async with Keyring(gpg=script(tmp_path, text)):
            pass


@pytest.mark.parametrize("text", ["exit 0", "exit 2", "head -c 10 /dev/urandom >&2", "kill -9 $$", "echo signed"])
async def test_a_gpg_that_breaks_off_has_signed_nothing(home: gpg.Home, tmp_path: Path, text: str) -> None:
    binary = script(tmp_path, f'case "$*" in *--local-user*|*--verify*) {text}; exit;; esac\nexec gpg "$@"')
    async with Keyring(home.path, gpg=binary) as keyring:
        with pytest.raises(PgpError):
            await keyring.sign(CONTENT * 100_000, "A" * 40)
        with pytest.raises(PgpError):
            await keyring.verify(CONTENT * 100_000, b"\x80")


async def test_more_calls_than_may_wait_are_refused_at_once(home: gpg.Home, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    binary = script(tmp_path, f'if [ -e {slow} ]; then sleep 1000; fi\nexec gpg "$@"')
    async with Keyring(home.path, gpg=binary, deadline=SHORT, most_waiting=3) as keyring:
        slow.touch()
        calls = [asyncio.create_task(keyring.certificates()) for _ in range(5)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes].count(BusyError) == 2
        assert [type(outcome) for outcome in outcomes].count(GpgUnavailableError) == 3
        slow.unlink()
        assert await keyring.certificates() == []


async def test_a_caller_that_is_cancelled_costs_the_others_nothing(home: gpg.Home) -> None:
    fingerprint = home.make()
    async with Keyring(home.path) as keyring:
        calls = [asyncio.create_task(keyring.sign(CONTENT, fingerprint)) for _ in range(6)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, bytes) for outcome in outcomes[1::2])


@pytest.fixture
def full_disk() -> Iterator[Path]:
    """A folder on a disk of its own, which a test may fill up."""
    folder = Path(tempfile.mkdtemp(prefix="hgd-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("a full disk is made with mount, which needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def fill(path: Path) -> None:
    """Write a file until there is no more room."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


async def test_a_full_disk_fails_an_import_and_neither_signing_nor_verifying(home: gpg.Home, full_disk: Path) -> None:
    fingerprint, other = home.make("A <a@provider.example>"), home.make("B <b@provider.example>")
    kept = gpg.Home(full_disk)
    kept.take(home.secret(fingerprint))
    async with Keyring(full_disk) as keyring:
        await keyring.sign(CONTENT, fingerprint)  # the agent has begun
        fill(full_disk / "filler")
        found = await keyring.verify(CONTENT, await keyring.sign(CONTENT, fingerprint))
        assert found.primary == fingerprint
        with pytest.raises(PgpError):
            await keyring.import_certificates(home.public(other))
        (full_disk / "filler").unlink()
        assert await keyring.import_certificates(home.public(other))
        assert {each.fingerprint for each in await keyring.certificates()} == {fingerprint, other}


async def test_no_file_can_be_written_and_no_private_keyring_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(PgpError, match="No space left"):
        async with Keyring():
            pass


async def test_no_process_can_be_started(home: gpg.Home) -> None:
    fingerprint = home.make()
    async with Keyring(home.path) as keyring:
        await keyring.sign(CONTENT, fingerprint)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(GpgUnavailableError, match="Too many open files"):
                await keyring.sign(CONTENT, fingerprint)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await keyring.sign(CONTENT, fingerprint)
