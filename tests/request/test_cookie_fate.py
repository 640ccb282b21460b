"""Why the cookie of a sign-in did not come back, as an application's own sign-in page asks."""

from __future__ import annotations

from aiohttp import web
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import cookie_fate, testing


async def signed_in(_: web.Request) -> web.Response:
    """A sign-in whose session cookie the browser has dropped."""
    response = web.Response()
    cookie_fate.leave_trace(response)
    return response


async def sign_in_page(request: web.Request) -> web.Response:
    here = cookie_fate.lost_here(request)
    there = cookie_fate.lost_there(request, "https://shop.example.org/")
    return web.json_response([here and here.cause, there and there.cause])


async def test_a_sign_in_page_in_a_sub_application_is_told_as_well(aiohttp_client: AiohttpClient) -> None:
    app, inner = web.Application(), web.Application()
    stateroom.setup(app, testing.settings(), client_factory=testing.fake_redis)
    for each in (app, inner):
        each.add_routes([web.get("/signed-in", signed_in), web.get("/sign-in", sign_in_page)])
    app.add_subapp("/shop", inner)
    client = await aiohttp_client(app)
    for path in ("", "/shop"):
        assert await (await client.get(f"{path}/sign-in")).json() == [None, None]
    await client.get("/signed-in")
    for path in ("", "/shop"):
        assert await (await client.get(f"{path}/sign-in")).json() == ["unknown", "other-host"]
