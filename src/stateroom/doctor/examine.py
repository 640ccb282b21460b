"""The whole examination: Redis and the user database at the same time, then what both mean together.

Nothing hides the rest: what cannot be reached is a line, and the others are asked all the same.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .clocks import judge_clocks
from .database import judge_fleet, look_at_database
from .findings import Finding, Level
from .stores import Administrator, look_at_stores

if TYPE_CHECKING:
    from ..settings import Settings


@dataclass(frozen=True, slots=True)
class Report:
    """`mode` is REDIS_MODE. `findings` are in the order of looking."""

    mode: str
    findings: list[Finding]
    seconds: float

    def count(self, level: Level) -> int:
        return sum(finding.level is level for finding in self.findings)

    @property
    def is_good(self) -> bool:
        return self.count(Level.FAULT) == 0


async def examine(settings: Settings, admin: Administrator | None = None) -> Report:
    """Look at the stores as they are set. Raises `SettingsError`."""
    began = time.monotonic()
    stores, database = await asyncio.gather(look_at_stores(settings, admin), look_at_database(settings))
    findings = [*stores.findings, *judge_clocks(stores.clocks), *database.findings, *judge_fleet(database, stores.fleets)]
    return Report(settings.redis_mode, findings, time.monotonic() - began)
