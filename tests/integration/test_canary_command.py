"""`heliograph canary publish|status` on a real PostgreSQL: what a person types, reads and is told to type."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import orjson
import pytest

from publisher.__main__ import run
from runtime.settings import variable
from signer.statement import Document, signature_name
from tests.conftest import SECRET_KEYS
from tests.support import canaries
from tests.support.canaries import STATEMENTS
from tests.support.directories import a_directory, register
from tests.support.gpg import home
from tests.support.process import run as run_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from tests.support.gpg import Home

    Command = Callable[..., Coroutine[None, None, "Said"]]

#: gpg reads the machine's clock here, and so does the command.
NOW = datetime.now(UTC).replace(microsecond=0)


class Said(NamedTuple):
    """What a command answered."""

    code: int
    stdout: list[str]
    stderr: list[str]


class Signers(NamedTuple):
    """Two keys, in one home, and where their public parts are."""

    home: Home
    alice: str
    bob: str
    folder: Path

    def environ(self, dsn: str) -> dict[str, str]:
        return {
            variable("database_url"): dsn,
            variable("secret_keys"): SECRET_KEYS,
            variable("canary_keys"): f"{self.alice},{self.bob}",
            variable("public_keys"): str(self.folder),
            variable("public_url"): "https://heliograph.example/",
        }

    def write(self, folder: Path, document: Document, *keys: str) -> Path:
        """Write a canary and its signatures beside it."""
        path = folder / document.name
        path.write_bytes(document.content)
        for key in keys or (self.alice, self.bob):
            path.with_name(signature_name(path.name, key)).write_bytes(self.home.sign(document.content, key=key))
        return path


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signers]:
    with home() as made:
        folder = tmp_path_factory.mktemp("public")
        alice, bob = (made.make(f"{name} <{name}@provider.example>") for name in ("Alice", "Bob"))
        for key in (alice, bob):
            (folder / f"{key}.asc").write_bytes(made.public(key))
        yield Signers(made, alice, bob, folder)


@pytest.fixture
def canary(
    dsn: str, signers: Signers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Call the command in a thread of its own, for it brings its own event loop; put logging back afterwards."""
    for name, value in signers.environ(dsn).items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    handlers, level, disabled = root.handlers[:], root.level, logging.root.manager.disable

    async def call(*arguments: str) -> Said:
        code = await asyncio.to_thread(run, ["canary", *arguments])
        stdout, stderr = capsys.readouterr()
        return Said(code, stdout.splitlines(), stderr.splitlines())

    yield call
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.disable(disabled)


def a_canary(signers: Signers) -> Document:
    return canaries.first(NOW - timedelta(minutes=8), signers=(signers.alice, signers.bob))


async def test_the_walk_from_a_draft_to_subscribers(
    signers: Signers, canary: Command, dsn: str, tmp_path: Path
) -> None:
    document = a_canary(signers)
    path = tmp_path / document.name
    path.write_bytes(document.content)
    environ = {"GNUPGHOME": str(signers.home.path)}
    for key in (signers.alice, signers.bob):
        signed = await run_alone("canary", "sign", str(path), "--key", key, environ=environ)
        assert signed.code == 0, signed
    connection = await asyncpg.connect(dsn)
    directory = a_directory()
    told = {(await register(directory, connection, account=f"acct_{n}", events=["canary.*"]))[0] for n in (1, 2)}
    await register(directory, connection, account="acct_3")

    said = await canary("publish", str(path))
    assert (said.code, said.stderr) == (0, [])
    due = document.statement.next_due
    assert due is not None
    assert said.stdout[0] == "canary 1 of NordBastion is published"
    shown = {line[:12].strip(): line[12:] for line in said.stdout[1:]}
    assert shown["state"] in {"current", "due"}
    assert shown["sha256"] == document.sha256
    assert shown["next due"].startswith(f"{due:%Y-%m-%dT%H:%M:%SZ}, in ")
    assert set(shown["signed by"].split(", ")) == {signers.alice, signers.bob}
    assert shown["served at"] == "https://heliograph.example/v1/transparency/canary"
    assert shown["told"] == "its subscribers, by canary.updated"
    assert {row[0] for row in await connection.fetch("SELECT endpoint_id FROM queue")} == told
    [body] = [orjson.loads(row[0]) for row in await connection.fetch("SELECT body FROM messages")]
    assert body["data"]["url"] == "https://heliograph.example/v1/transparency/canary/history/1.json"
    await connection.close()

    again = await canary("publish", str(path))
    assert (again.code, len(again.stdout), again.stderr) == (0, 2, [])
    assert again.stdout[0].startswith("canary 1 of NordBastion is published already, since ")
    assert again.stdout[0].endswith("Z: nothing is done")

    status = await canary("status")
    assert (status.code, status.stderr) == (0, [])
    assert status.stdout[:2] == [f"state       {shown['state']}", "newest      canary 1 of NordBastion"]
    assert "signatures  2 of 2" in status.stdout
    assert sum(line.endswith(": counts") for line in status.stdout) == 2
    assert status.stdout[-1] == "history     1 published"


