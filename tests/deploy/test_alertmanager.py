"""A real Prometheus with the shipped configuration sends an alert whose link leads to the runbook."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from ..prometheus import configured_prometheus
from .promql import PROMETHEUS, load

COMMENTED_OUT = re.compile(
    r"^( *)#(external_labels:|  stateroom_runbook:|alertmanagers:| +- static_configs:| +- targets:)", re.MULTILINE
)


async def test_an_alert_arrives_with_a_link_and_without_the_label_that_holds_its_address(tmp_path: Path) -> None:
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def alerts(request: web.Request) -> web.Response:
        for alert in await request.json():
            received.put_nowait(alert)
        return web.Response()

    application = web.Application()
    application.router.add_post("/api/v2/alerts", alerts)
    async with TestServer(application) as alertmanager:
        document = as_an_operator_sets_it()
        address = document["global"]["external_labels"]["stateroom_runbook"]
        document["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager.port}"]}]}]
        document["global"]["evaluation_interval"] = "1s"
        document["rule_files"] = [str(impatient_rules(tmp_path))]
        document["scrape_configs"] = []
        async with configured_prometheus(tmp_path / "prometheus", document), asyncio.timeout(60):
            alert = await received.get()
    assert alert["labels"] == {"alertname": "StateroomDown", "job": "stateroom", "severity": "critical"}
    assert alert["annotations"]["runbook_url"] == f"{address}#stateroomdown"
    assert address.startswith("https://")


def as_an_operator_sets_it() -> dict[str, Any]:
    """The shipped configuration, without the `#` before the lines that an operator fills in."""
    text, count = COMMENTED_OUT.subn(r"\1\2", (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    assert count == 5
    document: dict[str, Any] = yaml.safe_load(text)
    assert document["alerting"]["alertmanagers"]
    return document


def impatient_rules(folder: Path) -> Path:
    """StateroomDown, which fires at the first evaluation."""
    rules = [rule for group in load(PROMETHEUS / "rules" / "alerts.yml")["groups"] for rule in group["rules"]]
    [down] = [{**rule, "for": "0s"} for rule in rules if rule["alert"] == "StateroomDown"]
    path = folder / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "down", "rules": [down]}]}), encoding="utf-8")
    return path
