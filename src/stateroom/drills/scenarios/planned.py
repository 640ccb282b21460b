"""What operators do on purpose, under load."""

from __future__ import annotations

from ..stage import Stage, scenario
from ..topology import Node


@scenario("rolling-restart", "Every server and Sentinel is restarted, one at a time, the primary last: it hands over first.")
async def rolling_restart(stage: Stage) -> None:
    primary = await stage.stack.primary()
    for replica in [node for node in stage.stack.nodes if node is not primary]:
        await _restart(stage, replica)
    await hand_over(stage, primary, coordinated=True)
    await _restart(stage, primary)
    for sentinel in stage.stack.sentinels:
        await _restart(stage, sentinel)


@scenario("manual-failover", "SENTINEL FAILOVER, though nothing is amiss.")
async def manual_failover(stage: Stage) -> None:
    await hand_over(stage, await stage.stack.primary(), coordinated=False)


async def hand_over(stage: Stage, primary: Node, *, coordinated: bool) -> None:
    """Another server becomes the primary, and this one its replica."""
    stage.mark(f"SENTINEL FAILOVER{' COORDINATED' if coordinated else ''}", "fault")
    if await stage.stack.fail_over(coordinated=coordinated) != coordinated:
        stage.mark("the Sentinels know no COORDINATED (Valkey 9 does): a plain failover")
    await stage.promoted(primary)
    # Until the Sentinels have said so the old primary is still theirs: who stops it now has them fail over once more.
    await stage.stack.primary([node for node in stage.stack.nodes if node is not primary])
    await stage.whole()


async def _restart(stage: Stage, node: Node) -> None:
    await stage.stop(node)
    await stage.start(node)
    await stage.whole()
