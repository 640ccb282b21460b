"""Without a database ends are as durable as Redis is; everything else is as with one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from stateroom import SESSIONS, SessionManager, setup, testing


@pytest.fixture
async def manager() -> AsyncIterator[SessionManager]:
    app = web.Application()
    setup(app, testing.settings(), client_factory=testing.fake_redis)
    app.freeze()
    await app.startup()
    yield app[SESSIONS]
    await app.cleanup()


async def test_a_rotated_session_goes_on_and_its_old_value_is_dead(manager: SessionManager) -> None:
    session = await manager.create(7, data={"cart": 1})
    old = manager.seal(session)
    await manager.rotate(session)
    loaded = await manager.load(manager.seal(session))
    assert (loaded.user_id, dict(loaded)) == (7, {"cart": 1})
    assert (await manager.load(old)).ended == "rotated"


async def test_all_others_end_and_the_session_that_asked_goes_on(manager: SessionManager) -> None:
    mine, other = await manager.create(7), await manager.create(7)
    value = manager.seal(other)
    assert await manager.revoke_all(7, keep=mine) == 1
    assert (await manager.load(manager.seal(mine))).user_id == 7
    assert not (await manager.load(value)).is_signed_in


async def test_a_logout_with_the_id_from_before_a_rotation_ends_what_it_became(manager: SessionManager) -> None:
    session = await manager.create(7)
    before = await manager.load(manager.seal(session))
    await manager.rotate(session)
    await manager.end(before)
    assert (await manager.load(manager.seal(session))).ended == "logout"


async def test_of_two_rotations_of_a_session_the_second_finds_it_ended(manager: SessionManager) -> None:
    session = await manager.create(7)
    parallel = await manager.load(manager.seal(session))
    await manager.rotate(session)
    with pytest.raises(Exception, match="rotated"):
        await manager.rotate(parallel)
    assert (await manager.load(manager.seal(session))).user_id == 7
