"""Secrets at rest: what is sealed opens for its owner alone, and no text on the way contains one."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from publisher import secrets
from publisher.secrets import Answer, Owner, Sealed, SealError, Vault

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
OWNER = Owner("acct_1", "we_1", 1)
SECRET = b"a customer's secret of 32 bytes!"


def test_a_new_secret_is_32_random_bytes() -> None:
    made = {secrets.new_secret() for _ in range(100)}
    assert len(made) == 100
    assert {len(secret) for secret in made} == {32}


def test_it_is_shown_as_the_standard_says_and_the_public_library_reads_it() -> None:
    shown = secrets.shown(SECRET)
    assert shown == "whsec_" + base64.b64encode(SECRET).decode()
    assert Webhook(shown)._whsecret == SECRET


def test_a_public_key_is_shown_as_the_standard_says_and_checks_what_its_seed_signed() -> None:
    # RFC 8032, 7.1, TEST 2
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    assert secrets.public_half(seed) == public
    assert secrets.shown_public(public) == "whpk_" + base64.b64encode(public).decode()


def test_a_symmetric_secret_that_was_sealed_before_there_were_kinds_still_opens() -> None:
    nonce = bytes(secrets.NONCE_BYTES)
    blob = nonce + AESGCM(OLD).encrypt(nonce, SECRET, b"acct_1|we_1|1")
    assert Vault({"k1": OLD}).open(Sealed("k1", blob), OWNER) == SECRET


@given(st.binary(min_size=1, max_size=64))
def test_what_is_sealed_opens_and_does_not_contain_the_secret(secret: bytes) -> None:
    sealed = Vault({"k1": OLD}).seal(secret, OWNER)
    assert Vault({"k1": OLD}).open(sealed, OWNER) == secret
    assert len(sealed.blob) == secrets.NONCE_BYTES + len(secret) + 16
    assert len(secret) < 4 or secret not in sealed.blob


def test_the_same_secret_is_never_sealed_to_the_same_bytes() -> None:
    vault = Vault({"k1": OLD})
    assert len({vault.seal(SECRET, OWNER).blob for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "thief",
    [
        Owner("acct_2", "we_1", 1),
        Owner("acct_1", "we_2", 1),
        Owner("acct_1", "we_1", 2),
        Owner("acct_1", "we_1", 1, "ed25519"),
    ],
    ids=["account", "endpoint", "version", "kind"],
)
def test_a_ciphertext_moved_to_another_row_does_not_open(thief: Owner) -> None:
    vault = Vault({"k1": OLD})
    with pytest.raises(SealError, match="the key or the row was changed"):
        vault.open(vault.seal(SECRET, OWNER), thief)


def test_a_kept_answer_opens_for_its_account_and_key_alone_and_is_not_taken_for_a_secret() -> None:
    vault = Vault({"k1": OLD})
    owner = Answer("acct_1", bytes(32))
    sealed = vault.seal(b"{}", owner)
    assert vault.open(sealed, owner) == b"{}"
    for thief in (Answer("acct_2", bytes(32)), Answer("acct_1", bytes([1] * 32)), OWNER, Owner("idempotency", "a", 1)):
        with pytest.raises(SealError) as caught:
            vault.open(sealed, thief)
        assert "acct_" not in str(caught.value)
    with pytest.raises(
        SealError, match=r"^an answer kept for an Idempotency-Key was sealed with key 'k1', which is not"
    ):
        Vault({"k2": OLD}).open(sealed, owner)


@pytest.mark.parametrize("position", [0, secrets.NONCE_BYTES, -1], ids=["nonce", "text", "tag"])
def test_a_changed_byte_does_not_open(position: int) -> None:
    vault = Vault({"k1": OLD})
    blob = bytearray(vault.seal(SECRET, OWNER).blob)
    blob[position] ^= 1
    with pytest.raises(SealError):
        vault.open(Sealed("k1", bytes(blob)), OWNER)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 11, 12, 27])
def test_what_was_cut_short_is_a_seal_error_too(length: int) -> None:
    vault = Vault({"k1": OLD})
    with pytest.raises(SealError, match="we_1"):
        vault.open(Sealed("k1", vault.seal(SECRET, OWNER).blob[:length]), OWNER)


def test_the_first_key_seals_and_all_of_them_open() -> None:
    before = Vault({"old": OLD}).seal(SECRET, OWNER)
    during = Vault({"new": NEW, "old": OLD})
    after = during.seal(SECRET, OWNER)
    assert (before.key_id, after.key_id) == ("old", "new")
    assert during.open(before, OWNER) == during.open(after, OWNER) == SECRET
    assert Vault({"new": NEW}).open(after, OWNER) == SECRET


def test_a_key_that_is_gone_is_named() -> None:
    sealed = Vault({"old": OLD}).seal(SECRET, OWNER)
    with pytest.raises(SealError, match=r"endpoint we_1 .* key 'old', which is not in HELIOGRAPH_SECRET_KEYS"):
        Vault({"new": NEW}).open(sealed, OWNER)


def test_another_key_under_the_same_name_does_not_open_and_no_error_tells_a_secret() -> None:
    sealed = Vault({"k1": OLD}).seal(SECRET, OWNER)
    with pytest.raises(SealError) as caught:
        Vault({"k1": NEW}).open(sealed, OWNER)
    with pytest.raises(SealError) as missing:
        Vault({"k2": NEW}).open(sealed, OWNER)
    for text in (str(caught.value), str(missing.value), repr(sealed), repr(Vault({"k1": OLD}))):
        for secret in (SECRET, OLD, NEW):
            assert secret.decode("latin-1") not in text
            assert base64.b64encode(secret).decode() not in text
            assert secret.hex() not in text
    assert caught.value.__cause__ is None
