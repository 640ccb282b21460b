"""Stories of Sentinels that were rebuilt from nothing: rule 13 of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from stateroom.backend.agreement import Agreed, Agreement
from stateroom.backend.standing import Glimpse
from stateroom.sessions.journal.interface import Reading
from stateroom.sessions.model.deployment import SentinelRow
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.protocol.ends import Ends
from stateroom.sessions.protocol.membership import Membership

from .stories import Story, check, is_signed_in, just_read, sign_in, sign_out
from .world import SENTINELS, SentinelClient, World

OLD, NEW = 0, 1
"""The worker that still reaches the old Sentinels, and the one that reaches the new ones."""


def promoted_by_hand(world: World) -> str:
    """The replica is promoted, and new Sentinels are made for it. One worker still reaches the old ones and the old primary."""
    cookie, _ = sign_in(world)
    world.replicate()
    world.promote_by_hand()
    world.rebuild_sentinels(world.primary)
    world.workers[OLD].client.hears_old_sentinels = True
    world.restart_worker(NEW)
    return cookie


def end_seen_by_the_other(world: World, cookie: str, *, by: int) -> None:
    """One worker ends a session. The other one is asked at once, and has read the journal a moment before."""
    other = OLD if by == NEW else NEW
    just_read(world, world.workers[other])
    sign_out(world, by, cookie)
    check(not is_signed_in(world, other, cookie))


def two_sets_of_sentinels(world: World) -> None:
    cookie = promoted_by_hand(world)
    world.advance(10.0)
    assert world.workers[NEW].client._node is world.primary
    end_seen_by_the_other(world, cookie, by=NEW)


def two_sets_with_one_epoch(world: World) -> None:
    """The new Sentinels have failed over as often as the old ones had."""
    cookie = promoted_by_hand(world)
    world.named = [(world.primary.address, world.named_by_old[0][1])] * SENTINELS
    world.advance(10.0)
    assert world.workers[NEW].client._node is world.primary
    end_seen_by_the_other(world, cookie, by=NEW)


def accepted_a_moment_ago(world: World) -> None:
    """The worker with the new Sentinels reads of it at once; the other one has read the journal just before."""
    cookie = promoted_by_hand(world)
    world.advance(10.0)
    just_read(world, world.workers[OLD])
    assert world.do(world.accept(NEW))
    world.do(world.workers[NEW].parts.tail.catch_up())
    sign_out(world, NEW, cookie)
    check(not is_signed_in(world, OLD, cookie))


def end_with_a_stale_tail(world: World) -> None:
    """The worker with the old Sentinels commits, but its reads take long: it does not know of the new base."""
    cookie = promoted_by_hand(world)
    world.advance(10.0)
    old = world.workers[OLD]
    just_read(world, old)
    session = world.do(old.load(cookie))
    read = old.journal.read

    async def slow(after: int, gaps: Collection[int], limit: int, *, checked: Collection[int] = ()) -> Reading:
        await asyncio.sleep(0.9)
        return await read(after, gaps, limit, checked=checked)

    with mock.patch.object(old.journal, "read", slow):
        assert world.do(world.accept(NEW))
        new = world.workers[NEW]
        world.do(new.parts.tail.catch_up())
        world.advance(0.55)
        world.do(new.parts.tail.catch_up())
        assert new.client.standing("").is_believed
        world.do(old.manager.end(session))
        check(not is_signed_in(world, NEW, cookie))
        world.advance(1.0)


def database_restored_to_before_it(world: World) -> None:
    """A worker that is started then, beside the old Sentinels, knows nothing of the base that was accepted."""
    backup = world.table.copy()
    cookie = promoted_by_hand(world)
    world.advance(10.0)
    assert world.do(world.accept(NEW))
    world.advance(2.0)
    world.restore_database(backup)
    world.restart_worker(OLD)
    world.advance(6.0)
    end_seen_by_the_other(world, cookie, by=OLD)


def a_name_that_leads_to_an_empty_server(world: World) -> None:
    sign_in(world)
    world.rebuild_sentinels(world.empty)
    world.advance(10.0)
    check(all(worker.client._node is not world.empty for worker in world.workers))


def sentinels_of_an_empty_server(world: World) -> None:
    """One worker's Sentinel names lead to those of a new environment, which have failed over more often."""
    sign_in(world)
    world.advance(2.0)
    known = world.table.deployment.sentinels
    world.named_by_old = [(world.empty.address, known.epoch + 9)] * SENTINELS
    world.workers[OLD].client.hears_old_sentinels = True
    world.advance(5.0)
    check(world.table.deployment.sentinels == known)
    check(world.workers[NEW].client.standing("").is_believed)
    world.workers[OLD].client.hears_old_sentinels = False
    world.restart_worker(OLD)
    world.advance(5.0)
    check(world.workers[OLD].client.standing("").is_believed)


