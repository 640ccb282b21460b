"""Logs an outage once, with what to do about its cause.

An outage lasts from the breaker's first opening until it closes, through all attempts to connect between. The cause may have
to be asked for over another connection (unprompted.py). Nobody waits for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ..errors import SettingsError
from .dial import IsReplica
from .unprompted import explain

if TYPE_CHECKING:
    from ..settings import Address
    from .dial import Dialer

BY_ITSELF = "run `stateroom doctor` on this host; the service connects again by itself"
UNREACHED = f"check that Redis runs, and {BY_ITSELF}"
FAILOVER = f"wait until the failover has ended; if that takes long, {BY_ITSELF}"


async def fix_of(error: BaseException, dialer: Dialer, address: Address | None, *, may_fail_over: bool) -> str:
    """What to do about an error of `dialer.dial(address)`. `may_fail_over`: another server takes the place of a demoted primary."""
    if may_fail_over and isinstance(error, IsReplica):
        return FAILOVER
    found = await explain(error, dialer, address)
    return found.fix if found.cause == "loading" else f"{found.fix}; {BY_ITSELF}"


class OutageLog:
    """The outages of one server or Sentinel.

    `fix_of(cause)`: what to do about the error of an attempt to connect. `general_fix`: what to do if no such error is known.
    `tell(reason, fix)` writes the line.

    Invariant: during an outage that is not told yet, `_task` runs.
    """

    def __init__(
        self, fix_of: Callable[[BaseException], Awaitable[str]], tell: Callable[[str, str], None], *, general_fix: str
    ) -> None:
        self._fix_of = fix_of
        self._tell = tell
        self._general_fix = general_fix
        self._is_out = False
        # Whether the present outage is told. True if there is none.
        self._is_told = True
        # The reason of the present outage, or of the last one.
        self._reason = ""
        # It finds out what to do, then tells of the outage. None before the first outage whose cause is known.
        self._task: asyncio.Task[None] | None = None

    @property
    def is_out(self) -> bool:
        """Whether there is an outage now."""
        return self._is_out

    def begin(self, reason: str, cause: BaseException | None) -> None:
        """There is no connection. Nothing happens if the outage has begun already. `cause`: of the attempt to connect, if known."""
        if self._is_out:
            return
        self._is_out, self._is_told, self._reason = True, False, reason
        if cause is None:
            self._tell_now(self._general_fix)
        else:
            self._task = asyncio.get_running_loop().create_task(self._explain(cause), name="stateroom reason of an outage")

    def end(self) -> None:
        """There is a connection, or nobody waits for one any longer. An outage that is not told yet is told now."""
        self._is_out = False
        if not self._is_told:
            assert self._task is not None, "nothing would have told of the outage"
            self._task.cancel()
            self._tell_now(self._general_fix)

    async def aclose(self) -> None:
        """End the outage, and the task with it."""
        self.end()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _explain(self, cause: BaseException) -> None:
        try:
            fix = await self._fix_of(cause)
        except SettingsError as error:  # a file that a setting names is invalid now
            fix = error.detail
        self._tell_now(fix)

    def _tell_now(self, fix: str) -> None:
        self._is_told = True
        self._tell(self._reason, fix)
