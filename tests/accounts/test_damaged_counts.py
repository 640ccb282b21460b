"""Keys of counts that hold another type, no number or no end: nobody is shut out, and the log says which key it was."""

from __future__ import annotations

import logging
import secrets

import pytest

from stateroom.accounts.limits import ChangeLimits
from stateroom.accounts.throttle import Throttle
from stateroom.backend.client import RedisClient
from stateroom.errors import TooManyAttempts
from stateroom.settings import Settings

from ..conftest import ServiceClient
from ..servers import Servers

EMAIL, ADDRESS = "ada@example.com", "192.0.2.1"
USER = 7
DAMAGES = [
    ("LPUSH", "x"), ("HSET", "x", "y"), ("SADD", "x"),
    ("SET", "many"), ("SET", "1.5"), ("SET", "-3"), ("SET", ""), ("SET", b"\xff"), ("SET", "9" * 30),
]  # fmt: skip


async def put(client: RedisClient, key: str, damage: tuple[str | bytes, ...]) -> None:
    await client.execute(key, "DEL", key)
    await client.execute(key, str(damage[0]), key, *damage[1:])


def event_of(damage: tuple[str | bytes, ...]) -> str:
    return "store_value_unreadable" if damage[0] == "SET" else "store_key_of_another_type"


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if event in record.getMessage()]


@pytest.fixture
def limited(store_settings: Settings) -> Settings:
    limits = {"login_attempts": 3, "login_attempts_per_address": 5, "session_changes_per_user": 3}
    return store_settings.model_copy(update=limits | {"redis_key_prefix": f"throttle-{secrets.token_hex(4)}"})


@pytest.fixture
def throttle(client: RedisClient, limited: Settings) -> Throttle:
    return Throttle.of_logins(client, limited)


@pytest.fixture
def limits(client: RedisClient, limited: Settings) -> ChangeLimits:
    return ChangeLimits(client, limited)


async def keys_of(client: RedisClient, limited: Settings) -> list[str]:
    """The keys of both changes' counts."""
    found: list[str] = []
    for shard in client.shards():
        found += [key.decode() for key in await client.execute(shard, "KEYS", f"{limited.redis_key_prefix}:*")]
    return sorted(found)


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
async def test_a_key_that_holds_no_count_is_a_missing_one_and_counts_again(
    throttle: Throttle, client: RedisClient, damage: tuple[str | bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    keys = throttle._keys(EMAIL, ADDRESS)
    for key in keys:
        await put(client, key, damage)
    with caplog.at_level(logging.WARNING):
        await throttle.reserve(EMAIL, ADDRESS)
    lines = told(caplog, event_of(damage))
    assert len(lines) == 2
    assert all(any(key in line for line in lines) for key in keys)
    assert all("REDIS_KEY_PREFIX" in line for line in lines)
    for key in keys:
        assert await client.execute(key, "GET", key) == b"1"
        assert await client.execute(key, "PTTL", key) > 0
    caplog.clear()
    await throttle.reserve(EMAIL, ADDRESS)
    await throttle.reserve(EMAIL, ADDRESS)
    with pytest.raises(TooManyAttempts):
        await throttle.reserve(EMAIL, ADDRESS)
    assert caplog.records == []


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
async def test_the_steps_after_an_attempt_do_not_fail_either(
    throttle: Throttle, client: RedisClient, damage: tuple[str | bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    keys = throttle._keys(EMAIL, ADDRESS)
    with caplog.at_level(logging.WARNING):
        for step in (throttle.forgive, throttle.acquit, throttle.give_back, throttle.forget):
            for key in keys:
                await put(client, key, damage)
            await step(EMAIL, ADDRESS)
            assert await throttle.failures(EMAIL, ADDRESS) == 0
    # `forgive` and `give_back` read the address's count, `give_back` the account's too. The others only delete.
    assert len(told(caplog, event_of(damage))) == 3


@pytest.mark.parametrize("damage", [("LPUSH", "x"), ("SET", "many")], ids=str)
async def test_the_failures_of_an_export_leave_out_what_is_no_count(
    throttle: Throttle, client: RedisClient, damage: tuple[str | bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    await put(client, throttle._keys(EMAIL, ADDRESS)[0], damage)
    with caplog.at_level(logging.WARNING):
        assert await throttle.failures(EMAIL, ADDRESS) == 0
    assert len(told(caplog, event_of(damage))) == 1


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
async def test_a_change_counts_again_where_no_count_was(
    limits: ChangeLimits,
    client: RedisClient,
    limited: Settings,
    damage: tuple[str | bytes, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await limits.take("session", USER, ADDRESS)
    keys = await keys_of(client, limited)
    assert len(keys) == 2
    for key in keys:
        await put(client, key, damage)
    with caplog.at_level(logging.WARNING):
        await limits.take("session", USER, ADDRESS)
    assert len(told(caplog, event_of(damage))) == 2
    for _ in range(2):
        await limits.take("session", USER, ADDRESS)
    with pytest.raises(TooManyAttempts):
        await limits.take("session", USER, ADDRESS)


async def test_a_count_without_an_end_gets_one(
    throttle: Throttle, limits: ChangeLimits, client: RedisClient, limited: Settings
) -> None:
    """A database that was copied without its times to live has such counts. They would shut a user out for ever."""
    await limits.take("session", USER, ADDRESS)
    await throttle.reserve(EMAIL, ADDRESS)
    keys = await keys_of(client, limited)
    assert len(keys) == 4
    for key in keys:
        await client.execute(key, "SET", key, 1)
    await limits.take("session", USER, ADDRESS)
    await throttle.reserve(EMAIL, ADDRESS)
    for key in keys:
        assert await client.execute(key, "PTTL", key) > 0
        await client.execute(key, "SET", key, limited.session_changes_per_address)
    with pytest.raises(TooManyAttempts) as attempt:
        await throttle.reserve(EMAIL, ADDRESS)
    assert attempt.value.retry_after > 1
    with pytest.raises(TooManyAttempts) as change:
        await limits.take("session", USER, ADDRESS)
    assert change.value.retry_after > 1
    for key in keys:
        assert await client.execute(key, "PTTL", key) > 0


@pytest.mark.parametrize("damage", [("LPUSH", "x"), ("SET", "many")], ids=str)
async def test_registration_sign_in_and_a_change_of_password_succeed(
    service: ServiceClient, service_settings: Settings, servers: Servers, damage: tuple[str, ...]
) -> None:
    node, prefix = servers.valkey, service_settings.redis_key_prefix

    async def spoil() -> int:
        keys = [key for pattern in (f"{prefix}:{{t*", f"{prefix}:{{c*:changes") for key in await node.call("KEYS", pattern)]
        for key in keys:
            await node.call("DEL", key)
            await node.call(damage[0], key, *damage[1:])
        return len(keys)

    account = {"email": EMAIL, "password": "correct horse battery", "name": "Ada"}
    refused = {"email": "eve@example.com", "password": "wrong"}
    assert (await service.post("/api/auth/login", json=refused)).status == 401
    assert await spoil() >= 2
    assert (await service.post("/api/auth/register", json=account)).status == 201
    assert await spoil() >= 2
    assert (await service.post("/api/auth/login", json=refused)).status == 401
    assert await spoil() >= 2
    assert (await service.post("/api/auth/login", json=account)).status == 200
    assert await spoil() >= 2
    change = {"current_password": account["password"], "new_password": "another horse battery"}
    response = await service.post("/api/auth/password", json=change)
    assert response.status == 200, await response.text()
