"""A real Prometheus scrapes two workers under load: no request is missed or counted twice.

SCRAPE_SECONDS sets for how long. The full run takes two minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ..commands import Serving
from ..conftest import require_tool
from ..prometheus import prometheus

SCRAPE_SECONDS = float(os.environ.get("SCRAPE_SECONDS", "15"))
READERS = 12

pytestmark = pytest.mark.timeout(60 + 2 * SCRAPE_SECONDS)


class Load:
    """Clients that count their answers."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._stop = asyncio.Event()
        self.answers: Counter[tuple[str, str, str]] = Counter()
        self.sessions = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for number in range(READERS):
                group.create_task(self._use(number))
            yield
            self._stop.set()

    async def _use(self, number: int) -> None:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            user = {"email": f"user-{number}@example.com", "password": "correct horse", "name": "User"}
            await self._call(http, "POST", "/api/auth/register", user)
            self.sessions += 1
            while not self._stop.is_set():
                await self._call(http, "GET", "/api/auth/check")
                await self._call(http, "GET", "/api/profile")
                if number % 4 == 0:
                    await self._call(http, "GET", "/no/such/thing")
            if number % 3 == 0:
                await self._call(http, "POST", "/api/auth/logout")
                self.sessions -= 1

    async def _call(self, http: aiohttp.ClientSession, method: str, path: str, body: object = None) -> None:
        async with http.request(method, self._url + path, json=body) as response:
            await response.read()
            route = "unmatched" if path.startswith("/no") else path
            self.answers[method, route, str(response.status)] += 1


async def test_what_prometheus_counts_is_what_clients_were_answered(tmp_path: Path) -> None:
    require_tool("prometheus")
    # A machine that stands still for a second is no outage: each session is read from Redis.
    with Serving(tmp_path, "--workers", "2", LOG_LEVEL="warning", REDIS_READ_TIMEOUT=5) as service:
        async with prometheus(tmp_path / "prometheus", service.port) as server:
            load = Load(service.port)
            async with load.running():
                await asyncio.sleep(SCRAPE_SECONDS)
            assert sum(load.answers.values()) > 100 * SCRAPE_SECONDS
            for (method, route, code), count in load.answers.items():
                labels = f'{{method="{method}",route="{route}",code="{code}"}}'
                await server.until(f"http_requests_total{labels}", count)
                await server.until(f'http_request_duration_seconds_count{{method="{method}",route="{route}"}}', count)
            logouts = load.answers["POST", "/api/auth/logout", "200"]
            await server.until('stateroom_session_loads_total{result="hit"}', sum(load.answers.values()) - READERS)
            await server.until("stateroom_sessions_created_total", READERS)
            await server.until("stateroom_sessions_active", load.sessions)
            await server.until('stateroom_sessions_ended_total{reason="logout"}', logouts)

            for_all = f"[{SCRAPE_SECONDS + 30:.0f}s]"
            assert await server.value(f'min_over_time(up{{job="stateroom"}}{for_all})') == 1
            [target] = (await server.get("targets"))["activeTargets"]
            assert target["lastError"] == ""
            assert await server.value(f"max_over_time(scrape_duration_seconds{for_all})") < 0.5
            for name in await server.get("label/__name__/values"):
                if name.endswith(("_total", "_count", "_bucket")):
                    assert (await server.get("query", query=f"resets({name}{for_all}) > 0"))["result"] == []


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]], ids=["one process", "two workers"])
def test_promtool_finds_nothing_wrong(tmp_path: Path, arguments: list[str]) -> None:
    promtool = require_tool("promtool")
    with Serving(tmp_path, *arguments) as service:
        service.call("POST", "/api/auth/logout", cookie=service.sign_in())
        _, document, _ = service.call("GET", "/metrics")
        assert "_created " not in document["text"]
    found = subprocess.run([promtool, "check", "metrics"], input=document["text"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


async def test_an_example_of_each_bucket_leads_to_the_log(tmp_path: Path) -> None:
    require_tool("prometheus")
    with Serving(tmp_path) as service:
        async with prometheus(tmp_path / "prometheus", service.port) as server:
            service.sign_in()
            found: Any = []
            async with asyncio.timeout(15):
                while not found:
                    found = await server.get("query_exemplars", query="http_request_duration_seconds_bucket", start="0", end="9e9")
                    await asyncio.sleep(0.2)
        ids = {exemplar["labels"]["request_id"] for series in found for exemplar in series["exemplars"]}
        assert any(f'"request_id": "{each}"' in service.output or f'"request_id":"{each}"' in service.output for each in ids)
