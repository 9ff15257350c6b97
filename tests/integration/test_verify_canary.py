"""`heliograph verify` of a canary, from a file or a page, with real keys; and whoever tries to cheat."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
import pytest
import rfc8785

from signer.statement import Document, signature_name
from tests.support.canaries import STATEMENTS, altered, successor
from tests.support.gpg import FOREVER, home, sequoia_detached
from tests.support.verifying import AT, ISSUED, KEYS_MADE, Provider, provider, verified_json, verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def signers() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture
def keys(signers: Provider, tmp_path: Path) -> tuple[str, ...]:
    return signers.canary_keys(tmp_path)


@pytest.fixture
def chain(signers: Provider) -> list[Document]:
    return signers.chain()


@pytest.fixture
def canary(signers: Provider, chain: list[Document], tmp_path: Path) -> Path:
    return signers.publish(tmp_path, chain[2])


# --- a canary -----------------------------------------------------------------------------------------------------


def test_a_canary_verifies_with_the_keys_one_has(
    signers: Provider, chain: list[Document], canary: Path, keys: tuple[str, ...]
) -> None:
    said = verify(canary, *keys, *AT)
    assert said.code == 0, said
    made = f"{signature_name(canary.name, signers.alice)}: made by {signers.alice}"
    alices = f"{made} with its subkey {signers.subkey} at 2024-11-01T09:35:00Z: counts"
    bobs = f"{signature_name(canary.name, signers.bob)}: made by {signers.bob} at 2024-11-01T09:35:00Z: counts"
    assert said.stdout == [
        f"{canary}: canary 3 of NordBastion",
        f"sha256 {chain[2].sha256}",
        *sorted([alices, bobs]),
        "issued 2024-11-01T09:30:00Z, 1 day ago",
        "next due 2024-12-01T00:00:00Z, in 28 days; expires 2024-12-08T00:00:00Z, in 35 days",
        "verified: 2 of 2 signatures, state current at 2024-11-02T09:30:00Z",
    ]
    assert said.stderr == []


def test_a_machine_reads_the_same(
    signers: Provider, chain: list[Document], canary: Path, keys: tuple[str, ...]
) -> None:
    read = verified_json(canary, *keys, *AT)
    assert read["signatures"].pop(0)["primary"] in {signers.alice, signers.bob}
    assert read["signatures"].pop(0)["standing"] == "counts"
    assert read == {
        "source": str(canary), "verified": True, "kind": "canary", "what": "canary 3 of NordBastion",
        "sha256": chain[2].sha256, "faults": [], "notes": [], "threshold": 2, "counted": 2, "state": "current",
        "signatures": [], "sequence": 3, "issued_at": "2024-11-01T09:30:00Z", "next_due": "2024-12-01T00:00:00Z",
        "expires_at": "2024-12-08T00:00:00Z", "days_left": 28,
    }  # fmt: skip


def test_another_implementation_agrees_on_each_signature(signers: Provider, canary: Path) -> None:
    for primary in (signers.alice, signers.bob):
        signature = canary.with_name(signature_name(canary.name, primary)).read_bytes()
        assert sequoia_detached(canary.read_bytes(), signature, signers.home.public(primary))[0] == primary


@pytest.mark.parametrize("position", [0, 100, -20])
def test_one_changed_byte_is_one_too_many(canary: Path, keys: tuple[str, ...], position: int) -> None:
    content = bytearray(canary.read_bytes())
    content[position] ^= 1
    canary.write_bytes(content)
    said = verify(canary, *keys, *AT)
    assert said.code == 1
    assert said.verdict.startswith("NOT VERIFIED"), said


def test_a_change_that_leaves_a_canary_is_found_by_its_signatures(
    chain: list[Document], canary: Path, keys: tuple[str, ...]
) -> None:
    canary.write_bytes(altered(chain[2], provider="NordBastioN").content)
    said = verify(canary, *keys, *AT)
    assert (said.code, said.faults) == (1, ["too_few_signatures"])
    assert sum("is not good (the signature is not of this content)" in line for line in said.stdout) == 2


def test_the_signature_of_another_canary_is_none_of_this_one(
    signers: Provider, chain: list[Document], canary: Path, keys: tuple[str, ...]
) -> None:
    for key, blob in signers.signed(chain[1].content).items():
        canary.with_name(signature_name(canary.name, key)).write_bytes(blob)
    assert verify(canary, *keys, *AT).faults == ["too_few_signatures"]


def test_one_key_does_not_meet_a_threshold_twice(
    signers: Provider, chain: list[Document], tmp_path: Path, keys: tuple[str, ...]
) -> None:
    canary = signers.publish(tmp_path, chain[2], "", signers.bob)
    again = signers.signed(chain[2].content, signers.bob, after=ISSUED[2] + timedelta(hours=1))[signers.bob]
    (tmp_path / "canary-3.json.again.asc").write_bytes(again)
    said = verify(canary, *keys, *AT)
    assert (said.code, said.faults) == (1, ["too_few_signatures"])
    assert any(line.endswith("does not count: this primary key has signed already") for line in said.stdout)


def test_both_signatures_in_one_file_are_none(signers: Provider, canary: Path, keys: tuple[str, ...]) -> None:
    names = [canary.with_name(signature_name(canary.name, key)) for key in (signers.alice, signers.bob)]
    both = canary.with_name("both.asc")
    both.write_bytes(b"".join(each.read_bytes() for each in names))
    said = verify(canary, "--signature", both, *keys, *AT)
    assert (said.code, said.faults) == (1, ["too_few_signatures"])


def test_a_key_nobody_has_pinned_counts_for_nothing(
    signers: Provider, chain: list[Document], tmp_path: Path, keys: tuple[str, ...]
) -> None:
    canary = signers.publish(tmp_path, chain[2], "", signers.mallory, signers.bob)
    said = verify(canary, *keys, *AT)
    assert (said.code, said.faults) == (1, ["too_few_signatures"])
    assert any(line.endswith("does not count: this key is not pinned") for line in said.stdout)
    unknown = verify(canary, "--key", signers.keys(tmp_path, signers.alice, signers.bob), *AT)
    assert any(line.endswith("is not good (the key that signed is not known here)") for line in unknown.stdout)
    assert unknown.code == 1


def test_a_canary_that_names_its_own_signers_is_not_believed(signers: Provider, tmp_path: Path) -> None:
    [forged, *_] = signers.chain(signers=(signers.mallory,), threshold=1)
    canary = signers.publish(tmp_path, forged, "", signers.mallory)
    bobs = ("--key", signers.keys(tmp_path, signers.bob))
    said = verify(canary, *bobs, *AT)
    assert said.code == 1
    assert {"unpinned_signer", "too_few_signatures"} <= set(said.faults)


def test_the_threshold_asked_for_is_not_lowered_by_the_statement(
    signers: Provider, tmp_path: Path, keys: tuple[str, ...]
) -> None:
    [one, *_] = signers.chain(threshold=1)
    canary = signers.publish(tmp_path, one, "", signers.bob)
    then = ("--at", "2024-09-03")
    assert verify(canary, *keys, *then).verdict.startswith("NOT VERIFIED: 1 of 2 signatures")
    assert verify(canary, *keys, *then, "--threshold", "2").code == 1
    assert verify(canary, *keys, *then, "--threshold", "1").code == 0
    too_many = verify(canary, *keys, *then, "--threshold", "3")
    assert (too_many.code, too_many.stderr) == (2, ["heliograph: --threshold: is 3, of 2 keys"])


def test_a_late_canary_is_not_verified_unless_any_age_is_asked_for(canary: Path, keys: tuple[str, ...]) -> None:
    for moment, state in (("2024-12-01", "overdue"), ("2024-12-08", "expired")):
        said = verify(canary, *keys, "--at", moment)
        assert (said.code, said.faults) == (1, [state])
        assert f"2 of 2 signatures, state {state} at " in said.verdict
    said = verify(canary, *keys, "--any-age")
    assert said.code == 0, said
    assert said.verdict.startswith("verified: 2 of 2 signatures, state expired at ")
    assert verify(canary, *keys).faults == ["expired"]


def test_a_canary_from_the_future_is_not_verified_at_any_age(canary: Path, keys: tuple[str, ...]) -> None:
    said = verify(canary, *keys, "--at", "2024-10-31", "--any-age")
    assert said.code == 1
    assert "from_the_future" in said.faults


def test_a_canary_that_drops_a_statement_says_so(
    signers: Provider, chain: list[Document], tmp_path: Path, keys: tuple[str, ...]
) -> None:
    who = {"signers": (signers.alice, signers.bob), "threshold": 2}
    tripped = successor(chain[1], ISSUED[2], **who, statements=STATEMENTS[1:], removed=frozenset({"warrants"}))
    said = verify(signers.publish(tmp_path, tripped), *keys, *AT)
    assert (said.code, "state changed" in said.verdict) == (0, True)


def test_a_revoked_key_is_said_in_every_way(chain: list[Document], tmp_path: Path) -> None:
    made = f"{KEYS_MADE:%Y%m%dT%H%M%S}"
    with home() as mine:
        alice = mine.make("Alice", expires=FOREVER, at=made)
        document = altered(chain[0], signers=(alice,), threshold=1)
        path = tmp_path / "canary.json"
        path.write_bytes(document.content)
        path.with_name("canary.json.asc").write_bytes(mine.sign(document.content, key=alice, at="20240902T091000"))
        keys = tmp_path / "alice.asc"
        keys.write_bytes(mine.public(alice))
        assert verify(path, "--key", keys, "--at", "2024-09-03").code == 0
        mine.revoke(alice)
        keys.write_bytes(mine.public(alice))
    said = verify(path, "--key", keys, "--at", "2024-09-03")
    assert (said.code, said.faults) == (1, ["too_few_signatures", "revoked_key"])
    assert "state revoked" in said.verdict


# --- what it is ---------------------------------------------------------------------------------------------------


def test_a_page_is_judged_by_the_document_in_it(
    signers: Provider, chain: list[Document], tmp_path: Path, keys: tuple[str, ...]
) -> None:
    page = tmp_path / "canary"
    page.write_bytes(signers.view(chain[2]))
    said = verify(page, *keys, *AT)
    assert said.code == 0, said
    assert f"sha256 {chain[2].sha256}" in said.stdout


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sequence": 4}, "sequence"),
        ({"next_due": "2025-01-01T00:00:00Z"}, "next_due"),
        ({"statement": {"scope": "Everything"}}, "statement.scope"),
    ],
)
def test_a_page_that_says_something_else_is_not_verified(
    signers: Provider, tmp_path: Path, keys: tuple[str, ...], changes: dict[str, object], named: str
) -> None:
    page = tmp_path / "canary"
    page.write_bytes(signers.view(signers.chain()[2], **changes))
    said = verify(page, *keys, *AT)
    assert (said.code, said.faults) == (1, ["contradicted"])
    assert any(line.endswith(f"the document it shows: {named}") for line in said.stdout)


def test_a_page_that_names_another_digest_is_not_verified(
    signers: Provider, tmp_path: Path, keys: tuple[str, ...]
) -> None:
    newest = signers.chain()[2]
    page = tmp_path / "canary"
    page.write_bytes(signers.view(newest).replace(newest.sha256.encode(), b"0" * 64))
    said = verify(page, *keys, *AT)
    assert (said.code, said.faults) == (1, ["contradicted"])


def test_a_page_that_lags_behind_is_noted(
    signers: Provider, chain: list[Document], tmp_path: Path, keys: tuple[str, ...]
) -> None:
    page = tmp_path / "canary"
    page.write_bytes(signers.view(chain[2], state="due"))
    said = verify(page, *keys, *AT)
    assert said.code == 0
    assert "note: the page, which is not signed, says due; what is signed says current" in said.stdout


def test_a_page_without_a_canary_is_not_verified(tmp_path: Path, keys: tuple[str, ...]) -> None:
    page = tmp_path / "canary"
    page.write_text('{"state":"missing","signed":null}')
    said = verify(page, *keys)
    assert (said.code, said.faults) == (1, ["no_canary"])


def test_what_only_calls_itself_a_canary_is_refused(signers: Provider, tmp_path: Path, keys: tuple[str, ...]) -> None:
    path = tmp_path / "canary.json"
    for content in (b'{"type":"warrant-canary/1"}', b'{"type":"warrant-canary/2"}'):
        path.write_bytes(content)
        for key, blob in signers.signed(content).items():
            path.with_name(signature_name(path.name, key)).write_bytes(blob)
        said = verify(path, *keys, *AT)
        assert (said.code, said.verdict.partition(":")[0]) == (1, "NOT VERIFIED"), content


def test_a_canary_that_is_not_canonical_is_refused(
    chain: list[Document], tmp_path: Path, keys: tuple[str, ...]
) -> None:
    loose = orjson.dumps(orjson.loads(chain[2].content), option=orjson.OPT_INDENT_2)
    assert rfc8785.dumps(orjson.loads(loose)) == chain[2].content
    path = tmp_path / "canary.json"
    path.write_bytes(loose)
    said = verify(path, *keys, *AT)
    assert (said.code, said.faults) == (1, ["not_canonical"])


def test_a_script_can_insist_on_a_canary(signers: Provider, tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    path.write_text('{"type":"status/1"}')
    path.with_name("release.json.asc").write_bytes(signers.signed(path.read_bytes(), signers.bob)[signers.bob])
    bobs = ("--key", signers.keys(tmp_path, signers.bob))
    assert verify(path, *bobs).code == 0
    said = verify(path, *bobs, "--expect", "canary")
    assert (said.code, said.faults) == (1, ["another_kind"])