async def test_before_the_first_one_it_is_missing(canary: Command) -> None:
    said = await canary("status")
    assert (said.code, said.stdout[0]) == (1, "state       missing")


async def test_a_refusal_shows_each_signature_and_all_faults(signers: Signers, canary: Command, tmp_path: Path) -> None:
    document = canaries.altered(a_canary(signers), issued_at=NOW + timedelta(hours=1))
    path = signers.write(tmp_path, document, signers.bob)
    said = await canary("publish", str(path))
    assert said.code == 1
    assert said.stdout[0] == f"{path}: canary 1 of NordBastion, sha256 {document.sha256}"
    assert said.stdout[1].endswith(": does not count: made before the statement was issued")
    assert said.stdout[-1].startswith("verdict: refused, 0 of 2 signatures, state invalid at ")
    [line] = said.stderr
    assert line.startswith(f"heliograph: {path}: is not published: too_few_signatures: 0 of 2 signatures, ")
    assert "; from_the_future: issued_at is " in line
    assert (await canary("status")).stdout[0] == "state       missing"


async def test_a_removal_must_be_named_and_a_retirement_ends_it(
    signers: Signers, canary: Command, tmp_path: Path
) -> None:
    document = a_canary(signers)
    assert (await canary("publish", str(signers.write(tmp_path, document)))).code == 0
    following = canaries.successor(
        document, NOW, signers=(signers.alice, signers.bob), statements=STATEMENTS[1:], removed=frozenset({"warrants"})
    )
    path = signers.write(tmp_path, following)
    said = await canary("publish", str(path))
    meant = "if that is meant, add --acknowledge-removed warrants"
    removes = f"is not published: it removes warrants, and everyone will see that; {meant}"
    assert (said.code, said.stderr) == (1, [f"heliograph: {path}: {removes}"])
    said = await canary("publish", str(path), "--acknowledge-removed", "warrants")
    assert (said.code, said.stdout[1]) == (0, "state       changed")
    assert said.stdout[-1] == "told        nobody has subscribed to it"
    assert (await canary("status")).code == 0

    ending = canaries.retirement(NOW - timedelta(minutes=7), signers=(signers.alice, signers.bob))
    path = signers.write(tmp_path, ending)
    beside = sorted(path.parent.glob(f"{path.name}.*.asc"))
    few = await canary("publish", str(path), "--signature", str(beside[0]))
    assert (few.code, "1 of 2 signatures" in few.stderr[0]) == (1, True)
    said = await canary("publish", str(path), "--signature", str(beside[0]), "--signature", str(beside[1]))
    assert (said.code, said.stdout[:2]) == (
        0,
        ["retirement of the canary of NordBastion is published, as number 3", "state       revoked"],
    )
    status = await canary("status")
    assert (status.code, status.stdout[0], status.stdout[-1]) == (1, "state       revoked", "history     3 published")


async def test_a_public_key_that_is_not_there_or_a_secret_one_that_is_are_said_in_a_line(
    signers: Signers, canary: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = signers.write(tmp_path, a_canary(signers))
    monkeypatch.setenv(variable("public_keys"), str(tmp_path / "none"))
    said = await canary("publish", str(path))
    assert (said.code, len(said.stderr)) == (1, 1)
    assert "none cannot be read (No such file or directory)" in said.stderr[0]
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "alice.asc").write_bytes(signers.home.secret(signers.alice))
    monkeypatch.setenv(variable("public_keys"), str(tmp_path / "keys"))
    said = await canary("publish", str(path))
    assert (said.code, len(said.stderr)) == (1, 1)
    assert "alice.asc: this is a secret key" in said.stderr[0]


@pytest.mark.parametrize("name", ["database_url", "secret_keys", "canary_keys", "public_keys"])
async def test_a_setting_that_is_missing_is_named(
    canary: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.delenv(variable(name))
    said = await canary("publish", str(tmp_path / "canary-1.json"))
    assert (said.code, said.stdout) == (2, [])
    assert said.stderr[0].startswith(f"heliograph: {variable(name)} is not set (")
    if name != "secret_keys":
        assert (await canary("status")).code == 2
