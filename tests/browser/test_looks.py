"""Every page, light and dark, wide and narrow: axe-core finds no fault, and no page needs scrolling sideways."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from .conftest import Place
from .people import person

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG_NAME = "Adalbertine-Wilhelmine-Friederike-Charlotte-von-und-zu-Hohenstein-Unterfelsenburg" * 2


async def test_pages_for_strangers(browser: Browser, place: Place) -> None:
    async with person(browser, place.url) as stranger:
        await stranger.open("/login")
        await stranger.look("login")
        await stranger.sign_in("nobody@example.com")
        await expect(stranger.page.locator(".summary")).to_be_visible()
        await stranger.look("login-refused")
        await stranger.open("/login?signed-out=expired")
        await stranger.look("login-expired")
        await stranger.open("/register")
        await stranger.look("register")
        await stranger.press("Create account")
        await expect(stranger.page.locator(".summary")).to_be_visible()
        await stranger.look("register-refused")
        await stranger.open("/no/such/page")
        await stranger.look("no-such-page")


async def test_the_account(browser: Browser, place: Place) -> None:
    address = f"{'a' * 60}@{'b' * 60}.example.com"
    async with person(browser, place.url) as ada, person(browser, place.url, user_agent="x" * 200) as other:
        await ada.register(address, name=LONG_NAME)
        await other.enter(address)
        await ada.open("/account")
        await ada.look("account")
        await ada.press("Change password")
        await expect(ada.page.locator(".summary")).to_be_visible()
        await ada.look("account-refused")


async def test_pages_of_visits_that_were_refused(browser: Browser, place: Place) -> None:
    rd = "?rd=http%3A%2F%2Flocalhost%2Fwiki"
    async with person(browser, place.url) as ada:
        await ada.open(f"/not-sent{rd}")
        await ada.look("not-sent")
        await ada.open(f"/denied{rd}")
        await ada.look("denied-stranger")
        await ada.register(f"{'c' * 60}@{'d' * 60}.example.com", name=LONG_NAME)
        await ada.open(f"/denied{rd}")
        await ada.look("denied")
        await ada.open(f"/not-sent{rd}")
        await ada.look("not-sent-signed-in")
        await ada.open(f"/confirm{rd}")
        await ada.look("confirm-visit")


async def test_the_password_again_and_the_warning(browser: Browser, brief: Place) -> None:
    async with person(browser, brief.url) as ada:
        await ada.register("again@example.com")
        await expect(ada.page.locator("#expiry")).to_be_visible()  # By then the sign-in is no longer fresh.
        await ada.page.emulate_media(color_scheme="dark")
        await ada.look("account-expiring")
        await ada.page.evaluate(
            """() => { const form = document.createElement("form"); form.method = "post"; form.action = "/account/revoke-others";
            document.body.append(form); form.submit(); }"""
        )
        await expect(ada.page.locator("h1")).to_have_text("Enter your password again")
        await ada.look("confirm")
