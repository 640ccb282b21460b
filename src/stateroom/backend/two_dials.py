"""Two dials to one server: Redis counts as unavailable only if both fail.

One dial may fail although the server is well: its SYN was lost, or the server has just restarted. The second dial starts when
the first has failed or is slow. So two dials take little longer than one, and callers wait little longer for the breaker.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    Dial = Callable[[], Awaitable[AbstractConnection]]

SECOND_DIAL_SECONDS = 0.1
"""How long the first dial may take before the second one starts."""


async def first_of_two(dial: Dial) -> AbstractConnection:
    """Return the connection that was made first. If both dials fail, raise the first one's error. Close what is not returned."""
    dials = {asyncio.ensure_future(dial())}
    (first,) = dials
    connection = None
    try:
        await asyncio.wait(dials, timeout=SECOND_DIAL_SECONDS)
        if not has_succeeded(first):
            dials.add(asyncio.ensure_future(dial()))
            pending = dials
            while pending and not any(map(has_succeeded, dials)):
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        best = next(filter(has_succeeded, dials), first)
        connection = best.result()
        dials.discard(best)
        return connection
    finally:
        ending = asyncio.gather(*map(end_dial, dials))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            if connection is not None:
                await close_quietly(connection)
            await ending
            raise


async def close_quietly(connection: AbstractConnection) -> None:
    """Close a connection that may be broken."""
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        await connection.disconnect(nowait=True)


def has_succeeded(dial: asyncio.Future[AbstractConnection]) -> bool:
    """Whether a dial has ended with a connection. If it failed, its error counts as read."""
    return dial.done() and not dial.cancelled() and dial.exception() is None


async def end_dial(dial: asyncio.Future[AbstractConnection]) -> None:
    """End a dial, and close its connection. redis-py may swallow the cancellation, and connect."""
    dial.cancel()
    await asyncio.wait([dial])
    if has_succeeded(dial):
        await close_quietly(dial.result())
