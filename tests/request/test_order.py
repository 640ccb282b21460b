"""What is said where a session is asked for in a place that has none: in the wrong order, or in the wrong application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import testing
from stateroom.request.request_session import get_request_session

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BEFORE = "this middleware runs before the sessions are loaded"
ORDER = "call stateroom.setup(app) first, then append the middleware to app.middlewares"
NEVER = "there are no sessions here: call stateroom.setup(app) before the application starts"
OUTER = "call stateroom.setup for the outer application"


def setup(app: web.Application) -> None:
    stateroom.setup(app, testing.settings(), client_factory=testing.fake_redis)


async def user(request: web.Request) -> web.Response:
    """The user, or what the error says."""
    try:
        return web.json_response({"user": stateroom.get_session(request).user_id})
    except RuntimeError as error:
        return web.json_response({"said": str(error)})


@web.middleware
async def asking(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A middleware that answers with what it was told."""
    told = [str(_error(each, request)) for each in (stateroom.get_session, get_request_session, stateroom.check_auth)]
    assert len(set(told)) == 1
    return web.json_response({"said": told[0]})


def _error(ask: Callable[[web.Request], object], request: web.Request) -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        ask(request)
    return caught.value


async def said(aiohttp_client: AiohttpClient, app: web.Application, path: str = "/") -> str:
    client = await aiohttp_client(app)
    async with client.get(path) as response:
        assert response.status == 200
        words: str = (await response.json())["said"]
        return words


def application(*middlewares: object, inner: web.Application | None = None) -> web.Application:
    app = web.Application(middlewares=middlewares)  # type: ignore[arg-type]
    app.router.add_get("/", user)
    if inner is not None:
        app.add_subapp("/inner", inner)
    return app


async def test_a_middleware_before_the_sessions_is_told_how_to_order_them(aiohttp_client: AiohttpClient) -> None:
    app = application(asking)
    setup(app)
    words = await said(aiohttp_client, app)
    assert words.startswith(BEFORE)
    assert words.endswith(ORDER)


async def test_a_middleware_after_the_sessions_has_them(aiohttp_client: AiohttpClient) -> None:
    @web.middleware
    async def counting(request: web.Request, handler: Handler) -> web.StreamResponse:
        stateroom.get_session(request)["n"] = 1
        return await handler(request)

    app = application()
    setup(app)
    app.middlewares.append(counting)
    client = await aiohttp_client(app)
    assert await (await client.get("/")).json() == {"user": None}


async def test_an_application_that_was_not_set_up_is_told_to(aiohttp_client: AiohttpClient) -> None:
    assert await said(aiohttp_client, application()) == NEVER
    assert await said(aiohttp_client, application(inner=application()), "/inner/") == NEVER


async def test_a_sub_application_has_the_sessions_of_the_outer_one(aiohttp_client: AiohttpClient) -> None:
    app = application(inner=application())
    setup(app)
    client = await aiohttp_client(app)
    assert await (await client.get("/inner/")).json() == {"user": None}


async def test_a_middleware_of_the_outer_application_before_the_sessions_is_told_so_in_a_sub_application(
    aiohttp_client: AiohttpClient,
) -> None:
    app = application(asking, inner=application())
    setup(app)
    assert (await said(aiohttp_client, app, "/inner/")).startswith(BEFORE)


@pytest.mark.parametrize("path", ["/", "/inner/"])
async def test_a_middleware_around_the_only_application_with_sessions_is_told_to_set_up_the_outer_one(
    aiohttp_client: AiohttpClient, path: str
) -> None:
    inner = application()
    setup(inner)
    words = await said(aiohttp_client, application(asking, inner=inner), path)
    assert words.startswith("stateroom.setup was called for a sub-application")
    assert OUTER in words


async def test_a_handler_beside_the_application_with_sessions_is_told_to_set_up_the_outer_one(
    aiohttp_client: AiohttpClient,
) -> None:
    inner = application()
    setup(inner)
    app = application(inner=application(inner=inner))
    words = await said(aiohttp_client, app)
    assert words.startswith("stateroom.setup was called for a sub-application only")
    assert OUTER in words


async def test_a_sub_application_alone_may_have_sessions(aiohttp_client: AiohttpClient) -> None:
    inner = application()
    setup(inner)
    client = await aiohttp_client(application(inner=inner))
    assert await (await client.get("/inner/")).json() == {"user": None}


def test_a_request_outside_any_application_is_told_so() -> None:
    with pytest.raises(RuntimeError, match="there are no sessions here"):
        stateroom.get_session(make_mocked_request("GET", "/"))


async def test_a_server_without_an_application_is_told_so() -> None:
    heard = asyncio.get_running_loop().create_future()

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        try:
            stateroom.get_session(request)
        except RuntimeError as error:
            heard.set_result(str(error))
        return web.Response()

    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.close()
    finally:
        await runner.cleanup()
    assert await heard == "there are no sessions here: no application serves this request"


def test_setting_up_twice_is_an_error_at_once() -> None:
    app = web.Application()
    setup(app)
    before = len(app.middlewares)
    with pytest.raises(RuntimeError, match=r"stateroom\.setup was called for this application before: call it once"):
        setup(app)
    assert len(app.middlewares) == before


def test_setting_up_an_application_that_was_added_to_another_is_an_error_that_says_so() -> None:
    inner = application()
    application(inner=inner)
    with pytest.raises(RuntimeError, match=r"stateroom\.setup was called too late"):
        setup(inner)


@pytest.mark.parametrize("depth", [1, 2])
async def test_setting_up_an_application_and_one_inside_it_stops_startup(depth: int) -> None:
    app = application()
    setup(app)
    for _ in range(depth):
        app = application(inner=app)
    setup(app)
    runner = web.AppRunner(app)
    with pytest.raises(RuntimeError, match="for an application and for one inside it: call it for the outer one only"):
        await runner.setup()
    await runner.cleanup()
