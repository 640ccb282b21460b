"""A scenario in which all Sentinels are replaced by empty ones. Their config epochs are then lower than those of the old ones.

The workers cannot know whether such Sentinels are right. They use the primary that these name, but report Redis as unsettled
until an operator runs `stateroom sentinels accept`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from ..stage import Stage, scenario
from .planned import hand_over

FAILOVERS = 2
"""Before the Sentinels are replaced. The new ones begin at epoch 0 and fail over once before `accept`: 1 is lower than 2."""
TOLD_SECONDS = 30.0
"""Workers follow lower epochs after ten leases (5 s). On a busy machine a Sentinel's late reply begins this time again."""
HURRIED_SECONDS = 12.0
"""For a service that never follows them."""
SAMPLE_SECONDS = 0.2
UNACCEPTED_SECONDS = 2.0
"""How long workers are watched after they use the new primary: four leases, so that one that trusts it has the time to."""
ACCEPT = ("sentinels", "accept", "--yes")
REPORTED = "stateroom_sentinels_rebuilt"


@scenario(
    "sentinels-rebuilt",
    "All three Sentinels are replaced by empty ones. They fail over, the operator accepts them, and then the primary is killed.",
    degrades=True, is_for_peers=False,
)  # fmt: skip
async def sentinels_rebuilt(stage: Stage) -> None:
    for _ in range(FAILOVERS):
        await hand_over(stage, await stage.stack.primary(), coordinated=True)
    with stage.perfect("the Sentinels replaced, the primary up"):
        await stage.replace_sentinels()
        await stage.happens(lambda: _told(stage), "the workers report rebuilt Sentinels", seconds=_patience(stage))
    async with _never_settled(stage):
        if not await _fail_over_unaccepted(stage):
            return
        await asyncio.sleep(UNACCEPTED_SECONDS)
    await _accept(stage)
    primary = await stage.stack.primary()
    await stage.kill(primary)
    await stage.promoted(primary)
    await stage.settled()
    await stage.start(primary)
    await stage.whole()


def _patience(stage: Stage) -> float:
    return HURRIED_SECONDS if stage.is_hurried else TOLD_SECONDS


async def _told(stage: Stage) -> bool:
    return all([await worker.metric(REPORTED) == 1 for worker in stage.stack.workers])


@contextlib.asynccontextmanager
async def _never_settled(stage: Stage) -> AsyncIterator[None]:
    """Inside this context, no worker may report Redis as settled."""
    seen: set[str] = set()

    async def sample() -> None:
        while True:
            seen.update([await worker.state() for worker in stage.stack.workers])
            await asyncio.sleep(SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    try:
        yield
    finally:
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
    stage.expect("a worker reported Redis as settled before the Sentinels were accepted", is_so="settled" not in seen)


async def _fail_over_unaccepted(stage: Stage) -> bool:
    """Whether all workers then use the new primary."""
    primary = await stage.stack.primary()
    stage.mark("SENTINEL FAILOVER", "fault")
    await stage.stack.fail_over(coordinated=False)
    await stage.promoted(primary)

    async def is_served() -> bool:
        states = [await worker.state() for worker in stage.stack.workers]
        stored = [await client.write("unaccepted", 1) for client in stage.load.writers]
        return all(stored) and set(states) == {"unsettled"}

    if not await stage.happens(is_served, "the workers use the promoted server, unsettled", seconds=_patience(stage)):
        return False
    stage.mark("the workers use the promoted server, and report Redis as unsettled")
    return True


async def _accept(stage: Stage) -> None:
    words = " ".join(["stateroom", *ACCEPT])
    status, said = await stage.stack.workers[0].command(*ACCEPT)
    stage.expect(f"`{words}` ended with status {status}: {said[-200:]}", is_so=status == 0)
    stage.mark(words, "fix")
    await stage.whole()
