"""Each protection by itself: a story that ends well with it, and in a broken promise without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from stateroom.backend import near_cache
from stateroom.backend.sentinel import SentinelWatcher
from stateroom.backend.standing import Glimpse
from stateroom.sessions.model.deployment import Current
from stateroom.sessions.model.identity import SessionRef, user_key
from stateroom.sessions.model.session import record_of
from stateroom.sessions.protocol import ends, load
from stateroom.sessions.protocol.lease import Lease
from stateroom.sessions.protocol.replay import Replay
from stateroom.sessions.protocol.restore import Restore
from stateroom.sessions.protocol.trust import Trust
from stateroom.sessions.store.session_store import SessionStore

from . import stories_of_identity, stories_of_restores, stories_of_sentinels, stories_of_time
from .stories import Story, check, ends_well, is_broken_without, is_signed_in, just_read, learn, nothing, sign_in, sign_out
from .world import POLL_SECONDS, Worker, World

pytestmark = pytest.mark.impatient


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def failover_without_the_end(world: World) -> None:
    """A replica that lacks a logout is promoted and takes no writes yet, so that nothing can be deleted there."""
    cookie, _ = sign_in(world)
    world.replicate()
    world.replicates = False
    sign_out(world, 0, cookie)
    world.fail_over()
    world.primary.refuses_writes = True
    learn(world)
    world.old_primary_learns()
    world.advance(3.0)
    check(not is_signed_in(world, 1, cookie))


def cut_off(world: World) -> None:
    """A worker that alone loses the store, a moment after another has acknowledged an end."""
    cookie, _ = sign_in(world)
    is_signed_in(world, 1, cookie)
    just_read(world, world.workers[1])
    sign_out(world, 0, cookie)
    world.workers[1].client.cut = {node.address for node in world.nodes}
    check(not is_signed_in(world, 1, cookie))


def old_disk(world: World) -> None:
    """A logout that the disk knows nothing of."""
    cookie, session = sign_in(world)
    state = world.primary.dump()
    sign_out(world, 0, cookie)
    world.old_disk(state)
    world.advance(3.0)
    check(not world.do(world.workers[0].parts.store.exists(record_of(session).ref)))


def beside_the_old_primary(world: World) -> None:
    """A worker that reaches the old primary and its Sentinel only, while the others go on with the new one."""
    cookie, _ = sign_in(world)
    world.replicate()
    lonely = world.workers[1].client
    lonely.cut_sentinels = {0, 1}
    lonely.cut = {world.replica.address}
    world.fail_over()
    world.sentinel_learns(1)
    world.advance(3.0)
    just_read(world, world.workers[1])
    sign_out(world, 0, cookie)
    check(not is_signed_in(world, 1, cookie))


def end_by_an_unsettled_worker(world: World) -> None:
    """It cannot delete where the others look, so the others must have had the time to read the journal."""
    cookie, _ = sign_in(world)
    world.workers[0].client.cut = {node.address for node in world.nodes}
    just_read(world, world.workers[1])
    sign_out(world, 0, cookie)
    check(not is_signed_in(world, 1, cookie))


def end_while_it_is_restored(world: World) -> None:
    """One worker stores a lost session again, slowly; the other ends it in between and is asked at once."""
    cookie, _ = sign_in(world)
    world.do(world.primary.client.execute("", "FLUSHALL"))
    slow, quick = world.workers
    restore_at_once, settle_at_once = SessionStore.restore, Restore.settle_pending

    async def restore(self: SessionStore, *args: Any, **named: Any) -> Any:
        if self is slow.parts.store:
            await asyncio.sleep(0.05)
        return await restore_at_once(self, *args, **named)

    async def settle_late(self: Restore, *args: Any) -> Any:
        if self is slow.parts.loader._restore:
            await asyncio.sleep(0.05)
        return await settle_at_once(self, *args)

    # Both look-ups of the journal and both writes lie between two reads of the tail.
    with (
        mock.patch.object(SessionStore, "restore", restore),
        mock.patch.object(Restore, "settle_pending", settle_late),
    ):
        just_read(world, quick)
        asked = world.start(slow.load(cookie))
        world.advance(0.01)
        sign_out(world, 1, cookie)
        while not world.do(quick.parts.store.exists(_address(quick, cookie))) and not asked.done():
            world.advance(0.002)
        check(not is_signed_in(world, 1, cookie))
        world.do(_finish(asked))
        check(not is_signed_in(world, 1, cookie))


def end_behind_a_slow_link(world: World) -> None:
    """A worker keeps a copy, and what the server tells of it is still on its way when the end is acknowledged."""
    _end_of_what_is_copied(world, seconds=0.03)


def end_behind_a_link_that_stands_still(world: World) -> None:
    """End a session that a worker has copied, behind a slow link."""
    _end_of_what_is_copied(world, seconds=0.4)


def _end_of_what_is_copied(world: World, *, seconds: float) -> None:
    cookie, _ = sign_in(world)
    just_read(world, world.workers[1])
    for _ in range(2):
        assert is_signed_in(world, 1, cookie)
    world.workers[1].client.lag = seconds
    sign_out(world, 0, cookie)
    check(not is_signed_in(world, 1, cookie))


def _address(worker: Worker, cookie: str) -> Any:
    opened = worker.manager._parts.key_ring.open(cookie)
    assert opened is not None
    assert opened.user == user_key("ada")
    return opened.ref


async def _finish(task: asyncio.Task[Any]) -> None:
    await task


def _without_tail(self: Trust, glimpse: Glimpse, ref: SessionRef, generation: int, epoch: str, now: float) -> bool:
    return time.monotonic() < glimpse.standing.believed_until and self._replay.covers(glimpse)


async def _tail_alone(self: Trust, ref: SessionRef, carried: Current) -> str | None:
    return self._tail.reason(ref, carried)


def _always(self: SentinelWatcher) -> float:
    return float("inf")


_DEAF: dict[str, Any] = {"HEARD_SECONDS": 3600, "ASK_SECONDS": 3600}


def _with_copies() -> dict[str, Any]:
    return {"caches": True}


STORIES = {
    "the tail, in a settled state": Story(failover_without_the_end, lambda: mock.patch.object(Trust, "vouches", _without_tail)),
    "look-ups": Story(cut_off, lambda: mock.patch.object(Trust, "why_ended_by_journal", _tail_alone)),
    "replaying the journal": Story(old_disk, lambda: mock.patch.object(Replay, "_replay", nothing)),
    "a majority": Story(beside_the_old_primary, lambda: mock.patch.object(SentinelWatcher, "believed_until", property(_always))),
    "the lease before an acknowledgement": Story(
        end_by_an_unsettled_worker, lambda: mock.patch.object(Lease, "passed_since", nothing)
    ),
    "the pending mark": Story(end_while_it_is_restored, lambda: mock.patch.object(load, "PENDING", b"none")),
    "outlasting copies": Story(
        end_behind_a_slow_link, lambda: mock.patch.object(ends.Ends, "outlast_copies", nothing), _with_copies
    ),
    "hearing the server": Story(
        end_behind_a_link_that_stands_still, lambda: mock.patch.multiple(near_cache, **_DEAF), _with_copies
    ),
    "the second look": Story(end_while_it_is_restored, lambda: mock.patch.object(Restore, "_second_look", nothing)),
    **stories_of_identity.STORIES,
    **stories_of_restores.STORIES,
    **stories_of_sentinels.STORIES,
    **stories_of_time.STORIES,
}


@pytest.mark.parametrize("name", STORIES)
def test_with_it_the_story_ends_well(name: str) -> None:
    ends_well(STORIES[name])


@pytest.mark.parametrize("name", STORIES)
def test_without_it_a_promise_is_broken(name: str) -> None:
    is_broken_without(STORIES[name])


def test_a_worker_reads_the_journal_often_enough_for_the_stories(world: World) -> None:
    """They rely on what happens between two reads."""
    before = world.workers[1].parts.tail.read_at
    just_read(world, world.workers[1])
    assert world.workers[1].parts.tail.read_at - before <= POLL_SECONDS + 0.01
