"""Writes that failed and may still arrive.

If a connection is lost, a write may still be on its way: in a proxy, or in the socket of a server that hangs. It would undo a
newer write that was acknowledged. It does nothing after its deadline. So the next write of this worker to the same session
waits until then. A write of another worker does not wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from ...backend.budget import seconds_left
from ...errors import StoreUnavailable

if TYPE_CHECKING:
    from ..model.identity import SessionRef

MARGIN_SECONDS = 0.02
"""For a write that Redis began just before its deadline."""

IN_DOUBT = frozenset({"connection", "timeout"})
"""The kinds of faults after which a command may have run, or may still run."""

T = TypeVar("T")


class UnderWay:
    """The writes of one worker. `timeout`: how many seconds one may take, if the request has so much left."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        # Session -> until when a write to it may arrive that failed, by the monotonic clock.
        self._until: dict[SessionRef, float] = {}

    async def run(self, ref: SessionRef, write: Callable[..., Awaitable[T]]) -> T:
        """Write to a session when no earlier write to it can still arrive. This waits at most `timeout` for that.

        `write` gets its deadline as `until` (monotonic clock). Raises what it raises.
        """
        if ref in self._until:
            await asyncio.sleep(max(0.0, self._until[ref] + MARGIN_SECONDS - time.monotonic()))
        until = time.monotonic() + seconds_left(self._timeout)
        try:
            return await write(until=until)
        except StoreUnavailable as fault:
            if fault.kind in IN_DOUBT:
                self._note(ref, until)
            raise

    def _note(self, ref: SessionRef, until: float) -> None:
        now = time.monotonic()
        self._until = {each: moment for each, moment in self._until.items() if moment + MARGIN_SECONDS > now}
        self._until[ref] = max(until, self._until.get(ref, 0.0))
