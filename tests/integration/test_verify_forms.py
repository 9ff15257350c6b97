"""`heliograph verify` of what is signed by too few, or for another purpose, and comes in a form that asks for less."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, NamedTuple

import orjson
import pytest

from publisher.delivery.request import signature
from publisher.secrets import shown
from signer.statement import Document, signature_name
from tests.support.canaries import retirement
from tests.support.jobs import KEY
from tests.support.verifying import AT, ISSUED, Provider, provider, verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANSWER = b'{"data":[{"id":"srv_1","status":"running"}],"meta":{}}'


class Form(NamedTuple):
    """Something that one key has signed, and the options that it takes to ask for it."""

    path: Path
    options: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def signers() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture(scope="module")
def newest(signers: Provider) -> Document:
    return signers.chain()[2]


def pinned(signers: Provider, folder: Path, *fingerprints: str) -> tuple[str, ...]:
    """Return the options of somebody who names these."""
    return ("--key", str(signers.keys(folder)), *(option for each in fingerprints for option in ("--key", each)))


def detached(signers: Provider, folder: Path, content: bytes, key: str) -> Form:
    path = folder / "file.json"
    path.write_bytes(content)
    path.with_name("file.json.asc").write_bytes(signers.signed(content, key)[key])
    return Form(path)


def clear(signers: Provider, folder: Path, content: bytes, key: str) -> Form:
    path = folder / "file.txt"
    path.write_bytes(signers.home.sign(content, "--clearsign", key=key))
    return Form(path)


def in_headers(signers: Provider, folder: Path, content: bytes, key: str) -> Form:
    path, headers = folder / "body.json", folder / "headers"
    path.write_bytes(content)
    encoded = base64.b64encode(signers.signed(content, key)[key]).decode()
    headers.write_text(f"X-NB-Signature: {encoded}\n")
    return Form(path, ("--headers", str(headers)))


def as_webhook(signers: Provider, folder: Path, content: bytes, key: str) -> Form:
    del signers, key
    path, headers, secret = folder / "body.json", folder / "headers", folder / "secret"
    path.write_bytes(content)
    secret.write_text(shown(KEY))
    made = signature([KEY], "msg_1", 1_793_491_200, content)
    values = {"webhook-id": "msg_1", "webhook-timestamp": "1793491200", "webhook-signature": made}
    headers.write_bytes(orjson.dumps(values))
    return Form(path, ("--headers", str(headers), "--secret", str(secret), "--any-age"))


FORMS = {"detached": detached, "clear": clear, "headers": in_headers, "webhook": as_webhook}
SPELLINGS = {
    "as it is": lambda content: content,
    "in another case": lambda content: content.replace(b'"warrant-canary/1"', b'"Warrant-canary/1"'),
    "behind a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "under another type": lambda content: content.replace(b'"warrant-canary/1"', b'"peering/1"'),
    "with two types": lambda content: content.replace(b"}", b'},"type":"peering/1"', 1),
}


# --- a canary that one of two has signed --------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_one_of_two_signers_is_not_enough_in_any_form(
    signers: Provider, newest: Document, tmp_path: Path, form: object, spelling: object
) -> None:
    assert callable(form)
    assert callable(spelling)
    path, options = form(signers, tmp_path, spelling(newest.content), signers.bob)
    for keys in (pinned(signers, tmp_path), pinned(signers, tmp_path, signers.alice, signers.bob)):
        said = verify(path, *options, *keys)
        assert (said.code, said.verdict.partition(":")[0]) == (1, "NOT VERIFIED"), said
    for more in (("--chain",), ("--previous", str(tmp_path)), ("--threshold", "1"), ("--expect", "response")):
        assert verify(path, *options, *pinned(signers, tmp_path), "--any-age", *more).code == 1, more


@pytest.mark.parametrize("form", [clear, in_headers, as_webhook])
def test_not_even_all_signers_sign_a_canary_in_another_form(
    signers: Provider, newest: Document, tmp_path: Path, form: object
) -> None:
    assert callable(form)
    path, options = form(signers, tmp_path, newest.content, signers.bob)
    said = verify(path, *options, *pinned(signers, tmp_path, signers.bob), "--expect", "canary")
    assert (said.code, said.faults) == (1, ["not_detached"])


@pytest.mark.parametrize("form", [clear, in_headers])
def test_a_page_with_a_canary_passes_as_an_answer_only_where_that_is_asked_for(
    signers: Provider, newest: Document, tmp_path: Path, form: object
) -> None:
    assert callable(form)
    path, options = form(signers, tmp_path, signers.view(newest), signers.feed)
    feed = pinned(signers, tmp_path, signers.feed)
    said = verify(path, *options, *feed)
    assert (said.code, said.faults) == (1, ["not_detached"])
    assert verify(path, *options, *feed, "--expect", "response").code == 0
    assert verify(path, *options, *feed, "--expect", "response", "--chain").code == 2


def test_what_calls_itself_a_canary_is_no_page_of_one(signers: Provider, newest: Document, tmp_path: Path) -> None:
    page = tmp_path / "canary"
    page.write_bytes(signers.view(newest, type="warrant-canary/1"))
    said = verify(page, *signers.canary_keys(tmp_path), *AT)
    assert (said.code, said.faults) == (1, ["malformed"])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("option", [("--chain",), ("--previous", ".")])
def test_only_a_canary_has_predecessors(
    signers: Provider, tmp_path: Path, form: object, option: tuple[str, ...]
) -> None:
    assert callable(form)
    path, options = form(signers, tmp_path, ANSWER, signers.feed)
    said = verify(path, *options, *pinned(signers, tmp_path, signers.feed), *option)
    assert said == (2, [], ["heliograph: --chain, --previous: only a canary has predecessors"])


# --- how many must have signed ------------------------------------------------------------------------------------


def test_of_several_fingerprints_each_must_have_signed_a_document(signers: Provider, tmp_path: Path) -> None:
    path, _ = detached(signers, tmp_path, b'{"type":"status/1"}', signers.feed)
    both = pinned(signers, tmp_path, signers.feed, signers.bob)
    said = verify(path, *both)
    assert (said.code, said.faults) == (1, ["too_few_signatures"])
    assert said.verdict == "NOT VERIFIED: 1 of 2 signatures"
    assert verify(path, *both, "--threshold", "1").code == 0
    assert verify(path, *pinned(signers, tmp_path, signers.feed)).code == 0
    assert verify(path, *pinned(signers, tmp_path)).code == 0
    bobs = signers.signed(path.read_bytes(), signers.bob)[signers.bob]
    path.with_name("file.json.bob.asc").write_bytes(bobs)
    assert verify(path, *both).verdict == "verified: 2 of 2 signatures"


def test_of_several_fingerprints_one_clear_signature_is_too_few(signers: Provider, tmp_path: Path) -> None:
    path, _ = clear(signers, tmp_path, ANSWER, signers.feed)
    both = pinned(signers, tmp_path, signers.feed, signers.bob)
    said = verify(path, *both)
    assert (said.code, said.stdout, len(said.stderr)) == (2, [], 1)
    assert verify(path, *both, "--threshold", "1").code == 0
    assert verify(path, *pinned(signers, tmp_path, signers.feed)).code == 0


# --- an ending ----------------------------------------------------------------------------------------------------


def test_an_ending_is_as_loud_as_a_canary_that_is_late(signers: Provider, tmp_path: Path) -> None:
    ending = retirement(ISSUED[2], signers=(signers.alice, signers.bob), threshold=2)
    path = signers.publish(tmp_path, ending)
    keys = signers.canary_keys(tmp_path)
    said = verify(path, *keys, *AT, "--expect", "canary")
    assert (said.code, said.faults) == (1, ["ended"])
    assert verify(path, *keys, *AT, "--any-age").code == 0
    next(tmp_path.glob("canary-retirement.json.*.asc")).unlink()
    assert verify(path, *keys, *AT).faults == ["too_few_signatures", "ended"]
    assert verify(path, *keys, *AT, "--any-age").faults == ["too_few_signatures"]


@pytest.mark.parametrize(
    ("state", "faults"), [("revoked", []), ("current", ["contradicted"]), ("invalid", ["contradicted"])]
)
def test_a_page_that_hides_an_ending_contradicts_it(
    signers: Provider, tmp_path: Path, state: str, faults: list[str]
) -> None:
    ending = retirement(ISSUED[2], signers=(signers.alice, signers.bob), threshold=2)
    page = tmp_path / "canary"
    page.write_bytes(signers.view(ending, state=state))
    said = verify(page, *signers.canary_keys(tmp_path), *AT, "--any-age")
    assert (said.code, said.faults) == (bool(faults), faults)
    assert verify(page, *signers.canary_keys(tmp_path), *AT).faults == ["ended", *faults]


# --- what is no document ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [ANSWER, b'{"type":"server.deleted"}', b"any bytes", b'[{"type":"status/1"}]'])
def test_what_the_feed_key_has_signed_for_a_customer_is_no_document(
    signers: Provider, tmp_path: Path, content: bytes
) -> None:
    path, _ = detached(signers, tmp_path, content, signers.feed)
    feed = pinned(signers, tmp_path, signers.feed)
    said = verify(path, *feed)
    assert (said.code, said.faults) == (1, ["not_a_document"])
    assert any(f"signed by {signers.feed}, but not a document this service publishes" in line for line in said.stdout)
    assert verify(path, *feed, "--expect", "document").faults == ["not_a_document", "another_kind"]
    taken = verify(path, *feed, "--expect", "bytes")
    assert (taken.code, taken.verdict) == (0, "verified: 1 of 1 signatures")
    path.write_bytes(content + b"\n")
    assert verify(path, *feed, "--expect", "bytes").faults == ["too_few_signatures"]


def test_a_signed_answer_verifies_with_its_headers(signers: Provider, tmp_path: Path) -> None:
    path, options = in_headers(signers, tmp_path, ANSWER, signers.feed)
    assert verify(path, *options, *pinned(signers, tmp_path, signers.feed), "--expect", "response").code == 0


def test_any_bytes_may_hold_a_canary_but_be_none(signers: Provider, newest: Document, tmp_path: Path) -> None:
    path, _ = detached(signers, tmp_path, b"Archive: " + newest.content, signers.bob)
    bobs = pinned(signers, tmp_path, signers.bob)
    assert verify(path, *bobs).faults == ["not_detached", "not_a_document"]
    assert verify(path, *bobs, "--expect", "bytes").code == 0
    path.write_bytes(newest.content)
    path.with_name(signature_name(path.name, signers.bob)).write_bytes(
        signers.signed(newest.content, signers.bob)[signers.bob]
    )
    assert "another_kind" in verify(path, *bobs, "--expect", "bytes").faults
