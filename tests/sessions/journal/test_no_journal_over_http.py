"""With `DATABASE_URL=none` an application's rotations keep the user signed in, and end what they should: on one worker and on two.

`stateroom.testing` has no database unless it is told otherwise, so an application's own tests meet this.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar, DummyCookieJar, web
from aiohttp.test_utils import TestServer

import stateroom
from stateroom import SESSIONS, testing
from stateroom.sessions.journal import interface
from stateroom.sessions.model.session import record_of
from stateroom.setup import PARTS

from ...servers import Servers


async def sign_in(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, 7)
    return web.json_response({})


async def reauthenticate(request: web.Request) -> web.Response:
    await stateroom.reauthenticate(request)
    return web.json_response({})


async def revoke_others(request: web.Request) -> web.Response:
    return web.json_response({"ended": await stateroom.revoke_others(request)})


async def rotate(request: web.Request) -> web.Response:
    await request.app[SESSIONS].rotate(stateroom.get_session(request))
    return web.json_response({})


async def sign_out(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    return web.json_response({})


async def write(request: web.Request) -> web.Response:
    stateroom.get_session(request)["late"] = True
    return web.json_response({})


async def read(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    return web.json_response({"user": session.user_id, "data": dict(session), "ended": session.ended})


def make_app(settings: stateroom.Settings, **options: Any) -> web.Application:
    app = web.Application()
    stateroom.setup(app, settings, **options)
    for handler in (sign_in, reauthenticate, revoke_others, rotate, sign_out, write):
        app.router.add_post(f"/{handler.__name__}", handler)
    app.router.add_get("/read", read)
    return app


class Site:
    """The workers of one deployment. Browsers send each request to the worker that they are told, by its number."""

    def __init__(self, workers: list[TestServer]) -> None:
        self.workers = workers
        self._browsers: list[ClientSession] = []

    def browser(self) -> ClientSession:
        made = ClientSession(cookie_jar=CookieJar(unsafe=True))
        self._browsers.append(made)
        return made

    async def aclose(self) -> None:
        for browser in self._browsers:
            await browser.close()

    async def post(self, browser: ClientSession, step: str, worker: int = 0, **options: Any) -> tuple[int, Any]:
        async with browser.post(self.workers[worker].make_url(f"/{step}"), **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def read(self, browser: ClientSession, worker: int = 0, **options: Any) -> Any:
        async with browser.get(self.workers[worker].make_url("/read"), **options) as answer:
            assert answer.status == 200
            return await answer.json()

    def cookie(self, browser: ClientSession) -> dict[str, str]:
        """What the browser would send now."""
        return {"Cookie": browser.cookie_jar.filter_cookies(self.workers[0].make_url("/")).output(header="", sep=";").strip()}


@pytest.fixture(params=["testing", "one worker", "two workers"])
async def site(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[Site]:
    if request.param == "testing":
        apps = [make_app(testing.settings(), client_factory=testing.fake_redis)]
    else:
        settings = servers.settings("valkey", redis_key_prefix=f"test-{secrets.token_hex(4)}")
        apps = [make_app(settings) for _ in range(2 if request.param == "two workers" else 1)]
    workers = [TestServer(app) for app in apps]
    for worker in workers:
        await worker.start_server()
    made = Site([workers[0], workers[-1]])
    yield made
    await made.aclose()
    for worker in workers:
        await worker.close()


@pytest.mark.parametrize("step", ["reauthenticate", "rotate", "revoke_others"])
async def test_a_new_id_keeps_the_user_signed_in_with_the_data(site: Site, step: str) -> None:
    browser = site.browser()
    await site.post(browser, "sign_in")
    await site.post(browser, "write")
    for worker in (0, 1, 0):
        before = site.cookie(browser)
        assert (await site.post(browser, step, worker))[0] == 200
        assert site.cookie(browser) != before
        assert await site.read(browser, 1) == {"user": 7, "data": {"late": True}, "ended": None}
        assert (await site.read(browser, 0))["user"] == 7


async def test_all_others_end_and_are_counted(site: Site) -> None:
    browsers = [site.browser() for _ in range(4)]
    for browser in browsers:
        await site.post(browser, "sign_in")
    assert await site.post(browsers[0], "revoke_others", 1) == (200, {"ended": 3})
    assert (await site.read(browsers[0]))["user"] == 7
    for browser in browsers[1:]:
        answer = await site.read(browser, 0)
        assert (answer["user"], answer["ended"]) == (None, "revoked")


@pytest.mark.parametrize("step", ["reauthenticate", "rotate", "revoke_others", "sign_in"])
async def test_a_request_with_the_cookie_from_before_is_told_so_and_leaves_the_new_one_alone(site: Site, step: str) -> None:
    browser = site.browser()
    await site.post(browser, "sign_in")
    late = site.cookie(browser)
    await site.post(browser, step, 0)
    async with ClientSession(cookie_jar=DummyCookieJar()) as raw:
        status, problem = await site.post(raw, "write", 1, headers=late)
    assert (status, problem.get("reason")) == (401, "rotated")
    assert (await site.read(browser, 1))["user"] == 7


async def test_a_visitors_cookie_from_before_a_sign_in_makes_no_new_session(site: Site) -> None:
    browser = site.browser()
    await site.post(browser, "write")
    late = site.cookie(browser)
    await site.post(browser, "sign_in")
    async with ClientSession(cookie_jar=DummyCookieJar()) as raw:
        status, problem = await site.post(raw, "write", 1, headers=late)
    assert (status, problem.get("reason")) == (401, "rotated")


async def test_of_parallel_rotations_one_succeeds_and_the_others_are_told(site: Site) -> None:
    browser = site.browser()
    await site.post(browser, "sign_in")
    late = site.cookie(browser)
    async with ClientSession(cookie_jar=DummyCookieJar()) as raw:
        answers = await asyncio.gather(*(site.post(raw, "rotate", number % 2, headers=late) for number in range(6)))
    assert sorted(status for status, _ in answers) == [200, 401, 401, 401, 401, 401]
    assert {problem.get("reason") for status, problem in answers if status == 401} == {"rotated"}


async def test_a_sign_out_with_the_cookie_from_before_ends_what_the_session_became(site: Site) -> None:
    browser = site.browser()
    await site.post(browser, "sign_in")
    late = site.cookie(browser)
    await site.post(browser, "rotate", 0)
    async with ClientSession(cookie_jar=DummyCookieJar()) as raw:
        assert (await site.post(raw, "sign_out", 1, headers=late))[0] == 200
    assert (await site.read(browser, 0))["ended"] == "logout"


async def test_a_rotation_that_failed_halfway_does_not_stop_the_next_one(servers: Servers) -> None:
    app = make_app(servers.settings("valkey", redis_key_prefix=f"test-{secrets.token_hex(4)}"))
    app.freeze()
    await app.startup()
    manager, parts = app[SESSIONS], app[PARTS]
    session = await manager.create(7, data={"n": 1})
    before = await manager.load(manager.seal(session))
    ref = record_of(session).ref
    assert await parts.store.entomb(ref, "rotated", "never-claimed", interface.REMEMBERED_MS)
    await manager.rotate(session)
    assert dict(await manager.load(manager.seal(session))) == {"n": 1}
    assert (await manager.load(manager.seal(before))).ended == "rotated"
    await app.cleanup()
