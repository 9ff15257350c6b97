"""A statement has one way to be written, and nothing in it that nobody asked for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from signer.canary_draft import FOR_A_HOST, DraftError, read_statements
from signer.statement import (
    MAX_BYTES,
    Affirmation,
    Block,
    Document,
    Headline,
    Statement,
    StatementError,
    encode,
    moment_text,
    sha256,
    signature_name,
)
from tests.support.canaries import ALICE, FIRST, altered, first, retirement, successor

LINES = st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable() and text == text.strip())

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(9000, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


def refused(content: bytes) -> StatementError:
    with pytest.raises(StatementError) as caught:
        Document.read(content)
    assert "\n" not in str(caught.value)
    return caught.value


def told(document: Document, **changes: Any) -> bytes:
    return rfc8785.dumps(json.loads(document.content) | changes)


def without(document: Document, name: str) -> bytes:
    return rfc8785.dumps({key: value for key, value in json.loads(document.content).items() if key != name})


def test_the_bytes_of_a_canary_are_these() -> None:
    """Whoever writes a verifier in another language starts from here."""
    document = first(statements=(Affirmation(id="warrants", text='"No" été €.'),), signers=(ALICE,), threshold=1)
    assert document.content.decode() == (
        '{"acknowledged_removals":[],"expires_at":"2026-12-08T00:00:00Z","freshness":{"block":{"chain":"bitcoin",'
        '"hash":"0000000000000000000000000000000000000000000000000000000000000001","height":900001},"headlines":'
        '[{"source":"Paper","title":"News of day 1"}]},"issued_at":"2026-11-01T09:30:00Z","jurisdictions":["FI","IS",'
        '"NO","SE"],"next_due":"2026-12-01T00:00:00Z","previous_sha256":null,"provider":"NordBastion","retirement":null,'
        '"scope":"All bastions","sequence":1,"signers":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],"statements":'
        '[{"id":"warrants","text":"\\"No\\" été €."}],"threshold":1,"type":"warrant-canary/1"}'
    )


@pytest.mark.parametrize("document", [first(), successor(first(), FIRST + timedelta(days=29)), retirement()])
def test_what_is_written_is_read(document: Document) -> None:
    assert Document.read(document.content) == document
    assert document.sha256 == sha256(document.content)


@given(LINES, LINES, st.lists(st.tuples(LINES, LINES), max_size=3), MOMENTS)
def test_what_is_written_is_read_whatever_it_says(
    provider: str, text: str, headlines: list[tuple[str, str]], moment: datetime
) -> None:
    given_headlines = tuple(Headline(source=source, title=title) for source, title in headlines)
    document = altered(
        first(),
        provider=provider,
        statements=(Affirmation(id="a", text=text),),
        freshness=first().statement.freshness.model_copy(update={"headlines": given_headlines}),
        issued_at=moment.replace(microsecond=0),
    )
    assert Document.read(document.content) == document


@given(st.data())
def test_a_canary_with_any_bytes_changed_is_none_or_another_one(data: st.DataObject) -> None:
    content = bytearray(first().content)
    start = data.draw(st.integers(0, len(content)))
    content[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        read = Document.read(bytes(content))
    except StatementError:
        return
    assert read.content == content
    assert (read.statement == first().statement) == (bytes(content) == first().content)


@pytest.mark.parametrize(
    "content",
    [
        first().content + b"\n",
        b" " + first().content,
        json.dumps(json.loads(first().content), indent=1).encode(),
        first().content.replace(b'"provider":"NordBastion"', b'"provider":"NordBastio\\u006e"'),
        first().content.replace(b'"threshold":2', b'"threshold":1,"threshold":2'),
        first().content.replace(b"09:30:00Z", b"09:30:00+00:00"),
        first().content.replace(b"2026-11-01T09:30:00Z", b"2026-11-01T10:30:00+01:00"),
        first().content.replace(b'"retirement":null,', b""),
    ],
    ids=["line end", "blank", "indented", "escaped", "key twice", "offset", "another zone", "left out"],
)
def test_another_spelling_of_a_canary_is_refused(content: bytes) -> None:
    error = refused(content)
    assert (str(error), error.is_canonical) == ("is not canonical JSON (RFC 8785)", False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Invalid JSON"),
        (b"{}", "provider: Field required"),
        (b"[" * 10_000, "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b" " * (MAX_BYTES + 1), f"is longer than {MAX_BYTES} bytes"),
        (told(first(), surplus=1), "surplus: Extra inputs are not permitted"),
        (told(first(), type="warrant-canary/2"), "type: Input should be 'warrant-canary/1'"),
        (told(first(), provider=""), "provider: String should have at least 1 character"),
        (told(first(), provider="Nord\nBastion"), "provider: must be one line of printable characters"),
        (told(first(), provider="Nord\x1b[2JBastion"), "provider: must be one line of printable characters"),
        (told(first(), provider="Nord\u202eBastion"), "provider: must be one line of printable characters"),
        (told(first(), provider="Nord "), "provider: must be one line of printable characters"),
        (told(first(), jurisdictions=["SE", "FI"]), "jurisdictions: must be in ascending order"),
        (told(first(), jurisdictions=["Sweden"]), "jurisdictions.0: String should match pattern"),
        (told(first(), jurisdictions=[]), "jurisdictions: Tuple should have at least 1 item"),
        (told(first(), signers=[ALICE, ALICE]), "signers: must be in ascending order, each once"),
        (told(first(), signers=[ALICE[-16:]]), "signers.0: String should match pattern"),
        (told(first(), signers=[ALICE.lower()]), "signers.0: String should match pattern"),
        (told(first(), threshold=4), "threshold is 4 of 3 signers"),
        (told(first(), threshold=0), "threshold: Input should be greater than or equal to 1"),
        (told(first(), threshold="2"), "threshold: Input should be a valid integer"),
        (told(first(), threshold=True), "threshold: Input should be a valid integer"),
        (told(first(), statements=[]), "statements: there is none"),
        (told(first(), statements=[{"id": "a", "text": "x"}] * 2), "statements: an id stands twice"),
        (told(first(), statements=[{"id": "scope", "text": "x"}]), "statements.0: 'scope' is not free"),
        (told(first(), statements=[{"id": "A b", "text": "x"}]), "statements.0.id: String should match pattern"),
        (told(first(), statements=[{"id": "a\n", "text": "x"}]), "statements.0.id: String should match pattern"),
        (told(first(), statements=[{"id": "a", "text": "x", "y": 1}]), "statements.0.y: Extra inputs"),
        (told(first(), sequence=None), "sequence is missing"),
        (told(first(), next_due=None), "next_due is missing"),
        (told(first(), expires_at=None), "expires_at is missing"),
        (told(first(), sequence=0), "sequence: Input should be greater than or equal to 1"),
        (told(first(), sequence=2), "previous_sha256 is there from the second on"),
        (told(first(), previous_sha256="0" * 64), "previous_sha256 is there from the second on"),
        (told(first(), acknowledged_removals=["a"]), "acknowledged_removals: nothing came before"),
        (told(first(), issued_at="2026-11-01T09:30:00.5Z"), "issued_at: has fractions of a second"),
        (told(first(), issued_at="2026-11-01T09:30:00"), "issued_at: Input should have timezone info"),
        (told(first(), issued_at="0001-01-01T00:00:00+23:00"), "issued_at: is not of the years 2000 to 9000"),
        (told(first(), issued_at="9999-12-31T23:59:59-23:00"), "issued_at: is not of the years 2000 to 9000"),
        (told(first(), freshness={"block": None, "headlines": []}), "freshness: neither a block nor a headline"),
        (told(retirement(), sequence=2), "sequence has no place in a retirement"),
        (told(retirement(), previous_sha256="0" * 64), "previous_sha256 has no place in a retirement"),
        (told(retirement(), next_due="2026-12-01T00:00:00Z"), "next_due has no place in a retirement"),
        (told(retirement(), expires_at="2026-12-01T00:00:00Z"), "expires_at has no place in a retirement"),
        (told(retirement(), statements=[{"id": "a", "text": "x"}]), "a retirement affirms nothing"),
        (told(retirement(), acknowledged_removals=["a"]), "a retirement affirms nothing"),
        (without(first(), "expires_at"), "expires_at: Field required"),
    ],
)
def test_what_is_no_statement_is_refused_and_says_where(content: bytes, words: str) -> None:
    error = refused(content)
    assert str(error).startswith(words)
    assert error.is_canonical


def test_names_that_others_wrote_are_repeated_harmless_and_short() -> None:
    loose = orjson.loads(first().content)
    for name, words in (
        ("\x1b[32mverified\n\u202e", "'\\x1b[32mverified\\n\\u202e': Extra inputs are not permitted"),
        ("é" * 65, "é" * 64 + "…: Extra inputs are not permitted"),
        ("é" * 64, "é" * 64 + ": Extra inputs are not permitted"),
    ):
        with pytest.raises(StatementError) as refused:
            Document.read(orjson.dumps({name: 1} | loose))
        assert str(refused.value) == words


@pytest.mark.parametrize("digest", ["0" * 7 + "1" * 57, "0" * 63, "0" * 8 + "A" * 56])
def test_a_hash_that_no_work_went_into_is_no_block(digest: str) -> None:
    with pytest.raises(ValidationError):
        Block(height=1, hash=digest)


def test_moments_are_written_in_utc() -> None:
    east = datetime(2026, 11, 1, 2, tzinfo=timezone(timedelta(hours=3)))
    assert moment_text(east) == "2026-10-31T23:00:00Z"
    issued_at = altered(first(), issued_at=east).statement.issued_at
    assert (issued_at, issued_at.tzinfo) == (east, UTC)


def test_files_are_named_by_number_and_signer() -> None:
    fingerprint = "0123456789ABCDEF0123" * 2
    assert [first().name, successor(first(), FIRST + timedelta(days=1)).name] == ["canary-1.json", "canary-2.json"]
    assert retirement().name == "canary-retirement.json"
    assert signature_name("canary-1.json", fingerprint) == f"canary-1.json.{fingerprint[-16:]}.asc"


def test_the_set_for_a_host_covers_what_a_host_is_asked_about() -> None:
    found = [each.id for each in read_statements(FOR_A_HOST)]
    assert {"warrants", "gag-orders", "subpoenas", "traffic-interception", "seizures", "coercion"} <= set(found)
    assert {"key-compromise", "credential-compromise"} <= set(found)
    document = first(statements=read_statements(FOR_A_HOST))
    assert Document.read(document.content) == document


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("statements = 1\n[", "is not TOML"),
        ("[[statement]]\nid = 'a'", "must hold [[statements]] and nothing else"),
        ("[[statements]]\nid = 'a'", "statements: 0.text: Field required"),
        ("statements = ['a']", "statements: 0: Input should be"),
        ("statements = 7", "statements: Input should be a valid tuple"),
    ],
)
def test_a_set_of_statements_that_cannot_be_is_named(tmp_path: Any, text: str, words: str) -> None:
    path = tmp_path / "set.toml"
    path.write_text(text)
    with pytest.raises(DraftError) as caught:
        read_statements(path)
    assert str(caught.value).startswith(f"{path}: {words}")


def test_a_set_of_statements_that_is_not_there_is_named(tmp_path: Any) -> None:
    with pytest.raises(DraftError, match=r"none\.toml: cannot be read \(No such file"):
        read_statements(tmp_path / "none.toml")


def test_encoding_does_not_depend_on_how_it_was_made() -> None:
    document = first()
    assert encode(Statement.model_validate(document.statement.model_dump())) == document.content
