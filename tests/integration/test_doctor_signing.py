"""What the doctor says of gpg, of the feed key and of the canary's keys: each failure with what to do about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from publisher.cli import doctor_signing
from runtime.settings import load
from tests.support import gpg
from tests.support.signers import serving, socket_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def home() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        made.make()
        yield made


@pytest.mark.parametrize(
    ("version", "detail", "is_fine"),
    [
        ("2.4.4", "GnuPG 2.4.4 at ", True),
        ("2.2.8", "GnuPG 2.2.8 at ", True),
        ("2.2.7", "{} is 2.2.7; 2.2.8 or newer is needed", False),
        ("1.4.23", "{} is 1.4.23; 2.2.8 or newer is needed", False),
    ],
)
async def test_gpg_must_be_new_enough(tmp_path: Path, version: str, detail: str, *, is_fine: bool) -> None:
    binary = tmp_path / "gpg"
    binary.write_text(f"#!/bin/sh\necho '[GNUPG:] VERSION'\necho 'cfg:version:{version}'\necho 'gpg {version}'\n")
    binary.chmod(0o755)
    finding = await doctor_signing.gpg(str(binary))
    assert finding.detail.startswith(detail.format(binary))
    assert (finding.advice == "") is is_fine


async def test_no_gpg_is_a_failure() -> None:
    finding = await doctor_signing.gpg("/nonexistent/gpg")
    assert finding.detail.startswith("/nonexistent/gpg cannot be run (")
    assert finding.advice.startswith("install GnuPG")


async def test_nothing_that_signs_is_said_and_is_no_failure() -> None:
    finding = await doctor_signing.signing(load(environ={}))
    assert (finding.detail, finding.advice) == ("nothing is signed: HELIOGRAPH_FEED_KEY is not set", "")


async def test_the_feed_key_and_its_end_are_named(home: gpg.Home) -> None:
    [fingerprint] = home.fingerprints()
    finding = await doctor_signing.signing(load(environ={}, feed_key=fingerprint, gnupghome=str(home.path)))
    assert finding.detail.startswith(f"with {fingerprint}, until {datetime.now(UTC) + timedelta(days=364):%Y}-")
    assert finding.advice == ""
    missing = await doctor_signing.signing(load(environ={}, feed_key="A" * 40, gnupghome=str(home.path)))
    assert (missing.detail, missing.advice) == (
        f"the keyring has no certificate with the key {'A' * 40}",
        "correct HELIOGRAPH_GNUPGHOME or HELIOGRAPH_FEED_KEY; docs/keys.md says how a key comes there",
    )


async def test_a_key_that_ends_within_a_month_is_a_failure() -> None:
    with gpg.home() as ending:
        fingerprint = ending.make(expires="29d")
        finding = await doctor_signing.signing(load(environ={}, feed_key=fingerprint, gnupghome=str(ending.path)))
        assert finding.advice.startswith("make its successor now")


async def test_a_signer_elsewhere_is_asked(home: gpg.Home) -> None:
    [fingerprint] = home.fingerprints()
    with socket_path() as socket:
        settings = load(environ={}, signer_socket=str(socket))
        away = await doctor_signing.signing(settings)
        assert str(socket) in away.detail
        assert away.advice.startswith("start it (heliograph serve --role sign)")
        async with serving(socket, home.path, fingerprint):
            assert (await doctor_signing.signing(settings)).detail.startswith(f"with {fingerprint}, until ")


async def test_the_canarys_keys_are_looked_at_as_the_service_does(home: gpg.Home, tmp_path: Path) -> None:
    none = await doctor_signing.canary(load(environ={}))
    assert (none.detail, none.advice) == ("no key is pinned: no canary can be published (0 public keys are)", "")
    [fingerprint] = home.fingerprints()
    (tmp_path / "alice.asc").write_bytes(home.public(fingerprint))
    pinned: dict[str, Any] = {"canary_keys": fingerprint, "public_keys": str(tmp_path)}
    fine = await doctor_signing.canary(load(environ={}, **pinned))
    assert (fine.detail, fine.advice) == ("1 of 1 keys must sign; none could here", "")
    held = await doctor_signing.canary(load(environ={}, **pinned, gnupghome=str(home.path)))
    assert "could be made to sign with it" in held.detail
    assert held.advice
    (tmp_path / "junk.asc").write_bytes(b"no key")
    for settings in (load(environ={}, **pinned), load(environ={}, public_keys=str(tmp_path))):
        junk = await doctor_signing.canary(settings)
        assert junk.detail.startswith(f"HELIOGRAPH_PUBLIC_KEYS: {tmp_path}/junk.asc: no certificate could be imported")
        assert junk.advice
    lost = await doctor_signing.canary(load(environ={}, canary_keys=fingerprint))
    assert lost.detail.startswith("HELIOGRAPH_PUBLIC_KEYS is not set")
