"""Examines Redis and the user database at the same time, then compares them.

A server that cannot be reached becomes a finding. The other servers are still asked.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .clocks import judge_clocks
from .database import judge_fleet, look_at_database
from .findings import Finding, Level
from .rebuilt import judge_rebuilt
from .round_trips import look_at_round_trips
from .stores import Administrator, look_at_stores

if TYPE_CHECKING:
    from ..settings import Settings


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one examination. `mode` is REDIS_MODE. `seconds`: how long it took."""

    mode: str
    findings: list[Finding]
    seconds: float

    def count(self, level: Level) -> int:
        """How many findings have this level."""
        return sum(finding.level is level for finding in self.findings)

    @property
    def is_good(self) -> bool:
        """Whether there is no fault."""
        return self.count(Level.FAULT) == 0


async def examine(settings: Settings, admin: Administrator | None = None) -> Report:
    """Examine the servers that the settings name. Raises `SettingsError`."""
    began = time.monotonic()
    stores, database = await asyncio.gather(look_at_stores(settings, admin), look_at_database(settings))
    has_journal = database.is_known and database.fleet_id is not None
    round_trips = await look_at_round_trips(settings, stores.servers, has_journal=has_journal)
    findings = [
        *stores.findings,
        *round_trips,
        *judge_clocks(stores.clocks),
        *database.findings,
        *judge_fleet(database, stores.fleets),
        *judge_rebuilt(database, stores.sentinels, stores.fleets, settings),
    ]
    return Report(settings.redis_mode, findings, time.monotonic() - began)
