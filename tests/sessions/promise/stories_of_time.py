"""Stories of clocks that jump: rule 14 of the protocol, "time never deletes an end early"."""

from __future__ import annotations

from typing import Any
from unittest import mock

from stateroom.sessions.journal.tail import Tail
from stateroom.sessions.journal.two_looks import TwoLooks

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


def sign_out_last_but_one(world: World, cookie: str) -> None:
    """The row is not the newest, which is never pruned, nor among those that the tail looks for again: it would be missed."""
    sign_out(world, 0, cookie)
    world.advance(0.5)
    end_one(world)


def old_disk_for_new_workers(world: World, disk: Any) -> None:
    """Redis has the session again, and no worker remembers its end. Only the journal's row can end it."""
    world.restart_all(lambda: world.old_disk(disk))
    world.advance(3.0)


def clocks_jump_ahead_for_a_moment(world: World) -> None:
    cookie, _ = sign_in(world)
    disk = world.primary.dump()
    sign_out_last_but_one(world, cookie)
    set_the_hosts_clock(world, AHEAD_SECONDS)
    world.advance(2.0)
    set_the_hosts_clock(world, 0.0)
    old_disk_for_new_workers(world, disk)
    check(not is_trusted(world, 1, cookie))


def the_databases_clock_alone_is_ahead_for_long(world: World) -> None:
    cookie, _ = sign_in(world)
    disk = world.primary.dump()
    sign_out_last_but_one(world, cookie)
    set_clocks(world, database=AHEAD_SECONDS)
    world.advance(BETWEEN_LOOKS_SECONDS)
    old_disk_for_new_workers(world, disk)
    check(not is_trusted(world, 1, cookie))


def redis_clock_was_ahead_when_the_session_ended(world: World) -> None:
    """Redis keeps it by that clock. When that time has come the row must still be there."""
    set_clocks(world, redis=AHEAD_SECONDS)
    cookie, _ = sign_in(world)
    disk = world.primary.dump()
    sign_out_last_but_one(world, cookie)
    set_the_hosts_clock(world, AHEAD_SECONDS)
    world.advance(BETWEEN_LOOKS_SECONDS)
    old_disk_for_new_workers(world, disk)
    check(not is_trusted(world, 1, cookie))


def redis_clock_was_ahead_when_the_session_began(world: World) -> None:
    """It ended when the clock was right again, so the time of its end is before the time of its sign-in."""
    set_clocks(world, redis=AHEAD_SECONDS)
    cookie, _ = sign_in(world)
    disk = world.primary.dump()
    set_clocks(world, redis=0.0)
    sign_out_last_but_one(world, cookie)
    set_the_hosts_clock(world, AHEAD_SECONDS)
    world.advance(BETWEEN_LOOKS_SECONDS)
    old_disk_for_new_workers(world, disk)
    check(not is_trusted(world, 1, cookie))


def clocks_are_ahead_for_long_and_workers_start_with_clocks_that_are_behind(world: World) -> None:
    """The row is pruned. The cookie is too old by then, until it is made younger. No worker has seen that it is."""
    cookie, _ = sign_in(world)
    sign_out_last_but_one(world, cookie)
    set_the_hosts_clock(world, AHEAD_SECONDS)
    world.advance(BETWEEN_LOOKS_SECONDS)
    world.restart_all(lambda: set_the_hosts_clock(world, -60.0))
    lose_sessions(world)
    check(not is_trusted(world, 1, cookie))


def _at_once(self: TwoLooks, *, database_ms: int, redis_ms: int) -> int:
    return database_ms


def _always_agree(self: TwoLooks, now: object) -> bool:
    return True


def _from_the_databases_time(self: Table, ended_at: int) -> int:
    return self.now_ms()


def _from_the_end(self: Table) -> int:
    return 0


STORIES = {
    "rule 14, two looks before pruning": Story(
        clocks_jump_ahead_for_a_moment, lambda: mock.patch.object(TwoLooks, "look", _at_once), _briefly
    ),
    "rule 14, no pruning while clocks disagree": Story(
        the_databases_clock_alone_is_ahead_for_long, lambda: mock.patch.object(TwoLooks, "_agree", _always_agree), _briefly
    ),
    "rule 14, rows are kept from the later time on": Story(
        redis_clock_was_ahead_when_the_session_ended,
        lambda: mock.patch.object(Table, "kept_from", _from_the_databases_time),
        _briefly,
    ),
    "rule 14, rows are kept from the time on that Redis was set back from": Story(
        redis_clock_was_ahead_when_the_session_began, lambda: mock.patch.object(Table, "sealed_until", _from_the_end), _briefly
    ),
    "rule 14, cookies whose end may have been pruned": Story(
        clocks_are_ahead_for_long_and_workers_start_with_clocks_that_are_behind,
        lambda: mock.patch.object(Tail, "not_before_ms", 0),
        _briefly,
    ),
}
