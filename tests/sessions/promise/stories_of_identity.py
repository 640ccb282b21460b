"""Stories of wrong databases, access tokens and everybody's end: rules 12, 15 and 16 of the protocol."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

from stateroom.backend.standing import Glimpse
from stateroom.errors import Unavailable
from stateroom.sessions.journal.lookup import Lookup
from stateroom.sessions.journal.same_deployment import SameDeployment
from stateroom.sessions.model.credential import Credential
from stateroom.sessions.model.deployment import Deployment, DeploymentRow
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.lifetimes import Lifetimes
from stateroom.sessions.model.record import SessionRecord
from stateroom.sessions.model.session import record_of
from stateroom.sessions.model.sighting import Sighting
from stateroom.sessions.protocol.epochs import Epochs
from stateroom.sessions.protocol.load import Loader
from stateroom.sessions.protocol.trust import Trust
from stateroom.sessions.sealing.key_ring import KeyRing, fresh_token, load_keys
from stateroom.sessions.sealing.token_keys import new_token_key
from stateroom.sessions.store.session_store import SessionStore

from ..fake_journal import FakeJournal
from .stories import (
    Story,
    all_have_just_read,
    check,
    cut_off_from_the_store,
    is_trusted,
    just_read,
    learn,
    lose_sessions,
    nothing,
    nothing_now,
    sign_in,
    sign_out,
)
from .world import World


def look_up_in_a_wrong_database(world: World) -> None:
    """A worker has lost the store, and the database's name leads it to another database, which ends nobody."""
    cookie, _ = sign_in(world)
    just_read(world, world.workers[1])
    cut_off_from_the_store(world, 1)
    world.wrong_database(1, is_wrong=True)
    sign_out(world, 0, cookie)
    check(not is_trusted(world, 1, cookie))


def tail_of_a_wrong_database(world: World) -> None:
    """A replica that lacks a logout is promoted and takes no writes yet: only the tail knows of the logout."""
    cookie, _ = sign_in(world)
    world.replicate()
    world.replicates = False
    world.wrong_database(1, is_wrong=True)
    sign_out(world, 0, cookie)
    world.fail_over()
    world.primary.refuses_writes = True
    learn(world)
    world.old_primary_learns()
    world.advance(3.0)
    check(not is_trusted(world, 1, cookie))


def end_in_a_wrong_database(world: World) -> None:
    """A worker without the store commits an end where nobody looks, and acknowledges it."""
    cookie, session = sign_in(world)
    all_have_just_read(world)
    cut_off_from_the_store(world, 0)
    cut_off_from_the_store(world, 1)
    world.wrong_database(0, is_wrong=True)
    with contextlib.suppress(Unavailable):
        world.do(world.workers[0].manager.end(session))
        check(not is_trusted(world, 1, cookie))


def cookie_of_another_deployment(world: World) -> None:
    """Staging has production's keys, and a user of the same name."""
    parts = world.workers[0].parts
    staging = Deployment()
    staging.id = "staging"
    ring = KeyRing(load_keys(parts.settings), parts.settings.session_name, staging, Lifetimes.of(parts.settings))
    now = parts.clock.now_ms()
    cookie = ring.seal(
        fresh_token(), user_id="ada", generation=0, auth_time=now, deadline=now + 60_000, idle_ms=60_000, issued_at=now,
        is_persistent=False, created_ms=now,
    )  # fmt: skip
    check(not is_trusted(world, 0, cookie))


def token_of_a_lost_session(world: World) -> None:
    """Whoever can verify tokens might mint one too, for a session that never was: it must not become one."""
    _, session = sign_in(world)
    ref, (token, _) = record_of(session).ref, world.workers[0].manager.mint_access_token(session)
    lose_sessions(world)
    assert is_trusted(world, 1, token, "bearer")
    check(not world.do(world.workers[1].parts.store.exists(ref)))


def token_of_a_session_whose_end_waits_for_the_journal(world: World) -> None:
    """The store has deleted it, and the journal, which another worker reaches, does not have the row yet."""
    cookie, session = sign_in(world)
    token, _ = world.workers[0].manager.mint_access_token(session)
    world.workers[0].journal.is_cut = True
    world.advance(1.0)
    sign_out(world, 0, cookie)
    check(not is_trusted(world, 1, token, "bearer"))


