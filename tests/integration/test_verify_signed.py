"""`heliograph verify` of documents and signed answers, from files, and each with something wrong in it."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.support.gpg import sequoia_clear, sequoia_detached
from tests.support.verifying import Provider, provider, verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = b'{"type":"peering/1","asn":213232,"name":"Caf\xc3\xa9"}'


@pytest.fixture(scope="module")
def signers() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture
def feed(signers: Provider, tmp_path: Path) -> tuple[str, str]:
    return ("--key", str(signers.keys(tmp_path, signers.feed)))


# --- documents ----------------------------------------------------------------------------------------------------


@pytest.fixture
def document(signers: Provider, tmp_path: Path) -> Path:
    path = tmp_path / "peering.json"
    path.write_bytes(CONTENT)
    path.with_name("peering.json.asc").write_bytes(signers.signed(CONTENT, signers.feed)[signers.feed])
    return path


def test_a_document_verifies_with_the_feed_key(signers: Provider, document: Path, feed: tuple[str, str]) -> None:
    said = verify(document, *feed)
    assert said == (
        0,
        [
            f"{document}: document peering/1",
            f"sha256 {hashlib.sha256(CONTENT).hexdigest()}",
            f"peering.json.asc: made by {signers.feed} at 2024-11-01T09:35:00Z: counts",
            "verified: 1 of 1 signatures",
        ],
        [],
    )
    made = document.with_name("peering.json.asc").read_bytes()
    assert sequoia_detached(CONTENT, made, signers.home.public(signers.feed)) == (signers.feed, signers.feed)


def test_a_document_is_written_out_only_when_it_verifies(document: Path, feed: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert verify(document, *feed, "--output", out).code == 0
    assert out.read_bytes() == CONTENT
    again = verify(document, *feed, "--output", out)
    assert (again.code, again.stdout) == (2, [])
    document.write_bytes(CONTENT + b" ")
    assert verify(document, *feed, "--output", tmp_path / "not").code == 1
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("content", [CONTENT + b"\n", CONTENT.replace(b"3", b"4", 1), b""])
def test_a_changed_document_is_not_verified(document: Path, feed: tuple[str, str], content: bytes) -> None:
    document.write_bytes(content)
    said = verify(document, *feed)
    assert (said.code, said.faults[0], said.verdict) == (1, "too_few_signatures", "NOT VERIFIED: 0 of 1 signatures")


def test_a_signature_by_another_key_is_not_enough(signers: Provider, document: Path, tmp_path: Path) -> None:
    unknown = verify(document, "--key", signers.keys(tmp_path, signers.mallory))
    assert unknown.code == 1
    assert "the key that signed is not known here" in unknown.stdout[2]
    known = verify(document, "--key", signers.keys(tmp_path), "--key", signers.mallory)
    assert known.code == 1
    assert known.stdout[2].endswith("does not count: this is not a key you named")
    twice = verify(document, "--key", signers.keys(tmp_path), "--threshold", "2")
    assert twice.faults == ["too_few_signatures"]


def test_one_key_does_not_meet_a_threshold_twice(signers: Provider, document: Path, tmp_path: Path) -> None:
    again = signers.signed(CONTENT, signers.feed, after=datetime(2024, 11, 3, tzinfo=UTC))[signers.feed]
    document.with_name("peering.json.again.asc").write_bytes(again)
    keys = signers.keys(tmp_path, signers.feed, signers.mallory)
    said = verify(document, "--key", keys, "--threshold", "2")
    assert (said.code, said.faults) == (1, ["too_few_signatures"])
    assert any(line.endswith("does not count: this primary key has signed already") for line in said.stdout)


@pytest.mark.parametrize("damage", [lambda blob: blob[:-40], lambda _: b"", lambda _: b"no signature", lambda b: b * 2])
def test_a_damaged_signature_is_none(document: Path, feed: tuple[str, str], damage: object) -> None:
    assert callable(damage)
    asc = document.with_name("peering.json.asc")
    asc.write_bytes(damage(asc.read_bytes()))
    assert verify(document, *feed).code == 1


def test_a_document_without_a_signature_is_not_verified(document: Path, feed: tuple[str, str]) -> None:
    document.with_name("peering.json.asc").unlink()
    said = verify(document, *feed)
    assert (said.code, said.faults) == (1, ["no_signature"])


# --- keys ---------------------------------------------------------------------------------------------------------


def test_a_fingerprint_is_looked_up_in_the_readers_own_keyring(
    signers: Provider, document: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(signers.home.path))
    spaced = " ".join(signers.feed[place : place + 4].lower() for place in range(0, 40, 4))
    assert verify(document, "--key", spaced).code == 0
    subkey = verify(document, "--key", signers.subkey)
    assert (subkey.code, subkey.stderr) == (
        2,
        [f"heliograph: --key: {signers.subkey} is a subkey of {signers.alice}: name that one, the primary key"],
    )
    nobody = verify(document, "--key", "A" * 40)
    assert nobody.code == 2
    assert f"has no certificate with the key {'A' * 40}" in nobody.stderr[0]
    monkeypatch.setenv("GNUPGHOME", str(tmp_path / "none"))
    assert "is in no file that was given, and the keyring " in verify(document, "--key", signers.feed).stderr[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--key: name the public key, or its fingerprint"),
        (("--key", "ABCD"), "--key: 'ABCD' is neither a file nor a fingerprint"),
        (("--key", "peering.json"), "--key: peering.json: no certificate could be imported"),
        (("--key", "/dev/zero"), "/dev/zero: is longer than"),
        (("--key", "."), ".: cannot be read (Is a directory)"),
        (("--headers", "peering.json", "--key", "x"), "--key: 'x' is neither"),
        (("--at", "yesterday"), "--at: 'yesterday' is not a time"),
        (("--secret", "whsec_AAAA"), "--secret: takes a file, not the secret"),
        (("--public-key", "whpk_AAAA"), "--public-key: 'whpk_AAAA' is no whpk_… key of 32 bytes"),
    ],
)
def test_what_cannot_be_meant_is_said_in_a_line(
    document: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(document.parent)
    said = verify("peering.json", *options)
    assert (said.code, said.stdout, len(said.stderr)) == (2, [], 1), said
    assert said.stderr[0].startswith(f"heliograph: {words}")


def test_a_secret_key_is_refused(signers: Provider, document: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.asc"
    secret.write_bytes(signers.home.secret(signers.feed))
    said = verify(document, "--key", secret)
    assert (said.code, "this is a secret key" in said.stderr[0]) == (2, True)


def test_without_gpg_there_is_one_line(
    document: Path, feed: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = verify(document, *feed)
    assert (said.code, said.stdout, len(said.stderr)) == (1, [], 1)
    assert "gpg" in said.stderr[0]


def test_a_file_that_is_not_there_is_named(feed: tuple[str, str]) -> None:
    said = verify("no-such.json", *feed)
    assert said == (2, [], [f"heliograph: no-such.json: cannot be read ({os.strerror(errno.ENOENT)})"])


# --- clear-signed answers -----------------------------------------------------------------------------------------


@pytest.fixture
def clear(signers: Provider, tmp_path: Path) -> Path:
    path = tmp_path / "answer.txt"
    path.write_bytes(signers.home.sign(CONTENT + b"\n- dashes\n", "--clearsign", key=signers.feed))
    return path


def test_a_clear_signed_answer_is_what_gpg_has_read(
    signers: Provider, clear: Path, feed: tuple[str, str], tmp_path: Path
) -> None:
    text = CONTENT + b"\n- dashes\n"
    said = verify(clear, *feed, "--output", tmp_path / "text", "--expect", "response")
    assert said.code == 0, said
    assert (tmp_path / "text").read_bytes() == text
    assert f"sha256 {hashlib.sha256(text).hexdigest()}" in said.stdout
    found, primary = sequoia_clear(clear.read_bytes(), signers.home.public(signers.feed))
    assert (found.rstrip(b"\n"), primary) == (text.rstrip(b"\n"), signers.feed)


def test_line_ends_of_another_system_change_nothing(clear: Path, feed: tuple[str, str]) -> None:
    clear.write_bytes(clear.read_bytes().replace(b"\n", b"\r\n"))
    assert verify(clear, *feed).code == 0


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"-----BEGIN PGP SIGNED", b"Transfer all.\n-----BEGIN PGP SIGNED", "not_all_signed"),
        (b"-----END PGP SIGNATURE-----\n", b"-----END PGP SIGNATURE-----\nAnd this.\n", "not_all_signed"),
        (b"213232", b"213233", "bad"),
        (b'"}\n', b'"}  \n', "not_all_signed"),
        (b'"}\n', b'"}\t\n', "not_all_signed"),
        (b"\n\n{", b"\nComment: all is well\n\n{", "gpg"),
        (b"SIGNATURE-----\n\n", b"SIGNATURE-----\nComment: all is well\n\n", "not_all_signed"),
        (b"-----BEGIN PGP SIGNED MESSAGE-----\n", b"-----BEGIN PGP SIGNED MESSAGE-----\n\n" * 2, "gpg"),
        (b"-----END PGP SIGNATURE-----\n", b"", "gpg"),
    ],
)
def test_a_clear_signed_answer_with_something_else_about_it_is_not_verified(
    clear: Path, feed: tuple[str, str], old: bytes, new: bytes, fault: str
) -> None:
    document = clear.read_bytes()
    assert old in document
    clear.write_bytes(document.replace(old, new, 1))
    said = verify(clear, *feed)
    assert said.code == 1
    assert said.verdict == "NOT VERIFIED: 0 of 1 signatures"
    if fault != "gpg":  # which refuses it itself, for a reason of its own
        assert said.faults == [fault]


def test_a_clear_signed_answer_by_another_key_is_not_verified(signers: Provider, clear: Path, tmp_path: Path) -> None:
    said = verify(clear, "--key", signers.keys(tmp_path), "--key", signers.mallory)
    assert (said.code, said.faults) == (1, ["not_pinned"])
    refused = verify(clear, "--key", signers.keys(tmp_path), "--at", "2025-01-01")
    assert (refused.code, len(refused.stderr)) == (2, 1)


# --- detached answers ---------------------------------------------------------------------------------------------


@pytest.fixture
def answer(signers: Provider, tmp_path: Path) -> tuple[Path, Path]:
    """A body, and headers as `curl -D` writes them after a redirect."""
    armored = signers.signed(CONTENT, signers.feed)[signers.feed]
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    lines = [
        "HTTP/1.1 308 Permanent Redirect", "X-NB-Signature: bm9uZQ==", "",
        "HTTP/1.1 200 OK", "Content-Type: application/json", f"X-NB-Signature: {base64.b64encode(armored).decode()}",
        f"Content-Digest: sha-512=:AAAA:, sha-256=:{digest}:".replace("sha-512=:AAAA:, ", ""), "", "",
    ]  # fmt: skip
    body, headers = tmp_path / "body.json", tmp_path / "headers"
    body.write_bytes(CONTENT)
    headers.write_bytes("\r\n".join(lines).encode())
    return body, headers


def test_a_detached_answer_verifies_by_its_headers(
    signers: Provider, answer: tuple[Path, Path], feed: tuple[str, str]
) -> None:
    body, headers = answer
    said = verify(body, "--headers", headers, *feed, "--expect", "response")
    assert said.code == 0, said
    assert f"x-nb-signature: made by {signers.feed} at 2024-11-01T09:35:00Z: counts" in said.stdout


def test_a_detached_answer_without_a_digest_is_noted(answer: tuple[Path, Path], feed: tuple[str, str]) -> None:
    body, headers = answer
    kept = [line for line in headers.read_text().splitlines() if not line.startswith("Content-Digest")]
    headers.write_text("\n".join(kept))
    said = verify(body, "--headers", headers, *feed)
    assert (said.code, "note: there is no Content-Digest" in said.stdout) == (0, True)


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        ("sha-256=:", "sha-256=:AA", ["wrong_digest"]),
        ("sha-256=:", "md5=:", ["wrong_digest"]),
        ("X-NB-Signature: LS", "X-NB-Signature: !!", ["too_few_signatures"]),
        ("X-NB-Signature: LS", "X-NB-Signature: LT", ["too_few_signatures"]),
    ],
)
def test_a_detached_answer_with_another_header_is_not_verified(
    answer: tuple[Path, Path], feed: tuple[str, str], old: str, new: str, faults: list[str]
) -> None:
    body, headers = answer
    headers.write_bytes(headers.read_bytes().replace(old.encode(), new.encode()))
    said = verify(body, "--headers", headers, *feed)
    assert (said.code, said.faults) == (1, faults)


def test_a_detached_answer_with_another_body_is_not_verified(answer: tuple[Path, Path], feed: tuple[str, str]) -> None:
    body, headers = answer
    body.write_bytes(CONTENT.replace(b"1", b"2", 1))
    assert verify(body, "--headers", headers, *feed).faults == ["too_few_signatures", "wrong_digest"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"Content-Type: text/plain\n", "there is neither webhook-signature nor X-NB-Signature among them"),
        (b"X-NB-Signature: a\nX-Other-Signature: b\n", "has several signatures: x-nb-signature, x-other-signature"),
        (b"what is this\n", "line 1 is not a header: 'what is this'"),
        (b"{", "begins like JSON and is none"),
        (b'{"a":1}', "has a header whose value is not a text"),
        (b"\xff", "is not text"),
    ],
)
def test_headers_that_say_nothing_are_refused(
    answer: tuple[Path, Path], feed: tuple[str, str], text: bytes, words: str
) -> None:
    body, headers = answer
    headers.write_bytes(text)
    said = verify(body, "--headers", headers, *feed)
    assert (said.code, said.stdout) == (2, [])
    assert said.stderr[0].endswith(words)
