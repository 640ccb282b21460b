"""Stories of clocks that jump: rule 14 of the protocol, "time never deletes an end early"."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from stateroom.sessions.journal.two_looks import TwoLooks
from stateroom.sessions.store.redis_clock import RedisClock
from stateroom.sessions.upkeep import PRUNED_AT_ONCE, Upkeep

from ..fake_journal import Table
from .stories import Story, check, end_one, is_trusted, lose_sessions, sign_in, sign_out
from .world import World

DEGRADED_SECONDS, BEYOND_SECONDS = 60, 7.0
BETWEEN_LOOKS_SECONDS = 75.0
"""Enough for two looks."""
AHEAD_SECONDS = 200_000.0
"""Longer than any session lives."""


def _briefly() -> dict[str, Any]:
    return {"degraded_seconds": DEGRADED_SECONDS, "beyond_seconds": BEYOND_SECONDS}


def set_clocks(world: World, *, redis: float | None = None, database: float | None = None) -> None:
    """Set them, so many seconds ahead. The workers learn it."""
    if redis is not None:
        for node in world.nodes:
            node.skew_seconds = redis
    if database is not None:
        world.table.skew_seconds = database
    world.advance(1.5)


def set_the_hosts_clock(world: World, seconds: float) -> None:
    """Everything is on one host."""
    for worker in world.workers:
        worker.skew_seconds = seconds
    set_clocks(world, redis=seconds, database=seconds)


def signed_out(world: World) -> str:
    """The cookie of a session that ended.

    Its row is not the newest, which is never pruned, nor among those that the tail looks for again: it would be missed.
    """
    cookie, _ = sign_in(world)
    sign_out(world, 0, cookie)
    world.advance(0.5)
    end_one(world)
    return cookie


def start_anew(world: World) -> None:
    """Workers that remember nothing. Redis has lost its sessions, so that a good cookie restores its own."""
    world.restart_all(lambda: None)
    lose_sessions(world)


def clocks_jump_ahead_for_a_moment(world: World) -> None:
    cookie = signed_out(world)
    set_the_hosts_clock(world, AHEAD_SECONDS)
    world.advance(2.0)
    set_the_hosts_clock(world, 0.0)
    start_anew(world)
    check(not is_trusted(world, 1, cookie))


def clocks_are_ahead_for_long_and_then_behind(world: World) -> None:
    """The row is pruned, and forgotten by workers. The cookie is too old by then, until it is made younger."""
    cookie = signed_out(world)
    set_the_hosts_clock(world, AHEAD_SECONDS)
    world.advance(BETWEEN_LOOKS_SECONDS)
    world.restart_all(lambda: None)
    set_the_hosts_clock(world, -60.0)
    lose_sessions(world)
    check(not is_trusted(world, 1, cookie))


def the_databases_clock_alone_is_ahead_for_long(world: World) -> None:
    """Then Redis' is behind, and no worker knows that it was not always so."""
    cookie = signed_out(world)
    set_clocks(world, database=AHEAD_SECONDS)
    world.advance(BETWEEN_LOOKS_SECONDS)
    set_clocks(world, redis=-60.0)
    start_anew(world)
    check(not is_trusted(world, 1, cookie))


def redis_clock_was_ahead_when_the_session_ended(world: World) -> None:
    """Its cookie says times of that clock. When that time has come the row must still be there."""
    set_clocks(world, redis=AHEAD_SECONDS)
    cookie = signed_out(world)
    set_clocks(world, redis=0.0)
    set_clocks(world, redis=AHEAD_SECONDS, database=AHEAD_SECONDS)
    world.advance(BETWEEN_LOOKS_SECONDS)
    set_clocks(world, redis=AHEAD_SECONDS - 60.0)
    start_anew(world)
    check(not is_trusted(world, 1, cookie))


def _at_once(self: TwoLooks, now_ms: int) -> int:
    return now_ms


async def _by_the_database_alone(self: Upkeep) -> int:
    journal = self._parts.journal
    due_at = self._looks.look(await journal.now_ms())
    return 0 if due_at is None else await journal.prune(due_at, PRUNED_AT_ONCE)


def _from_the_databases_time(self: Table, ended_at: int) -> int:
    return self.now_ms()


def _never_set_back() -> AbstractContextManager[Any]:
    never = property(lambda _: 0, lambda *_: None)
    return mock.patch.object(RedisClock, "set_back_ms", never, create=True)


STORIES = {
    "rule 14, two looks before pruning": Story(
        clocks_jump_ahead_for_a_moment, lambda: mock.patch.object(TwoLooks, "look", _at_once), _briefly
    ),
    "rule 14, cookies from before Redis' time went back": Story(
        clocks_are_ahead_for_long_and_then_behind, _never_set_back, _briefly
    ),
    "rule 14, pruning by Redis' clock too": Story(
        the_databases_clock_alone_is_ahead_for_long,
        lambda: mock.patch.object(Upkeep, "prune_journal", _by_the_database_alone),
        _briefly,
    ),
    "rule 14, rows are kept from the later time on": Story(
        redis_clock_was_ahead_when_the_session_ended,
        lambda: mock.patch.object(Table, "kept_from", _from_the_databases_time),
        _briefly,
    ),
}
