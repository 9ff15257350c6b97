"""The signer is not there, dies in the middle, hangs, loses its parent: callers hear of it, and it comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from signer import protocol
from signer.agent import Limits
from signer.child import Child, child
from signer.client import SignerRefusedError, SignerUnavailableError
from signer.faults import AgentError
from signer.metrics import Result
from signer.pgp import Keyring
from signer.process import agents
from signer.protocol import Kind, Refusal
from tests.support import gpg
from tests.support.process import until
from tests.support.signers import Asking, serving, socket_path

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b'{"a":1}'
ROOT = Path(__file__).parents[2]


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


def is_there(path: Path) -> bool:
    return path.exists()


def script(folder: Path, before: str) -> str:
    """Write a gpg that does something else before; return its path."""
    path = folder / "fake-gpg"
    path.write_text(f'#!/bin/sh\n{before}\nexec gpg "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def gone(pid: int) -> bool:
    """Say whether a process has ended, as its parent may not have noticed yet."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def has_gone(pid: int) -> bool:
    return gone(pid)


async def restarted(running: Child, times: int) -> None:
    async with asyncio.timeout(20), running.starts:
        await running.starts.wait_for(lambda: running.started >= times)


# --- the client's side ------------------------------------------------------------------------------------------------


async def test_a_signer_that_is_not_there_is_unavailable_after_the_timeout(place: Path) -> None:
    client = Asking(place, timeout=0.6)
    with pytest.raises(SignerUnavailableError, match=str(place)):
        await client.sign_document(CONTENT)
    with pytest.raises(SignerUnavailableError):
        await client.health()
    assert client.counted(Kind.FEED_DOCUMENT, Result.UNAVAILABLE) == 1


async def test_a_signer_that_starts_meanwhile_is_waited_for(home: gpg.Home, place: Path, fingerprint: str) -> None:
    client = Asking(place)
    asking = asyncio.create_task(client.sign_document(CONTENT))
    await asyncio.sleep(0)
    async with serving(place, home.path, fingerprint):
        assert await asking
    assert client.counted(Kind.FEED_DOCUMENT, Result.SIGNED) == 1


async def test_a_signer_that_hangs_is_unavailable_in_time(place: Path) -> None:
    silent = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    async with await asyncio.start_unix_server(hang, path=str(place)):
        with pytest.raises(SignerUnavailableError, match=r"0\.3 s"):
            await Asking(place, timeout=0.3).sign_document(CONTENT)
        silent.set()


