"""Scenarios in which Sentinels fail: a minority, and a majority, without which there is no failover."""

from __future__ import annotations

import asyncio

from ..stage import Stage, scenario

ALONE_SECONDS = 4.0
WITHOUT_PRIMARY_SECONDS = 4.0


@scenario("sentinel-minority-down", "One of three Sentinels is dead when the primary is killed.", degrades=True)
async def sentinel_minority_down(stage: Stage) -> None:
    sentinel = stage.stack.sentinels[0]
    with stage.perfect("one Sentinel down, the primary up"):
        await stage.kill(sentinel)
        await asyncio.sleep(ALONE_SECONDS)
    primary = await stage.stack.primary()
    await stage.kill(primary)
    await stage.promoted(primary)
    await stage.settled()
    await stage.start(primary)
    await stage.start(sentinel)
    await stage.whole()


@scenario(
    "sentinel-majority-down",
    "Two of three Sentinels are dead. While the primary lives, no response may fail. Then it is killed, and no server is "
    "promoted until the Sentinels run again.",
    degrades=True,
)  # fmt: skip
async def sentinel_majority_down(stage: Stage) -> None:
    gone, primary = stage.stack.sentinels[1:], await stage.stack.primary()
    with stage.perfect("two Sentinels down, the primary up"):
        await stage.kill(*gone)
        await asyncio.sleep(ALONE_SECONDS)
    await stage.kill(primary)
    await asyncio.sleep(WITHOUT_PRIMARY_SECONDS)
    await stage.start(*gone)
    await stage.promoted(primary)
    await stage.settled()
    await stage.start(primary)
    await stage.whole()
