"""The pages that forward auth answers in place of its problems, as a proxy sends them at the application's own address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from stateroom import Settings, testing
from stateroom.accounts.access import ACCESS, Need, Ruling
from stateroom.accounts.access.model import Allow
from stateroom.api.forward.identity import NOBODY
from stateroom.web.policy import policy

from ..conftest import ServiceClient
from ..servers import Servers
from .links import database_down
from .visitor import Page, Visitor

FORM_PAGE = "https://app.example.com/notes/edit?id=1"
POLICY_OF_HOST = (
    "default-src 'none'; style-src https://auth.example.com; img-src https://auth.example.com; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'none'"
)


@pytest.fixture
def login_url() -> str:
    return "/.stateroom/login"


@pytest.fixture
def service_settings(servers: Servers, tmp_path: Path, login_url: str) -> Settings:
    return servers.service_settings(
        tmp_path, trusted_proxies="127.0.0.1/32", return_hosts="app.example.com", login_url=login_url, access_default="signed-in"
    )


async def ask(visitor: Visitor, path: str = "/notes?all=1", *, method: str = "GET", **more: str) -> Page:
    """What a proxy gets that asks about the browser's request to https://app.example.com."""
    told = {
        "X-Forwarded-Method": method, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "app.example.com", "X-Forwarded-Uri": path,
    }  # fmt: skip
    return await visitor.request("GET", "/auth/forward", headers={**told, "Sec-Fetch-Mode": "navigate", **more})


@pytest.fixture
def only_staff(service: ServiceClient) -> Iterator[None]:
    """The application is for a group that nobody is in."""
    with ruling(service, Ruling(Allow(groups=frozenset({"staff"})), "https://app.example.com")):
        yield


def ruling(service: ServiceClient, ruled: Ruling) -> Any:
    assert service.app is not None
    return mock.patch.object(service.app[ACCESS], "rule_for", return_value=ruled)


@pytest.mark.usefixtures("only_staff")
async def test_who_is_not_admitted_gets_a_page_whose_links_lead_to_us(
    service: ServiceClient, service_settings: Settings, visitor: Visitor
) -> None:
    await visitor.register(name="Ada Lovelace")
    page = await ask(visitor)
    assert page.status == 403
    assert page.only("h1").text == "You have no access"
    assert "You're signed in as Ada Lovelace (ada@example.com)." in page.text
    assert page.form_of("Sign out and use another account").action == "/.stateroom/logout?rd=%2Fnotes%3Fall%3D1"
    assert [(each.text, each.get("href")) for each in page.all("a")[1:]] == [
        ("Stateroom", "/.stateroom/"), ("Your account", "/.stateroom/account"), ("Try again", "/notes?all=1"),
    ]  # fmt: skip
    assert page.headers["Content-Security-Policy"] == policy(service_settings)
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert {name: page.headers[name] for name in NOBODY} == NOBODY
    assert not page.all("script")
    for file in [each.get("href") for each in page.all("link")]:
        assert file.startswith("/.stateroom/static/")
        async with service.get(file) as response:
            assert response.status == 200


@pytest.mark.usefixtures("only_staff")
class TestSignInElsewhere:
    @pytest.fixture
    def login_url(self) -> str:
        return "https://auth.example.com/login"

    async def test_the_files_and_links_are_on_the_host_of_the_sign_in(self, visitor: Visitor) -> None:
        await visitor.register()
        page = await ask(visitor)
        assert page.status == 403
        assert not page.forms, "a form from another host is refused"
        back = "https%3A%2F%2Fapp.example.com%2Fnotes%3Fall%3D1"
        assert [(each.text, each.get("href")) for each in page.all("a")[1:]] == [
            ("Stateroom", "https://auth.example.com/"),
            ("Sign out and use another account", f"https://auth.example.com/logout?rd={back}"),
            ("Your account", "https://auth.example.com/account"),
            ("Try again", "https://app.example.com/notes?all=1"),
        ]
        assert page.headers["Content-Security-Policy"] == POLICY_OF_HOST
        assert all(each.get("href").startswith("https://auth.example.com/static/") for each in page.all("link"))
        assert all(each.get("src").startswith("https://auth.example.com/static/") for each in page.all("img"))


@pytest.mark.usefixtures("only_staff")
class TestOwnSignInPage:
    @pytest.fixture
    def login_url(self) -> str:
        return "/enter?look=dark"

    async def test_our_pages_are_where_the_configurations_have_them(self, visitor: Visitor) -> None:
        await visitor.register()
        assert (await ask(visitor)).form_of("Sign out and use another account").action.startswith("/.stateroom/logout?rd=")


