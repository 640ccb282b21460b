"""A peer for comparison in drills, an application with aiohttp-session: `python -m stateroom.drills.peer`.

Its sessions are in Redis, which redis-py finds through Sentinel. All libraries have their default settings. It answers
the requests of the drills' clients. Every email address may sign in with the clients' password, because accounts are
not judged.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp_session import Session, get_session, new_session, setup
from aiohttp_session.redis_storage import RedisStorage
from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from ..insides.of_redis import connect_from
from ..settings import parse_address
from .client import COOKIE, PASSWORD

STORE = web.AppKey("peer_store", Redis)
PROBE = "session_id_probe"
routes = web.RouteTableDef()


@routes.post("/api/auth/register")
@routes.post("/api/auth/login")
async def login(request: web.Request) -> web.Response:
    body = await request.json()
    if body["password"] != PASSWORD:
        return web.json_response({"error": "invalid credentials"}, status=401)
    session = await new_session(request)
    session["user"] = body["email"]
    return web.json_response({"message": "login successful"})


@routes.post("/api/auth/reauthenticate")
async def reauthenticate(request: web.Request) -> web.Response:
    return await _as_user(request, lambda _: {"message": "signed in"})


@routes.post("/api/auth/logout")
async def logout(request: web.Request) -> web.Response:
    (await get_session(request)).invalidate()
    return web.json_response({"message": "logout successful"})


@routes.get("/api/auth/check")
async def check(request: web.Request) -> web.Response:
    return web.json_response({"authenticated": "user" in await get_session(request)})


@routes.get("/api/profile")
async def profile(request: web.Request) -> web.Response:
    return await _as_user(request, lambda session: {"user": session["user"]})


@routes.put("/drill/data/{key}")
async def put(request: web.Request) -> web.Response:
    value = await request.json()
    session = await get_session(request)
    session[request.match_info["key"]] = value
    return web.json_response({"value": value})


@routes.get("/drill/data")
async def data(request: web.Request) -> web.Response:
    return web.json_response({"data": dict(await get_session(request))})


@routes.get("/drill/state")
async def state(request: web.Request) -> web.Response:
    """`settled` if it can write to Redis now, else `away`. It knows no other states."""
    try:
        await request.app[STORE].set(PROBE, 1)
    except (RedisError, OSError, TimeoutError):
        return web.Response(text="away")
    return web.Response(text="settled")


@routes.get("/readyz")
async def readyz(request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _as_user(request: web.Request, tell: Callable[[Session], dict[str, Any]]) -> web.Response:
    session = await get_session(request)
    if "user" not in session:
        return web.json_response({"error": "sign in"}, status=401)
    return web.json_response(tell(session))


@web.middleware
async def _problems(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    try:
        return await handler(request)
    except (RedisError, OSError, TimeoutError) as error:
        return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=500)


def make_app() -> web.Application:
    hosts = [parse_address(part.strip()) for part in os.environ["REDIS_SENTINELS"].split(",")]
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [(host.host, host.port) for host in hosts],
        username=os.environ["REDIS_USERNAME"], password=os.environ["REDIS_PASSWORD"], sentinel_kwargs={},
    )  # fmt: skip
    store = sentinel.master_for(os.environ["REDIS_MASTER_NAME"])

    async def closing(_: web.Application) -> AsyncIterator[None]:
        yield
        await store.aclose()

    app = web.Application(middlewares=[_problems])
    app[STORE] = store
    setup(app, RedisStorage(store, cookie_name=COOKIE))
    app.add_routes(routes)
    app.cleanup_ctx.append(closing)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stateroom.drills.peer", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", help="the address that connections to Redis and Sentinels come from")
    options = parser.parse_args()
    if options.source is not None:
        connect_from(options.source)
    web.run_app(make_app(), host=os.environ["HOST"], port=int(os.environ["PORT"]), print=None, access_log=None)


if __name__ == "__main__":
    main()
