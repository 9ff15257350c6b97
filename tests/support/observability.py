"""What is handed to operators for Prometheus and Grafana, read: rules, their tests, dashboards, and names in them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml  # type: ignore[import-untyped]  # tests alone read YAML, and only as dicts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
PROMETHEUS, GRAFANA = ROOT / "deploy" / "prometheus", ROOT / "deploy" / "grafana"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
#: What Grafana puts into an expression before Prometheus sees it.
VARIABLES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "6h"}
OURS = re.compile(r"(?<![\w:])((?:heliograph|compute_api)_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')


class Matcher(NamedTuple):
    """A label that an expression asks for, and a pattern for each of its alternatives."""

    metric: str
    label: str
    patterns: Sequence[str]


def promtool(*arguments: str | Path, cwd: Path = PROMETHEUS) -> str:
    """Run promtool; return what it says, and fail with that where it is not content."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: rules are not tested (Debian: sudo apt-get install prometheus)")
    done = subprocess.run([program, *arguments], cwd=cwd, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(path: Path) -> dict[str, Any]:
    """Return a YAML file."""
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def rules(path: Path) -> list[dict[str, Any]]:
    """Return the rules of a file, those that record among them."""
    return [rule for group in read(path)["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Return every alert."""
    return [rule for path in RULES for rule in rules(path) if "alert" in rule]


def panels(path: Path) -> list[dict[str, Any]]:
    """Return a dashboard's panels, rows among them."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["panels"]
    return found


def queries(path: Path) -> Iterator[str]:
    """Yield a dashboard's expressions as Prometheus sees them."""
    for panel in panels(path):
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield expression


def expressions() -> list[str]:
    """Return every expression of rules and dashboards."""
    ruled = [rule["expr"] for path in RULES for rule in rules(path)]
    return ruled + [query for path in DASHBOARDS for query in queries(path)]


def metrics_of(expression: str) -> set[str]:
    """Return the names of our metrics that an expression uses."""
    return {name for name, _ in OURS.findall(expression)}


def matchers_of(expression: str) -> Iterator[Matcher]:
    """Yield the labels an expression asks our metrics for, with the patterns of their values."""
    for metric, labels in OURS.findall(expression):
        for label, operator, value in MATCHER.findall(labels):
            yield Matcher(metric, label, value.split("|") if "~" in operator else [re.escape(value)])
