"""The names of aiohttp-session on top of Stateroom, as far as its own behavioural tests need them.

Its storages become settings of `stateroom.setup`, and sessions that a test puts into Redis are carried over. The cookie has its
name, so that tests find it.
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from functools import partial
from typing import Any

import pytest
import redis.asyncio
from aiohttp import web
from aiohttp.http_writer import StreamWriter
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict, CIMultiDictProxy

import stateroom
from stateroom import testing
from stateroom.sessions.model.record import SessionRecord

SESSION_KEY, STORAGE_KEY = "aiohttp_session", "aiohttp_session_storage"
OUR_COOKIE = "session_id"
SECONDS = 3600

_managers: list[stateroom.SessionManager] = []
"""The last one is the test's."""


class Session(MutableMapping[str, Any]):
    """A request's session with the names that aiohttp-session has for it. Tests of the mapping alone make some by themselves."""

    def __init__(
        self, identity: object, *, data: dict[str, Any] | None = None, new: bool = False, ours: stateroom.Session | None = None
    ) -> None:
        self.identity = identity
        self.ours = ours if ours is not None else stateroom.Session(SessionRecord(), None)  # type: ignore[arg-type]
        self.ours.update((data or {}).get("session", {}))
        self.is_invalid = self._changed = False

    @property
    def new(self) -> bool:
        return not self.ours.is_stored

    @property
    def created(self) -> Any:
        return self.ours.created_at

    def invalidate(self) -> None:
        """The session ends when the handler has returned."""
        self.ours.clear()
        self.is_invalid = self._changed = True

    def __getitem__(self, key: str) -> Any:
        return self.ours[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.ours[key] = value
        self._changed = True

    def __delitem__(self, key: str) -> None:
        del self.ours[key]
        self._changed = True

    def __iter__(self) -> Iterator[str]:
        return iter(self.ours)

    def __len__(self) -> int:
        return len(self.ours)

    @property
    def _mapping(self) -> dict[str, Any]:
        return dict(self.ours)


class AbstractStorage:
    """Where sessions are, and the cookie's attributes."""

    def __init__(self, *, cookie_name: str = "AIOHTTP_SESSION", max_age: int | None = None, path: str = "/", **_: Any) -> None:
        self.cookie_name, self.max_age, self.path = cookie_name, max_age, path


class SimpleCookieStorage(AbstractStorage):
    """Sessions are in the store all the same: a cookie that can be written by its bearer proves nothing."""


class EncryptedCookieStorage(AbstractStorage):
    def __init__(self, key: object, **options: Any) -> None:
        super().__init__(**options)


class RedisStorage(AbstractStorage):
    def __init__(self, client: redis.asyncio.Redis, **options: Any) -> None:
        super().__init__(**options)


async def get_session(request: web.Request) -> Session:
    if SESSION_KEY not in request:
        request[SESSION_KEY] = Session(None, ours=stateroom.get_session(request))
    session: Session = request[SESSION_KEY]
    return session


async def new_session(request: web.Request) -> Session:
    await stateroom.sign_out(request)
    request.pop(SESSION_KEY, None)
    return await get_session(request)


def session_middleware(storage: AbstractStorage) -> Middleware:
    if not isinstance(storage, AbstractStorage):
        raise RuntimeError(f"not a storage: {storage!r}")

    @web.middleware
    async def ending(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        session = request.get(SESSION_KEY)
        if session is not None and session.is_invalid:
            await stateroom.sign_out(request)
        return response

    ending.storage = storage  # type: ignore[attr-defined]
    return ending


def setup(app: web.Application, storage: AbstractStorage) -> None:
    app.middlewares.append(session_middleware(storage))


def is_ours(manager: stateroom.SessionManager, value: str) -> bool:
    return manager._open(value, "cookie") is not None


def _named(storage: AbstractStorage, opens: Callable[[str], bool]) -> Middleware:
    """Our cookie under aiohttp-session's name: what a request brings if it is ours, and what its response sets."""
    theirs = storage.cookie_name

    @web.middleware
    async def named(request: web.Request, handler: Handler) -> web.StreamResponse:
        value = request.cookies.get(theirs)
        if value is not None and opens(value):
            headers = CIMultiDict(request.headers)
            headers["Cookie"] = f"{OUR_COOKIE}={value}"
            request._headers = CIMultiDictProxy(headers)
            request._cache.clear()
        vars(request.writer)[_THEIRS] = theirs
        return await handler(request)

    return named


_THEIRS = "name_of_their_cookie"
_write_headers = StreamWriter.write_headers


async def _write_renamed(self: StreamWriter, status_line: str, headers: CIMultiDict[str]) -> None:
    """The last moment: our cookie is given when the headers leave."""
    theirs = vars(self).get(_THEIRS)
    if theirs is not None:
        for each in headers.popall("Set-Cookie", []):
            headers.add("Set-Cookie", each.replace(f"{OUR_COOKIE}=", f"{theirs}=", 1))
    await _write_headers(self, status_line, headers)


StreamWriter.write_headers = _write_renamed  # type: ignore[method-assign]


def _give_sessions(app: web.Application) -> None:
    storages = [each.storage for each in app.middlewares if hasattr(each, "storage")]
    if not storages or app.frozen:
        return
    [storage] = storages
    url, seconds = os.environ["REDIS_URL"], storage.max_age or SECONDS
    settings = testing.settings(redis_url=url, session_max_age=seconds, session_absolute_max_age=seconds, cookie_path=storage.path)
    later = list(app.middlewares)
    app.middlewares.clear()
    stateroom.setup(app, settings)
    stateroom.carry_over(app, redis_url=url, user_key="user_id")
    app.middlewares.insert(0, _named(storage, partial(is_ours, app[stateroom.SESSIONS])))
    app.middlewares.extend(later)
    _managers.append(app[stateroom.SESSIONS])


_make_runner = web.AppRunner.__init__


def _with_sessions(self: web.AppRunner, app: web.Application, **options: Any) -> None:
    if isinstance(app, web.Application):
        _give_sessions(app)
    _make_runner(self, app, **options)


def _install() -> None:
    web.AppRunner.__init__ = _with_sessions  # type: ignore[method-assign]
    cookie_storage, redis_storage = types.ModuleType("cookie_storage"), types.ModuleType("redis_storage")
    cookie_storage.EncryptedCookieStorage = EncryptedCookieStorage  # type: ignore[attr-defined]
    redis_storage.RedisStorage = RedisStorage  # type: ignore[attr-defined]
    this = sys.modules[__name__]
    this.SessionData = dict  # type: ignore[attr-defined]
    sys.modules |= {
        "aiohttp_session": this,
        "aiohttp_session.cookie_storage": cookie_storage,
        "aiohttp_session.redis_storage": redis_storage,
    }


_install()


@pytest.fixture(name="redis_url")
def _redis_url() -> str:
    return os.environ["REDIS_URL"]


class _TheirView(redis.asyncio.Redis):
    """Redis as a test looks at it: where aiohttp-session would have a session's JSON, ours is shown as that."""

    async def get(self, name: str) -> Any:  # type: ignore[override]
        session = await self._session(name)
        return await super().get(name) if session is None else json.dumps({"created": 0, "session": dict(session)})

    async def exists(self, name: str) -> Any:  # type: ignore[override]
        session = await self._session(name)
        return await super().exists(name) if session is None else session.is_stored

    async def ttl(self, name: str) -> Any:  # type: ignore[override]
        session = await self._session(name)
        [key] = [name] if session is None else await self.keys(f"*:s:{session.id}")
        return await super().ttl(key)

    async def _session(self, name: str) -> stateroom.Session | None:
        value = name.removeprefix("AIOHTTP_SESSION_")
        return await _managers[-1].load(value) if is_ours(_managers[-1], value) else None


@pytest.fixture(name="redis")
async def _redis(redis_url: str, loop: Any) -> AsyncIterator[redis.asyncio.Redis]:
    client = _TheirView.from_url(redis_url)
    yield client
    await client.aclose()
