"""The dashboards: Grafana loads them without edits, whatever its datasource is called; Prometheus takes each query."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import pytest
import yaml  # type: ignore[import-untyped]  # as in tests/support/observability.py

from tests.support.observability import DASHBOARDS, GRAFANA, RULES, VARIABLES, panels, promtool, queries, read, rules

if TYPE_CHECKING:
    from pathlib import Path

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
per_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def test_there_is_one_for_each_side_of_the_service() -> None:
    stems = {path.stem.removeprefix("heliograph-") for path in DASHBOARDS}
    assert stems == {"service", "endpoints", "transparency", "compute-api"}


@per_dashboard
def test_a_dashboard_is_known_by_its_file_and_asks_which_datasource(path: Path) -> None:
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    assert dashboard["uid"] == path.stem
    assert len(dashboard["uid"]) <= 40  # Grafana's limit
    assert dashboard["title"].startswith("Heliograph: ")
    assert "id" not in dashboard  # Grafana gives it one
    assert "__inputs" not in dashboard  # or it would want to be asked before it is loaded
    [variable] = dashboard["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")


@per_dashboard
def test_panels_have_ids_of_their_own_and_stand_beside_each_other(path: Path) -> None:
    found = panels(path)
    ids = [panel["id"] for panel in found]
    assert len(ids) == len(set(ids)) > 4
    taken: set[tuple[int, int]] = set()
    for panel in found:
        place = panel["gridPos"]
        cells = set(
            itertools.product(
                range(place["x"], place["x"] + place["w"]),
                range(place["y"], place["y"] + place["h"]),
            )
        )
        assert place["x"] + place["w"] <= WIDTH
        assert cells
        assert not cells & taken, panel["title"]
        taken |= cells


@per_dashboard
def test_a_panel_says_what_it_shows_and_takes_its_figures_from_the_variable(path: Path) -> None:
    for panel in panels(path):
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        assert panel["datasource"] == DATASOURCE
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        names = [target["refId"] for target in panel["targets"]]
        assert len(names) == len(set(names))
        for target in panel["targets"]:
            assert target["datasource"] == DATASOURCE


def test_prometheus_takes_every_query(tmp_path: Path) -> None:
    """As rules that record: this is how promtool parses an expression."""
    found = [query for path in DASHBOARDS for query in queries(path)]
    assert not [query for query in found if "$" in query], f"only {', '.join(VARIABLES)} are known here"
    recorded = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(found)]
    rules_file = tmp_path / "queries.yml"
    rules_file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recorded}]}))
    assert f"{len(found)} rules found" in promtool("check", "rules", rules_file)


def test_what_dashboards_take_from_rules_is_recorded_there() -> None:
    recorded = {rule["record"] for path in RULES for rule in rules(path) if "record" in rule}
    used = {
        word
        for path in DASHBOARDS
        for query in queries(path)
        for word in query.replace("(", " ").replace(")", " ").split()
        if word.startswith("heliograph:")
    }
    assert used
    assert used <= recorded


def test_provisioning_points_at_folders_and_names_no_secret() -> None:
    [provider] = read(GRAFANA / "provisioning" / "dashboards" / "heliograph.yml")["providers"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
    assert provider["options"]["path"].startswith("/var/lib/grafana/")
    [datasource] = read(GRAFANA / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    assert datasource["type"] == "prometheus"
    assert not {"secureJsonData", "basicAuthPassword", "password"} & datasource.keys()
