"""`background` over every kind of handler that aiohttp takes, over HTTP. `require_auth` goes with it in both orders."""

from __future__ import annotations

from functools import partial, wraps
from typing import Any

import pytest
from aiohttp import CookieJar, web
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import background, require_auth, testing

from ..conftest import ServiceClient


async def answer(request: web.Request, **_: Any) -> web.Response:
    return web.json_response({"user": stateroom.get_session(request).user_id})


async def sign_in(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, "ada")
    return web.json_response({})


def logged(handler: Any) -> Any:
    """A decorator of an application's own."""

    @wraps(handler)
    async def around(*args: Any, **kwargs: Any) -> Any:
        return await handler(*args, **kwargs)

    return around


@background
async def poll(request: web.Request) -> web.Response:
    return await answer(request)


@background
@require_auth
async def background_first(request: web.Request) -> web.Response:
    return await answer(request)


@require_auth
@background
async def guard_first(request: web.Request) -> web.Response:
    return await answer(request)


class Polls(web.View):
    """GET is background, POST is not."""

    @background
    async def get(self) -> web.Response:
        return await answer(self.request)

    @background
    @require_auth
    async def head(self) -> web.Response:
        return web.Response()

    @require_auth
    @background
    async def put(self) -> web.Response:
        return await answer(self.request)

    async def post(self) -> web.Response:
        return await answer(self.request)


class Inherited(Polls):
    pass


@background
class Whole(web.View):
    async def post(self) -> web.Response:
        return await answer(self.request)


@require_auth
class Guarded(web.View):
    @background
    async def get(self) -> web.Response:
        return await answer(self.request)

    async def post(self) -> web.Response:
        return await answer(self.request)


class Page:
    """Handlers are methods of an object. It keeps a request of its own, which is not the one that is served."""

    def __init__(self, request: object = None) -> None:
        self.request = request

    @background
    @require_auth
    async def poll(self, request: web.Request) -> web.Response:
        return await answer(request)

    @background
    @staticmethod
    async def static(request: web.Request) -> web.Response:
        return await answer(request)

    async def work(self, request: web.Request) -> web.Response:
        return await answer(request)


PAGE = Page()


def make_app() -> web.Application:
    app = web.Application()
    stateroom.setup(app, testing.settings(), client_factory=testing.fake_redis)
    app.add_routes([
        web.post("/sign-in", sign_in),
        web.get("/who", require_auth(answer)),
        web.get("/function", poll),
        web.get("/background-first", background_first),
        web.get("/guard-first", guard_first),
        web.get("/decorated", logged(poll)),
        web.view("/view", Polls),
        web.view("/inherited", Inherited),
        web.view("/whole", Whole),
        web.view("/guarded", Guarded),
        web.get("/get-view", Polls, allow_head=False),
        web.get("/method", PAGE.poll),
        web.get("/static", Page.static),
        web.get("/bound", background(PAGE.work)),
        web.get("/bound-guarded", require_auth(background(PAGE.work))),
        web.get("/not-bound", PAGE.work),
        web.get("/partial", background(partial(answer, a=1))),
        web.get("/partial-of", partial(poll)),
        web.get("/partial-guarded", require_auth(background(partial(answer, a=1)))),
        web.get("/partial-of-guarded", partial(require_auth(background(partial(answer, a=1))), b=2)),
        web.get("/not-partial", partial(answer, a=1)),
    ])  # fmt: skip
    return app


@pytest.fixture
async def browser(aiohttp_client: AiohttpClient) -> ServiceClient:
    browser: ServiceClient = await aiohttp_client(make_app(), cookie_jar=CookieJar(unsafe=True))
    assert (await browser.post("/sign-in")).status == 200
    return browser


async def extends(browser: ServiceClient, method: str, path: str) -> bool:
    """Whether a request 40 minutes after the sign-in keeps the session, which ends after an hour, for 30 more."""
    assert browser.app is not None
    clock = testing.clock(browser.app)
    clock.move(minutes=40)
    async with browser.request(method, path) as response:
        assert response.status == 200
    clock.move(minutes=30)
    async with browser.get("/who") as response:
        return response.status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/function"), ("HEAD", "/function"), ("GET", "/background-first"), ("GET", "/guard-first"), ("GET", "/decorated"),
        ("GET", "/view"), ("HEAD", "/view"), ("PUT", "/view"), ("GET", "/inherited"), ("POST", "/whole"), ("GET", "/guarded"),
        ("GET", "/get-view"), ("GET", "/method"), ("HEAD", "/method"), ("GET", "/static"), ("GET", "/bound"),
        ("GET", "/bound-guarded"), ("GET", "/partial"), ("GET", "/partial-of"), ("GET", "/partial-guarded"),
        ("GET", "/partial-of-guarded"),
    ],
)  # fmt: skip
async def test_a_marked_handler_does_not_extend_the_session(browser: ServiceClient, method: str, path: str) -> None:
    assert not await extends(browser, method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/who"), ("HEAD", "/who"), ("POST", "/view"), ("POST", "/inherited"), ("POST", "/guarded"), ("GET", "/not-bound"),
        ("GET", "/not-partial"),
    ],
)  # fmt: skip
async def test_what_stands_beside_a_marked_handler_extends_it(browser: ServiceClient, method: str, path: str) -> None:
    assert await extends(browser, method, path)


async def test_an_unknown_path_and_method_extend_it(browser: ServiceClient) -> None:
    assert browser.app is not None
    clock = testing.clock(browser.app)
    for method, path, status in (("GET", "/nowhere", 404), ("DELETE", "/view", 405)):
        clock.move(minutes=40)
        assert (await browser.request(method, path)).status == status
    clock.move(minutes=40)
    assert (await browser.get("/who")).status == 200


@pytest.mark.parametrize(
    "path",
    ["/background-first", "/guard-first", "/guarded", "/method", "/bound-guarded", "/partial-guarded", "/partial-of-guarded"],
)
async def test_a_guard_under_or_over_the_mark_still_guards(aiohttp_client: AiohttpClient, path: str) -> None:
    client = await aiohttp_client(make_app())
    assert (await client.get(path)).status == 401


async def test_a_guard_looks_at_the_request_that_is_served(aiohttp_client: AiohttpClient) -> None:
    """A handler's object may keep a request of its own, here one of a signed-in user."""

    class Last:
        request: web.Request | None = None

        @require_auth
        async def serve(self, request: web.Request) -> web.Response:
            return await answer(request)

    last = Last()

    async def keep(request: web.Request) -> web.Response:
        last.request = request
        await stateroom.sign_in(request, "ada")
        return web.json_response({})

    app = web.Application()
    stateroom.setup(app, testing.settings(), client_factory=testing.fake_redis)
    app.add_routes([web.post("/keep", keep), web.get("/serve", last.serve)])
    client = await aiohttp_client(app, cookie_jar=CookieJar(unsafe=True))
    assert (await client.post("/keep")).status == 200
    client.session.cookie_jar.clear()
    assert (await client.get("/serve")).status == 401
