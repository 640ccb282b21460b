"""Keeps the map of a Cluster's slots: asks nodes in rounds, judges what they say, and logs what is not believed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .slot_map import SlotMap
from .slot_outage import ClusterOutage
from .slot_questions import Answer, SlotQuestions
from .slot_refusals import RefusalLog
from .slot_views import Range, View

if TYPE_CHECKING:
    from ..settings import Address, Settings
    from ..telemetry.metrics import Metrics
    from .dial import Dialer, LiveDialer

MAX_ASKED = 8
"""How many nodes are asked in one round. In a large Cluster each round asks others, because every worker asks, and each
question is a new connection."""


class SlotWatch:
    """The map of one worker.

    `unsure`: nodes that reply, but say themselves that the Cluster has failed, or that they are another node than the owner
    of their slots. Nothing that they hold may be trusted without a lookup.
    """

    def __init__(self, start_nodes: Sequence[Address], dialer: Dialer | LiveDialer, settings: Settings, metrics: Metrics) -> None:
        self._start_nodes = tuple(start_nodes)
        self._questions = SlotQuestions(dialer, settings.redis_read_timeout)
        self._map = SlotMap()
        self._refusals = RefusalLog()
        self._outage = ClusterOutage(settings, metrics)
        self.unsure: set[Address] = set()
        # How many questions were asked: the next round begins after the nodes of the last one.
        self._asked = 0

    @property
    def ranges(self) -> tuple[Range, ...]:
        """Which primary has which slots: disjoint, in the order of the slots."""
        return self._map.ranges

    async def ask(self, shards: Iterable[Address]) -> dict[Address, Answer]:
        """Ask up to `MAX_ASKED` nodes, and change the map by what may be believed. `shards`: the primaries in use."""
        answers = await self._questions.ask(self._next_nodes(shards))
        self._outage.judge(answers)
        views = [each for each in answers.values() if isinstance(each, View)]
        if not views:
            return answers
        now = time.monotonic()
        self._refusals.update([view.node for view in views], self._map.update(views, now), now)
        for view in views:
            is_unsure = view.is_ok is False or self._map.is_stranger(view)
            (self.unsure.add if is_unsure else self.unsure.discard)(view.node)
        self.unsure &= {each.primary for each in self.ranges}
        return answers

    async def tell_start(self, answers: Mapping[Address, Answer]) -> None:
        """Log that these answers of the first round name no owner of any slot."""
        await self._outage.tell_start(answers)

    async def aclose(self) -> None:
        await self._questions.aclose()
        await self._outage.aclose()

    def _next_nodes(self, shards: Iterable[Address]) -> list[Address]:
        """The nodes to ask: every shard and start node, in turns if they are too many for one round."""
        nodes = list(dict.fromkeys([*shards, *self._start_nodes]))
        first = self._asked % len(nodes) if len(nodes) > MAX_ASKED else 0
        chosen = [*nodes[first:], *nodes[:first]][:MAX_ASKED]
        self._asked += len(chosen)
        return chosen
