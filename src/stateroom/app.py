"""Builds the service as one application: the library, accounts, the API, the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from . import METRICS, SESSIONS, Settings, SettingsError
from .accounts import ACCOUNTS, Accounts
from .accounts.stored import look_at_stored
from .api import auth, forward, health, metrics, openapi, profile, reference, sessions
from .api.bodies import MAX_BODY_BYTES
from .api.cors import cors_middleware
from .api.health import READINESS, Readiness
from .api.problems import problems_middleware
from .api.security_headers import security_headers, set_on_prepare
from .ready import CommonLines
from .setup import CLIENT, DATABASE, install
from .telemetry.requests import telemetry_middleware
from .web.pages import setup_pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from .backend.client import ClientFactory
    from .sessions.model.identity import UserId


def make_app(
    settings: Settings | None = None, *, client_factory: ClientFactory | None = None, hashing_threads: int | None = None
) -> web.Application:
    """Make the whole service as one application. Raises `SettingsError`.

    `settings`: from the environment by default. `client_factory`: makes the Redis client in place of the settings.
    `hashing_threads`: how many passwords may be hashed at once. The default is the number of cores less one.
    """
    settings = settings or Settings.load()
    if not settings.has_database:
        raise SettingsError(
            "DATABASE_URL=none is for library use, and the service needs a user database; unset it, or name a database"
        )
    app = web.Application(client_max_size=MAX_BODY_BYTES)

    async def known_users(ids: Collection[UserId]) -> Collection[UserId]:
        return await app[ACCOUNTS].users.known(ids)

    install(app, settings, client_factory=client_factory, known_users=known_users, origin_exempt=forward.HANDLERS)
    headers = security_headers(settings)
    app.on_response_prepare.append(set_on_prepare(headers))
    common = CommonLines(headers, stands_for=app.on_response_prepare)
    app.on_startup.append(common.serve)
    outer = [telemetry_middleware(settings, app[METRICS], common)]
    if settings.cors_origins:
        outer.append(cors_middleware(settings))
    outer.append(problems_middleware(setup_pages(app)))
    app.middlewares[:0] = outer
    app[ACCOUNTS] = Accounts(
        settings,
        app[DATABASE],
        app[CLIENT],
        app[METRICS],
        report_unknown=app[SESSIONS].report_unknown,
        hashing_threads=hashing_threads,
    )
    app[READINESS] = Readiness()
    app.cleanup_ctx.append(_accounts)
    for route in api_routes():
        route.register(app.router)
    app[openapi.DOCUMENT] = openapi.document(api_routes(), settings)
    return app


def api_routes() -> list[web.AbstractRouteDef]:
    """All routes of the service for programs. `page_routes` has those for browsers."""
    return [route for each in (auth, profile, sessions, health, forward, metrics, openapi, reference) for route in each.routes]


def make_metrics_app(service: web.Application) -> web.Application:
    """Make the application for `METRICS_HOST` and `METRICS_PORT`. It serves only the service's metrics."""
    app = web.Application()
    app[METRICS] = service[METRICS]
    app.router.add_get("/metrics", metrics.metrics)
    return app


async def _accounts(app: web.Application) -> AsyncIterator[None]:
    accounts = app[ACCOUNTS]
    await look_at_stored(accounts, app[SESSIONS])
    yield
    await accounts.aclose()
