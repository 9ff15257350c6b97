"""Who tries to publish what was not signed, or to change what was, by the database: none of it is believed."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest
import rfc8785

from feeds import documents
from feeds.documents import Feed, Signature
from signer.canary_check import Reason
from signer.canary_dates import State
from tests.support.canaries import STATEMENTS
from tests.support.canary_office import ISSUED, NOW, Press, faults, office, press, standings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.canary_office import Office


@pytest.fixture(scope="module")
def desk() -> Iterator[Office]:
    with office() as made:
        yield made


@pytest.fixture
async def paper(dsn: str, desk: Office) -> AsyncIterator[Press]:
    async with press(dsn, desk) as made:
        yield made


# --- signatures ---------------------------------------------------------------------------------------------------


async def test_an_old_signature_on_new_bytes_is_worth_nothing(paper: Press) -> None:
    first, second = await paper.second()
    error = await paper.refused(second, paper.office.signed(first.content))
    assert standings(error) == ["not_good", "not_good"]
    assert faults(error) == [Reason.TOO_FEW_SIGNATURES]


async def test_no_field_of_one_canary_stands_in_another(paper: Press) -> None:
    first, second = await paper.second(statements=STATEMENTS[1:], removed=frozenset({"warrants"}))
    old, new = json.loads(first.content), json.loads(second.content)
    files = {
        **{f"old-{name}": blob for name, blob in paper.office.signed(first.content).items()},
        **{f"new-{name}": blob for name, blob in paper.office.signed(second.content, at=paper.clock.now()).items()},
    }
    differing = [name for name in new if old[name] != new[name]]
    assert {"statements", "acknowledged_removals", "sequence", "next_due", "previous_sha256"} <= set(differing)
    for name in differing:
        error = await paper.refused(rfc8785.dumps(new | {name: old[name]}), files)
        assert faults(error)[0] in {Reason.MALFORMED, Reason.TOO_FEW_SIGNATURES}, name


async def test_one_key_does_not_meet_the_threshold_twice(paper: Press) -> None:
    document = paper.office.first()
    both = await paper.refused(document, paper.office.signed(document.content, *paper.office.subkeys))
    twice = await paper.refused(document, paper.office.signed(document.content, paper.office.bob, paper.office.bob))
    assert standings(both) == standings(twice) == ["counts", "repeated"]
    assert faults(both) == faults(twice) == [Reason.TOO_FEW_SIGNATURES]


async def test_a_primary_key_and_its_subkey_are_one_signer(paper: Press) -> None:
    subkey = paper.office.home.add_subkey(paper.office.bob, expires="0", at="20240101T000001")
    folder = paper.office.folder / "1.asc"
    folder.write_bytes(paper.office.home.public(paper.office.bob))
    document = paper.office.first()
    error = await paper.refused(document, paper.office.signed(document.content, paper.office.bob, subkey))
    assert standings(error) == ["counts", "repeated"]
    files = paper.office.signed(document.content, subkey, paper.office.bob, paper.office.subkeys[1])
    made = await paper.publish(document, files)
    assert dict(made.published.signatures) == {
        paper.office.bob: files["0.asc"],
        paper.office.alice: files["2.asc"],
    }


async def test_who_is_not_pinned_or_not_among_the_signers_does_not_count(paper: Press) -> None:
    document = paper.office.first()
    error = await paper.refused(document, paper.office.signed(document.content, paper.office.mallory, paper.office.bob))
    assert standings(error) == ["not_pinned", "counts"]
    named = paper.office.first(signers=(paper.office.mallory, paper.office.bob))
    error = await paper.refused(named, paper.office.signed(named.content, paper.office.mallory, paper.office.bob))
    assert faults(error) == [Reason.UNPINNED_SIGNER, Reason.TOO_FEW_SIGNATURES]
    without = paper.office.first(signers=(paper.office.bob, paper.office.carol))
    error = await paper.refused(without, paper.office.signed(without.content))
    assert standings(error) == ["not_a_signer", "counts"]


async def test_a_key_that_has_expired_does_not_count_and_one_that_expires_later_did(paper: Press) -> None:
    document = paper.office.first()
    in_time = ISSUED - timedelta(days=20)
    files = paper.office.signed(document.content, paper.office.carol, at=in_time)
    error = await paper.refused(
        document, {**paper.office.signed(document.content, paper.office.bob), "c": files["0.asc"]}
    )
    assert standings(error) == ["counts", "not_good"]
    paper.clock.advance(-30 * 86_400)
    earlier = paper.office.first(paper.clock.now() - timedelta(minutes=30))
    whose = paper.office.signed(earlier.content, paper.office.carol, paper.office.bob, at=paper.clock.now())
    await paper.publish(earlier, whose)
    paper.clock.advance(26 * 86_400)
    assert await paper.state() is State.DUE


async def test_a_key_that_was_revoked_counts_no_more_wherever_it_has_signed(paper: Press) -> None:
    dave = paper.office.home.make("Dave <d@provider.example>", expires="0", at="20240101T000000")
    certificate = paper.office.folder / "dave.asc"
    certificate.write_bytes(paper.office.home.public(dave))
    whose = (dave, paper.office.bob)
    pins = paper.office.pins(*whose)
    document = paper.office.first(signers=whose)
    await paper.publish(document, paper.office.signed(document.content, *whose), pins=pins)
    assert await paper.state(pins) is State.CURRENT
    paper.clock.advance(86_400 * 25)
    following = paper.office.successor(document, paper.clock.now() - timedelta(minutes=9), signers=whose)
    files = paper.office.signed(following.content, *whose, at=paper.clock.now())
    paper.office.home.revoke(dave)
    certificate.write_bytes(paper.office.home.public(dave))
    assert await paper.state(pins) is State.REVOKED
    error = await paper.refused(following, files, pins=pins)
    assert standings(error) == ["revoked", "counts"]
    assert faults(error) == [Reason.TOO_FEW_SIGNATURES, Reason.REVOKED_KEY]


async def test_a_signature_that_cannot_be_served_as_text_is_refused(paper: Press) -> None:
    document = paper.office.first()
    files = paper.office.signed(document.content)
    binary = paper.office.home.sign(document.content, "--detach-sign", key=paper.office.bob, at="20241101T094000")
    error = await paper.refused(document, {**files, "1.asc": binary})
    assert error.reasons == ("1.asc: is not armored, or not in ASCII: gpg --armor makes it so",)
    foreign = files["1.asc"].replace(b"SIGNATURE-----\n", "SIGNATURE-----\nComment: \u00e9\n".encode(), 1)
    error = await paper.refused(document, {**files, "1.asc": foreign})
    assert error.reasons == ("1.asc: is not armored, or not in ASCII: gpg --armor makes it so",)


async def test_a_signer_whose_clock_is_a_little_ahead_is_believed_then_and_later(paper: Press) -> None:
    document = paper.office.first(NOW + timedelta(minutes=5))
    ahead = NOW + timedelta(minutes=9)
    await paper.publish(document, paper.office.signed(document.content, at=ahead))
    assert await paper.state() is State.CURRENT
    paper.clock.advance(3600)
    assert await paper.state() is State.CURRENT


async def test_a_changed_byte_of_content_or_signature_is_refused(paper: Press) -> None:
    document = paper.office.first()
    files = paper.office.signed(document.content)
    for position in (1, document.content.index(b"warrants") + 2, len(document.content) - 2):
        changed = bytearray(document.content)
        changed[position] ^= 1
        error = await paper.refused(bytes(changed), files)
        assert faults(error)
    body = files["1.asc"].index(b"\n\n") + 2
    for position in (body + 3, body + 60, body + 100):
        blob = bytearray(files["1.asc"])
        blob[position] = ord("A") if blob[position] != ord("A") else ord("B")
        error = await paper.refused(document, {**files, "1.asc": bytes(blob)})
        assert standings(error) == ["counts", "not_good"]


# --- who owns the database ----------------------------------------------------------------------------------------


async def test_what_is_published_is_not_changed_by_accident(paper: Press) -> None:
    await paper.publish(paper.office.first())
    for table in ("documents", "document_signatures"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await paper.connection.execute(f"UPDATE {table} SET number = 2")  # noqa: S608 - two names, above


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE documents SET content = replace(convert_from(content, 'UTF8'), 'no warrants', 'no letters')::bytea",
        "UPDATE documents SET content = 'no canary'",
        "UPDATE documents SET content = content || ' '",
        "DELETE FROM document_signatures WHERE fingerprint = $1 OR $1 = ''",
        "UPDATE document_signatures SET armored = 'none' WHERE fingerprint = $1",
        "UPDATE documents SET published_at = published_at - interval '2 hours'",
        "UPDATE documents SET number = 7",
    ],
)
async def test_rows_changed_by_hand_are_not_believed(paper: Press, statement: str) -> None:
    document = paper.office.first()
    await paper.publish(document)
    assert await paper.state() is State.CURRENT
    await paper.connection.execute(
        "ALTER TABLE document_signatures DROP CONSTRAINT document_signatures_feed_number_fkey"
    )
    await paper.tamper(statement, *([paper.office.bob] if "$1" in statement else []))
    if "number = 7" in statement:
        await paper.connection.execute("UPDATE document_signatures SET number = 7")
    assert await paper.state() is State.INVALID


async def test_what_is_no_canary_any_more_is_not_built_on(paper: Press) -> None:
    _, second = await paper.second()
    await paper.tamper("UPDATE documents SET content = 'none'")
    for document in (second, paper.office.first(paper.clock.now())):
        error = await paper.refused(document)
        assert str(error).startswith("what is stored as canary 1 is none (Invalid JSON")


async def test_an_older_canary_in_the_place_of_the_newest_is_not_believed_nor_built_on(paper: Press) -> None:
    first, _ = await paper.second(days=1)
    await paper.tamper("DELETE FROM documents")
    files = paper.office.signed(first.content)
    signatures = (Signature(paper.office.alice, files["0.asc"]), Signature(paper.office.bob, files["1.asc"]))
    await documents.save(paper.connection, Feed.CANARY, 4, first.content, signatures=signatures, published_at=NOW)
    assert await paper.state() is State.INVALID
    following = paper.office.successor(first, paper.clock.now() - timedelta(minutes=1))
    error = await paper.refused(following)
    assert error.reasons == ("wrong_sequence: sequence is 2, and its number here is 5",)
