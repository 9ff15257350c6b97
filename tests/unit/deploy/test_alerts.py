"""The alerts: Prometheus takes them, each is tested firing and silent, and each has its page in the runbook."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from tests.support.observability import PROMETHEUS, ROOT, RULES, TESTS, alerts, promtool, read, rules

if TYPE_CHECKING:
    from pathlib import Path

RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SECTIONS = dict(
    re.findall(r"^### ((?:Heliograph|ComputeApi)\w+)\n\n(.+?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
)
NAMES = [alert["alert"] for alert in alerts()]
BY_NAME = {alert["alert"]: alert for alert in alerts()}
QUESTIONS = ["Means", "The customer sees", "Look", "Do", "Back to sleep when"]


def test_prometheus_takes_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", *RULES)
    promtool("check", "config", "prometheus.yml")


def test_the_configuration_names_every_file_of_rules() -> None:
    named = read(PROMETHEUS / "prometheus.yml")["rule_files"]
    assert {PROMETHEUS / each for each in named} == set(RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_alerts_fire_and_are_silent_as_they_should(path: Path) -> None:
    promtool("test", "rules", path.name, cwd=path.parent)


def test_each_file_of_rules_has_its_tests() -> None:
    assert [path.name for path in TESTS] == [path.name for path in RULES]
    for path in TESTS:
        assert [(path.parent / each).resolve() for each in read(path)["rule_files"]] == [
            PROMETHEUS / "rules" / path.name
        ]


def test_every_alert_is_tested_firing_and_silent() -> None:
    tested: dict[str, set[str]] = defaultdict(set)
    for path in TESTS:
        of_file = {rule.get("alert") for rule in rules(PROMETHEUS / "rules" / path.name)}
        for test in read(path)["tests"]:
            for case in test["alert_rule_test"]:
                assert case["alertname"] in of_file, f"{path.name}: {case['alertname']} is none of its alerts"
                tested[case["alertname"]].add("firing" if case["exp_alerts"] else "silent")
    assert tested == {name: {"firing", "silent"} for name in NAMES}


def test_names_are_used_once() -> None:
    assert len(NAMES) == len(set(NAMES)) > 20


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(name: str) -> None:
    alert = BY_NAME[name]
    assert alert["labels"] == {"severity": alert["labels"]["severity"]}
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert len(alert["annotations"]["summary"]) > 20
    anchor = f"/docs/operations.md#{name.lower()}"
    assert alert["annotations"] == {
        "summary": alert["annotations"]["summary"],
        "runbook_url": "{{ $externalLabels.docs }}" + anchor,
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_runbook_answers_what_whoever_is_woken_asks(name: str) -> None:
    asked = re.findall(r"^- \*\*(.+?)\*\*: (.+)$", SECTIONS[name], re.MULTILINE)
    assert [question for question, _ in asked] == QUESTIONS
    assert all(answer.strip() for _, answer in asked)


def test_the_runbook_has_no_section_for_an_alert_there_is_not() -> None:
    assert set(SECTIONS) == set(NAMES)


def test_a_customer_s_own_failures_never_count_against_the_objective() -> None:
    recorded = [
        rule for path in RULES for rule in rules(path) if rule.get("record", "").startswith("heliograph:delivery")
    ]
    assert len(recorded) == 5
    for rule in recorded:
        results = {value for found in re.findall(r'result=~?"([^"]+)"', rule["expr"]) for value in found.split("|")}
        assert results == {"2xx", "internal"}
