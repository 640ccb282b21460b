"""Redis loses everything, or is restored from an old disk, behind forward auth: who is signed in stays so, and nobody else is."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stateroom.drills.node import until
from stateroom.drills.postgres import Postgres

from .cases import FETCH, VISIT, Door
from .street import Street, built


@pytest.fixture
async def street(tmp_path: Path, own_postgres: Postgres) -> AsyncIterator[Street]:
    async with built(tmp_path, own_postgres) as made:
        yield made


async def outcomes(door: Door, cookie: str) -> set[str]:
    """Of a visit and of a call."""
    return {door.outcome(await door.ask(headers=kind | {"Cookie": cookie})) for kind in (VISIT, FETCH)}


async def sign_out(door: Door, cookie: str) -> None:
    assert (await door.own("/api/auth/logout", "POST", headers={"Cookie": cookie})).status == 200


async def restore(street: Street, copy: Path) -> None:
    """Start Redis with the files of an earlier moment."""
    await street.redis.kill()
    shutil.copy(copy, street.redis.folder / "dump.rdb")
    await street.redis.start()
    assert await street.redis.call("DBSIZE"), "Redis has read the copy"


@pytest.mark.timeout(180)
async def test_an_ended_session_stays_ended_at_every_proxy_when_the_store_is_lost(street: Street, tmp_path: Path) -> None:
    ended = {door.proxy: await door.sign_in() for door in street.doors}
    for door in street.doors:
        assert await outcomes(door, ended[door.proxy]) == {"passes"}
    await street.redis.call("SAVE")
    copy = tmp_path / "copy.rdb"
    shutil.copy(street.redis.folder / "dump.rdb", copy)
    late = {door.proxy: await door.sign_in() for door in street.doors}
    for door in street.doors:
        await sign_out(door, ended[door.proxy])

    async def is_right() -> bool:
        for door in street.doors:
            answers = [await door.ask(headers=kind | {"Cookie": ended[door.proxy]}) for kind in (VISIT, FETCH)]
            assert [answer.told for answer in answers] == [None, None], (door.proxy, "an ended session came back")
            if [answer.status for answer in answers] != [302, 401]:
                return False
            if await outcomes(door, door.cookie) | await outcomes(door, late[door.proxy]) != {"passes"}:
                return False
        return True

    await street.redis.call("FLUSHALL")
    await until(is_right, "all is right after the store was emptied")
    asking = asyncio.create_task(_ask_for(street, ended))
    await restore(street, copy)
    await until(is_right, "all is right after the store was restored")
    asking.cancel()
    assert [each for each in await asyncio.gather(asking, return_exceptions=True) if isinstance(each, AssertionError)] == []


async def _ask_for(street: Street, ended: dict[str, str]) -> None:
    """Ask with the ended sessions all the time."""
    while True:
        for door in street.doors:
            answer = await door.ask(headers=FETCH | {"Cookie": ended[door.proxy]})
            assert answer.told is None, (door.proxy, "an ended session came back")
