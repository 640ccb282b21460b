"""`/logout`: opening the page signs nobody out; its button does, and leads back to an allowed address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from stateroom import Settings

from ..conftest import ServiceClient
from ..servers import Servers
from .visitor import Visitor

APP = "https://app.example.com/cart?id=1#row"


@pytest.fixture
def service_settings(servers: Servers, tmp_path: Path) -> Settings:
    return servers.service_settings(tmp_path, return_hosts="app.example.com", cors_origins="https://shop.example.com")


async def is_signed_in(visitor: Visitor) -> bool:
    return (await visitor.open("/account")).path == "/account"


async def sent(service: ServiceClient, visitor: Visitor, path: str, body: dict[str, str] | None = None, **headers: str) -> str:
    """Send the form with the visitor's cookie. Returns where the response leads, or its status."""
    sent = {"Cookie": f"session_id={visitor.cookie}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with service.post(path, data=body, headers=sent, allow_redirects=False) as response:
        return response.headers["Location"] if response.status == 303 else str(response.status)


@pytest.mark.parametrize("prefix", ["", "/.stateroom"])
async def test_the_page_has_one_button_which_signs_out(visitor: Visitor, prefix: str) -> None:
    await visitor.register()
    page = await visitor.open(f"{prefix}/logout")
    assert await is_signed_in(visitor)
    assert [button for form in page.forms for button in form.buttons] == ["Sign out"]
    await visitor.open(f"{prefix}/logout")
    page = await visitor.send("Sign out")
    assert page.path == f"{prefix}/login?signed-out=logout"
    assert "You're signed out." in page.text
    assert not await is_signed_in(visitor)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_opening_an_address_signs_nobody_out(service: ServiceClient, visitor: Visitor, method: str) -> None:
    await visitor.register()
    for path in ("/logout", f"/logout?rd={quote(APP)}", "/.stateroom/logout", "/account/sign-out", "/api/auth/logout"):
        await service.request(method, path, headers={"Cookie": f"session_id={visitor.cookie}"}, allow_redirects=False)
    assert await is_signed_in(visitor)


async def test_the_page_says_where_it_leads_and_hands_it_on(visitor: Visitor) -> None:
    page = await visitor.open(f"/logout?rd={quote(APP, safe='')}")
    assert page.form_of("Sign out").fields == {"rd": APP}
    assert page.only("a", href=APP).text == "Go back to app.example.com"
    page = await visitor.open("/logout?rd=https://evil.example/")
    assert "rd" not in page.form_of("Sign out").fields
    assert "evil" not in page.html


@pytest.mark.parametrize("asked", [APP, "/reports?a=1", "https://app.example.com"])
async def test_a_sign_out_leads_back(service: ServiceClient, visitor: Visitor, asked: str) -> None:
    for number, (path, body) in enumerate(
        ((f"/logout?rd={quote(asked, safe='')}", None), ("/logout", {"rd": asked}), ("/logout?rd=/x", {"rd": asked}))
    ):
        visitor_page = await visitor.register(email=f"{number}@example.com")
        assert visitor_page.path == "/account"
        assert await sent(service, visitor, path, body) == asked
        assert not await is_signed_in(visitor)


async def test_a_sign_out_leads_nowhere_else(service: ServiceClient, visitor: Visitor) -> None:
    for asked in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", ""):
        assert await sent(service, visitor, f"/logout?rd={quote(asked, safe='')}") == "/login?signed-out=logout"


async def test_only_our_own_pages_may_send_the_form(service: ServiceClient, visitor: Visitor) -> None:
    await visitor.register()
    own = visitor.origin
    for headers in (
        {"Origin": "https://app.example.com", "Sec_Fetch_Site": "same-site"},  # to which a sign-out may lead back
        {"Origin": "https://shop.example.com", "Sec_Fetch_Site": "cross-site"},  # which may call the API
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        for body in (None, {"rd": APP}):
            assert await sent(service, visitor, "/logout", body, **headers) == "403", headers
    assert await is_signed_in(visitor)
    assert await sent(service, visitor, "/logout", {"rd": APP}, Origin=own, Sec_Fetch_Site="same-origin") == APP


async def test_who_is_not_signed_in_is_led_back_too(service: ServiceClient, visitor: Visitor) -> None:
    assert await sent(service, visitor, f"/logout?rd={quote(APP, safe='')}") == APP
