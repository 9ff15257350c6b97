"""The audit: vulnerabilities fail it, what cannot be asked is said and fails nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from requirements import audit
from requirements.audit import Verdict

FLAW = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"], "description": "…"}
CLEAN = {"name": "a", "version": "1", "vulns": []}
FLAWED = {"name": "b", "version": "1.0", "vulns": [FLAW]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}
SAID = "audit: b 1.0: PYSEC-2026-1 (CVE-2026-1), corrected in 1.1"
NOT_KNOWN = "audit: nothing is known about c"


def output(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


@pytest.mark.parametrize(
    ("said", "complaint", "accepted", "expected"),
    [
        (output(CLEAN), "No known vulnerabilities found", {}, Verdict((), is_failure=False)),
        (output(CLEAN, FLAWED), "", {}, Verdict((SAID,), is_failure=True)),
        (output(FLAWED, UNKNOWN), "", {}, Verdict((SAID, NOT_KNOWN), is_failure=True)),
        (output(CLEAN, UNKNOWN), "", {}, Verdict((NOT_KNOWN,), is_failure=False)),
        (output(CLEAN, FLAWED), "", {"CVE-2026-1": "not used"}, Verdict((), is_failure=False)),
        (output(CLEAN, FLAWED), "", {"PYSEC-2026-1": "not used"}, Verdict((), is_failure=False)),
        (output(CLEAN, FLAWED), "", {"CVE-2026-2": "another"}, Verdict((SAID,), is_failure=True)),
    ],
)
def test_what_is_found_is_said_and_fails(
    said: str, complaint: str, accepted: dict[str, str], expected: Verdict
) -> None:
    assert audit.judge(said, complaint, accepted) == expected


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (output(UNKNOWN, UNKNOWN), ""),
        ("", "requests.exceptions.ConnectionError: HTTPSConnectionPool(…)"),
        ("", "requests.exceptions.ReadTimeout: …"),
        ("", "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed"),
        ("", "timed out after 120 s"),
    ],
)
def test_an_index_that_cannot_be_asked_fails_nothing_and_is_said_in_one_line(said: str, complaint: str) -> None:
    verdict = audit.judge(said, complaint, {})
    [line] = verdict.lines
    assert line.startswith("audit: NOT AUDITED, the package index ")
    assert not verdict.is_failure


@pytest.mark.parametrize(("said", "complaint"), [("", "usage: pip-audit"), ("{}", ""), ("[]", "x"), ("", "")])
def test_anything_else_is_a_failure(said: str, complaint: str) -> None:
    verdict = audit.judge(said, complaint, {})
    assert verdict.is_failure
    assert verdict.lines == (f"audit: pip-audit failed: {complaint or 'it said nothing'}",)
