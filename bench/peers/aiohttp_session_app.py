"""aiohttp-session with its Redis storage: `python aiohttp_session_app.py PORT REDIS_PORT [renew]`.

A check reads the session (GET). With `renew` each request also writes it (SET with EX). With this library that is the
only way to keep a session from expiring while it is used.
"""

import functools
import json
import sys

import aiohttp_session
import uvloop
from aiohttp import web
from aiohttp_session.redis_storage import RedisStorage
from redis.asyncio import BlockingConnectionPool, Redis

MAX_AGE_SECONDS = 3600
CONNECTIONS = 64
"""Connections to Redis. redis-py's default pool fails requests above 100 connections; this pool waits."""

port, redis_port, renews = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["renew"]
compact = functools.partial(json.dumps, separators=(",", ":"))


async def sign_in(request: web.Request) -> web.Response:
    session = await aiohttp_session.new_session(request)
    session.update(await request.json())
    return web.Response(status=204)


async def check(request: web.Request) -> web.Response:
    session = await aiohttp_session.get_session(request)
    if "user_id" not in session:
        raise web.HTTPUnauthorized
    if renews:
        session.changed()
    answer = {"authenticated": True, "user_id": session["user_id"], "degraded": False, "expires_in": MAX_AGE_SECONDS - 1}
    return web.json_response(answer, headers={"Cache-Control": "no-store"}, dumps=compact)


async def make_app() -> web.Application:
    app = web.Application()
    pool = BlockingConnectionPool.from_url(f"redis://127.0.0.1:{redis_port}", max_connections=CONNECTIONS)
    aiohttp_session.setup(app, RedisStorage(Redis.from_pool(pool), max_age=MAX_AGE_SECONDS))
    app.router.add_post("/login", sign_in)
    app.router.add_get("/api/auth/check", check)
    return app


web.run_app(make_app(), host="127.0.0.1", port=port, access_log=None, print=None, backlog=1024, loop=uvloop.new_event_loop())
