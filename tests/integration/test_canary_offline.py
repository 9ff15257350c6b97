"""The operator's walk on a machine with gpg alone, drafting on a real terminal; and whoever tries to cheat."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import rfc8785

from signer.canary_check import Predecessor, Reason, Standing, Verdict, check
from signer.canary_draft import draft
from signer.canary_signatures import read_signatures
from signer.pgp import Keyring
from signer.statement import Document, moment_text, signature_name
from tests.support.canaries import STATEMENTS, altered, answers, retirement
from tests.support.gpg import Home, home, sequoia_detached
from tests.support.process import Finished, run
from tests.support.terminal import CTRL_C, CTRL_D, on_a_terminal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from tests.support.terminal import Screen

SET = """
[[statements]]
id = "warrants"
text = "We have received no warrants."

[[statements]]
id = "seizures"
text = "No server of ours was seized."
"""
#: The moment the keys are made at, or just before: gpg reads the clock of the machine, and so must we.
NOW = datetime.now(UTC).replace(microsecond=0)


class Signers(NamedTuple):
    """Keys in one home: who is pinned, and who is not."""

    home: Home
    alice: str
    bob: str
    mallory: str

    @property
    def environ(self) -> dict[str, str]:
        return {"GNUPGHOME": str(self.home.path)}

    def save(self, path: Path) -> None:
        path.write_bytes(self.certificates())

    def certificates(self) -> bytes:
        return b"\n".join(self.home.public(each) for each in (self.alice, self.bob, self.mallory))


@pytest.fixture(scope="module")
def signers() -> Iterator[Signers]:
    with home() as made:
        alice = made.make("Alice <alice@provider.example>", usage="cert")
        made.add_subkey(alice)
        yield Signers(made, alice, made.make("Bob <bob@provider.example>"), made.make("Mallory <m@evil.example>"))


@pytest.fixture
def drafted(signers: Signers, tmp_path: Path) -> Path:
    """A first canary for Alice and Bob, drafted by hand."""
    with first_draft(signers, tmp_path) as screen:
        for _ in range(2):
            screen.answers("Is this true?", "yes")
        assert "  warrants: We have received no warrants.\n" in screen.answers("Write canary-1.json?", "yes")
        code, shown = screen.ends()
    assert (code, "canary-1.json is written, sha256 " in shown) == (0, True), shown
    return tmp_path / "canary-1.json"


@contextlib.contextmanager
def first_draft(signers: Signers, folder: Path, *options: str) -> Iterator[Screen]:
    (folder / "set.toml").write_text(SET)
    chosen = ("--first", "--provider", "NordBastion", "--scope", "All bastions", "--statements", "set.toml")
    whose = ("--jurisdiction", "SE", "--jurisdiction", "FI", "--signer", signers.alice, "--signer", signers.bob)
    proofs = ("--block", f"900001:{1:064x}", "--headline", "Paper: News of the day")
    arguments = ("canary", "draft", *chosen, *whose, *proofs, *options)
    with on_a_terminal(*arguments, environ={}, cwd=folder) as screen:
        yield screen


def document_of(path: Path) -> Document:
    return Document.read(path.read_bytes())


def made_earlier(path: Path) -> Document:
    """Put the canary an hour back: drafts have whole seconds, and a successor must be newer."""
    return changed(path, issued_at=document_of(path).statement.issued_at - timedelta(hours=1))


def changed(path: Path, **fields: Any) -> Document:
    document = altered(document_of(path), **fields)
    path.write_bytes(document.content)
    return document


def signature_of(path: Path, fingerprint: str) -> bytes:
    return path.with_name(signature_name(path.name, fingerprint)).read_bytes()


async def heliograph(*arguments: str, environ: Mapping[str, str]) -> Finished:
    return await run("canary", *arguments, environ=environ)


async def sign(signers: Signers, path: Path, *keys: str) -> None:
    for key in keys:
        said = await heliograph("sign", str(path), "--key", key, environ=signers.environ)
        assert said.code == 0, said


def pins(signers: Signers) -> dict[str, str]:
    return {"HELIOGRAPH_CANARY_KEYS": f"{signers.alice},{signers.bob}", **signers.environ}


# --- the walk -----------------------------------------------------------------------------------------------------


async def test_what_was_affirmed_is_signed_by_each_and_verified_by_anybody(
    signers: Signers, drafted: Path, tmp_path: Path
) -> None:
    document = document_of(drafted)
    assert [each.id for each in document.statement.statements] == ["warrants", "seizures"]
    assert (document.statement.jurisdictions, document.statement.threshold) == (("FI", "SE"), 2)
    assert document.statement.signers == tuple(sorted((signers.alice, signers.bob)))

    shown = await heliograph("sign", str(drafted), "--key", signers.alice, environ=signers.environ)
    assert shown.code == 0, shown
    assert "  warrants: We have received no warrants." in shown.stdout
    assert f"sha256 {document.sha256}" in shown.stdout
    too_few = await heliograph("verify", str(drafted), environ=pins(signers))
    assert too_few.code == 1
    assert too_few.stdout[-1].startswith("verdict: refused, 1 of 2 signatures")
    await sign(signers, drafted, signers.bob)

    said = await heliograph("verify", str(drafted), "--first", environ=pins(signers))
    assert said.code == 0, said
    assert said.stdout[0] == f"{drafted}: canary 1 of NordBastion, sha256 {document.sha256}"
    assert any(f": made by {signers.alice} with its subkey " in line for line in said.stdout)
    assert any(f": made by {signers.bob} at " in line for line in said.stdout)
    assert said.stdout[-1].startswith("verdict: good, 2 of 2 signatures, state current at ")

    keys = tmp_path / "keys.asc"
    signers.save(keys)
    stranger = await heliograph(
        "verify", str(drafted), "--key", str(keys), "--pin", signers.alice, "--pin", signers.bob, environ={}
    )
    assert (stranger.code, stranger.stdout[1:3]) == (0, said.stdout[1:3]), stranger
    for fingerprint in (signers.alice, signers.bob):
        signature = signature_of(drafted, fingerprint)
        found = sequoia_detached(document.content, signature, signers.home.public(fingerprint))
        assert found[0] == fingerprint


async def test_a_late_canary_is_refused_with_its_state(signers: Signers, drafted: Path) -> None:
    await sign(signers, drafted, signers.alice, signers.bob)
    statement = document_of(drafted).statement
    for moment, state in ((statement.next_due, "overdue"), (statement.expires_at, "expired")):
        assert moment is not None
        said = await heliograph("verify", str(drafted), "--at", moment_text(moment), environ=pins(signers))
        assert said.code == 1, said
        assert said.stdout[-1] == f"verdict: refused, 2 of 2 signatures, state {state} at {moment_text(moment)}"


async def test_the_threshold_of_the_settings_holds(signers: Signers, drafted: Path) -> None:
    changed(drafted, threshold=1)
    await sign(signers, drafted, signers.alice)
    all_of_them = await heliograph("verify", str(drafted), environ=pins(signers))
    assert (all_of_them.code, "1 of 2 signatures" in all_of_them.stdout[-1]) == (1, True), all_of_them
    one = await heliograph("verify", str(drafted), environ={**pins(signers), "HELIOGRAPH_CANARY_THRESHOLD": "1"})
    assert one.code == 0, one
    asked = {**pins(signers), "HELIOGRAPH_CANARY_THRESHOLD": "1"}
    two = await heliograph("verify", str(drafted), "--threshold", "2", environ=asked)
    assert two.code == 1, two


async def test_the_next_one_says_what_is_gone(signers: Signers, drafted: Path, tmp_path: Path) -> None:
    made_earlier(drafted)
    earlier = changed(drafted, threshold=1)
    proofs = ("--block", f"900002:{2:064x}", "--scope", "Oslo", "--signer", signers.alice, "--signer", signers.bob)
    arguments = ("canary", "draft", "--previous", drafted.name, *proofs)
    with on_a_terminal(*arguments, environ={}, cwd=tmp_path) as screen:
        screen.answers("Everyone will see that the scope has changed. Is that meant?", "yes")
        shown = screen.answers("Is this true?", "yes")
        assert "1 of 2: warrants\n    We have received no warrants.\n" in shown
        screen.answers("Is this true?", "no")
        screen.answers("Leave it out?", "yes")
        assert "- removed    seizures: No server of ours was seized.\n" in screen.answers("Write canary-2.json?", "yes")
        assert screen.ends()[0] == 0
    made = tmp_path / "canary-2.json"
    statement = document_of(made).statement
    assert (statement.sequence, statement.previous_sha256) == (2, earlier.sha256)
    assert (statement.acknowledged_removals, statement.threshold) == (("scope", "seizures"), 2)
    said = await heliograph("diff", str(drafted), str(made), environ={})
    assert (said.code, said.stdout[0]) == (0, "- removed    seizures: No server of ours was seized.")
    await sign(signers, made, signers.alice, signers.bob)
    good = await heliograph("verify", str(made), "--previous", str(drafted), environ=pins(signers))
    assert good.code == 0, good
    assert "state changed at" in good.stdout[-1]
    replayed = await heliograph("verify", str(made), "--previous", str(made), environ=pins(signers))
    assert replayed.code == 1
    assert "fault: wrong_sequence: sequence is 2, must be 3" in replayed.stdout


async def test_a_retirement_is_signed_like_any_other(signers: Signers, drafted: Path, tmp_path: Path) -> None:
    arguments = ("canary", "draft", "--previous", drafted.name, "--retire", "We stop; this is planned.")
    made_earlier(drafted)
    changed(drafted, threshold=1)
    with on_a_terminal(*arguments, environ={}, cwd=tmp_path) as screen:
        screen.answers("This ends the canary for good, whenever it is published. Write it?", "yes")
        assert screen.ends()[0] == 0
    path = tmp_path / "canary-retirement.json"
    assert document_of(path).statement.threshold == 1
    await sign(signers, path, signers.alice, signers.bob)
    said = await heliograph("verify", str(path), "--previous", str(drafted), environ=pins(signers))
    assert said.code == 0, said
    assert said.stdout[0].startswith(f"{path}: retirement of the canary of NordBastion, ")
    assert "state revoked at" in said.stdout[-1]


# --- the terminal -------------------------------------------------------------------------------------------------


def left(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if each.name != "set.toml")


def test_what_was_typed_before_a_question_answers_nothing(signers: Signers, tmp_path: Path) -> None:
    with first_draft(signers, tmp_path) as screen:
        screen.type("yes\n" * 20)
        screen.answers("Is this true?", "no")
        screen.answers("Leave it out?", "no")
        screen.shows("Is this true? (yes/no) ")
        screen.type("no\nyes\nyes\nyes\n")
        screen.answers("Leave it out?", "no")
        screen.answers("Is this true?", "yes")
        assert "2 of 2: seizures" in screen.answers("Is this true?", "yes")
        screen.answers("Write canary-1.json?", "no")
        assert screen.ends() == (1, "no\nheliograph: nothing is written\n")
    assert left(tmp_path) == []


@pytest.mark.parametrize("word", ["", "y", "ja", "yes please", "yesyes"])
def test_only_a_whole_word_is_an_answer(signers: Signers, tmp_path: Path, word: str) -> None:
    with first_draft(signers, tmp_path) as screen:
        screen.answers("Is this true?", word)
        screen.shows("Please type yes or no, the whole word.")
        assert "2 of 2" not in screen.shows("Is this true? (yes/no) ")


@pytest.mark.parametrize(
    ("keys", "code", "words"),
    [(CTRL_D, 1, "heliograph: the answers ended: nothing is written\n"), (CTRL_C, 130, "")],
)
def test_who_goes_away_leaves_nothing_behind(
    signers: Signers, tmp_path: Path, keys: str, code: int, words: str
) -> None:
    with first_draft(signers, tmp_path) as screen:
        screen.answers("Is this true?", "yes")
        screen.shows("Is this true? (yes/no) ")
        screen.type(keys)
        ended = screen.ends()
    assert ended[0] == code
    assert ended[1].endswith(words)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--threshold", "3"), "--threshold: is 3, of 2 signers"),
        (("--block", "1:2"), "--block: '1:2' is not HEIGHT:HASH"),
        (("--statements", "none.toml"), "none.toml: cannot be read"),
        (("--threshold", "0"), "--threshold: is 0, of 2 signers"),
        (("--jurisdiction", "Sweden"), "--jurisdiction: 'Sweden' is not an ISO 3166 code, such as SE or US-NY"),
        (("--scope", "a\x1b[2J"), "--scope: must be one line of printable characters"),
        (("--output", "none"), "--output: none is not a folder that can be written to"),
        (("--signer", "ABC"), "--signer: 'ABC' is not a fingerprint"),
        (("--previous", "x.json"), "name the canary before this one with --previous FILE, or say --first"),
    ],
)
def test_what_cannot_be_is_said_before_the_first_question(
    signers: Signers, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    with first_draft(signers, tmp_path, *options) as screen:
        code, shown = screen.ends()
    assert (code, shown.startswith(f"heliograph: {words}"), shown.count("\n")) == (2, True, 1), shown


def test_a_draft_that_is_there_is_not_overwritten(signers: Signers, tmp_path: Path) -> None:
    (tmp_path / "canary-1.json").write_text("mine")
    with first_draft(signers, tmp_path) as screen:
        code, shown = screen.ends()
    assert (code, shown) == (2, "heliograph: canary-1.json: is there already; move it away first\n")
    assert (tmp_path / "canary-1.json").read_text() == "mine"


# --- signing ------------------------------------------------------------------------------------------------------


async def test_a_key_that_is_not_among_the_signers_signs_nothing(signers: Signers, drafted: Path) -> None:
    said = await heliograph("sign", str(drafted), "--key", signers.mallory, environ=signers.environ)
    assert (said.code, said.stdout) == (1, [])
    among = ", ".join(sorted((signers.alice, signers.bob)))
    assert said.stderr == [f"heliograph: {drafted}: {signers.mallory} is not among its signers: {among}"]


async def test_without_a_key_the_one_that_is_here_signs_and_two_must_be_told_apart(
    signers: Signers, drafted: Path
) -> None:
    both = await heliograph("sign", str(drafted), environ=signers.environ)
    assert both.code == 1
    assert "2 have (name one with --key) a secret key in " in both.stderr[-1]
    with home() as bobs:
        none = await heliograph("sign", str(drafted), environ={"GNUPGHOME": str(bobs.path)})
        assert (none.code, "none has a secret key in " in none.stderr[-1]) == (1, True)
        bobs.take(signers.certificates())
        still_none = await heliograph("sign", str(drafted), environ={"GNUPGHOME": str(bobs.path)})
        assert (still_none.code, "none has a secret key in " in still_none.stderr[-1]) == (1, True)
        bobs.take(signers.home.secret(signers.bob))
        said = await heliograph("sign", str(drafted), environ={"GNUPGHOME": str(bobs.path)})
    assert said.code == 0, said
    assert drafted.with_name(f"{drafted.name}.{signers.bob[-16:]}.asc").is_file()
    again = await heliograph("sign", str(drafted), "--key", signers.bob, environ=signers.environ)
    assert (again.code, "is there already; move it away first" in again.stderr[-1]) == (2, True)


async def test_gpg_missing_is_said_in_a_line(signers: Signers, drafted: Path, tmp_path: Path) -> None:
    environ = {**pins(signers), "PATH": str(tmp_path)}
    for command in ("sign", "verify"):
        said = await heliograph(command, str(drafted), environ=environ)
        assert (said.code, len(said.stderr)) == (1, 1), said
        assert "gpg" in said.stderr[0]


# --- who tries to cheat -------------------------------------------------------------------------------------------


class Bench(NamedTuple):
    """Two canaries of Alice and Bob, one after the other, and what gpg makes of anything about them."""

    signers: Signers
    keyring: Keyring
    old: Document
    new: Document

    def signed(self, document: bytes, *keys: str) -> dict[str, bytes]:
        return {f"{key}.asc": self.signers.home.sign(document, key=key) for key in keys}

    async def judged(self, content: bytes, files: Mapping[str, bytes], *, at: datetime | None = None) -> Verdict:
        signatures = await read_signatures(self.keyring, content, files, at=at)
        pinned = (self.signers.alice, self.signers.bob)
        return check(
            content, signatures, pinned=pinned, threshold=2, now=at or datetime.now(UTC), previous=Predecessor.UNKNOWN
        )


@pytest.fixture
async def bench(signers: Signers) -> AsyncIterator[Bench]:
    async with Keyring() as keyring:
        await keyring.import_certificates(signers.certificates())
        who = {"signers": (signers.alice, signers.bob), "jurisdictions": ("SE",)}
        old = Document.of(draft(None, answers(1, **who), NOW - timedelta(minutes=8)))
        tripped = answers(2, **who, statements=STATEMENTS[1:], removed=frozenset({"warrants"}))
        yield Bench(signers, keyring, old, Document.of(draft(old, tripped, NOW)))


def standings(verdict: Verdict) -> list[Standing]:
    return [each.standing for each in verdict.signatures]


async def test_the_honest_one_is_good(bench: Bench) -> None:
    subkey = alices_subkey(bench.signers)
    for document in (bench.old, bench.new):
        verdict = await bench.judged(document.content, bench.signed(document.content, subkey, bench.signers.bob))
        assert verdict.is_good, verdict
        assert verdict.signatures[0].signed.primary == bench.signers.alice


async def test_an_old_signature_on_new_bytes(bench: Bench) -> None:
    subkey = alices_subkey(bench.signers)
    verdict = await bench.judged(bench.new.content, bench.signed(bench.old.content, subkey, bench.signers.bob))
    assert standings(verdict) == [Standing.NOT_GOOD, Standing.NOT_GOOD]
    assert [each.reason for each in verdict.faults] == [Reason.TOO_FEW_SIGNATURES]


async def test_no_field_of_one_canary_can_stand_in_another(bench: Bench) -> None:
    """What CanaryTail allows: an old statement of health under new dates."""
    subkey = alices_subkey(bench.signers)
    old, new = json.loads(bench.old.content), json.loads(bench.new.content)
    files = {
        **{f"old-{name}": each for name, each in bench.signed(bench.old.content, subkey, bench.signers.bob).items()},
        **{f"new-{name}": each for name, each in bench.signed(bench.new.content, subkey, bench.signers.bob).items()},
    }
    differing = [name for name in new if old[name] != new[name]]
    assert {"statements", "sequence", "issued_at", "freshness", "previous_sha256"} <= set(differing)
    for name in differing:
        spliced = rfc8785.dumps(new | {name: old[name]})
        verdict = await bench.judged(spliced, files)
        assert verdict.counted == 0, name
        assert not verdict.is_good


async def test_one_key_does_not_sign_for_two(bench: Bench) -> None:
    second = bench.signers.home.add_subkey(bench.signers.alice)
    await bench.keyring.import_certificates(bench.signers.home.public(bench.signers.alice))
    subkeys = [each for each in bench.signers.home.fingerprints() if each not in bench.signers[1:]]
    assert second in subkeys
    verdict = await bench.judged(bench.new.content, bench.signed(bench.new.content, *subkeys))
    assert standings(verdict) == [Standing.COUNTS, Standing.REPEATED]
    assert not verdict.is_good


async def test_a_key_that_is_not_pinned_does_not_count_nor_one_that_is_not_known(bench: Bench) -> None:
    with home() as elsewhere:
        stranger = elsewhere.make("Alice <alice@provider.example>")
        files = bench.signed(bench.new.content, bench.signers.mallory, bench.signers.bob)
        files["stranger.asc"] = elsewhere.sign(bench.new.content, key=stranger)
        verdict = await bench.judged(bench.new.content, files)
    assert standings(verdict) == [Standing.NOT_PINNED, Standing.COUNTS, Standing.NOT_GOOD]
    assert not verdict.is_good


async def test_two_signatures_in_one_file_are_none(bench: Bench) -> None:
    subkey = alices_subkey(bench.signers)
    both = b"\n".join(bench.signed(bench.new.content, subkey, bench.signers.bob).values())
    verdict = await bench.judged(bench.new.content, {"both.asc": both})
    assert standings(verdict) == [Standing.NOT_GOOD]


async def test_a_key_that_has_expired_or_was_revoked_does_not_count() -> None:
    with home() as made:
        long_ago = NOW - timedelta(days=400)
        alice = made.make("Alice", expires="1y", at=f"{long_ago:%Y%m%dT%H%M%S}")
        bob = made.make("Bob")
        then = long_ago + timedelta(days=300)
        old = Document.of(draft(None, answers(1, signers=(alice, bob)), then))
        new = Document.of(draft(None, answers(1, signers=(alice, bob)), NOW))
        aged = made.sign(old.content, key=alice, at=f"{then + timedelta(minutes=1):%Y%m%dT%H%M%S}")
        late = made.sign(new.content, key=alice, at=f"{then + timedelta(minutes=1):%Y%m%dT%H%M%S}")
        bobs = made.sign(new.content, key=bob)
        pinned = (alice, bob)
        async with Keyring() as keyring:
            await keyring.import_certificates(made.public(alice) + b"\n" + made.public(bob))
            expired = await read_signatures(keyring, new.content, {"a": late, "b": bobs})
            verdict = check(
                new.content, expired, pinned=pinned, threshold=2, now=datetime.now(UTC), previous=Predecessor.NONE
            )
            assert standings(verdict) == [Standing.NOT_GOOD, Standing.COUNTS]
            assert verdict.signatures[0].signed.problem == "the key that signed has expired"
            in_its_time = await read_signatures(keyring, old.content, {"a": aged}, at=then + timedelta(days=1))
            assert in_its_time == [replace(in_its_time[0], primary=alice, problem="")]
            made.revoke(bob)
            await keyring.import_certificates(made.public(bob))
            revoked = await read_signatures(keyring, new.content, {"a": late, "b": bobs})
        verdict = check(
            new.content, revoked, pinned=pinned, threshold=2, now=datetime.now(UTC), previous=Predecessor.NONE
        )
        assert standings(verdict) == [Standing.NOT_GOOD, Standing.REVOKED]
        assert [each.reason for each in verdict.faults] == [Reason.TOO_FEW_SIGNATURES, Reason.REVOKED_KEY]


async def test_a_retirement_signed_beforehand_ends_whatever_is_newest_then(bench: Bench) -> None:
    ending = retirement(NOW - timedelta(minutes=8), signers=(bench.signers.alice, bench.signers.bob))
    files = bench.signed(ending.content, alices_subkey(bench.signers), bench.signers.bob)
    signatures = await read_signatures(bench.keyring, ending.content, files)
    pinned = (bench.signers.alice, bench.signers.bob)
    for newest in (bench.old, bench.new):
        verdict = check(
            ending.content, signatures, pinned=pinned, threshold=2, now=NOW + timedelta(days=90), previous=newest
        )
        assert verdict.is_good, verdict


def alices_subkey(signers: Signers) -> str:
    return next(each for each in signers.home.fingerprints() if each not in signers[1:])
