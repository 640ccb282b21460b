"""The pages of mailed links, in a real browser: light and dark, wide and narrow, with scripts and without."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, expect

from stateroom.app import make_app

from ..servers import Servers
from ..web.links import link
from .people import Person, person

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG = f"{'a' * 60}@{'b' * 60}.example.com"
PASSWORD = "correct horse"
Running = tuple[web.Application, str]
NewService = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def new_service(servers: Servers, tmp_path: Path) -> NewService:
    """Runs the service in this process, so that a test can make links, and yields it and its URL."""

    @asynccontextmanager
    async def run(**values: Any) -> AsyncIterator[Running]:
        own = {
            "mail_url": f"file:{tmp_path}/mails",
            "mail_from": "a@example.com",
            "public_url": "http://127.0.0.1",
            "public_origins": "",
        }
        app = make_app(servers.service_settings(tmp_path, **(own | {"email_verification": "required"} | values)))
        async with TestServer(app) as server:
            yield app, str(server.make_url("")).rstrip("/")

    return run


async def register(somebody: Person, email: str) -> None:
    await somebody.open("/register")
    await somebody.fill(name="Ada", email=email, password=PASSWORD)
    await somebody.press("Create account")


async def has_heading(somebody: Person, text: str) -> None:
    await expect(somebody.page.locator("h1")).to_have_text(text)


async def test_an_address_is_confirmed(browser: Browser, new_service: NewService) -> None:
    async with new_service() as (app, url), person(browser, url) as ada, person(browser, url) as reader:
        await ada.open("/login")
        await ada.look("links-login")
        await register(ada, LONG)
        await has_heading(ada, "Check your mail")
        await ada.look("links-check-mail")
        await ada.sign_in(LONG)
        await has_heading(ada, "Confirm your email address")
        await ada.look("links-unconfirmed")
        await ada.press("Change address")
        await expect(ada.page.locator(".summary")).to_be_visible()
        await ada.look("links-unconfirmed-refused")
        path = await link(app, "verify", LONG)
        await reader.open(path)
        await reader.look("links-verify-stranger")
        await reader.press("Confirm this address")
        await expect(reader.page.locator(".summary")).to_be_focused()
        await reader.look("links-verify-refused")
        await ada.open(path)
        await ada.look("links-verify")
        await ada.press("Confirm this address")
        await has_heading(ada, "Your account")
        await expect(ada.page.locator(".note.success").last).to_have_text("Your email address is confirmed.")
        await ada.look("links-account")
        await ada.fill(email="new@example.com", password="wrong")
        await ada.press("Change address")
        await expect(ada.page.locator(".summary")).to_be_focused()
        await ada.look("links-account-refused")
        await reader.fill(password=PASSWORD)
        await reader.press("Confirm this address")
        await has_heading(reader, "This link doesn't work any more")
        await reader.look("links-verify-invalid")


async def test_an_unconfirmed_account_that_may_be_used(browser: Browser, new_service: NewService) -> None:
    async with new_service(email_verification="optional") as (_, url), person(browser, url) as ada:
        await register(ada, LONG)
        await has_heading(ada, "Your account")
        await expect(ada.page.locator(".badge.warning")).to_be_visible()
        await ada.look("links-account-unconfirmed")


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
async def test_a_forgotten_password(browser: Browser, new_service: NewService, *, scripts: bool) -> None:
    async with new_service(email_verification="off") as (app, url), person(browser, url, java_script_enabled=scripts) as ada:
        await register(ada, LONG)
        await has_heading(ada, "Your account")
        await ada.press("Sign out")
        await has_heading(ada, "Sign in")
        await ada.page.get_by_role("link", name="Forgot your password?").click()
        await has_heading(ada, "Forgot your password?")
        if scripts:
            await ada.look("links-forgot")
        await ada.fill(email=LONG)
        await ada.press("Send the mail")
        await has_heading(ada, "Look into your mail")
        if scripts:
            await ada.look("links-forgot-sent")
        await ada.open(await link(app, "reset", LONG))
        if scripts:
            await ada.look("links-reset")
        await ada.fill(new_password="short")
        await ada.press("Set password")
        await expect(ada.page.locator(".summary")).to_be_visible()
        if scripts:
            await ada.look("links-reset-refused")
        await ada.fill(new_password="battery staple")
        await ada.press("Set password")
        await has_heading(ada, "Sign in")
        await expect(ada.page.locator(".note.success")).to_have_text("Your password was changed. Sign in with the new one.")
        if scripts:
            await ada.look("links-login-reset")
        await ada.open("/reset?token=x")
        await ada.fill(new_password="battery staple")
        await ada.press("Set password")
        await has_heading(ada, "This link doesn't work any more")
        if scripts:
            await ada.look("links-reset-invalid")


async def test_an_invitation(browser: Browser, new_service: NewService) -> None:
    async with new_service(registration="invited") as (app, url), person(browser, url) as ada:
        await ada.open("/register")
        await has_heading(ada, "You need an invitation")
        await ada.look("links-by-invitation")
        await ada.open(await link(app, "invitation", email=LONG))
        await ada.look("links-invitation")
        await ada.press("Create account")
        await expect(ada.page.locator(".summary")).to_be_focused()
        await ada.look("links-invitation-refused")
        await ada.fill(name="Ada", email=LONG, password=PASSWORD)
        await ada.press("Create account")
        await has_heading(ada, "Your account")


async def test_who_is_signed_in_and_comes_from_a_mail_is_asked_for_no_password(browser: Browser, new_service: NewService) -> None:
    """The browser does not send a strict cookie when the user follows the link from the mail's site."""
    async with new_service() as (app, url), person(browser, url) as ada:
        await register(ada, "ada@example.com")
        await ada.sign_in("ada@example.com")
        await has_heading(ada, "Confirm your email address")
        path = await link(app, "verify", "ada@example.com")

        async def mail(request: web.Request) -> web.Response:
            return web.Response(text=f'<a href="{url}{path}">the link</a>', content_type="text/html")

        site = web.Application()
        site.router.add_get("/", mail)
        async with TestServer(site) as elsewhere:
            await ada.page.goto(f"http://localhost:{elsewhere.port}/")
            ada.hosts.clear()  # That page belonged to the mail's site.
            await ada.page.get_by_role("link", name="the link").click()
            await expect(ada.page.get_by_role("button", name="Confirm this address")).to_be_visible()
            await expect(ada.page.locator("#password")).to_have_count(0)
            await ada.press("Confirm this address")
            await has_heading(ada, "Your account")


async def test_a_page_with_a_token_names_it_to_nobody(browser: Browser, new_service: NewService) -> None:
    async with new_service() as (_, url), person(browser, url) as ada:
        referrers: list[str] = []
        ada.page.on("request", lambda request: referrers.append(request.headers.get("referer", "")))
        await ada.open("/reset?token=secret")
        await ada.fill(new_password="battery staple")
        await ada.press("Set password")
        await has_heading(ada, "This link doesn't work any more")
        assert any(referrers)
        assert not any("secret" in each for each in referrers)
