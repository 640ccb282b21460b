"""Tells that no node of a Cluster gives its view of the slots, or none that names an owner, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import SettingsError
from ..logs import get_logger
from .dial import Dialer
from .faults import as_store_fault
from .outages import BY_ITSELF, UNREACHED, OutageLog, fix_of
from .slot_map import NO_ADDRESS, NO_SLOTS
from .slot_refusals import FIXES
from .slot_views import View

if TYPE_CHECKING:
    from ..settings import Address, Settings
    from ..telemetry.metrics import Metrics
    from .slot_questions import Answer

log = get_logger(__name__)

_NO_CLUSTER = "cluster support disabled"
"""Part of the reply of a server that is no node (`getNodeByQuery` and `clusterCommand` in the servers' src/cluster.c)."""
_NO_CLUSTER_FIX = f"set cluster-enabled yes on it, or change REDIS_MODE; {BY_ITSELF}"


class ClusterOutage:
    """The outages of the whole Cluster, as one worker sees them: no node that is asked replies."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        # Of the round that began the present outage, or the last one.
        self._answers: Mapping[Address, Answer] = {}
        self._outages = OutageLog(self._fix_of, self._log_outage, general_fix=UNREACHED)

    def judge(self, answers: Mapping[Address, Answer]) -> None:
        """Count and log a round of questions that no node answered."""
        errors = [each for each in answers.values() if not isinstance(each, View)]
        if len(errors) < len(answers):
            if self._outages.is_out:
                self._outages.end()
                log.info("cluster_reached")
            return
        fault = next((fault for error in errors if (fault := as_store_fault(error)) is not None), None)
        self._metrics.redis_errors["connection" if fault is None else fault.kind].inc()
        if not self._outages.is_out:
            self._answers = answers
            self._outages.begin(_reason(answers), errors[0])

    async def tell_start(self, answers: Mapping[Address, Answer]) -> None:
        """Log that no owner of any slot is known at startup."""
        log.warning("redis_away_at_start", reason=_reason(answers), fix=await self._fix(answers))

    async def aclose(self) -> None:
        """End the outage, if there is one."""
        await self._outages.aclose()

    async def _fix_of(self, _: BaseException) -> str:
        return await self._fix(self._answers)

    @staticmethod
    def _log_outage(reason: str, fix: str) -> None:
        log.warning("cluster_unreachable", causes=reason, fix=fix)

    async def _fix(self, answers: Mapping[Address, Answer]) -> str:
        try:
            dialer = Dialer.to_servers(self._settings)
        except SettingsError as error:  # a file that a setting names is invalid now
            return error.detail

        async def fix(node: Address, answer: Answer) -> str:
            if isinstance(answer, View):
                return FIXES[_refusal(answer)]
            if isinstance(answer, ValueError) or _NO_CLUSTER in str(answer):
                return _NO_CLUSTER_FIX
            return await fix_of(answer, dialer, node, may_fail_over=True)

        return "; ".join(dict.fromkeys(await asyncio.gather(*(fix(node, answer) for node, answer in answers.items()))))


def _refusal(view: View) -> str:
    """Why nothing is learnt from this view."""
    return NO_ADDRESS if view.unreachable else NO_SLOTS


def _reason(answers: Mapping[Address, Answer]) -> str:
    """What each node says, or why it does not reply."""

    def words(answer: Answer) -> str:
        return _refusal(answer) if isinstance(answer, View) else str(answer) or type(answer).__name__

    return "; ".join(f"{node}: {words(answer)}" for node, answer in answers.items())
