"""The image as it runs: another user, a read-only root, the runtime lock and no package more."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from packaging.utils import canonicalize_name

from requirements import lock
from runtime.embedded import free_port
from signer.process import stop_agents
from tests.support import gpg, image
from tests.support.process import ROOT, environ_of
from tests.support.signers import Asking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.settings import Settings
    from tests.support.image import Image

pytestmark = image.needs_namespaces

#: Where compose.yaml mounts what.
KEYRING, KEYS, SOCKETS = "/var/lib/heliograph/gnupg", "/var/lib/heliograph/keys", "/run/heliograph-signer"
CONTENT = b'{"a":1}'


@pytest.fixture(scope="module")
def built() -> Iterator[Image]:
    with image.built() as made:
        yield made


async def test_it_says_what_it_is_configured_with(built: Image) -> None:
    finished = await built.run("config")
    assert finished.code == 0, finished
    assert any("HELIOGRAPH_API_LISTEN" in line and "0.0.0.0:8080" in line for line in finished.stdout), finished


async def test_its_user_is_nobody_special_and_can_write_nowhere_but_in_tmp(built: Image) -> None:
    attempt = (
        "import os, pathlib, sys, tempfile\n"
        "assert os.getuid() == os.getgid() == int(sys.argv[1]) and not os.getgroups()\n"
        "tempfile.TemporaryFile().close()\n"
        "assert 'CapBnd:\\t0000000000000000' in pathlib.Path('/proc/self/status').read_text()\n"
        "for folder in ('/', '/opt/heliograph', '/var/lib', '/run', '/usr', '/etc', sys.prefix):\n"
        "    try: pathlib.Path(folder, 'x').touch()\n"
        "    except OSError: continue\n"
        "    sys.exit(folder)\n"
    )
    finished = await built.run("python", "-c", attempt, str(built.user), is_entrypoint=False)
    assert finished.code == 0, finished


async def test_the_role_api_is_ready_lives_and_drains(built: Image, settings: Settings) -> None:
    """Without Kafka, with a folder of public keys in which there is none."""
    (sockets,) = parse_qs(urlsplit(settings.dsn()).query)["host"]
    os.chmod(sockets, 0o711)  # noqa: PTH101, S103 - for its user as for ours; pathlib is not for coroutines
    admin = f"127.0.0.1:{free_port()}"
    environ = {
        name: value for name, value in environ_of(settings).items() if "KAFKA" not in name and "LISTEN" not in name
    } | {
        "HELIOGRAPH_API_LISTEN": "127.0.0.1:0",
        "HELIOGRAPH_ADMIN_LISTEN": admin,
        "HELIOGRAPH_PUBLIC_KEYS": KEYS,
    }
    check: dict[str, Any] = {"environ": environ, "is_entrypoint": False}
    silent = await built.run(*built.stage.healthcheck, **check)
    assert silent.code == 1, silent
    assert "no answer" in silent.stdout[0]
    mounts = {Path(sockets): sockets, ROOT / "deploy" / "keys": KEYS}
    async with built.started("serve", "--role", "api", environ=environ, mounts=mounts) as service:
        assert (await service.ready())["admin"] == f"http://{admin}"
        lives = await built.run(*built.stage.healthcheck, **check)
        assert (lives.code, lives.stdout) == (0, ["lives"])
        unknown = await built.run(*built.stage.healthcheck, "/nowhere", **check)
        assert (unknown.code, unknown.stdout) == (1, ["/nowhere answers 404"])
        assert (await service.terminate()).code == 0


async def test_the_role_sign_needs_no_network(built: Image) -> None:
    keyring, sockets = built.volume("keyring"), built.volume("signer-socket")
    with gpg.home() as made:
        fingerprint = made.make()
        stop_agents(made.path)
        for path in (made.path, *made.path.rglob("*")):
            if path.is_dir() or path.is_file():
                target = keyring / path.relative_to(made.path)
                target.mkdir(mode=0o700, exist_ok=True) if path.is_dir() else shutil.copy(path, target)
                os.chown(target, built.user, built.user)
    environ = {
        "HELIOGRAPH_GNUPGHOME": KEYRING,
        "HELIOGRAPH_FEED_KEY": fingerprint,
        "HELIOGRAPH_SIGNER_SOCKET": f"{SOCKETS}/signer.sock",
    }
    mounts = {keyring: KEYRING, sockets: SOCKETS}
    check = [*built.stage.healthcheck, "signer"]
    inside: dict[str, Any] = {"environ": environ, "mounts": mounts, "has_network": False}
    async with built.started("serve", "--role", "sign", **inside) as service:
        assert await service.ready() == {"ready": True, "signer": f"{SOCKETS}/signer.sock"}
        assert b"BEGIN PGP SIGNATURE" in await Asking(sockets / "signer.sock").sign_document(CONTENT)
        lives = await built.run(*check, is_entrypoint=False, **inside)
        assert (lives.code, lives.stdout) == (0, ["lives"])
        assert (await service.terminate()).code == 0
    gone = await built.run(*check, is_entrypoint=False, **inside)
    assert gone.code == 1, gone


async def test_it_has_what_the_lock_names_and_nothing_else(built: Image) -> None:
    listing = "import importlib.metadata as m; print(*sorted(found.name for found in m.distributions()), sep=chr(10))"
    finished = await built.run("python", "-c", listing, is_entrypoint=False)
    assert finished.code == 0, finished
    there = {canonicalize_name(name) for name in finished.stdout}
    assert there == {"heliograph", *(pinned.name for pinned in lock.of_image())}
