"""Users whom a restored database lacks: over fakes, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest

from stateroom.sessions.model.identity import UserId
from stateroom.sessions.protocol.unknown_users import FEW, SECOND_LOOK_SECONDS, UnknownUsers

from ..virtual import Clock
from .fleet import FakeFleet, Worker, fake_fleet, is_trusted

pytestmark = pytest.mark.virtual_time
RESTORE_SECONDS = 300.0
TURN_SECONDS = 5.0


@pytest.fixture
async def fleet(clock: Clock) -> AsyncIterator[FakeFleet]:
    async with fake_fleet() as made:
        yield made


class Hunt:
    """The hunt of one worker. `there`: who has an account. `asked`: how many times the whole store was looked through."""

    def __init__(self, worker: Worker, there: set[UserId]) -> None:
        self.there = there
        self.asked = 0
        self._worker = worker
        self._list = worker.store.users
        worker.store.users = self._counted  # type: ignore[method-assign]
        parts = worker.parts
        self._hunt = UnknownUsers(
            journal=parts.journal, tail=parts.tail, store=parts.store, ends=parts.ends, known_users=self._known,
            least_seconds=RESTORE_SECONDS,
        )  # fmt: skip

    async def _counted(self) -> set[str]:
        self.asked += 1
        return await self._list()

    async def _known(self, users: Collection[UserId]) -> Collection[UserId]:
        return self.there & set(users)

    def report(self, user: str) -> None:
        self._hunt.report(user)

    async def turns(self, seconds: float) -> None:
        """Turns of the loop, one after the other, for so long."""
        for _ in range(int(seconds / TURN_SECONDS)):
            await self._worker.tail.catch_up()
            await self._hunt.turn(sweeps=True)
            await asyncio.sleep(TURN_SECONDS)


async def restored(fleet: FakeFleet, worker: Worker) -> None:
    fleet.table.deployment = fleet.table.deployment._replace(restored="word")
    await worker.tail.catch_up()
    assert worker.tail.restored == "word"


async def test_an_unknown_user_is_ended_at_the_second_look_and_nobody_else(fleet: FakeFleet) -> None:
    worker = await fleet.join()
    (_, ada), (_, bob) = await worker.sign_in("ada"), await worker.sign_in("bob")
    await restored(fleet, worker)
    hunt = Hunt(worker, {"bob"})
    await hunt.turns(SECOND_LOOK_SECONDS - TURN_SECONDS)
    assert await worker.store.users() == {"sada", "sbob"}
    await hunt.turns(3 * TURN_SECONDS)
    await worker.tail.catch_up()
    assert await worker.store.users() == {"sbob"}
    assert not is_trusted(await worker.manager.load(ada))
    assert is_trusted(await worker.manager.load(bob))


async def test_a_user_who_is_known_at_the_second_look_stays(fleet: FakeFleet) -> None:
    worker = await fleet.join()
    await worker.sign_in("ada")
    await restored(fleet, worker)
    hunt = Hunt(worker, set())
    await hunt.turns(SECOND_LOOK_SECONDS / 2)
    hunt.there = {"ada"}
    await hunt.turns(SECOND_LOOK_SECONDS)
    assert await worker.store.users() == {"sada"}


async def test_many_unknown_users_are_a_wrong_database_and_nobody_is_ended(fleet: FakeFleet) -> None:
    worker = await fleet.join()
    for number in range(FEW + 1):
        await worker.sign_in(f"user-{number}")
    await restored(fleet, worker)
    await Hunt(worker, set()).turns(3 * SECOND_LOOK_SECONDS)
    assert len(await worker.store.users()) == FEW + 1
    assert worker.tail.restored == "word"


async def test_the_store_is_looked_through_once_a_look_until_nothing_can_be_restored_any_more(fleet: FakeFleet) -> None:
    worker = await fleet.join()
    await worker.sign_in("ada")
    await restored(fleet, worker)
    hunt = Hunt(worker, {"ada"})
    await hunt.turns(RESTORE_SECONDS)
    assert hunt.asked == RESTORE_SECONDS / SECOND_LOOK_SECONDS
    assert worker.tail.restored is not None
    await hunt.turns(3 * SECOND_LOOK_SECONDS)
    assert fleet.table.deployment.restored is None
    assert hunt.asked <= RESTORE_SECONDS / SECOND_LOOK_SECONDS + 3


async def test_a_user_whom_the_application_did_not_find_is_ended_without_a_restore(fleet: FakeFleet) -> None:
    worker = await fleet.join()
    (_, ada), _ = await worker.sign_in("ada"), await worker.sign_in("bob")
    hunt = Hunt(worker, {"bob"})
    hunt.report("sada")
    await hunt.turns(SECOND_LOOK_SECONDS - TURN_SECONDS)
    assert is_trusted(await worker.manager.load(ada))
    await hunt.turns(3 * TURN_SECONDS)
    await worker.tail.catch_up()
    assert not is_trusted(await worker.manager.load(ada))
    assert hunt.asked == 0
