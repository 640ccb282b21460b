"""Old sessions as applications really have them: with keys of their own, and with data that a session here cannot hold."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from aiohttp import CookieJar, web
from aiohttp.test_utils import TestClient, TestServer

import stateroom
from stateroom import Settings, SettingsError, carry_over, testing
from stateroom.drills import topology
from stateroom.drills.node import Node

from ..conftest import ServiceClient, require_tool
from ..servers import Servers
from .old_application import KeyFactory, ask, before, before_the_move, manager_of, moved, old, stored, whose

# aiohttp-session keeps its objects in requests under plain names.
pytestmark = pytest.mark.filterwarnings("ignore:It is recommended to use web.RequestKey")

KEYS: dict[str, KeyFactory] = {
    "app:uuid": lambda: f"app:{secrets.token_hex(16)}",
    "base64": lambda: "a+b/" + base64.b64encode(secrets.token_bytes(31)).decode(),
    "url": lambda: f"https://shop.example/{secrets.token_hex(8)}?a=b&c",
    "spaces and quotes": lambda: f'user "7", {secrets.token_hex(8)}; \\ x',
    "letters of Latin-1": lambda: f"J\u00f6-{secrets.token_hex(8)}",
    "other letters": lambda: f"\u65e5\u672c-{secrets.token_hex(8)}",
    "long": lambda: secrets.token_hex(500),
}


@pytest.fixture
def node(servers: Servers) -> Node:
    """The Redis with the old sessions, and with the new ones."""
    return servers.valkey


@pytest.fixture
def settings(servers: Servers) -> Settings:
    return servers.settings("valkey", redis_key_prefix=f"test-{secrets.token_hex(4)}", database_url="none")


@pytest.fixture
async def client(settings: Settings, node: Node) -> AsyncIterator[ServiceClient]:
    async with moved(settings, node) as made:
        yield made


async def put(node: Node, document: str) -> str:
    """An old session with this text. Returns its cookie."""
    cookie = secrets.token_hex(16)
    await node.call("SET", f"AIOHTTP_SESSION_{cookie}", document)
    return cookie


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
async def test_a_key_of_any_text_leads_to_the_session(client: ServiceClient, node: Node, keys: KeyFactory) -> None:
    cookie = await before_the_move(node, keys, user_id=42, cart=["tea"])
    status, answer, ours = await ask(client, old(cookie))
    assert (status, answer["user"], answer["data"]) == (200, 42, {"user_id": 42, "cart": ["tea"]})
    assert await ask(client, ours) == (200, answer, "")
    assert (await ask(client, f"theme=dark; {old(cookie)} ; lang=en"))[1]["id"] == answer["id"]


@pytest.mark.parametrize("keys", [KEYS["base64"], KEYS["spaces and quotes"]], ids=["base64", "spaces and quotes"])
async def test_the_jar_of_curl_stays_signed_in(client: ServiceClient, node: Node, tmp_path: Path, keys: KeyFactory) -> None:
    """Both applications are on one host. A jar does not look at ports."""
    jar = str(tmp_path / "jar")

    async def curl(url: str) -> str:
        command = [require_tool("curl"), "--silent", "--fail", "--cookie", jar, "--cookie-jar", jar, url]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()

    async with before(node, keys, user_id=42) as server:
        await curl(str(server.make_url("/")))
    answers = [json.loads(await curl(str(client.make_url("/")))) for _ in range(2)]
    assert [each["user"] for each in answers] == [42, 42]
    assert answers[0]["id"] == answers[1]["id"]


async def test_the_jar_of_aiohttp_stays_signed_in(client: ServiceClient, node: Node) -> None:
    jar = CookieJar(unsafe=True)
    async with before(node, KEYS["base64"], user_id=42) as server, TestClient(server, cookie_jar=jar) as browser:
        async with browser.get("/"):
            pass
        for _ in range(2):
            async with browser.session.get(client.make_url("/")) as response:
                assert (await response.json())["user"] == 42


async def test_what_json_cannot_say_is_left_out_and_named(
    client: ServiceClient, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    cookie = await before_the_move(
        node, user_id=42, cart=["tea"], price=float("nan"), limits={"top": [float("-inf")]}, note="\ud800", number=2**80,
        **{"\udfff": "key"},
    )  # fmt: skip
    status, answer, ours = await ask(client, old(cookie))
    assert (status, answer["user"], answer["data"]) == (200, 42, {"user_id": 42, "cart": ["tea"], "number": 2**80})
    assert (await ask(client, ours))[1] == answer
    [line] = [each.getMessage() for each in caplog.records if "carried_over_in_part" in each.getMessage()]
    for key in ("price", "limits", "note", r"\\udfff"):
        assert f"{key}" in line
    assert "cart" not in line
    assert "inf" not in line.replace("limits", "")


async def test_a_surrogate_as_a_user_id_is_nobody(client: ServiceClient, node: Node, caplog: pytest.LogCaptureFixture) -> None:
    cookie = await before_the_move(node, user_id="\ud800", cart=["tea"])
    status, answer, _ = await ask(client, old(cookie))
    assert (status, answer["user"], answer["data"]) == (200, None, {"cart": ["tea"]})
    assert "nobody: a user id is valid Unicode" in caplog.text


@pytest.mark.parametrize("user_id", [[], {}, 1.5, True, "", 0, -1, 2**63, "x" * 201])
async def test_a_user_id_that_is_none_makes_a_visitor_and_is_named(
    client: ServiceClient, node: Node, caplog: pytest.LogCaptureFixture, user_id: Any
) -> None:
    cookie = await before_the_move(node, user_id=user_id, cart=["tea"])
    status, answer, ours = await ask(client, old(cookie))
    assert (status, answer["user"], answer["data"]) == (200, None, {"user_id": user_id, "cart": ["tea"]})
    assert (await ask(client, ours))[1] == answer
    assert "nobody: a user id" in caplog.text


async def test_the_largest_values_are_left_out_of_too_much_data(
    client: ServiceClient, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    cookie = await before_the_move(node, user_id=42, history="x" * 20_000, draft="y" * 9_000, notes="z" * 8_000, cart=["tea"])
    status, answer, ours = await ask(client, old(cookie))
    assert (status, answer["user"], set(answer["data"])) == (200, 42, {"user_id", "notes", "cart"})
    assert (await ask(client, ours))[1]["user"] == 42
    assert "'history': the data is over SESSION_MAX_BYTES; 'draft': the data is over SESSION_MAX_BYTES" in caplog.text
    assert "xxx" not in caplog.text


async def test_a_visitors_session_of_which_nothing_can_be_kept_stays_where_it_is(
    client: ServiceClient, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    cookie = await before_the_move(node, much="x" * 20_000)
    assert (await ask(client, old(cookie)))[1]["data"] == {}
    assert (await stored(node, cookie))["session"] == {"much": "x" * 20_000}
    assert "no value of it can be stored here" in caplog.text


async def test_an_encoder_of_ones_own_is_named(client: ServiceClient, node: Node, caplog: pytest.LogCaptureFixture) -> None:
    cookie = await put(node, "\x80\x04}.")
    assert (await ask(client, old(cookie)))[1]["user"] is None
    assert "it is not JSON; sessions of a custom encoder cannot be carried over" in caplog.text


async def test_one_cookie_twice_is_one_and_two_are_nobodys(
    client: ServiceClient, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    cookie, planted = await before_the_move(node, user_id=42), await before_the_move(node, user_id=43)
    assert (await ask(client, f"{old(cookie)}; {old(planted)}"))[1]["user"] is None
    assert "the request has different cookies AIOHTTP_SESSION" in caplog.text
    assert (await ask(client, f"{old(cookie)}; {old(cookie)}"))[1]["user"] == 42


async def test_a_cookie_leads_to_no_keys_of_ours(servers: Servers, node: Node) -> None:
    """An old cookie's name may be how our prefix begins. What is behind our keys stays as it is."""
    settings = servers.settings("valkey", redis_key_prefix="shop_session", database_url="none")
    app = web.Application()
    stateroom.setup(app, settings)
    carry_over(app, redis_url=f"redis://{node.host}:{node.port}/0", user_key="user_id", cookie_name="shop")
    app.add_routes([web.get("/", whose)])
    await node.call("SET", "shop_session:planted", '{"session": {"user_id": 1}}')
    await node.call("SET", "shop_theirs", '{"session": {"user_id": 2}}')
    async with TestClient(TestServer(app)) as client:
        assert (await ask(client, "shop=session:planted"))[1]["user"] is None
        assert (await ask(client, "shop=theirs"))[1]["user"] == 2
    assert await node.call("GET", "shop_session:planted") == b'{"session": {"user_id": 1}}'


