"""What `heliograph canary` refuses in one line, what it asks, and what it leaves on the disk."""

from __future__ import annotations

import errno
import io
import os
import pty
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from publisher.cli import canary_files as files
from publisher.cli.canary_dialogue import Terminal, affirm, narrow
from publisher.cli.context import CommandError, CommandUsageError
from signer.statement import MAX_BYTES, Affirmation, Freshness
from tests.support.canaries import ALICE, FIRST, STATEMENTS, first, freshness, successor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Command

WARRANTS, GAG_ORDERS, SEIZURES = STATEMENTS
BEFORE = first().statement
BLOCK = f"900001:{1:064x}"


class Answering:
    """Somebody who knows what to answer, and writes down what was shown."""

    def __init__(self, replies: str = "") -> None:
        self.shown: list[str] = []
        self.asked: list[str] = []
        self.replies = replies.split()

    def tell(self, *lines: str) -> None:
        self.shown += lines

    def ask(self, question: str) -> bool:
        self.asked.append(question)
        return self.replies.pop(0) == "yes"


# --- the dialogue -------------------------------------------------------------------------------------------------


def test_each_statement_is_shown_and_affirmed_by_itself() -> None:
    talk = Answering("yes yes yes")
    assert affirm(STATEMENTS, BEFORE, talk) == (STATEMENTS, frozenset())
    assert talk.asked == ["Is this true?"] * 3
    for each in STATEMENTS:
        assert f"    {each.text}" in talk.shown


def test_what_is_not_affirmed_is_left_out_after_a_second_question() -> None:
    talk = Answering("yes no yes yes")
    assert affirm(STATEMENTS, BEFORE, talk) == ((WARRANTS, SEIZURES), frozenset({"gag-orders"}))
    assert talk.asked[2] == "It is then left out, and everyone will see that it was removed. Leave it out?"


def test_a_second_thought_asks_again() -> None:
    talk = Answering("no no no no yes yes yes")
    assert affirm(STATEMENTS, BEFORE, talk) == (STATEMENTS, frozenset())


def test_what_nobody_has_said_before_is_left_out_and_no_removal() -> None:
    new = Affirmation(id="new", text="New.")
    talk = Answering("yes yes yes no yes")
    assert affirm((*STATEMENTS, new), BEFORE, talk) == (STATEMENTS, frozenset())
    assert talk.asked[-1] == "It is then left out. Leave it out?"
    assert affirm((new,), None, Answering("yes")) == ((new,), frozenset())


def test_another_text_is_a_removal_that_must_be_meant() -> None:
    other = Affirmation(id="warrants", text="Other.")
    talk = Answering("yes yes yes yes")
    assert affirm((other, GAG_ORDERS, SEIZURES), BEFORE, talk) == (
        (other, GAG_ORDERS, SEIZURES), frozenset({"warrants"})
    )  # fmt: skip
    assert f"    before: {WARRANTS.text}" in talk.shown
    with pytest.raises(CommandError, match="warrants shall stay as it was: nothing is written"):
        affirm((other, GAG_ORDERS, SEIZURES), BEFORE, Answering("yes no"))


def test_what_is_no_longer_asked_is_a_removal_that_must_be_meant() -> None:
    talk = Answering("yes yes yes")
    assert affirm((WARRANTS, GAG_ORDERS), BEFORE, talk) == ((WARRANTS, GAG_ORDERS), frozenset({"seizures"}))
    assert f"    {SEIZURES.text}" in talk.shown
    with pytest.raises(CommandError, match="seizures shall stay as it was"):
        affirm((WARRANTS, GAG_ORDERS), BEFORE, Answering("yes yes no"))


def test_nothing_affirmed_is_nothing_written() -> None:
    with pytest.raises(CommandError, match="no statement is affirmed: nothing is written"):
        affirm((WARRANTS,), None, Answering("no yes"))


