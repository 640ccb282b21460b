"""The scripts that write sessions, and what each run needs: a deadline, a WAIT for replicas, a note of refusals."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ...backend.budget import seconds_left, within_budget
from ...backend.client import Script
from ...errors import StoreUnavailable

if TYPE_CHECKING:
    from ...backend.client import Argument, RedisClient
    from .redis_clock import RedisClock

T = TypeVar("T")

MAY_REPEAT = frozenset({"renew", "confirm", "prepare", "restore", "sweep", "end_older", "finish"})
"""Scripts that do no harm when they run twice.

A second `claim` would delete the new session, because the old one is gone. A second `save` would double a message. A second
`take` would return nothing, and the values would be lost. A second `create` or `change` would report a conflict.
"""

SCRIPTS = {
    name: Script.read(f"{__package__}.lua", name, shared=["shared"], may_repeat=name in MAY_REPEAT)
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
        "end_epoch",
        "entomb",
    )
}
assert SCRIPTS.keys() > MAY_REPEAT, "a script that may be repeated does not exist"
_REFUSALS = frozenset({"readonly", "refused"})
_LATE = -1


@dataclass(frozen=True, slots=True)
class Durability:
    """How many replicas an identity write waits for, and for how many seconds.

    `on_shortfall(script, reached)` is called if fewer replicas confirmed in that time.
    """

    replicas: int = 0
    timeout: float = 0.1
    on_shortfall: Callable[[str, int], None] = lambda _script, _reached: None


class Writes:
    """Runs scripts. `timeout`: how many seconds a caller waits. `has_journal`: the journal keeps the reasons of ends.

    `is_refusing`: the server refused the last write (NOREPLICAS, READONLY, MISCONF, OOM).
    """

    def __init__(
        self, client: RedisClient, clock: RedisClock, *, timeout: float, durability: Durability | None, has_journal: bool
    ) -> None:
        self._client = client
        self._clock = clock
        self._timeout = timeout
        self._durability = durability or Durability()
        self._scripts = SCRIPTS
        if not has_journal:  # the reply names the sessions that ended, and a second run would not name them
            self._scripts = SCRIPTS | {"end_older": replace(SCRIPTS["end_older"], may_repeat=False)}
        self.is_refusing = False

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument], *, until: float | None = None) -> list[Any]:
        """Run a script and return its reply. It does nothing once the caller has given up. Raises `StoreUnavailable`.

        `until`: the script does nothing after this time of the monotonic clock, whatever the caller's budget is.
        """
        return await self._in_time(
            keys, args, lambda timed: self.observed(self._client.run(self._scripts[script], keys, timed)), until=until
        )

    async def run_durably(
        self, script: str, keys: Sequence[str], args: Sequence[Argument], *, until: float | None = None
    ) -> list[Any]:
        """`run`, and wait for replicas. Too few replicas are not an error: the sealed value and the journal carry the session."""

        async def run(timed: Sequence[Argument]) -> list[Any]:
            reply, _ = await self.run_without_deadline(script, keys, timed)
            return reply

        return await self._in_time(keys, args, run, until=until)

    async def run_without_deadline(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], int]:
        """Run a script without a deadline: an end may come late. Returns its reply and the number of replicas."""
        wanted = self._durability
        if not wanted.replicas:
            return await self.observed(self._client.run(self._scripts[script], keys, args)), 0
        reply, reached = await self.observed(
            self._client.run_durably(self._scripts[script], keys, args, replicas=wanted.replicas, timeout=wanted.timeout)
        )
        if reached < wanted.replicas:
            wanted.on_shortfall(script, reached)
        return reply, reached

    async def observed(self, write: Awaitable[T]) -> T:
        """Await a write and remember whether the server refused it."""
        try:
            reply = await write
        except StoreUnavailable as fault:
            if fault.kind in _REFUSALS:
                self.is_refusing = True
            raise
        self.is_refusing = False
        return reply

    async def _in_time(
        self,
        keys: Sequence[str],
        args: Sequence[Argument],
        run: Callable[[Sequence[Argument]], Awaitable[list[Any]]],
        *,
        until: float | None = None,
    ) -> list[Any]:
        clock = self._clock
        if not clock.is_calibrated:  # a write without a deadline could run after the end of the session that it makes
            await within_budget(clock.calibrate(self._client, keys[0]))
        for _ in range(2):
            left = seconds_left(self._timeout) if until is None else max(0.0, until - time.monotonic())
            reply = await run([clock.skew_ms, clock.latest_ms(left), *args])
            if reply[0] != _LATE:
                return reply
            # The reply came in time, but the script called it late: a clock was set. Compare the clocks again.
            await clock.calibrate(self._client, keys[0])
        raise StoreUnavailable("the clocks of Redis and this host disagree", kind="timeout")