def sentinels_of_an_empty_server_without_a_database(world: World) -> None:
    """A worker without the user database follows its Sentinels to an empty server. It must not write the id there."""
    sign_in(world)
    world.advance(2.0)
    known = world.table.deployment.sentinels
    world.named_by_old = [(world.empty.address, known.epoch + 9)] * SENTINELS
    lonely = world.workers[OLD]
    lonely.client.hears_old_sentinels = lonely.journal.is_cut = True
    world.advance(5.0)
    lonely.journal.is_cut = False
    world.advance(5.0)
    check(world.table.deployment.sentinels == known)
    check(world.workers[NEW].client.standing("").is_believed)


def rotation_beside_the_old_primary(world: World) -> None:
    """A worker that reaches the old primary only gives a session a new id there. The others go on with the new primary."""
    cookie, _ = sign_in(world)
    world.replicate()
    lonely = world.workers[OLD].client
    lonely.cut_sentinels, lonely.cut = {0, 1}, {world.replica.address}
    world.fail_over()
    world.sentinel_learns(1)
    world.advance(3.0)
    session = world.do(world.workers[OLD].load(cookie))
    just_read(world, world.workers[NEW])
    world.do(world.workers[OLD].manager.rotate(session, signs_in=True))
    check(not is_signed_in(world, NEW, cookie))


def _by_the_sentinels_alone(self: Agreement, epoch: int, primary: str, *, highest: int) -> bool:
    return epoch >= highest or self.known is not None


def _by_the_epoch_alone(self: Agreement, epoch: int, primary: str, *, highest: int) -> bool:
    return self.known is not None and epoch == self.known.epoch


def _at_sight() -> AbstractContextManager[Any]:
    read: Callable[[Agreement, Agreed, float], None] = Agreement.read

    def read_and_apply(self: Agreement, row: Agreed, began_at: float) -> None:
        read(self, row, began_at)
        self._is_applied = True
        self.on_change()

    return mock.patch.object(Agreement, "read", read_and_apply)


def _with_any_tail(self: Ends, glimpse: Glimpse) -> bool:
    return self._is_still_settled(glimpse)


def _in_any_store() -> AbstractContextManager[Any]:
    def glimpse(self: Ends, ref: SessionRef) -> Glimpse:
        return self._client.standing(self._store.key(ref)).glimpse

    return mock.patch.multiple(Ends, settled_glimpse=glimpse, is_seen_by_all=lambda self, glimpse: True)


async def _any_server(self: SentinelClient, primary: object) -> None:
    return None


def _whatever_it_holds() -> AbstractContextManager[Any]:
    look = Membership.look

    async def look_and_take(self: Membership, shard: str) -> str | None:
        return await look(self, shard) or "any"

    return mock.patch.object(Membership, "look", look_and_take)


def _over_a_believed_connection(self: Membership, shard: str) -> bool:
    return self._client.standing(shard).is_believed


STORIES = {
    "rule 13, the agreed primary only": Story(
        two_sets_of_sentinels, lambda: mock.patch.object(Agreement, "allows", _by_the_sentinels_alone)
    ),
    "rule 13, the primary and not only its epoch": Story(
        two_sets_with_one_epoch, lambda: mock.patch.object(Agreement, "allows", _by_the_epoch_alone)
    ),
    "rule 13, a read that began a lease later": Story(accepted_a_moment_ago, _at_sight),
    "rule 13, a fresh tail for an end": Story(
        end_with_a_stale_tail, lambda: mock.patch.object(Ends, "is_seen_by_all", _with_any_tail)
    ),
    "rule 13, the base outlives a restore": Story(
        database_restored_to_before_it, lambda: mock.patch.object(SentinelRow, "is_before", return_value=False)
    ),
    "rule 13, whose server it is": Story(
        a_name_that_leads_to_an_empty_server, lambda: mock.patch.object(SentinelClient, "examine", _any_server)
    ),
    "rule 13, a new primary holds the id": Story(sentinels_of_an_empty_server, _whatever_it_holds),
    "rule 13, no id for a primary that is not agreed": Story(
        sentinels_of_an_empty_server_without_a_database,
        lambda: mock.patch.object(Membership, "_may_write_back", _over_a_believed_connection),
    ),
    "a lease before a rotation is acknowledged": Story(rotation_beside_the_old_primary, _in_any_store),
}
