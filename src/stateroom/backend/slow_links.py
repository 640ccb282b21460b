"""Measures how slow the link to a server is, after a time-out: the server may run, and be too far away for the time-outs.

Such a server looks like one that hangs. A second attempt that waits longer tells them apart, and shows which time-outs fit.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from ..intervals import RESERVE
from .exchange import exchange

if TYPE_CHECKING:
    from ..settings import Address
    from .dial import Dialer

MEASURE_SECONDS = 3.0
"""How long a measurement takes at most. A server that takes longer counts as one that hangs."""
SIGN_IN_STEPS = 6
"""A sign-in may wait for six replies: it opens a pooled connection (the Sentinels, TCP, HELLO, ROLE), stores the session, and
counts."""


@dataclass(frozen=True, slots=True)
class Link:
    """What was measured, in seconds. `dial`: until a connection was ready. `reply`: from a question to its reply."""

    dial: float
    reply: float

    @property
    def dial_timeout(self) -> float:
        """A `REDIS_DIAL_TIMEOUT` that fits, with a reserve."""
        return _in_halves(self.dial)

    @property
    def read_timeout(self) -> float:
        """A `REDIS_READ_TIMEOUT` that fits, with a reserve. A sign-in waits for several replies."""
        return _in_halves(SIGN_IN_STEPS * self.reply)

    def is_too_slow_for(self, dialer: Dialer) -> bool:
        """Whether the dialer's time-outs are too short for this link."""
        return self.dial > dialer.dial_timeout or self.reply > dialer.read_timeout


async def measure(dialer: Dialer, address: Address) -> Link | None:
    """Connect once more, with long time-outs. None if the server does not answer in that time, or refuses us."""
    patient = replace(dialer, dial_timeout=MEASURE_SECONDS, read_timeout=MEASURE_SECONDS)
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        async with asyncio.timeout(MEASURE_SECONDS):
            began = time.monotonic()
            connection = await patient.dial(address)
            try:
                ready = time.monotonic()
                await exchange(connection, [("PING",)], MEASURE_SECONDS)  # an error reply takes as long
                return Link(ready - began, time.monotonic() - ready)
            finally:
                await connection.disconnect(nowait=True)
    return None


def _in_halves(seconds: float) -> float:
    """With the reserve, and rounded up to halves of a second, so that servers at one distance get the same value."""
    return math.ceil(2 * RESERVE * seconds) / 2
