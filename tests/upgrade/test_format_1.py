"""Keys, values and sessions of the release that sealed format 1: what this release honours, seals anew and refuses.

`format_1.json` was recorded from that release by `record.py`.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

import stateroom
from stateroom import SESSIONS, get_session, testing
from stateroom.drills.node import until
from stateroom.setup import CLIENT, PARTS

from ..conftest import ServiceClient
from ..patience import settled
from ..servers import Servers

RECORDED = json.loads(Path(__file__).with_name("format_1.json").read_text(encoding="utf-8"))
VALUES: dict[str, str] = RECORDED["values"]
USERS: dict[str, Any] = RECORDED["users"]
STORED = [name for name in VALUES if name not in {"lost", "ended"}]
NAME = RECORDED["session_name"]


async def who(request: web.Request) -> web.Response:
    session = get_session(request)
    try:
        user = session.user_id
    except stateroom.Unavailable as fault:
        return web.json_response({"fault": fault.title}, status=503)
    data = {} if session.degraded else dict(session)
    return web.json_response({"user": user, "ended": session.ended, "degraded": session.degraded, "data": data, "id": session.id})


@pytest.fixture
def cookie_format() -> int:
    return 2


@pytest.fixture
async def service(servers: Servers, tmp_path: Path, cookie_format: int) -> AsyncIterator[ServiceClient]:
    """This release over the recorded sessions, at the recorded time, with a journal."""
    prefix = f"test-{secrets.token_hex(4)}"
    app = web.Application()
    settings = servers.service_settings(
        tmp_path, cookie_keys=RECORDED["cookie_key"], session_name=NAME, redis_key_prefix=prefix, cookie_format=cookie_format,
        session_max_age="12h",
    )  # fmt: skip
    stateroom.setup(app, settings)
    app.add_routes([web.get("/who", who)])
    node = servers.valkey
    with redis.Redis(host=node.host, port=node.port) as store:
        for key, fields in RECORDED["hashes"].items():
            own = key.replace(RECORDED["key_prefix"], prefix, 1)
            store.hset(own, mapping={name: text.encode("latin-1") for name, text in fields.items()})
    async with TestClient(TestServer(app)) as client:
        app[PARTS].clock.skew_ms = RECORDED["recorded_ms"] + 10_000 - time.time_ns() // 1_000_000
        await settled(app)
        yield client


async def ask(service: ServiceClient, *, cookie: str = "", bearer: str = "") -> tuple[dict[str, Any], str | None]:
    """What `/who` answers, and the value of the cookie that it sets."""
    headers = {"Cookie": f"{NAME}={cookie}"} if cookie else {"Authorization": f"Bearer {bearer}"}
    async with ClientSession() as browser, browser.get(service.make_url("/who"), headers=headers) as response:
        set_cookie = response.cookies.get(NAME)
        return await response.json(), None if set_cookie is None else set_cookie.value


def version_of(value: str) -> str:
    return value[:2]  # of base64: the first byte, and a bit of the key's id


@pytest.mark.parametrize("name", STORED)
async def test_a_stored_session_is_honoured_and_its_cookie_is_sealed_anew(service: ServiceClient, name: str) -> None:
    answer, renewed = await ask(service, cookie=VALUES[name])
    assert answer["user"] == USERS[name]
    assert answer["data"] == {"number": {"cart": [1, 2]}, "anonymous": {"cart": [3]}}.get(name, {})
    assert renewed is not None
    opened = service.app[PARTS].key_ring.open(renewed, "cookie")
    assert opened is not None
    assert not opened.is_legacy
    assert opened.handle == answer["id"]
    assert opened.created_ms == int(RECORDED["hashes"][next(key for key in RECORDED["hashes"] if answer["id"] in key)]["c"])
    again, none = await ask(service, cookie=renewed)
    assert (again, none) == (answer, None)


@pytest.mark.parametrize("name", STORED)
async def test_as_a_bearer_it_is_honoured_as_the_release_before_did(service: ServiceClient, name: str) -> None:
    answer, renewed = await ask(service, bearer=VALUES[name])
    assert (answer["user"], renewed) == (USERS[name], None)


@pytest.mark.parametrize("name", ["lost", "ended"])
async def test_a_value_without_its_session_restores_nothing(service: ServiceClient, name: str) -> None:
    for place in ("cookie", "bearer"):
        answer, renewed = await ask(service, **{place: VALUES[name]})
        assert (answer["user"], renewed) == (None, None)
    assert not await service.app[SESSIONS].list(USERS[name])


async def test_a_value_stands_for_nothing_alone_unless_this_worker_saw_its_session(service: ServiceClient) -> None:
    app = service.app
    assert app is not None
    await ask(service, bearer=VALUES["number"])
    with testing.redis_down(app):
        seen, _ = await ask(service, bearer=VALUES["number"])
        unseen, renewed = await ask(service, cookie=VALUES["text"])
    assert (seen["user"], seen["degraded"]) == (1, True)
    assert (unseen, renewed) == ({"fault": "session storage degraded"}, None)
    testing.clock(app).move(seconds=301)
    with testing.redis_down(app):
        late, _ = await ask(service, bearer=VALUES["number"])
    assert late == {"fault": "session storage degraded"}


async def test_redis_loses_every_session_and_only_one_that_this_worker_saw_comes_back(service: ServiceClient) -> None:
    app = service.app
    assert app is not None
    await ask(service, cookie=VALUES["number"])
    parts = app[PARTS]
    for name in ("number", "text"):
        credential = parts.key_ring.open(VALUES[name])
        assert credential is not None
        key = parts.key_names.session(credential.ref)
        await app[CLIENT].execute(key, "DEL", key)
    answer, renewed = await ask(service, cookie=VALUES["number"])
    assert (answer["user"], answer["data"]) == (1, {})
    assert renewed is not None
    created = {fields["u"]: fields["c"] for fields in RECORDED["hashes"].values() if "u" in fields}
    [listed] = await app[SESSIONS].list(1)
    assert int(listed.created_at.timestamp() * 1000) == int(created["i1"])
    lost, _ = await ask(service, cookie=VALUES["text"])
    assert lost["user"] is None


@pytest.mark.parametrize("cookie_format", [1])
async def test_a_host_that_goes_on_with_format_1_seals_what_the_release_before_opens(service: ServiceClient) -> None:
    app = service.app
    assert app is not None
    answer, renewed = await ask(service, cookie=VALUES["number"])
    assert (answer["user"], renewed) == (1, None)
    await until(lambda: _is_settled(app), "the store is settled")
    session = await app[SESSIONS].create(9)
    value = app[SESSIONS].seal(session)
    assert version_of(value) == version_of(VALUES["number"])
    assert (await ask(service, cookie=value))[0]["user"] == 9
    with testing.redis_down(app), pytest.raises(stateroom.StoreUnavailable):
        await app[SESSIONS].create(9)  # its value would stand for nothing alone


async def _is_settled(app: web.Application) -> bool:
    return app[SESSIONS].store_state() == "settled"
