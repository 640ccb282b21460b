"""Access tokens open a session without its cookie, only as long as the session is valid."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import stateroom
from stateroom import SESSIONS, Settings, StoreUnavailable, access_token, bearer_value, get_session, sign_in, testing
from stateroom.app import make_app
from stateroom.drills import topology
from stateroom.drills.node import Node
from stateroom.sessions.model.deployment import Deployment
from stateroom.sessions.model.lifetimes import Lifetimes
from stateroom.sessions.model.session import record_of
from stateroom.sessions.sealing.key_ring import KeyRing

from ..conftest import ServiceClient
from ..patience import settled
from ..servers import Servers

KEY, OTHER_KEY = "a-signing-key-of-more-than-32-bytes", "another-signing-key-of-over-32-bytes"
ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}


pytestmark = pytest.mark.usefixtures("counted_ids")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with topology.single(tmp_path / "server") as server:
        yield server


@pytest.fixture
def settings(servers: Servers, tmp_path: Path, node: Node) -> Settings:
    return servers.service_settings(tmp_path, redis_host=node.host, redis_port=node.port, jwt_keys=KEY)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[ServiceClient]:
    async with TestClient(TestServer(make_app(settings))) as made:
        await call(made, "POST", "/api/auth/register", ADA)
        made.session.cookie_jar.clear()
        yield made


async def call(client: ServiceClient, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with client.request(method, path, json=body, headers=headers) as response:
        return response.status, await response.json()


async def minted(client: ServiceClient) -> str:
    """Headers with a token, without a cookie."""
    status, answer = await call(client, "POST", "/api/auth/token", {"email": ADA["email"], "password": ADA["password"]})
    assert status == 200, answer
    client.session.cookie_jar.clear()
    return str(answer["access_token"])


def app_of(client: ServiceClient) -> web.Application:
    assert client.app is not None
    return client.app


async def test_a_token_is_as_good_as_the_cookie(client: ServiceClient) -> None:
    status, answer = await call(client, "POST", "/api/auth/token", {"email": ADA["email"], "password": ADA["password"]})
    assert status == 200
    assert answer["token_type"] == "Bearer"
    assert 290 <= answer["expires_in"] <= 300
    status, profile = await call(client, "GET", "/api/profile")  # The client has signed in, so it got a cookie too.
    assert (status, profile["session"]["id"]) == (200, answer["session_id"])
    client.session.cookie_jar.clear()
    assert (await call(client, "GET", "/api/profile"))[0] == 401
    status, profile = await call(client, "GET", "/api/profile", token=answer["access_token"])
    assert (status, profile["user"]["email"], profile["session"]["id"]) == (200, ADA["email"], answer["session_id"])


async def test_a_token_says_what_rfc_9068_asks_for(client: ServiceClient) -> None:
    token = await minted(client)
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    claims = jwt.decode(token, KEY, algorithms=["HS256"], audience="stateroom", issuer="stateroom")
    assert claims["sub"] == "1"
    assert {"iss", "aud", "exp", "nbf", "iat", "sid", "auth_time"} <= set(claims)
    assert ADA["email"] not in json.dumps(claims)


async def end_by_logout(client: ServiceClient, token: str) -> None:
    assert (await call(client, "POST", "/api/auth/logout", token=token))[0] == 200


async def end_by_password(client: ServiceClient, token: str) -> None:
    await call(client, "POST", "/api/auth/login", ADA)
    body = {"current_password": ADA["password"], "new_password": "another horse"}
    assert (await call(client, "POST", "/api/auth/password", body))[0] == 200
    client.session.cookie_jar.clear()


async def end_by_disabling(client: ServiceClient, token: str) -> None:
    await app_of(client)[SESSIONS].revoke_all(1, reason="disabled")


@pytest.mark.parametrize("end", [end_by_logout, end_by_password, end_by_disabling])
@pytest.mark.parametrize("is_away", [False, True], ids=["settled", "Redis away"])
async def test_a_token_is_refused_once_its_session_has_ended(
    client: ServiceClient, end: Callable[..., Any], node: Node, *, is_away: bool
) -> None:
    await settled(app_of(client))
    token = await minted(client)
    if is_away:
        node.pause()
        status, answer = await call(client, "GET", "/api/auth/check", token=token)
        assert (status, answer["authenticated"], answer["degraded"]) == (200, True, True)
    await end(client, token)
    status, problem = await call(client, "GET", "/api/profile", token=token)
    assert status == 401
    assert problem["reason"] in {"logout", "password", "disabled"}
    if is_away:
        node.resume()
        await settled(app_of(client))
        assert (await call(client, "GET", "/api/profile", token=token))[0] == 401


async def test_a_token_is_refused_when_a_failover_brings_the_session_back(client: ServiceClient, node: Node) -> None:
    """A promoted replica may lack the deletion. Here the test stores the keys again, over another connection."""
    await settled(app_of(client))
    token = await minted(client)
    kept = [(key, await node.call("DUMP", key)) for key in await node.call("KEYS", "*:s:*")]
    await end_by_logout(client, token)
    for key, value in kept:
        await node.call("RESTORE", key, 60_000, value, "REPLACE")
    await node.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    status, problem = await call(client, "GET", "/api/profile", token=token)
    assert (status, problem["reason"]) == (401, "logout")


async def test_a_session_that_redis_lost_comes_back_by_its_token(client: ServiceClient, node: Node) -> None:
    await settled(app_of(client))
    token = await minted(client)
    for key in await node.call("KEYS", "*:s:*"):
        await node.call("DEL", key)
    assert (await call(client, "GET", "/api/profile", token=token))[0] == 200


async def test_a_new_session_id_leaves_the_token_behind(client: ServiceClient) -> None:
    status, answer = await call(client, "POST", "/api/auth/token", {"email": ADA["email"], "password": ADA["password"]})
    assert status == 200
    assert (await call(client, "POST", "/api/auth/reauthenticate", {"password": ADA["password"]}))[0] == 200
    assert (await call(client, "GET", "/api/profile", token=answer["access_token"]))[0] == 401


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/api/sessions", None),
        ("POST", "/api/auth/reauthenticate", {"password": ADA["password"]}),
        ("POST", "/api/auth/password", {"current_password": ADA["password"], "new_password": "another horse"}),
    ],
)
async def test_a_token_gives_its_session_no_new_id(client: ServiceClient, method: str, path: str, body: Any) -> None:
    """Otherwise the token would have a new session, and the user's cookie would have none."""
    token, other = await minted(client), await minted(client)
    status, problem = await call(client, method, path, body, token=token)
    assert (status, problem["type"]) == (403, "urn:stateroom:problem:not-by-access-token")
    assert "session_token" in problem["detail"]
    for each in (token, other):
        assert (await call(client, "GET", "/api/profile", token=each))[0] == 200, "nobody was ended"
    assert (await call(client, "POST", "/api/auth/login", ADA))[0] == 200, "the password is the same"


