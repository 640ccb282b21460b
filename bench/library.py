"""An application with the library and nothing else: `python library.py PORT`. Settings come from the environment."""

import functools
import json
import sys

import uvloop
from aiohttp import web

import stateroom

compact = functools.partial(json.dumps, separators=(",", ":"))


async def sign_in(request: web.Request) -> web.Response:
    session = await stateroom.sign_in(request, (await request.json())["user_id"])
    stateroom.flash(session, "success", "Welcome, Ada.")
    return web.Response(status=204)


@stateroom.require_auth
async def check(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    answer = {
        "authenticated": True,
        "user_id": session.user_id,
        "degraded": session.degraded,
        "expires_in": session.expires_in,
    }
    return web.json_response(answer, headers={"Cache-Control": "no-store"}, dumps=compact)


app = web.Application()
stateroom.setup(app)
app.router.add_post("/login", sign_in)
app.router.add_get("/api/auth/check", check)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, backlog=1024, loop=uvloop.new_event_loop())
