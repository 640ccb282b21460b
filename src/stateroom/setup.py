"""The library's composition root: sessions into an aiohttp application."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from . import __version__
from .backend.clients import make_client
from .sessions.cookie import KeyRing, load_keys
from .sessions.figures import Figures
from .sessions.guards import OriginCheck
from .sessions.housekeeping import Housekeeping
from .sessions.manager import SessionManager
from .sessions.metadata import ClientNotes
from .sessions.middleware import commit_on_prepare, session_middleware
from .sessions.proxies import Proxies
from .sessions.rows import EndsJournal, NoJournal
from .sessions.streams import Streams
from .sessions.transport import CookieJar
from .sessions.visit import SESSIONS, Frontend
from .settings import Settings
from .telemetry.loops import keep_going
from .telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from .backend.client import ClientFactory
    from .database import Database

CANCEL_AGAIN_SECONDS = 0.5

SETTINGS = web.AppKey("stateroom_settings", Settings)
METRICS = web.AppKey("stateroom_metrics", Metrics)
DATABASE: web.AppKey[Database] = web.AppKey("stateroom_database")
FRONTEND = web.AppKey("stateroom_frontend", Frontend)


def setup(app: web.Application, settings: Settings | None = None, *, client_factory: ClientFactory | None = None) -> None:
    """Give the application sessions: middleware, manager, and the stores they need while it runs.

    `settings`: from the environment where not given. `client_factory`: makes the Redis client in place of the one
    that `REDIS_MODE` names; it may return a `redis.asyncio.Redis`, a fake one too.
    Raises `SettingsError`.
    """
    settings = settings or Settings.load()
    metrics = Metrics(__version__)
    manager = SessionManager(settings, metrics, KeyRing(load_keys(settings), settings.session_name))
    proxies = Proxies(settings)
    streams = Streams(manager)
    figures = Figures(manager, metrics)
    frontend = Frontend(
        manager, CookieJar(settings, manager.opens), proxies, ClientNotes(proxies, settings.geoip_database), streams
    )
    app[SETTINGS] = settings
    app[METRICS] = metrics
    app[SESSIONS] = manager
    app[FRONTEND] = frontend
    if settings.has_database:
        from .database import Database

        app[DATABASE] = Database(settings)
    origin_check = OriginCheck(settings, frontend.proxies)
    app.middlewares.append(session_middleware(settings, frontend, origin_check))
    app.on_response_prepare.append(commit_on_prepare(origin_check))

    async def connections(app: web.Application) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            journal: EndsJournal = NoJournal()
            if settings.has_database:
                from .sessions.journal import Journal

                database = app[DATABASE]
                stack.push_async_callback(database.aclose)
                await database.prepare()
                journal = Journal(database)
            await frontend.notes.start()
            stack.callback(frontend.notes.close)
            client = await make_client(settings, client_factory, metrics=metrics)
            stack.push_async_callback(client.aclose)
            await client.start()
            stores = manager.attach(client, journal)
            stack.push_async_callback(streams.aclose)
            if journal.is_kept:
                stores.tail.listen(streams.hear)
                stack.push_async_callback(stores.covering.aclose)
                stack.push_async_callback(stores.tail.aclose)
                await stores.apply.check_fleet()
                await stack.enter_async_context(_running(stores.tail.run, "journal tail", metrics))
                await stack.enter_async_context(_running(stores.apply.run, "journal apply", metrics))
            await stack.enter_async_context(_running(Housekeeping(manager, streams, figures).run, "housekeeping", metrics))
            if metrics.is_shared:
                await stack.enter_async_context(_running(figures.keep_fresh, "figures", metrics))
            yield

    app.cleanup_ctx.append(connections)


@contextlib.asynccontextmanager
async def _running(loop: Callable[[], Awaitable[None]], name: str, metrics: Metrics) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_going(loop, name, metrics), name=f"stateroom {name}")
    try:
        yield
    finally:
        while not task.done():  # redis-py swallows a cancellation now and then
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_AGAIN_SECONDS)
