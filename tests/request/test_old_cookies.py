"""A request with the cookie from before a sign-in, a rotation or a sign-out never replaces what the browser has since."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

import stateroom
from stateroom import SESSIONS, testing

from .conftest import OpenSite
from .sites import Browser, Gate

GATE = web.AppKey("gate", Gate)


async def renew_id(request: web.Request) -> web.Response:
    await stateroom.reauthenticate(request)
    return web.json_response({})


async def others(request: web.Request) -> web.Response:
    return web.json_response({"ended": await stateroom.revoke_others(request)})


async def write(request: web.Request) -> web.Response:
    stateroom.get_session(request)["late"] = True
    return web.json_response({})


async def tell(request: web.Request) -> web.Response:
    stateroom.flash(stateroom.get_session(request), "info", "late")
    return web.json_response({})


async def save(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    session["late"] = True
    await session.save()
    return web.json_response({})


async def count(request: web.Request) -> web.Response:
    await stateroom.get_session(request).change("late", lambda value: (value or 0) + 1)
    return web.json_response({})


async def slow(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    await request.app[GATE].wait()
    session["late"] = True
    return web.json_response({})


async def turn(request: web.Request) -> web.Response:
    await request.app[SESSIONS].rotate(stateroom.get_session(request))
    return web.json_response({})


WRITES = ["/write", "/tell", "/save", "/count"]
HANDLERS = (renew_id, others, write, tell, save, count, slow, turn)


async def refused(browser: Browser, path: str, old: str, reason: str) -> None:
    """The write is a 401 that says why, and the browser keeps its newer cookie."""
    value = browser.value
    answer = await browser.post(path, cookie=old)
    assert (answer.status, answer.body.get("reason"), answer.set_cookie) == (401, reason, [])
    assert browser.value == value


@pytest.mark.parametrize("path", WRITES)
async def test_a_visitors_old_cookie_does_not_replace_a_sign_in(open_site: OpenSite, path: str) -> None:
    site = await open_site(*HANDLERS)
    browser = site.browser()
    await browser.post("/put", json={"cart": 1})
    old = browser.value
    await browser.post("/in/ada")
    await refused(browser, path, old, "rotated")
    assert await browser.who() == {"user": "ada", "data": {"cart": 1}, "ended": None}
    assert await site.stored() == 1


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize("step", ["/renew_id", "/others", "/turn"])
async def test_a_users_old_cookie_does_not_replace_the_rotated_one(open_site: OpenSite, step: str, path: str) -> None:
    site = await open_site(*HANDLERS)
    browser = site.browser()
    await browser.post("/in/ada")
    old = browser.value
    assert (await browser.post(step)).status == 200
    await refused(browser, path, old, "rotated")
    assert (await browser.who())["user"] == "ada"
    assert await site.stored() == 1


async def test_a_request_under_way_does_not_replace_a_sign_in(open_site: OpenSite) -> None:
    site = await open_site(*HANDLERS)
    site.app._state[GATE] = gate = Gate()
    browser = site.browser()
    await browser.post("/put", json={"cart": 1})
    late = asyncio.create_task(browser.post("/slow"))
    await gate.until(1)
    await browser.post("/in/ada")
    gate.opened.set()
    answer = await late
    assert (answer.status, answer.body["reason"], answer.set_cookie) == (401, "rotated", [])
    assert (await browser.who())["user"] == "ada"


@pytest.mark.parametrize("path", WRITES)
async def test_a_sign_in_from_an_ended_cookie_is_not_replaced_either(open_site: OpenSite, path: str) -> None:
    site = await open_site(*HANDLERS)
    browser = site.browser()
    await browser.post("/in/ada")
    old = browser.value
    await site.app[SESSIONS].revoke_all("ada")
    assert (await browser.who())["ended"] == "revoked"
    await browser.post("/in/ada")
    value = browser.value
    answer = await browser.post(path, cookie=old)
    assert (answer.status, answer.set_cookie) == (401, [])
    assert browser.value == value
    assert (await browser.who())["user"] == "ada"


async def test_a_write_with_an_ended_cookie_is_refused_once(open_site: OpenSite) -> None:
    """The refusal takes the cookie away, so that the visitor can go on without signing in."""
    site = await open_site(*HANDLERS)
    browser = site.browser()
    await browser.post("/in/ada")
    [session] = await site.app[SESSIONS].list("ada")
    await site.app[SESSIONS].revoke("ada", session.id)
    answer = await browser.post("/write")
    assert (answer.status, answer.body["reason"]) == (401, "revoked")
    assert (await browser.post("/write")).status == 200
    assert await browser.who() == {"user": None, "data": {"late": True}, "ended": None}


@pytest.mark.parametrize("path", WRITES)
async def test_a_visitors_session_that_is_merely_gone_makes_way_for_a_new_one(open_site: OpenSite, path: str) -> None:
    site = await open_site(*HANDLERS)
    browser = site.browser()
    await browser.post("/put", json={"cart": 1})
    await flush(site.app)
    assert (await browser.post(path)).status == 200
    assert await site.stored() == 1
    assert (await browser.who())["data"].get("cart") is None


async def test_a_visitors_session_that_goes_while_a_request_is_under_way_is_stored_again(open_site: OpenSite) -> None:
    site = await open_site(*HANDLERS)
    site.app._state[GATE] = gate = Gate()
    browser = site.browser()
    await browser.post("/put", json={"cart": 1})
    late = asyncio.create_task(browser.post("/slow"))
    await gate.until(1)
    await flush(site.app)
    gate.opened.set()
    assert (await late).status == 200
    assert (await browser.who())["data"]["late"] is True


async def test_an_expired_users_cookie_makes_way_for_a_visitors(open_site: OpenSite) -> None:
    site = await open_site(*HANDLERS)
    browser = site.browser()
    await browser.post("/in/ada")
    testing.clock(site.app).move(seconds=40 * 24 * 3600)
    assert (await browser.who())["ended"] == "expired"
    assert (await browser.post("/write")).status == 200
    assert await browser.who() == {"user": None, "data": {"late": True}, "ended": None}


async def test_a_visitors_ended_session_is_not_rotated(open_site: OpenSite) -> None:
    site = await open_site(*HANDLERS)
    browser = site.browser()
    await browser.post("/put", json={"cart": 1})
    old = browser.value
    await browser.post("/out")
    answer = await browser.post("/turn", cookie=old)
    assert (answer.status, answer.body["reason"]) == (401, "logout")
    assert await site.stored() == 0


async def flush(app: web.Application) -> None:
    """Redis loses this application's sessions."""
    client, prefix = app[SESSIONS]._parts.client, app[SESSIONS].settings.redis_key_prefix
    for key in await client.execute("", "KEYS", f"{prefix}:*"):
        await client.execute("", "DEL", key)


async def test_a_middleware_that_answers_a_refused_write_with_a_page_takes_the_cookie_away_too(open_site: OpenSite) -> None:
    async def cart(request: web.Request) -> web.Response:
        session = stateroom.get_session(request)
        session["cart"] = 1
        try:
            await session.save()
        except stateroom.NotSignedIn:
            session.discard_changes()
            raise web.HTTPSeeOther("/sign-in") from None
        return web.json_response({})

    site = await open_site(cart)
    browser = site.browser()
    await browser.post("/in/ada")
    await site.app[SESSIONS].revoke_all("ada")
    assert (await browser.post("/cart")).status == 303
    assert browser.value == ""
    assert (await browser.post("/cart")).status == 200
