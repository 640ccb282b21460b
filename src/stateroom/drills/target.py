"""Drills a stack that already runs: clients send requests to it, and its Sentinels are told to fail over.

The only fault is SENTINEL FAILOVER, which needs no access to the machines and which Sentinel completes without help. The
drill stops no server and writes to none. The clients' accounts, under `drill.invalid`, stay in the user database.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import aiohttp
from redis.exceptions import RedisError

from ..backend.dial import Dialer
from ..errors import StateroomError
from ..settings import Address
from .client import PASSWORD
from .judge import judge
from .load import Load
from .node import until
from .outcome import Outcome, weigh_outcome
from .stage import Mark, Scenario

STEADY_SECONDS = 3.0
FAILOVER_SECONDS = 60.0


class TargetError(StateroomError):
    """The stack at these addresses cannot be drilled. The message says what to do."""


class Target:
    """The stack. `url`: of the service, or of the proxy in front of it. `dialer`: has the Sentinels' credentials."""

    def __init__(self, url: str, sentinels: Sequence[Address], name: str, dialer: Dialer) -> None:
        self.url = url.rstrip("/")
        self.sentinels = list(sentinels)
        self._name = name
        self._dialer = dialer

    async def primary(self) -> str:
        """The address that most Sentinels name. Raises `TargetError`."""
        named = Counter(await asyncio.gather(*(self._named(sentinel) for sentinel in self.sentinels)))
        address, votes = named.most_common(1)[0]
        if not address or votes * 2 <= len(self.sentinels):
            raise TargetError(
                f"too few Sentinels reply, or they do not agree on the primary named {self._name}; run `stateroom doctor`"
            )
        return address

    async def fail_over(self) -> None:
        """Tell a Sentinel to fail over. Raises `TargetError` if it refuses."""
        try:
            await self._ask(self.sentinels[0], "SENTINEL", "FAILOVER", self._name)
        except (RedisError, OSError, TimeoutError) as error:
            raise TargetError(f"the Sentinel {self.sentinels[0]} refuses a failover: {error}") from None

    async def _named(self, sentinel: Address) -> str:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            found = await self._ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
            if found:
                return f"{found[0].decode()}:{found[1].decode()}"
        return ""

    async def _ask(self, sentinel: Address, *command: str) -> Any:
        connection = await self._dialer.dial(sentinel)
        try:
            await connection.send_command(*command, check_health=False)
            return await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)


async def cookie_of(url: str, domain: str) -> str:
    """The name of the service's cookie, learned from a registration. Raises `TargetError`."""
    body = {"email": f"prober@{domain}", "password": PASSWORD, "name": "Drill"}
    try:
        async with aiohttp.ClientSession() as http, http.post(f"{url}/api/auth/register", json=body) as response:
            names = list(response.cookies)
    except (aiohttp.ClientError, OSError) as error:
        raise TargetError(f"{url} does not respond: {error}") from None
    if not names:
        raise TargetError(
            f"{url} responds to a registration with status {response.status} and no cookie; "
            "check that Stateroom runs at this address"
        )
    return names[0]


async def drill(target: Target, scenario: Scenario) -> Outcome:
    """Fail over a healthy stack under a light load. Raises `TargetError`."""
    before = await target.primary()
    domain = f"{os.getpid()}-{time.time_ns()}.drill.invalid"
    cookie = await cookie_of(target.url, domain)
    marks = []
    clients: dict[str, Any] = {"readers": 8, "reads": 40, "writers": 0, "signers": 3, "logins": 1}
    async with Load([target.url], **clients, cookie=cookie, domain=domain) as load:
        began_at = time.monotonic()
        async with load.steady():
            await asyncio.sleep(STEADY_SECONDS)
            marks.append(Mark(time.monotonic(), "fault", f"SENTINEL FAILOVER, {before} is the primary"))
            await target.fail_over()
            after = ""

            async def is_another() -> bool:
                nonlocal after
                with contextlib.suppress(TargetError):
                    after = await target.primary()
                return bool(after) and after != before

            await until(is_another, "the Sentinels name another primary", seconds=FAILOVER_SECONDS)
            marks.append(Mark(time.monotonic(), "note", f"the Sentinels name {after}"))
            await asyncio.sleep(STEADY_SECONDS)
        ended_at = time.monotonic()
        ledger = load.ledger()
        outcome = Outcome(scenario.name, scenario.says, "stateroom", began_at, ended_at, marks=marks, ledger=ledger)
        # Ask about each session twice, because a proxy takes the processes in turn.
        outcome.verdict = await judge(ledger, [target.url] * 2, cookie)
    weigh_outcome(outcome, scenario, (), ())
    return outcome
