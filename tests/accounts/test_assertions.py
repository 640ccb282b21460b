"""What an assertion says, for how long, and when none is made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import stateroom
from stateroom import SESSIONS, SettingsError, testing
from stateroom.accounts.access import Person
from stateroom.accounts.assertions import Assertions, check_audience
from stateroom.sessions.sealing.token_keys import TokenKey, new_token_key
from stateroom.settings import Settings, decode_jwt_key

from ..conftest import ServiceClient

WIKI, TILL = "https://wiki.example.com", "https://till.example.com"
ADA = Person(42, "ada@example.com", frozenset({"staff", "admin"}))
SECRET = new_token_key()
KEY = TokenKey(decode_jwt_key(SECRET))
SETTINGS: dict[str, Any] = {"jwt_keys": SECRET, "deployment": "production"}


@pytest.fixture
async def client() -> AsyncIterator[ServiceClient]:
    app = web.Application()
    stateroom.setup(app, testing.settings(**SETTINGS), client_factory=testing.fake_redis)
    async with TestClient(TestServer(app)) as made:
        yield made


def app_of(client: ServiceClient) -> web.Application:
    assert client.app is not None
    return client.app


def assertions(client: ServiceClient, keys: list[TokenKey], **values: Any) -> Assertions:
    return Assertions(testing.settings(**(SETTINGS | values)), app_of(client)[SESSIONS].clock, lambda: keys)


def read(value: str, audience: str = WIKI, key: TokenKey = KEY) -> dict[str, Any]:
    """The claims, if the key has signed them. Whether they are in time is another test."""
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    claims: dict[str, Any] = jwt.decode(value, key.public, ["EdDSA"], options, audience=audience, issuer="stateroom")
    return claims


async def test_it_names_the_user_the_session_and_the_application(client: ServiceClient) -> None:
    session = await app_of(client)[SESSIONS].create(42)
    value = assertions(client, [KEY]).mint(session, WIKI, ADA, name="Ada Łovelace")
    assert jwt.get_unverified_header(value) == {"alg": "EdDSA", "typ": "stateroom-assertion+jwt", "kid": KEY.id}
    claims = read(value)
    assert {name: claims.pop(name) for name in ("iat", "nbf", "exp")}
    assert claims == {
        "iss": "stateroom",
        "aud": WIKI,
        "sub": "42",
        "email": "ada@example.com",
        "name": "Ada Łovelace",
        "groups": ["admin", "staff"],
        "sid": session.id,
        "dep": "production",
    }


async def test_what_is_unknown_or_not_verified_is_absent(client: ServiceClient) -> None:
    session = await app_of(client)[SESSIONS].create(42)
    value = assertions(client, [KEY], deployment="").mint(session, WIKI, Person(42, "", frozenset()))
    claims = read(value)
    assert claims["groups"] == []
    assert not {"email", "name", "dep"} & claims.keys()


async def test_it_is_good_for_a_minute_of_redis_clock(client: ServiceClient) -> None:
    app = app_of(client)
    session = await app[SESSIONS].create(42)
    testing.clock(app).move(minutes=10)
    claims = read(assertions(client, [KEY]).mint(session, WIKI, ADA))
    assert claims["nbf"] == claims["iat"] == app[SESSIONS].clock.now_ms() // 1000
    assert claims["exp"] - claims["iat"] == 60


async def test_it_is_sent_again_for_a_third_of_its_life(client: ServiceClient) -> None:
    app = app_of(client)
    session = await app[SESSIONS].create(42)
    minting = assertions(client, [KEY])
    first = minting.mint(session, WIKI, ADA)
    testing.clock(app).move(seconds=18)
    assert minting.mint(session, WIKI, ADA) == first
    testing.clock(app).move(seconds=3)
    second = minting.mint(session, WIKI, ADA)
    assert read(second)["iat"] - read(first)["iat"] in {20, 21, 22}
    testing.clock(app).move(seconds=-30)  # Redis' clock was set back: the second one is not good yet.
    assert read(minting.mint(session, WIKI, ADA))["iat"] < read(first)["iat"]


async def test_nothing_is_sent_again_that_says_something_else(client: ServiceClient) -> None:
    manager = app_of(client)[SESSIONS]
    session = await manager.create(42)
    keys = [KEY]
    minting = assertions(client, keys)
    minting.mint(session, WIKI, ADA, name="Ada")
    assert read(minting.mint(session, TILL, ADA, name="Ada"), TILL)["aud"] == TILL
    assert read(minting.mint(session, WIKI, Person(42, ADA.email, frozenset({"staff"})), name="Ada"))["groups"] == ["staff"]
    assert "email" not in read(minting.mint(session, WIKI, Person(42, "", ADA.groups), name="Ada"))
    assert read(minting.mint(session, WIKI, ADA, name="Eve"))["name"] == "Eve"
    other = await manager.create(42)
    assert read(minting.mint(other, WIKI, ADA, name="Ada"))["sid"] == other.id
    keys[0] = TokenKey(decode_jwt_key(new_token_key()))
    assert read(minting.mint(session, WIKI, ADA, name="Ada"), key=keys[0])["sub"] == "42"


async def test_without_keys_or_for_the_audience_of_access_tokens_there_is_none(client: ServiceClient) -> None:
    session = await app_of(client)[SESSIONS].create(42)
    assert assertions(client, []).mint(session, WIKI, ADA) == ""
    assert assertions(client, [KEY], jwt_audience=WIKI).mint(session, WIKI, ADA) == ""
    assert assertions(client, [KEY]).mint(session, "", ADA) == ""


async def test_it_opens_nothing_here_and_a_proxy_is_told_to_keep_it_from_the_application(client: ServiceClient) -> None:
    manager = app_of(client)[SESSIONS]
    value = assertions(client, [KEY]).mint(await manager.create(42), WIKI, ADA)
    assert not manager.opens(value)
    assert (await manager.load(value)).user_id is None
    assert manager.recognises(value)


async def test_nobody_gets_an_assertion_of_somebody_else(client: ServiceClient) -> None:
    manager = app_of(client)[SESSIONS]
    minting = assertions(client, [KEY])
    with pytest.raises(ValueError, match="somebody else"):
        minting.mint(await manager.create(7), WIKI, ADA)
    with pytest.raises(ValueError, match="somebody else"):
        minting.mint(manager.anonymous(), WIKI, ADA)


def test_startup_refuses_an_audience_that_access_tokens_have() -> None:
    settings = testing.settings(jwt_audience=WIKI, **SETTINGS)
    with pytest.raises(SettingsError, match=r"JWT_AUDIENCE: https://wiki\.example\.com .* another audience"):
        check_audience(settings, {WIKI, TILL}.__contains__)
    check_audience(settings, {TILL}.__contains__)
    check_audience(Settings(_env_file=None), {TILL}.__contains__)
    without_keys = testing.settings(jwt_audience=WIKI)
    check_audience(without_keys, {WIKI}.__contains__)
