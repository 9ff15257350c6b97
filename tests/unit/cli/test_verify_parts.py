"""The pure parts of `heliograph verify`: headers, digests, pages, addresses, and what a reader of a text sees."""

from __future__ import annotations

import base64
import hashlib

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from publisher.cli.verify_headers import HeaderError, digest_fault, parse, signature_header
from publisher.cli.verify_outcome import LONGEST_SHOWN, shown
from publisher.cli.verify_signed import what_is
from publisher.cli.verify_sources import is_loopback
from publisher.cli.verify_view import MOST_SIGNATURES, contradictions
from publisher.cli.verify_view import parse as parse_view
from signer.verification import visible_text

SHA256 = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
SHA512 = base64.b64encode(hashlib.sha512(b"x").digest()).decode()
CLEAR = (
    b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n%b"
    b"-----BEGIN PGP SIGNATURE-----\n\niHUEARYIAB0=\n=GbGm\n-----END PGP SIGNATURE-----\n"
)

names = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
values = st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), max_size=40)


@given(headers=st.dictionaries(names, values, max_size=5))
def test_headers_are_read_as_they_are_written(headers: dict[str, str]) -> None:
    lines = [f"{name.title()}:  {value} \r\n" for name, value in headers.items()]
    assert parse("".join(["HTTP/2 200 \r\n", *lines, "\r\n"]).encode()) == headers
    assert parse(orjson.dumps(headers)) == headers


@given(content=st.binary(max_size=200))
@example(content=b"{}")
@example(content=b"{[")
@example(content=b"HTTP/1.1 200")
def test_whatever_stands_in_a_file_of_headers_is_read_or_refused_in_a_line(content: bytes) -> None:
    fault = ""
    try:
        parse(content)
    except HeaderError as error:
        fault = str(error)
    assert "\n" not in fault


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (f"sha-256=:{SHA256}:", ""),
        (f"sha-512=:{SHA512}:", ""),
        (f"md5=:AAAA:, sha-256=:{SHA256}:", ""),
        (f" sha-512=:{SHA512}: , sha-256=:{SHA256}:;a=1", ""),
        (f"sha-256=:{SHA256}:, sha-512=:{SHA256}:", "Content-Digest names another sha-512 than that of these bytes"),
        (f"sha-256=:{SHA512}:", "Content-Digest names another sha-256 than that of these bytes"),
        ("sha-256=::", "Content-Digest names another sha-256 than that of these bytes"),
        ("sha-256=:=:", "Content-Digest names another sha-256 than that of these bytes"),
        (f"sha-256={SHA256}", "Content-Digest has neither sha-256 nor sha-512"),
        ("", "Content-Digest has neither sha-256 nor sha-512"),
    ],
)
def test_a_digest_fits_or_what_is_wrong_is_said(value: str, fault: str) -> None:
    assert digest_fault(value, b"x") == fault


def test_the_header_with_the_signature_is_found_whatever_the_prefix() -> None:
    assert signature_header({"x-nb-signature": "a", "signature": "b"}) == "x-nb-signature"
    assert signature_header({"x-tiny-signature": "a"}) == "x-tiny-signature"
    assert signature_header({"content-type": "a", "webhook-signature": "b"}) is None


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (b"a\nb\n", b"a\nb\n"),
        (b"- -dash\n", b"-dash\n"),
        (b"- - x\n", b"- x\n"),
        (b"", b""),
        (b"\n", b"\n"),
        (b"a  \n", b"a  \n"),
        (b"-dash\n", None),
        (b"a\n-----BEGIN PGP SIGNATURE-----\nfake\n", None),
    ],
)
def test_a_reader_sees_the_text_with_its_dashes(text: bytes, seen: bytes | None) -> None:
    assert visible_text(CLEAR % text) == seen
    assert visible_text((CLEAR % text).replace(b"\n", b"\r\n")) == seen


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Hash: SHA256\n", b"Hash: SHA256\nComment: x\n"),
        (b"Hash: SHA256\n\n", b"Hash: SHA256\n"),
        (b"-----BEGIN PGP SIGNED", b"x\n-----BEGIN PGP SIGNED"),
        (b"SIGNATURE-----\n\n", b"SIGNATURE-----\nComment: x\n\n"),
        (b"-----END PGP SIGNATURE-----\n", b"-----END PGP SIGNATURE-----\nx"),
        (b"-----END PGP SIGNATURE-----\n", b""),
        (b"-----BEGIN PGP SIGNATURE-----\n", b""),
    ],
)
def test_where_something_stands_around_the_text_there_is_none(old: bytes, new: bytes) -> None:
    document = CLEAR % b"a\n"
    assert old in document
    assert visible_text(document.replace(old, new)) is None


