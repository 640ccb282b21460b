"""Compares the clocks of the servers and of this host.

The clock of the Redis primary decides when a session expires, and whether a script is too late to write. After a failover
the clock of the promoted server decides.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ..plurals import counted
from .findings import Finding, fault, ok, warning

TIMES_ASKED = 3
WARNING_SECONDS = 1.0
FAULT_SECONDS = 2.0
HERE = "this host"
WHERE = "Clocks"


class ServerClock(NamedTuple):
    """The clock of one server. `ahead`: seconds ahead of this host's clock."""

    ahead: float
    is_replica: bool = False


async def offset(ask_time: Callable[[], Awaitable[Any]]) -> float | None:
    """How many seconds a server is ahead of this host, from the quickest of several replies to TIME.

    None if the user may not run TIME.
    """
    best: tuple[float, float] | None = None
    for _ in range(TIMES_ASKED):
        before = time.time()
        reply = await ask_time()
        after = time.time()
        if isinstance(reply, Exception):
            return None
        seconds, micros = reply
        tried = (after - before, int(seconds) + int(micros) / 1e6 - (before + after) / 2)
        best = tried if best is None else min(best, tried)
    return None if best is None else best[1]


def judge_clocks(servers: Mapping[str, ServerClock]) -> list[Finding]:
    """Judge the clocks of these servers, by name, and of this host.

    The median clock counts as correct. If there are two clocks, either can be wrong, so the fix names both hosts.
    """
    if not servers:
        return []
    clocks = {HERE: ServerClock(0.0), **servers}
    ahead = [clock.ahead for clock in clocks.values()]
    spread = max(ahead) - min(ahead)
    agreed = ok(WHERE, f"the clocks of {counted(len(servers), 'server')} and of this host differ by at most {spread:.1f} s")
    return list(_wrong(clocks)) or [agreed]


def _wrong(clocks: Mapping[str, ServerClock]) -> Iterator[Finding]:
    is_pair = len(clocks) == 2
    right = 0.0 if is_pair else statistics.median_low(clock.ahead for clock in clocks.values())
    for name, clock in clocks.items():
        ahead = clock.ahead - right
        if abs(ahead) <= WARNING_SECONDS:
            continue
        judge = fault if abs(ahead) > FAULT_SECONDS else warning
        than = HERE if is_pair else "the others"
        side = "ahead of" if ahead > 0 else "behind"
        what = f"{name} is {abs(ahead):.1f} s {side} {than}: {_effect(name, clock, is_ahead=ahead > 0)}"
        where = "on both hosts" if is_pair else "on this host" if name == HERE else "on that host"
        yield judge("clock", WHERE, what, f"run an NTP client {where} (chrony, systemd-timesyncd)")


def _effect(name: str, clock: ServerClock, *, is_ahead: bool) -> str:
    """What a wrong clock does there. Redis keeps the time at which a session expires, and compares it with its own clock."""
    early = "that much too early" if is_ahead else "that much too late"
    if name == HERE:
        return "while Redis is unavailable, this host can judge the age of cookies wrongly"
    if clock.is_replica:
        return f"after a failover to it, sessions expire {early}"
    return f"when its clock goes wrong or a failover leads to it, sessions that are stored already expire {early}, at once"
