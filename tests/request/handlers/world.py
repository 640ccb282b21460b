"""A real server and its browsers. Whatever a test does here is checked against the model (model.py), step by step."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from typing import Any

import redis
from aiohttp import ClientError, ClientResponse, ClientSession, CookieJar
from aiohttp.test_utils import TestServer

from stateroom import SESSIONS
from stateroom.sessions.model.identity import user_key
from stateroom.settings import Settings
from stateroom.setup import PARTS
from tests.patience import settled

from .application import CHANNELS, ENDS, Channel, Outcome, Step, make_app
from .model import Answer, Visit
from .stored import Broken, Stored, check

PATIENCE_SECONDS = 20.0


_DELETE_ALL = """
for _, kind in ipairs({"s", "u"}) do
  for _, key in ipairs(redis.call("KEYS", ARGV[1] .. ":{*}:" .. kind .. ":*")) do redis.call("DEL", key) end
end
"""
_ALL = """
local found = {}
for _, key in ipairs(redis.call("KEYS", ARGV[1] .. ":{*}:s:*")) do
  found[#found + 1] = {key, redis.call("HGETALL", key)}
end
for _, key in ipairs(redis.call("KEYS", ARGV[1] .. ":{*}:u:*")) do
  found[#found + 1] = {key, redis.call("ZRANGE", key, 0, -1)}
end
return found
"""


class World:
    """One application under test. `begin` makes it a new one, for as good as nothing."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app = make_app(settings)
        self.loop = asyncio.new_event_loop()
        self.redis = redis.Redis(settings.redis_host, settings.redis_port)
        self.server = TestServer(self.app)
        self._log = logging.getLogger("aiohttp.server")
        self._log.setLevel(logging.CRITICAL)  # handlers raise on purpose
        self.do(self._start())
        self._numbers = itertools.count(1)
        self._user_numbers = itertools.count(1)
        self._browsers: list[Browser] = []
        self.begin()

    async def _start(self) -> None:
        await self.server.start_server(access_log=None)
        await settled(self.app)

    def do(self, work: Any) -> Any:
        """Run it to its end. Nothing of the application runs in between."""

        async def in_time() -> Any:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await work

        return self.loop.run_until_complete(in_time())

    def begin(self) -> None:
        """Forget everything: no sessions, no browsers, other users."""
        self.redis.eval(_DELETE_ALL, 0, self.settings.redis_key_prefix)
        self.users = [next(self._user_numbers), next(self._user_numbers)]
        self.sessions: list[Stored] = []
        self._values = itertools.count(1)

    def new_value(self) -> int:
        """A value that nobody has written yet: so each one tells who wrote it."""
        return next(self._values)

    def hear(self) -> None:
        """Read the journal now. The application does so by itself in short intervals, while it runs."""
        if self.settings.has_database:
            self.do(self.app[PARTS].tail.catch_up())

    def browser(self) -> Browser:
        made = Browser(self)
        self._browsers.append(made)
        return made

    def end(self) -> None:
        """Stop what is under way and close the browsers."""
        for browser in self._browsers:
            self.do(browser.aclose())
        self._browsers.clear()

    def close(self) -> None:
        self.end()
        self.do(self.server.close())
        self.redis.close()
        self.loop.close()
        self._log.setLevel(logging.NOTSET)

    def next_number(self) -> int:
        return next(self._numbers)

    def handle_of(self, value: str) -> str:
        """The session that a cookie opens."""
        credential = self.app[SESSIONS]._open(value, "cookie")
        assert credential is not None, "the cookie opens nothing"
        return credential.handle

    def check_store(self, under_way: str = "") -> None:
        """The store has the sessions that it should, and no others, and each is in the index of its user.

        `under_way`: what happened just now, for the message.
        """
        found, listed = self._stored()
        for session in self.sessions:
            if session.lives is None:
                session.lives = session.handle in found
        live = {session.handle: session for session in self.sessions if session.lives}
        check(not found.keys() - live.keys(), f"{under_way}: the store has a session that should not be")
        check(not live.keys() - found.keys(), f"{under_way}: the store has lost a session")
        for handle, session in live.items():
            self._check_fields(session, found[handle], under_way)
        for user in self.users:
            mine = {handle for handle, session in live.items() if session.user == user}
            check(listed.get(user_key(user), set()) == mine, f"{under_way}: the user's index does not list the user's sessions")
        with_visits = {id(visit.session) for browser in self._browsers for visit in browser.visits if not visit.headers_sent}
        for session in live.values():
            check(session.is_sent or id(session) in with_visits, f"{under_way}: a session is stored whose cookie nobody was given")

    def _stored(self) -> tuple[dict[str, dict[str, bytes]], dict[str, set[str]]]:
        """Every stored session by its handle, and the handles in each user's index."""
        sessions: dict[str, dict[str, bytes]] = {}
        indexes: dict[str, set[str]] = {}
        for key, values in self.redis.eval(_ALL, 0, self.settings.redis_key_prefix):
            _, kind, name = key.decode().rsplit(":", 2)
            if kind == "s":
                sessions[name] = {field.decode(): value for field, value in zip(values[::2], values[1::2], strict=True)}
            else:
                indexes[name] = {handle.decode() for handle in values}
        return sessions, indexes

    def _check_fields(self, session: Stored, fields: dict[str, bytes], under_way: str) -> None:
        data = {name[1:]: json.loads(value) for name, value in fields.items() if name[0] == "."}
        flashes = fields.get("!info", b"").decode().split()
        if (data, flashes) in session.may_have:
            session.data, session.flashes = data, flashes
        session.may_have = []
        check(data == session.data, f"{under_way}: the store has {data} in place of {session.data}")
        check(flashes == session.flashes, f"{under_way}: the store has messages {flashes} in place of {session.flashes}")


class Browser:
    """A client with a cookie jar. `session`: what the jar's cookie opens, as the model has it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.session: Stored | None = None
        self.visits: list[Request] = []
        self.jar: CookieJar
        world.do(self._open())

    async def _open(self) -> None:
        self.jar = CookieJar(unsafe=True)  # the server's address is a number
        self.client = ClientSession(cookie_jar=self.jar)

    async def aclose(self) -> None:
        for visit in self.visits:
            visit.channel.steps.put_nowait(Step("raise"))
            with contextlib.suppress(ClientError):
                (await visit.answer).close()
        await self.client.close()

    def open(self) -> Request:
        """Send a request with the jar's cookie. Its handler waits for steps."""
        made = Request(self)
        self.visits.append(made)
        made.begin()
        return made

    def sees(self) -> tuple[int | None, dict[str, Any]]:
        """Who the next request is of, and the session's data."""
        request = self.open()
        data = request.step("look").value
        request.step("return")
        return request.user, data


class Request(Visit):
    """One request, and its visit in the model."""

    def __init__(self, browser: Browser) -> None:
        super().__init__(browser.world.sessions, browser.session)
        self.browser, self.world = browser, browser.world
        self.channel = Channel()
        number = self.world.next_number()
        self.world.app[CHANNELS][number] = self.channel

        async def ask() -> asyncio.Task[ClientResponse]:
            url = self.world.server.make_url(f"/play/{number}")
            return asyncio.create_task(browser.client.post(url, allow_redirects=False))

        self.answer: asyncio.Task[ClientResponse] = self.world.do(ask())

    def begin(self) -> None:
        self.opened(self._outcome())

    @property
    def is_over(self) -> bool:
        """Whether its handler has ended."""
        return self not in self.browser.visits

    def step(self, name: str, key: str = "", value: Any = None) -> Outcome:
        """Let the handler do this now. What it did is checked."""
        step = Step(name, key, value)
        self.channel.steps.put_nowait(step)
        outcome = Outcome()
        if name in ENDS:
            self.browser.visits.remove(self)
            self._end(name)
        elif name == "prepare":
            if self._receive(name) == 200:
                self.headers_sent, self.streamed = True, self.session
                outcome = self._outcome()
            else:
                self.browser.visits.remove(self)
        else:
            outcome = self._outcome()
            if not self.is_over:
                self.did(step, outcome)
        self.world.check_store(f"after {name}")
        return outcome

    def _outcome(self) -> Outcome:
        outcome: Outcome | None = self.world.do(self._next())
        if outcome is None:
            check(self.streamed is not None and not self.streamed.lives, "the handler was broken off")
            self.browser.visits.remove(self)  # a stream ends with its session
        return outcome or Outcome()

    async def _next(self) -> Outcome | None:
        """The next outcome; None if there will be none, because the handler or the connection has ended."""
        waiting = asyncio.create_task(self.channel.outcomes.get())
        if not self.headers_sent:  # then the answer comes when the handler has ended
            await asyncio.wait([waiting, self.answer], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done() and self.channel.outcomes.empty():
                waiting.cancel()
                return None
        return await waiting

    def _end(self, how: str) -> None:
        if self.headers_sent:
            self.ended_late(how)
        else:
            self._receive(how)
        with contextlib.suppress(ClientError):  # a stream may break off
            self.world.do(self._read())

    async def _read(self) -> None:
        async with await self.answer as response:
            await response.read()
            if self.streamed is not None and not self.streamed.lives:
                response.close()  # the server may be about to cut the connection: no request can tell

    def _receive(self, how: str) -> int:
        """The headers arrive. Returns the status."""
        try:
            response: ClientResponse = self.world.do(self.answer)
        except ClientError as error:
            raise Broken(f"{how} was not answered") from error
        cookie = self._cookie(response)
        self.answered(how, Answer(response.status, cookie))
        if cookie is not None:
            self.browser.session = self.session if cookie else None
        return response.status

    def _cookie(self, response: ClientResponse) -> str | None:
        name = f"{self.world.settings.session_name}="
        ours = [line for line in response.headers.getall("Set-Cookie", []) if line.startswith(name)]
        if not ours:
            return None
        check(len(ours) == 1, "the answer has two cookies")
        value = ours[0].removeprefix(name).partition(";")[0]
        return self.world.handle_of(value) if value else ""