async def test_a_redirect_that_was_not_written_here_opens_nothing(client: ServiceClient, node: Node) -> None:
    cookie = await put(node, json.dumps({"user": "i01", "carried_to": "x", "created": 1}))
    assert (await ask(client, old(cookie)))[1]["user"] is None


async def test_a_redis_that_refuses_is_unavailable_and_nobody_is_signed_out(
    client: ServiceClient, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only replica, a missing right, a Cluster: each is an answer, and none says that there is no session."""
    cookie = await before_the_move(node, user_id=42)
    for refusal in ("NOPERM this user has no permissions", "MOVED 1 127.0.0.1:1", "READONLY You can't write"):

        async def refuse(*_: Any, refusal: str = refusal) -> Any:
            raise redis.exceptions.ResponseError(refusal)

        for command in ("get", "eval"):
            with monkeypatch.context() as patch:
                patch.setattr(redis.asyncio.Redis, command, refuse)
                assert (await ask(client, old(cookie)))[0] == 503
                assert (await ask(client, old(cookie), "/page"))[0] == 200
    assert (await ask(client, old(cookie)))[1]["user"] == 42
    assert len(await manager_of(client).list(42)) == 1


async def test_a_read_only_redis_is_unavailable(settings: Settings, node: Node, tmp_path: Path) -> None:
    """Seen with a real server: a replica."""
    async with topology.single(tmp_path / "old") as replica:
        cookie = await before_the_move(replica, user_id=42)
        await replica.call("REPLICAOF", "127.0.0.1", "1")
        async with moved(settings, replica) as client:
            assert (await ask(client, old(cookie)))[0] == 503
            await replica.call("REPLICAOF", "NO", "ONE")
            assert (await ask(client, old(cookie)))[1]["user"] == 42


def test_a_url_that_decodes_answers_is_refused() -> None:
    app = web.Application()
    stateroom.setup(app, testing.settings())
    with pytest.raises(SettingsError, match="decode_responses"):
        carry_over(app, redis_url="redis://localhost?decode_responses=True", user_key="user_id")
