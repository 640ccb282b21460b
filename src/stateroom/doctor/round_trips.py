"""Measures round trips to the Sentinels, the servers and the user database, and compares them with the settings.

The service needs replies that are younger than a lease (intervals.py has the formula, which the service rests on). The doctor
judges by the same formula, so it finds a fault exactly if the service does not settle. Of several replies the slowest counts.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..backend.slow_links import SIGN_IN_STEPS
from ..database import Database
from ..errors import DatabaseUnavailable
from ..intervals import RESERVE, fitting_lease, longest_read, longest_round_trip, patience, settles
from ..sessions.journal.sql import Journal
from ..sessions.model.rows import TO_THE_LAST
from .findings import Finding, fault, ok, warning
from .reach import Connector, Unreached

if TYPE_CHECKING:
    from ..backend.client import Command
    from ..settings import Address, Settings
    from .servers import Server

WHERE = "Round trips"
SAMPLES = 4
WRITE_STEPS = 2
"""A request that changes a session waits for two replies of the server: it loads the session and saves it."""


@dataclass(slots=True)
class RoundTrips:
    """The slowest of several replies, in seconds. `sentinels`, `servers`: by name. `read`: one read of the journal.

    `read` is None if it was not measured: there is no database yet, or it is not usable.
    """

    sentinels: dict[str, float] = field(default_factory=dict)
    servers: dict[str, float] = field(default_factory=dict)
    read: float | None = None


async def look_at_round_trips(
    settings: Settings, servers: Sequence[Server], *, has_journal: bool, replied: Sequence[Address] | None = None
) -> list[Finding]:
    """Measure and judge. What cannot be reached is skipped, because other findings name it. Raises `SettingsError`.

    `servers`, `replied`: the servers and the Sentinels that replied before. None: ask every Sentinel. `has_journal`: whether the
    user database is usable.
    """
    sentinels: Mapping[str, Address] = {}
    if settings.redis_mode == "sentinel":
        sentinels = {f"Sentinel {address}": address for address in (settings.redis_sentinels if replied is None else replied)}
    addresses = {server.where: server.address for server in servers if server.address is not None}
    ask_sentinel = [("SENTINEL", word, settings.redis_master_name) for word in ("GET-MASTER-ADDR-BY-NAME", "MASTER")]
    trips = RoundTrips()
    trips.sentinels, trips.servers, trips.read = await asyncio.gather(
        _measure(Connector.to_sentinels(settings), sentinels, ask_sentinel),
        _measure(Connector.to_servers(settings), addresses, [("PING",)]),
        _measure_read(settings) if has_journal else _nothing(),
    )
    return judge_round_trips(trips, settings)


async def _measure(connector: Connector, addresses: Mapping[str, Address], commands: Sequence[Command]) -> dict[str, float]:
    async def slowest(address: Address) -> float | None:
        took: list[float] = []
        try:
            async with connector.connect(address) as connection:
                await _sample(took, lambda: connector.ask(connection, *commands))
        except Unreached:
            pass
        return max(took, default=None)

    measured = await asyncio.gather(*(slowest(address) for address in addresses.values()))
    return {where: took for where, took in zip(addresses, measured, strict=True) if took is not None}


async def _measure_read(settings: Settings) -> float | None:
    """One read as the tail's. The first one does not count, because it connects."""
    database = Database(settings)
    journal = Journal(database, settings.longest_session_ms)
    took: list[float] = []
    try:
        await _sample(took, lambda: journal.read(TO_THE_LAST, (), 1), count=SAMPLES + 1)
    except DatabaseUnavailable:
        pass
    finally:
        await database.aclose()
    return max(took[1:], default=None)


async def _nothing() -> None:
    return None


async def _sample(took: list[float], ask: Callable[[], Awaitable[object]], *, count: int = SAMPLES) -> None:
    for _ in range(count):
        began = time.monotonic()
        await ask()
        took.append(time.monotonic() - began)


def judge_round_trips(trips: RoundTrips, settings: Settings) -> list[Finding]:
    """Judge what was measured."""
    findings = [*_sentinels(trips, settings), *_servers(trips, settings), *_journal(trips, settings)]
    measured = [
        f"{name} up to {max(took):.3f} s"
        for name, took in (
            ("Sentinels", [*trips.sentinels.values()]),
            ("servers", [*trips.servers.values()]),
            ("a read of the journal", [] if trips.read is None else [trips.read]),
        )
        if took
    ]
    return findings or ([ok(WHERE, "; ".join(measured))] if measured else [])


