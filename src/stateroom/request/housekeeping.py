"""Runs the upkeep beside the requests: compare clocks, sweep, write down waiting ends, check streams, measure, prune the journal.

Each process has one such task. The journal's tail and its replay have tasks of their own. If a step fails, the others run all
the same, and it is tried again at the next turn.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from ..errors import Unavailable
from ..logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..sessions.figures import Figures
    from ..sessions.upkeep import Upkeep
    from .streams import Streams

log = get_logger(__name__)

TURN_SECONDS = 1.0
TURNS_PER_SWEEP = 5
"""Every tag is swept once in so many turns."""
TURNS_PER_COUNT = 3
TURNS_PER_PRUNE = 10
TURNS_PER_INFO = 10
SWEEPER_HOLD_MS = 5000
assert SWEEPER_HOLD_MS > 2000 * TURN_SECONDS, "a worker would lose the sweep between two of its turns"


class Housekeeping:
    """The turns of one process. `_errors`: the errors of this turn, without those of an unavailable store."""

    def __init__(self, upkeep: Upkeep, streams: Streams, figures: Figures) -> None:
        self._upkeep = upkeep
        self._streams = streams
        self._figures = figures
        self._worker = secrets.token_hex(8)
        self._turn = 0
        self._errors: list[Exception] = []

    async def run(self) -> None:
        """Take a turn each second until cancelled."""
        while True:
            await self.turn()
            await asyncio.sleep(TURN_SECONDS)

    async def turn(self) -> None:
        """Run every step that is due. Afterwards it raises the steps' errors, without those of an unavailable store."""
        turn, self._turn = self._turn, self._turn + 1
        upkeep = self._upkeep
        await self._attempt("calibrate", upkeep.calibrate)
        await self._attempt("look_whose", upkeep.look_whose)
        await self._attempt("sweep", self._sweep)
        await self._attempt("flush", upkeep.flush_ends)
        await self._attempt("end_unknown_users", upkeep.end_unknown_users)
        await self._attempt("check_streams", self._streams.check)
        sweeps = upkeep.sweeps
        if turn % TURNS_PER_COUNT == 0 or not sweeps:
            await self._attempt("count", lambda: self._figures.count_sessions(for_all=sweeps))
        if turn % TURNS_PER_INFO == 0:
            await self._attempt("ask_primaries", self._figures.ask_primaries)
        if turn % TURNS_PER_PRUNE == 0:
            await self._attempt("prune", upkeep.prune_journal)
        errors, self._errors = self._errors, []
        if errors:
            raise ExceptionGroup("housekeeping", errors)

    async def _sweep(self) -> None:
        if await self._upkeep.claim_sweep(self._worker, hold_ms=SWEEPER_HOLD_MS):
            await self._upkeep.sweep(share=TURNS_PER_SWEEP)

    async def _attempt(self, step: str, action: Callable[[], Awaitable[object]]) -> None:
        try:
            await action()
        except Unavailable as fault:
            log.debug("housekeeping_put_off", step=step, reason=fault.detail)
        except Exception as error:  # noqa: BLE001 (raised when the turn is over)
            error.add_note(f"step: {step}")
            self._errors.append(error)
