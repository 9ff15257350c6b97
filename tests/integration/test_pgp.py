"""Keyrings on real gpg: keys in and out, signatures over exact bytes, and every reason to refuse one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from signer.pgp import SKEW, BadSignatureError, Keyring, PgpError, Reason
from signer.process import agents
from tests.support import gpg
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = b'{"a":1}'
NOW = datetime.now(UTC)


def moment(at: datetime) -> str:
    return f"{at:%Y%m%dT%H%M%S}"


@pytest.fixture
def home() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        yield made


async def refused(keyring: Keyring, content: bytes, signature: bytes, at: datetime | None = None) -> Reason:
    with pytest.raises(BadSignatureError) as caught:
        await keyring.verify(content, signature, at=at)
    return caught.value.reason


async def test_a_signature_verifies_with_the_certificate_alone(home: gpg.Home) -> None:
    fingerprint = home.make()
    async with Keyring(home.path) as signing, Keyring() as verifying:
        signature = await signing.sign(CONTENT, fingerprint)
        assert signature.startswith(b"-----BEGIN PGP SIGNATURE-----\n")
        assert await refused(verifying, CONTENT, signature) is Reason.UNKNOWN_KEY

        [taken] = await verifying.import_certificates(await signing.export(fingerprint, armored=True))
        assert (taken.fingerprint, taken.user_ids, taken.subkeys) == (fingerprint, (gpg.NAME,), ())
        assert [taken] == await verifying.import_certificates(await signing.export(fingerprint, armored=False))
        assert [taken] == await verifying.certificates()
        found = await verifying.verify(CONTENT, signature)
        assert (found.primary, found.signer) == (fingerprint, fingerprint)
        assert abs(found.made_at - datetime.now(UTC)) < timedelta(minutes=5)
        assert await verifying.secret_fingerprints() == frozenset()
        assert await signing.secret_fingerprints() == {fingerprint}
        assert await signing.secret_keygrips() == {taken.keygrip}
        for changed in (b"", CONTENT + b"\n", CONTENT[:-1], CONTENT.replace(b"1", b"2")):
            assert await refused(verifying, changed, signature) is Reason.BAD


@pytest.mark.parametrize("content", [b"", b"\x00\r\n \t\n", bytes(range(256)) * 4096, "é\u2028".encode()])
async def test_a_signature_is_over_exact_bytes_whatever_they_are(home: gpg.Home, content: bytes) -> None:
    fingerprint = home.make()
    async with Keyring(home.path) as keyring:
        signature = await keyring.sign(content, fingerprint)
        assert (await keyring.verify(content, signature)).primary == fingerprint
        assert await refused(keyring, content + b"\n", signature) is Reason.BAD
        assert await refused(keyring, content.replace(b"\n", b"\r\n") + b" ", signature) is Reason.BAD


async def test_a_subkey_signs_for_its_primary_key(home: gpg.Home) -> None:
    primary = home.make()
    subkey = home.add_subkey(primary)
    with gpg.home() as service:
        service.take(home.secret_subkey(subkey))
        async with Keyring(service.path) as keyring:
            assert await keyring.secret_fingerprints() == {subkey}
            found = await keyring.verify(CONTENT, await keyring.sign(CONTENT, subkey))
            assert (found.primary, found.signer) == (primary, subkey)
            with pytest.raises(PgpError, match=primary):
                await keyring.sign(CONTENT, primary)


async def test_a_secret_key_is_refused_and_nothing_of_it_is_imported(home: gpg.Home) -> None:
    primary = home.make()
    subkey = home.add_subkey(primary)
    async with Keyring() as keyring:
        for secret in (home.secret(primary), home.secret_subkey(subkey), home.public(primary) + home.secret(primary)):
            with pytest.raises(PgpError, match="secret key"):
                await keyring.import_certificates(secret)
        assert await keyring.certificates() == []
        assert await keyring.secret_keygrips() == frozenset()
        await keyring.import_certificates(home.secret_subkey(subkey), secrets=True)
        assert await keyring.secret_fingerprints() == {subkey}


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n"])
async def test_what_holds_no_certificate_is_not_imported(content: bytes) -> None:
    async with Keyring() as keyring:
        with pytest.raises(PgpError, match="no certificate"):
            await keyring.import_certificates(content)


async def test_a_secret_key_without_its_certificate_is_seen(home: gpg.Home) -> None:
    home.make()
    async with Keyring(home.path) as keyring:
        [certificate] = await keyring.certificates()
        (home.path / "pubring.kbx").unlink()
        assert await keyring.secret_fingerprints() == frozenset()
        assert await keyring.secret_keygrips() == {certificate.keygrip}


async def test_an_expired_key_neither_signs_nor_verifies_but_its_old_signatures_hold_as_of_then(home: gpg.Home) -> None:
    then = NOW - timedelta(days=30)
    fingerprint = home.make(expires="10d", at=moment(then))
    signature = home.sign(CONTENT, key=fingerprint, at=moment(then + timedelta(days=1)))
    async with Keyring(home.path) as keyring:
        assert await refused(keyring, CONTENT, signature) is Reason.EXPIRED_KEY
        with pytest.raises(PgpError, match="expired"):
            await keyring.sign(CONTENT, fingerprint)
        for days in (2, 9):
            found = await keyring.verify(CONTENT, signature, at=then + timedelta(days=days))
            assert found.primary == fingerprint
        assert await refused(keyring, CONTENT, signature, then + timedelta(days=11)) is Reason.EXPIRED_KEY


async def test_a_signature_of_a_later_time_is_not_yet_valid(home: gpg.Home) -> None:
    fingerprint = home.make(at=moment(NOW - timedelta(days=9)))
    made = NOW - timedelta(days=1)
    signature = home.sign(CONTENT, key=fingerprint, at=moment(made))
    async with Keyring(home.path, clock=FakeClock(made - SKEW - timedelta(seconds=2))) as keyring:
        assert await refused(keyring, CONTENT, signature) is Reason.NOT_YET_VALID
        assert await refused(keyring, CONTENT, signature, made - timedelta(seconds=2)) is Reason.NOT_YET_VALID
        assert await refused(keyring, CONTENT, signature, NOW - timedelta(days=10)) is Reason.NOT_YET_VALID
    async with Keyring(home.path, clock=FakeClock(made - SKEW + timedelta(seconds=2))) as keyring:
        assert (await keyring.verify(CONTENT, signature)).primary == fingerprint


async def test_a_revoked_key_neither_signs_nor_verifies_at_any_time(home: gpg.Home) -> None:
    fingerprint = home.make(at=moment(NOW - timedelta(days=9)))
    signature = home.sign(CONTENT, key=fingerprint, at=moment(NOW - timedelta(days=8)))
    home.revoke(fingerprint)
    async with Keyring(home.path) as keyring:
        [certificate] = await keyring.certificates()
        assert certificate.is_revoked
        assert await refused(keyring, CONTENT, signature) is Reason.REVOKED_KEY
        assert await refused(keyring, CONTENT, signature, NOW - timedelta(days=7)) is Reason.REVOKED_KEY
        with pytest.raises(PgpError, match="revoked"):
            await keyring.sign(CONTENT, fingerprint)


async def test_a_revoked_or_expired_subkey_does_not_verify_though_its_primary_key_is_good(home: gpg.Home) -> None:
    primary = home.make(at=moment(NOW - timedelta(days=30)))
    first = home.add_subkey(primary, at=moment(NOW - timedelta(days=29)))
    second = home.add_subkey(primary, expires="2d", at=moment(NOW - timedelta(days=28)))
    by_first = home.sign(CONTENT, key=first, at=moment(NOW - timedelta(days=27)))
    by_second = home.sign(CONTENT, key=second, at=moment(NOW - timedelta(days=27)))
    home.revoke_subkey(primary)
    async with Keyring(home.path) as keyring:
        [certificate] = await keyring.certificates()
        assert [subkey.is_revoked for subkey in certificate.subkeys] == [True, False]
        assert not certificate.is_revoked
        assert await refused(keyring, CONTENT, by_first) is Reason.REVOKED_KEY
        assert await refused(keyring, CONTENT, by_second) is Reason.EXPIRED_KEY


async def test_an_expired_signature_is_refused(home: gpg.Home) -> None:
    fingerprint = home.make(at=moment(NOW - timedelta(days=9)))
    options = ("--armor", "--detach-sign", "--default-sig-expire", "2d")
    signature = home.sign(CONTENT, *options, key=fingerprint, at=moment(NOW - timedelta(days=8)))
    async with Keyring(home.path) as keyring:
        assert await refused(keyring, CONTENT, signature) is Reason.EXPIRED_SIGNATURE
        assert (await keyring.verify(CONTENT, signature, at=NOW - timedelta(days=7))).primary == fingerprint


async def test_a_signature_over_text_or_with_a_broken_hash_is_refused(home: gpg.Home) -> None:
    fingerprint = home.make(algorithm="rsa2048")
    textual = home.sign(b"a\nb\n", "--textmode", "--armor", "--detach-sign", key=fingerprint)
    weak = home.sign(CONTENT, "--digest-algo", "SHA1", "--armor", "--detach-sign", key=fingerprint)
    async with Keyring(home.path) as keyring:
        assert await refused(keyring, b"a\nb\n", textual) is Reason.WRONG_FORM
        assert await refused(keyring, CONTENT, weak) is Reason.WEAK_DIGEST


async def test_what_is_no_detached_signature_is_malformed(home: gpg.Home) -> None:
    fingerprint = home.make()
    armored = home.sign(CONTENT, key=fingerprint)
    odd = [
        b"",
        b"junk",
        b"\x80junk",
        home.sign(CONTENT, "--sign", key=fingerprint),
        home.sign(CONTENT, "--armor", "--sign", key=fingerprint),
        home.sign(CONTENT, "--clearsign", key=fingerprint),
        home.public(fingerprint),
        b"Hello\n" + armored,
        armored + b"Hello\n",
        armored + home.public(fingerprint) + armored[armored.index(b"-----END") :],
        armored[: len(armored) // 2],
    ]
    async with Keyring(home.path) as keyring:
        for signature in odd:
            assert await refused(keyring, CONTENT, signature) is Reason.MALFORMED, signature
            assert await refused(keyring, CONTENT * 100_000, signature) is Reason.MALFORMED  # more than a pipe takes
        binary = home.gpg("--dearmor", content=armored)
        assert (await keyring.verify(CONTENT, binary)).primary == fingerprint


async def test_export_and_sign_take_fingerprints_of_this_keyring_only() -> None:
    async with Keyring() as keyring:
        with pytest.raises(PgpError, match="no certificate"):
            await keyring.export("A" * 40, armored=True)
        with pytest.raises(PgpError, match="no secret part"):
            await keyring.sign(CONTENT, "A" * 40)


async def test_a_keyring_leaves_no_agent_and_a_private_one_no_folder(home: gpg.Home) -> None:
    fingerprint = home.make()
    secret = home.secret(fingerprint)
    async with Keyring() as keyring:
        await keyring.import_certificates(secret, secrets=True)
        await keyring.sign(CONTENT, fingerprint)
        private = keyring.home
        assert agents(private)
    assert agents(private) == []
    assert not private.exists()

    async with Keyring(home.path) as keyring:
        await keyring.sign(CONTENT, fingerprint)
    assert agents(home.path) == []
    async with Keyring(home.path, is_interactive=True) as keyring:
        await keyring.sign(CONTENT, fingerprint)
    assert agents(home.path)


async def test_a_keyring_that_is_closed_says_so(home: gpg.Home) -> None:
    async with Keyring(home.path) as keyring:
        pass
    with pytest.raises(PgpError, match="closed"):
        await keyring.certificates()


async def test_a_home_that_is_missing_or_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path, says in ((tmp_path / "missing", "No such file"), (file, "not a folder")):
        with pytest.raises(PgpError, match=says) as caught:
            async with Keyring(path):
                pass
        assert str(path) in str(caught.value)
