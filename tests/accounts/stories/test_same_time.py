"""The time of a response does not tell whether an address has an account, or a link leads to one.

`make test` runs this file alone, because it measures time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from stateroom.accounts import ACCOUNTS
from stateroom.accounts.passwords import Passwords

from ...servers import Servers
from .fleet import OWNER, PASSWORD, Answer, Browser, Fleet, running

PAIRS = 300
ROUNDS = 7
"""A hash takes about 8 ms: more than twice what the times may differ by."""
SHARE, SECONDS = 0.05, 0.003
UNKNOWN_TOKEN = "x" * 43

Ask = Callable[[Browser, int], Awaitable[Answer]]
"""Send a request of one kind; the number makes it another one each time."""


@pytest.fixture
async def fleet(servers: Servers, tmp_path: Path) -> AsyncIterator[Fleet]:
    """One worker that sends its mails, and 300 accounts: `0@example.com`, `1@example.com`, …"""
    async with running(servers, tmp_path, workers=1, sends_mail=True, bcrypt_rounds=ROUNDS) as made:
        accounts = made.app()[ACCOUNTS]
        hashed = await accounts.passwords.hash(PASSWORD)
        for number in range(PAIRS):
            await accounts.users.create(known(number), "Somebody", hashed)
        yield made


def known(number: int) -> str:
    return f"{number}@example.com"


def unknown(number: int) -> str:
    return f"{number}@example.net"


def login(address: Callable[[int], str]) -> Ask:
    return lambda browser, number: browser.sign_in(address(number), "wrong password")


def forgot(address: Callable[[int], str]) -> Ask:
    return lambda browser, number: browser.post("/api/auth/password/forgot", email=address(number))


def register(address: Callable[[int], str]) -> Ask:
    return lambda browser, number: browser.register(address(number))


def verify(token: str) -> Ask:
    return lambda browser, _: browser.verify(token, password="wrong password")


async def medians(fleet: Fleet, one: Ask, other: Ask, status: tuple[int, int], pairs: int = PAIRS) -> tuple[float, float]:
    """The median times of both, in seconds. The pairs are interleaved, and each of both is first in every second pair."""
    took: list[list[float]] = [[], []]
    browser = fleet.browser()
    for number in range(pairs):
        for which in (0, 1) if number % 2 else (1, 0):
            began = time.perf_counter()
            answer = await (one, other)[which](browser, number)
            took[which].append(time.perf_counter() - began)
            assert answer.status == status[which], answer.body
    first, second = (statistics.median(times) for times in took)
    print(f"{first * 1000:.2f} ms, {second * 1000:.2f} ms")
    return first, second


def are_equal(first: float, second: float) -> bool:
    return abs(first - second) < max(SECONDS, SHARE * first)


async def test_signing_in(fleet: Fleet) -> None:
    assert are_equal(*await medians(fleet, login(known), login(unknown), (401, 401)))


async def test_asking_for_a_reset(fleet: Fleet) -> None:
    assert are_equal(*await medians(fleet, forgot(known), forgot(unknown), (202, 202)))


async def test_registering(fleet: Fleet) -> None:
    assert are_equal(*await medians(fleet, register(known), register(unknown), (202, 202)))


async def test_confirming_by_a_link_and_a_wrong_password(servers: Servers, tmp_path: Path) -> None:
    async with running(servers, tmp_path, workers=1, bcrypt_rounds=ROUNDS) as fleet:
        await fleet.browser().register()
        token = await fleet.mailbox.token("verify", OWNER)
        assert are_equal(*await medians(fleet, verify(token), verify(UNKNOWN_TOKEN), (401, 400)))


@pytest.mark.parametrize("step", ["sign in", "confirm"])
async def test_a_hash_that_is_skipped_is_noticed(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real = Passwords.verify

    async def skipping(passwords: Passwords, password: str, stored: str | None) -> bool:
        return False if stored is None else await real(passwords, password, stored)

    async with running(servers, tmp_path, workers=1, bcrypt_rounds=ROUNDS) as fleet:
        await fleet.browser().register()
        token = await fleet.mailbox.token("verify", OWNER)
        monkeypatch.setattr(Passwords, "verify", skipping)
        if step == "sign in":
            times = await medians(fleet, login(lambda _: OWNER), login(unknown), (401, 401), pairs=30)
        else:
            times = await medians(fleet, verify(token), verify(UNKNOWN_TOKEN), (401, 400), pairs=30)
        assert not are_equal(*times)
