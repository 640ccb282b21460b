"""A session that ends while each proxy passes its renewals on: it stays ended, and the browser is left without a valid cookie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from stateroom.drills.node import until
from stateroom.drills.postgres import Postgres

from .cases import COOKIE, FETCH, PAGE, VISIT, Answer, Door
from .street import Street, built

ROUNDS = 4
VISITS = 6
"""How many visits are under way at once."""


@dataclass
class Browser:
    """A browser with the session cookie, which it replaces with each answer. `given`: all that it ever had."""

    door: Door
    cookie: str
    given: list[str] = field(default_factory=list)

    async def visit(self) -> Answer:
        """Open a page."""
        answer = await self.door.ask(PAGE, headers=VISIT | {"Cookie": f"theme=dark; {self.cookie}"})
        self.receive(answer)
        return answer

    def receive(self, answer: Answer) -> None:
        for line in answer.headers.getall("Set-Cookie", ()):
            if line.startswith(f"{COOKIE}="):
                pair, _, attributes = line.partition(";")
                self.cookie = "" if "max-age=0" in attributes.lower() else pair
                self.given += [self.cookie] if self.cookie else []


@pytest.fixture
async def street(tmp_path: Path, own_postgres: Postgres) -> AsyncIterator[Street]:
    async with built(tmp_path, own_postgres) as made:
        yield made


async def signs_out(browser: Browser) -> None:
    answer = await browser.door.own("/api/auth/logout", "POST", headers={"Cookie": browser.cookie})
    assert answer.status == 200, answer
    browser.receive(answer)


async def is_revoked(browser: Browser) -> None:
    """From another device. This browser is not told."""
    other = await browser.door.sign_in()
    answer = await browser.door.own("/api/sessions", "DELETE", headers={"Cookie": other})
    assert answer.status == 200, answer


async def ended_while_renewed(door: Door, end: Callable[[Browser], Awaitable[None]]) -> list[str]:
    """End a session between visits that renew it. Returns all cookies of the browser, which are worth nothing then."""
    first = await door.sign_in()
    browser = Browser(door, first, [first])
    has_ended = asyncio.Event()

    async def visits() -> None:
        while not has_ended.is_set():
            await browser.visit()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(visits()) for _ in range(VISITS)]
        await until(partial(_is_renewed, browser), f"{door.proxy} passes a renewal on")
        await end(browser)
        has_ended.set()
    assert all(task.done() for task in tasks)
    given = [*browser.given]
    answer = await browser.visit()  # with a cookie if the answer to an earlier visit came last
    assert door.outcome(answer).startswith("302 to the sign-in"), (door.proxy, answer)
    assert browser.given == given, (door.proxy, "the browser got a cookie after the end")
    for cookie in browser.given:
        answer = await door.ask(headers=FETCH | {"Cookie": cookie})
        assert (answer.status, answer.told) == (401, None), (door.proxy, answer)
    return browser.given


async def _is_renewed(browser: Browser) -> bool:
    return len(browser.given) > 2


@pytest.mark.timeout(180)
@pytest.mark.parametrize("end", [signs_out, is_revoked])
async def test_a_session_that_ends_while_it_is_renewed_stays_ended(
    street: Street, end: Callable[[Browser], Awaitable[None]]
) -> None:
    given = {door.proxy: await ended_while_renewed(door, end) for door in street.doors for _ in range(ROUNDS)}
    keepers = {door.proxy: await door.sign_in() for door in street.doors}
    street.redis.pause()
    try:
        for door in street.doors:
            kept = await door.ask(headers=FETCH | {"Cookie": keepers[door.proxy]})
            assert door.outcome(kept) == "passes, marked", "the others are still known"
            for cookie in given[door.proxy]:
                answer = await door.ask(headers=FETCH | {"Cookie": cookie})
                assert answer.told is None, (door.proxy, answer)
    finally:
        street.redis.resume()
    for door in street.doors:
        for cookie in given[door.proxy]:
            await until(partial(_is_refused, door, cookie), "it has ended for good")


async def _is_refused(door: Door, cookie: str) -> bool:
    answer = await door.ask(headers=FETCH | {"Cookie": cookie})
    assert answer.told is None, (door.proxy, answer)
    return answer.status == 401
