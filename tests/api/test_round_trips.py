"""How many commands a request sends to Redis, and how often it waits. The number of stored sessions does not matter."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from stateroom import SESSIONS
from stateroom.accounts.throttle import Throttle
from stateroom.backend.budget import BUDGET
from stateroom.backend.client import Argument, Script
from stateroom.backend.server import ServerClient
from stateroom.sessions.store.key_names import TAG_COUNT
from stateroom.sessions.store.scripts import SCRIPTS

from ..conftest import ServiceClient

ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
CREDENTIALS = {"email": ADA["email"], "password": ADA["password"]}
_NAMES = {script: name for name, script in SCRIPTS.items()}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The commands and scripts that requests sent to Redis, without those of background tasks."""
    seen: Counter[str] = Counter()
    execute, run, run_durably = ServerClient.execute, ServerClient.run, ServerClient.run_durably

    def note(name: str) -> None:
        if BUDGET.get() is not None:
            seen[name] += 1

    def noted_execute(self: ServerClient, key: str, *command: Argument) -> Any:
        note(str(command[0]))
        return execute(self, key, *command)

    async def noted_run(self: ServerClient, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        note(_NAMES.get(script, "throttle"))
        return await run(self, script, keys, args)

    async def noted_run_durably(self: ServerClient, script: Script, *args: Any, **named: Any) -> Any:
        note(_NAMES[script])
        return await run_durably(self, script, *args, **named)

    monkeypatch.setattr(ServerClient, "execute", noted_execute)
    monkeypatch.setattr(ServerClient, "run", noted_run)
    monkeypatch.setattr(ServerClient, "run_durably", noted_run_durably)
    return seen


async def test_a_login_waits_for_redis_three_times(
    service: ServiceClient, asked: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.post("/api/auth/register", json=ADA)
    service.session.cookie_jar.clear()
    may_forgive, forgive = asyncio.Event(), Throttle.forgive

    async def held(self: Throttle, email: str, address: str | None) -> None:
        await may_forgive.wait()
        await forgive(self, email, address)

    monkeypatch.setattr(Throttle, "forgive", held)
    asked.clear()
    response = await service.post("/api/auth/login", json=CREDENTIALS)
    counted = dict(asked)
    may_forgive.set()  # whatever comes out: the application waits for it at its end
    assert response.status == 200
    assert counted == {"throttle": 3, "create": 1}, "the attempt, the changes of the address, those of the account"
    for _ in range(12):  # More than LOGIN_ATTEMPTS: each attempt is given back before the next is counted.
        assert (await service.post("/api/auth/login", json=CREDENTIALS)).status == 200


async def test_a_check_asks_once_and_costs_no_more_when_it_renews(service: ServiceClient, asked: Counter[str]) -> None:
    await service.post("/api/auth/register", json=ADA)
    asked.clear()
    await service.get("/api/auth/check")
    assert asked == {"HGETALL": 1}
    service.app[SESSIONS]._parts.clock.skew_ms += 120_000
    await service.get("/api/auth/check")
    assert asked == {"HGETALL": 2, "renew": 1}


@pytest.mark.parametrize("others", [0, 300])
async def test_a_list_of_own_sessions_costs_what_it_shows(service: ServiceClient, asked: Counter[str], others: int) -> None:
    manager = service.app[SESSIONS]
    await asyncio.gather(*(manager.create(1_000 + number) for number in range(others)))
    user = (await (await service.post("/api/auth/register", json=ADA)).json())["user"]
    for _ in range(4):
        await manager.create(user["id"])
    asked.clear()
    listed = (await (await service.get("/api/sessions")).json())["sessions"]
    assert len(listed) == 5
    assert asked == {"HGETALL": 1 + 5, "ZRANGE": 1}


async def test_counting_asks_one_short_command_a_tag_whatever_is_stored(service: ServiceClient, asked: Counter[str]) -> None:
    manager = service.app[SESSIONS]
    await asyncio.gather(*(manager.create(1_000 + number) for number in range(50)))
    token = BUDGET.set(None)
    before = await _calls(service, "zcount")
    assert await manager._parts.store.count_active() == 50
    assert await _calls(service, "zcount") - before <= 2 * TAG_COUNT  # Housekeeping may count too.
    BUDGET.reset(token)


async def _calls(service: ServiceClient, command: str) -> int:
    info = (await service.app[SESSIONS]._parts.client.execute("", "INFO", "commandstats")).decode()
    line = next((line for line in info.splitlines() if line.startswith(f"cmdstat_{command}:")), ":calls=0,")
    return int(line.partition("calls=")[2].partition(",")[0])