@given(content=st.binary(max_size=100))
def test_no_document_breaks_the_look_at_it(content: bytes) -> None:
    for document in (content, CLEAR % content, CLEAR[:40] + content):
        assert visible_text(document) is None or document.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b"{", b'{"signed":7}', b'{"signed":[]}', b'{"signed":{"document":7}}', b'{"signed":{"a":1}}',
    ],
)  # fmt: skip
def test_what_is_no_page_is_none(content: bytes) -> None:
    assert parse_view(content) is None


def test_a_page_of_any_shape_gives_the_signatures_that_are_some() -> None:
    listed = [
        {"armored": "a", "fingerprint": "../../etc"},
        {"armored": 7},
        8,
        {"armored": "b", "fingerprint": "A" * 40},
    ]
    found = parse_view(orjson.dumps({"signed": {"document": "{}", "signatures": listed}}))
    assert found is not None
    assert found.signatures == {"signature-1.unnamed.asc": b"a", f"signature-4.{'A' * 16}.asc": b"b"}
    many = parse_view(orjson.dumps({"signed": {"document": "{}", "signatures": [{"armored": "a"}] * 99}}))
    assert many is not None
    assert len(many.signatures) == MOST_SIGNATURES
    none = parse_view(b'{"signed":{"document":null}}')
    assert none is not None
    assert none.document is None


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ({}, []),
        ({"state": "revoked"}, []),
        ({"state": "current"}, ["state"]),
        ({"state": None}, ["state"]),
        ({"next_due": "2026-12-01T00:00:00Z", "state": "due"}, ["next_due", "state"]),
    ],
)
def test_over_a_retirement_a_page_can_only_say_that_it_is_over(says: dict[str, object], found: list[str]) -> None:
    signed = {"retirement": "We stop.", "sequence": None, "next_due": None, "expires_at": None}
    page = orjson.dumps({"signed": {"document": orjson.dumps(signed).decode()}} | says)
    view = parse_view(page)
    assert view is not None
    assert contradictions(view) == found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00", "1 bytes"),
        (b"[]", "JSON"),
        (b'{"type":"peering/1"}', "document peering/1"),
        (b'{"type":"x/1"}', "JSON of the type x/1"),
        (b'{"type":"\\u001b[2Jx"}', "JSON of the type \\x1b[2Jx"),
        (b'{"a":1,"b":2}', "JSON with a, b"),
        (b'{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1}', "JSON with a, b, c, d, e, f, …"),
    ],
)
def test_what_it_is_in_a_few_harmless_words(content: bytes, words: str) -> None:
    assert what_is(content) == words


@given(text=st.text(max_size=300))
def test_what_others_wrote_is_shown_in_one_short_printable_line(text: str) -> None:
    made = shown(text)
    assert made.isprintable()
    assert len(made) <= LONGEST_SHOWN + 1


@pytest.mark.parametrize(
    ("host", "is_this"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("localhost.example.com", False), ("10.0.0.1", False), ("0.0.0.0", False), ("", False),  # noqa: S104 - is no bind
    ],
)  # fmt: skip
def test_only_this_machine_is_this_machine(host: str, is_this: bool) -> None:  # noqa: FBT001 - of a table
    assert is_loopback(host) is is_this
