"""How far the clocks of the servers and of this host are apart.

Redis' clock decides when a session expires, and whether a script comes too late to write. A server that is promoted
brings its own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from .findings import Finding, fault, ok, warning

ASKED = 3
WARNING_SECONDS = 1.0
FAULT_SECONDS = 2.0
HERE = "this host"
WHERE = "Clocks"


async def offset(ask_time: Callable[[], Awaitable[Any]]) -> float | None:
    """How many seconds a server is ahead of this host: of several answers to TIME, the one that came soonest.

    None where it may not be asked.
    """
    best: tuple[float, float] | None = None
    for _ in range(ASKED):
        before = time.time()
        reply = await ask_time()
        after = time.time()
        if isinstance(reply, Exception):
            return None
        seconds, micros = reply
        tried = (after - before, int(seconds) + int(micros) / 1e6 - (before + after) / 2)
        best = tried if best is None else min(best, tried)
    return None if best is None else best[1]


def judge_clocks(offsets: Mapping[str, float]) -> list[Finding]:
    """`offsets` by server. The clock that most agree with is taken for right; where two disagree nobody knows."""
    if not offsets:
        return []
    clocks = {HERE: 0.0, **offsets}
    spread = max(clocks.values()) - min(clocks.values())
    agreed = ok(WHERE, f"those of {len(offsets)} server(s) and of this host are at most {spread:.1f} s apart")
    return list(_off(clocks)) or [agreed]


def _off(clocks: Mapping[str, float]) -> Iterator[Finding]:
    is_pair = len(clocks) == 2
    right = 0.0 if is_pair else statistics.median_low(clocks.values())
    for name, clock in clocks.items():
        by = clock - right
        if abs(by) <= WARNING_SECONDS:
            continue
        say = fault if abs(by) > FAULT_SECONDS else warning
        than = HERE if is_pair else "the others"
        what = f"{name} is {abs(by):.1f} s {'ahead of' if by > 0 else 'behind'} {than}: a failover moves every expiry by as much"
        where = "on both" if is_pair else "here" if name == HERE else "there"
        yield say("clock", WHERE, what, f"run an NTP client {where} (chrony, systemd-timesyncd)")
