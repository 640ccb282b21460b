"""Asks many nodes of a Cluster for their views at the same time.

A node that hangs delays nobody: the answer is complete as soon as most nodes have replied and together name an owner of
every slot. At most one question to a node is under way. A reply that comes too late for its round is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from .exchange import exchange
from .slot_views import QUESTIONS, SLOT_COUNT, View, covered, read_view

if TYPE_CHECKING:
    from ..settings import Address
    from .dial import Dialer, LiveDialer

Answer = View | Exception
"""A node's view, or why there is none."""


class SlotQuestions:
    """The questions of one worker. `read_timeout`: seconds for the replies of one node, after the dial time-out."""

    def __init__(self, dialer: Dialer | LiveDialer, read_timeout: float) -> None:
        self._dialer = dialer
        self._read_timeout = read_timeout
        self._under_way: dict[Address, asyncio.Task[Answer]] = {}

    async def ask(self, nodes: Collection[Address]) -> dict[Address, Answer]:
        """Ask these nodes. A node that did not reply in time for this round is not among the answers."""
        for node in [node for node, task in self._under_way.items() if task.done()]:
            del self._under_way[node]
        for node in nodes:
            if node not in self._under_way:
                self._under_way[node] = asyncio.create_task(self._ask(node), name=f"stateroom cluster question {node}")
        waiting = {self._under_way[node] for node in nodes}
        while waiting:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if _is_enough(self._answers(nodes), len(nodes)):
                break
        return self._answers(nodes)

    async def aclose(self) -> None:
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _answers(self, nodes: Collection[Address]) -> dict[Address, Answer]:
        return {node: self._under_way[node].result() for node in nodes if self._under_way[node].done()}

    async def _ask(self, node: Address) -> Answer:
        try:
            async with asyncio.timeout(self._dialer.dial_timeout + self._read_timeout):
                connection = await self._dialer.dial(node)
                try:
                    return read_view(node, await exchange(connection, QUESTIONS, self._read_timeout))
                finally:
                    await connection.disconnect(nowait=True)
        except (RedisError, OSError, TimeoutError) as error:
            return error
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            return ValueError(f"its reply is not that of a node of a Cluster ({error})")


def _is_enough(answers: dict[Address, Answer], asked: int) -> bool:
    views = [each for each in answers.values() if isinstance(each, View)]
    return 2 * len(views) > asked and covered(each for view in views for each in view.ranges) == SLOT_COUNT
