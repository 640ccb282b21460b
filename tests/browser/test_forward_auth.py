"""A browser at an application behind forward auth: signing in on another host, no access, the password again, a lost form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from stateroom.drills.node import until

from .conftest import Place
from .estate import Estate, built
from .people import Person, person

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOGIN_URLS = {"elsewhere": "{auth}/login", "here": "/.stateroom/login"}
"""The sign-in is on a host of its own, or under the application's host."""
Estates = dict[str, Estate]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def estates(place: Place, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Estates]:
    folder = tmp_path_factory.mktemp("estates")
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(built(folder / name, place.node, login)) for name, login in LOGIN_URLS.items()}


def visitor(browser: Browser, estate: Estate) -> AbstractAsyncContextManager[Person]:
    return person(browser, estate.app, hosts=estate.hosts, ignore_https_errors=True)


async def signs_in(somebody: Person, email: str) -> None:
    """On the sign-in page. Ends wherever it leads."""
    await somebody.fill(email=email, password="correct horse")
    await somebody.press("Sign in")


async def registers(somebody: Person, email: str) -> None:
    """On the sign-in page. Ends wherever it leads."""
    await somebody.page.get_by_role("link", name="Create an account").click()
    await somebody.fill(name="Ada Lovelace", email=email, password="correct horse")
    await somebody.press("Create account")


async def is_at(somebody: Person, address: str, heading: str) -> None:
    """The page opens, now or soon."""
    await expect(somebody.page.locator("h1")).to_have_text(heading)
    assert somebody.page.url == address


def link(somebody: Person, name: str) -> Locator:
    return somebody.page.get_by_role("link", name=name)


async def test_signing_in_on_one_host_for_another_and_out_again(browser: Browser, estates: Estates) -> None:
    estate = estates["elsewhere"]
    async with visitor(browser, estate) as ada:
        await ada.open("/reports?year=2026#summary")
        assert ada.page.url.startswith(f"{estate.auth}/login?rd=https%3A%2F%2Fapp.example.com")
        await registers(ada, "ada@example.com")
        await is_at(ada, f"{estate.app}/reports?year=2026#summary", "/reports")
        await expect(ada.page.locator("p")).to_have_text("Hello Ada Lovelace")
        await ada.page.goto(f"{estate.auth}/logout?rd={estate.app}/reports")
        await ada.look("logout")
        await ada.press("Sign out")
        await expect(ada.page.locator("h1")).to_have_text("Sign in")
        assert ada.page.url.startswith(f"{estate.auth}/login?rd=")
        await signs_in(ada, "ada@example.com")
        await is_at(ada, f"{estate.app}/reports", "/reports")


@pytest.mark.parametrize("where", LOGIN_URLS)
async def test_who_has_no_access_is_told_so_and_may_use_another_account(browser: Browser, estates: Estates, where: str) -> None:
    estate = estates[where]
    async with visitor(browser, estate) as ada:
        await ada.open("/office/plan")
        await registers(ada, "denied@example.com")
        await is_at(ada, f"{estate.app}/office/plan", "You have no access")
        assert "You're signed in as Ada Lovelace (denied@example.com)." in await ada.text()
        await ada.look(f"denied-{where}")
        if where == "elsewhere":
            await link(ada, "Sign out and use another account").click()
            await ada.press("Sign out")
        else:
            await ada.press("Sign out and use another account")
        await expect(ada.page.locator("h1")).to_have_text("Sign in")
        assert ada.page.url.endswith("%2Foffice%2Fplan")


@pytest.mark.parametrize("where", LOGIN_URLS)
async def test_a_page_that_asks_for_a_recent_sign_in(browser: Browser, estates: Estates, where: str) -> None:
    estate = estates[where]
    async with visitor(browser, estate) as ada:
        await ada.open("/till#today")
        await registers(ada, "till@example.com")
        await is_at(ada, f"{estate.app}/till#today", "/till")

        async def is_asked() -> bool:
            await ada.open("/")
            await ada.open("/till#today")
            return await ada.heading() == "Enter your password again"

        await until(is_asked, "the sign-in is too old", seconds=30)
        await ada.look(f"confirm-visit-{where}")
        await ada.fill(password="wrong")
        await ada.press("Go on")
        await expect(ada.page.locator(".summary")).to_be_visible()
        await ada.look(f"confirm-visit-refused-{where}")
        await ada.fill(password="correct horse")
        await ada.press("Go on")
        await is_at(ada, f"{estate.app}/till#today", "/till")


@pytest.mark.parametrize("where", LOGIN_URLS)
async def test_a_form_of_somebody_who_was_signed_out_meanwhile(browser: Browser, estates: Estates, where: str) -> None:
    estate = estates[where]
    async with visitor(browser, estate) as ada:
        note = ada.page.locator("[name=note]")
        await ada.open("/")
        await registers(ada, "form@example.com")
        await is_at(ada, f"{estate.app}/", "/")
        await ada.page.context.clear_cookies()
        await note.fill("dear diary")
        await ada.press("Save")
        await is_at(ada, f"{estate.app}/save", "Your form was not sent")
        assert "dear diary" not in await ada.page.content()
        await ada.look(f"not-sent-{where}")
        await link(ada, "Sign in").click()
        await signs_in(ada, "form@example.com")
        await is_at(ada, f"{estate.app}/", "/")
        assert estate.saved == []
        await note.fill("dear diary")
        await ada.press("Save")
        await is_at(ada, f"{estate.app}/saved", "/saved")
        assert estate.saved == ["dear diary"]
