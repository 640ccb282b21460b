"""Letting requests that are still arriving arrive, before aiohttp shuts their connections.

aiohttp's shutdown waits for handlers but drops whatever comes in meanwhile: a handler that waits for the rest of its
request's body would wait until the shutdown's time is up, and fail. So bodies are let in first.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from ..insides import of_aiohttp

if TYPE_CHECKING:
    from aiohttp import web

POLL_SECONDS = 0.01


async def bodies_arrived(runner: web.ServerRunner, *, timeout_seconds: float) -> None:
    """Take no more connections, and wait until every request under way has its body, for so long at most.

    With an aiohttp whose insides we don't know it does not wait.
    """
    for site in list(runner.sites):
        await site.stop()
    server = runner.server
    if server is None or not of_aiohttp.is_known():
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            # aiohttp tells nobody when a body is complete; waiting for handlers would have no end under load.
            while any(of_aiohttp.awaits_body(connection) for connection in server.connections):  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)
