"""Who may register, and the page of an invitation."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from stateroom import Settings, testing
from stateroom.accounts import ACCOUNTS
from stateroom.accounts.mail_tokens import MailTokens

from ..conftest import ServiceClient
from ..servers import Servers
from .conftest import NewVisitor
from .links import database_down, link
from .visitor import Page, Visitor

ADA = {"email": "ada@example.com", "name": "Ada", "password": "correct horse"}


async def invitation(service: ServiceClient, email: str = "ada@example.com") -> str:
    assert service.app is not None
    return await link(service.app, "invitation", email=email, details={"groups": []})


class TestClosed:
    @pytest.fixture
    def service_settings(self, servers: Servers, tmp_path: Path) -> Settings:
        return servers.service_settings(tmp_path, registration="closed")

    async def test_the_page_says_so(self, service: ServiceClient, visitor: Visitor) -> None:
        assert not (await visitor.open("/login")).all("a", href="/register")
        path = await invitation(service)
        token = path.partition("=")[2]
        for page in (
            await visitor.open("/register"), await visitor.post("/register", ADA),
            await visitor.open(path), await visitor.post("/invitation", ADA | {"token": token}),
        ):  # fmt: skip
            assert page.status == 403
            assert page.only("h1").text == "We don't take new accounts here"
            assert page.only("a", href="/login").text == "Sign in"
        assert service.app is not None
        assert await service.app[ACCOUNTS].users.list() == []


class TestInvited:
    @pytest.fixture
    def service_settings(self, servers: Servers, tmp_path: Path) -> Settings:
        return servers.service_settings(tmp_path, registration="invited")

    async def test_without_an_invitation_the_page_says_so(self, visitor: Visitor) -> None:
        assert not (await visitor.open("/login")).all("a", href="/register")
        for page in (await visitor.open("/register"), await visitor.post("/register", ADA)):
            assert page.status == 403
            assert page.only("h1").text == "You need an invitation"

    async def test_an_invitation_makes_the_account_and_signs_in(self, service: ServiceClient, visitor: Visitor) -> None:
        page = await visitor.open(await invitation(service))
        assert page.only("h1").text == "Accept your invitation"
        assert "ada@example.com" not in page.html
        page = await visitor.send("Create account", **ADA)
        assert (page.status, page.path) == (200, "/account")
        assert "Welcome, Ada." in page.text

    async def test_what_is_wrong_stands_at_its_field_and_the_token_is_kept(self, service: ServiceClient, visitor: Visitor) -> None:
        await visitor.open(await invitation(service))
        page = await visitor.send("Create account", name="", email="eve@example.com", password="short")
        assert page.status == 400
        assert page.errors == "Please check this Enter your name. Password must have at least 8 characters."
        page = await visitor.send("Create account", **(ADA | {"email": "eve@example.com"}))
        assert (page.status, page.errors) == (400, "Please check this Enter the email address to which the invitation was sent.")
        assert (await visitor.send("Create account", **ADA)).path == "/account"

    @pytest.mark.parametrize("token", ["x", "x" * 43])
    async def test_an_invitation_that_does_not_work(self, visitor: Visitor, token: str) -> None:
        await visitor.open(f"/invitation?token={token}")
        self.assert_is_old(await visitor.send("Create account", **ADA))

    async def test_an_invitation_works_once(self, service: ServiceClient, visitor: Visitor, new_visitor: NewVisitor) -> None:
        path = await invitation(service)
        await visitor.open(path)
        await visitor.send("Create account", **ADA)
        other = await new_visitor()
        await other.open(path)
        self.assert_is_old(await other.send("Create account", **ADA))

    async def test_without_a_token_there_is_no_form(self, visitor: Visitor) -> None:
        self.assert_is_old(await visitor.open("/invitation"))

    def assert_is_old(self, page: Page) -> None:
        assert page.status == 400
        assert page.only("h1").text == "This invitation doesn't work any more"

    async def test_opening_it_does_not_even_look_at_the_token(self, service: ServiceClient, visitor: Visitor) -> None:
        path = await invitation(service)
        with mock.patch.object(MailTokens, "find", side_effect=AssertionError):
            known = await visitor.open(path)
            assert known.html.replace(path.partition("=")[2], "x") == (await visitor.open("/invitation?token=x")).html

    async def test_who_has_an_account_already_is_told_to_sign_in(
        self, service: ServiceClient, visitor: Visitor, new_visitor: NewVisitor
    ) -> None:
        await visitor.open(await invitation(service))
        await visitor.send("Create account", **ADA)
        path = await invitation(service)
        assert (await visitor.open(path)).only("h1").text == "You're signed in already"
        other = await new_visitor()
        await other.open(path)
        page = await other.send("Create account", **ADA)
        assert page.status == 409
        assert page.errors == "Please check this You already have an account with this email address. Sign in to use it."

    async def test_while_redis_is_away_it_works(self, service: ServiceClient, visitor: Visitor) -> None:
        assert service.app is not None
        path = await invitation(service)
        with testing.redis_down(service.app):
            await visitor.open(path)
            page = await visitor.send("Create account", **ADA)
            assert page.path == "/account"
            assert "Some details are temporarily unavailable." in page.text
        assert (await visitor.open("/account")).path == "/account"

    async def test_while_the_database_is_away_the_form_says_so(self, service: ServiceClient, visitor: Visitor) -> None:
        path = await invitation(service)
        with database_down():
            assert (await visitor.open(path)).status == 200
            page = await visitor.send("Create account", **ADA)
            assert (page.status, page.headers["Retry-After"]) == (503, "1")
            assert "We can't do this right now." in page.errors
        assert (await visitor.send("Create account", **ADA)).path == "/account"


async def test_an_invitation_page_makes_no_account_without_its_token(visitor: Visitor) -> None:
    """Although everybody may register."""
    page = await visitor.post("/invitation", ADA)
    assert page.status == 400
    assert (await visitor.sign_in()).status == 401
