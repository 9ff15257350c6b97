"""Asks for known vulnerabilities of what is shipped: `python -m requirements.audit`, a part of `make check`.

pip-audit asks the package index. Where that cannot be reached, or gives no advisories, nothing is known: one line
says so, and nothing fails, for a check that fails without a network would be taken out. A vulnerability fails it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from requirements import lock

#: Seconds for one answer, and for all of them.
ANSWER, ALL = 5, 120
#: What pip-audit's last words have in them when it did not reach the index.
UNREACHED = ("ConnectionError", "Timeout", "onnect", "timed out")
#: Identifiers of vulnerabilities that do not concern us -> why not. Each is taken out with the version it is about.
ACCEPTED: dict[str, str] = {}
COMMAND = [
    *(sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner=off"),
    *(f"--timeout={ANSWER}", "--format=json", f"--requirement={lock.RUNTIME}"),
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said, line by line, and whether the check fails."""

    lines: tuple[str, ...]
    is_failure: bool


def judge(output: str, complaint: str, accepted: dict[str, str]) -> Verdict:
    """Return what pip-audit's output (JSON) means; `complaint` is the last line of its stderr."""
    try:
        audited: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if any(word in complaint for word in UNREACHED):
            return Verdict(("audit: NOT AUDITED, the package index cannot be reached",), is_failure=False)
        return Verdict((f"audit: pip-audit failed: {complaint or 'it said nothing'}",), is_failure=True)
    unknown = [each["name"] for each in audited if "skip_reason" in each]
    if len(unknown) == len(audited):
        return Verdict(("audit: NOT AUDITED, the package index gives no advisories here",), is_failure=False)
    found = tuple(
        f"audit: {each['name']} {each['version']}: {flaw['id']} ({', '.join(flaw['aliases']) or 'no other name'}), "
        f"corrected in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for each in audited
        for flaw in each.get("vulns", ())
        if accepted.keys().isdisjoint({flaw["id"], *flaw["aliases"]})
    )
    left = (f"audit: nothing is known about {', '.join(sorted(unknown))}",) if unknown else ()
    return Verdict((*found, *left), bool(found))


def main() -> int:
    """Audit the runtime lock; return the exit code."""
    try:
        asked = subprocess.run(COMMAND, capture_output=True, text=True, timeout=ALL, check=False)  # noqa: S603 - our own words
        output, complaint = asked.stdout, asked.stderr.strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired:
        output, complaint = "", f"timed out after {ALL} s"
    verdict = judge(output, complaint, ACCEPTED)
    for line in verdict.lines:
        print(line, file=sys.stderr)
    return int(verdict.is_failure)


if __name__ == "__main__":
    sys.exit(main())
