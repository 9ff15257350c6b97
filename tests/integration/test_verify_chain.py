"""`heliograph verify` of a canary's predecessors, from files: chains that hold, and every way they break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.canaries import altered, retirement
from tests.support.gpg import FOREVER, home
from tests.support.verifying import AT, ISSUED, KEYS_MADE, Provider, provider, verified_json, verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from signer.statement import Document


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


@pytest.fixture
def history(signers: Provider, chain: list[Document], tmp_path: Path) -> Path:
    folder = tmp_path / "history"
    folder.mkdir()
    for each in chain[:2]:
        signers.publish(folder, each)
    return folder


def test_a_chain_holds_down_to_the_first(canary: Path, history: Path, keys: tuple[str, ...]) -> None:
    said = verify(canary, *keys, *AT, "--chain", "--previous", history)
    assert said.code == 0, said
    assert "chain: 3 canaries, from canary 1 on" in said.stdout
    read = verified_json(canary, *keys, *AT, "--chain", "--previous", history)
    assert [(each["sequence"], each["counted"], each["faults"]) for each in read["chain"]] == [
        (1, 2, []), (2, 2, []), (3, 2, []),
    ]  # fmt: skip
    by_name = [("--previous", str(history / f"canary-{number}.json")) for number in (2, 1)]
    assert verify(canary, *keys, *AT, "--chain", *by_name[0], *by_name[1]).code == 0


def test_a_missing_predecessor_breaks_the_chain(canary: Path, history: Path, keys: tuple[str, ...]) -> None:
    only_the_second = ("--previous", str(history / "canary-2.json"))
    assert verify(canary, *keys, *AT, *only_the_second).code == 0
    said = verify(canary, *keys, *AT, "--chain", *only_the_second)
    assert (said.code, said.faults) == (1, ["wrong_sequence"])
    only_the_first = ("--previous", str(history / "canary-1.json"))
    assert {"wrong_sequence", "broken_chain"} <= set(verify(canary, *keys, *AT, *only_the_first).faults)
    none = verify(canary, *keys, *AT, "--chain")
    assert (none.code, none.faults) == (1, ["wrong_sequence"])


def test_a_predecessor_that_was_rewritten_breaks_the_chain(
    signers: Provider, chain: list[Document], canary: Path, history: Path, keys: tuple[str, ...]
) -> None:
    rewritten = altered(chain[1], scope="Oslo", acknowledged_removals=("scope",))
    signers.publish(history, rewritten, "canary-2.json")
    said = verify(canary, *keys, *AT, "--chain", "--previous", history)
    assert said.code == 1
    assert "broken_chain" in said.faults


def test_a_predecessor_that_nobody_signed_breaks_the_chain(canary: Path, history: Path, keys: tuple[str, ...]) -> None:
    for each in history.glob("canary-1.json.*.asc"):
        each.unlink()
    said = verify(canary, *keys, *AT, "--chain", "--previous", history)
    assert (said.code, said.faults) == (1, ["too_few_signatures"])
    assert any("canary 1 (" in line for line in said.stdout)


def test_two_canaries_of_one_number_are_not_a_chain(
    signers: Provider, chain: list[Document], canary: Path, history: Path, keys: tuple[str, ...]
) -> None:
    signers.publish(history, altered(chain[1], scope="Oslo", acknowledged_removals=("scope",)), "other.json")
    said = verify(canary, *keys, *AT, "--chain", "--previous", history)
    assert said.code == 1
    assert "wrong_sequence" in said.faults


def test_in_a_folder_what_is_no_predecessor_is_left_alone(
    signers: Provider, chain: list[Document], history: Path, keys: tuple[str, ...]
) -> None:
    newest = signers.publish(history, chain[2])
    (history / "notes.json").write_text('{"type":"note"}')
    (history / "list.json").write_text("[1,2]")
    assert verify(newest, *keys, *AT, "--chain", "--previous", history).code == 0
    then = ("--at", "2024-10-02")
    assert verify(history / "canary-2.json", *keys, *then, "--chain", "--previous", history).code == 0


def test_a_named_predecessor_that_is_no_canary_is_said(canary: Path, tmp_path: Path, keys: tuple[str, ...]) -> None:
    (tmp_path / "notes.json").write_text('{"type":"note"}')
    said = verify(canary, *keys, *AT, "--previous", tmp_path / "notes.json")
    assert (said.code, said.stdout) == (1, [])
    assert said.stderr == [f"heliograph: {tmp_path}/notes.json: is no canary with a number"]


def test_a_key_that_has_expired_since_still_signed_its_predecessors(tmp_path: Path) -> None:
    with home() as mine:
        made = f"{KEYS_MADE:%Y%m%dT%H%M%S}"
        old = mine.make("Old", expires="280d", at=made)
        new = mine.make("New", expires=FOREVER, at=made)
        people = Provider(mine, "", "", "", "", "")
        chain = people.chain(signers=tuple(sorted((old, new))), threshold=1)
        people.publish(tmp_path, chain[0], "", old)
        people.publish(tmp_path, chain[1], "", new)
        newest = people.publish(tmp_path, chain[2], "", new)
        keys = tmp_path / "keys.asc"
        keys.write_bytes(mine.public(old) + mine.public(new))
    options = ("--key", keys, "--threshold", "1", *AT)
    assert verify(newest, *options, "--chain", "--previous", tmp_path).code == 0
    assert verify(tmp_path / "canary-1.json", *options, "--any-age").faults == ["too_few_signatures"]


def test_a_retirement_ends_what_is_given_before_it(
    signers: Provider, chain: list[Document], canary: Path, history: Path, keys: tuple[str, ...]
) -> None:
    ending = retirement(ISSUED[0], signers=(signers.alice, signers.bob), threshold=2)
    path = signers.publish(canary.parent, ending)
    whole: tuple[str | Path, ...] = (path, *keys, *AT, "--chain", "--previous", history, "--previous", canary)
    said = verify(*whole)
    assert (said.code, said.faults) == (1, ["ended"])
    assert said.verdict.startswith("NOT VERIFIED: 2 of 2 signatures, state revoked at ")
    taken = verify(*whole, "--any-age")
    assert taken.code == 0, taken
    assert taken.verdict.startswith("verified: 2 of 2 signatures, state revoked at ")
    assert chain[2].content == canary.read_bytes()
