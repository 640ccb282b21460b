"""The scripts that write sessions, and what surrounds each run of one: its deadline, its replicas, refusals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..backend.budget import seconds_left, within_budget
from ..backend.client import Script
from ..errors import StoreUnavailable

if TYPE_CHECKING:
    from ..backend.client import Argument, RedisClient
    from .clock import StoreClock

T = TypeVar("T")

SCRIPTS = {
    name: Script.read(f"{__package__}.lua", name, shared=["shared"])
    for name in (
        "create",
        "save",
        "renew",
        "change",
        "take",
        "finish",
        "prepare",
        "claim",
        "sweep",
        "restore",
        "confirm",
        "end_older",
    )
}
_REFUSALS = frozenset({"readonly", "refused"})
_LATE = -1


@dataclass(frozen=True, slots=True)
class Durability:
    """How many replicas an identity write waits for, and how many seconds. `on_shortfall`: fewer had it by then."""

    replicas: int = 0
    timeout: float = 0.1
    on_shortfall: Callable[[str, int], None] = lambda _script, _reached: None


class Writes:
    """Runs scripts. `timeout` is how many seconds a caller waits.

    `is_refusing`: the server answered the last write with a refusal (NOREPLICAS, READONLY, MISCONF, OOM).
    """

    def __init__(self, client: RedisClient, clock: StoreClock, *, timeout: float, durability: Durability | None) -> None:
        self._client = client
        self._clock = clock
        self._timeout = timeout
        self._durability = durability or Durability()
        self.is_refusing = False

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Its reply. The script does nothing once we have given up on it. Raises `StoreUnavailable`."""
        return await self._in_time(keys, args, lambda timed: self.noted(self._client.run(SCRIPTS[script], keys, timed)))

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """The same, and replicas must have it: how many is no reason to refuse, the cookie and the journal carry it."""

        async def run(timed: Sequence[Argument]) -> list[Any]:
            reply, _ = await self.run_whenever(script, keys, timed)
            return reply

        return await self._in_time(keys, args, run)

    async def run_whenever(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], int]:
        """An end is an end, however late it comes: its reply, and how many replicas were seen to have it."""
        wanted = self._durability
        if not wanted.replicas:
            return await self.noted(self._client.run(SCRIPTS[script], keys, args)), 0
        reply, reached = await self.noted(
            self._client.run_durably(SCRIPTS[script], keys, args, replicas=wanted.replicas, timeout=wanted.timeout)
        )
        if reached < wanted.replicas:
            wanted.on_shortfall(script, reached)
        return reply, reached

    async def noted(self, write: Awaitable[T]) -> T:
        """Notice whether the server takes writes."""
        try:
            reply = await write
        except StoreUnavailable as fault:
            if fault.kind in _REFUSALS:
                self.is_refusing = True
            raise
        self.is_refusing = False
        return reply

    async def _in_time(
        self, keys: Sequence[str], args: Sequence[Argument], run: Callable[[Sequence[Argument]], Awaitable[list[Any]]]
    ) -> list[Any]:
        clock = self._clock
        if not clock.is_calibrated:  # a write without a deadline could come at any time, after the end of what it makes
            await within_budget(clock.calibrate(self._client, keys[0]))
        for _ in range(2):
            reply = await run([clock.skew_ms, clock.latest_ms(seconds_left(self._timeout)), *args])
            if reply[0] != _LATE:
                return reply
            # It came in time and was called late: a clock was set. Compare again.
            await clock.calibrate(self._client, keys[0])
        raise StoreUnavailable("the clocks of Redis and this host disagree", kind="timeout")
