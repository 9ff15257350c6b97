"""Answers on demand as signed documents: what is wished for, and what it looks like. The signer here is a stamp."""

from __future__ import annotations

import base64
import hashlib

import pytest

from publisher import profiles
from publisher.api import errors, signing
from publisher.api.errors import ApiError
from publisher.profiles.model import Fault, LimitClass
from signer.client import SignerError, SignerRefusedError, SignerUnavailableError
from signer.protocol import Refusal

NAMES = profiles.load("nordbastion").headers
BODY = b'{"id":"we_1"}'


class Stamp:
    async def health(self) -> object:
        return None

    async def clearsign(self, content: bytes, *, is_public: bool = False) -> bytes:  # noqa: ARG002 - a stamp
        return b"-----BEGIN PGP SIGNED MESSAGE-----\n" + content

    async def detach(self, content: bytes, *, is_public: bool = False) -> bytes:  # noqa: ARG002 - a stamp
        return b"-----BEGIN PGP SIGNATURE-----\n" + hashlib.sha256(content).digest()


@pytest.mark.parametrize(
    ("given", "wish"), [({}, None), ({"X-NB-Sign": "1"}, "1"), ({"X-NB-Sign": "detached"}, "detached")]
)
def test_the_wish_is_in_a_header(given: dict[str, str], wish: str | None) -> None:
    assert signing.wish_of(given, NAMES, Stamp()) == wish


@pytest.mark.parametrize("given", ["", "0", "true", "Detached", "1, 1"])
def test_another_wish_is_malformed(given: str) -> None:
    with pytest.raises(ApiError) as caught:
        signing.wish_of({"X-NB-Sign": given}, NAMES, Stamp())
    assert (caught.value.fault, caught.value.code) == (Fault.MALFORMED, "invalid_header")


def test_what_is_asked_for_signed_is_never_answered_unsigned() -> None:
    with pytest.raises(ApiError) as caught:
        signing.wish_of({"X-NB-Sign": "1"}, NAMES, None)
    assert (caught.value.fault, caught.value.code) == (Fault.UNAVAILABLE, "signing_unavailable")


def test_a_provider_without_signatures_has_no_such_header() -> None:
    names = NAMES.model_copy(update={"sign": None, "signature": None})
    assert signing.wish_of({"X-NB-Sign": "nonsense"}, names, None) is None


async def test_a_clear_signed_answer_is_the_document_itself() -> None:
    answer = (await signing.sign(Stamp(), "1", BODY, NAMES)).response(201, {"Location": "/v1/x"})
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Location"] == "/v1/x"
    assert answer.body == b'-----BEGIN PGP SIGNED MESSAGE-----\n{\n  "id": "we_1"\n}'


async def test_a_detached_signature_leaves_the_body_as_it_is() -> None:
    answer = (await signing.sign(Stamp(), "detached", BODY, NAMES)).response(200, {})
    assert answer.body == BODY
    assert answer.headers["Content-Type"] == "application/json"
    digest = hashlib.sha256(BODY).digest()
    assert base64.b64decode(answer.headers["X-NB-Signature"]) == b"-----BEGIN PGP SIGNATURE-----\n" + digest
    assert answer.headers["Content-Digest"] == f"sha-256=:{base64.b64encode(digest).decode()}:"


@pytest.mark.parametrize(
    ("own", "given", "counted"),
    [
        (LimitClass.READ, {}, LimitClass.READ),
        (LimitClass.READ, {"X-NB-Sign": "1"}, LimitClass.WRITE),
        (LimitClass.READ, {"X-NB-Sign": "nonsense"}, LimitClass.WRITE),
        (LimitClass.WRITE, {"X-NB-Sign": "1"}, LimitClass.WRITE),
        (LimitClass.AUTH, {"X-NB-Sign": "1"}, LimitClass.AUTH),
    ],
)
def test_a_signature_makes_a_request_dear(own: LimitClass, given: dict[str, str], counted: LimitClass) -> None:
    assert signing.counts_as(own, given, NAMES) is counted


@pytest.mark.parametrize(
    ("error", "fault", "code"),
    [
        (SignerUnavailableError("away"), Fault.UNAVAILABLE, "signing_unavailable"),
        (SignerRefusedError(Refusal.FAILED, "no key"), Fault.UNAVAILABLE, "signing_unavailable"),
        (SignerRefusedError(Refusal.TOO_LARGE, "1048577 bytes"), Fault.REFUSED, "too_large_to_sign"),
        (SignerRefusedError(Refusal.NOT_CLEAR_SIGNABLE, "19994 bytes"), Fault.REFUSED, "not_clear_signable"),
    ],
)
def test_what_the_signer_cannot_do_is_said_in_a_callers_words(error: SignerError, fault: Fault, code: str) -> None:
    answer = errors.of_exception(error)
    assert (answer.fault, answer.code) == (fault, code)
    assert str(error) not in answer.message
