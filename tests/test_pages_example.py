"""The application of pages in docs/library.md redirects to its sign-in page, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, CookieJar, web
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import SESSIONS, testing

from .conftest import ServiceClient
from .documents import examples

ADA = {"email": "ada@example.com", "password": "right"}


@stateroom.require_auth
async def orders(request: web.Request) -> web.Response:
    return web.Response(text="orders")


@stateroom.require_auth(fresh=300)
async def payout(request: web.Request) -> web.Response:
    return web.Response(text="payout")


async def note(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    form = await request.post()
    if "ends" in form:  # as another request would do it at this moment
        await request.app[SESSIONS].revoke_all(42)
    session["note"] = form["note"]
    await session.save()
    return web.Response(text="noted")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> web.Application:
    setup = stateroom.setup
    settings = testing.settings(database_url=f"sqlite:///{tmp_path}/test.db")
    monkeypatch.setattr(stateroom, "setup", lambda app: setup(app, settings, client_factory=testing.fake_redis))
    [code] = [each for each in examples("library.md", "python") if "redirect_to_sign_in" in each]
    names: dict[str, Any] = {"web": web, "stateroom": stateroom}
    exec(compile(code, "library.md", "exec"), names)  # The page is our own file.

    async def find_user(email: str, password: str) -> tuple[int | None, int]:
        generation = await names["app"][SESSIONS].generation(42)
        return (42, generation) if {"email": email, "password": password} == ADA else (None, 0)

    async def is_password_of(user_id: int, password: str) -> bool:
        return (user_id, password) == (42, "right")

    names |= {"find_user": find_user, "is_password_of": is_password_of}
    app: web.Application = names["app"]
    app.add_routes([web.get("/orders", orders), web.get("/payout", payout), web.post("/note", note)])
    return app


@pytest.fixture
async def browser(app: web.Application, aiohttp_client: AiohttpClient) -> ServiceClient:
    return await aiohttp_client(app, cookie_jar=CookieJar(unsafe=True))


async def went(browser: ServiceClient, path: str, form: dict[str, str] | None = None) -> str:
    """Where the answer leads, or its text."""
    method = "GET" if form is None else "POST"
    async with browser.request(method, path, data=form, allow_redirects=False) as response:
        return await _told(response)


async def _told(response: ClientResponse) -> str:
    if response.status == 303:
        return response.headers["Location"]
    assert response.status == 200
    return await response.text()


async def test_a_page_for_users_leads_to_the_sign_in_and_back(browser: ServiceClient) -> None:
    there = await went(browser, "/orders?page=2")
    assert there == "/sign-in?next=/orders?page%3D2"
    assert await went(browser, there, ADA | {"password": "wrong"}) == there
    assert await went(browser, there, ADA) == "/orders?page=2"
    assert await went(browser, "/orders?page=2") == "orders"


async def test_a_session_that_has_ended_leads_there_too(browser: ServiceClient, app: web.Application) -> None:
    await went(browser, "/sign-in", ADA)
    await app[SESSIONS].revoke_all(42)
    assert await went(browser, "/orders") == "/sign-in?next=/orders"
    assert await went(browser, "/sign-in?next=/orders", ADA) == "/orders"
    assert await went(browser, "/orders") == "orders"


async def test_an_end_that_shows_while_a_form_is_saved_leads_there_too(browser: ServiceClient) -> None:
    await went(browser, "/sign-in", ADA)
    assert await went(browser, "/note", {"note": "milk"}) == "noted"
    assert await went(browser, "/note", {"note": "bread", "ends": "yes"}) == "/sign-in?next=/"
    assert await went(browser, "/sign-in?next=/", ADA) == "/"


async def test_a_step_that_needs_the_password_again_leads_to_its_page_and_back(
    browser: ServiceClient, app: web.Application
) -> None:
    await went(browser, "/sign-in", ADA)
    assert await went(browser, "/payout") == "payout"
    testing.clock(app).move(minutes=6)
    there = await went(browser, "/payout")
    assert there == "/password?next=/payout"
    assert await went(browser, there, {"password": "wrong"}) == there
    assert await went(browser, there, {"password": "right"}) == "/payout"
    assert await went(browser, "/payout") == "payout"


@pytest.mark.parametrize(
    "foreign", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "/\n/evil.example", "evil.example"]
)
async def test_a_link_leads_to_no_other_site(browser: ServiceClient, foreign: str) -> None:
    async with browser.post("/sign-in", params={"next": foreign}, data=ADA, allow_redirects=False) as response:
        assert response.headers["Location"] == "/"


def test_signing_in_again_is_not_for_a_user_who_must_confirm_the_password() -> None:
    assert issubclass(stateroom.SignInRequired, stateroom.NotSignedIn)
    assert issubclass(stateroom.SessionEnded, stateroom.NotSignedIn)
    assert not issubclass(stateroom.ReauthenticationRequired, stateroom.NotSignedIn)
