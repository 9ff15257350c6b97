"""The Web Key Directory: names as the draft has them, and keys with one address left."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pysequoia
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer import wkd
from signer.faults import PgpError
from signer.wkd import Mailbox
from tests.support import gpg

if TYPE_CHECKING:
    from collections.abc import Iterator

ALPHABET = "ybndrfg8ejkmcpqxot1uwisza345h769"
JOE = Mailbox("Joe.Doe", "example.org")


@pytest.fixture(scope="module")
def several() -> Iterator[bytes]:
    """A key with three names and a subkey, as gpg writes it."""
    with gpg.home() as made:
        key = made.make("Joe Doe <Joe.Doe@Example.ORG>")
        for name in ("Joe at home <joe@home.example>", "joe@bare.example"):
            made.gpg("--quick-add-uid", key, name)
        made.add_subkey(key)
        yield made.gpg("--export", key)


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        (b"", ""),
        (b"\x00", "yy"),
        (b"\xff", "9h"),
        (b"\xf0\xbf\xc7", "6n9hq"),
        (b"\xd4\x7a\x04", "4t7ye"),
    ],
)
def test_zbase32_is_as_its_inventor_shows_it(data: bytes, encoded: str) -> None:
    assert wkd.zbase32(data) == encoded


@given(st.binary(max_size=64))
def test_zbase32_can_be_read_back(data: bytes) -> None:
    encoded = wkd.zbase32(data)
    bits = "".join(f"{ALPHABET.index(each):05b}" for each in encoded)
    assert bytes(int(bits[start : start + 8], 2) for start in range(0, len(data) * 8, 8)) == data
    assert len(encoded) == -(-len(data) * 8 // 5)


def test_the_drafts_own_address_has_the_drafts_own_name() -> None:
    assert wkd.name_of("Joe.Doe") == "iy9q119eutrkn8s1mk4r39qejnbu3n5q"
    assert JOE.place == ("example.org", wkd.name_of("joe.doe"))


def test_ascii_letters_alone_are_made_small() -> None:
    assert wkd.name_of("ÄB") == wkd.name_of("Äb")
    assert wkd.name_of("Äb") != wkd.name_of("äb")


@pytest.mark.parametrize(
    ("user_id", "found"),
    [
        ("Joe Doe <Joe.Doe@Example.ORG>", JOE),
        ("Joe (x) <Joe.Doe@example.org> ", JOE),
        ("Joe.Doe@example.org", JOE),
        ("<Joe.Doe@example.org>", JOE),
        ("Joe <other@x.example> <Joe.Doe@example.org>", JOE),
        ("Joe Doe", None),
        ("Joe <joe>", None),
        ("Joe <joe@example.org> trailing", None),
        ("Joe <a b@example.org>", None),
        ("a@b@c", None),
        ("", None),
    ],
)
def test_an_address_is_found_in_a_user_id(user_id: str, found: Mailbox | None) -> None:
    assert wkd.mailbox(user_id) == found


@pytest.mark.parametrize("address", ["Joe.Doe@example.org", "joe@home.example", "joe@bare.example"])
def test_a_key_keeps_the_name_of_one_address_and_stays_valid(several: bytes, address: str) -> None:
    place = Mailbox(*address.split("@")).place
    left = wkd.only(several, place)
    cert = pysequoia.Cert.from_bytes(left)
    assert [each.lower().removesuffix(">").split("<")[-1] for each in map(str, cert.user_ids)] == [address.lower()]
    whole = pysequoia.Cert.from_bytes(several)
    assert cert.fingerprint == whole.fingerprint
    with gpg.home() as other:  # gpg checks the self-signatures when it imports
        other.take(left)
        assert len(other.fingerprints()) == 2


def test_gpg_has_the_same_names_for_them(several: bytes) -> None:
    with gpg.home() as other:
        other.take(several)
        listed = other.gpg("--list-keys", "--with-wkd-hash").decode()
    for address in ("Joe.Doe@example.org", "joe@home.example", "joe@bare.example"):
        local, domain = address.split("@")
        assert f"{wkd.name_of(local)}@{domain}\n" in listed


def test_all_names_of_a_key_can_be_told(several: bytes) -> None:
    assert set(wkd.user_ids(several)) == {
        "Joe Doe <Joe.Doe@Example.ORG>",
        "Joe at home <joe@home.example>",
        "joe@bare.example",
    }


def test_a_secret_key_is_never_given_away() -> None:
    for kind in (5, 7):
        with pytest.raises(PgpError, match="secret"):
            wkd.only(bytes([0xC0 | kind, 1, 0]), JOE.place)


def packet(kind: int, body: bytes, *, octets: int) -> bytes:
    """Write a packet, its length in so many octets; in the old format where that has one."""
    if octets == 1:
        return bytes([0xC0 | kind, len(body)]) + body
    if octets == 2:
        length = len(body) - 192
        return bytes([0xC0 | kind, (length >> 8) + 192, length & 255]) + body
    return bytes([0xC0 | kind, 255]) + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(("octets", "size"), [(1, 0), (1, 191), (2, 192), (2, 8383), (5, 0), (5, 9000)])
def test_lengths_in_the_new_format_are_read(octets: int, size: int) -> None:
    key = packet(6, b"k" * size, octets=octets) + packet(13, b"Joe.Doe@example.org", octets=1)
    assert wkd.only(key, JOE.place) == key


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_lengths_in_the_old_format_are_read(kind: int) -> None:
    key = bytes([0x80 | 6 << 2 | kind]) + (7).to_bytes(1 << kind, "big") + b"k" * 7
    assert wkd.only(key, JOE.place) == key


def test_pictures_trust_and_their_signatures_are_left_out() -> None:
    parts = [(6, b"key"), (13, b"Joe.Doe@example.org"), (2, b"hers"), (12, b"t"), (17, b"jpeg"), (2, b"of the picture")]
    parts += [(13, b"Other <other@example.org>"), (2, b"of the other"), (14, b"subkey"), (2, b"binding")]
    key = b"".join(packet(kind, body, octets=1) for kind, body in parts)
    kept = b"".join(packet(*parts[index], octets=1) for index in (0, 1, 2, 8, 9))
    assert wkd.only(key, JOE.place) == kept


@pytest.mark.parametrize(
    "broken",
    [
        b"-----BEGIN",
        bytes([0x80 | 6 << 2 | 3]),
        bytes([0xC6, 224, 0]) + b"k" * 8384,
        bytes([0xC6]),
        bytes([0xC6, 200]),
        bytes([0xC6, 2, 1]),
    ],
)
def test_what_is_no_key_is_said_so(broken: bytes) -> None:
    with pytest.raises(PgpError):
        wkd.only(broken, JOE.place)


@given(st.binary(max_size=200))
def test_nothing_crashes_it(data: bytes) -> None:
    with contextlib.suppress(PgpError):
        assert len(wkd.only(data, JOE.place)) <= len(data)
