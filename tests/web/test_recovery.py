"""A forgotten password: asking for the mail, and setting a new password by its link."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from stateroom import Settings, testing
from stateroom.accounts.mail_tokens import MailTokens
from stateroom.database import Database

from ..conftest import ServiceClient
from ..servers import Servers
from .conftest import NewVisitor
from .links import database_down, link, mails_asked_for
from .visitor import Visitor

NEW = "battery staple"


@pytest.fixture
def service_settings(servers: Servers, tmp_path: Path) -> Settings:
    return servers.service_settings(
        tmp_path, mail_url=f"file:{tmp_path}/mails", mail_from="a@example.com", public_url="http://127.0.0.1",
        public_origins="", email_verification="off", mail_requests=3,
    )  # fmt: skip


async def test_the_sign_in_page_leads_to_a_mail(visitor: Visitor) -> None:
    page = await visitor.open("/login")
    assert page.only("a", href="/forgot").text == "Forgot your password?"
    assert (await visitor.open("/forgot")).only("h1").text == "Forgot your password?"


async def test_the_page_is_the_same_whether_or_not_there_is_an_account(visitor: Visitor, new_visitor: NewVisitor) -> None:
    await visitor.register()
    stranger = await new_visitor()
    pages = []
    with mails_asked_for() as asked:
        for email in ("ada@example.com", "bob@example.com"):
            await stranger.open("/forgot")
            page = await stranger.send("Send the mail", email=email)
            assert page.status == 200
            assert f"If {email} has an account, we've sent a mail with a link to it." in page.text
            pages.append(page.html.replace(email, "EMAIL"))
    assert pages[0] == pages[1]
    assert asked == [("reset", "ada@example.com"), ("reset", "bob@example.com")]


async def test_no_address_is_said_at_the_field(visitor: Visitor) -> None:
    await visitor.open("/forgot")
    page = await visitor.send("Send the mail", email="ada")
    assert (page.status, page.errors) == (400, "Please check this Enter an email address, for example ada@example.com.")
    assert page.by_id("email").get("value") == "ada"
    assert (await visitor.send("Send the mail", email="")).errors == "Please check this Enter your email address."


async def test_who_asks_too_often_is_told_how_long_to_wait(visitor: Visitor) -> None:
    for _ in range(3):
        await visitor.open("/forgot")
        assert (await visitor.send("Send the mail", email="ada@example.com")).status == 200
    await visitor.open("/forgot")
    page = await visitor.send("Send the mail", email="ada@example.com")
    assert page.status == 429
    wait = int(page.headers["Retry-After"])
    assert 3540 < wait <= 3600
    told = "1 hour" if wait == 3600 else "60 minutes"  # as soon as a second has passed
    assert page.errors.endswith(f"Please look into your spam folder too, or try again in {told}.")


async def test_a_link_sets_a_new_password_and_leads_to_the_sign_in(
    service: ServiceClient, visitor: Visitor, new_visitor: NewVisitor
) -> None:
    assert service.app is not None
    await visitor.register()
    reader = await new_visitor()
    page = await reader.open(await link(service.app, "reset", "ada@example.com"))
    assert page.only("h1").text == "Set a new password"
    page = await reader.send("Set password", new_password="short")
    assert (page.status, page.errors) == (400, "Please check this New password must have at least 8 characters.")
    page = await reader.send("Set password", new_password="")
    assert page.errors == "Please check this Enter your new password."
    page = await reader.send("Set password", new_password=NEW)
    assert (page.status, page.path) == (200, "/login?done=reset")
    assert "Your password was changed. Sign in with the new one." in page.text
    assert (await visitor.open("/account")).path == "/login"
    assert (await reader.sign_in()).status == 401
    assert (await reader.sign_in(password=NEW)).path == "/account"


async def test_opening_the_link_does_not_even_look_at_the_token(service: ServiceClient, visitor: Visitor) -> None:
    assert service.app is not None
    await visitor.register()
    path = await link(service.app, "reset", "ada@example.com")
    await visitor.send("Sign out")
    with (
        mock.patch.object(MailTokens, "find", side_effect=AssertionError),
        mock.patch.object(Database, "write", side_effect=AssertionError),
    ):
        for method in ("GET", "HEAD"):
            async with service.request(method, path) as response:
                assert response.status == 200
        known = await visitor.open(path)
        unknown = await visitor.open("/reset?token=x")
    token = path.partition("=")[2]
    assert known.html.replace(token, "x") == unknown.html
    await visitor.open(path)
    assert (await visitor.send("Set password", new_password=NEW)).path == "/login?done=reset"


@pytest.mark.parametrize("path", ["/reset", "/reset?token=", "/reset?token=abc", f"/reset?token={'x' * 43}"])
async def test_a_link_that_does_not_work_leads_to_a_new_mail(visitor: Visitor, path: str) -> None:
    page = await visitor.open(path)
    if page.forms:
        page = await visitor.send("Set password", new_password=NEW)
    assert page.status == 400
    assert page.only("h1").text == "This link doesn't work any more"
    assert page.only("a", href="/forgot").text == "Ask for a new mail"


async def test_a_link_works_once(service: ServiceClient, visitor: Visitor) -> None:
    assert service.app is not None
    await visitor.register()
    path = await link(service.app, "reset", "ada@example.com")
    await visitor.send("Sign out")
    for status in (200, 400):
        await visitor.open(path)
        assert (await visitor.send("Set password", new_password=NEW)).status == status


async def test_whoever_is_signed_in_to_another_account_stays_so(
    service: ServiceClient, visitor: Visitor, new_visitor: NewVisitor
) -> None:
    assert service.app is not None
    await visitor.register()
    bob = await new_visitor()
    await bob.register(email="bob@example.com", name="Bob")
    await bob.open(await link(service.app, "reset", "ada@example.com"))
    page = await bob.send("Set password", new_password=NEW)
    assert page.path == "/account"
    assert "The password of the other account was changed." in page.text
    assert "bob@example.com" in page.text


async def test_while_redis_is_away_a_password_is_reset(service: ServiceClient, visitor: Visitor, new_visitor: NewVisitor) -> None:
    assert service.app is not None
    await visitor.register()
    reader = await new_visitor()
    with testing.redis_down(service.app):
        assert "Some details are temporarily unavailable." in (await visitor.open("/forgot")).text
        await reader.open("/forgot")
        assert (await reader.send("Send the mail", email="ada@example.com")).status == 200
        await reader.open(await link(service.app, "reset", "ada@example.com"))
        assert (await reader.send("Set password", new_password=NEW)).path == "/login?done=reset"
        assert (await reader.sign_in(password=NEW)).path == "/account"
    assert (await reader.open("/account")).path == "/account"
    assert (await visitor.open("/account")).path == "/login"


async def test_while_the_database_is_away_the_forms_say_so(service: ServiceClient, visitor: Visitor) -> None:
    assert service.app is not None
    await visitor.register()
    path = await link(service.app, "reset", "ada@example.com")
    await visitor.send("Sign out")
    with database_down():
        for address, button, typed in (
            ("/forgot", "Send the mail", {"email": "ada@example.com"}),
            (path, "Set password", {"new_password": NEW}),
        ):
            assert (await visitor.open(address)).status == 200
            page = await visitor.send(button, **typed)
            assert (page.status, page.headers["Retry-After"]) == (503, "1")
            assert page.errors.endswith("We can't do this right now. Nothing was changed. Please try again in a moment.")
            assert "10.1.2.3" not in page.html
    assert (await visitor.send("Set password", new_password=NEW)).path == "/login?done=reset"


async def test_the_sign_in_page_says_only_what_it_has_words_for(visitor: Visitor) -> None:
    plain = (await visitor.open("/login")).text
    assert (await visitor.open("/login?done=%3Cb%3E")).text == plain


class TestWithoutMail:
    @pytest.fixture
    def service_settings(self, servers: Servers, tmp_path: Path) -> Settings:
        return servers.service_settings(tmp_path)

    async def test_the_administrator_is_named_instead(self, visitor: Visitor) -> None:
        assert not (await visitor.open("/login")).all("a", href="/forgot")
        for page in (await visitor.open("/forgot"), await visitor.post("/forgot", {"email": "ada@example.com"})):
            assert page.status == 404
            assert "Please ask its administrator to set a new password for you." in page.text
