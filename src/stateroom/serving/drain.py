"""Waits for the bodies of running requests before aiohttp shuts down.

aiohttp's shutdown waits for handlers, but it drops data that arrives meanwhile. A handler that waits for the rest of its
request's body would wait until the shutdown's time is up, and then fail. So we wait for the bodies first.
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
    """Accept no more connections, and wait until every running request has its whole body, at most `timeout_seconds`.

    With an aiohttp whose insides we do not know, it does not wait.
    """
    for site in list(runner.sites):
        await site.stop()
    server = runner.server
    if server is None or not of_aiohttp.is_known():
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            # aiohttp has no event for a complete body. Under load, waiting for all handlers would never end.
            while any(of_aiohttp.awaits_body(connection) for connection in server.connections):  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)
