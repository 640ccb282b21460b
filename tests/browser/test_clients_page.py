"""The page in docs/clients.md, unchanged, in a browser."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from ..documents import examples
from .conftest import Place
from .people import person

pytestmark = pytest.mark.asyncio(loop_scope="session")

EMAIL = "clients-page@example.com"


async def test_the_page_signs_in_and_out(browser: Browser, place: Place) -> None:
    [content] = examples("clients.md", "html")
    async with person(browser, place.url) as ada:
        await ada.register(EMAIL)
        await ada.page.context.clear_cookies()
        await ada.page.route(
            f"{place.url}/clients.html", lambda route: route.fulfill(content_type="text/html; charset=utf-8", body=content)
        )
        await ada.open("/clients.html")
        status = ada.page.get_by_role("status")
        await expect(status).to_have_text("signed out: nobody is signed in")
        await ada.page.get_by_label("Email").fill(EMAIL)
        await ada.page.get_by_label("Password").fill("not this one")
        await ada.press("Sign in")
        await expect(status).to_have_text(
            "invalid credentials; check the email and the password; a disabled account cannot sign in"
        )
        await ada.page.get_by_label("Password").fill("correct horse")
        await ada.press("Sign in")
        await expect(status).to_have_text("hello Ada")
        await ada.press("Sign out")
        await expect(status).to_have_text("signed out: nobody is signed in")
        await expect(ada.page.get_by_role("button", name="Sign in")).to_be_visible()
