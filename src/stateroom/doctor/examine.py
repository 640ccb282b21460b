"""Examines Redis, the user database and the mail server at the same time, then compares the stores.

A server that cannot be reached becomes a finding. The other servers are still asked. The whole run has a limit.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .clocks import judge_clocks
from .database import DatabaseFindings, judge_fleet, look_at_database
from .findings import Finding, Level
from .mail import look_at_mail
from .rebuilt import judge_rebuilt
from .round_trips import look_at_round_trips
from .stores import Administrator, Stores, look_at_stores
from .under_way import END_SECONDS, RUN_SECONDS, UnderWay, step, unfinished

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


async def examine(settings: Settings, admin: Administrator | None = None, under_way: UnderWay | None = None) -> Report:
    """Examine the servers that the settings name, for at most `RUN_SECONDS`. Raises `SettingsError`.

    `under_way` is told which steps run. If the time is over, a fault names them, and the report has what was found before.
    """
    began = time.monotonic()
    run, examination = under_way or UnderWay(), _Examination(settings, admin)
    with run.current():
        task = asyncio.create_task(examination.look(), name="examination")
    try:
        await asyncio.wait({task}, timeout=RUN_SECONDS)
        names = run.names
    finally:
        is_done = task.done()
        task.cancel()
        await asyncio.wait({task}, timeout=END_SECONDS)
    if is_done:
        task.result()
    findings = examination.findings() if is_done else [unfinished(names), *examination.findings()]
    return Report(settings.redis_mode, findings, time.monotonic() - began)


class _Examination:
    """What one run has found so far."""

    def __init__(self, settings: Settings, admin: Administrator | None) -> None:
        self._settings = settings
        self._admin = admin
        self._stores = Stores()
        self._database = DatabaseFindings()
        self._round_trips: list[Finding] = []
        self._mail: list[Finding] = []

    async def look(self) -> None:
        """Ask everything. Raises `SettingsError`."""
        await asyncio.gather(self._look_at_stores(), self._look_at_database(), self._look_at_mail())
        has_journal = self._database.is_known and self._database.fleet_id is not None
        replied = [sentinel.address for sentinel in self._stores.sentinels]
        self._round_trips = await look_at_round_trips(
            self._settings, self._stores.servers, has_journal=has_journal, replied=replied
        )

    async def _look_at_stores(self) -> None:
        self._stores = await look_at_stores(self._settings, self._admin)

    async def _look_at_database(self) -> None:
        with step("the user database"):
            self._database = await look_at_database(self._settings)

    async def _look_at_mail(self) -> None:
        with step("mail"):
            self._mail = await look_at_mail(self._settings)

    def findings(self) -> list[Finding]:
        """All findings, those of one topic together."""
        stores, database = self._stores, self._database
        return [
            *stores.findings,
            *self._round_trips,
            *judge_clocks(stores.clocks),
            *database.findings,
            *judge_fleet(database, stores.fleets),
            *judge_rebuilt(database, stores.sentinels, stores.fleets, self._settings),
            *self._mail,
        ]
