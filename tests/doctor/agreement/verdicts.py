"""What the service does with some settings, and what the doctor says about them."""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from stateroom import SESSIONS
from stateroom.app import make_app
from stateroom.doctor.examine import examine
from stateroom.doctor.findings import Finding, Level
from stateroom.errors import SettingsError
from stateroom.settings import Settings

from ...logs import capture_events

WORKS, FAILS, STOPS = "works", "fails", "does not start"

PATIENCE_SECONDS = 20.0
"""How long a store that should settle may take. A busy machine is no fault."""
GRACE_SECONDS = 1.5
"""How long a store that should not settle is watched."""

AFTER_A_FAILURE = frozenset({"aof-off", "few-sentinels", "min-replicas", "no-replica", "few-primaries", "masterauth"})
"""Faults that show only when a server fails. The service works with them."""

MEASURED = frozenset({"slow-sentinels", "slow-servers", "slow-journal"})
"""Faults of durations. Nothing here is far away, and a busy machine is no fault. test_round_trips.py tests them."""


@dataclass
class Verdict:
    """`how`: the service works, fails (it starts, but cannot use Redis as it should) or does not start.

    `words`: of startup's last line. `step`: which one failed. `fix`: of the log line about Redis at startup.
    """

    how: str
    words: str = ""
    step: str = ""
    fix: str = ""


@dataclass
class Opinion:
    """What the doctor found. `words`: of the setting that it refuses."""

    faults: list[Finding] = field(default_factory=list)
    words: str = ""

    @property
    def is_good(self) -> bool:
        return not self.faults and not self.words


async def service(settings: Settings, *, should_work: bool) -> Verdict:
    """Start the service, sign a user in, check the session, ask for the health, and sign out."""
    with capture_events() as events:
        try:
            verdict = await _use(settings, should_work=should_work)
        except SettingsError as error:
            return Verdict(STOPS, str(error))
    verdict.fix = next((event["fix"] for event in events if event["event"] == "redis_away_at_start"), "")
    return verdict


async def _use(settings: Settings, *, should_work: bool) -> Verdict:
    client = TestClient(TestServer(make_app(settings)))
    try:
        await client.start_server()
        state = await _state(client, PATIENCE_SECONDS if should_work else GRACE_SECONDS)
        if state != "settled":
            return Verdict(FAILS, step=state)
        user = {"email": f"{secrets.token_hex(8)}@example.com", "password": secrets.token_hex(8), "name": "Ada"}
        for method, path, body, expected in (
            ("POST", "/api/auth/register", user, 201),
            ("GET", "/api/auth/check", None, 200),
            ("GET", "/api/health", None, 200),
            ("POST", "/api/auth/logout", {}, 200),
        ):
            response = await client.request(method, path, json=body)
            answer: dict[str, Any] = await response.json()
            assert response.status != 500, f"{method} {path} answers 500, which says nothing: {answer}"
            if response.status != expected or answer.get("warning") or answer.get("degraded"):
                return Verdict(FAILS, step=f"{method} {path}: {response.status} {answer}")
        told = await (await client.get("/metrics")).text()
        assert "stateroom_redis_up" in told
        refused = re.search(r'^stateroom_redis_errors_total\{kind="refused"\} (\S+)', told, re.MULTILINE)
        return (
            Verdict(WORKS)
            if refused is None or float(refused[1]) == 0
            else Verdict(FAILS, step=f"{refused[1]} writes were refused")
        )
    finally:
        await client.close()


async def _state(client: TestClient[Any, Any], patience: float) -> str:
    """The store's state, once it is settled or will not become so."""
    assert client.app is not None
    sessions = client.app[SESSIONS]
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while sessions.store_state() != "settled" and loop.time() < until:
        if patience == GRACE_SECONDS and sessions.store_state() == "away":  # the first attempt has ended
            break
        await asyncio.sleep(0.02)
    return str(sessions.store_state())


async def doctor(settings: Settings) -> Opinion:
    """Examine. Faults of Redis count that show before a server fails."""
    try:
        report = await examine(settings)
    except SettingsError as error:
        return Opinion(words=str(error))
    faults = [each for each in report.findings if each.level is Level.FAULT and each.where != "User database"]
    return Opinion([each for each in faults if each.check not in AFTER_A_FAILURE | MEASURED])
