"""A feed key from the operator's machine to the service, as the command line makes it; and its rotation."""

from __future__ import annotations

import contextlib
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pysequoia
import pytest

from signer.faults import PgpError
from signer.keymaking import KeyMaker
from signer.pgp import Keyring
from signer.process import stop_agents
from tests.support import gpg
from tests.support.pinentry import Pinentry
from tests.support.process import run
from tests.support.signers import Asking, serving, socket_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.process import Finished

NAME, EMAIL = "Ångström feeds", "feeds@provider.example"
INIT = ("keys", "init", "--name", NAME, "--email", EMAIL)
DOCUMENT = b'{"sequence":1}'


class Handed(NamedTuple):
    """What a command left in a folder."""

    public: Path
    secret: Path

    @property
    def primary(self) -> str:
        return pysequoia.Cert.from_bytes(self.public.read_bytes()).fingerprint.upper()


def handed(folder: Path) -> Handed:
    secret, public = sorted(folder.iterdir(), key=lambda path: ".signing-subkey" not in path.name)
    return Handed(public, secret)


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def operator() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        yield made


@pytest.fixture
def service() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        yield made


async def init(home: gpg.Home, output: Path, *options: str) -> Finished:
    return await run(*INIT, "--home", str(home.path), "--output", str(output), *options)


async def made(home: gpg.Home, output: Path) -> Handed:
    said = await init(home, output, "--no-passphrase")
    assert said.code == 0, said
    return handed(output)


async def exported(home: gpg.Home, key: str, output: Path) -> Handed:
    said = await run("keys", "export", "--key", key, "--home", str(home.path), "--output", str(output))
    assert said.code == 0, said
    return handed(output)


async def signed(service: gpg.Home, key: str, content: bytes = DOCUMENT) -> bytes:
    """Have the signing process sign, as the service does."""
    with socket_path() as socket:
        async with serving(socket, service.path, key):
            return await Asking(socket).sign_document(content)


def install(service: gpg.Home, files: Handed) -> None:
    service.gpg("--import", str(files.public), str(files.secret))


async def verified(content: bytes, signature: bytes, certificate: bytes) -> tuple[str, str]:
    """Verify with gpg and with Sequoia; return the primary key and the signer, of which both say the same."""
    async with Keyring() as keyring:
        await keyring.import_certificates(certificate)
        found = await keyring.verify(content, signature)
    assert gpg.sequoia_detached(content, signature, certificate) == (found.primary, found.signer)
    return found.primary, found.signer


async def test_a_key_with_a_passphrase_goes_to_a_service_that_types_none(
    operator: gpg.Home, service: gpg.Home, tmp_path: Path
) -> None:
    pinentry = Pinentry(operator.path)
    said = await init(operator, tmp_path)
    assert said.code == 0, said
    asked = pinentry.asked
    assert asked >= 2  # for a new one, twice
    files = handed(tmp_path)
    key = files.primary
    assert stat.S_IMODE(files.secret.stat().st_mode) == 0o600
    assert files.public.name == f"feed-{key[-16:]}.asc"
    assert files.secret.name == f"feed-{key[-16:]}.signing-subkey.asc"
    assert b"PRIVATE" not in files.public.read_bytes()
    text = "\n".join(said.stdout)
    for part in (
        key,
        str(files.public),
        str(files.secret),
        str(operator.path),
        f"HELIOGRAPH_FEED_KEY={key}",
        "--import",
    ):
        assert part in text
    assert (operator.path / "openpgp-revocs.d" / f"{key}.rev").exists()

    install(service, files)
    async with Keyring(service.path) as keyring:
        [certificate] = await keyring.certificates()
        assert certificate.user_ids == (f"{NAME} <{EMAIL}>",)
        assert not certificate.can_sign
        ends = certificate.expires_at
        assert ends is not None
        assert timedelta(days=729) < ends - datetime.now(UTC) <= timedelta(days=731)
        assert await keyring.secret_fingerprints() == {certificate.subkeys[0].fingerprint}
    signature = await signed(service, key)
    primary, signer = await verified(DOCUMENT, signature, files.public.read_bytes())
    assert (primary, signer) == (key, certificate.subkeys[0].fingerprint)

    stop_agents(operator.path)  # it forgets the passphrase
    operator.gpg("--pinentry-mode", "error", "--local-user", f"{signer}!", "--sign", content=b"the subkey has none")
    with pytest.raises(AssertionError):
        operator.gpg("--pinentry-mode", "error", "--quick-set-expire", key, "3y")  # the primary has


