"""Two devices of one user, in a real browser."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Route, expect

from .conftest import Place
from .people import person

pytestmark = pytest.mark.asyncio(loop_scope="session")

TELEPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
    "Mobile/15E148 Safari/604.1"
)


async def test_one_device_signs_the_other_out_which_is_told_at_its_next_click(browser: Browser, place: Place) -> None:
    async with person(browser, place.url) as desktop, person(browser, place.url, user_agent=TELEPHONE) as phone:
        await desktop.register("two@example.com")
        await phone.enter("two@example.com")
        await desktop.open("/")
        devices = desktop.page.locator(".devices li")
        await expect(devices).to_have_count(2)
        await expect(devices.nth(0)).to_contain_text("This device")
        await expect(devices.nth(1)).to_contain_text("Mobile Safari on iOS")
        await desktop.press("Sign out Mobile Safari on iOS")
        await expect(devices).to_have_count(1)
        assert "The device was signed out." in await desktop.text()

        await phone.press("Change password")
        await phone.page.wait_for_url("**/login")
        assert "This device was signed out: by you on another device" in await phone.text()


async def test_a_double_click_sends_a_form_once(browser: Browser, place: Place) -> None:
    async with person(browser, place.url) as desktop, person(browser, place.url, user_agent=TELEPHONE) as phone:
        await desktop.register("twice@example.com")
        await phone.enter("twice@example.com")
        await desktop.open("/")
        sent = []

        async def slowly(route: Route) -> None:
            sent.append(route.request.method)
            await asyncio.sleep(0.3)
            await route.continue_()

        await desktop.page.route("**/account/revoke-others", slowly)
        button = desktop.page.get_by_role("button", name="Sign out all other devices")
        await button.scroll_into_view_if_needed()
        box = await button.bounding_box()
        assert box is not None
        for _ in range(2):
            await desktop.page.mouse.click(box["x"] + 20, box["y"] + 10)  # A locator would wait for the next page.
            await asyncio.sleep(0.1)
        await expect(desktop.page.locator(".note.success")).to_contain_text("1 other device was signed out.")
        assert sent == ["POST"]


async def test_a_wrong_password_by_keyboard_alone(browser: Browser, place: Place) -> None:
    async with person(browser, place.url) as ada:
        await ada.register("keys@example.com")
        await ada.press("Sign out")
        await ada.page.wait_for_url("**/login?signed-out=logout")
        keyboard = ada.page.keyboard

        async def focused() -> str:
            return str(await ada.page.evaluate("document.activeElement.id || document.activeElement.className"))

        order = []
        for _ in range(6):
            await keyboard.press("Tab")
            order.append(await focused())
        assert order == ["skip", "brand", "email", "password", "reveal", "remember"]
        await ada.page.locator("#email").focus()
        await keyboard.type("keys@example.com")
        await keyboard.press("Tab")
        await keyboard.type("wrong horse")
        await keyboard.press("Enter")
        await expect(ada.page.locator(".summary")).to_be_focused()
        await keyboard.press("Tab")
        await keyboard.press("Enter")  # The error links to its field.
        assert await focused() == "password"
        await keyboard.type("correct horse")
        await keyboard.press("Enter")
        await ada.page.wait_for_url("**/account")


async def test_a_password_can_be_looked_at(browser: Browser, place: Place) -> None:
    async with person(browser, place.url) as ada:
        await ada.open("/login")
        await ada.fill(password="correct horse")
        password = ada.page.locator("#password")
        await ada.press("Show password")
        await expect(password).to_have_attribute("type", "text")
        await expect(ada.page.get_by_role("button", name="Show password")).to_have_attribute("aria-pressed", "true")
        await ada.press("Show password")
        await expect(password).to_have_attribute("type", "password")


async def test_with_scripts_off_everything_is_done_by_forms(browser: Browser, place: Place) -> None:
    async with person(browser, place.url, java_script_enabled=False) as ada, person(browser, place.url) as other:
        await ada.register("plain@example.com")
        await other.enter("plain@example.com")
        await ada.open("/account")
        await ada.press("Sign out all other devices")
        assert "1 other device was signed out." in await ada.text()
        await ada.fill(current_password="wrong", new_password="battery staple")
        await ada.press("Change password")
        assert "The current password is incorrect." in await ada.text()
        await ada.fill(current_password="correct horse", new_password="battery staple")
        await ada.press("Change password")
        assert "Password changed. Every other device was signed out." in await ada.text()
        await ada.press("Sign out")
        assert "You're signed out." in await ada.text()
        await ada.sign_in("plain@example.com", "battery staple")
        assert await ada.heading() == "Your account"


async def test_a_sign_in_leads_back_to_an_application_on_another_host(browser: Browser, place: Place) -> None:
    async def cart(request: web.Request) -> web.Response:
        return web.Response(text="<title>cart</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/cart", cart)
    async with TestServer(app) as server:
        address = f"http://localhost:{server.port}/cart"
        async with person(browser, place.url) as ada:
            await ada.register("back@example.com")
            await ada.press("Sign out")
            await ada.open(f"/login?rd={address}")
            await ada.fill(email="back@example.com", password="correct horse")
            await ada.press("Sign in")
            await ada.page.wait_for_url(address)
            assert f"localhost:{server.port}" in ada.hosts
            ada.hosts = {each for each in ada.hosts if not each.startswith("localhost")}  # The browser was redirected there.


async def test_who_is_signed_in_and_comes_by_a_link_from_another_site_goes_on(browser: Browser, place: Place) -> None:
    """The browser does not send a strict cookie when a user follows the link."""

    async def elsewhere(request: web.Request) -> web.Response:
        return web.Response(text=f'<a href="{place.url}/account">account</a>', content_type="text/html")

    app = web.Application()
    app.router.add_get("/", elsewhere)
    async with TestServer(app) as server, person(browser, place.url) as ada:
        await ada.register("link@example.com")
        arrivals: list[str] = []
        ada.page.on("framenavigated", lambda frame: arrivals.append(frame.url.removeprefix(place.url)))
        await ada.page.goto(f"http://localhost:{server.port}/")
        ada.hosts.clear()  # That page belonged to another user.
        await ada.page.get_by_role("link", name="account").click()
        await ada.page.wait_for_url("**/account")
        assert arrivals[1:] == ["/login", "/account"]


async def test_nothing_of_the_account_is_kept_after_signing_out(browser: Browser, place: Place) -> None:
    async with person(browser, place.url) as ada:
        await ada.register("gone@example.com")
        await ada.press("Sign out")
        await ada.page.wait_for_url("**/login?signed-out=logout")
        await ada.page.go_back()
        await expect(ada.page.locator("h1")).to_have_text("Sign in")


async def test_a_first_visit_asks_our_host_alone_and_takes_less_than_150_kilobytes(browser: Browser, place: Place) -> None:
    async with person(browser, place.url) as before:
        await before.register("first@example.com")
    async with person(browser, place.url) as ada:
        network = await ada.page.context.new_cdp_session(ada.page)
        await network.send("Network.enable")
        sizes: list[float] = []
        network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        await ada.enter("first@example.com")
        await ada.page.wait_for_load_state("networkidle")
        assert len(sizes) >= 5  # Two pages, with their style, script and icon.
        print(f"a first visit: {sum(sizes) / 1000:.1f} kB in {len(sizes)} answers")
        assert sum(sizes) < 150_000
