"""The pages under a prefix, in a real browser behind an nginx that passes this prefix and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, Response, expect
from yarl import URL

from stateroom.app import make_app
from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ..documents import examples
from ..proxies.shipped import moved, nginx_command, started
from ..servers import Servers
from .people import person

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADA = "ada@example.com"


@contextlib.asynccontextmanager
async def behind_nginx(servers: Servers, folder: Path, prefix: str, **settings: str) -> AsyncIterator[str]:
    """The service behind the nginx of docs/pages.md, which passes only this prefix. Yields the address of the prefix."""
    port = free_port()
    settings = {"trusted_proxies": "127.0.0.1"} | {name: each.format(port=port) for name, each in settings.items()}
    async with TestServer(make_app(servers.service_settings(folder, **settings))) as server:
        location, _ = examples("pages.md", "nginx")
        location = moved(location, {8080: server.port or 0}).replace("/sso", prefix)
        configuration = f"server {{ listen 127.0.0.1:{port};\n{location}\nlocation / {{ return 418; }} }}"
        async with started(nginx_command(folder, configuration), folder):
            await until(lambda: _listens(port), "nginx listens")
            yield f"http://127.0.0.1:{port}{prefix}"


def watched(page: Page) -> list[Response]:
    """The responses that the page's browser gets from now on."""
    responses: list[Response] = []
    page.on("response", lambda each: responses.append(each))  # noqa: PLW0108 (Playwright marks the function)
    return responses


@pytest.mark.parametrize(
    ("prefix", "settings"),
    [
        ("/.stateroom", {}),
        ("/sso", {"public_url": "http://127.0.0.1:{port}/sso"}),
        ("/a/b", {"public_url": "http://127.0.0.1:{port}/a/b/", "cookie_path": "/a/b", "session_name": "at_b"}),
    ],
)
async def test_everything_works_behind_a_proxy_that_passes_only_the_prefix(
    browser: Browser, servers: Servers, tmp_path: Path, prefix: str, settings: dict[str, str]
) -> None:
    async with behind_nginx(servers, tmp_path, prefix, **settings) as url, person(browser, url) as ada:
        responses = watched(ada.page)
        await ada.open("")
        await expect(ada.page.locator("h1")).to_have_text("Sign in")
        await ada.page.get_by_role("link", name="Create an account").click()
        await ada.fill(name="Ada", email=ADA, password="correct horse")
        await ada.press("Create account")
        await ada.page.wait_for_url(f"{url}/account")
        await ada.look(f"mounts{prefix.replace('/', '-')}-account")
        await ada.press("Sign out")
        await ada.page.wait_for_url(f"{url}/login?signed-out=logout")
        await ada.fill(email=ADA, password="correct horse")
        await ada.press("Sign in")
        await ada.page.wait_for_url(f"{url}/account")
        await expect(ada.page.locator("h1")).to_have_text("Your account")
        await ada.page.locator("a.brand").click()
        await ada.page.wait_for_url(f"{url}/account")
        asked = {urlsplit(each.url).path for each in responses}
        assert {each for each in asked if not each.startswith(f"{prefix}/") and each != prefix} == set()
        assert {f"{prefix}/static/{name}" for name in ("pages.css", "pages.js", "icon.svg")} <= asked
        assert {each.status for each in responses} <= {200, 301, 303}


async def test_the_scripts_of_the_pages_ask_under_the_prefix(browser: Browser, servers: Servers, tmp_path: Path) -> None:
    async with behind_nginx(servers, tmp_path, "/.stateroom") as url, person(browser, url) as ada:
        await ada.register(ADA)
        other = await ada.page.context.new_page()
        async with ada.page.expect_response(f"{url}/api/auth/check") as told:
            await ada.page.evaluate("document.getElementById('stay').click()")
        assert (await told.value).status == 200
        await other.goto(f"{url}/account")
        await other.get_by_role("button", name="Sign out", exact=True).click()
        await other.wait_for_url(f"{url}/login?signed-out=logout")
        await ada.page.evaluate("document.getElementById('stay').click()")
        await ada.page.wait_for_url(f"{url}/login*")


async def test_the_reference_page_works_under_the_prefix(browser: Browser, servers: Servers, tmp_path: Path) -> None:
    async with behind_nginx(servers, tmp_path, "/.stateroom") as url, person(browser, url) as ada:
        await ada.open("/docs")
        check = ada.page.locator("#check")
        await check.locator("summary").click()
        await expect(check.locator("summary code")).to_have_text("/.stateroom/api/auth/check")
        async with ada.page.expect_response(f"{url}/api/auth/check") as told:
            await check.get_by_role("button", name="Try it").click()
        assert (await told.value).status == 200
        await expect(check.get_by_role("status")).to_contain_text('"authenticated": false')


async def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


async def test_browsers_do_not_reach_forward_auth_under_the_prefix(servers: Servers, tmp_path: Path) -> None:
    settings = {"public_url": "http://127.0.0.1:{port}/sso", "access_default": "signed-in"}
    async with behind_nginx(servers, tmp_path, "/sso", **settings) as address, aiohttp.ClientSession() as http:
        for path in ("/auth/request", "/auth/forward", "/auth/ext-authz/", "//auth/request", "/%61uth/request"):
            async with http.get(URL(f"{address}{path}", encoded=True)) as response:
                assert response.status == 404, path
        async with http.get(f"{address}/api/auth/check") as response:
            assert response.status == 200