def everybody_out(world: World) -> None:
    """The sessions are still in the store: they are cleared up in the background."""
    for worker in world.workers:
        worker.parts.replay.sweeps = False
    world.do(world.workers[0].manager.end_everybody())


def everybody_out_beside_a_worker_that_reads_the_journal(world: World) -> None:
    cookie, _ = sign_in(world)
    everybody_out(world)
    check(not is_trusted(world, 1, cookie))


def everybody_out_beside_a_worker_without_the_journal(world: World) -> None:
    """It goes on trusting the settled store, which has the session."""
    cookie, _ = sign_in(world)
    world.workers[1].journal.is_cut = True
    world.advance(1.0)
    everybody_out(world)
    check(not is_trusted(world, 1, cookie))


def everybody_out_and_a_backup_from_before(world: World) -> None:
    """No worker ran when the database was restored. Only Redis knows that the journal lacks an epoch."""
    cookie, _ = sign_in(world)
    backup = world.table.copy()
    world.do(world.workers[0].manager.end_everybody())
    world.restart_all(lambda: world.restore_database(backup))
    world.advance(3.0)
    check(not is_trusted(world, 1, cookie))


def _believe(self: SameDeployment, row: DeploymentRow) -> DeploymentRow:
    self._deployment.id = self._deployment.id or row.id
    return row


@contextlib.contextmanager
def _any_journal() -> Iterator[None]:
    """Tails and commits take any database for the deployment's own."""
    with mock.patch.object(SameDeployment, "_check_whose", _believe), mock.patch.object(FakeJournal, "_check_whose", nothing_now):
        yield


async def _as_a_cookie(self: Loader, record: SessionRecord, credential: Credential, sighting: Sighting, glimpse: Glimpse) -> None:
    await self._store_again(record, credential, sighting, dict)


def _of_any_epoch(self: Trust, glimpse: Glimpse, ref: SessionRef, generation: int, epoch: str, now: float) -> bool:
    return time.monotonic() < glimpse.standing.believed_until and self._replay.covers(glimpse)


def _with_journal() -> dict[str, Any]:
    return {"journal_required": True}


def _with_tokens() -> dict[str, Any]:
    return {"token_keys": new_token_key()}


STORIES = {
    "rule 12, whose journal a look-up reads": Story(
        look_up_in_a_wrong_database, lambda: mock.patch.object(Lookup, "_check_whose", nothing_now)
    ),
    "rule 12, whose journal the tail reads": Story(tail_of_a_wrong_database, _any_journal, _with_journal),
    "rule 12, whose journal an end is committed to": Story(
        end_in_a_wrong_database, lambda: mock.patch.object(FakeJournal, "_check_whose", nothing_now)
    ),
    "rule 12, the deployment's id as associated data": Story(
        cookie_of_another_deployment, lambda: mock.patch.object(KeyRing, "_bound", return_value=b"")
    ),
    "rule 15, a token finds and never makes": Story(
        token_of_a_lost_session, lambda: mock.patch.object(Loader, "_load_missing_by_token", _as_a_cookie), _with_tokens
    ),
    "rule 15, the mark of an end that waits": Story(
        token_of_a_session_whose_end_waits_for_the_journal,
        lambda: mock.patch.object(SessionStore, "tombstone", nothing),
        _with_tokens,
    ),
    "rule 16, the epoch that a session carries": Story(
        everybody_out_beside_a_worker_that_reads_the_journal, lambda: mock.patch.object(Trust, "vouches", _of_any_epoch)
    ),
    "rule 16, the epoch beside the mark": Story(
        everybody_out_beside_a_worker_without_the_journal, lambda: mock.patch.object(Trust, "_has_epoch", return_value=True)
    ),
    "rule 16, a journal that lacks the epoch beside the mark": Story(
        everybody_out_and_a_backup_from_before, lambda: mock.patch.object(Epochs, "compare", nothing)
    ),
}
