"""Users with real browsers, and a record of what the browsers did."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page

WIDTHS = (1280, 390)
AXE_OPTIONS = {"resultTypes": ["violations"], "preload": False}
"""`preload`: axe-core would load style sheets of other hosts again, which our policy refuses."""
SCREENSHOTS = os.environ.get("BROWSER_SCREENSHOTS")
"""If set, pictures of every checked page are written to this folder."""


class Person:
    """One browser with its own cookies. It records its complaints: scripts that failed, and requests that a policy refused."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self._hear(message.type, message.text))

    def _hear(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not text.startswith("Failed to load resource: the server responded"):
            self.complaints.append(text)

    async def open(self, path: str) -> None:
        await self.page.goto(f"{self.url}{path}")

    async def press(self, button: str) -> None:
        await self.page.get_by_role("button", name=button).click()

    async def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            await self.page.locator(f"#{name}").fill(value)

    async def register(self, email: str, *, name: str = "Ada", password: str = "correct horse") -> None:
        await self.open("/register")
        await self.fill(name=name, email=email, password=password)
        await self.press("Create account")
        await self.page.wait_for_url("**/account")

    async def sign_in(self, email: str, password: str = "correct horse") -> None:
        await self.open("/login")
        await self.fill(email=email, password=password)
        await self.press("Sign in")

    async def enter(self, email: str, password: str = "correct horse") -> None:
        """Sign in. Ends on the account's page."""
        await self.sign_in(email, password)
        await self.page.wait_for_url("**/account")

    async def heading(self) -> str:
        return await self.page.locator("h1").inner_text()

    async def text(self) -> str:
        return " ".join((await self.page.locator("body").inner_text()).split())

    async def look(self, name: str) -> None:
        """Check the page at every width, light and dark: it is accessible, and needs no scrolling sideways."""
        for scheme in ("light", "dark"):
            await self.page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
            for width in WIDTHS:
                await self.page.set_viewport_size({"width": width, "height": 800})
                assert await self.page.evaluate("document.scrollingElement.scrollWidth") <= width, f"{name} at {width}"
                if SCREENSHOTS:
                    await self.page.screenshot(path=Path(SCREENSHOTS) / f"{name}-{width}-{scheme}.png", full_page=True)
            findings = (await Axe().run(self.page, options=AXE_OPTIONS)).response["violations"]
            assert [_told(each) for each in findings] == [], f"{name}, {scheme}"


def _told(finding: dict[str, Any]) -> str:
    return f"{finding['id']} ({finding['impact']}): {[node['target'] for node in finding['nodes']]}"


@asynccontextmanager
async def person(browser: Browser, url: str, *, hosts: Collection[str] | None = None, **context: Any) -> AsyncIterator[Person]:
    """A user with their own browser. At the end it must have sent requests only to the service, and complained of nothing.

    `hosts`: the hosts to which it may send requests, if they are others than that of the URL.
    """
    made: BrowserContext = await browser.new_context(**context)
    made.set_default_timeout(20_000)
    try:
        somebody = Person(await made.new_page(), url)
        yield somebody
        assert somebody.hosts <= set(hosts or {urlsplit(url).netloc})
        assert somebody.complaints == [], somebody.complaints
    finally:
        await made.close()
