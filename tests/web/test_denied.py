"""`/denied`: who is signed in and not admitted."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from stateroom import Settings, testing
from stateroom.accounts import ACCOUNTS
from stateroom.errors import DatabaseUnavailable

from ..conftest import ServiceClient
from ..servers import Servers
from .visitor import Visitor

WIKI = "https://wiki.example.com/page?a=b&c=d"


@pytest.fixture
def service_settings(servers: Servers, tmp_path: Any) -> Settings:
    return servers.service_settings(tmp_path, return_hosts="wiki.example.com")


async def test_it_says_who_is_signed_in_and_how_to_go_on(visitor: Visitor) -> None:
    await visitor.register(name="Ada Lovelace")
    page = await visitor.request("GET", "/denied", params={"rd": WIKI}, headers={})
    assert page.status == 403
    assert page.only("h1").text == "You have no access"
    assert "You're signed in as Ada Lovelace (ada@example.com)." in page.text
    assert (
        page.form_of("Sign out and use another account").action
        == "/logout?rd=https%3A%2F%2Fwiki.example.com%2Fpage%3Fa%3Db%26c%3Dd"
    )
    assert [(each.text, each.get("href")) for each in page.all("a")[2:]] == [("Your account", "/account"), ("Try again", WIKI)]


async def test_an_address_to_which_nobody_may_be_led_is_left_out(visitor: Visitor) -> None:
    await visitor.register()
    page = await visitor.request("GET", "/denied", params={"rd": "https://evil.example/"}, headers={})
    assert page.status == 403
    assert "evil" not in page.html
    assert page.form_of("Sign out and use another account").action == "/logout?rd=%2Faccount"


async def test_its_links_keep_the_prefix(visitor: Visitor) -> None:
    await visitor.register()
    page = await visitor.open("/.stateroom/denied?rd=/wiki")
    assert page.form_of("Sign out and use another account").action == "/.stateroom/logout?rd=%2Fwiki"
    assert [each.get("href") for each in page.all("a")[1:]] == ["/.stateroom/", "/.stateroom/account", "/wiki"]


async def test_who_is_not_signed_in_is_shown_the_sign_in(visitor: Visitor) -> None:
    page = await visitor.open("/denied?rd=/wiki")
    assert page.status == 403
    assert page.only("h1").text == "You're not signed in"
    assert page.only("a", href="/login?rd=/wiki").text == "Sign in"
    assert not page.forms


async def test_a_program_gets_the_problem(service: ServiceClient, visitor: Visitor) -> None:
    await visitor.register()
    async with service.get("/denied?rd=/wiki", headers={"Cookie": f"session_id={visitor.cookie}"}) as response:
        assert (response.status, response.content_type) == (403, "application/problem+json")
        problem = await response.json()
        assert problem["type"] == "urn:stateroom:problem:access-denied"
        assert response.headers["Cache-Control"] == "no-store"


async def test_without_redis_and_without_the_user_it_still_says_no(service: ServiceClient, visitor: Visitor) -> None:
    assert service.app is not None
    await visitor.register()
    with testing.redis_down(service.app):
        page = await visitor.open("/denied")
        assert page.status == 403
        assert "You're signed in as Ada" in page.text
        assert "Some details are temporarily unavailable." in page.text
    with mock.patch.object(service.app[ACCOUNTS], "profile", side_effect=DatabaseUnavailable("10.1.2.3")):
        page = await visitor.open("/denied?rd=/wiki")
        assert page.status == 403
        assert page.form_of("Sign out and use another account").action
        assert not page.all("a", href="/login?rd=/wiki")


class TestUnverified:
    @pytest.fixture
    def service_settings(self, servers: Servers, tmp_path: Any) -> Settings:
        return servers.service_settings(tmp_path, email_verification="required")

    async def test_an_account_that_must_confirm_its_address_is_led_there(self, visitor: Visitor) -> None:
        await visitor.register()
        assert (await visitor.open("/denied?rd=/wiki")).path == "/verify"
