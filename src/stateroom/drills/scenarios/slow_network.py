"""A scenario in which the network is slow: every link to a server or a Sentinel has a round trip of 100 ms."""

from __future__ import annotations

import asyncio

from ..stage import Stage, scenario
from ..topology import SERVICE_NAME

ROUND_TRIP_SECONDS = 0.1
STEADY_SECONDS = 3.0
FAILOVER_TIMEOUT_MS = 3000
"""On long links each Sentinel votes for itself more often. Then it tries again after twice this time. Shipped: 30000."""
SLOW = {"JOURNAL_LEASE": "1", "REDIS_DIAL_TIMEOUT": "1.5", "REDIS_READ_TIMEOUT": "1.5", "REDIS_WRITE_TIMEOUT": "1.5"}
"""Settings for these links. The time-outs are budgets of a whole request, and a sign-in takes several round trips."""

FEW = {"readers": 10, "reads": 100, "writers": 2, "writes": 10, "signers": 4, "logins": 2}
"""Fewer clients than in other scenarios, because each registration takes 0.6 s."""


@scenario(
    "slow-network",
    f"Every link to a server or a Sentinel has a round trip of {1000 * ROUND_TRIP_SECONDS:g} ms. The primary is killed and later "
    "comes back as a replica.",
    degrades=True, is_for_peers=False, load=FEW, environment=SLOW, round_trip=ROUND_TRIP_SECONDS, slowest=2.0,
    slowest_login=3.0, slowest_logout=3.5,
)  # fmt: skip
async def slow_network(stage: Stage) -> None:
    for sentinel in stage.stack.sentinels:
        await sentinel.call("SENTINEL", "SET", SERVICE_NAME, "failover-timeout", FAILOVER_TIMEOUT_MS)
    primary = await stage.stack.primary()
    with stage.perfect("a slow network, the primary up"):
        await asyncio.sleep(STEADY_SECONDS)
    await stage.kill(primary)
    await stage.promoted(primary)
    await stage.settled()
    await stage.start(primary)
    await stage.whole()
