"""What gpg's status lines mean: one combination is a signature, each other one is refused for its reason."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from signer.faults import BadSignatureError, PgpError, Reason
from signer.verdict import Form, Line, Signature, check_made, is_fingerprint, verified

A, B = "A" * 40, "B" * 40
MADE = 1_795_270_132
AT = datetime.fromtimestamp(MADE, UTC)

NEW = ("NEWSIG", "")
GOOD = ("GOODSIG", "F00D Somebody <a@b.example>")


def valid(
    *, signer: str = A, made: str = str(MADE), digest: str = "8", form: str = Form.DETACHED, primary: str = B
) -> Line:
    return "VALIDSIG", f"{signer} 2026-11-21 {made} 0 4 0 22 {digest} {form} {primary}"


def errsig(code: int, made: int = MADE) -> Line:
    return "ERRSIG", f"F00D 22 8 00 {made} {code} {A}"


def judge(*lines: Line, returncode: int = 0, latest: datetime = AT, form: Form = Form.DETACHED) -> Signature:
    return verified(lines, returncode, latest=latest, form=form)


def test_one_good_signature_says_who_signed_with_which_key_and_when() -> None:
    assert judge(NEW, GOOD, valid(), ("TRUST_UNDEFINED", "0")) == Signature(primary=B, signer=A, made_at=AT)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], Reason.MALFORMED),
        ([("NODATA", "1"), ("NODATA", "2")], Reason.MALFORMED),
        ([GOOD, valid()], Reason.MALFORMED),
        ([NEW, GOOD, valid(), NEW, GOOD, valid()], Reason.SEVERAL_SIGNATURES),
        ([NEW, ("BADSIG", "F00D x"), NEW, GOOD, valid()], Reason.SEVERAL_SIGNATURES),
        ([NEW, ("BADSIG", "F00D x")], Reason.BAD),
        ([NEW, ("BADSIG", "F00D x"), GOOD, valid()], Reason.BAD),
        ([NEW, ("EXPKEYSIG", "F00D x"), valid()], Reason.EXPIRED_KEY),
        ([NEW, ("REVKEYSIG", "F00D x"), valid()], Reason.REVOKED_KEY),
        ([NEW, ("EXPSIG", "F00D x"), valid()], Reason.EXPIRED_SIGNATURE),
        ([NEW, errsig(9), ("NO_PUBKEY", "F00D")], Reason.UNKNOWN_KEY),
        ([NEW, errsig(4)], Reason.UNCHECKABLE),
        ([NEW, errsig(6, MADE + 1)], Reason.NOT_YET_VALID),
        ([NEW, ("ERRSIG", "F00D")], Reason.UNCHECKABLE),
        ([NEW, GOOD], Reason.BAD),
        ([NEW, valid()], Reason.BAD),
        ([NEW, GOOD, ("VALIDSIG", A)], Reason.MALFORMED),
        ([NEW, GOOD, valid(made="20261121T000000")], Reason.MALFORMED),
        ([NEW, GOOD, valid(digest="1")], Reason.WEAK_DIGEST),
        ([NEW, GOOD, valid(digest="2")], Reason.WEAK_DIGEST),
        ([NEW, GOOD, valid(digest="3")], Reason.WEAK_DIGEST),
        ([NEW, GOOD, valid(form="01")], Reason.WRONG_FORM),
        ([NEW, GOOD, valid(form="18")], Reason.WRONG_FORM),
        ([NEW, GOOD, valid(made=str(MADE + 1))], Reason.NOT_YET_VALID),
        ([NEW, GOOD, valid(primary="F" * 64)], Reason.UNCHECKABLE),
        ([NEW, GOOD, valid(signer="F" * 64)], Reason.UNCHECKABLE),
    ],
)
def test_everything_else_is_refused(lines: list[Line], reason: Reason) -> None:
    with pytest.raises(BadSignatureError) as refused:
        judge(*lines)
    assert refused.value.reason is reason


def test_a_good_line_counts_for_nothing_when_gpg_ends_in_failure() -> None:
    with pytest.raises(BadSignatureError) as refused:
        judge(NEW, GOOD, valid(), returncode=1)
    assert refused.value.reason is Reason.BAD


def test_a_text_signature_is_what_a_clear_signed_document_has() -> None:
    assert judge(NEW, GOOD, valid(form=Form.CLEAR), form=Form.CLEAR).primary == B
    with pytest.raises(BadSignatureError) as refused:
        judge(NEW, GOOD, valid(form=Form.DETACHED), form=Form.CLEAR)
    assert refused.value.reason is Reason.WRONG_FORM


@pytest.mark.parametrize("form", Form)
def test_a_signature_by_the_key_that_was_asked_for_is_made(form: Form) -> None:
    letter = {"00": "D", "01": "C"}[form]
    check_made([("SIG_CREATED", f"{letter} 22 8 {form} {MADE} {A}")], 0, A, form)


@pytest.mark.parametrize(
    ("lines", "returncode", "says"),
    [
        ([], 0, "made no signature"),
        ([("SIG_CREATED", f"D 22 8 00 {MADE} {A}")], 2, "made no signature"),
        ([("SIG_CREATED", f"D 22 8 00 {MADE} {A}")] * 2, 0, "made no signature"),
        ([("SIG_CREATED", f"D 22 8 00 {MADE} {B}")], 0, f"signed with {B}, not with {A}"),
        ([("SIG_CREATED", f"S 22 8 00 {MADE} {A}")], 0, "of class 00"),
        ([("SIG_CREATED", f"D 22 8 01 {MADE} {A}")], 0, "of class 01"),
        ([("SIG_CREATED", "D")], 0, "signed with"),
        ([("INV_SGNR", f"9 {A}!"), ("SIG_CREATED", f"D 22 8 00 {MADE} {A}")], 0, "no secret part here"),
        ([("INV_SGNR", f"5 {A}!")], 2, "has expired"),
        ([("INV_SGNR", "77")], 2, "cannot sign"),
    ],
)
def test_any_other_outcome_of_signing_is_an_error(lines: list[Line], returncode: int, says: str) -> None:
    with pytest.raises(PgpError, match=says):
        check_made(lines, returncode, A, Form.DETACHED)


@pytest.mark.parametrize("text", ["", "a" * 40, "A" * 39, "A" * 41, "A" * 40 + "\n", "--output" + "A" * 32, " " * 40])
def test_only_forty_digits_in_upper_case_are_a_fingerprint(text: str) -> None:
    assert is_fingerprint("0123456789ABCDEF" * 2 + "A" * 8)
    assert not is_fingerprint(text)
