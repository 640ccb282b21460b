"""The way back after a sign-in and a sign-out, in a real browser: through hosts that redirect on, and with the page's fragment.

Every name below `localhost` is this machine to a browser, and each is another host.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, expect

from .conftest import Place, serving_for
from .people import Person

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTS = "app.localhost, *.apps.localhost, a_b.localhost"


@pytest.fixture(scope="session")
def sign_in(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service that leads to these hosts."""
    folder = tmp_path_factory.mktemp("ways")
    with serving_for(folder, place.node, REDIS_KEY_PREFIX="ways", RETURN_HOSTS=HOSTS) as service:
        yield f"http://127.0.0.1:{service.port}"


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def app_port(sign_in: str) -> AsyncIterator[int]:
    """Applications on three hosts: `/chain` leads from one to the next, `/private` to the sign-in and then to `/open`."""

    async def answer(request: web.Request) -> web.Response:
        port = request.url.port
        onwards = {
            ("app.localhost", "/chain"): f"http://x.apps.localhost:{port}/chain",
            ("x.apps.localhost", "/chain"): f"http://a_b.localhost:{port}/end",
            ("app.localhost", "/private"): f"{sign_in}/login?rd={quote(f'http://app.localhost:{port}/open?a=1', safe='')}",
        }
        to = onwards.get((request.url.host or "", request.path))
        if to is not None:
            return web.Response(status=302, headers={"Location": to})
        return web.Response(text="<!doctype html><h1>The application</h1>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        assert server.port is not None
        yield server.port


@asynccontextmanager
async def browsing(browser: Browser, url: str) -> AsyncIterator[Person]:
    """Somebody who leaves the service for other hosts. Their browser must not complain."""
    context = await browser.new_context()
    context.set_default_timeout(20_000)
    try:
        somebody = Person(await context.new_page(), url)
        yield somebody
        assert somebody.complaints == []
    finally:
        await context.close()


async def test_a_form_leads_through_hosts_that_redirect_on(browser: Browser, sign_in: str, app_port: int) -> None:
    rd = quote(f"http://app.localhost:{app_port}/chain", safe="")
    end = f"http://a_b.localhost:{app_port}/end"
    async with browsing(browser, sign_in) as ada:
        await ada.open(f"/register?rd={rd}")
        await ada.fill(name="Ada", email="chain@example.com", password="correct horse")
        await ada.press("Create account")
        await ada.page.wait_for_url(end)
        await ada.open(f"/logout?rd={rd}")
        await ada.press("Sign out")
        await ada.page.wait_for_url(end)
        await ada.open(f"/login?rd={rd}")
        await ada.fill(email="chain@example.com", password="wrong horse")
        await ada.press("Sign in")
        await expect(ada.page.locator(".summary")).to_be_visible()
        await ada.fill(password="correct horse")
        await ada.press("Sign in")
        await ada.page.wait_for_url(end)
        assert await ada.heading() == "The application"


async def test_the_fragment_of_the_page_comes_back(browser: Browser, sign_in: str, app_port: int) -> None:
    private, wanted = f"http://app.localhost:{app_port}/private#/row/7", f"http://app.localhost:{app_port}/open?a=1#/row/7"
    async with browsing(browser, sign_in) as ada:
        await ada.page.goto(private)
        await ada.page.get_by_role("link", name="Skip to content").focus()
        await ada.page.keyboard.press("Enter")  # this changes the fragment of the sign-in page
        await ada.page.get_by_role("link", name="Create an account").click()
        await ada.fill(name="Ada", email="fragment@example.com", password="correct horse")
        await ada.press("Create account")
        await ada.page.wait_for_url(wanted)
        await ada.open("/logout")
        await ada.press("Sign out")
        await ada.page.goto(private)
        await ada.fill(email="fragment@example.com", password="wrong horse")
        await ada.press("Sign in")
        await expect(ada.page.locator(".summary")).to_be_visible()
        await ada.fill(password="correct horse")
        await ada.press("Sign in")
        await ada.page.wait_for_url(wanted)


async def test_who_is_signed_in_and_comes_from_another_site_goes_on_with_the_fragment(
    browser: Browser, sign_in: str, app_port: int
) -> None:
    """The browser sends no strict cookie with that visit, so the script of the sign-in page leads on."""
    async with browsing(browser, sign_in) as ada:
        await ada.open("/register")
        await ada.fill(name="Ada", email="elsewhere@example.com", password="correct horse")
        await ada.press("Create account")
        await ada.page.wait_for_url("**/account")
        await ada.page.goto(f"http://app.localhost:{app_port}/open")
        await ada.page.evaluate("(to) => { location.href = to; }", f"http://app.localhost:{app_port}/private#/row/7")
        await ada.page.wait_for_url(f"http://app.localhost:{app_port}/open?a=1#/row/7")


async def test_the_sign_out_page_looks_right(browser: Browser, sign_in: str) -> None:
    async with browsing(browser, sign_in) as ada:
        await ada.open("/logout?rd=http://app.localhost/")
        await ada.look("logout")
