"""Runs a real Prometheus and queries it over its API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from stateroom.drills.ports import free_port

from .conftest import require_tool


class Prometheus:
    """A running server, queried over its API (https://prometheus.io/docs/prometheus/latest/querying/api/)."""

    def __init__(self, port: int, http: aiohttp.ClientSession) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"
        self._http = http

    async def get(self, path: str, **parameters: str) -> Any:
        async with self._http.get(f"{self._url}/{path}", params=parameters) as response:
            content = await response.json()
            assert content["status"] == "success", content
            return content["data"]

    async def samples(self, query: str, *, since: float, until: float) -> list[float]:
        """All values of all series in a graph of this period."""
        found = await self.get("query_range", query=query, start=f"{since}", end=f"{until}", step="1")
        return [float(value) for series in found["result"] for _, value in series["values"]]

    async def value(self, query: str) -> float:
        [found] = (await self.get("query", query=query))["result"]
        return float(found["value"][1])

    async def until(self, query: str, expected: float) -> None:
        """Wait until a later scrape shows it."""
        found: float | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(15):
                while found != expected:
                    found = await self.value(query)
                    await asyncio.sleep(0.2)
        assert found == expected, query


@contextlib.asynccontextmanager
async def prometheus(folder: Path, *ports: int, rules: Sequence[Path] = ()) -> AsyncIterator[Prometheus]:
    """Run a Prometheus that scrapes these ports once a second, as the job `stateroom`, with these rule files."""
    document = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [
            {"job_name": "stateroom", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]},
        ],
    }
    async with configured_prometheus(folder, document) as server:
        yield server


@contextlib.asynccontextmanager
async def configured_prometheus(folder: Path, document: dict[str, Any]) -> AsyncIterator[Prometheus]:
    """Run a Prometheus with this configuration, in a new folder."""
    folder.mkdir()
    config, port = folder / "prometheus.yml", free_port()
    config.write_text(json.dumps(document))  # JSON is YAML.
    with (folder / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            require_tool("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage",
            "--rules.alert.resend-delay=1s",  # The first time, Alertmanagers may not be discovered yet.
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as http:
            async with asyncio.timeout(30):
                while not await _answers(http, f"http://127.0.0.1:{port}/-/ready"):
                    await asyncio.sleep(0.05)
            yield Prometheus(port, http)
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def _answers(http: aiohttp.ClientSession, url: str) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        async with http.get(url) as response:
            return response.status == 200
    return False
