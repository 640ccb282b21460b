"""Several cookies of our name in one request: over HTTP, with a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from aiohttp import ClientResponse, DummyCookieJar, web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import SESSIONS, testing

from ..logs import capture_events
from ..servers import Servers

Client = TestClient[web.Request, web.Application]
Make = Callable[..., Awaitable[Client]]


async def sign_in(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, int(request.match_info["user"]))
    return web.json_response({})


async def sign_out(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    return web.json_response({})


async def whoami(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    return web.json_response({"user": session.user_id, "cart": session.get("cart")})


async def fill(request: web.Request) -> web.Response:
    stateroom.get_session(request)["cart"] = request.match_info["item"]
    return web.json_response({})


@stateroom.require_auth
async def guarded(request: web.Request) -> web.Response:
    return web.json_response({})


def make_app(settings: stateroom.Settings) -> web.Application:
    app = web.Application()
    stateroom.setup(app, settings)
    for root in ("", "/app"):
        app.add_routes(
            [
                web.post(f"{root}/in/{{user}}", sign_in),
                web.post(f"{root}/out", sign_out),
                web.get(f"{root}/me", whoami),
                web.post(f"{root}/cart/{{item}}", fill),
                web.get(f"{root}/guarded", guarded),
            ]
        )
    return app


@pytest.fixture
def make(servers: Servers, aiohttp_client: AiohttpClient) -> Make:
    async def made(**values: Any) -> Client:
        app = make_app(servers.settings("valkey", **values))
        return await aiohttp_client(app, cookie_jar=DummyCookieJar())

    return made


def value_in(response: ClientResponse) -> str:
    """The value of the cookie that the answer sets last."""
    return response.headers.getall("Set-Cookie")[-1].partition(";")[0].partition("=")[2]


async def post(client: Client, path: str, *values: str) -> str:
    async with client.post(path, headers=cookies(client, values)) as response:
        assert response.status == 200
        return value_in(response)


def cookies(client: Client, values: Iterable[str]) -> dict[str, str]:
    assert client.app is not None
    name = client.app[SESSIONS].settings.session_name
    return {"Cookie": "; ".join(["a=1", *(f"{name}={value}" for value in values), "b=2"])}


async def who(client: Client, *values: str) -> tuple[Any, str | None]:
    """The user whom these cookies make, and what the answer says of them."""
    async with client.get("/me", headers=cookies(client, values)) as response:
        assert response.status == 200
        return (await response.json())["user"], response.headers.get("X-Session-Cookie")


async def test_for_one_user_the_live_one_counts_wherever_it_stands(make: Make) -> None:
    client = await make()
    dead = await post(client, "/in/7")
    live = await post(client, "/in/7", dead)
    assert await who(client, live) == (7, None)
    for values in ([dead, live], [live, dead], [live, live], [dead, dead, live, dead]):
        assert await who(client, *values) == (7, "doubled")
    other = await post(client, "/in/7")
    assert await who(client, live, other, dead) == (7, "doubled")
    assert (await who(client, dead))[0] is None


@pytest.mark.parametrize("is_dead", [False, True])
async def test_two_users_make_nobody_and_neither_cookie_counts_afterwards(make: Make, is_dead: bool) -> None:
    client = await make()
    mine, planted = await post(client, "/in/7"), await post(client, "/in/666")
    if is_dead:
        await post(client, "/out", mine)
    async with client.get("/me", headers=cookies(client, [planted, mine])) as response:
        assert (await response.json())["user"] is None
        assert response.headers["X-Session-Cookie"] == "ambiguous"
        assert response.headers["Cache-Control"] == "no-store"
        assert all(re.search(r"=; Max-Age=[01];", line) for line in response.headers.getall("Set-Cookie"))
    # We cannot drop a cookie that another host has set: left alone, it must not sign anybody in.
    assert await who(client, planted) == (None, None)
    assert await who(client, mine) == (None, None)


async def test_what_a_guard_refuses_is_told_and_cleared_too(make: Make) -> None:
    client = await make()
    both = [await post(client, "/in/7"), await post(client, "/in/666")]
    async with client.get("/guarded", headers=cookies(client, both)) as response:
        assert response.status == 401
        assert response.headers["X-Session-Cookie"] == "ambiguous"
        assert "session_id=; Max-Age=0;" in response.headers.getall("Set-Cookie")[-1]


async def test_a_live_visitor_beside_a_user_makes_nobody_and_one_that_has_gone_changes_nothing(make: Make) -> None:
    client = await make()
    visitor = await post(client, "/cart/tea")
    user = await post(client, "/in/7", visitor)  # the visitor's session went into the user's
    assert await who(client, visitor, user) == (7, "doubled")
    assert await who(client, user, visitor) == (7, "doubled")
    planted = await post(client, "/cart/bait")
    assert await who(client, planted, user) == (None, "ambiguous")
    assert await who(client, user) == (None, None)


async def test_of_two_visitors_none_counts_unless_one_has_gone(make: Make) -> None:
    client = await make()
    gone, live = await post(client, "/cart/tea"), await post(client, "/cart/honey")
    await post(client, "/out", gone)
    async with client.get("/me", headers=cookies(client, [gone, live])) as response:
        assert await response.json() == {"user": None, "cart": "honey"}
        assert response.headers["X-Session-Cookie"] == "doubled"
    planted = await post(client, "/cart/bait")
    async with client.get("/me", headers=cookies(client, [planted, live])) as response:
        assert await response.json() == {"user": None, "cart": None}
        assert response.headers["X-Session-Cookie"] == "ambiguous"


async def test_two_values_of_one_session_are_of_one_person(make: Make) -> None:
    """A renewal writes a new value of the same session, perhaps to another place."""
    client = await make()
    assert client.app is not None
    manager = client.app[SESSIONS]
    for user in (7, None):
        session = await manager.create(user, data={"cart": "tea"})
        values = [manager.seal(session), manager.seal(session)]
        async with client.get("/me", headers=cookies(client, values)) as response:
            assert await response.json() == {"user": user, "cart": "tea"}
            assert response.headers["X-Session-Cookie"] == "doubled"
        await post(client, "/out", *values)
        async with client.get("/me", headers=cookies(client, values)) as response:
            assert await response.json() == {"user": None, "cart": None}


async def test_what_does_not_open_is_ignored_and_not_dropped(make: Make, servers: Servers) -> None:
    client, neighbour = await make(), await make()  # with other keys: a deployment of the parent domain
    mine, foreign = await post(client, "/in/7"), await post(neighbour, "/in/8")
    for values in ([foreign, mine], [mine, foreign], ["x" * 3000, mine, "!"]):
        assert await who(client, *values) == (7, "doubled")
    assert await who(client, "", mine) == await who(client, mine, "") == (7, None)
    async with client.get("/me", headers=cookies(client, [foreign, "x"])) as response:
        assert (await response.json())["user"] is None
        assert response.headers["X-Session-Cookie"] == "ambiguous"
        assert "Set-Cookie" not in response.headers
    assert await who(neighbour, foreign) == (8, None)


async def test_more_than_four_make_nobody_and_a_sign_out_ends_them_all(make: Make) -> None:
    client = await make()
    values = [await post(client, "/in/7") for _ in range(5)]
    assert await who(client, *values[:4]) == (7, "doubled")
    assert await who(client, *values) == (None, "ambiguous")
    await post(client, "/out", *values)
    assert [await who(client, value) for value in values] == [(None, None)] * 5


async def test_a_sign_out_ends_every_session_that_the_cookies_open(make: Make) -> None:
    client = await make()
    first, second, elsewhere = [await post(client, "/in/7") for _ in range(3)]
    with capture_events() as logs:
        await post(client, "/out", first, second)
    assert [each["user_id"] for each in logs if each["event"] == "sign_out"] == [7, 7]
    assert await who(client, first) == (None, None)
    assert await who(client, second) == (None, None)
    assert await who(client, elsewhere) == (7, None)


async def test_several_cookies_of_a_host_bound_name_are_none_and_a_sign_out_ends_them(make: Make) -> None:
    client = await make(cookie_secure=True, session_name="__Host-session")
    one, two = await post(client, "/in/7"), await post(client, "/in/7")
    async with client.get("/me", headers=cookies(client, [one, two])) as response:
        assert (await response.json())["user"] is None
        assert response.headers["X-Session-Cookie"] == "ambiguous"
        lines = response.headers.getall("Set-Cookie")
        assert all("; Path=/;" in line and "=; Max-Age=" in line and "Domain" not in line for line in lines)
        assert sorted("Partitioned" in line for line in lines) == [False, True]
    assert await who(client, one) == (7, None)
    await post(client, "/out", one, two)
    assert await who(client, one) == (None, None)
    assert await who(client, two) == (None, None)


async def test_while_redis_is_unavailable_nothing_is_decided_and_no_cookie_is_dropped(make: Make) -> None:
    client = await make()
    app = client.app
    assert app is not None
    user, visitor, other = await post(client, "/in/7"), await post(client, "/cart/tea"), await post(client, "/in/8")
    with testing.redis_down(app):
        for values in ([user, visitor], [visitor, user], [user, user, visitor]):
            async with client.get("/me", headers=cookies(client, values)) as response:
                assert response.status == 503
                assert "Set-Cookie" not in response.headers
        async with client.get("/guarded", headers=cookies(client, [user, other])) as response:
            assert "Set-Cookie" not in response.headers
    assert await who(client, user) == (7, None)


async def test_a_flood_of_them_is_one_line_in_the_log(make: Make) -> None:
    client = await make()
    value = await post(client, "/in/7")
    with capture_events() as logs:
        await asyncio.gather(*(who(client, value, "x", str(number)) for number in range(40)))
        await who(client, "x", "y")
    told = [(each["outcome"], each["requests"], each["cookie"]) for each in logs if each["event"] == "session_cookie_doubled"]
    assert told == [("doubled", 1, "session_id"), ("ambiguous", 1, "session_id")]
    assert "COOKIE_FORMER" in next(each["fix"] for each in logs if each["event"] == "session_cookie_doubled")
    assert value not in str(logs)


async def test_a_bearer_is_preferred_to_several_cookies(make: Make) -> None:
    client = await make()
    assert client.app is not None
    manager = client.app[SESSIONS]
    bearer = manager.seal(await manager.create(9), "bearer")
    values = [await post(client, "/in/7"), await post(client, "/in/8")]
    headers = cookies(client, values) | {"Authorization": f"Bearer {bearer}"}
    async with client.get("/me", headers=headers) as response:
        assert (await response.json())["user"] == 9
        assert "X-Session-Cookie" not in response.headers
