"""The shipped dashboard loads, uses existing metrics in valid expressions, and no panel covers another."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from .promql import OF_PROMETHEUS, PROMETHEUS, ROOT, exported, load, metrics_of, promtool, recorded

GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "stateroom.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
GRAPHS = [panel for panel in PANELS if panel["type"] != "row"]
PANEL_QUERIES = [(panel["title"], target["expr"]) for panel in GRAPHS for target in panel["targets"]]
QUERIES = PANEL_QUERIES + [(each["name"], each["expr"]) for each in DASHBOARD["annotations"]["list"]]
COLUMNS = 24

STAND_INS = {"$__rate_interval": "1m", "$__range": "1h", "$instance": ".*"}
"""The values that Grafana would put in for its variables."""


def test_it_can_be_provisioned() -> None:
    assert DASHBOARD["id"] is None  # Grafana assigns the id. A given one could replace another dashboard.
    assert DASHBOARD["uid"] == "stateroom"
    assert "__inputs" not in DASHBOARD  # Only a user in the browser reads these.


def test_rows_are_the_questions_in_order() -> None:
    assert [panel["title"] for panel in sorted(PANELS, key=lambda panel: panel["gridPos"]["y"]) if panel["type"] == "row"] == [
        "Is it up?",
        "Who is on it?",
        "Is Redis healthy?",
        "What is slow?",
        "What did the last failover do?",
    ]


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_queries_name_metrics_that_exist(title: str, query: str) -> None:
    assert metrics_of(filled_in(query)) - recorded() - OF_PROMETHEUS <= exported()


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_queries_have_a_window_that_fits_the_zoom(title: str, query: str) -> None:
    assert set(re.findall(r"\[([^\]]+)\]", query)) <= {"$__rate_interval", "$__range", "$__range:5s"}


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query_{number}", "expr": filled_in(query)} for number, (_, query) in enumerate(QUERIES)]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")  # JSON is YAML.
    assert f"{len(QUERIES)} rules found" in promtool("check", "rules", "--lint=none", path)


def test_a_query_that_is_none_is_found(tmp_path: Path) -> None:
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": [{"record": "q", "expr": "sum(up"}]}]}), encoding="utf-8")
    with pytest.raises(AssertionError, match="parse error"):
        promtool("check", "rules", path)


@pytest.mark.parametrize("panel", GRAPHS, ids=lambda panel: panel["title"])
def test_panels_are_whole(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for asked in (panel, *panel["targets"]):
        assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_variables_are_declared_and_lead_to_the_data_source_that_is_provisioned() -> None:
    declared = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-zA-Z_]\w*)", json.dumps(DASHBOARD)))
    assert {name for name in used if not name.startswith("__")} == set(declared)
    [source] = load(GRAFANA / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    assert declared["datasource"]["current"]["value"] == source["uid"] == "prometheus"
    scrape = load(PROMETHEUS / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape, "$__rate_interval would be too short for a rate, or needlessly long"


def test_no_panel_lies_over_another() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one in PANELS:
        assert one["gridPos"]["x"] + one["gridPos"]["w"] <= COLUMNS, one["title"]
    for one, other in combinations(PANELS, 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), f"{one['title']} and {other['title']}"


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or above)


def filled_in(query: str) -> str:
    for variable, value in STAND_INS.items():
        query = query.replace(variable, value)
    assert "$" not in query
    return query
