"""An application that checks passwords in the event loop's default executor: `python executor.py PORT`.

Its sessions are Stateroom's. It differs from the service only in where bcrypt runs, and in how many hashes run at once.
"""

import asyncio
import sys

import bcrypt
import uvloop
from aiohttp import web

import stateroom

ROUNDS = 12
USER_ID, EMAIL, PASSWORD = 1, "demo@example.com", b"password123"
HASH = bcrypt.hashpw(PASSWORD, bcrypt.gensalt(ROUNDS))


async def login(request: web.Request) -> web.Response:
    given = await request.json()
    is_right = await asyncio.get_running_loop().run_in_executor(None, bcrypt.checkpw, given["password"].encode(), HASH)
    if not is_right or given["email"] != EMAIL:
        raise web.HTTPUnauthorized
    await stateroom.sign_in(request, USER_ID)
    return web.json_response({"message": "login successful"})


@stateroom.require_auth
async def check(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    return web.json_response({"authenticated": True, "user_id": session.user_id})


async def alive(request: web.Request) -> web.Response:
    return web.Response()


app = web.Application()
stateroom.setup(app)
app.add_routes([web.get("/livez", alive), web.post("/api/auth/login", login), web.get("/api/auth/check", check)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, backlog=1024, loop=uvloop.new_event_loop())
