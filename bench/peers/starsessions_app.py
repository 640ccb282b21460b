"""starsessions in Starlette on uvicorn: `python starsessions_app.py PORT REDIS_PORT`.

The library writes the session in each request that loads it.
"""

import sys

import uvicorn
from redis.asyncio import BlockingConnectionPool, Redis
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starsessions import SessionAutoloadMiddleware, SessionMiddleware
from starsessions.stores.redis import RedisStore

MAX_AGE_SECONDS = 3600
CONNECTIONS = 64
"""Connections to Redis. redis-py's default pool fails requests above 100 connections; this pool waits."""

port, redis_port = int(sys.argv[1]), int(sys.argv[2])


async def sign_in(request: Request) -> Response:
    request.session.update(await request.json())
    return Response(status_code=204)


async def check(request: Request) -> Response:
    if "user_id" not in request.session:
        return Response(status_code=401)
    answer = {
        "authenticated": True,
        "user_id": request.session["user_id"],
        "degraded": False,
        "expires_in": MAX_AGE_SECONDS - 1,
    }
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


pool = BlockingConnectionPool.from_url(f"redis://127.0.0.1:{redis_port}", max_connections=CONNECTIONS)
app = Starlette(
    routes=[Route("/login", sign_in, methods=["POST"]), Route("/api/auth/check", check)],
    middleware=[
        Middleware(
            SessionMiddleware,
            store=RedisStore(connection=Redis.from_pool(pool)),
            lifetime=MAX_AGE_SECONDS,
            rolling=True,
            cookie_https_only=False,
        ),
        Middleware(SessionAutoloadMiddleware),
    ],
)
uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", backlog=1024, access_log=False, log_level="warning")
