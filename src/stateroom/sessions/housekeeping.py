"""What runs beside the requests: compare clocks, sweep what has expired, measure, prune the journal.

One task a process; the journal's tail and its application have tasks of their own. Each step that fails is tried again
at the next turn, and keeps no other from its own.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import structlog

from ..errors import Unavailable
from .keys import TAG_COUNT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .figures import Figures
    from .manager import SessionManager
    from .streams import Streams

log = structlog.get_logger(__name__)

TURN_SECONDS = 1.0
TURNS_PER_SWEEP = 5
"""In so many turns every tag is swept once."""
TURNS_PER_COUNT = 3
TURNS_PER_PRUNE = 10
TURNS_PER_INFO = 10
SWEEPER_HOLD_MS = 5000


class Housekeeping:
    """The turns of one process' manager."""

    def __init__(self, manager: SessionManager, streams: Streams, figures: Figures) -> None:
        self._manager = manager
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
        """One turn: whatever is due now. Raises, when all is done, what went wrong otherwise than by a store that is away."""
        turn, self._turn = self._turn, self._turn + 1
        await self._attempt("calibrate", self._manager.calibrate)
        await self._attempt("sweep", self._sweep)
        await self._attempt("flush", self._manager.stores.ends.flush)
        await self._attempt("check_streams", self._streams.check)
        sweeps = self._manager.stores.apply.sweeps
        if turn % TURNS_PER_COUNT == 0 or not sweeps:
            await self._attempt("count", lambda: self._figures.count_sessions(for_all=sweeps))
        if turn % TURNS_PER_INFO == 0:
            await self._attempt("ask_primaries", self._figures.ask_primaries)
        if sweeps and turn % TURNS_PER_PRUNE == 0:
            await self._attempt("prune", self._manager.prune_journal)
        errors, self._errors = self._errors, []
        if errors:
            raise ExceptionGroup("housekeeping", errors)

    async def _sweep(self) -> None:
        apply = self._manager.stores.apply
        apply.sweeps = False
        apply.sweeps = await self._manager.store.claim_sweep(self._worker, hold_ms=SWEEPER_HOLD_MS)
        if apply.sweeps:
            await self._manager.sweep(-(-TAG_COUNT // TURNS_PER_SWEEP))

    async def _attempt(self, step: str, action: Callable[[], Awaitable[object]]) -> None:
        try:
            await action()
        except Unavailable as fault:
            log.debug("housekeeping_put_off", step=step, reason=fault.detail)
        except Exception as error:  # noqa: BLE001 (raised when the turn is over)
            error.add_note(f"step: {step}")
            self._errors.append(error)