HANDLE_OF_NOTHING = "47DEQpj8HBSa-_TImW-5JA"


async def test_a_token_is_no_cookie_and_none_is_made_of_it(client: ServiceClient, node: Node) -> None:
    """A value sealed from it would be valid for longer than the token, even after the session's logout."""
    await settled(app_of(client))
    token = await minted(client)
    testing.clock(app_of(client)).move(seconds=61)  # A renewal is due.
    for headers in ({"Cookie": f"session_id={token}"}, {"Authorization": f"Bearer {token}"}):
        async with client.get("/api/auth/check", headers=headers) as response:
            assert "Set-Cookie" not in response.headers
            assert (await response.json())["authenticated"] == ("Authorization" in headers)
    assert await node.call("KEYS", f"*{HANDLE_OF_NOTHING}*") == []


async def test_what_a_token_opened_is_not_sealed(settings: Settings) -> None:
    async def show(request: web.Request) -> web.Response:
        await sign_in(request, 1)
        return web.json_response({"token": access_token(request).value})

    async def seal(request: web.Request) -> web.Response:
        with pytest.raises(ValueError, match="access token"):
            bearer_value(request)
        get_session(request)["seen"] = True
        return web.json_response({})

    app = web.Application()
    stateroom.setup(app, settings)
    app.add_routes([web.get("/show", show), web.get("/seal", seal)])
    async with TestClient(TestServer(app)) as client:
        token = (await call(client, "GET", "/show"))[1]["token"]
        client.session.cookie_jar.clear()
        async with client.get("/seal", headers={"Authorization": f"Bearer {token}"}) as response:
            assert (response.status, "Set-Cookie" in response.headers) == (200, False)


def test_an_empty_token_is_neither_sealed_nor_opened() -> None:
    contents: Any = {
        "user_id": 1, "generation": 0, "auth_time": 1, "deadline": 2, "idle_ms": 3, "issued_at": 4, "is_persistent": False,
    }  # fmt: skip
    ring = KeyRing([bytes(32)], "session_id", _deployment(), Lifetimes(10**9, 10**9, 10**9))
    with pytest.raises(ValueError, match="empty token"):
        ring.seal(b"", **contents)
    value = ring.seal(bytes(32), **contents)
    assert ring.open(value) is not None
    head, nonce = base64.urlsafe_b64decode(value + "==")[:5], bytes(12)
    hollow = AESGCM(bytes(32)).encrypt(nonce, msgspec.msgpack.encode((b"", *contents.values())), head + b"session_id")
    assert ring.open(base64.urlsafe_b64encode(head + nonce + hollow).rstrip(b"=").decode()) is None


