"""A sign-in replaces a session: what other requests of the browser write meanwhile holds, and no other device is signed out."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest
from aiohttp import web

from stateroom import flash, get_session
from stateroom.sessions.protocol.sign_ins import SignIns

from .conftest import OpenSite


async def add(request: web.Request) -> web.Response:
    return web.json_response(await get_session(request).change("cart", lambda cart: [*(cart or []), "pear"]))


async def drop(request: web.Request) -> web.Response:
    del get_session(request)["dropped"]
    return web.json_response({})


async def say(request: web.Request) -> web.Response:
    flash(get_session(request), "success", "said")
    return web.json_response({})


async def warn(request: web.Request) -> web.Response:
    flash(get_session(request), "warning", "warned")
    return web.json_response({})


@pytest.mark.parametrize("user", [None, "ada"])
async def test_what_is_answered_while_a_sign_in_replaces_the_session_is_in_the_new_one(
    open_site: OpenSite, user: str | None
) -> None:
    site = await open_site(add, drop, say, warn)
    browser, tab = site.browser(), site.browser()
    if user is not None:
        await browser.post(f"/in/{user}")
    await browser.post("/put", json={"cart": ["apple"], "dropped": 1, "n": 1})
    await browser.post("/warn")
    old = browser.value
    held, go = asyncio.Event(), asyncio.Event()
    replace = SignIns._replace

    async def gate(self: SignIns, *args: Any, **named: Any) -> Any:
        held.set()
        await go.wait()
        return await replace(self, *args, **named)

    with mock.patch.object(SignIns, "_replace", gate):
        signing_in = asyncio.create_task(browser.post("/in/ada"))
        async with asyncio.timeout(10):
            await held.wait()
        answers = [
            await tab.post("/add", cookie=old),
            await tab.post("/put", json={"n": 2, "note": "x"}, cookie=old),
            await tab.post("/drop", cookie=old),
            await tab.get("/messages", cookie=old),
            await tab.post("/say", cookie=old),
        ]
        go.set()
        assert (await signing_in).status == 200
    assert [each.status for each in answers] == [200] * 5
    assert answers[3].body == {"flash_warning": "warned"}
    data = {"cart": ["apple", "pear"], "n": 2, "note": "x"}
    assert await browser.who() == {"user": "ada", "data": data, "ended": None}
    assert (await browser.get("/messages")).body == {"flash_success": "said"}
    assert await site.stored() == 1


async def test_a_device_that_signs_in_again_signs_no_other_device_out(open_site: OpenSite) -> None:
    site = await open_site(session_max_per_user=2)
    other, again = site.browser(), site.browser()
    for browser in (other, again, again, again):
        await browser.post("/in/ada")
    assert [(await each.who())["user"] for each in (other, again)] == ["ada", "ada"]
    assert await site.sessions_of("ada") == 2
    third = site.browser()
    await third.post("/in/ada")
    assert (await other.who())["ended"] == "limit"