@pytest.mark.parametrize(
    ("scope", "jurisdictions", "replies", "narrowed"),
    [
        ("All bastions", ("FI", "IS", "NO", "SE"), "", ()),
        ("All bastions", ("DE", "FI", "IS", "NO", "SE"), "", ()),
        ("Oslo", ("FI", "IS", "NO", "SE"), "yes", ("scope",)),
        ("All bastions", ("FI",), "yes", ("jurisdictions",)),
        ("Oslo", ("FI",), "yes yes", ("scope", "jurisdictions")),
    ],
)
def test_a_range_that_changes_must_be_meant(
    scope: str, jurisdictions: tuple[str, ...], replies: str, narrowed: tuple[str, ...]
) -> None:
    talk = Answering(replies)
    assert narrow(scope, jurisdictions, BEFORE, talk) == frozenset(narrowed)
    assert not talk.replies
    if replies:
        with pytest.raises(CommandError, match=f"{narrowed[-1]} shall stay as it was"):
            narrow(scope, jurisdictions, BEFORE, Answering(replies.removesuffix("yes") + "no"))
    assert narrow(scope, jurisdictions, None, Answering()) == frozenset()


# --- nobody there -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [(), ("--first",), ("--previous", "/no/such"), ("--first", "--retire", "We stop.")]
)
def test_a_draft_without_a_terminal_is_refused_before_anything(heliograph: Command, arguments: tuple[str, ...]) -> None:
    said = heliograph("canary", "draft", *arguments)
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr == (
        "heliograph: canary draft asks a person to affirm each statement: "
        "it runs on a terminal, by hand, and no other way\n"
    )


@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_a_terminal_on_one_side_alone_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    master, slave = pty.openpty()
    with os.fdopen(master, "rb", 0), os.fdopen(slave, "rb+", 0) as terminal:
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        monkeypatch.setattr(sys, name, terminal)
        with pytest.raises(CommandUsageError, match="it runs on a terminal, by hand"):
            Terminal()


@pytest.mark.parametrize("option", ["--yes", "-y", "--affirm-all", "--force", "--batch"])
def test_no_option_answers_for_a_person(heliograph: Command, option: str) -> None:
    said = heliograph("canary", "draft", "--first", option)
    assert (said.code, said.stderr) == (2, f"heliograph: No such option: {option}\n")


