"""Builds the service as one application: the library, accounts, the API, the pages."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from . import METRICS, SESSIONS, Settings, SettingsError
from .accounts import (
    ACCESS,
    ACCOUNTS,
    ASSERTIONS,
    OPERATORS,
    PROOFS,
    REGISTRATION,
    Access,
    Accounts,
    Assertions,
    Operators,
    Proofs,
    Registration,
)
from .accounts.mail.composing import Composer
from .accounts.mail.outbox import Outbox
from .accounts.mail.post import MAIL, Post
from .accounts.mail_tokens import MailTokens
from .api import auth, email, forward, health, index, keys, metrics, openapi, profile, recovery, reference, sessions
from .api.bodies import MAX_BODY_BYTES
from .api.cors import cors_middleware
from .api.health import READINESS, Readiness
from .api.mounts import MOUNTS, Mounts
from .api.problems import problems_middleware
from .api.security_headers import security_headers, set_on_prepare
from .api.verified import verification_middleware
from .errors import Conflict, Unavailable
from .logs import get_logger
from .ready import CommonLines
from .setup import CLIENT, DATABASE, FILES, PARTS, SETTINGS, install
from .telemetry.loops import kept_running
from .telemetry.requests import telemetry_middleware
from .web.pages import page_routes, setup_pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping
    from types import ModuleType

    from .api.mounts import Callers
    from .backend.client import ClientFactory
    from .sessions.model.identity import UserId


log = get_logger(__name__)

SESSIONS_OF_A_USER = 100
"""The service's `SESSION_MAX_PER_USER`. The library has no limit by default, because its users know their application."""
RETRY_SECONDS = 1.0

_PARTS = (auth, email, recovery, profile, sessions, index, health, keys, forward, metrics, openapi, reference)
_CALLERS: Mapping[ModuleType, Callers] = {health: "monitoring", metrics: "monitoring", forward: "proxies"}
"""Who calls these parts. Browsers call all others."""


def make_app(
    settings: Settings | None = None,
    *,
    client_factory: ClientFactory | None = None,
    hashing_threads: int | None = None,
    sends_mail: bool = True,
    manages_demo_account: bool = True,
    has_access_rules: bool = True,
) -> web.Application:
    """Make the whole service as one application. Raises `SettingsError`.

    `settings`: from the environment by default. `client_factory`: makes the Redis client in place of the settings.
    `hashing_threads`: how many passwords may be hashed at once. The default is the number of cores less one.
    `sends_mail`: whether this process sends the mails that wait. If not, its own mails wait for a process that does.
    `manages_demo_account`: whether this process makes, unlocks or locks the demo account, as its settings require. A command that
    does something else must not.
    `has_access_rules`: whether the access rules are read. A command that does not ask them must not stop if their file is invalid.
    """
    settings = settings or Settings.load()
    if "session_max_per_user" not in settings.model_fields_set:
        settings = settings.model_copy(update={"session_max_per_user": SESSIONS_OF_A_USER})
    if not settings.has_database:
        raise SettingsError(
            "DATABASE_URL=none is for library use, and the service needs a user database; unset it, or name a database"
        )
    app = web.Application(client_max_size=MAX_BODY_BYTES)

    async def known_users(ids: Collection[UserId]) -> Collection[UserId]:
        return await app[ACCOUNTS].users.known(ids)

    install(app, settings, client_factory=client_factory, known_users=known_users, origin_exempt=forward.HANDLERS)
    mounts = app[MOUNTS] = Mounts(settings.public_path)
    headers = security_headers(settings)
    app.on_response_prepare.append(set_on_prepare(headers))
    common = CommonLines(headers, stands_for=app.on_response_prepare)
    app.on_startup.append(common.serve)
    outer = [telemetry_middleware(settings, app[METRICS], common, mounts.labels)]
    if settings.cors_origins:
        outer.append(cors_middleware(settings, exempt=forward.HANDLERS))
    outer.append(problems_middleware(setup_pages(app)))
    app.middlewares[:0] = outer
    if settings.email_verification == "required":
        app.middlewares.append(verification_middleware())
    _add_accounts(app, settings, hashing_threads)
    if has_access_rules:
        _add_access(app, settings)
    app[READINESS] = Readiness()
    app.cleanup_ctx.append(_accounts if manages_demo_account else _accounts_of_a_command)
    if settings.has_mail and sends_mail:
        app.cleanup_ctx.append(_mail)
    mounts.register(app.router, page_routes(), callers="browsers")
    for part in _PARTS:
        mounts.register(app.router, part.routes, callers=_CALLERS.get(part, "browsers"))
    app[openapi.DOCUMENT] = openapi.document(api_routes(), settings)
    return app


