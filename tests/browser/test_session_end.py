"""While a page is open, Redis becomes unavailable and available again, and the session ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Request, expect

from stateroom.drills.node import until

from .conftest import Place
from .people import Person, person

pytestmark = pytest.mark.asyncio(loop_scope="session")


@contextlib.contextmanager
def hung(place: Place) -> Iterator[None]:
    place.node.pause()
    try:
        yield
    finally:
        place.node.resume()


async def says_unavailable(person: Person) -> bool:
    metrics = await person.page.request.get(f"{person.url}/metrics")
    return "\nstateroom_redis_circuit_state 0.0\n" not in await metrics.text()


async def test_a_banner_while_redis_hangs_and_none_after(browser: Browser, place: Place) -> None:
    async with person(browser, place.url) as ada, person(browser, place.url) as visitor:
        await ada.register("banner@example.com")
        banner = ada.page.locator("#degraded")
        await expect(banner).to_be_hidden()
        with hung(place):
            await ada.open("/account")
            await expect(banner).to_be_visible()
            assert "We can't show your devices right now" in await ada.text()
            await until(lambda: says_unavailable(visitor), "the service has given up two connections")
            await visitor.open("/login")
            await expect(visitor.page.locator("#degraded")).to_be_visible()
            await ada.look("account-degraded")
            await visitor.enter("banner@example.com")
            await expect(visitor.page.locator("#degraded")).to_be_visible()

        async def is_back() -> bool:
            await ada.open("/account")
            return await banner.is_hidden()

        await until(is_back, "Redis is back")
        await visitor.open("/account")
        await expect(visitor.page.locator("#degraded")).to_be_hidden()
        await expect(visitor.page.locator(".devices li")).to_have_count(2)


async def test_a_page_warns_before_the_end_and_staying_is_one_click(browser: Browser, brief: Place) -> None:
    async with person(browser, brief.url) as ada:
        asked: list[str] = []  # Whether a call of the API prolongs the session.

        def note(request: Request) -> None:
            if "/api/" in request.url:
                asked.append(request.headers.get("x-session-renew", "yes"))

        await ada.register("brief@example.com")
        ada.page.on("request", note)
        bar = ada.page.locator("#expiry")
        await expect(bar).to_be_hidden()
        await expect(bar).to_be_visible()
        await expect(bar).to_contain_text("You'll be signed out in")
        await expect(ada.page.locator("#announcer")).to_contain_text("You'll be signed out in")
        assert set(asked) == {"no"}
        await ada.press("Stay signed in")
        await expect(bar).to_be_hidden()
        await expect(ada.page.locator("#announcer")).to_have_text("You're still signed in.")
        assert asked.count("yes") == 1
        await expect(bar).to_be_visible()
        await ada.page.wait_for_url("**/login")
        assert asked.count("yes") == 1
        assert "You were signed out after some time." in await ada.text()


async def test_a_page_that_stays_open_notices_an_end_from_elsewhere(browser: Browser, brief: Place) -> None:
    async with person(browser, brief.url) as desktop, person(browser, brief.url) as other:
        await desktop.register("elsewhere@example.com")
        await other.enter("elsewhere@example.com")
        await other.fill(current_password="correct horse", new_password="battery staple")
        await other.press("Change password")
        await desktop.page.wait_for_url("**/login")
        assert "Your password was changed, so every other device was signed out." in await desktop.text()
