"""A service does not start where a canary could be signed: by gpg's own files, whatever the keyring says of itself."""

from __future__ import annotations

import shutil
import socket
from typing import TYPE_CHECKING, Any

import pytest

from publisher.app import Service
from publisher.preconditions import check_canary_keys
from publisher.roles import NotReadyError
from runtime.settings import SettingsError, load
from signer import canary_secrets
from tests.support import gpg

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runtime.settings import Settings


@pytest.fixture(scope="module")
def operator() -> Iterator[gpg.Home]:
    """The operator's machine: two canary keys."""
    with gpg.home() as made:
        made.make("Alice <alice@provider.example>")
        made.make("Bob <bob@provider.example>")
        yield made


@pytest.fixture
def keys(operator: gpg.Home) -> list[str]:
    return operator.fingerprints()


@pytest.fixture
def public_keys(operator: gpg.Home, keys: list[str], tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir()
    for each in keys:
        (folder / f"{each}.asc").write_bytes(operator.public(each))
    return folder


@pytest.fixture
def service_home() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        yield made


def settings_with(keys: list[str], folder: Path | None, home: Path | None = None) -> Settings:
    given: dict[str, Any] = {"canary_keys": ",".join(keys), "canary_threshold": 1}
    given |= {name: str(path) for name, path in (("public_keys", folder), ("gnupghome", home)) if path}
    return load(environ={}, **given)


async def test_public_keys_alone_are_welcome(
    operator: gpg.Home, keys: list[str], public_keys: Path, service_home: gpg.Home
) -> None:
    for key in keys:
        service_home.take(operator.public(key))
    service_home.make("Feed <feed@provider.example>")
    pins = await check_canary_keys(settings_with(keys, public_keys, service_home.path))
    assert pins is not None
    assert (pins.fingerprints, pins.threshold) == (tuple(keys), 1)


async def test_a_secret_part_in_the_services_keyring_is_named(
    operator: gpg.Home, keys: list[str], public_keys: Path, service_home: gpg.Home
) -> None:
    service_home.take(operator.secret(keys[1]))
    with pytest.raises(NotReadyError) as caught:
        await check_canary_keys(settings_with(keys, public_keys, service_home.path))
    assert str(caught.value).startswith(f"HELIOGRAPH_CANARY_KEYS: {service_home.path}/private-keys-v1.d/")
    assert f"the canary's key {keys[1]}" in str(caught.value)
    assert "remove it from this machine" in str(caught.value)


async def test_a_secret_subkey_is_a_secret_part(public_keys: Path, keys: list[str], service_home: gpg.Home) -> None:
    with gpg.home() as carols:
        carol = carols.make("Carol <carol@provider.example>", usage="cert")
        subkey = carols.add_subkey(carol)
        (public_keys / "carol.asc").write_bytes(carols.public(carol))
        service_home.take(carols.secret_subkey(subkey))
    with pytest.raises(NotReadyError, match=f"canary's key {carol}"):
        await check_canary_keys(settings_with([*keys, carol], public_keys, service_home.path))


async def test_a_secret_key_without_its_certificate_is_found_all_the_same(
    operator: gpg.Home, keys: list[str], public_keys: Path, service_home: gpg.Home
) -> None:
    shutil.copytree(operator.path / "private-keys-v1.d", service_home.path / "private-keys-v1.d")
    assert service_home.fingerprints() == []
    with pytest.raises(NotReadyError, match=r"private-keys-v1\.d"):
        await check_canary_keys(settings_with(keys, public_keys, service_home.path))


async def test_the_keyring_gpg_would_use_by_itself_counts_too(
    operator: gpg.Home, keys: list[str], public_keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(operator.path))
    with pytest.raises(NotReadyError, match=str(operator.path)):
        await check_canary_keys(settings_with(keys, public_keys))


async def test_an_agent_that_answers_is_asked_wherever_its_keys_are(
    operator: gpg.Home, keys: list[str], public_keys: Path, service_home: gpg.Home
) -> None:
    operator.sign(b"wake", key=keys[0])  # its agent runs now
    (service_home.path / "S.gpg-agent").write_bytes(b"%Assuan%\nsocket=" + bytes(operator.path / "S.gpg-agent") + b"\n")
    with pytest.raises(NotReadyError) as caught:
        await check_canary_keys(settings_with(keys, public_keys, service_home.path))
    assert f"{service_home.path}/S.gpg-agent leads to an agent that has the secret part" in str(caught.value)


async def test_an_agent_without_these_keys_or_without_an_answer_is_no_obstacle(
    keys: list[str], public_keys: Path, service_home: gpg.Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = service_home.make("Feed <feed@provider.example>")
    service_home.sign(b"wake", key=own)
    assert await check_canary_keys(settings_with(keys, public_keys, service_home.path)) is not None
    monkeypatch.setattr(canary_secrets, "PATIENCE", 0.1)
    silent = tmp_path / "silent"
    silent.mkdir()
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(silent / "S.gpg-agent"))
        mute.listen()
        assert await canary_secrets.find([silent], {"A" * 40: "B"}) is None
    (silent / "S.gpg-agent").unlink()
    (silent / "S.gpg-agent").write_bytes(b"%Assuan%\n")
    assert await canary_secrets.find([silent, tmp_path / "none"], {"A" * 40: "B"}, runtime=tmp_path) is None


async def test_a_keyring_of_the_old_kind_is_an_obstacle_until_gpg_has_taken_it_over(
    operator: gpg.Home, keys: list[str], public_keys: Path, service_home: gpg.Home
) -> None:
    (service_home.path / "secring.gpg").write_bytes(operator.gpg("--export-secret-keys", keys[0]))
    with pytest.raises(NotReadyError, match=r"secring\.gpg is a keyring of GnuPG before 2\.1"):
        await check_canary_keys(settings_with(keys, public_keys, service_home.path))
    (service_home.path / ".gpg-v21-migrated").touch()
    assert await check_canary_keys(settings_with(keys, public_keys, service_home.path)) is not None


def test_keyrings_are_those_named_the_environments_and_every_users(tmp_path: Path) -> None:
    found = canary_secrets.keyrings({"GNUPGHOME": "/somewhere"}, tmp_path, None)
    assert [str(each) for each in found[:2]] == [str(tmp_path), "/somewhere"]
    assert all(each.name == ".gnupg" for each in found[2:])
    assert len(found) > 2


async def test_a_folder_without_one_of_the_keys_is_named(keys: list[str], public_keys: Path) -> None:
    (public_keys / f"{keys[0]}.asc").unlink()
    with pytest.raises(NotReadyError, match=f"{public_keys} lacks the canary's key {keys[0]}") as caught:
        await check_canary_keys(settings_with(keys, public_keys))
    assert str(caught.value).startswith("HELIOGRAPH_PUBLIC_KEYS: ")
    assert "each of HELIOGRAPH_CANARY_KEYS among them" in str(caught.value)


async def test_without_gpg_the_folder_is_not_blamed(
    keys: list[str], public_keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NotReadyError, match=r"^HELIOGRAPH_CANARY_KEYS: cannot be looked at: .*cannot be run"):
        await check_canary_keys(settings_with(keys, public_keys))


async def test_a_secret_key_among_the_public_ones_is_refused_by_file(
    operator: gpg.Home, keys: list[str], public_keys: Path
) -> None:
    secret = public_keys / f"{keys[0]}.asc"
    secret.write_bytes(operator.secret(keys[0]))
    with pytest.raises(NotReadyError, match=f"{secret}: this is a secret key"):
        await check_canary_keys(settings_with(keys, public_keys))


async def test_pinned_keys_need_a_folder(keys: list[str]) -> None:
    with pytest.raises(SettingsError, match="HELIOGRAPH_PUBLIC_KEYS is not set"):
        await check_canary_keys(settings_with(keys, None))


async def test_no_key_pinned_no_question(tmp_path: Path) -> None:
    assert await check_canary_keys(load(environ={}, public_keys=str(tmp_path / "none"))) is None


async def test_no_role_starts_beside_a_canarys_secret(
    settings: Settings, operator: gpg.Home, keys: list[str], public_keys: Path
) -> None:
    changes = {"canary_keys": ",".join(keys), "public_keys": str(public_keys), "gnupghome": str(operator.path)}
    complete = load(environ={}, **(settings.model_dump(exclude_unset=True) | changes))
    for role in ("api", "deliver", "consume"):
        with pytest.raises(NotReadyError, match="could be made to sign"):
            async with Service(complete, [role]):
                pass
