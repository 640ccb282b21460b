"""No value of `rd` leads elsewhere: on the page, with the form, and at the sign-out. A browser's reading of it is the judge."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import pytest
from yarl import URL

from stateroom import Settings
from stateroom.settings.values import TRACE_COOKIE

from ..conftest import ServiceClient
from ..servers import Servers
from .redirect_values import RETURN_HOSTS, read_as_browsers_do, redirect_values
from .visitor import Page, Visitor

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ADA = "email=ada@example.com&password=correct+horse"


@pytest.fixture
def service_settings(servers: Servers, tmp_path: Path) -> Settings:
    return servers.service_settings(tmp_path, return_hosts=RETURN_HOSTS, session_changes_per_user=0, session_changes_per_address=0)


async def test_500_values_lead_nowhere_else(service: ServiceClient, visitor: Visitor) -> None:
    await visitor.register()
    values = redirect_values()
    own = str(service.make_url("")).rstrip("/")

    async def location(method: str, path: str, body: str | None = None) -> str:
        url = URL(f"{own}{path}", encoded=True)
        async with service.session.request(method, url, data=body, headers=FORM if body else {}, allow_redirects=False) as answer:
            assert answer.status == 303, (method, path, answer.status)
            return answer.headers["Location"]

    led: list[tuple[str, str, str]] = []
    for value in values:
        rd = quote(value, safe="")
        led.append(("form", value, await location("POST", "/login", f"{ADA}&rd={rd}")))
        service.session.cookie_jar.clear(
            lambda cookie: cookie.key == TRACE_COOKIE
        )  # or a page says that the other host gets no cookie
        led.append(("page", value, await location("GET", f"/login?rd={rd}")))
        led.append(("sign-out", value, await location("POST", f"/logout?rd={rd}")))
    async with aiohttp.ClientSession() as stranger:
        for value in values[::5]:
            for path in ("/login", "/register", "/logout"):
                async with stranger.get(URL(f"{own}{path}?rd={quote(value, safe='')}", encoded=True)) as answer:
                    page = Page(answer.status, path, dict(answer.headers), await answer.text())
                led += [(path, value, each) for each in handed_on(page)]
    read = await read_as_browsers_do(f"{own}/login", [each[2] for each in led])
    assert len(read) == len(led) > 1500
    assert [each for each, found in zip(led, read, strict=True) if found.is_elsewhere(own)] == []
    for how in ("form", "page", "sign-out"):
        reached = {found.host for (by, _, _), found in zip(led, read, strict=True) if by == how}
        assert {"app.example.com", "a_b.example.com", "[::1]", "local.example.com", "x.ports.example.com"} < reached


@pytest.mark.parametrize(("path", "before"), [("/register", ""), ("/login", ""), ("/confirm", "/login?rd=")])
async def test_a_form_without_the_field_leads_to_the_address_of_its_own(
    service: ServiceClient, visitor: Visitor, path: str, before: str
) -> None:
    """Nobody is signed in, so `/confirm` leads to the sign-in first."""
    if path == "/login":
        await visitor.register()

    async def location(query: str, more: str = "") -> str:
        service.session.cookie_jar.clear()
        body = f"name=Ada&{ADA}{more}"
        async with service.post(f"{path}?rd={query}", data=body, headers=FORM, allow_redirects=False) as answer:
            assert answer.status == 303
            return answer.headers["Location"]

    assert await location("/wiki") == f"{before}/wiki"
    if path != "/register":
        assert await location("/wiki", "&rd=/till") == f"{before}/till"
        assert await location("https://evil.example.net/") in {"/account", "/login"}


def handed_on(page: Page) -> list[str]:
    """Where a page leads with its form, its links and its script."""
    forms = [form.fields["rd"] for form in page.forms if "rd" in form.fields]
    links = [each.get("href") for each in page.all("a")]
    asked = [rd for link in links for rd in parse_qs(urlsplit(link).query).get("rd", [])]
    return [*forms, *links, *asked, page.only("body").get("data-back") or "/"]
