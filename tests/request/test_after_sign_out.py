"""After a sign-out the request's session is a new visitor's: what follows is kept, and the cookie opens it."""

from __future__ import annotations

import pytest
from aiohttp import web

import stateroom
from stateroom import SESSIONS, testing

from .conftest import OpenSite


async def switch(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    await stateroom.sign_in(request, 8)
    return web.json_response({})


async def bye(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    stateroom.flash(stateroom.get_session(request), "info", "See you.")
    raise web.HTTPFound("/messages")


async def save(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    session = stateroom.get_session(request)
    session["theme"] = "dark"
    await session.save()
    await session.change("visits", lambda count: (count or 0) + 1)
    return web.json_response({})


async def before(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    session["secret"] = "mine"
    stateroom.flash(session, "info", "never")
    await stateroom.sign_out(request)
    return web.json_response({})


async def in_and_out(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, 9)
    await stateroom.sign_out(request)
    return web.json_response({})


async def test_a_sign_in_after_a_sign_out_signs_in(open_site: OpenSite) -> None:
    site = await open_site(switch)
    browser = site.browser()
    await browser.post("/in/ada")
    assert (await browser.post("/switch")).status == 200
    assert (await browser.who())["user"] == 8
    assert await site.sessions_of("ada") == 0
    assert await site.stored() == 1


async def test_a_message_after_a_sign_out_is_shown(open_site: OpenSite) -> None:
    site = await open_site(bye)
    browser = site.browser()
    await browser.post("/in/ada")
    assert (await browser.post("/bye")).status == 302
    assert (await browser.who())["user"] is None
    assert (await browser.get("/messages")).body == {"flash_info": "See you."}


async def test_data_after_a_sign_out_is_the_new_visitors(open_site: OpenSite) -> None:
    site = await open_site(save)
    browser = site.browser()
    await browser.post("/in/ada")
    await browser.post("/put", json={"cart": ["book"]})
    await browser.post("/save")
    assert await browser.who() == {"user": None, "data": {"theme": "dark", "visits": 1}, "ended": None}
    assert await site.stored() == 1


async def test_what_was_written_before_a_sign_out_is_dropped(open_site: OpenSite) -> None:
    site = await open_site(before)
    browser = site.browser()
    await browser.post("/in/ada")
    answer = await browser.post("/before")
    assert "Max-Age=0" in answer.set_cookie[0]
    assert browser.value == ""
    assert await site.stored() == 0


async def test_a_sign_out_after_a_sign_in_leaves_nobody_signed_in(open_site: OpenSite) -> None:
    site = await open_site(in_and_out)
    browser = site.browser()
    await browser.post("/in/ada")
    await browser.post("/in_and_out")
    assert (await browser.who())["user"] is None
    assert await site.stored() == 0


async def test_an_ended_cookie_signed_out_again_makes_way_for_a_visitor(open_site: OpenSite) -> None:
    site = await open_site(bye)
    browser = site.browser()
    await browser.post("/in/ada")
    old = browser.value
    await browser.post("/out")
    assert (await browser.post("/bye", cookie=old)).status == 302
    assert (await browser.get("/messages")).body == {"flash_info": "See you."}


@pytest.mark.parametrize("path", ["/save", "/bye"])
async def test_a_bearers_client_has_nowhere_to_keep_what_follows(open_site: OpenSite, path: str) -> None:
    site = await open_site(save, bye)
    manager = site.app[SESSIONS]
    bearer = manager.seal(await manager.create("ada"), "bearer")
    browser = site.browser()
    answer = await browser.post(path, headers={"Authorization": f"Bearer {bearer}"})
    assert answer.status in {200, 302}
    assert answer.set_cookie == []
    assert await site.stored() == 0


async def test_a_sign_in_by_cookie_after_a_bearers_sign_out_is_kept(open_site: OpenSite) -> None:
    site = await open_site(switch)
    manager = site.app[SESSIONS]
    bearer = manager.seal(await manager.create("ada"), "bearer")
    browser = site.browser()
    await browser.post("/switch", headers={"Authorization": f"Bearer {bearer}"})
    assert (await browser.who())["user"] == 8


async def test_while_redis_is_down_a_sign_out_holds_and_a_message_says_that_it_cannot_be_kept(open_site: OpenSite) -> None:
    async def careful(request: web.Request) -> web.Response:
        session = stateroom.get_session(request)
        await stateroom.sign_out(request)
        if not session.degraded:
            stateroom.flash(session, "info", "See you.")
        return web.json_response({"degraded": session.degraded})

    site = await open_site(careful)
    if not site.app[SESSIONS].settings.has_database:
        pytest.skip("without a journal nobody is signed in while Redis is down")
    browser = site.browser()
    await browser.post("/in/ada")
    with testing.redis_down(site.app):
        answer = await browser.post("/careful")
    assert (answer.status, answer.body, browser.value) == (200, {"degraded": True}, "")
