from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stateroom.accounts import throttle as throttle_module
from stateroom.accounts.throttle import MAX_LOCAL_COUNTS, Throttle
from stateroom.backend.client import RedisClient
from stateroom.errors import StoreUnavailable, TooManyAttempts
from stateroom.settings import Settings

from ..servers import Servers

EMAIL, ADDRESS = "ada@example.com", "192.0.2.1"
LIMITS = {"login_attempts": 3, "login_attempts_per_address": 5, "login_window": 300}


class Away:
    """A client without an answer from Redis, until `client` is set."""

    client: RedisClient | None = None

    async def run(self, *args: Any) -> Any:
        if self.client is None:
            raise StoreUnavailable
        return await self.client.run(*args)


@pytest.fixture
def prefix() -> str:
    return f"throttle-{secrets.token_hex(4)}"


@pytest.fixture
def limited(store_settings: Settings, prefix: str) -> Settings:
    return store_settings.model_copy(update={**LIMITS, "redis_key_prefix": prefix})


@pytest.fixture
def stored(client: RedisClient, limited: Settings) -> Throttle:
    """A throttle that counts in a store of each kind."""
    return Throttle.of_logins(client, limited)


@pytest.fixture
def local(servers: Servers) -> Throttle:
    """A throttle that counts in this process, because Redis is unavailable."""
    return Throttle.of_logins(cast("RedisClient", Away()), servers.settings("fakeredis", **LIMITS))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of the local counts by a number of seconds."""
    now = [1000.0]
    monkeypatch.setattr(throttle_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


async def fail(throttle: Throttle, times: int, email: str = EMAIL, address: str | None = ADDRESS) -> None:
    for _ in range(times):
        await throttle.reserve(email, address)


async def refused(throttle: Throttle, email: str = EMAIL, address: str | None = ADDRESS) -> int:
    """How many seconds the client must wait."""
    with pytest.raises(TooManyAttempts) as caught:
        await throttle.reserve(email, address)
    return caught.value.retry_after


async def rules_hold(throttle: Throttle) -> None:
    """Rules that hold for counts in Redis and in the process."""
    await fail(throttle, 3)
    assert 295 <= await refused(throttle) <= 300
    # This blocks neither another account at this address, nor this account at another address.
    await fail(throttle, 1, "eve@example.com")
    await fail(throttle, 1, EMAIL, "192.0.2.2")
    # A successful sign-in at another address clears nothing at this one.
    await throttle.forgive(EMAIL, "192.0.2.2")
    await refused(throttle)
    # The address has a limit of its own, over all accounts.
    await fail(throttle, 1, "bob@example.com")
    assert 295 <= await refused(throttle, "carol@example.com") <= 300
    # A refused attempt was not counted. So one attempt that is given back allows one more.
    await throttle.give_back("bob@example.com", ADDRESS)
    await fail(throttle, 1, "carol@example.com")
    await refused(throttle, "bob@example.com")


async def test_failures_are_counted_by_account_and_address_and_by_address(stored: Throttle) -> None:
    await rules_hold(stored)


async def test_while_redis_is_away_the_same_rules_hold(local: Throttle) -> None:
    await rules_hold(local)


async def good_ones_do_not_count(throttle: Throttle) -> None:
    for _ in range(10):
        await throttle.reserve(EMAIL, ADDRESS)
        await throttle.forgive(EMAIL, ADDRESS)
    await fail(throttle, 2)
    await throttle.reserve(EMAIL, ADDRESS)
    await throttle.forgive(EMAIL, ADDRESS)
    await fail(throttle, 3)
    await refused(throttle)


async def test_a_good_sign_in_forgets_the_accounts_failures(stored: Throttle) -> None:
    await good_ones_do_not_count(stored)


async def test_a_good_sign_in_forgets_local_failures(local: Throttle) -> None:
    await good_ones_do_not_count(local)


async def test_ones_own_good_sign_ins_buy_no_guesses_at_others(stored: Throttle) -> None:
    for number in range(5):
        await fail(stored, 1, f"victim{number}@example.com")
        if number < 4:
            await stored.reserve("eve@example.com", ADDRESS)
            await stored.forgive("eve@example.com", ADDRESS)
    await refused(stored, "victim9@example.com")


async def test_parallel_guesses_do_not_pass_together(stored: Throttle) -> None:
    results = await asyncio.gather(*(stored.reserve(EMAIL, ADDRESS) for _ in range(50)), return_exceptions=True)
    assert [type(each) for each in results].count(TooManyAttempts) == 47
    assert results.count(None) == 3


async def test_the_window_begins_with_the_first_failure_and_is_not_prolonged(stored: Throttle, client: RedisClient) -> None:
    await fail(stored, 1)
    keys = stored._keys(EMAIL, ADDRESS)
    for key in keys:
        assert 295_000 < await client.execute(key, "PTTL", key) <= 300_000
        await client.execute(key, "PEXPIRE", key, 5000)
    await fail(stored, 2)
    assert await refused(stored) <= 5
    for key in keys:
        assert await client.execute(key, "PTTL", key) <= 5000
        await client.execute(key, "PEXPIRE", key, 1)
    async with asyncio.timeout(5):
        for key in keys:
            while await client.execute(key, "EXISTS", key):
                await asyncio.sleep(0.002)
    await fail(stored, 3)


async def test_the_local_window_ends_too(local: Throttle, clock: Callable[[float], None]) -> None:
    await fail(local, 3)
    clock(299)
    assert await refused(local) == 1
    clock(1.5)
    await fail(local, 3)
    await refused(local)


async def test_keys_tell_neither_address_nor_account_and_share_a_slot(stored: Throttle, prefix: str) -> None:
    account, network = stored._keys(EMAIL, ADDRESS)
    for key in (account, network):
        assert key.startswith(f"{prefix}:{{t")
        assert EMAIL not in key
        assert ADDRESS not in key
    assert account.split("}")[0] == network.split("}")[0]


async def test_giving_back_what_has_expired_leaves_nothing_behind(stored: Throttle, client: RedisClient) -> None:
    await stored.give_back(EMAIL, ADDRESS)
    await stored.forgive(EMAIL, ADDRESS)
    for key in stored._keys(EMAIL, ADDRESS):
        assert await client.execute(key, "EXISTS", key) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
        (None, "", True),
    ],
)
async def test_an_ipv6_network_counts_as_one_address(local: Throttle, one: str | None, other: str | None, same: bool) -> None:
    await fail(local, 3, EMAIL, one)
    if same:
        await refused(local, EMAIL, other)
    else:
        await fail(local, 1, EMAIL, other)


async def test_local_counts_are_bounded_and_the_busiest_stay(local: Throttle) -> None:
    for number in range(MAX_LOCAL_COUNTS):
        await fail(local, 1, EMAIL, f"2001:db8:{number // 65536:x}:{number % 65536:x}::1")
        if number % 4000 == 0:
            await local.reserve("busy@example.com", ADDRESS)
    assert len(local._local._counts) == MAX_LOCAL_COUNTS
    await refused(local, "busy@example.com")


async def test_a_good_sign_in_after_an_outage_forgets_what_was_counted_in_it(
    servers: Servers, client: RedisClient, limited: Settings
) -> None:
    away = Away()
    throttle = Throttle.of_logins(cast("RedisClient", away), limited)
    await fail(throttle, 2)
    away.client = client
    await throttle.reserve(EMAIL, ADDRESS)
    await throttle.forgive(EMAIL, ADDRESS)
    away.client = None
    await fail(throttle, 3)
    await refused(throttle)
