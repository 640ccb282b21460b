"""A problem on a page is shown as a page. Elsewhere it is a problem document."""

from __future__ import annotations

from unittest import mock

import pytest
from yarl import URL

from stateroom import SESSIONS, StoreUnavailable
from stateroom.web import account_page

from ..conftest import ServiceClient
from .visitor import Page, Visitor

BROWSER = {"Accept": "text/html,*/*;q=0.8"}


async def test_an_address_that_leads_nowhere_is_a_page_for_browsers(visitor: Visitor, service: ServiceClient) -> None:
    page = await visitor.open("/no/such/<script>")
    assert page.status == 404
    assert page.only("h1").text == "We can't find this page"
    assert page.headers["X-Request-ID"] in page.text
    async with service.get("/no/such") as response:
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("path", ["/api/no/such", "/api/profile", "/auth/no/such", "/static/no-such.css"])
async def test_programs_are_told_in_json_also_by_a_browser(service: ServiceClient, path: str) -> None:
    async with service.get(path, headers=BROWSER) as response:
        assert response.status in {401, 404}
        assert response.content_type == "application/problem+json"


async def test_a_bug_says_nothing_of_the_inside(visitor: Visitor) -> None:
    await visitor.register()
    with mock.patch.object(account_page, "session_view", side_effect=RuntimeError("SELECT secret FROM /etc/stateroom")):
        page = await visitor.open("/account")
    assert page.status == 500
    assert page.only("h1").text == "Something went wrong"
    assert "SELECT" not in page.html
    assert page.headers["Cache-Control"] == "no-store"


async def test_the_root_is_json_for_programs_and_the_account_for_browsers(service: ServiceClient) -> None:
    async with service.get("/") as response:
        assert (await response.json())["name"] == "stateroom"
        assert response.headers["Vary"] == "Accept"
    async with service.get("/", headers=BROWSER, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/account")
        assert response.headers["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("path", "link"), [("//evil.example/", "/"), ("//evil.example/a?b=c", "/"), ("/no/such?a=b", "/no/such?a=b")]
)
async def test_to_try_again_leads_nowhere_else(service: ServiceClient, path: str, link: str) -> None:
    """Browsers read an address with two slashes at its start as one of another host."""
    assert service.app is not None
    away = mock.patch.object(service.app[SESSIONS], "load", side_effect=StoreUnavailable("Redis is away"))
    headers = BROWSER | {"Cookie": f"session_id={'a' * 86}"}
    with away:
        async with service.session.get(URL(f"{service.make_url('/')}"[:-1] + path, encoded=True), headers=headers) as response:
            page = Page(response.status, path, response.headers, await response.text())
    assert page.status == 503
    assert link in {each.get("href") for each in page.all("a")}
    assert not [each for each in page.all("a") if "evil" in each.get("href")]
