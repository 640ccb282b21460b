"""Sessions that the real aiohttp-session stored are carried over once, and only if they are valid."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from aiohttp import web

import stateroom
from stateroom import Settings, SettingsError, carry_over, testing
from stateroom.drills import topology
from stateroom.drills.node import Node
from stateroom.request.old_sessions import REDIRECT_SECONDS, OldSessions
from stateroom.sessions.sealing.key_ring import new_key

from ..conftest import ServiceClient
from ..servers import AS_USERS_HAVE_IT, Servers
from .old_application import ask, before_the_move, manager_of, moved, old, stored

# aiohttp-session keeps its objects in requests under plain names.
pytestmark = pytest.mark.filterwarnings("ignore:It is recommended to use web.RequestKey")


@pytest.fixture
def node(servers: Servers) -> Node:
    """The Redis with the old sessions."""
    return servers.valkey


@pytest.fixture(params=["journal", "no journal"])
def settings(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Settings:
    database = f"sqlite:///{tmp_path}/users.db" if request.param == "journal" else "none"
    return servers.settings("valkey", redis_key_prefix=f"test-{secrets.token_hex(4)}", database_url=database, state_dir=tmp_path)


@pytest.fixture
async def client(settings: Settings, node: Node) -> AsyncIterator[ServiceClient]:
    async with moved(settings, node) as made:
        yield made


async def test_the_user_stays_signed_in_with_all_data(client: ServiceClient, node: Node) -> None:
    data = {"user_id": 42, "cart": ["tea", {"sku": "honey", "n": 2}], "name": "J\u00f6"}
    cookie = await before_the_move(node, **data)
    status, answer, ours = await ask(client, old(cookie))
    assert (status, answer["user"], answer["data"]) == (200, 42, data)
    assert await ask(client, ours) == (200, answer, "")
    mark = await stored(node, cookie)
    assert (mark["user"], mark["carried_to"], set(mark)) == ("i42", answer["id"], {"user", "carried_to", "created"})
    assert 0 < await node.call("TTL", f"AIOHTTP_SESSION_{cookie}") <= REDIRECT_SECONDS


async def test_nobody_has_just_given_a_password(client: ServiceClient, node: Node) -> None:
    _, _, ours = await ask(client, old(await before_the_move(node, user_id="ada")))
    session = await manager_of(client).load(ours.partition("=")[2])
    assert (session.user_id, session.auth_time) == ("ada", None)
    assert session.created_at is not None
    [listed] = await manager_of(client).list("ada")
    assert listed.user_agent.startswith("Python/")


async def test_an_anonymous_visitors_cart_comes_along(client: ServiceClient, node: Node) -> None:
    status, answer, ours = await ask(client, old(await before_the_move(node, cart=["tea"])))
    assert (status, answer["user"], answer["data"]) == (200, None, {"cart": ["tea"]})
    assert (await ask(client, ours))[1]["data"] == {"cart": ["tea"]}


async def test_parallel_requests_on_two_workers_make_one_session(settings: Settings, node: Node) -> None:
    cookie = await before_the_move(node, user_id=42, cart=["tea"])
    async with moved(settings, node) as one, moved(settings, node) as two:
        answers = await asyncio.gather(*(ask(client, old(cookie)) for client in [one, two] * 10))
        for status, answer, _ in answers:
            assert (status, answer["user"], answer["data"]) == (200, 42, {"user_id": 42, "cart": ["tea"]})
        assert len({answer["id"] for _, answer, _ in answers}) == 1
        assert len(await manager_of(one).list(42)) == 1
        for _, _, ours in answers:
            assert (await ask(two, ours))[1]["user"] == 42


async def test_it_does_not_matter_who_of_two_puts_the_mark(
    client: ServiceClient, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = await before_the_move(node, user_id=42)
    stored_by_first, second_is_done = asyncio.Event(), asyncio.Event()
    redirect = OldSessions.redirect

    async def held_up(self: OldSessions, *of: Any) -> bool:
        if not stored_by_first.is_set():
            stored_by_first.set()
            await second_is_done.wait()
        return await redirect(self, *of)

    monkeypatch.setattr(OldSessions, "redirect", held_up)
    first = asyncio.create_task(ask(client, old(cookie)))
    await stored_by_first.wait()
    _, second, _ = await ask(client, old(cookie))
    second_is_done.set()
    _, answer, ours = await first
    assert answer == second
    assert answer["user"] == 42
    assert (await ask(client, ours))[1]["user"] == 42


async def test_a_straggler_is_led_to_the_new_session_for_a_minute(client: ServiceClient, node: Node) -> None:
    cookie = await before_the_move(node, user_id=42)
    _, first, _ = await ask(client, old(cookie))
    _, second, ours = await ask(client, old(cookie))
    assert (second["user"], second["id"]) == (42, first["id"])
    assert (await ask(client, ours))[1]["user"] == 42
    await node.call("DEL", f"AIOHTTP_SESSION_{cookie}")
    assert (await ask(client, old(cookie)))[1]["user"] is None


async def test_a_key_that_was_put_first_meanwhile_makes_no_second_session(settings: Settings, node: Node) -> None:
    cookie = await before_the_move(node, user_id=42)
    async with moved(settings, node) as client:
        _, first, _ = await ask(client, old(cookie))
    keys = ",".join([new_key(), *(key.get_secret_value() for key in settings.cookie_keys)])
    rotated = Settings(**(settings.model_dump(exclude_unset=True) | {"_env_file": None, "cookie_keys": keys}))
    async with moved(rotated, node) as client:
        _, second, _ = await ask(client, old(cookie))
    assert (second["user"], second["id"]) == (42, first["id"])


async def test_after_a_sign_out_the_old_cookie_is_nobodys(client: ServiceClient, node: Node) -> None:
    cookie = await before_the_move(node, user_id=42)
    _, _, ours = await ask(client, old(cookie))
    assert (await ask(client, ours, "/sign-out", "POST"))[0] == 200
    for _ in range(2):
        _, answer, given = await ask(client, old(cookie))
        assert (answer["user"], answer["ended"], given) == (None, "logout", "")
    assert await manager_of(client).list(42) == []


async def test_a_request_that_had_read_the_old_session_before_a_sign_out_does_not_bring_it_back(
    client: ServiceClient, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = await before_the_move(node, user_id=42)
    url = f"redis://{node.host}:{node.port}"
    old_sessions = OldSessions(manager_of(client).settings, redis_url=url, cookie_name="AIOHTTP_SESSION", id_key="user_id")
    found = await old_sessions.find(cookie)
    _, _, ours = await ask(client, old(cookie))
    assert (await ask(client, ours, "/sign-out", "POST"))[0] == 200

    async def find(*_: Any) -> Any:
        return found

    monkeypatch.setattr(OldSessions, "find", find)
    _, answer, given = await ask(client, old(cookie))
    assert (answer["user"], answer["ended"], given) == (None, "logout", "")
    assert await manager_of(client).list(42) == []


async def test_whose_sessions_were_all_ended_since_signs_in_again(servers: Servers, node: Node, tmp_path: Path) -> None:
    cookie = await before_the_move(node, user_id=42)
    prefix = f"test-{secrets.token_hex(4)}"
    url = f"sqlite:///{tmp_path}/users.db"
    settings = servers.settings("valkey", redis_key_prefix=prefix, database_url=url, state_dir=tmp_path)
    async with moved(settings, node) as client:
        await manager_of(client).revoke_all(42, reason="password")
        _, answer, given = await ask(client, old(cookie))
    assert (answer["user"], answer["ended"], given) == (None, "password", "")
    assert await stored(node, cookie) is None


@pytest.mark.parametrize(
    "raw",
    [
        "", "{", "[]", "7", "null", '"text"', "{}", '{"created": 1}', '{"created": 1, "session": {}}', '{"session": []}',
        '{"user": 7, "carried_to": "x", "created": 1}',
        '{"user": "i42", "carried_to": "x", "created": 1}', "\x00\udcff",
        "[" * 10_000,
    ],
)  # fmt: skip
async def test_what_aiohttp_session_did_not_write_is_let_be(client: ServiceClient, node: Node, raw: str) -> None:
    cookie = secrets.token_hex(16)
    await node.call("SET", f"AIOHTTP_SESSION_{cookie}", raw.encode(errors="surrogateescape"))  # type: ignore[arg-type]
    status, answer, given = await ask(client, old(cookie))
    assert (status, answer["user"], answer["data"], given) == (200, None, {}, "")
    assert await node.call("GET", f"AIOHTTP_SESSION_{cookie}") == raw.encode(errors="surrogateescape")


@pytest.mark.parametrize(
    "cookie", ["", "a b", "x" * 5000, "../x", "a:b", "*", "%2e", "\udcff", '"', '"\\000"', '"\\"', "0123456789abcdef" * 2]
)
async def test_a_cookie_that_stands_for_nothing_is_an_anonymous_visitors(client: ServiceClient, node: Node, cookie: str) -> None:
    status, answer, given = await ask(client, old(cookie))
    assert (status, answer["user"], given) == (200, None, "")


async def test_a_key_of_another_kind_is_nobodys(client: ServiceClient, node: Node) -> None:
    await node.call("LPUSH", f"AIOHTTP_SESSION_{(key := secrets.token_hex(8))}", "x")
    assert (await ask(client, old(key)))[1]["user"] is None


async def test_a_session_here_goes_before_the_old_one(client: ServiceClient, node: Node) -> None:
    _, _, ours = await ask(client, old(await before_the_move(node, user_id=42)))
    other = await before_the_move(node, user_id=43)
    assert (await ask(client, f"{old(other)}; {ours}"))[1]["user"] == 42
    assert (await stored(node, other))["session"] == {"user_id": 43}


async def test_while_redis_here_is_away_nothing_is_lost(client: ServiceClient, node: Node) -> None:
    cookie = await before_the_move(node, user_id=42)
    assert client.app is not None
    with testing.redis_down(client.app):
        assert (await ask(client, old(cookie)))[0] == 503
        assert (await ask(client, old(cookie), "/page"))[0] == 200
    assert (await stored(node, cookie))["session"] == {"user_id": 42}
    assert (await ask(client, old(cookie)))[1]["user"] == 42


async def test_while_the_old_redis_is_away_nobody_is_told_to_be_signed_out(settings: Settings, tmp_path: Path) -> None:
    impatient = settings.model_copy(update=AS_USERS_HAVE_IT)
    async with topology.single(tmp_path / "old") as node, moved(impatient, node) as client:
        cookie = await before_the_move(node, user_id=42)
        node.pause()
        status, problem, given = await ask(client, old(cookie))
        assert (status, problem["type"], given) == (503, "urn:stateroom:problem:session-storage-degraded", "")
        assert (await ask(client, old(cookie), "/page"))[0] == 200
        node.resume()
        assert (await ask(client, old(cookie)))[1]["user"] == 42


async def test_stored_and_not_yet_marked_comes_to_the_same_session(
    client: ServiceClient, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = await before_the_move(node, user_id=42)

    async def fails(*_: Any) -> Any:
        raise redis.exceptions.ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(redis.asyncio.Redis, "eval", fails)
        assert (await ask(client, old(cookie)))[0] == 503
    assert (await stored(node, cookie))["session"] == {"user_id": 42}
    assert (await ask(client, old(cookie)))[1]["user"] == 42
    assert len(await manager_of(client).list(42)) == 1


def test_a_wrong_address_is_told_at_the_start() -> None:
    app = web.Application()
    stateroom.setup(app, testing.settings())
    with pytest.raises(SettingsError, match="redis://"):
        carry_over(app, redis_url="http://localhost", user_key="user_id")


async def test_after_everybody_was_signed_out_no_old_cookie_opens_anything(servers: Servers, node: Node, tmp_path: Path) -> None:
    carried, unseen = await before_the_move(node, user_id=42), await before_the_move(node, user_id=43)
    settings = servers.settings(
        "valkey",
        redis_key_prefix=f"test-{secrets.token_hex(4)}",
        database_url=f"sqlite:///{tmp_path}/users.db",
        state_dir=tmp_path,
    )
    async with moved(settings, node) as client:
        _, answer, ours = await ask(client, old(carried))
        assert answer["user"] == 42
        await manager_of(client).end_everybody()
        for cookie in (ours, old(carried), old(unseen), old(carried)):
            _, answer, _ = await ask(client, cookie)
            assert answer["user"] is None
        assert await manager_of(client).list(42) == []
        assert await manager_of(client).list(43) == []
