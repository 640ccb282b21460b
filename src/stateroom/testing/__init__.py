"""Helps to test an application that uses Stateroom, without a server and without waiting.

    app = make_app()
    stateroom.setup(app, testing.settings(), client_factory=testing.fake_redis)
    client = await aiohttp_client(app)
    await testing.sign_in_as(client, 42)
    testing.clock(app).move(hours=2)
    with testing.redis_down(app): ...

`pytest_plugins = ["stateroom.testing.plugin"]` adds fixtures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock

from aiohttp import web

from ..errors import StoreUnavailable
from ..request.request_session import SESSIONS
from ..sessions.sealing.key_ring import new_key
from ..settings import Settings
from ..setup import CLIENT, PARTS

if TYPE_CHECKING:
    import redis.asyncio
    from aiohttp.test_utils import TestClient

    from ..sessions.model.identity import UserId
    from ..sessions.model.session import Session


def settings(**values: Any) -> Settings:
    """Settings for a test: no `.env` file, no database, cookies without Secure, a new cookie key.

    `values`: settings by name, in lower case. Raises `SettingsError` for an invalid value.
    """
    defaults: dict[str, Any] = {
        "_env_file": None,
        "redis_mode": "single",
        "database_url": "none",
        "cookie_keys": new_key(),
        "cookie_secure": False,
        "session_name": "session_id",
    }
    return Settings(**(defaults | values))


def fake_redis(settings: Settings) -> redis.asyncio.Redis:
    """A client factory for `setup`: a new fakeredis in this process. Needs the extra `embedded`."""
    import fakeredis

    return fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())


async def sign_in_as(
    client: TestClient[web.Request, web.Application],
    user_id: UserId,
    *,
    data: Mapping[str, Any] | None = None,
    remember: bool = False,
) -> Session:
    """Sign a test client in, without a password. Stores a session and puts its cookie into the client's jar.

    `data`: the session's data. `remember`: the session lives `SESSION_REMEMBER_MAX_AGE`. Raises as `SessionManager.create`.
    """
    app = client.app
    assert app is not None, "the client has no application"
    manager = app[SESSIONS]
    session = await manager.create(user_id, data=data, remember=remember)
    name = manager.settings.session_name
    client.session.cookie_jar.update_cookies({name: manager.seal(session)}, client.make_url("/"))
    return session


class MovableClock:
    """Moves the time of one application's sessions. Stored times stay as they are, so sessions become older."""

    def __init__(self, app: web.Application) -> None:
        self._clock = app[PARTS].clock

    def move(self, **duration: float) -> None:
        """Move time forward. `duration`: arguments of `datetime.timedelta`, as in `move(minutes=5)`."""
        self._clock.skew_ms += int(timedelta(**duration).total_seconds() * 1000)


def clock(app: web.Application) -> MovableClock:
    """The application's clock. The application must be set up."""
    return MovableClock(app)


@contextlib.contextmanager
def redis_down(app: web.Application) -> Iterator[None]:
    """Inside this context Redis is unavailable. The application must have started."""

    async def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("Redis is unavailable, for a test")

    with mock.patch.multiple(app[CLIENT], execute=down, run=down, pipeline=down, run_durably=down):
        yield
