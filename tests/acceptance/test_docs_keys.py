"""docs/keys.md, run word by word: from a key that is made to one that is revoked, by an operator who types."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from signer.pgp import Keyring
from signer.process import stop_agents
from signer.published import read
from tests.support import gpg
from tests.support.pinentry import Pinentry
from tests.support.process import ROOT, until
from tests.support.signers import Asking, serving, socket_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

STEPS = ["Make it", "Install it", "Replace the subkey", "Prolong it", "Replace the whole key", "Revoke it"]
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


def scripts() -> dict[str, str]:
    """Return the commands of each section."""
    text = (ROOT / "docs" / "keys.md").read_text()
    return {title: "".join(found) for title, body in SECTION.findall(text) if (found := BLOCK.findall(body))}


def left_lying(folder: Path) -> list[Path]:
    """Return the files with a secret that should have been shredded."""
    return list(folder.rglob("*.signing-subkey.asc"))


class Shell:
    """One shell from the first section to the last, for what it remembers ($KEY)."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child

    async def does(self, script: str) -> str:
        """Run commands; return what they said. A command that fails ends the shell."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{script}\necho --done--\n".encode())
        shown = ""
        async with asyncio.timeout(60):
            async for line in self.child.stdout:
                if line == b"--done--\n":
                    return shown
                shown += line.decode()
        raise AssertionError(shown)


@contextlib.asynccontextmanager
async def a_shell(folder: Path, **environ: str) -> AsyncIterator[Shell]:
    """Run bash in a folder, with our command on its path."""
    child = await asyncio.create_subprocess_exec(
        "bash", "-eux",
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LANG": "C.UTF-8", "HOME": str(folder),
             **environ},
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield Shell(child)
    finally:
        child.kill()
        await child.wait()


@pytest.fixture
def operator() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        Pinentry(made.path)
        yield made


@pytest.fixture
def keyring() -> Iterator[Path]:
    """Where the service's keyring will be."""
    with gpg.home() as machine:
        found = machine.path / "gnupg"
        yield found
        for each in (found, found.with_name("gnupg.2")):
            stop_agents(each)


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """Where the folder of public keys will be."""
    return tmp_path / "public"


async def signed(keyring: Path, key: str, content: bytes) -> bytes:
    with socket_path() as socket:
        async with serving(socket, keyring, key):
            return await Asking(socket).sign_document(content)


async def primaries(folder: Path, documents: Sequence[tuple[bytes, bytes]]) -> list[str]:
    """Verify documents with the keys of a folder alone; return who signed."""
    async with Keyring() as reader:
        for each in await read(folder):
            await reader.import_certificates(each.armored)
        return [(await reader.verify(*each)).primary for each in documents]


def test_every_section_with_commands_is_run() -> None:
    assert list(scripts()) == STEPS


async def test_the_document_by_hand(operator: gpg.Home, keyring: Path, public: Path, tmp_path: Path) -> None:
    sections = scripts()
    homes = {"GNUPGHOME": str(operator.path), "HELIOGRAPH_GNUPGHOME": str(keyring)}
    async with a_shell(tmp_path, **homes, HELIOGRAPH_PUBLIC_KEYS=str(public)) as shell:
        await shell.does(sections["Make it"])
        assert "sec#" in await shell.does(sections["Install it"])
        [installed] = await read(public)
        key = installed.certificate.fingerprint
        before = await signed(keyring, key, b"before")
        [first] = installed.certificate.subkeys

        async def another_second() -> bool:
            return datetime.now(UTC) >= first.created_at + timedelta(seconds=1)

        await until(another_second, "the newest subkey can be told by its second")
        await shell.does(sections["Replace the subkey"])
        after = await signed(keyring, key, b"after")
        [rotated] = await read(public)
        both = ((b"before", before), (b"after", after))
        assert [gpg.sequoia_detached(*each, rotated.armored) for each in both] == [
            (key, each.fingerprint) for each in rotated.certificate.subkeys
        ]

        await shell.does(sections["Prolong it"])
        [prolonged] = await read(public)
        ends = installed.certificate.expires_at
        assert ends is not None
        assert all(each.expires_at is not None and each.expires_at > ends for each in prolonged.certificate.keys)

        await shell.does(sections["Replace the whole key"])
        [successor] = {each.certificate.fingerprint for each in await read(public)} - {key}
        latest = await signed(keyring.with_name("gnupg.2"), successor, b"latest")
        assert await primaries(public, [*both, (b"latest", latest)]) == [key, key, successor]

        await shell.does(sections["Revoke it"])
        revoked = {each.certificate.fingerprint: each.certificate.is_revoked for each in await read(public)}
        assert revoked == {key: True, successor: False}
    assert not left_lying(tmp_path)
