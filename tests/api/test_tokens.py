"""Access tokens open a session without its cookie, only as long as the session is valid."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import stateroom
from stateroom import SESSIONS, Settings, StoreUnavailable, access_token, bearer_value, get_session, sign_in, testing
from stateroom.app import make_app
from stateroom.drills import topology
from stateroom.drills.node import Node
from stateroom.sessions.model.deployment import Deployment
from stateroom.sessions.model.lifetimes import Lifetimes
from stateroom.sessions.model.session import record_of
from stateroom.sessions.sealing.key_ring import KeyRing
from stateroom.sessions.sealing.token_keys import TokenKey, load_token_keys, new_token_key
from stateroom.sessions.store.redis_clock import RedisClock
from stateroom.settings import decode_jwt_key
from stateroom.setup import PARTS

from ..conftest import ServiceClient
from ..patience import settled
from ..servers import Servers

KEY, OTHER_KEY = new_token_key(), new_token_key()
ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}


pytestmark = pytest.mark.usefixtures("counted_ids")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with topology.single(tmp_path / "server") as server:
        yield server


@pytest.fixture
def settings(servers: Servers, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """On a server of the test's own if the test names `node`: some hang it, and wait as long as the service does."""
    own: dict[str, Any] = {}
    if "node" in request.fixturenames:
        node: Node = request.getfixturevalue("node")
        own = {"redis_host": node.host, "redis_port": node.port, "redis_read_timeout": 1.5}
    return servers.service_settings(tmp_path, jwt_keys=KEY, **own)


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
    public = decode_jwt_key(KEY).public_key()
    claims = jwt.decode(token, public, algorithms=["EdDSA"], audience="stateroom", issuer="stateroom")
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


async def test_a_token_stores_no_lost_session_again(client: ServiceClient, node: Node) -> None:
    """For its few minutes it says who it is. It proves no fresh sign-in then, and its session stays lost."""
    await settled(app_of(client))
    token = await minted(client)
    for key in await node.call("KEYS", "*:s:*"):
        await node.call("DEL", key)
    status, profile = await call(client, "GET", "/api/profile", token=token)
    assert (status, profile["session"]["degraded"]) == (200, True)
    status, problem = await call(client, "DELETE", f"/api/sessions/{HANDLE_OF_NOTHING}", token=token)
    assert (status, problem["type"]) == (503, "urn:stateroom:problem:session-storage-degraded"), problem
    assert await node.call("KEYS", "*:s:*") == []


async def test_a_token_of_a_lost_session_is_good_for_degraded_max_age(
    client: ServiceClient, settings: Settings, node: Node
) -> None:
    """Whatever this worker saw of the session, and however long the token lives."""
    changed = {"jwt_max_age": 600, "degraded_max_age": 100}
    longer = Settings(**(settings.model_dump(exclude_unset=True) | {"_env_file": None} | changed))
    async with TestClient(TestServer(make_app(longer))) as other:
        await settled(app_of(other))
        token = await minted(other)
        clock = testing.clock(app_of(other))
        clock.move(seconds=90)
        assert (await call(other, "GET", "/api/profile", token=token))[1]["session"]["degraded"] is False
        for key in await node.call("KEYS", "*:s:*"):
            await node.call("DEL", key)
        assert (await call(other, "GET", "/api/profile", token=token))[0] == 200
        clock.move(seconds=15)
        status, problem = await call(other, "GET", "/api/profile", token=token)
        assert (status, problem.get("reason")) == (401, "expired")


async def test_a_tombstone_ends_a_token(client: ServiceClient, node: Node) -> None:
    """Another worker ended the session while the journal was unavailable to it, so the journal has no row yet."""
    await settled(app_of(client))
    token = await minted(client)
    parts = app_of(client)[SESSIONS]._parts
    credential = app_of(client)[SESSIONS]._open(token, "bearer")
    assert credential is not None
    await parts.store.delete(credential.ref, tombstone_ms=60_000, reason="logout")
    status, problem = await call(client, "GET", "/api/profile", token=token)
    assert (status, problem.get("reason")) == (401, "logout")


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
        cookie = request.app[SESSIONS]._parts.key_ring.open(bearer_value(request), "bearer")
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


