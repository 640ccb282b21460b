"""The shipped rules are valid, each is tested and explained in the runbook, and all use existing metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .promql import OF_PROMETHEUS, PROMETHEUS, ROOT, RULES, alerts, exported, load, metrics_of, promtool, recorded, rules

TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
RUNBOOK = ROOT / "docs" / "runbook.md"
LABEL = "stateroom_runbook"
"""The external label that holds the address of the runbook."""
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def test_the_configuration_is_valid() -> None:
    assert f"{len(RULES)} rule files found" in promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_the_rules_are_valid() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_do_what_their_tests_say(path: Path) -> None:
    promtool("test", "rules", path)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_recorded_figures_are_there_before_the_alerts_that_need_them(path: Path) -> None:
    """Each file sets the order of groups. Otherwise promtool evaluates them in any order, and a test would pass by chance."""
    order = load(path)["group_eval_order"]
    groups = [group["name"] for each in ("recording", "alerts") for group in _groups(each)]
    assert order == groups


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_each_alert_is_seen_to_fire_to_resolve_and_not_to_fire(alert: str) -> None:
    timelines = [_timeline(group, alert) for path in TESTS for group in load(path)["tests"]]
    timelines = [each for each in timelines if each]
    fired_at = [next((i for i, fires in enumerate(each) if fires), None) for each in timelines]
    assert any(at is not None for at in fired_at), f"no test sees {alert} fire"
    resolved = [at is not None and not all(each[at:]) for at, each in zip(fired_at, timelines, strict=True)]
    assert any(resolved), f"no test sees {alert} fire and then resolve"
    assert any(at is None for at in fired_at), f"no test has a near miss of {alert}"


@pytest.mark.parametrize("record", sorted(recorded()))
def test_each_recorded_figure_is_tested(record: str) -> None:
    asked = {
        name
        for path in TESTS
        for group in load(path)["tests"]
        for case in group.get("promql_expr_test", ())
        for name in metrics_of(case["expr"])
        if case["exp_samples"]
    }
    assert record in asked


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_each_alert_says_what_it_should(alert: str) -> None:
    rule = alerts()[alert]
    assert re.fullmatch(r"Stateroom([A-Z][a-z0-9]+)+", alert)
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert "for" in rule
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    # StateroomDown has no figure to show: half of its expression has no value, the other half is 1 for "none".
    assert "$value" in annotations["description"] or alert == "StateroomDown"


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_each_alert_leads_to_its_section_at_the_runbooks_address(alert: str) -> None:
    """promtool has compared these annotations with the ones that Prometheus makes from the template."""
    groups = [group for path in TESTS for group in load(path)["tests"] if "external_labels" in group]
    urls = {(group["external_labels"][LABEL], url) for group in groups for url in _runbook_urls(group, alert)}
    assert urls, f"no test with the external label sees {alert} fire"
    for address, url in urls:
        assert url == f"{address}#{alert.lower()}"
        assert urlsplit(url).scheme == "https"
        assert urlsplit(url).netloc
        assert urlsplit(url).fragment in _anchors(RUNBOOK)


def test_without_the_runbooks_address_an_alert_names_the_page_in_the_repository() -> None:
    groups = [group for path in TESTS for group in load(path)["tests"] if "external_labels" not in group]
    urls = {url for group in groups for alert in alerts() for url in _runbook_urls(group, alert)}
    assert urls
    for url in urls:
        path, _, anchor = url.partition("#")
        assert ROOT / path == RUNBOOK
        assert anchor in _anchors(RUNBOOK)


def test_every_alert_takes_the_runbooks_address_from_the_same_place() -> None:
    before = {rule["annotations"]["runbook_url"].partition("#")[0] for rule in alerts().values()}
    assert before == {f'{{{{ or $externalLabels.{LABEL} "docs/runbook.md" }}}}'}


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    sections = {anchor for anchor in _anchors(RUNBOOK) if re.fullmatch(r"stateroom[a-z0-9]+", anchor)}
    assert sections == {alert.lower() for alert in alerts()}


@pytest.mark.parametrize("name", sorted({name for rule in rules() for name in metrics_of(rule["expr"])}))
def test_rules_ask_for_what_the_service_exports(name: str) -> None:
    assert name in exported() | recorded() | OF_PROMETHEUS


def test_the_runbook_names_figures_that_exist() -> None:
    text = RUNBOOK.read_text()
    named = re.findall(r"(?<![\w:])(?:stateroom_\w+|http_\w+|process_\w+|job\w*:[\w:]+)", text)
    assert set(named) <= exported() | recorded() | {LABEL}


def test_prometheus_understands_every_query_of_the_runbook(tmp_path: Path) -> None:
    blocks = re.findall(r"^ *```promql\n(.*?)^ *```$", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL)
    queries = [line.strip() for block in blocks for line in block.splitlines()]
    assert len(queries) > 20
    document = {"groups": [{"name": "queries", "rules": [{"record": f"q{n}", "expr": query} for n, query in enumerate(queries)]}]}
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps(document), encoding="utf-8")  # JSON is YAML.
    assert f"{len(queries)} rules found" in promtool("check", "rules", "--lint=none", path)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule.get("record"))
def test_rules_ask_for_this_job_only(rule: dict[str, Any]) -> None:
    """Other services also export names like http_requests_total. So every expression selects the job, or uses recorded figures."""
    for selector in re.findall(r"(?<![\w:])(?:stateroom_|http_|up\b)[\w]*(\{[^}]*\})?", rule["expr"]):
        assert 'job="stateroom"' in selector


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (job) (rate(a_total{x="b_total"}[5m])) / on (job) group_left (y) c:d:e offset 5m', {"a_total", "c:d:e"}),
        ("max_over_time(a:b{job='x'}[5m]) > 1e3 and b == bool 2 # c", {"a:b", "b"}),
        ("histogram_quantile(0.9, sum(x_bucket) without (le)) unless absent(y) or inf", {"x_bucket", "y"}),
    ],
)
def test_names_are_found_in_expressions(expression: str, names: set[str]) -> None:
    assert metrics_of(expression) == names


def _groups(name: str) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = load(PROMETHEUS / "rules" / f"{name}.yml")["groups"]
    return groups


def _timeline(group: dict[str, Any], alert: str) -> list[bool]:
    """Whether the alert is expected to fire, at each tested moment of a group, in order."""
    looks = [case for case in group.get("alert_rule_test", ()) if case["alertname"] == alert]
    return [bool(case["exp_alerts"]) for case in sorted(looks, key=lambda case: _seconds(case["eval_time"]))]


def _runbook_urls(group: dict[str, Any], alert: str) -> set[str]:
    """The addresses with which the alert fires in a group."""
    fired = [each for case in group.get("alert_rule_test", ()) if case["alertname"] == alert for each in case["exp_alerts"]]
    return {each["exp_annotations"]["runbook_url"] for each in fired}


def _seconds(duration: str) -> int:
    found = DURATION.fullmatch(duration)
    assert found, duration
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def _anchors(path: Path) -> set[str]:
    """A heading's anchor as usual renderers make it: lower case, hyphens for spaces, without punctuation."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
