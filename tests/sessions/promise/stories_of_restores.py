"""Stories of a user database that goes back to a backup: rules 18 and 19 of the protocol."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any
from unittest import mock

from stateroom.errors import Unavailable
from stateroom.sessions.journal import tail
from stateroom.sessions.journal.lookup import Lookup
from stateroom.sessions.journal.tail import Tail
from stateroom.sessions.model.identity import UserId
from stateroom.sessions.model.session import record_of
from stateroom.sessions.protocol import unknown_users
from stateroom.sessions.protocol.replay import Replay
from stateroom.sessions.protocol.unknown_users import UnknownUsers

from ..fake_journal import FakeJournal
from .stories import (
    Story,
    all_have_just_read,
    check,
    cut_off_from_the_store,
    end_one,
    is_trusted,
    lose_sessions,
    nothing,
    nothing_now,
    sign_in,
    sign_out,
)
from .world import World

MANY_USERS = unknown_users.FEW + 2
NOTICED_SECONDS = 4.0
"""The restore is noticed, and what was lost is committed again."""


class Users:
    """Those whom the user database knows."""

    def __init__(self) -> None:
        self.known: set[UserId] = {"ada", "bob"}

    async def __call__(self, asked: Collection[UserId]) -> Collection[UserId]:
        return self.known & set(asked)


def _with_users() -> dict[str, Any]:
    return {"known_users": Users()}


def users_of(world: World) -> Users:
    users = world.options.known_users
    assert isinstance(users, Users)
    return users


def end_before_a_restore_of_which_one_worker_knows(world: World) -> None:
    """An end that every running worker has read is lost with the restore. A worker that starts later never heard of it."""
    cookie, _ = sign_in(world)
    backup = world.table.copy()
    sign_out(world, 0, cookie)
    world.advance(10.0)
    world.restore_database(backup)
    world.advance(NOTICED_SECONDS)
    world.restart_worker(1)
    lose_sessions(world)
    check(not is_trusted(world, 1, cookie))


def _signed_out_and_restored(world: World) -> str:
    """The cookie of a session that ended a moment ago. The backup is older, and lacks another row that every tail has read."""
    cookie, _ = sign_in(world)
    backup = world.table.copy()
    end_one(world)
    all_have_just_read(world)
    sign_out(world, 0, cookie)
    world.restore_database(backup)
    return cookie


def look_up_in_a_restored_database(world: World) -> None:
    """A worker that has lost the store asks the journal, a moment after an end was acknowledged and lost with a restore."""
    cookie = _signed_out_and_restored(world)
    cut_off_from_the_store(world, 1)
    check(not is_trusted(world, 1, cookie))


def end_that_no_tail_has_read_is_lost(world: World) -> None:
    """Only the worker that made it has it in memory, in no tail yet."""
    cookie = _signed_out_and_restored(world)
    world.advance(NOTICED_SECONDS)
    lose_sessions(world)
    check(not is_trusted(world, 1, cookie))


def backup_of_a_moment_ago(world: World) -> None:
    """All that any tail has read is in the backup. Only the worker that made the last end can miss it."""
    cookie, _ = sign_in(world)
    end_one(world)
    all_have_just_read(world)
    backup = world.table.copy()
    sign_out(world, 0, cookie)
    world.restore_database(backup)
    world.advance(NOTICED_SECONDS)
    lose_sessions(world)
    check(not is_trusted(world, 1, cookie))


def end_that_a_slow_worker_commits_again(world: World) -> None:
    """A quick worker has noticed the restore and read everything anew, and the slow one's end is not there yet."""
    cookie, _ = sign_in(world)
    backup = world.table.copy()
    end_one(world)
    all_have_just_read(world)
    sign_out(world, 0, cookie)
    world.do(world.primary.flush())
    world.restore_database(backup)
    world.workers[0].journal.ask_seconds = 0.8
    for _ in range(20):
        world.advance(0.1)
        check(not is_trusted(world, 1, cookie))


def restore_while_no_worker_runs(world: World) -> None:
    """Redis' cursor stands at a row that the journal lacks. A new end gets a lower number, and is never replayed."""
    backup = world.table.copy()
    for _ in range(3):
        end_one(world)
    world.advance(2.0)
    world.restart_all(lambda: world.restore_database(backup))
    cookie, session = sign_in(world)
    world.advance(NOTICED_SECONDS)
    state = world.primary.dump()
    sign_out(world, 0, cookie)
    world.old_disk(state)
    world.advance(3.0)
    check(not world.do(world.workers[0].parts.store.exists(record_of(session).ref)))


