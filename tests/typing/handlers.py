"""An application's handlers: mypy and basedpyright check their use of `stateroom`. This file is never run."""

from __future__ import annotations

from typing import Any, Literal, assert_type

from aiohttp import web
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncConnection

import stateroom


def make_app() -> web.Application:
    app = web.Application()
    stateroom.setup(app)
    stateroom.setup(app, stateroom.Settings(session_max_age=60))
    assert_type(stateroom.Settings.load(), stateroom.Settings)
    stateroom.carry_over(app, redis_url="redis://127.0.0.1/1", user_key="user_id", cookie_name="AIOHTTP_SESSION")
    assert_type(app[stateroom.SESSIONS], stateroom.SessionManager)
    assert_type(app[stateroom.METRICS].registry, CollectorRegistry)
    app.router.add_post("/login", login)
    app.router.add_get("/account", account)
    app.router.add_view("/view", View)
    return app


async def login(request: web.Request) -> web.Response:
    assert_type(stateroom.get_session(request), stateroom.Session)
    generation = await request.config_dict[stateroom.SESSIONS].generation(7)
    session = await stateroom.sign_in(request, 7, remember=True, transport="bearer", generation=generation)
    assert_type(session, stateroom.Session)
    assert_type(await stateroom.sign_in(request, "ada"), stateroom.Session)
    assert_type(stateroom.bearer_value(request), str)
    token = stateroom.access_token(request)
    assert_type(token, stateroom.AccessToken)
    assert_type(token.value, str)
    assert_type(token.expires_in, int)
    return web.json_response({"token": token.value})


async def logout(request: web.Request) -> web.Response:
    assert_type(await stateroom.reauthenticate(request), stateroom.Session)
    assert_type(await stateroom.revoke_others(request, reason="password", in_transaction=change_password), int | None)
    await stateroom.sign_out(request)
    return web.Response(status=204)


async def change_password(connection: AsyncConnection) -> None:
    """A write in the transaction that ends the other sessions."""


@stateroom.require_auth
async def account(request: web.Request) -> web.Response:
    return web.Response(text=stateroom.client_address(request) or "")


@stateroom.require_auth(fresh=300, degraded=False, access_token=False)
async def transfer(request: web.Request) -> web.StreamResponse:
    stateroom.check_auth(request, fresh=60.0, degraded=False, access_token=False)
    return web.StreamResponse()


@stateroom.background
async def poll(request: web.Request) -> web.Response:
    stateroom.keep_cookie(request)
    stateroom.renew_cookie(request)
    return web.Response()


class View(web.View):
    @stateroom.require_auth
    async def get(self) -> web.Response:
        return web.Response()


async def decorated_handlers_keep_their_types(request: web.Request) -> None:
    assert_type(await account(request), web.Response)
    assert_type(await transfer(request), web.StreamResponse)
    assert_type(await poll(request), web.Response)


async def messages(session: stateroom.Session) -> None:
    stateroom.flash(session, "success", "Added.")
    assert_type(await stateroom.take_flashes(session), dict[str, str])
    assert_type(stateroom.FLASH_KINDS, tuple[Literal["success", "error", "warning", "info"], ...])
    for kind in stateroom.FLASH_KINDS:
        stateroom.flash(session, kind, "each kind fits")


def what_is_known_of_the_client(request: web.Request) -> None:
    assert_type(stateroom.client_address(request), str | None)
    assert_type(stateroom.kept_address(request), str)
    assert_type(stateroom.browser_origin(request), str)
    assert_type(stateroom.forwarded(request, "X-Request-Id"), str)
    assert_type(stateroom.is_forwarded(request), bool)
    assert_type(stateroom.is_bearer(request), bool)
    stateroom.security_event("export", user_id=7, count=3)


async def sign_in_page(request: web.Request) -> web.Response:
    answer = web.Response()
    if (loss := stateroom.cookie_fate.lost_here(request)) is not None:
        assert_type(loss.fix, str)
    assert_type(stateroom.cookie_fate.lost_there(request, "https://app.example.org/"), stateroom.cookie_fate.Loss | None)
    stateroom.cookie_fate.leave_trace(answer)
    stateroom.cookie_fate.remove_trace(request, answer)
    return answer


def answer(error: Exception) -> dict[str, Any]:
    """The errors in the order that `except` clauses need: narrow ones first."""
    match error:
        case stateroom.SessionEnded():
            return {"reason": assert_type(error.reason, str)}
        case stateroom.SignInRequired():
            return {"detail": assert_type(error.detail, str)}
        case stateroom.NotSignedIn():
            return {"slug": assert_type(error.slug, str)}
        case stateroom.ReauthenticationRequired() | stateroom.NotByAccessToken() | stateroom.HeadersSent():
            return {"title": assert_type(error.title, str)}
        case stateroom.NotFound() | stateroom.ForeignOrigin() | stateroom.SessionTooLarge() | stateroom.SettingsError():
            return {"detail": assert_type(error.detail, str)}
        case stateroom.StoreUnavailable() | stateroom.DatabaseUnavailable():
            return {"title": assert_type(error.title, str)}
        case stateroom.Unavailable():
            return {"retry_after": assert_type(error.retry_after, int)}
        case stateroom.StateroomError():
            return {"status": assert_type(error.status, int), "slug": assert_type(error.slug, str)}
        case _:
            return {}
