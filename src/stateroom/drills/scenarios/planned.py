"""Scenarios of planned work by operators, under load."""

from __future__ import annotations

from ..node import Node
from ..stage import Stage, scenario


@scenario("rolling-restart", "Every server and Sentinel is restarted, one at a time. The primary hands over before its restart.")
async def rolling_restart(stage: Stage) -> None:
    primary = await stage.stack.primary()
    for replica in [node for node in stage.stack.nodes if node is not primary]:
        await _restart(stage, replica)
    await hand_over(stage, primary, coordinated=True)
    await _restart(stage, primary)
    for sentinel in stage.stack.sentinels:
        await _restart(stage, sentinel)


@scenario("manual-failover", "An operator runs SENTINEL FAILOVER while everything works.")
async def manual_failover(stage: Stage) -> None:
    await hand_over(stage, await stage.stack.primary(), coordinated=False)


async def hand_over(stage: Stage, primary: Node, *, coordinated: bool) -> None:
    """Make another server the primary, and this one its replica."""
    stage.mark(f"SENTINEL FAILOVER{' COORDINATED' if coordinated else ''}", "fault")
    if await stage.stack.fail_over(coordinated=coordinated) != coordinated:
        stage.mark("the Sentinels do not know COORDINATED, which needs Valkey 9; this is a plain failover")
    await stage.promoted(primary)
    # Wait until the Sentinels name the new primary. If the old one stopped earlier, they would fail over again.
    await stage.stack.primary([node for node in stage.stack.nodes if node is not primary])
    await stage.whole()


async def _restart(stage: Stage, node: Node) -> None:
    await stage.stop(node)
    await stage.start(node)
    await stage.whole()
