"""docs/metrics.md lists the metrics that the service exports, with their types and labels."""

from __future__ import annotations

import re

from stateroom.telemetry.metrics import LOOPS, REDIS_ERROR_KINDS, Metrics

from ..documents import page

ROWS = re.findall(r"^\| `(\w+)(?:\{([\w,]+)\})?` \| (counter|gauge|histogram) \|", page("metrics.md"), re.MULTILINE)
KINDS_OF_OTHERS = ("python_", "process_")
"""Metrics of prometheus-client's own collectors, of which the page lists three."""


def test_every_metric_is_listed_with_its_type() -> None:
    listed = {name: kind for name, _, kind in ROWS}
    assert len(listed) == len(ROWS)
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name: family.type
        for family in Metrics("").registry.collect()
        if not family.name.startswith(KINDS_OF_OTHERS)
    }
    assert {name: kind for name, kind in listed.items() if not name.startswith(KINDS_OF_OTHERS)} == families


def test_labels_are_those_of_the_samples() -> None:
    metrics = Metrics("")
    metrics.sentinel_up["sentinel"].set(1)
    metrics.redis_errors["timeout"].inc()
    labels: dict[str, set[str]] = {name: set(filter(None, text.split(","))) for name, text, _ in ROWS}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name in labels:
                assert set(sample.labels) == labels[sample.name], sample.name


def test_every_kind_of_error_and_every_loop_is_listed() -> None:
    kinds = page("metrics.md").partition("| `kind` | error |\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", kinds, re.MULTILINE)) == set(REDIS_ERROR_KINDS)
    (row,) = [line for line in page("metrics.md").splitlines() if line.startswith("| `stateroom_loop_errors_total{loop}` ")]
    listed = row.partition("`loop` is ")[2].partition(".")[0]
    assert set(re.findall(r"`([a-z ]+)`", listed)) == set(LOOPS)


def test_help_texts_are_sentences_without_a_full_stop() -> None:
    for family in Metrics("").registry.collect():
        if family.name.startswith(("stateroom_", "http_")):
            assert re.match(r"[A-Z0-9m]", family.documentation), family.name
            assert not family.documentation.endswith("."), family.name