async def test_a_token_is_good_where_this_hosts_clock_is_behind_that_of_redis(
    client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis notes the time of the sign-in, and this host the time of the token. Under load they differ by milliseconds."""

    async def leave(*_: object) -> None:
        return

    monkeypatch.setattr(RedisClock, "calibrate", leave)
    app_of(client)[PARTS].clock.offset_ms -= 1500
    assert (await call(client, "GET", "/api/profile", token=await minted(client)))[0] == 200


async def test_a_token_is_good_for_its_time(client: ServiceClient) -> None:
    token = await minted(client)
    clock = testing.clock(app_of(client))
    clock.move(seconds=290)
    assert (await call(client, "GET", "/api/profile", token=token))[0] == 200
    clock.move(seconds=20)
    assert (await call(client, "GET", "/api/profile", token=token))[0] == 401


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def signed(header: bytes, content: bytes, key: str = KEY) -> str:
    """A token made by hand, as no library makes it. The signature is right."""
    text = f"{encoded(header)}.{encoded(content)}"
    return f"{text}.{encoded(decode_jwt_key(key).sign(text.encode()))}"


def forged(token: str, key: str = KEY, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """The token with these members instead (None: without them), signed with this key."""
    parts = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]
    made = [real | changed for real, changed in zip(parts, (header or {}, claims), strict=True)]
    kept = [{name: value for name, value in each.items() if value is not None} for each in made]
    return signed(json.dumps(kept[0]).encode(), json.dumps(kept[1]).encode(), key)


def rewritten(token: str, old: str, new: str) -> str:
    """The claims with other text, for what `json.dumps` does not write."""
    header, content = (base64.urlsafe_b64decode(part + "==") for part in token.split(".")[:2])
    changed = re.sub(old.encode(), new.encode(), content)
    assert changed != content
    return signed(header, changed)


def by_hmac(token: str, secret: bytes) -> str:
    header = json.loads(base64.urlsafe_b64decode(token.split(".", maxsplit=1)[0] + "==")) | {"alg": "HS256"}
    text = f"{encoded(json.dumps(header).encode())}.{token.split('.')[1]}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


PUBLIC = decode_jwt_key(KEY).public_key()
RAW = PUBLIC.public_bytes(Encoding.Raw, PublicFormat.Raw)
PEM = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

FORGERIES: dict[str, Callable[[str], str]] = {
    "another key": lambda token: forged(token, OTHER_KEY),
    "another key, its id": lambda token: forged(token, OTHER_KEY, {"kid": TokenKey(decode_jwt_key(OTHER_KEY)).id}),
    "none": lambda token: encoded(b'{"alg":"none","typ":"at+jwt"}') + f".{token.split('.')[1]}.",
    "none, signed": lambda token: forged(token, header={"alg": "none"}),
    "HS256, public key": lambda token: by_hmac(token, RAW),
    "HS256, public PEM": lambda token: by_hmac(token, PEM),
    "HS256, signed": lambda token: forged(token, header={"alg": "HS256"}),
    "typ": lambda token: forged(token, header={"typ": "JWT"}),
    "no typ": lambda token: forged(token, header={"typ": None}),
    "kid": lambda token: forged(token, header={"kid": "00000000"}),
    "no kid": lambda token: forged(token, header={"kid": None}),
    "kid of another type": lambda token: forged(token, header={"kid": [1]}),
    "crit": lambda token: forged(token, header={"crit": ["exp"]}),
    "jwk": lambda token: forged(token, OTHER_KEY, {"jwk": TokenKey(decode_jwt_key(OTHER_KEY)).jwk}),
    "iss": lambda token: forged(token, iss="somebody"),
    "aud": lambda token: forged(token, aud="something"),
    "aud list": lambda token: forged(token, aud=["stateroom"]),
    "no aud": lambda token: forged(token, aud=None),
    "no exp": lambda token: forged(token, exp=None),
    "exp word": lambda token: forged(token, exp="soon"),
    "exp float": lambda token: forged(token, exp=1e18),
    "exp true": lambda token: forged(token, exp=True),
    "exp 1e400": lambda token: rewritten(token, '"exp": ?[0-9]+', '"exp":1e400'),
    "exp NaN": lambda token: rewritten(token, '"exp": ?[0-9]+', '"exp":NaN'),
    "exp huge": lambda token: rewritten(token, '"exp": ?[0-9]+', '"exp":' + "9" * 400),
    "exp negative": lambda token: forged(token, exp=-1),
    "exp beyond JWT_MAX_AGE": lambda token: forged(
        token, exp=json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["iat"] + 301
    ),
    "no iat": lambda token: forged(token, iat=None),
    "iat and exp in the future": lambda token: forged(token, iat=2**40, exp=2**40 + 300),
    "nbf": lambda token: forged(token, nbf=2**40),
    "no auth_time": lambda token: forged(token, auth_time=None),
    "auth_time 1e400": lambda token: rewritten(token, '"auth_time": ?[0-9]+', '"auth_time":1e400'),
    "auth_time in the future": lambda token: forged(token, auth_time=2**40),
    "sub": lambda token: forged(token, sub="2"),
    "sid": lambda token: forged(token, sid="A" * 22),
    "no session": lambda token: forged(token, session=None),
    "short session": lambda token: forged(token, session=["i1"]),
    "session of numbers": lambda token: forged(token, session=[1, 2, 3, 4, 5, 6, 7, 8]),
    "session of nobody": lambda token: forged(token, session=["", "A" * 22, 0, 1, 1, 1, False, 0], sid="A" * 22, sub="None"),
    "another deployment": lambda token: forged(token, dep="AAAA"),
    "no deployment": lambda token: forged(token, dep=None),
    "nested claims": lambda token: signed(base64.urlsafe_b64decode(token.split(".")[0] + "=="), b'{"x":' + b"[" * 1100),
    "nested header": lambda token: signed(b'{"x":' + b"[" * 1300, b"{}"),
    "claims no object": lambda token: signed(base64.urlsafe_b64decode(token.split(".")[0] + "=="), b"[]"),
    "claims no UTF-8": lambda token: signed(base64.urlsafe_b64decode(token.split(".")[0] + "=="), bytes([0x22, 0xFF, 0x22])),
    "cut": lambda token: token[:-2],
    "signs in the base64": lambda token: token[:-10] + "*" + token[-10:],
    "too long": lambda token: token + "A" * 3000,
    "no claims": lambda token: f"{token.split('.')[0]}..{token.split('.')[2]}",
    "header no object": lambda token: f"{encoded(b'[]')}.{token.split('.', 1)[1]}",
    "letters": lambda token: "a.b.c",
    "dots": lambda token: "..",
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_what_was_not_minted_here_is_an_anonymous_visitor(client: ServiceClient, name: str) -> None:
    token = await minted(client)
    status, problem = await call(client, "GET", "/api/profile", token=FORGERIES[name](token))
    assert (status, problem["type"]) == (401, "urn:stateroom:problem:sign-in-required")
    assert (await call(client, "GET", "/api/profile", token=token))[0] == 200
    assert (await call(client, "GET", "/api/profile", token=forged(token)))[0] == 200, "the test's own way of signing is right"


async def test_keys_are_rotated_by_putting_a_new_one_first(settings: Settings, client: ServiceClient) -> None:
    token = await minted(client)
    for keys, status in ((f"{OTHER_KEY},{KEY}", 200), (OTHER_KEY, 401)):
        rotated = Settings(**(settings.model_dump(exclude_unset=True) | {"_env_file": None, "jwt_keys": keys}))
        async with TestClient(TestServer(make_app(rotated))) as other:
            assert (await call(other, "GET", "/api/profile", token=token))[0] == status
            assert jwt.get_unverified_header(await minted(other))["kid"] != jwt.get_unverified_header(token)["kid"]


async def test_the_public_keys_verify_without_this_library(settings: Settings, client: ServiceClient) -> None:
    """By the cryptography package alone, with what `/.well-known/jwks.json` says."""
    token = await minted(client)
    async with client.get("/.well-known/jwks.json") as response:
        assert (response.status, response.headers["Cache-Control"]) == (200, "public, max-age=300")
        found = (await response.json())["keys"]
    [key] = found
    assert set(key) == {"kty", "crv", "x", "use", "alg", "kid"}
    thumbprint = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{key["x"]}"}}'.encode()).digest()
    assert key["kid"] == encoded(thumbprint) == jwt.get_unverified_header(token)["kid"]
    text, signature = token.rsplit(".", 1)
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "=="))
    public.verify(base64.urlsafe_b64decode(signature + "=="), text.encode())


def test_the_thumbprint_is_that_of_rfc_8037() -> None:
    """Appendix A.1 to A.3."""
    seed = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = TokenKey(Ed25519PrivateKey.from_private_bytes(seed))
    assert (key.jwk["x"], key.id) == (
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    )  # fmt: skip


async def test_embedded_mode_makes_a_key_and_keeps_it(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, state_dir=tmp_path)
    [key] = load_token_keys(settings)
    assert [each.id for each in load_token_keys(settings)] == [key.id]
    assert (tmp_path / "jwt.key").stat().st_mode & 0o777 == 0o600


async def test_a_token_mints_no_token(settings: Settings) -> None:
    async def enter(request: web.Request) -> web.Response:
        await sign_in(request, 1)
        return web.json_response({"token": access_token(request).value})

    async def again(request: web.Request) -> web.Response:
        return web.json_response({"token": access_token(request).value})

    app = web.Application()
    stateroom.setup(app, settings)
    app.add_routes([web.get("/enter", enter), web.get("/again", again)])
    async with TestClient(TestServer(app)) as client:
        token = (await call(client, "GET", "/enter"))[1]["token"]
        client.session.cookie_jar.clear()
        status, problem = await call(client, "GET", "/again", token=token)
        assert (status, problem["type"]) == (403, "urn:stateroom:problem:not-by-access-token")


async def test_a_token_mints_no_token_without_a_request_either(client: ServiceClient) -> None:
    manager = app_of(client)[SESSIONS]
    session = await manager.load(await minted(client), purpose="bearer")
    assert session.user_id is not None
    with pytest.raises(stateroom.NotByAccessToken):
        manager.mint_access_token(session)


async def test_no_token_after_a_degraded_sign_in(settings: Settings, node: Node) -> None:
    """Redis takes no writes: the session is in its cookie alone, and the store cannot confirm it."""
    seen: list[bool] = []

    async def enter(request: web.Request) -> web.Response:
        seen.append((await sign_in(request, 1)).degraded)
        return web.json_response({"token": access_token(request).value})

    app = web.Application()
    stateroom.setup(app, settings)
    app.add_routes([web.get("/enter", enter)])
    async with TestClient(TestServer(app)) as client:
        await settled(app_of(client))
        await node.call("CONFIG", "SET", "min-replicas-to-write", 1)
        assert (await call(client, "GET", "/enter"))[0] == 503
        assert seen == [True]


async def test_no_token_while_redis_takes_no_writes_and_nobody_is_signed_out(client: ServiceClient, node: Node) -> None:
    await settled(app_of(client))
    credentials = {"email": ADA["email"], "password": ADA["password"]}
    assert (await call(client, "POST", "/api/auth/login", credentials))[0] == 200
    await node.call("CONFIG", "SET", "min-replicas-to-write", 1)
    async with client.post("/api/auth/token", json=credentials) as response:
        assert (response.status, "Set-Cookie" in response.headers) == (503, False)
    await node.call("CONFIG", "SET", "min-replicas-to-write", 0)
    assert (await call(client, "GET", "/api/profile"))[0] == 200, "the session of the cookie is still there"
    assert (await call(client, "POST", "/api/auth/token", credentials))[0] == 200


async def test_tokens_are_off_without_keys(service: ServiceClient) -> None:
    assert (await call(service, "GET", "/.well-known/jwks.json"))[0] == 404
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
