"""Who serves a path, and what its handler sees, is as with the router: in sub-applications, and where several paths fit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from yarl import URL

from stateroom.serving.runner import Runner

NAME = web.AppKey("name", str)
ONLY_OUTER = web.AppKey("only_outer", str)
SEEN = web.RequestKey("seen", str)


def application(name: str) -> web.Application:
    """An application that notes in each request, and in each answer, that it had a part in it."""

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[SEEN] = request.get(SEEN, "") + f"{name} in {request.app[NAME]}, "
        response = await handler(request)
        request[SEEN] += f"{request.app[NAME]} again, "
        response.headers["Seen"] = request[SEEN]
        return response

    async def prepare(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.add("Prepared", name)

    app = web.Application(middlewares=[note])
    app[NAME] = name
    app.on_response_prepare.append(prepare)
    app.router.add_get("/fixed", tell)
    return app


async def tell(request: web.Request) -> web.Response:
    apps = [app[NAME] for app in request.match_info.apps]
    configured = [request.config_dict[NAME], request.config_dict[ONLY_OUTER]]
    return web.json_response([request.app[NAME], apps, configured, request.path])


def named(name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=name)

    return handler


async def ask(runner: web.BaseRunner, path: str, host: str = "localhost") -> tuple[int, str, list[str], str | None]:
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = URL(f"http://127.0.0.1:{runner.addresses[0][1]}{path}", encoded=True)
        async with aiohttp.ClientSession() as client, client.get(url, headers={hdrs.HOST: host}) as response:
            return response.status, await response.text(), response.headers.getall("Prepared", []), response.headers.get("Seen")
    finally:
        await runner.cleanup()


async def ask_both(make: Callable[[], web.Application], *where: str) -> tuple[int, str, list[str], str | None]:
    """What our server answers, which must be what aiohttp's answers."""
    ours = await ask(Runner(make(), {}), *where)
    assert ours == await ask(web.AppRunner(make(), access_log=None), *where)
    return ours


def nested() -> web.Application:
    outer, middle, inner = application("outer"), application("middle"), application("inner")
    outer[ONLY_OUTER] = "set"
    middle.add_subapp("/inner", inner)
    outer.add_subapp("/middle", middle)
    return outer


@pytest.mark.parametrize(
    ("path", "apps"),
    [
        ("/fixed", ["outer"]),
        ("/middle/fixed", ["outer", "middle"]),
        ("/middle/inner/fixed", ["outer", "middle", "inner"]),
    ],
)
async def test_a_handler_sees_the_application_that_it_belongs_to(path: str, apps: list[str]) -> None:
    status, text, prepared, seen = await ask_both(nested, path)
    assert status == 200
    assert text == str([apps[-1], apps, [apps[-1], "set"], path]).replace("'", '"')
    assert prepared == apps
    assert seen is not None
    assert seen.split(", ")[: len(apps)] == [f"{name} in {name}" for name in apps]


async def test_requests_of_two_applications_at_once_keep_theirs() -> None:
    runner = Runner(nested(), {})
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            paths = ["/fixed", "/middle/fixed", "/middle/inner/fixed"] * 10
            answers = await asyncio.gather(*(client.get(path) for path in paths))
            for path, answer in zip(paths, answers, strict=True):
                assert (await answer.json())[-1] == path
                names = [each.split(" ")[0] for each in answer.headers["Seen"].rstrip(",").split(", ")]
                assert names == names[::-1], "each middleware goes on in the application that it began in"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("host", "served"), [("inner.example", "inner"), ("other.example", "outer")])
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_path_of_a_domain_is_served_for_that_domain_only(host: str, served: str, is_first: bool) -> None:
    def make() -> web.Application:
        outer, inner = web.Application(), web.Application()
        inner.router.add_get("/fixed", named("inner"))
        if is_first:
            outer.add_domain("inner.example", inner)
        outer.router.add_get("/fixed", named("outer"))
        if not is_first:
            outer.add_domain("inner.example", inner)
        return outer

    assert (await ask_both(make, "/fixed", host))[:2] == (200, served)


def twice(app: web.Application) -> None:
    app.router.add_get("/a", named("first"))
    app.router.add_get("/b", named("between"))
    app.router.add_get("/a", named("second"))


def after_a_pattern(app: web.Application) -> None:
    app.router.add_get("/a/{rest:.*}", named("first"))
    app.router.add_get("/a/", named("second"))


def after_every_method(app: web.Application) -> None:
    app.router.add_route("*", "/a", named("first"))
    app.router.add_get("/b", named("between"))
    app.router.add_get("/a", named("second"))


def in_a_prefix(app: web.Application) -> None:
    inner = web.Application()
    inner.router.add_get("/", named("inner"))
    app.add_subapp("/a", inner)
    app.router.add_get("/a/", named("second"))


@pytest.mark.parametrize(
    ("add", "path", "told"),
    [
        (twice, "/a", (200, "first")),
        (after_a_pattern, "/a/", (200, "first")),
        (after_every_method, "/a", (200, "first")),
        (in_a_prefix, "/a/", (200, "inner")),
    ],
)
async def test_of_two_that_fit_the_one_that_was_added_first_serves(
    add: Callable[[web.Application], None], path: str, told: tuple[int, str]
) -> None:
    def make() -> web.Application:
        app = web.Application()
        add(app)
        return app

    assert (await ask_both(make, path))[:2] == told


async def test_a_path_that_the_router_reads_otherwise_is_not_fixed() -> None:
    def make() -> web.Application:
        app = web.Application()
        app.router.add_get("/1%2C3/fixed", named("never"))
        return app

    assert (await ask_both(make, "/1%2C3/fixed"))[0] == 404


async def test_a_middleware_of_the_old_style_is_called_in_its_own_way() -> None:
    async def old_style(app: web.Application, handler: Handler) -> Handler:
        async def around(request: web.Request) -> web.StreamResponse:
            response: Any = await handler(request)
            response.headers.add("Prepared", "old style")
            return response  # type: ignore[no-any-return]

        return around

    def make() -> web.Application:
        middlewares: list[Any] = [old_style]
        app = web.Application(middlewares=middlewares)
        app.router.add_get("/fixed", named("handler"))
        return app

    with pytest.warns(DeprecationWarning, match="old-style middleware"):
        assert await ask_both(make, "/fixed") == (200, "handler", ["old style"], None)