def commit_to_a_file_that_was_renamed(world: World) -> None:
    """A worker has the old file open. What it commits there nobody else reads."""
    cookie, session = sign_in(world)
    cut_off_from_the_store(world, 0)
    world.advance(1.0)
    world.restore_database(world.table.copy())
    world.restart_worker(1)
    world.advance(2.0)
    cut_off_from_the_store(world, 1)
    with contextlib.suppress(Unavailable):
        world.do(world.workers[0].manager.end(session))
        check(not is_trusted(world, 1, cookie))


def _restored(world: World, *, lost: set[UserId]) -> None:
    """The database goes back to before these users, and before a row that every tail has read."""
    backup = world.table.copy()
    end_one(world)
    world.restore_database(backup)
    users_of(world).known -= lost
    world.advance(NOTICED_SECONDS)


def session_of_a_user_whom_the_restored_database_lacks(world: World) -> None:
    """Nobody is signed in to an account that does not exist."""
    cookie, _ = sign_in(world)
    _restored(world, lost={"ada"})
    check(not is_trusted(world, 1, cookie))


def users_come_a_moment_after_the_journal(world: World) -> None:
    """A restore table by table: for a moment nobody is known."""
    cookie, _ = sign_in(world)
    _restored(world, lost={"ada"})
    users_of(world).known.add("ada")
    world.advance(2.0)
    check(is_trusted(world, 1, cookie))


def users_are_missing_for_long(world: World) -> None:
    """Half of a database, or the wrong one: so many unknown users are no loss of a few registrations."""
    world.replicates, users = False, users_of(world)
    names = {f"user-{number}" for number in range(MANY_USERS)}
    users.known |= names
    cookies = [sign_in(world, user=name)[0] for name in sorted(names)]
    with mock.patch.object(unknown_users, "SECOND_LOOK_SECONDS", 2.0):
        _restored(world, lost={*names})
        world.advance(10.0)
    users.known |= names
    check(all(is_trusted(world, 1, cookie) for cookie in cookies))


@contextlib.contextmanager
def _never_back() -> Iterator[None]:
    """Without the tail's look, and without that of a worker which connects: that one would keep it from settling."""
    with mock.patch.object(Tail, "went_back", return_value=False), mock.patch.object(Replay, "_went_back", return_value=False):
        yield


async def _nobody(self: UnknownUsers, users: Collection[str]) -> set[str]:
    return set()


STORIES = {
    "rule 18, rows that were there are looked for again": Story(end_before_a_restore_of_which_one_worker_knows, _never_back),
    "rule 18, what is lost is committed again": Story(
        end_before_a_restore_of_which_one_worker_knows, lambda: mock.patch.object(FakeJournal, "recommit", nothing)
    ),
    "rule 18, a look-up looks again for the tail's rows": Story(
        look_up_in_a_restored_database, lambda: mock.patch.object(Lookup, "_check_not_older", nothing_now)
    ),
    "rule 18, a worker's own rows": Story(
        end_that_no_tail_has_read_is_lost, lambda: mock.patch.object(Tail, "remember", nothing_now)
    ),
    "rule 18, a worker looks for its own rows": Story(
        backup_of_a_moment_ago, lambda: mock.patch.object(Tail, "_has_read", return_value=True)
    ),
    "rule 18, the quiet time after a restore": Story(
        end_that_a_slow_worker_commits_again, lambda: mock.patch.object(tail, "QUIET_SECONDS", 0.0)
    ),
    "rule 18, the row beside the mark": Story(
        restore_while_no_worker_runs, lambda: mock.patch.object(Replay, "_went_back", return_value=False)
    ),
    "rule 18, the file at the path": Story(
        commit_to_a_file_that_was_renamed, lambda: mock.patch.object(FakeJournal, "_is_at_its_path", return_value=True)
    ),
    "rule 19, look-ups ask for the user": Story(
        session_of_a_user_whom_the_restored_database_lacks,
        lambda: mock.patch.object(UnknownUsers, "check", _nobody),
        _with_users,
    ),
    "rule 19, two looks a minute apart": Story(
        users_come_a_moment_after_the_journal,
        lambda: mock.patch.object(unknown_users, "SECOND_LOOK_SECONDS", 0.0),
        _with_users,
    ),
    "rule 19, many unknown users are not ended": Story(
        users_are_missing_for_long, lambda: mock.patch.object(unknown_users, "FEW", 1000), _with_users
    ),
}