async def test_only_a_connection_that_breaks_is_tried_again(place: Path) -> None:
    replies = [b"", b"\x00\x00", protocol.encode(protocol.Refused(Refusal.FAILED, "no")), b""]
    taken: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await protocol.read_request(reader)
        writer.write(replies[len(taken)])
        taken.append(1)
        writer.close()

    async with await asyncio.start_unix_server(answer, path=str(place)):
        client = Asking(place)
        with pytest.raises(SignerRefusedError) as caught:
            await client.sign_document(CONTENT)
        assert caught.value.reason is Refusal.FAILED
    assert len(taken) == 3
    assert client.counted(Kind.FEED_DOCUMENT, Result.FAILED) == 1


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x00\x00\x01\xc0", protocol.encode(protocol.Signed(b"x"))]
)
async def test_what_answers_may_be_no_signer(place: Path, reply: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await protocol.read_request(reader)
        writer.write(reply)
        writer.close()

    async with await asyncio.start_unix_server(answer, path=str(place)):
        with pytest.raises(SignerUnavailableError):
            await Asking(place).health()
        with pytest.raises(SignerUnavailableError):
            await Asking(place).public_key()


async def test_a_failure_is_not_remembered(home: gpg.Home, place: Path, fingerprint: str) -> None:
    client = Asking(place, timeout=0.2)
    with pytest.raises(SignerUnavailableError):
        await client.sign_document(CONTENT)
    async with serving(place, home.path, fingerprint):
        assert await client.sign_document(CONTENT)


# --- gpg's ------------------------------------------------------------------------------------------------------------


async def test_a_gpg_that_hangs_fails_one_request_and_the_next_is_signed(
    home: gpg.Home, place: Path, fingerprint: str, tmp_path: Path
) -> None:
    hang = tmp_path / "hang"
    binary = script(tmp_path, f"if [ -e {hang} ]; then rm {hang}; sleep 1000; fi")
    async with serving(place, home.path, fingerprint, gpg=binary, limits=Limits(gpg=0.5)):
        client = Asking(place)
        hang.touch()
        with pytest.raises(SignerRefusedError, match="did not end") as caught:
            await client.sign_document(CONTENT)
        assert caught.value.reason is Refusal.FAILED
        assert await client.sign_document(CONTENT)
        assert client.counted(Kind.FEED_DOCUMENT, Result.FAILED) == 1


async def is_at_work(client: Asking) -> bool:
    return (await client.health()).under_way > 0


async def is_refused(place: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(place))
    except OSError:
        return True
    writer.close()
    return False


async def test_a_request_under_way_is_answered_before_it_stops(
    home: gpg.Home, place: Path, fingerprint: str, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    binary = script(tmp_path, f'case "$*" in *--local-user*) while [ -e {held} ]; do sleep 0.02; done;; esac')
    held.touch()

    async def let_go() -> None:
        await until(partial(is_refused, place), "it takes no more requests")
        held.unlink()

    client = Asking(place)
    async with serving(place, home.path, fingerprint, gpg=binary):
        asking = asyncio.create_task(client.sign_document(CONTENT))
        await until(partial(is_at_work, client), "the request is under way")
        letting_go = asyncio.create_task(let_go())
    await letting_go
    assert await asking
    assert agents(home.path) == []


# --- a process of its own ---------------------------------------------------------------------------------------------


async def test_a_child_signs_knows_no_secret_of_ours_and_ends_with_its_context(
    home: gpg.Home, place: Path, fingerprint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIOGRAPH_JWT_SECRET", "secret")
    async with child(socket=place, home=home.path, fingerprint=fingerprint) as running:
        pid = running.pid
        assert pid is not None
        client = Asking(place)
        key = await client.public_key()
        assert gpg.sequoia_detached(CONTENT, await client.sign_document(CONTENT), key.armored)[0] == fingerprint
        environ = psutil.Process(pid).environ()
        assert not [name for name in environ if name.startswith("HELIOGRAPH_")]
    assert gone(pid)
    assert agents(home.path) == []
    assert not is_there(place)


async def test_a_child_that_is_killed_in_the_middle_of_a_request_is_started_again(
    home: gpg.Home, place: Path, fingerprint: str
) -> None:
    async with child(socket=place, home=home.path, fingerprint=fingerprint) as running:
        client = Asking(place, timeout=20)
        first = running.pid
        assert first is not None
        reader, writer = await asyncio.open_unix_connection(str(place))
        os.kill(first, signal.SIGSTOP)
        writer.write(protocol.encode(protocol.SignDocument(CONTENT)))
        asking = asyncio.create_task(client.sign_document(CONTENT))
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        async with Keyring() as stranger:
            signature = await asking
            await stranger.import_certificates((await client.public_key()).armored)
            assert (await stranger.verify(CONTENT, signature)).primary == fingerprint
        assert running.pid != first
        assert client.counted(Kind.FEED_DOCUMENT, Result.SIGNED) == 1
        second = running.pid
        assert second is not None
        os.kill(second, signal.SIGTERM)
        await restarted(running, 3)
        assert await client.sign_document(b"another")
    assert agents(home.path) == []


async def test_a_child_that_cannot_start_says_so(
    home: gpg.Home, place: Path, fingerprint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AgentError, match="did not start"):
        async with child(socket=place, home=home.path, fingerprint=fingerprint, canary=[fingerprint]):
            pass
    said = capfd.readouterr().err
    assert "secret part of the canary's key" in said
    assert "Traceback" not in said


async def test_a_child_whose_parent_is_killed_ends(home: gpg.Home, place: Path, fingerprint: str) -> None:
    program = f"""
import asyncio
from pathlib import Path
from signer.child import child

async def main():
    async with child(socket=Path({str(place)!r}), home=Path({str(home.path)!r}), fingerprint={fingerprint!r}) as made:
        print(made.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert await Asking(place).sign_document(CONTENT)
    parent.kill()
    await parent.communicate()
    await until(partial(has_gone, pid), "the signer has ended with its parent")
    assert agents(home.path) == []
    assert not is_there(place)


async def test_systemd_may_pass_the_socket(home: gpg.Home, place: Path, fingerprint: str) -> None:
    # What systemd does: descriptor 3 listens, LISTEN_PID is the process that is started.
    program = f"""
import os, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind({str(place)!r})
listening.listen()
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
environ = {{**os.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}}
command = [sys.executable, "-m", "signer.agent", "--home", {str(home.path)!r}, "--key", {fingerprint!r}]
os.execve(sys.executable, command, environ)
"""
    running = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=ROOT)
    try:
        assert await Asking(place).sign_document(CONTENT)
    finally:
        running.terminate()
        assert await running.wait() == 0
    assert agents(home.path) == []


def test_the_command_says_what_is_missing() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "signer.agent", "--home", "/nonexistent", "--key", "A" * 40],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "--socket is needed" in ran.stderr


def test_the_command_says_why_it_cannot_start(place: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "signer.agent", "--home", "/nonexistent", "--key", "A" * 40, "--socket", str(place)],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 1
    [line] = ran.stderr.splitlines()
    assert "the keyring /nonexistent cannot be used (No such file or directory)" in line