async def test_a_form_of_nobody_gets_a_page_that_leads_to_the_sign_in(visitor: Visitor) -> None:
    page = await ask(visitor, "/notes/save?draft=7", method="POST", Referer=FORM_PAGE)
    assert page.status == 401
    assert page.only("h1").text == "Your form was not sent"
    assert "You're not signed in, so nothing was changed." in page.text
    assert page.all("a")[-1].get("href") == "/.stateroom/login?rd=%2Fnotes%2Fedit%3Fid%3D1"
    assert page.headers["WWW-Authenticate"] == 'Session realm="stateroom"'
    assert {name: page.headers[name] for name in NOBODY} == NOBODY
    assert not page.forms
    assert "draft" not in page.html


@pytest.mark.parametrize("referer", ["", "https://evil.example/notes", "https://app.example.com.evil.example/", "about:blank"])
async def test_a_form_from_elsewhere_leads_to_the_sign_in_alone(visitor: Visitor, referer: str) -> None:
    page = await ask(visitor, method="POST", Referer=referer)
    assert page.all("a")[-1].get("href") == "/.stateroom/login"
    assert "evil" not in page.html


async def test_a_form_that_needs_the_password_again_gets_a_page_that_asks_for_it(service: ServiceClient, visitor: Visitor) -> None:
    assert service.app is not None
    await visitor.register()
    testing.clock(service.app).move(minutes=20)
    with ruling(service, Ruling(Allow(signed_in=True), "https://app.example.com", Need(fresh_seconds=900))):
        page = await ask(visitor, method="POST", Referer=FORM_PAGE)
    assert page.status == 401
    assert "First we need your password again. Nothing was changed." in page.text
    assert page.all("a")[-1].get("href") == "/.stateroom/confirm?rd=%2Fnotes%2Fedit%3Fid%3D1"


async def test_what_cannot_be_known_is_said_and_signs_nobody_out(service: ServiceClient, visitor: Visitor) -> None:
    assert service.app is not None
    await visitor.register()
    cookie = visitor.cookie
    with testing.redis_down(service.app), database_down():
        page = await ask(visitor)
        assert (page.status, page.headers["Retry-After"]) == (503, "1")
        assert "If you were signed in, you still are." in page.text
        assert page.all("a")[-1].get("href") == "/notes?all=1"
        assert page.headers["X-Request-ID"] in page.text
        page = await ask(visitor, method="POST")
        assert page.status == 503
        assert page.only("h1").text == "Your form was not sent"
    assert visitor.cookie == cookie


class TestNotConfigured:
    @pytest.fixture
    def service_settings(self, servers: Servers, tmp_path: Path) -> Settings:
        return servers.service_settings(tmp_path, trusted_proxies="127.0.0.1/32", login_url="/.stateroom/login")

    async def test_a_visitor_who_is_not_signed_in_is_not_offered_a_sign_out(self, visitor: Visitor) -> None:
        page = await ask(visitor)
        assert page.status == 403
        assert page.only("h1").text == "This page is closed"
        assert not page.all("form")
        assert "ign out" not in page.text

    async def test_the_administrator_is_told_which_settings_are_missing(self, visitor: Visitor) -> None:
        page = await ask(visitor)
        assert page.status == 403
        assert page.only("summary").text == "For the administrator of this service"
        assert "ACCESS_RULES_FILE" in page.text
        assert "ACCESS_DEFAULT" in page.text


@pytest.mark.usefixtures("only_staff")
async def test_a_program_gets_the_problem(service: ServiceClient, visitor: Visitor) -> None:
    await visitor.register()
    told = {
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "app.example.com",
        "X-Forwarded-Uri": "/",
    }
    async with service.get("/auth/forward", headers={**told, "Cookie": f"session_id={visitor.cookie}"}) as response:
        assert (response.status, response.content_type) == (403, "application/problem+json")
        assert (await response.json())["detail"].startswith("You have no access to this application")


@pytest.mark.parametrize("path", ["/denied", "/not-sent", "/confirm"])
async def test_the_pages_themselves_say_that_they_cannot_know(service: ServiceClient, visitor: Visitor, path: str) -> None:
    assert service.app is not None
    await visitor.register()
    cookie = visitor.cookie
    with testing.redis_down(service.app), database_down():
        page = await visitor.open(path)
        assert (page.status, page.headers["Retry-After"]) == (503, "1")
        assert "If you were signed in, you still are." in page.text
    assert visitor.cookie == cookie