async def test_a_value_does_not_get_younger_while_redis_is_away(settings: Settings, node: Node) -> None:
    """Neither an access token nor a bearer value keeps a session valid beyond DEGRADED_MAX_AGE."""
    asked: list[int] = []

    async def enter(request: web.Request) -> web.Response:
        return web.json_response({"user": (await sign_in(request, 1)).user_id})

    async def values(request: web.Request) -> web.Response:
        session = get_session(request)
        asked.append(record_of(session).confirmed_ms)
        try:
            token = access_token(request).value
        except StoreUnavailable:
            token = None
        cookie = request.app[SESSIONS]._parts.key_ring.open(bearer_value(request))
        assert cookie is not None
        return web.json_response({"degraded": session.degraded, "token": token, "issued_at": cookie.issued_at})

    app = web.Application()
    stateroom.setup(app, settings)
    app.add_routes([web.get("/enter", enter), web.get("/values", values)])
    async with TestClient(TestServer(app)) as client:
        await settled(app_of(client))
        assert (await call(client, "GET", "/enter"))[0] == 200
        _, before = await call(client, "GET", "/values")
        assert before["token"] is not None
        node.pause()
        testing.clock(app).move(seconds=200)
        _, away = await call(client, "GET", "/values")
        assert (away["degraded"], away["token"]) == (True, None)
        assert away["issued_at"] <= before["issued_at"]
        assert asked[0] == 0
        node.resume()


async def test_a_token_is_good_for_its_time(client: ServiceClient) -> None:
    token = await minted(client)
    clock = testing.clock(app_of(client))
    clock.move(seconds=290)
    assert (await call(client, "GET", "/api/profile", token=token))[0] == 200
    clock.move(seconds=20)
    assert (await call(client, "GET", "/api/profile", token=token))[0] == 401


def forged(token: str, key: str = KEY, algorithm: str = "HS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
    real = jwt.get_unverified_header(token)
    content = jwt.decode(token, options={"verify_signature": False}) | claims
    kept = {name: value for name, value in (real | (header or {})).items() if name != "alg" and value is not None}
    return jwt.encode({name: value for name, value in content.items() if value is not None}, key, algorithm, headers=kept)


@pytest.mark.parametrize(
    "forge",
    [
        lambda token: forged(token, OTHER_KEY),
        lambda token: forged(token, KEY * 2, "HS512"),
        lambda token: forged(token, "", "none"),
        lambda token: forged(token, header={"typ": "JWT"}),
        lambda token: forged(token, header={"kid": "00000000"}),
        lambda token: forged(token, header={"kid": None}),
        lambda token: forged(token, iss="somebody"),
        lambda token: forged(token, aud="something"),
        lambda token: forged(token, aud=None),
        lambda token: forged(token, exp=None),
        lambda token: forged(token, exp="soon"),
        lambda token: forged(token, nbf=2**40),
        lambda token: forged(token, session=None),
        lambda token: forged(token, session=["i1"]),
        lambda token: forged(token, session=[1, 2, 3, 4, 5, 6, 7]),
        lambda token: token[:-2],
        lambda token: token + "A" * 3000,
        lambda token: f"{token.split('.')[0]}..{token.split('.')[2]}",
        lambda token: f"{base64.urlsafe_b64encode(b'[]').decode().rstrip('=')}.{token.split('.', 1)[1]}",
        lambda token: "a.b.c",
        lambda token: "..",
    ],
)
async def test_what_was_not_minted_here_is_an_anonymous_visitor(client: ServiceClient, forge: Callable[[str], str]) -> None:
    token = await minted(client)
    status, problem = await call(client, "GET", "/api/profile", token=forge(token))
    assert (status, problem["type"]) == (401, "urn:stateroom:problem:sign-in-required")
    assert (await call(client, "GET", "/api/profile", token=token))[0] == 200


async def test_keys_are_rotated_by_putting_a_new_one_first(settings: Settings, client: ServiceClient) -> None:
    token = await minted(client)
    for keys, status in ((f"{OTHER_KEY},{KEY}", 200), (OTHER_KEY, 401)):
        rotated = Settings(**(settings.model_dump(exclude_unset=True) | {"_env_file": None, "jwt_keys": keys}))
        async with TestClient(TestServer(make_app(rotated))) as other:
            assert (await call(other, "GET", "/api/profile", token=token))[0] == status
            assert jwt.get_unverified_header(await minted(other))["kid"] != jwt.get_unverified_header(token)["kid"]


async def test_tokens_are_off_without_keys(service: ServiceClient) -> None:
    status, problem = await call(service, "POST", "/api/auth/token", {"email": ADA["email"], "password": ADA["password"]})
    assert status == 404
    assert "JWT_KEYS" in problem["detail"]
    assert (await call(service, "GET", "/api/profile", token="a.b.c"))[0] == 401


async def test_no_token_while_redis_is_away(client: ServiceClient, node: Node) -> None:
    await settled(app_of(client))
    token = await minted(client)
    node.pause()
    assert (await call(client, "GET", "/api/auth/check", token=token))[1]["degraded"]
    status, _ = await call(client, "POST", "/api/auth/token", {"email": ADA["email"], "password": ADA["password"]})
    assert status == 503


def _deployment() -> Deployment:
    deployment = Deployment()
    deployment.id = "one"
    return deployment