async def test_a_subkey_is_replaced_and_old_documents_verify(
    operator: gpg.Home, service: gpg.Home, tmp_path: Path
) -> None:
    key = operator.make(f"{NAME} <{EMAIL}>", usage="cert", at="20260101T000000")
    old_subkey = operator.add_subkey(key, at="20260101T000000")
    first = await exported(operator, key, folder(tmp_path / "first"))
    install(service, first)
    old = await signed(service, key)
    operator.gpg("--passphrase", "", "--quick-add-key", key, "ed25519", "sign", "1y")
    second = await exported(operator, key, folder(tmp_path / "second"))
    install(service, second)
    new = await signed(service, key, b"new")
    [new_subkey] = set(operator.fingerprints()) - {key, old_subkey}
    async with Keyring() as another:
        await another.import_certificates(second.secret.read_bytes(), secrets=True)
        assert await another.secret_fingerprints() == {new_subkey}  # nothing but what is to be replaced leaves
    certificate = second.public.read_bytes()
    assert await verified(DOCUMENT, old, certificate) == (key, old_subkey)
    assert await verified(b"new", new, certificate) == (key, new_subkey)
    service.gpg("--delete-secret-keys", f"{old_subkey}!")
    async with Keyring(service.path) as keyring:
        assert await keyring.secret_fingerprints() == {new_subkey}
    assert (await verified(b"third", await signed(service, key, b"third"), certificate))[1] == new_subkey


async def test_a_former_key_stays_and_its_documents_verify_when_it_has_expired(operator: gpg.Home) -> None:
    former = operator.make("Old <feeds@provider.example>", at="20240101T000000")
    old = operator.sign(DOCUMENT, key=former, at="20240601T000000")
    present = operator.make("New <feeds@provider.example>")
    new = operator.sign(DOCUMENT, key=present)
    published = operator.public(former) + operator.public(present)
    certs = {each.fingerprint.upper(): each for each in pysequoia.Cert.split_bytes(_binary(operator, former, present))}
    async with Keyring() as keyring:
        await keyring.import_certificates(published)
        found = await keyring.verify(DOCUMENT, old, at=datetime(2024, 6, 2, tzinfo=UTC))
        assert found.primary == former
        assert (await keyring.verify(DOCUMENT, new)).primary == present
    for signature, key in ((old, former), (new, present)):
        valid = pysequoia.verify(
            DOCUMENT, lambda _: list(certs.values()), signature=pysequoia.Sig.from_bytes(signature)
        )
        assert [each.certificate.upper() for each in valid.valid_sigs] == [key]


def _binary(home: gpg.Home, *keys: str) -> bytes:
    return home.gpg("--export", *keys)


async def test_a_subkey_with_a_passphrase_is_not_handed_to_a_service(operator: gpg.Home, tmp_path: Path) -> None:
    Pinentry(operator.path)
    operator.gpg("--quick-generate-key", f"{NAME} <{EMAIL}>", "ed25519", "cert", "1y")
    [key] = operator.fingerprints()
    operator.gpg("--quick-add-key", key, "ed25519", "sign", "1y")
    said = await run("keys", "export", "--key", key, "--home", str(operator.path), "--output", str(tmp_path))
    assert (said.code, said.stdout, names(tmp_path)) == (1, [], [])
    [line] = said.stderr
    assert "it has a passphrase, which nobody would type" in line
    assert f"gpg --batch --passphrase '' --quick-add-key {key} ed25519 sign 1y" in line


async def test_whoever_gives_no_passphrase_gets_no_key(operator: gpg.Home, tmp_path: Path) -> None:
    Pinentry(operator.path, gives_up=True)
    said = await init(operator, tmp_path)
    assert (said.code, names(tmp_path), operator.fingerprints()) == (1, [], [])
    assert said.stderr == [
        f"heliograph: {operator.path}: gpg has not made the key; was the passphrase given?",
    ]


@pytest.mark.parametrize("kind", ["none", "primary", "revoked", "expired", "expired, not the primary", "elsewhere"])
async def test_a_key_a_service_could_not_sign_with_is_not_exported(operator: gpg.Home, kind: str) -> None:
    key = operator.make(usage="sign" if "primary" in kind else "cert", at="20260101T000000")
    if kind.startswith(("revoked", "expired")):
        operator.add_subkey(key, at="20260101T000000", expires="1y" if kind == "revoked" else "1d")
    if kind == "revoked":
        operator.revoke_subkey(key)
    asked = "0" * 40 if kind == "elsewhere" else key
    async with KeyMaker(operator.path, is_interactive=True) as maker:
        with pytest.raises(PgpError) as caught:
            await maker.export_for_service(asked, datetime.now(UTC))
    expected = {"none": "make one", "primary": "make one", "elsewhere": "no certificate"}
    assert expected.get(kind, "has expired or has been revoked") in str(caught.value)


async def test_where_one_file_is_there_neither_is_written(operator: gpg.Home, tmp_path: Path) -> None:
    files = await made(operator, tmp_path)
    key, was = files.primary, files.secret.read_bytes()
    files.public.unlink()
    said = await run("keys", "export", "--key", key, "--home", str(operator.path), "--output", str(tmp_path))
    assert (said.code, names(tmp_path), files.secret.read_bytes()) == (2, [files.secret.name], was)
    assert "is there already" in said.stderr[0]


async def test_a_keyring_is_made_for_its_owner_alone(operator: gpg.Home, tmp_path: Path) -> None:
    home = gpg.Home(operator.path / "new")
    with contextlib.ExitStack() as at_end:
        at_end.callback(stop_agents, home.path)
        await made(home, tmp_path)
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
