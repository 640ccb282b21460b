"""A small application on real servers, and a browser with a cookie jar that visits it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, web

import stateroom
from stateroom import SESSIONS, require_auth

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
NAME = "session_id"


class Gate:
    """Holds requests until the test opens it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.opened = asyncio.Event()
        self.arrived = asyncio.Condition()

    async def wait(self) -> None:
        async with self.arrived:
            self.waiting += 1
            self.arrived.notify_all()
        await self.opened.wait()

    async def until(self, count: int) -> None:
        async with self.arrived:
            await self.arrived.wait_for(lambda: self.waiting >= count)


@require_auth
async def socket(request: web.Request) -> web.WebSocketResponse:
    """A WebSocket of a signed-in user."""
    return await held_open(request)


async def held_open(request: web.Request) -> web.WebSocketResponse:
    """Open a WebSocket, which stays open until the session ends or the client leaves."""
    made = web.WebSocketResponse()
    await made.prepare(request)
    await made.send_str("open")
    async for _ in made:
        pass
    return made


async def who(request: web.Request) -> web.Response:
    """Whose session it is, and what it holds."""
    session = stateroom.get_session(request)
    return web.json_response({"user": session.user_id, "data": dict(session), "ended": session.ended})


async def enter(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, request.match_info["user"])
    return web.json_response({})


async def leave(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    return web.json_response({})


async def put(request: web.Request) -> web.Response:
    stateroom.get_session(request).update(await request.json())
    return web.json_response({})


async def messages(request: web.Request) -> web.Response:
    return web.json_response(await stateroom.take_flashes(stateroom.get_session(request)))


@dataclass(frozen=True)
class Answer:
    """`set_cookie`: the header lines of that name. `body`: JSON, or text."""

    status: int
    body: Any
    set_cookie: list[str]


class Browser:
    """A cookie jar, and requests with it."""

    def __init__(self, session: ClientSession, without_jar: ClientSession, url: str) -> None:
        self.session = session
        self._without_jar = without_jar
        self._url = url

    async def ask(self, method: str, path: str, *, cookie: str | None = None, **options: Any) -> Answer:
        """Send a request. `cookie`: the session value to send in place of the jar's; the jar takes the response's all the same."""
        headers = dict(options.pop("headers", {}))
        if cookie is not None:
            headers["Cookie"] = f"{NAME}={cookie}"
        session = self.session if cookie is None else self._without_jar
        url = self._url + path
        async with session.request(method, url, headers=headers, allow_redirects=False, **options) as response:
            if cookie is not None:
                self.session.cookie_jar.update_cookies(response.cookies, response.url)
            is_json = "json" in response.content_type
            body = await response.json(content_type=None) if is_json else await response.text()
            return Answer(response.status, body, response.headers.getall("Set-Cookie", []))

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        return await self.ask("POST", path, **options)

    async def who(self) -> Any:
        return (await self.get("/who")).body

    @property
    def value(self) -> str:
        """The session cookie's value in the jar; empty if there is none."""
        return next((each.value for each in self.session.cookie_jar if each.key == NAME), "")


class Site:
    """One application that serves. `browser` makes another visitor."""

    def __init__(self, app: web.Application, url: str, browsers: Callable[[], Browser]) -> None:
        self.app = app
        self.url = url
        self.browser = browsers

    async def sessions_of(self, user: str) -> int:
        return len(await self.app[SESSIONS].list(user))

    async def stored(self) -> int:
        """How many sessions are stored."""
        return await self.app[SESSIONS].count_active()


def add_common(app: web.Application) -> None:
    """The handlers that every test needs."""
    app.router.add_get("/who", who)
    app.router.add_get("/messages", messages)
    app.router.add_post("/in/{user}", enter)
    app.router.add_post("/out", leave)
    app.router.add_post("/put", put)
