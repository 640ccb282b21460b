"""When one worker last saw one session in Redis."""

from __future__ import annotations

from dataclasses import dataclass

from .timestamps import Facts, Timestamps


@dataclass(slots=True)
class Sighting:
    """Times are milliseconds since the epoch, by Redis' clock.

    `key`: the session's key in Redis, computed once.
    `seen_ms`: when the store last had the session; 0 if this worker never saw it.
    `renewed_ms`: the last renewal that this worker knows of. A sealed value may tell of an older one: behind some proxies, and
    for bearers, it is never sealed anew.
    `facts`, `timestamps`: the store's last reply, as bytes and as numbers; empty and None before the first.
    """

    key: str
    seen_ms: int = 0
    renewed_ms: int = 0
    facts: Facts = ()
    timestamps: Timestamps | None = None