def _add_accounts(app: web.Application, settings: Settings, hashing_threads: int | None) -> None:
    manager = app[SESSIONS]
    database = manager.own(app[DATABASE])
    outbox = Outbox(database)
    tokens = MailTokens(database, manager.deployment, lambda: manager.derive_key("mail tokens"))
    accounts = app[ACCOUNTS] = Accounts(
        settings,
        database,
        app[CLIENT],
        app[METRICS],
        outbox,
        report_unknown=manager.report_unknown,
        hashing_threads=hashing_threads,
    )
    app[REGISTRATION] = Registration(settings, accounts, outbox, tokens)
    app[PROOFS] = Proofs(settings, accounts, outbox, tokens, app[CLIENT])
    composer = Composer(settings, accounts.users, tokens)
    app[OPERATORS] = Operators(settings, accounts, manager, outbox, tokens, composer=composer)
    access_tokens = app[PARTS].access_tokens
    app[ASSERTIONS] = Assertions(settings, manager.clock, lambda: access_tokens.keys if access_tokens is not None else ())
    if settings.has_mail:
        app[MAIL] = Post(settings, database, outbox, app[METRICS], compose=composer.compose)


def _add_access(app: web.Application, settings: Settings) -> None:
    access = app[ACCESS] = Access(settings)
    app[FILES].on_change("access_rules_file", access.read_again)
    app[forward.DOORKEEPER] = forward.Doorkeeper(app)


def api_routes() -> list[web.AbstractRouteDef]:
    """All routes of the service for programs. `page_routes` has those for browsers."""
    return [route for each in _PARTS for route in each.routes]


def make_metrics_app(service: web.Application) -> web.Application:
    """Make the application for `METRICS_HOST` and `METRICS_PORT`. It serves only the service's metrics."""
    app = web.Application()
    app[METRICS] = service[METRICS]
    app[SETTINGS] = service[SETTINGS]
    app.router.add_get("/metrics", metrics.own_metrics)
    return app


async def _accounts(app: web.Application) -> AsyncIterator[None]:
    late: asyncio.Task[None] | None = None
    try:
        await _prepare_accounts(app)
    except Unavailable:  # the service also starts without its user database
        late = asyncio.create_task(_prepare_later(app), name="stateroom accounts")
    yield
    if late is not None:
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
    await app[ACCOUNTS].aclose()


async def _accounts_of_a_command(app: web.Application) -> AsyncIterator[None]:
    """Check the stored passwords. A command changes only what it is for, and it says itself if the user database is unavailable."""
    with contextlib.suppress(Unavailable):
        await app[ACCOUNTS].survey()
    yield
    await app[ACCOUNTS].aclose()


async def _mail(app: web.Application) -> AsyncIterator[None]:
    post = app[MAIL]
    post.prepare()
    async with kept_running(post.sender.run, "mail", app[METRICS]):
        yield


async def _prepare_accounts(app: web.Application) -> None:
    """Check the stored passwords and the demo user. Raises `SettingsError`, `Unavailable`."""
    accounts, manager = app[ACCOUNTS], app[SESSIONS]
    await accounts.survey()
    if manager.settings.has_demo_user:
        await accounts.demo.ensure()
    elif (found := await accounts.demo.to_lock()) is not None:
        user, lock = found
        with contextlib.suppress(Conflict):  # another process has locked it, or its owner has changed the password
            await manager.revoke_all(user.id, reason="disabled", in_transaction=lock)
            log.warning(
                "demo_account_locked",
                email=user.email,
                fix="none needed: it works only with the embedded server and a loopback HOST",
            )


async def _prepare_later(app: web.Application) -> None:
    while True:
        await asyncio.sleep(RETRY_SECONDS)
        try:
            await _prepare_accounts(app)
        except Unavailable:
            continue
        except SettingsError as error:  # too late to stop startup
            log.error("wrong_setting", reason=str(error))
        return
