"""What a handler writes to its session holds, over HTTP: values, changes, messages, a visitor's first writes, and lists."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from typing import Any

import pytest
from aiohttp import CookieJar, TCPConnector, web
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import SESSIONS
from stateroom.sessions.model.identity import SessionRef, user_key
from stateroom.setup import PARTS

from ..conftest import ServiceClient
from ..servers import Servers


class Text(str):
    pass


FORBIDDEN: dict[str, Any] = {
    "datetime": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "tuple": (1, 2),
    "nan": float("nan"),
    "bytes": b"x",
    "set": {1},
    "surrogate": "x\ud800",
    "key": {1: 2},
}


async def read(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    return web.json_response({"user": session.user_id, "data": dict(session), "id": session.id})


async def write(request: web.Request) -> web.Response:
    stateroom.get_session(request).update(await request.json())
    return web.json_response({})


async def set_forbidden(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    session["before"] = 1
    try:
        session["bad"] = [FORBIDDEN[request.match_info["kind"]]]
    except (TypeError, ValueError) as error:
        return web.json_response({"error": str(error), "data": dict(session)})
    return web.json_response({"data": "set"})


async def mutate(request: web.Request) -> web.Response:
    stateroom.get_session(request)["list"].append(FORBIDDEN["datetime"])
    return web.json_response({})


async def write_and_change(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    session["n"] = 10
    value = await session.change("n", lambda n: (n or 0) + 1)
    return web.json_response({"returned": value, "read": session["n"]})


async def first_writes(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)

    async def one(number: int) -> None:
        session[f"k{number}"] = number
        await session.save()

    await asyncio.gather(*(one(number) for number in range(5)))
    return web.json_response({})


async def first_changes(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    await asyncio.gather(*(session.change("n", lambda n: (n or 0) + 1) for _ in range(5)))
    return web.json_response({})


async def sign_in(request: web.Request) -> web.Response:
    session = await stateroom.sign_in(request, 7)
    stateroom.flash(session, "success", f"Welcome back. {'x' * 60}")
    return web.json_response({})


async def sign_in_as_text(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, Text("ada"))
    return web.json_response({})


async def flash_surrogate(request: web.Request) -> web.Response:
    try:
        stateroom.flash(stateroom.get_session(request), "info", "x\udfff")
    except ValueError as error:
        return web.json_response({"error": str(error)})
    return web.json_response({})


async def flashes(request: web.Request) -> web.Response:
    return web.json_response(await stateroom.take_flashes(stateroom.get_session(request)))


async def devices(request: web.Request) -> web.Response:
    return web.json_response([each.id for each in await request.app[SESSIONS].list(7)])


@pytest.fixture
async def app(servers: Servers) -> web.Application:
    app = web.Application()
    prefix = f"test-{secrets.token_hex(4)}"
    stateroom.setup(app, servers.settings("valkey", redis_key_prefix=prefix, session_max_bytes=4000))
    for handler in (read, flashes, devices):
        app.router.add_get(f"/{handler.__name__}", handler)
    for handler in (write, mutate, write_and_change, first_writes, first_changes, sign_in, sign_in_as_text, flash_surrogate):
        app.router.add_post(f"/{handler.__name__}", handler)
    app.router.add_post("/set/{kind}", set_forbidden)
    return app


@pytest.fixture
async def browser(app: web.Application, aiohttp_client: AiohttpClient) -> ServiceClient:
    return await aiohttp_client(app, connector=TCPConnector(limit=100), cookie_jar=CookieJar(unsafe=True))


async def post(browser: ServiceClient, path: str, body: object = None) -> Any:
    async with browser.post(path, json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def get(browser: ServiceClient, path: str = "/read") -> Any:
    async with browser.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def count_sessions(app: web.Application) -> int:
    return len(await app[PARTS].client.execute("", "KEYS", f"{app[PARTS].settings.redis_key_prefix}:*:s:*"))


@pytest.mark.parametrize("kind", FORBIDDEN)
async def test_what_would_change_its_type_is_refused_and_the_rest_is_saved(browser: ServiceClient, kind: str) -> None:
    said = await post(browser, f"/set/{kind}")
    assert said["data"] == {"before": 1}
    assert "session['bad']" in said["error"]
    assert (await get(browser))["data"] == {"before": 1}


async def test_what_is_mutated_into_a_forbidden_type_is_an_error_and_what_is_stored_stays(browser: ServiceClient) -> None:
    await post(browser, "/write", {"list": [1]})
    async with browser.post("/mutate") as answer:
        assert answer.status == 500
    assert (await get(browser))["data"] == {"list": [1]}


@pytest.mark.parametrize("before", [{}, {"n": 3}])
async def test_change_sees_what_the_handler_wrote(browser: ServiceClient, before: dict[str, int]) -> None:
    await post(browser, "/write", before)
    assert await post(browser, "/write_and_change") == {"returned": 11, "read": 11}
    assert (await get(browser))["data"] == {"n": 11}


@pytest.mark.parametrize("step", ["first_writes", "first_changes"])
async def test_parallel_first_writes_of_a_visitor_store_one_session(
    app: web.Application, browser: ServiceClient, step: str
) -> None:
    await post(browser, f"/{step}")
    assert await count_sessions(app) == 1
    expected = {f"k{number}": number for number in range(5)} if step == "first_writes" else {"n": 5}
    assert (await get(browser))["data"] == expected


async def test_a_thousand_sign_ins_whose_messages_nobody_reads_all_succeed(browser: ServiceClient) -> None:
    await post(browser, "/write", {"cart": "x" * 3600})  # little room is left
    for _ in range(1000):
        await post(browser, "/sign_in")
    text = (await get(browser, "/flashes"))["flash_success"]
    assert text.split("\n")[-1].startswith("Welcome back.")
    assert (await get(browser))["data"] == {"cart": "x" * 3600}


async def test_data_that_fills_the_session_leaves_no_room_for_messages_and_no_sign_in_fails(browser: ServiceClient) -> None:
    await post(browser, "/write", {"cart": "x" * 3990})
    for _ in range(3):
        await post(browser, "/sign_in")
    assert await get(browser, "/flashes") == {}
    assert len((await get(browser))["data"]["cart"]) == 3990


async def test_a_message_with_a_lone_surrogate_is_refused_at_once(browser: ServiceClient) -> None:
    assert "lone surrogate" in (await post(browser, "/flash_surrogate"))["error"]
    assert await get(browser, "/flashes") == {}


async def test_a_user_id_of_a_subclass_is_refused_and_nothing_is_stored(app: web.Application, browser: ServiceClient) -> None:
    async with browser.post("/sign_in_as_text") as answer:
        assert answer.status == 500
    assert await count_sessions(app) == 0


@pytest.mark.parametrize("how", ["type", "time"])
async def test_a_session_that_cannot_be_read_is_a_missing_one(app: web.Application, browser: ServiceClient, how: str) -> None:
    good = await app[SESSIONS].create(7)
    await post(browser, "/sign_in")
    ref = SessionRef(user_key(7), (await get(browser))["id"])
    key = app[PARTS].store.key(ref)
    if how == "type":
        await app[PARTS].client.execute(key, "DEL", key)
        await app[PARTS].client.execute(key, "SET", key, "x")
    else:
        await app[PARTS].client.execute(key, "HSET", key, "r", "99999999999999999")
    assert (await get(browser))["user"] is None
    assert await get(browser, "/devices") == [good.id]
    assert await app[SESSIONS].count_active() == 2  # the index tells, until it expires
    assert await app[SESSIONS].revoke(7, ref.handle) is False
    assert await app[SESSIONS].revoke_all(7) == 1


async def test_of_fifteen_hundred_sessions_the_newest_are_listed_and_a_cursor_leads_to_the_others(app: web.Application) -> None:
    app.freeze()
    await app.startup()
    manager = app[SESSIONS]
    made = [(await manager.create(7)).id for _ in range(1500)]
    first = await manager.list(7)
    assert len(first) == 1000
    assert {made[-1], made[-2]} <= {each.id for each in first}
    assert made[0] not in {each.id for each in first}
    rest = await manager.list(7, before=first[-1])
    assert {each.id for each in [*first, *rest]} == set(made)
    assert [each.created_at for each in [*first, *rest]] == sorted((each.created_at for each in [*first, *rest]), reverse=True)
    assert [each.id for each in await manager.list(7, limit=3)] == [each.id for each in first[:3]]
    assert len((await manager.kept_of_user(7)).sessions) == 1500
    assert await manager.revoke_all(7) == 1500
    await app.cleanup()
