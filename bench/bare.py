"""A bare aiohttp handler that answers with the body of an authenticated check: the least that a check can cost."""

import sys

import uvloop
from aiohttp import web

BODY = b'{"authenticated":true,"user_id":1,"degraded":false,"expires_in":3599}'


async def check(request: web.Request) -> web.Response:
    return web.Response(body=BODY, content_type="application/json", headers={"Cache-Control": "no-store"})


app = web.Application()
app.router.add_get("/api/auth/check", check)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, backlog=1024, loop=uvloop.new_event_loop())
