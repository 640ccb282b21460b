"""What a middleware outside of the sessions does to a session after the handler is saved, or the log says that it is not."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

import stateroom
from stateroom import testing

from .conftest import OpenSite


async def page(request: web.Request) -> web.Response:
    stateroom.get_session(request)["page"] = 1
    if "fail" in request.query:
        raise RuntimeError("a bug")
    return web.json_response({})


@web.middleware
async def last_seen(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        answer = await handler(request)
    except RuntimeError:
        stateroom.flash(stateroom.get_session(request), "error", "Sorry.")
        return web.json_response({}, status=500)
    if request.path == "/page":
        stateroom.get_session(request)["seen"] = "page"
    return answer


@pytest.mark.parametrize("user", [None, "ada"])
async def test_what_it_writes_is_saved(open_site: OpenSite, user: str | None) -> None:
    site = await open_site(page, outer=[last_seen])
    browser = site.browser()
    if user:
        await browser.post(f"/in/{user}")
    await browser.get("/page")
    assert await browser.who() == {"user": user, "data": {"page": 1, "seen": "page"}, "ended": None}
    assert await site.stored() == 1


async def test_its_message_after_a_failed_handler_is_saved_and_the_handlers_data_is_not(open_site: OpenSite) -> None:
    site = await open_site(page, outer=[last_seen])
    browser = site.browser()
    assert (await browser.get("/page", params={"fail": "1"})).status == 500
    assert (await browser.who())["data"] == {}
    assert (await browser.get("/messages")).body == {"flash_error": "Sorry."}


async def test_what_cannot_be_saved_then_is_in_the_log(open_site: OpenSite, caplog: pytest.LogCaptureFixture) -> None:
    @web.middleware
    async def while_redis_is_down(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if request.path == "/page":
            stateroom.get_session(request)["seen"] = "page"
            with testing.redis_down(request.app):
                await answer.prepare(request)
        return answer

    site = await open_site(page, outer=[while_redis_is_down])
    browser = site.browser()
    await browser.post("/in/ada")
    assert (await browser.get("/page")).status == 200
    assert "session_not_saved" in caplog.text
    assert (await browser.who())["data"] == {"page": 1}