# --- what cannot be meant -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("diff", "/no/such", "/no/such"), 2, "/no/such: cannot be read (No such file"),
        (("sign", "/no/such"), 2, "/no/such: cannot be read (No such file"),
        (("verify", "/no/such"), 2, "--pin: name the keys that count, here or in HELIOGRAPH_CANARY_KEYS"),
        (("verify", "/no/such", "--pin", ALICE), 2, "/no/such: cannot be read (No such file"),
        (("verify", "/no/such", "--pin", "ABC"), 2, "--pin: 'ABC' is not a fingerprint of 40 hexadecimal digits"),
        (("verify", "/no/such", "--pin", ALICE, "--threshold", "2"), 2, "--threshold: is 2, of 1 pinned keys"),
        (("verify", "x", "--pin", ALICE, "--threshold", "0"), 2, "Invalid value for '--threshold'"),
        (("verify", "x", "--pin", ALICE, "--first", "--previous", "y"), 2, "--previous, --first: give one of them"),
        (("verify", "{canary}", "--pin", ALICE, "--at", "noon"), 2, "--at: 'noon' is not a time such as "),
        (("verify", "{canary}", "--pin", ALICE, "--previous", "{text}"), 1, "{text}: Invalid JSON"),
        (("diff", "{canary}", "{text}"), 1, "{text}: Invalid JSON"),
        (("sign", "{text}"), 1, "{text}: Invalid JSON"),
        (("sign", "{canary}", "--key", "x"), 1, "{canary}: is not signed: expired: expires_at is 2020-01-08"),
    ],
)
def test_one_line_says_what_is_wrong(
    heliograph: Command, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    paths = {"canary": tmp_path / "canary-1.json", "text": tmp_path / "text"}
    paths["canary"].write_bytes(first(FIRST.replace(year=2019)).content)
    paths["text"].write_text("no canary")
    said = heliograph("canary", *(each.format(**paths) for each in arguments))
    words = words.format(**paths).replace("2020-01-08", "2019-12-08")
    assert (said.code, said.stdout) == (code, "")
    assert said.stderr.startswith(f"heliograph: {words}"), said
    assert said.stderr.count("\n") == 1


def test_a_diff_is_printed_in_words(heliograph: Command, tmp_path: Path) -> None:
    previous = first()
    following = successor(
        previous, FIRST + timedelta(days=29), statements=STATEMENTS[1:], removed=frozenset({"warrants"})
    )
    for each in (previous, following):
        (tmp_path / each.name).write_bytes(each.content)
    said = heliograph("canary", "diff", str(tmp_path / previous.name), str(tmp_path / following.name))
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout.startswith("- removed    warrants: We have received no warrants.\n")
    assert "  acknowledged removals: none -> warrants\n" in said.stdout
    assert said.stdout.endswith("  2 statements stay as they were\n")


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headlines", [(), ("Paper: News of day 1",), ("Paper:  News of day 1 ",)])
def test_proofs_of_the_command_line_stand_over_those_of_the_file(tmp_path: Path, headlines: tuple[str, ...]) -> None:
    path = tmp_path / "proofs.json"
    path.write_bytes(orjson.dumps(freshness(7).model_dump(mode="json")))
    assert files.read_proofs(path, None, ()) == freshness(7)
    read = files.read_proofs(path, BLOCK, headlines)
    assert read.block == freshness(1).block
    assert read.headlines == (*freshness(7).headlines, *freshness(1).headlines[: len(headlines)])
    assert files.read_proofs(None, None, ()) == Freshness()


@pytest.mark.parametrize(
    ("block", "headlines", "words"),
    [
        ("900001", (), "--block: '900001' is not HEIGHT:HASH"),
        ("x:" + BLOCK[7:], (), "--block: 'x:"),
        (BLOCK[:-1], (), "--block: '900001:"),
        (None, ("News",), "--headline: 'News' is not SOURCE: TITLE"),
        (None, (": News",), "--headline: ': News' is not SOURCE: TITLE"),
        (None, ("Paper: \x1b[2J",), "--headline: 'Paper: \\x1b[2J' is not SOURCE: TITLE"),
    ],
)
def test_proofs_that_cannot_be_are_named(block: str | None, headlines: tuple[str, ...], words: str) -> None:
    with pytest.raises(CommandUsageError) as caught:
        files.read_proofs(None, block, headlines)
    assert str(caught.value).startswith(words)


def test_a_file_of_proofs_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "proofs.json"
    path.write_text('{"block": {"height": 1}}')
    with pytest.raises(CommandUsageError, match=r"^--proofs: .*/proofs\.json: block\.hash: Field required$"):
        files.read_proofs(path, None, ())


def test_signatures_are_those_beside_the_canary_and_no_others(tmp_path: Path) -> None:
    names = ["canary-1.json.B.asc", "canary-1.json.A.asc", "canary-1.json.asc", "canary-1.json", "canary-12.json.A.asc"]
    for name in names:
        (tmp_path / name).touch()
    found = files.signatures_beside(tmp_path / "canary-1.json")
    assert [each.name for each in found] == sorted(names[:3])
    assert files.signatures_beside(tmp_path / "canary-[1].json") == []


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "canary-1.json"
    files.write_new(path, b"one")
    with pytest.raises(CommandUsageError, match="is there already; move it away first"):
        files.write_new(path, b"two")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CommandUsageError, match="is there already"):
        files.write_new(tmp_path / "dangling", b"two")
    assert path.read_bytes() == b"one"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["canary-1.json", "dangling"]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CommandError, match=r"canary-1\.json: cannot be written \(No space left on device\)"):
        files.write_new(tmp_path / "canary-1.json", b"one")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"none/canary-1\.json: cannot be written \(No such file"):
        files.write_new(tmp_path / "none" / "canary-1.json", b"one")


def test_a_file_of_any_size_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(CommandUsageError, match=f"is longer than {MAX_BYTES} bytes"):
        files.read(path)
