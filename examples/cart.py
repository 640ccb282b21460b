"""A shop's cart in thirty lines.

Run `.venv/bin/python examples/cart.py` after `make run` or `make test`, then open http://localhost:8081/.
"""

from aiohttp import web

import stateroom


async def add(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    sku = (await request.json())["sku"]
    cart = await session.change("cart", lambda cart: [*(cart or []), sku])  # One atomic step: a parallel request cannot undo it.
    stateroom.flash(session, "success", "Added.")
    return web.json_response({"cart": cart})


async def show(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    return web.json_response({"cart": session.get("cart", []), **await stateroom.take_flashes(session)})


@stateroom.require_auth
async def me(request: web.Request) -> web.Response:
    return web.json_response({"user_id": stateroom.get_session(request).user_id})


def make_app(settings: stateroom.Settings | None = None) -> web.Application:
    app = web.Application()
    stateroom.setup(app, settings)
    app.add_routes([web.get("/", show), web.post("/cart", add), web.get("/me", me)])
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8081)
