"""The cookie goes out with the response that really leaves, and what is said to caches is the last word."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler

import stateroom
from stateroom import SESSIONS, testing
from stateroom.request.request_session import FRONTEND
from stateroom.setup import PARTS

from .conftest import OpenSite
from .sites import Gate

GATE = web.AppKey("gate", Gate)


async def page(request: web.Request) -> web.Response:
    user = stateroom.get_session(request).user_id
    return web.Response(text=str(user), headers={"Cache-Control": "public, max-age=3600"})


async def again(request: web.Request) -> web.Response:
    await stateroom.reauthenticate(request)
    if "fail" in request.query:
        raise RuntimeError("a bug")
    return web.Response()


async def phone(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, "ada", transport="bearer")
    return web.json_response({"bearer": stateroom.bearer_value(request)})


async def slow(request: web.Request) -> web.Response:
    try:
        async with asyncio.timeout(0.05):
            await stateroom.reauthenticate(request)
    except TimeoutError:
        return web.Response(status=503)
    return web.Response()


async def make_public(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "public, max-age=3600"
    if request.path == "/page":
        stateroom.get_session(request)["seen"] = True


@web.middleware
async def copied(request: web.Request, handler: Handler) -> web.StreamResponse:
    """As middlewares do that correct the address of a request behind a proxy."""
    return await handler(request.clone())


@web.middleware
async def twice(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RuntimeError:
        try:
            return await handler(request)
        except RuntimeError:
            return web.Response(status=500)


@web.middleware
async def not_modified(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    if request.path == "/page":
        response.set_status(304)
    return response


@web.middleware
async def held(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    if request.path == "/page":
        await request.app[GATE].wait()
    return response


def make_renewal_due(app: web.Application) -> None:
    testing.clock(app).move(seconds=61)


async def test_a_signal_handler_that_comes_later_has_not_the_last_word(open_site: OpenSite) -> None:
    site = await open_site(page, after_setup=lambda app: app.on_response_prepare.append(make_public))
    browser = site.browser()
    async with browser.session.post(f"{site.url}/in/ada") as response:
        assert response.headers["Cache-Control"] == "no-store"
    make_renewal_due(site.app)
    async with browser.session.get(f"{site.url}/page") as response:
        assert ("Set-Cookie" in response.headers, response.headers["Cache-Control"]) == (True, "no-store")
    assert (await browser.who())["data"] == {"seen": True}


async def test_a_copy_of_the_request_loses_nothing(open_site: OpenSite) -> None:
    site = await open_site(page, again, outer=[copied])
    browser = site.browser()
    await browser.post("/in/ada")
    assert (await browser.post("/again", params={"fail": "1"})).status == 500
    assert (await browser.who())["user"] == "ada"
    async with browser.session.get(f"{site.url}/page") as response:
        assert response.headers["Vary"] == "Cookie"


async def test_a_request_that_is_handled_twice_goes_on_with_its_session(open_site: OpenSite) -> None:
    site = await open_site(again, outer=[twice])
    browser = site.browser()
    await browser.post("/in/ada")
    assert (await browser.post("/again", params={"fail": "1"})).status == 500
    assert (await browser.who())["user"] == "ada"
    assert await site.stored() == 1


async def test_a_304_that_a_middleware_makes_carries_no_renewal(open_site: OpenSite) -> None:
    site = await open_site(page, outer=[not_modified])
    browser = site.browser()
    await browser.post("/in/ada")
    make_renewal_due(site.app)
    answer = await browser.get("/page")
    assert (answer.status, answer.set_cookie) == (304, [])


async def test_a_renewal_that_leaves_late_does_not_replace_a_newer_cookie(open_site: OpenSite) -> None:
    def with_gate(app: web.Application) -> None:
        app[GATE] = Gate()

    site = await open_site(page, again, outer=[held], after_setup=with_gate)
    browser = site.browser()
    await browser.post("/in/ada")
    make_renewal_due(site.app)
    late = asyncio.create_task(browser.get("/page"))
    await site.app[GATE].until(1)
    await browser.post("/again")
    site.app[GATE].opened.set()
    assert (await late).set_cookie == []
    assert (await browser.who())["user"] == "ada"


async def test_an_exception_that_is_raised_again_keeps_nobodys_cookie(open_site: OpenSite) -> None:
    denied = web.HTTPForbidden()

    async def deny(request: web.Request) -> web.Response:
        await stateroom.sign_in(request, "ada")
        raise denied

    site = await open_site(deny)
    browser = site.browser()
    assert (await browser.post("/deny")).status == 403
    assert (await browser.who())["user"] == "ada"
    assert "Set-Cookie" not in denied.headers


async def test_a_sign_in_by_bearer_takes_the_dead_cookie_away(open_site: OpenSite) -> None:
    site = await open_site(phone)
    browser = site.browser()
    await browser.post("/put", json={"cart": 1})
    answer = await browser.post("/phone")
    assert browser.value == ""
    assert (await browser.post("/put", json={"cart": 2})).status == 200
    bearer = {"Authorization": f"Bearer {answer.body['bearer']}"}
    assert (await site.browser().get("/who", headers=bearer)).body["data"] == {"cart": 1}


async def test_a_bearers_websocket_goes_on_under_its_new_id(open_site: OpenSite) -> None:
    async def socket(request: web.Request) -> web.WebSocketResponse:
        made = web.WebSocketResponse()
        await made.prepare(request)
        async for _ in made:
            await stateroom.reauthenticate(request)
            await made.send_str(stateroom.bearer_value(request))
        return made

    site = await open_site(socket)
    manager = site.app[SESSIONS]
    bearer = manager.seal(await manager.create("ada"), "bearer")
    client = site.browser().session
    async with client.ws_connect(f"{site.url}/socket", headers={"Authorization": f"Bearer {bearer}"}) as opened:
        for _ in range(3):
            await opened.send_str("again")
            message = await opened.receive(5)
            assert message.type == WSMsgType.TEXT
            bearer = message.data
            if manager.settings.has_database:
                await site.app[PARTS].tail.catch_up()  # which tells streams of ends
            await site.app[FRONTEND].streams.check()
    assert (await site.browser().get("/who", headers={"Authorization": f"Bearer {bearer}"})).body["user"] == "ada"


async def test_a_step_whose_caller_gives_up_is_taken_to_its_end(open_site: OpenSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site = await open_site(slow)
    browser = site.browser()
    await browser.post("/in/ada")
    rotations: Any = site.app[SESSIONS]._parts.rotations
    claim = rotations._claim

    async def slow_claim(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0.2)
        return await claim(*arguments, **options)

    monkeypatch.setattr(rotations, "_claim", slow_claim)
    assert (await browser.post("/slow")).status == 503
    assert (await browser.who())["user"] == "ada"
    assert await site.sessions_of("ada") == 1


async def test_a_task_that_outlives_its_request_has_no_budget(open_site: OpenSite) -> None:
    done: asyncio.Queue[int] = asyncio.Queue()
    tasks: list[asyncio.Task[None]] = []

    async def begin(request: web.Request) -> web.Response:
        manager, answered = request.app[SESSIONS], asyncio.Event()

        async def work() -> None:
            await answered.wait()
            for _ in range(300):
                await manager.list("ada")
            await done.put(300)

        tasks.append(asyncio.create_task(work()))
        asyncio.get_running_loop().call_later(0.1, answered.set)
        return web.json_response({})

    site = await open_site(begin, redis_read_timeout=0.05)
    await site.browser().post("/begin")
    assert await asyncio.wait_for(done.get(), 30) == 300