def _sentinels(trips: RoundTrips, settings: Settings) -> Iterator[Finding]:
    """A majority that replies in time is enough. If too few were reached, other findings say so."""
    lease, majority = settings.journal_lease, len(settings.redis_sentinels) // 2 + 1
    if len(trips.sentinels) < majority:
        return
    decisive = _decisive(trips, settings)
    if not settles(decisive, lease):
        yield fault(
            "slow-sentinels",
            WHERE,
            f"round trips to the Sentinels take up to {decisive:.2f} s; JOURNAL_LEASE {lease:g} s allows "
            f"{longest_round_trip(lease):.2f} s, so workers never trust Redis fully (unsettled), and each sign-out takes "
            f"{lease:g} s longer",
            _longer_lease(decisive, trips, settings),
        )
        return
    for where, took in trips.sentinels.items():
        if not settles(took, lease):
            yield warning(
                "slow-sentinels",
                where,
                f"its round trips take up to {took:.2f} s; JOURNAL_LEASE {lease:g} s allows {longest_round_trip(lease):.2f} s, so "
                "this Sentinel does not count, and if another one fails, workers no longer trust Redis fully (unsettled)",
                _longer_lease(took, trips, settings),
            )


def _servers(trips: RoundTrips, settings: Settings) -> Iterator[Finding]:
    """A request may wait for Redis for `REDIS_READ_TIMEOUT` in all."""
    allowed = settings.redis_read_timeout
    confirming = settings.redis_write_replicas_timeout if settings.redis_write_replicas else 0.0
    for where, took in trips.servers.items():
        needed = SIGN_IN_STEPS * took + confirming
        if needed <= allowed:
            continue
        is_fault = WRITE_STEPS * took > allowed
        judge = fault if is_fault else warning
        effect = "requests that write data get 503" if is_fault else "sign-ins can be degraded"
        yield judge(
            "slow-servers",
            where,
            f"its round trips take up to {took:.2f} s; a sign-in waits for up to {SIGN_IN_STEPS}, and one request may wait for "
            f"Redis for REDIS_READ_TIMEOUT ({allowed:g} s) in all, so {effect}",
            f"set REDIS_READ_TIMEOUT to at least {_tenths(RESERVE * needed):g}, and REDIS_DIAL_TIMEOUT to at least "
            f"{_tenths(max(settings.redis_dial_timeout, 4 * took)):g}; or run the service nearer to the servers",
        )


def _journal(trips: RoundTrips, settings: Settings) -> Iterator[Finding]:
    lease = settings.journal_lease
    if trips.read is None or trips.read <= longest_read(lease):
        return
    is_fault = trips.read >= patience(lease)
    judge = fault if is_fault else warning
    effect = (
        f"the service waits {patience(lease):g} s for it, so it treats the user database as unavailable"
        if is_fault
        else "requests wait for reads of the journal"
    )
    yield judge(
        "slow-journal",
        WHERE,
        f"a read of the journal takes up to {trips.read:.2f} s; JOURNAL_LEASE {lease:g} s allows {longest_read(lease):.2f} s, so "
        f"{effect}",
        _longer_lease(_decisive(trips, settings), trips, settings),
    )


def _decisive(trips: RoundTrips, settings: Settings) -> float:
    """The round trip to the last Sentinel of the quickest majority. With too few Sentinels: the longest one."""
    quickest = sorted(trips.sentinels.values())[: len(settings.redis_sentinels) // 2 + 1]
    return max(quickest, default=0.0)


def _longer_lease(round_trip: float, trips: RoundTrips, settings: Settings) -> str:
    """How to set a lease for this round trip to Sentinels, and for the measured read of the journal."""
    fitting = fitting_lease(round_trip, trips.read or 0.0)
    nearer = "run the service nearer to the Sentinels and to the user database"
    if fitting is None:
        return f"{nearer}; no value of JOURNAL_LEASE fits"
    value = f"{fitting:g}"
    if not settings.has_database:
        return f"set JOURNAL_LEASE={value} for every worker; or {nearer}"
    return (
        f"stop every worker, run `stateroom db lease {value}`, set JOURNAL_LEASE={value} for every worker and command, and start "
        f"the workers; or {nearer}"
    )


def _tenths(seconds: float) -> float:
    """Rounded up to tenths of a second."""
    return math.ceil(round(10 * seconds, 6)) / 10
