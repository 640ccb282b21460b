"""The pool by itself: a drop, a close and a caller that gives up, while a connection is made."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stateroom.backend.pool import Pool
from stateroom.backend.two_dials import first_of_two
from stateroom.errors import StoreUnavailable
from stateroom.telemetry.metrics import Metrics


class Stub:
    """A connection that leads to `server`, and knows whether it was closed."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.is_closed = False

    async def disconnect(self, *, nowait: bool) -> None:
        self.is_closed = True


class Dials:
    """Each dial leads to the `server` of its start, and ends when `may_end` is set."""

    def __init__(self) -> None:
        self.server = "a"
        self.may_end = asyncio.Event()
        self.begun = asyncio.Event()
        self.made: list[Stub] = []
        self.running = 0

    async def __call__(self) -> Any:
        server = self.server
        self.running += 1
        self.begun.set()
        try:
            await self.may_end.wait()
        finally:
            self.running -= 1
        self.made.append(Stub(server))
        return self.made[-1]


def pool_of(dials: Dials, wait_timeout: float = 30.0) -> Pool:
    return Pool(dials, Metrics(), size=2, min_idle=1, wait_timeout=wait_timeout)


async def server_of(pool: Pool) -> str:
    async with pool.connection() as connection:
        stub: Any = connection
        return str(stub.server)


async def switch(dials: Dials, pool: Pool) -> None:
    """The primary changes while one dial runs."""
    await dials.begun.wait()
    dials.server = "b"
    pool.drop()
    dials.may_end.set()


async def test_a_connection_whose_dial_began_before_a_drop_is_not_lent() -> None:
    dials = Dials()
    pool = pool_of(dials)
    using = asyncio.create_task(server_of(pool))
    await switch(dials, pool)
    assert await using == "b"
    assert pool.figures().idle == 1
    assert all(stub.is_closed for stub in dials.made if stub.server == "a")
    await pool.aclose()


async def test_a_connection_is_not_lent_if_the_drop_comes_in_the_step_after_its_dial() -> None:
    dials = Dials()
    pool = pool_of(dials)
    using = asyncio.create_task(server_of(pool))
    await dials.begun.wait()
    dials.may_end.set()
    while not dials.made:
        await asyncio.sleep(0)
    dials.server = "b"
    pool.drop()
    assert await using == "b"
    await pool.aclose()
    assert all(stub.is_closed for stub in dials.made)


async def test_a_dial_that_its_caller_left_is_not_kept_after_a_drop() -> None:
    dials = Dials()
    pool = pool_of(dials)
    using = asyncio.create_task(server_of(pool))
    await dials.begun.wait()
    using.cancel()
    await asyncio.wait([using])
    await switch(dials, pool)
    assert await server_of(pool) == "b"
    await pool.aclose()
    assert all(stub.is_closed for stub in dials.made)


async def test_warming_keeps_no_connection_from_before_a_drop() -> None:
    dials = Dials()
    pool = pool_of(dials)
    warming = asyncio.create_task(pool.warm())
    await switch(dials, pool)
    await warming
    assert pool.figures().idle == 1
    assert [stub.server for stub in dials.made if not stub.is_closed] == ["b"]
    await pool.aclose()


async def test_a_close_ends_the_dial_that_a_caller_waits_for() -> None:
    dials = Dials()
    pool = pool_of(dials)
    using = asyncio.create_task(server_of(pool))
    await dials.begun.wait()
    await pool.aclose()
    assert dials.running == 0
    with pytest.raises(StoreUnavailable) as fault:
        await using
    assert fault.value.kind == "closed"


async def test_a_dial_that_takes_too_long_for_its_caller_serves_the_next_one() -> None:
    dials = Dials()
    pool = pool_of(dials, wait_timeout=0.1)
    with pytest.raises(TimeoutError):
        await server_of(pool)
    dials.may_end.set()
    while not pool.figures().idle:
        await asyncio.sleep(0)
    assert len(dials.made) == 1
    await pool.aclose()
    assert dials.made[0].is_closed


async def test_two_dials_that_are_cancelled_while_the_slower_one_ends_leave_no_connection() -> None:
    slow_is_ending, slow_may_end = asyncio.Event(), asyncio.Event()
    made: list[Stub] = []
    begun = 0

    async def dial() -> Any:
        nonlocal begun
        begun += 1
        if begun == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:  # As redis-py may do.
                slow_is_ending.set()
                await slow_may_end.wait()
        made.append(Stub("a"))
        return made[-1]

    dialling = asyncio.create_task(first_of_two(dial))
    await slow_is_ending.wait()
    dialling.cancel()
    await asyncio.sleep(0)
    slow_may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await dialling
    assert [stub.is_closed for stub in made] == [True, True]
