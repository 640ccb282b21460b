"""`/not-sent`: a form that did not reach another application."""

from __future__ import annotations

from typing import Any

import pytest

from stateroom import Settings

from ..conftest import ServiceClient
from ..servers import Servers
from .visitor import Visitor


@pytest.fixture
def service_settings(servers: Servers, tmp_path: Any) -> Settings:
    return servers.service_settings(tmp_path, return_hosts="wiki.example.com")


async def test_it_leads_to_the_sign_in_and_repeats_nothing_of_the_form(visitor: Visitor) -> None:
    page = await visitor.request(
        "GET",
        "/not-sent",
        params={"rd": "/wiki", "card": "4711"},
        data={"diary": "dear diary"},
        headers={"X-Original-URL": "http://wiki.example.com/secret-path"},
    )
    assert page.status == 401
    assert page.headers["WWW-Authenticate"] == 'Session realm="stateroom"'
    assert page.headers["Cache-Control"] == "no-store"
    assert page.only("h1").text == "Your form was not sent"
    assert "You're not signed in, so nothing was changed." in page.text
    assert page.only("a", href="/login?rd=%2Fwiki").text == "Sign in"
    assert not page.forms
    for told in ("4711", "diary", "secret"):
        assert told not in page.html


async def test_it_leads_nowhere_else(visitor: Visitor) -> None:
    page = await visitor.open("/not-sent?rd=https://evil.example/")
    assert page.only("a", href="/login").text == "Sign in"
    assert "evil" not in page.html


async def test_who_is_signed_in_is_asked_for_the_password(visitor: Visitor) -> None:
    await visitor.register()
    page = await visitor.open("/not-sent?rd=https://wiki.example.com/edit")
    assert page.status == 401
    assert "First we need your password again. Nothing was changed." in page.text
    assert page.only("a", href="/confirm?rd=https%3A%2F%2Fwiki.example.com%2Fedit").text == "Enter your password"


async def test_a_program_gets_the_problem(service: ServiceClient, visitor: Visitor) -> None:
    await visitor.register()
    cookie = visitor.cookie
    for headers, kind in [({}, "sign-in-required"), ({"Cookie": f"session_id={cookie}"}, "reauthentication-required")]:
        async with service.get("/not-sent", headers=headers) as response:
            assert (response.status, response.content_type) == (401, "application/problem+json")
            assert (await response.json())["type"] == f"urn:stateroom:problem:{kind}"
    await visitor.open("/account")
    await visitor.send("Sign out")
    async with service.get("/not-sent", headers={"Cookie": f"session_id={cookie}"}) as response:
        assert (await response.json())["reason"] == "logout"
