"""gpg's listings as certificates, and which key of one signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer.certificates import Certificate, Subkey, holds_secrets, of_key, parse, secret_parts, signing_key
from signer.faults import PgpError

P, S, T = "A" * 40, "B" * 40, "C" * 40
MADE = datetime.fromtimestamp(1_795_270_132, UTC)
LATER = MADE + timedelta(days=365)
LISTING = f"""tru::1:1795270132:1826806132:3:1:5
pub:u:255:22:7F3579D4A3A1E2A8:1795270132:1826806132::u:::scSC:::::ed25519:::0:
fpr:::::::::{P}:
grp:::::::::1111:
uid:u::::1795270132::3B86::Åfpr <a@x.example>::::::::::0:
uid:r::::1795270132::3B87::Gone::::::::::0:
uid:u::::1795270132::3B88::Two\\x3a lines\\x0ahere::::::::::0:
sub:r:255:22:0000000000000000:1795270132::::::s:::::ed25519::
fpr:::::::::{S}:
grp:::::::::2222:
sub:u:255:18:0000000000000000:1795270132:1826806132:::::e:::::cv25519::
fpr:::::::::{T}:
grp:::::::::3333:
""".encode()


def key(
    fingerprint: str = S,
    *,
    created_at: datetime = MADE,
    expires_at: datetime | None = LATER,
    is_revoked: bool = False,
    can_sign: bool = True,
) -> Subkey:
    return Subkey(fingerprint, f"grip of {fingerprint}", created_at, expires_at, is_revoked, can_sign)


def certificate(
    *subkeys: Subkey, expires_at: datetime | None = None, is_revoked: bool = False, can_sign: bool = True
) -> Certificate:
    return Certificate(P, "grip of P", MADE, expires_at, is_revoked, can_sign, ("A",), subkeys)


def test_a_listing_is_read_with_names_that_contain_anything() -> None:
    [found] = parse(LISTING)
    assert found == Certificate(
        fingerprint=P,
        keygrip="1111",
        created_at=MADE,
        expires_at=datetime.fromtimestamp(1_826_806_132, UTC),
        is_revoked=False,
        can_sign=True,
        user_ids=("Åfpr <a@x.example>", "Two: lines here"),
        subkeys=(
            Subkey(S, "2222", MADE, None, is_revoked=True, can_sign=True),
            Subkey(T, "3333", MADE, datetime.fromtimestamp(1_826_806_132, UTC), is_revoked=False, can_sign=False),
        ),
    )
    assert found.fingerprints == {P, S, T}
    assert of_key([found], S) is found


@given(st.binary(max_size=300))
def test_no_listing_breaks_the_reader(listing: bytes) -> None:
    parse(listing)
    parse(b"pub:" + listing)
    secret_parts(b"sec:" + listing)
    holds_secrets(listing)


def test_a_stub_is_no_secret_part_and_a_card_is_one() -> None:
    def listed(kind: str, token: str, fingerprint: str) -> str:
        return f"{kind}:u:255:22:0:1795270132:::u:::s:::{token}::ed25519:::0:\nfpr:::::::::{fingerprint}:\n"

    listing = listed("sec", "#", P) + listed("ssb", "+", S) + listed("ssb", "D2760001240102010006", T)
    assert secret_parts(listing.encode()) == {S, T}
    assert holds_secrets(listing.encode())
    assert not holds_secrets(LISTING)


@pytest.mark.parametrize(
    ("subkeys", "secrets", "asked", "signs"),
    [
        ([], {P}, P, P),
        ([key()], {P, S}, P, S),
        ([key()], {P}, P, P),
        ([key()], {P, S}, S, S),
        ([key(S), key(T, created_at=MADE + timedelta(1))], {S, T}, P, T),
        ([key(S), key(T, created_at=MADE + timedelta(1))], {S, T}, S, S),
        ([key(S), key(T, created_at=MADE + timedelta(1), is_revoked=True)], {S, T}, P, S),
        ([key(S), key(T, created_at=MADE + timedelta(1), expires_at=MADE)], {S, T}, P, S),
        ([key(S), key(T, created_at=MADE + timedelta(1), can_sign=False)], {S, T}, P, S),
    ],
)
def test_the_newest_subkey_that_can_signs_for_its_primary_key(
    subkeys: list[Subkey], secrets: set[str], asked: str, signs: str
) -> None:
    assert signing_key(certificate(*subkeys), asked, secrets, MADE).fingerprint == signs


@pytest.mark.parametrize(
    ("made", "secrets", "asked", "says"),
    [
        (certificate(), set(), P, "no secret part"),
        (certificate(can_sign=False), {P}, P, "no secret part"),
        (certificate(is_revoked=True), {P}, P, "revoked"),
        (certificate(key(), is_revoked=True), {P, S}, S, "revoked"),
        (certificate(expires_at=MADE), {P}, P, "expired"),
        (certificate(key(), expires_at=MADE), {S}, S, "expired"),
        (certificate(key(expires_at=MADE)), {P, S}, S, "expired"),
        (certificate(key(is_revoked=True)), {P, S}, S, "revoked"),
        (certificate(key()), {P}, S, "no secret part"),
    ],
)
def test_a_key_that_cannot_sign_is_named(made: Certificate, secrets: set[str], asked: str, says: str) -> None:
    with pytest.raises(PgpError, match=says) as refused:
        signing_key(made, asked, secrets, MADE)
    assert asked in str(refused.value)


def test_a_key_of_no_certificate_is_named() -> None:
    with pytest.raises(PgpError, match=T):
        of_key([certificate(key())], T)
