"""The library's composition root: sessions into an aiohttp application.

Everything is built when `setup` is called, and everything is started in `_run`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aiohttp import web

from . import __version__
from .backend.client import RedisClient
from .backend.clients import make_client
from .errors import DatabaseUnavailable
from .request.applications import inner_applications
from .request.client_info import ClientInfo
from .request.guards import OriginCheck
from .request.housekeeping import Housekeeping
from .request.middleware import commit_on_prepare, session_middleware
from .request.proxies import Proxies
from .request.request_session import FRONTEND, SESSIONS, Frontend
from .request.streams import Streams
from .request.transport import CookieJar
from .sessions.adoption import Adoption
from .sessions.figures import Figures
from .sessions.journal.interface import EndsJournal, NoJournal
from .sessions.manager import SessionManager
from .sessions.sealing.key_ring import load_keys
from .sessions.sealing.token_keys import load_token_keys
from .sessions.upkeep import Upkeep
from .sessions.watch import SessionWatch
from .sessions.wiring import Parts, wire
from .settings import Settings, SettingsFiles
from .telemetry.loops import kept_running
from .telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from .backend.client import ClientFactory
    from .database import Database
    from .sessions.protocol.unknown_users import KnownUsers

SETTINGS = web.AppKey("stateroom_settings", Settings)
FILES = web.AppKey("stateroom_files", SettingsFiles)
METRICS = web.AppKey("stateroom_metrics", Metrics)
CLIENT: web.AppKey[RedisClient] = web.AppKey("stateroom_client")
DATABASE: web.AppKey[Database] = web.AppKey("stateroom_database")
PARTS = web.AppKey("stateroom_parts", Parts)
PROXIES = web.AppKey("stateroom_proxies", Proxies)


def setup(
    app: web.Application,
    settings: Settings | None = None,
    *,
    client_factory: ClientFactory | None = None,
    known_users: KnownUsers | None = None,
) -> None:
    """Give the application sessions: middleware, manager, and the stores they need while it runs.

    `settings`: default: those of the environment. `client_factory`: a plain function that gets the settings and returns the
    Redis client, a `redis.asyncio.Redis`. Default: the client that `REDIS_MODE` names.
    `known_users`: an async function that gets user ids and returns those that the application's table of users has. After a
    restore of the user database from a backup, sessions of unknown users are ended with the reason `unknown-user`. Without
    this function no session is ended for this reason.
    The application's sub-applications have the same sessions. Call it once, before the application starts and before it is
    added to another. Raises `SettingsError`, and `RuntimeError` if it was called for this application before, or too late.
    """
    install(app, settings, client_factory=client_factory, known_users=known_users)


def install(
    app: web.Application,
    settings: Settings | None = None,
    *,
    client_factory: ClientFactory | None = None,
    known_users: KnownUsers | None = None,
    origin_exempt: Collection[Callable[..., Any]] = (),
) -> None:
    """`setup`, for an application that has handlers which must not check the request's origin: forward auth."""
    if FRONTEND in app:
        raise RuntimeError("stateroom.setup was called for this application before: call it once")
    if app.pre_frozen:
        raise RuntimeError("stateroom.setup was called too late: call it before the application starts or is added to another")
    settings = settings or Settings.load()
    metrics = Metrics(__version__)
    files = SettingsFiles(settings)
    client = make_client(settings, client_factory, metrics=metrics, files=files)
    journal: EndsJournal = NoJournal()
    if settings.has_database:
        from .database import Database
        from .sessions.journal.sql import Journal

        app[DATABASE] = Database(settings)
        files.on_change("database_url", app[DATABASE].take_url)
        journal = Journal(app[DATABASE], settings.longest_session_ms)
    parts = wire(settings, metrics, client, journal, known_users)
    manager = SessionManager(parts)
    files.on_change("metrics_token", lambda _: None)  # whoever checks a token looks at `files.settings`
    files.on_change("cookie_keys", lambda now: manager.replace_keys(load_keys(now)))
    if parts.access_tokens is not None:
        files.on_change("jwt_keys", lambda now: manager.replace_token_keys(load_token_keys(now)))
    proxies = Proxies(settings)
    frontend = Frontend(
        manager=manager,
        jar=CookieJar(settings, manager.opens, proxies),
        proxies=proxies,
        client_info=ClientInfo(proxies, settings.geoip_database),
        streams=Streams(SessionWatch(parts), parts.clock),
        adoption=Adoption(parts),
        renew_ms=parts.saver.renew_ms,
    )
    app[SETTINGS] = settings
    app[FILES] = files
    app[METRICS] = metrics
    app[CLIENT] = client
    app[PARTS] = parts
    app[SESSIONS] = manager
    app[FRONTEND] = frontend
    app[PROXIES] = proxies
    origin_check = OriginCheck(settings, proxies, origin_exempt)
    app.middlewares.append(session_middleware(settings, frontend, origin_check))
    app.on_response_prepare.append(commit_on_prepare(origin_check))
    figures = Figures(parts)
    housekeeping = Housekeeping(Upkeep(parts), frontend.streams, figures)

    async def running(app: web.Application) -> AsyncIterator[None]:
        if any(FRONTEND in inner for inner in inner_applications(app)):  # two middlewares would load and save each request
            raise RuntimeError(
                "stateroom.setup was called for an application and for one inside it: call it for the outer one only, which gives "
                "its sub-applications sessions too"
            )
        async with contextlib.AsyncExitStack() as stack:
            await _run(stack, parts, frontend, database=app.get(DATABASE), housekeeping=housekeeping, figures=figures)
            await stack.enter_async_context(kept_running(files.watch, "settings files", metrics))
            yield

    app.cleanup_ctx.append(running)


async def _run(
    stack: contextlib.AsyncExitStack,
    parts: Parts,
    frontend: Frontend,
    *,
    database: Database | None,
    housekeeping: Housekeeping,
    figures: Figures,
) -> None:
    """Connect the stores and start every task. The stack ends them in reverse order."""
    metrics = parts.metrics
    if database is not None:
        stack.push_async_callback(database.aclose)
        await database.prepare()
        agreed = await parts.membership.ask_database()
        if agreed is not None:
            parts.sentinel_keeper.learn(agreed)
    await frontend.client_info.start()
    stack.callback(frontend.client_info.close)
    stack.push_async_callback(parts.client.aclose)
    await parts.client.start()
    await parts.membership.ask_redis()
    stack.push_async_callback(frontend.streams.aclose)
    if parts.journal.has_journal:
        parts.tail.listen(frontend.streams.hear)
        stack.push_async_callback(parts.lookup.aclose)
        stack.push_async_callback(parts.tail.aclose)
        await stack.enter_async_context(kept_running(parts.tail.run, "journal tail", metrics))
        await stack.enter_async_context(kept_running(parts.replay.run, "journal replay", metrics))
        await stack.enter_async_context(kept_running(parts.epochs.run, "epochs", metrics))
        if parts.sentinel_keeper.has_sentinels:
            await stack.enter_async_context(kept_running(parts.sentinel_keeper.run, "sentinel row", metrics))
        with contextlib.suppress(DatabaseUnavailable):  # without Redis, the first request needs what has been read
            await parts.tail.catch_up_if_there()
    await stack.enter_async_context(kept_running(housekeeping.run, "housekeeping", metrics))
    if metrics.is_shared:
        await stack.enter_async_context(kept_running(figures.keep_fresh, "figures", metrics))
