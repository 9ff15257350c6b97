"""What gpg signs here verifies with Sequoia, an implementation of OpenPGP that shares no code with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pysequoia
import pytest

from signer.pgp import BadSignatureError, Keyring, Reason
from tests.support import gpg

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b'{"a":1,"b":"\xc3\xa9"}'


@pytest.fixture
def home() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        yield made


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa3072", "nistp256"])
async def test_detached_and_clear_signed_verify_elsewhere(home: gpg.Home, algorithm: str) -> None:
    fingerprint = home.make(algorithm=algorithm)
    async with Keyring(home.path) as keyring:
        for armored in (True, False):
            certificate = await keyring.export(fingerprint, armored=armored)
            signature = await keyring.sign(CONTENT, fingerprint)
            assert gpg.sequoia_detached(CONTENT, signature, certificate) == (fingerprint, fingerprint)
            text, primary = gpg.sequoia_clear(await keyring.clearsign(CONTENT, fingerprint), certificate)
            assert (text.rstrip(b"\n"), primary) == (CONTENT, fingerprint)
            with pytest.raises(Exception, match=r"(?i)signature|verif"):
                gpg.sequoia_detached(CONTENT + b" ", signature, certificate)


async def test_a_subkeys_signature_verifies_elsewhere_as_its_primary_keys(home: gpg.Home) -> None:
    primary = home.make()
    subkey = home.add_subkey(primary)
    with gpg.home() as service:
        service.take(home.secret_subkey(subkey))
        async with Keyring(service.path) as keyring:
            signature = await keyring.sign(CONTENT, subkey)
    assert gpg.sequoia_detached(CONTENT, signature, home.public(primary)) == (primary, subkey)


async def test_what_was_signed_elsewhere_verifies_here() -> None:
    key = pysequoia.Tsk.generate("Elsewhere <e@provider.example>")
    signer = key.signer()
    signature = pysequoia.sign(signer, CONTENT, mode=pysequoia.SignatureMode.DETACHED)
    document = pysequoia.sign(signer, CONTENT, mode=pysequoia.SignatureMode.CLEAR)
    async with Keyring() as keyring:
        [taken] = await keyring.import_certificates(bytes(key.extract_certificate()))
        assert taken.fingerprint == key.extract_certificate().fingerprint.upper()
        found = await keyring.verify(CONTENT, signature)
        assert found.primary == taken.fingerprint
        assert found.signer in {subkey.fingerprint for subkey in taken.subkeys if subkey.can_sign}
        content, _ = await keyring.read_clearsigned(document)
        assert content.rstrip(b"\n") == CONTENT
        with pytest.raises(BadSignatureError) as caught:
            await keyring.verify(CONTENT + b" ", signature)
        assert caught.value.reason is Reason.BAD
